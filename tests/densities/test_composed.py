"""Densities put together from parts: normalised, causal, differentiable, sampled exactly, in every combination."""

import itertools

import pytest
import torch
from test_paths import NO_COMPILER

from composed import CONTEXTS, FORMS, PARTS, TRUNKS, compose, contexts_of, names
from infoplane.densities import Autoregressive, PixelCNN
from infoplane.densities.importance import Importance
from infoplane.densities.window import Places
from infoplane.errors import UsageError
from infoplane.inversion.fast import compiled
from tiny_densities import random_images

# The compiler's own modules warn of each other when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

NOISE, REAL = 1e-12, 1e-9
#: with what `composed` leaves on, and without; plain weights are not normalised, so they have to be small
WAYS = pytest.mark.parametrize("way", [{}, {"whole": False, "weight_norm": False, "scale": 0.15}], ids=["", "plain"])


@WAYS
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("parts", PARTS, ids=names)
def test_what_training_differentiates_is_the_loss(parts, context, way):
    """Over all pixels its value is −log q, and its gradient that of −log q by differences."""
    shape, levels = (3, 3, 2), 4
    model = compose(shape, levels, parts, CONTEXTS[context], form="both", pixels=10**6, **{"scale": 0.3, **way}).train()
    images, h = random_images(shape, levels, 4), contexts_of(model, 4)
    loss = model.training_loss(images, h)
    torch.testing.assert_close(loss, -model.log_prob(images, h), atol=1e-10, rtol=0)
    parameters = [p for p in model.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss.sum(), parameters)
    generator = torch.Generator().manual_seed(1)
    step = 1e-7  # a rectifier that switches in between is rarer the smaller it is
    for parameter, gradient in zip(parameters, gradients, strict=True):
        direction = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            losses = []
            for sign in (1, -1):
                parameter.add_(sign * step * direction)
                losses.append(float(-model.log_prob(images, h).sum()))
                parameter.sub_(sign * step * direction)
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx(float((gradient * direction).sum()), rel=1e-3, abs=1e-4)


@WAYS
@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 5, 4)], ids=["colour", "grey"])
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("parts", PARTS, ids=names)
@torch.no_grad()
def test_drawing_computes_of_each_pixel_what_scoring_does(parts, context, shape, way):
    """In float64, from images that are filled in pixel by pixel; where there are boxes, from given rows on."""
    levels, n = 7, 3
    for form in FORMS if CONTEXTS[context] else FORMS[:1]:
        for far in ((), (2, 3)) if parts[1] == "window" else ((),):
            model = compose(shape, levels, parts, CONTEXTS[context], form=form, far=far, up=2, side=3, **way)
            images, h = random_images(shape, levels, n), contexts_of(model, n)
            given, pixels = model._given(h), images[0, 0].numel()
            every = Places.every(n, pixels, images.device)
            based = model._based(images, every)
            whole = model.trunk(images, every, based, given).unflatten(0, (n, pixels))
            assert whole.std(1).mean() > 1e-2
            first = 2 * shape[2] if far else 0
            growing = torch.zeros_like(images)
            flat = growing.view(n, shape[0], -1)
            flat[:, :, :first] = images.flatten(2)[:, :, :first]
            step = model._stepper(growing, given)
            for pixel in range(first, pixels):
                features, local = step(pixel)
                torch.testing.assert_close(features, whole[:, pixel], atol=1e-11, rtol=1e-11)
                if based is not None:
                    for own, all_of_them in zip(local, based[1], strict=True):
                        expected = all_of_them.unflatten(0, (n, pixels))[:, pixel]
                        torch.testing.assert_close(own, expected, atol=1e-12, rtol=1e-12)
                flat[:, :, pixel] = images.flatten(2)[:, :, pixel]


@pytest.mark.parametrize("shape", [(3, 3, 4), (1, 4, 6)])
@pytest.mark.parametrize("parts", [parts for parts in PARTS if parts[1] == "window"], ids=names)
def test_the_estimate_of_the_loss_from_some_pixels_has_no_bias(parts, shape):
    """Over 20,000 draws its mean is −log q of each image, within 4.5 of its standard errors."""
    levels = 4
    model = compose(shape, levels, parts, (5,), pixels=2).train()
    images, h = random_images(shape, levels, 3), contexts_of(model, 3)
    assert h is not None
    with torch.no_grad():
        truth = -model.log_prob(images, h)
        torch.manual_seed(0)
        copies, contexts = images.repeat(2000, 1, 1, 1), h.repeat(2000, 1)
        model.importance.error.uniform_(0.1, 2)
        found = torch.cat([model.training_loss(copies, contexts).view(-1, 3) for _ in range(10)])
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - truth) / error).abs().max() < 4.5
    assert (error / truth).max() < 0.01


