"""How a context enters: in every gated layer, in both published ways, and not at all when it is zero."""

import pytest
import torch
from tiny_densities import LIKELIHOODS, build, layers_of, random_images

from infoplane.densities.layers import GatedResidual

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


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("way", WAYS)
@torch.no_grad()
def test_without_effect_it_is_the_unconditional_model_to_the_bit(way, likelihood):
    images = random_images(SHAPE, LEVELS, 6)
    plain = build(SHAPE, LEVELS, likelihood=likelihood, scales=3)
    model = build(SHAPE, LEVELS, likelihood=likelihood, scales=3, **WAYS[way])
    shared = dict(model.named_parameters())
    assert all(torch.equal(p, shared[name]) for name, p in plain.named_parameters())  # same seed, same weights
    for _ in range(2):
        expected = plain.log_prob(images)
        context = draw(model.context)
        assert torch.equal(model.log_prob(images, torch.zeros_like(context)), expected)
        assert not torch.equal(model.log_prob(images, context), expected)
        plain.initialise(images)  # the second time: initialised on data, without a context and under a null one
        model.initialise(images)
    model.silence_context()
    assert torch.equal(model.log_prob(images, context), plain.log_prob(images))
    if way == "vector":
        first = model.sample(context, generator=torch.Generator().manual_seed(3))
        assert torch.equal(first, plain.sample(n=6, generator=torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("way", ["vector", "larger map, learned"])
def test_a_null_context_trains_like_the_unconditional_model(way):
    # The same dropout masks and the same gradients: that is what makes the twin a twin.
    images = random_images(SHAPE, LEVELS, 6)
    plain, model = build(SHAPE, LEVELS).train(), build(SHAPE, LEVELS, **WAYS[way]).train()
    null = torch.zeros(6, *model.context)
    gradients = []
    for network, arguments in ((plain, (images,)), (model, (images, null))):
        torch.manual_seed(5)
        network.log_prob(*arguments).sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    assert all(torch.equal(gradients[1][name], value) for name, value in gradients[0].items() if value is not None)
    # And nothing can be learned from a context of zeros.
    ours = {id(p) for p in model.context_parameters()}
    assert ours
    for name, p in model.named_parameters():
        assert (id(p) in ours) == name.startswith("conditioning.")
        if id(p) in ours:
            assert p.grad is None or not p.grad.any()


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
