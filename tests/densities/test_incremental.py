"""Pixel by pixel, what the convolutions keep gives the features of the parallel pass, and the same samples."""

import pytest
import torch

from infoplane.densities import PixelCNN
from infoplane.densities.incremental import Incremental

SHAPES = [(1, 1, 2), (1, 5, 7), (3, 4, 4), (1, 9, 6), (1, 8, 8)]
CONTEXTS = [
    (None, "resize"),
    ((5,), "resize"),
    ((4, 3, 3), "resize"),
    ((4, 9, 9), "resize"),
    ((4, 3, 3), "learned"),
    ((4, 9, 9), "learned"),
]


def density(shape=(1, 5, 7), dtype=torch.float64, **options) -> PixelCNN:
    """A small density whose every weight differs from its initial value."""
    torch.manual_seed(0)
    options = {"levels": 5, "filters": 6, "residual_layers": 2, "scales": 3, **options}
    model = PixelCNN(shape, **options).to(dtype).eval()
    for weight in model.parameters():
        weight.data += 0.05 * torch.randn_like(weight)
    return model


def one_by_one(model: PixelCNN, images: torch.Tensor, context: torch.Tensor | None) -> torch.Tensor:
    """The features of every pixel, each computed before its value is given away."""
    state = Incremental(model, model._biases(context), len(images))
    found = []
    for row in range(images.shape[2]):
        state.begin_row()
        for column in range(images.shape[3]):
            found.append(state.features())
            state.put(images[:, :, row, column])
    return torch.stack(found, 2).unflatten(2, images.shape[2:])


def inputs(model: PixelCNN, n: int = 3) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Images and contexts for a density."""
    images = torch.randint(0, model.levels, (n, *model.shape), dtype=torch.uint8)
    context = None if model.context is None else torch.randn(n, *model.context, dtype=model.above.weight.dtype)
    return images, context


@pytest.mark.parametrize("at", range(len(CONTEXTS)))
@pytest.mark.parametrize("scales", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES)
@torch.no_grad()
def test_teacher_forced_logits_are_those_of_the_parallel_pass(shape, scales, at):
    """Every shape, number of scales and context in either precision; the likelihoods, which only read the features,
    change places with each shape, scale and context, so that either meets all of these in both precisions."""
    context, conditioning = CONTEXTS[at]
    likelihoods = ("categorical", "logistic_mixture")
    if (SHAPES.index(shape) + scales + at) % 2:
        likelihoods = likelihoods[::-1]
    for dtype, tolerance, likelihood in zip((torch.float64, torch.float32), (1e-10, 1e-4), likelihoods, strict=True):
        options = {"context": context, "conditioning": conditioning, "scales": scales, "likelihood": likelihood}
        model = density(shape, dtype, **options)
        images, given = inputs(model)
        found = one_by_one(model, images, given)
        torch.testing.assert_close(found, model.features(images, given), atol=tolerance, rtol=0)
        scores = model.likelihood.log_prob(found, images).flatten(1).sum(1)
        torch.testing.assert_close(scores, model.log_prob(images, given), atol=10 * tolerance, rtol=0)


@pytest.mark.parametrize("weight_norm", [True, False])
@torch.no_grad()
def test_either_parametrisation_of_the_weights(weight_norm):
    model = density(weight_norm=weight_norm, context=(5,))
    images, context = inputs(model)
    torch.testing.assert_close(one_by_one(model, images, context), model.features(images, context), atol=1e-10, rtol=0)


@pytest.mark.parametrize("cached", [True, False])
def test_given_rows_stay_and_those_below_follow_from_them(cached):
    model = density((1, 6, 4))
    images, _ = inputs(model, 2)
    whole = model.sample(n=2, generator=torch.Generator().manual_seed(1), keep=images[:, :, :4], cached=cached)
    assert torch.equal(whole[:, :, :4], images[:, :, :4])
    # A greedy draw says which value each pixel below finds likeliest given all before it, the kept rows included.
    greedy = model.sample(n=2, keep=images[:, :, :4], temperature=1e-6, cached=cached)
    with torch.no_grad():
        best = model.likelihood._log_probs(model.features(greedy), 0, greedy[:, :0]).argmax(1)
    assert torch.equal(best[:, 4:], greedy[:, 0, 4:].long())
    assert torch.equal(model.sample(n=2, keep=images, cached=cached), images)
    one = model.sample(n=2, keep=images[:1, :, :3], cached=cached)
    assert torch.equal(one[:, :, :3], images[:1, :, :3].expand(2, -1, -1, -1))


def test_a_high_temperature_flattens_and_a_low_one_sharpens():
    model = density((1, 3, 3), levels=4)
    for weight in model.likelihood.parameters():
        weight.data *= 20  # a density that has preferences

    def entropy(temperature: float) -> float:
        drawn = model.sample(n=400, generator=torch.Generator().manual_seed(0), temperature=temperature)
        shares = torch.bincount(drawn[:, 0, 0, 0].long(), minlength=4) / 400
        return float(-(shares * shares.clamp_min(1e-9).log()).sum())

    low, plain, high = (entropy(temperature) for temperature in (0.25, 1.0, 20.0))
    assert low < plain < high
    assert high > 0.98 * torch.tensor(4.0).log()