def test_pixels_are_told_apart_by_their_place_and_by_what_is_before_them():
    images = random_images((1, 5, 4), 6, 40) * (
        torch.rand(40, 1, 5, 4, generator=torch.Generator().manual_seed(0)) < 0.3
    )
    found = Importance((1, 5, 4), 6)._cells(images).view(40, 5, 4)
    numbers: dict[object, set[int]] = {}
    for n, row, column in itertools.product(range(40), range(5), range(4)):
        around = [(row, column - 1), (row - 1, column), (row - 1, column - 1), (row - 1, column + 1)]
        values = [int(images[n, 0, i, j]) if i >= 0 and 0 <= j < 4 else 0 for i, j in around]
        kinds = tuple(0 if value == 0 else 1 if value < 3 else 2 for value in values)
        numbers.setdefault(kinds if any(kinds) else (row, column), set()).add(int(found[n, row, column]))
    assert len(numbers) > 50
    assert all(len(cell) == 1 for cell in numbers.values())
    assert len(set.union(*numbers.values())) == len(numbers)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("parts", PARTS, ids=names)
def test_in_half_precision_the_loss_is_within_a_thousandth(parts, form):
    """Of images as they are, neighbours alike; and what is solved for and the likelihood are in full precision.

    Of a softmax the likelihood are the logits' exponentials and their sum; the logits are one more wide product.
    """
    shape, levels, n = (3, 6, 6), 64, 32
    model = compose(shape, levels, parts, (5,), form=form, scale=0.2, far=()).float().train()
    generator = torch.Generator().manual_seed(9)
    shades = 0.2 + 0.6 * torch.rand(n, 1, 1, 1, generator=generator)
    noisy = shades + 0.08 * torch.randn(n, *shape, generator=generator)
    images = (noisy.clamp(0, 1) * (levels - 1)).round().to(torch.uint8)
    if model.base is not None:
        model.base.fit(images)
    h, seen, losses = contexts_of(model, n).float(), {}, []

    def watched(name, call):
        def wrapper(first, *rest):
            seen.setdefault(name, set()).add((first.dtype, torch.is_autocast_enabled("cpu")))
            return call(first, *rest)

        return wrapper

    for name, part, method in (
        ("trunk", model.trunk, "forward"),
        ("head", model.head, "score"),
        ("base", model.base, "forward"),
        ("readout", model.reader.readout, "forward"),
    ):
        if part is not None:
            setattr(part, method, watched(name, getattr(part, method)))
    for half in (False, True):
        seen.clear()
        model.importance.error.zero_()
        torch.manual_seed(0)  # the same pixels
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            losses.append(model.training_loss(images, h))
    plain, half = losses
    assert half.dtype == torch.float32
    assert not torch.equal(half, plain)
    assert float(half.mean()) == pytest.approx(float(plain.mean()), rel=1e-3)
    if parts[2] == "softmax":
        del seen["head"]
    exact = {
        *(["head"] if "head" in seen else []),
        *(["base"] if parts[0] == "linear" else []),
        *(["readout"] if form != "biases" else []),
    }
    assert seen == {"trunk": {(torch.uint8, True)}, **{name: {(torch.float32, False)} for name in exact}}


@pytest.mark.parametrize("trunk", TRUNKS)
def test_wide_products_are_those_of_a_trunk_of_wide_matrices(trunk):
    model = compose((1, 3, 3), 4, ("none", trunk, "softmax"))
    assert model.wide == Autoregressive.wide_with({"trunk": trunk}) == (trunk != "pixelcnn")
    assert Autoregressive.wide_with({})  # a window, where none is named
    assert not PixelCNN((1, 3, 3), 4, filters=4, residual_layers=1, scales=1).wide


def test_what_does_not_go_together_is_refused():
    with pytest.raises(UsageError, match="nothing that it is relative to"):
        Autoregressive((1, 4, 4), 4, base="none", head="relative")
    with pytest.raises(UsageError, match="width and heads"):
        Autoregressive((1, 4, 4), 4, trunk="transformer", width=10, heads=4)


@pytest.mark.slow
@NO_COMPILER
def test_compiled_it_scores_the_same():
    model = compose((3, 3, 3), 8, ("linear", "window", "relative"), (5,), form="both", scale=0.3).float()
    images, h = random_images((3, 3, 3), 8, 6), torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(compiled(model.log_prob)(images, h), model.log_prob(images, h), atol=1e-3, rtol=1e-4)
