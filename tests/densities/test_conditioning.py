"""How a context enters: in every gated layer, in both published ways, and not at all when it is zero."""

import pytest
import torch

from infoplane.densities.layers import GatedResidual
from tiny_densities import build, layers_of, random_images

SHAPE, LEVELS = (1, 5, 6), 4
WAYS = {
    "vector": {"context": (7,)},
    "map of the same size, resize": {"context": (2, 5, 6), "conditioning": "resize"},
    "map of the same size, learned": {"context": (2, 5, 6), "conditioning": "learned"},
    "larger map, resize": {"context": (2, 11, 13), "conditioning": "resize"},
    "larger map, learned": {"context": (2, 11, 13), "conditioning": "learned"},
    "much larger map, learned": {"context": (2, 24, 24), "conditioning": "learned"},
    "smaller map, resize": {"context": (2, 2, 1), "conditioning": "resize"},
    "smaller map, learned": {"context": (2, 2, 1), "conditioning": "learned"},
    "higher and narrower map, resize": {"context": (2, 9, 1), "conditioning": "resize"},
    "higher and narrower map, learned": {"context": (2, 9, 1), "conditioning": "learned"},
}


def draw(context, n=6, *, seed=1, dtype=torch.float32):
    return torch.randn(n, *context, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_the_context_enters_every_gated_layer(way):
    model = build(SHAPE, LEVELS, scales=3, residual_layers=2, dtype=torch.float64, **WAYS[way])
    images, context = random_images(SHAPE, LEVELS, 4), draw(model.context, 4, dtype=torch.float64)
    gated = layers_of(model, GatedResidual)
    assert len(gated) == 2 * 3 * 2 + 2 * (3 * 2 + 2)  # two streams; the way up has one layer more but at the coarsest

    biases = {}
    hooks = [
        layer.register_forward_pre_hook(lambda module, inputs: biases.__setitem__(module, (inputs[0], inputs[2])))
        for layer in gated
    ]
    model.log_prob(images, context)
    for hook in hooks:
        hook.remove()
    assert set(biases) == set(gated)
    for x, bias in biases.values():
        assert bias.shape[1] == 2 * x.shape[1]
        assert bias.shape[2:] in {(1, 1), x.shape[2:]}
        assert bias.abs().min(dim=0).values.max() > 0

    # One layer's slice of the output weights at a time, all others zero: the result still depends on the context.
    weights = model.conditioning.output_weights()
    kept = [weight.clone() for weight in weights]
    model.silence_context()
    silent = model.log_prob(images, context)
    width, tried = 2 * 4, 0
    for weight, values in zip(weights, kept):
        assert len(weight) % width == 0
        for start in range(0, len(weight), width):
            weight[start : start + width] = 50 * values[start : start + width]
            assert (model.log_prob(images, context) - silent).abs().max() > 1e-9
            weight.zero_()
            tried += 1
    assert tried == len(gated)


@torch.no_grad()
def test_a_map_acts_where_it_lies():
    # A change in the map's last row cannot be seen in the first rows; a vector's change is seen everywhere.
    model = build((1, 8, 8), LEVELS, scale=0.4, dtype=torch.float64, scales=1, context=(2, 8, 8))
    images, context = random_images((1, 8, 8), LEVELS, 1), draw((2, 8, 8), 1, dtype=torch.float64)
    other = context.clone()
    other[:, :, 6, 3] += 1
    change = (model.log_prob_map(images, other) - model.log_prob_map(images, context))[0].abs()
    assert change[6:].max() > 1e-6
    assert change[:6].max() == 0
    model = build((1, 8, 8), LEVELS, scale=0.4, dtype=torch.float64, scales=1, context=(3,))
    context = draw((3,), 1, dtype=torch.float64)
    assert (model.log_prob_map(images, context + 1) - model.log_prob_map(images, context)).abs().min() > 0


@torch.no_grad()
def test_resize_copies_up_and_averages_down():
    model = build((1, 4, 6), LEVELS, scales=1, context=(1, 2, 3))
    given = torch.arange(6.0).view(1, 1, 2, 3)
    expected = given.repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert torch.equal(model.conditioning.fit[0](given), expected)
    model = build((1, 2, 3), LEVELS, scales=1, context=(1, 4, 6))
    assert torch.equal(model.conditioning.fit[0](expected), given)


@torch.no_grad()
def test_every_part_of_the_context_counts():
    for way in ("vector", "map of the same size, learned", "larger map, resize", "smaller map, learned"):
        model = build(SHAPE, LEVELS, scale=0.3, dtype=torch.float64, scales=2, **WAYS[way])
        images, context = random_images(SHAPE, LEVELS, 1), draw(model.context, 1, dtype=torch.float64)
        numbers = context.numel()
        changed = context.expand(numbers, *model.context).clone()
        changed.view(numbers, -1).diagonal().add_(1)
        moved = model.log_prob(images.expand(numbers, *SHAPE), changed) - model.log_prob(images, context)
        assert (moved.abs() > 1e-12).all()


def test_context_dropout_is_off_in_evaluation():
    model = build(SHAPE, LEVELS, context=(7,), context_dropout=0.9, dropout=0.0)
    images, context = random_images(SHAPE, LEVELS, 6), draw((7,))
    assert torch.equal(model.log_prob(images, context), model.log_prob(images, context))
    model.train()
    torch.manual_seed(0)
    assert not torch.equal(model.log_prob(images, context), model.log_prob(images, context))
