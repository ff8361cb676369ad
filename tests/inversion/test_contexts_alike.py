"""Contexts that say nothing, and contexts that say the same: what is learnt from them is nothing, and the same."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from infoplane.densities import Autoregressive
from infoplane.inversion import FitSettings, Pairs, Standardiser, fit_density, log_probs

SHAPE, LEVELS = (1, 4, 4), 9
#: densities of such images that x̂(h) enters
SMALL = {
    "relative window": {"width": 16, "hidden": 8, "mixtures": 3, "up": 3, "side": 3, "base": "linear"},
    "window": {"width": 16},
    "streams": {
        "trunk": "pixelcnn",
        "form": "both",
        "base": "none",
        "head": "softmax",
        "weight_norm": False,
        "filters": 8,
        "residual_layers": 1,
        "scales": 1,
    },
}
#: nats that each tells of such images at least, from 200 units that say nearly all, after so short a training
TOLD = {"relative window": 3, "window": 1, "streams": 3}
PARTS = pytest.mark.parametrize("parts", [*SMALL])
TRAINED, HELD, SCORED = 800, 200, 1000


def images_of(n: int, seed: int) -> torch.Tensor:
    """Noisy images of one of two patterns: their mean image, and more that a pixel's surroundings tell of it."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None].expand(4, 4)
    pattern = torch.stack((rows, rows.T))[torch.randint(2, (n,), generator=generator)]
    noisy = 4 + 1.2 * pattern + torch.randn(n, 4, 4, generator=generator)
    return noisy.round().clamp(0, LEVELS - 1).to(torch.uint8)[:, None]


def usable(images, contexts, seed: int, *, parts: str, groups=None) -> list[torch.Tensor]:
    """Per context the usable nats of each scored image: from one p(x), with a twin of as many updates."""
    trained = len(images) - HELD - SCORED
    train, held, scored = torch.arange(len(images)).split((trained, HELD, SCORED))
    settings = FitSettings(updates=100, batch=64, learning_rate=6e-3, evaluations=2, precision="float32")
    start, scores = None, []
    for context in (None, None, *contexts):
        torch.manual_seed(seed)
        model = Autoregressive(SHAPE, LEVELS, None if context is None else tuple(context.shape[1:]), **SMALL[parts])
        standardise = None if context is None else Standardiser.of([context[: trained + HELD]])
        pairs = Pairs(images, context, standardise=standardise, groups=groups)
        fit_density(model, pairs.subset(train), pairs.subset(held), settings, seed=seed, start=start)
        scores.append(log_probs(model, pairs.subset(scored)))
        if start is None:
            start, settings = model.state_dict(), settings.model_copy(update={"learning_rate": 3e-3})
    return [score - scores[1] for score in scores[2:]]


def nothing(seed: int, shape: tuple[int, ...], parts: str, copies: int = 1) -> torch.Tensor:
    """What noise tells of images, of which those to train on may be there several times, with their noise."""
    own = TRAINED // copies
    images = images_of(own + HELD + SCORED, seed)
    noise = torch.randn(len(images), *shape, generator=torch.Generator().manual_seed(10**6 + seed))
    which = torch.cat((torch.arange(own).repeat_interleave(copies), torch.arange(own, len(images))))
    return usable(images[which], [noise[which]], seed, parts=parts, groups=which)[0]


def check_that_it_is_nothing(found: list[torch.Tensor]) -> None:
    means = np.array([float(own.mean()) for own in found])
    errors = np.array([float(own.std() / len(own) ** 0.5) for own in found])
    assert means.mean() <= 2 * means.std(ddof=1) / len(means) ** 0.5
    # By Holm none is above 0 if the smallest of n p-values is not below .05 / n.
    assert stats.norm.sf(means / errors).min() > 0.05 / len(means)
    # Nor does it cost as much as knowing the pattern is worth, ln 2 of an image's 26 nats. Dearest are maps with every
    # image there twice, whose own weights 400 images cannot teach to be silent: .53 ± .02 nats.
    assert means.mean() > -math.log(2)


@PARTS
def test_noise_tells_nothing(parts):
    check_that_it_is_nothing([nothing(seed, (100,), parts) for seed in range(4)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("parts", "shape", "copies"),
    [
        ("relative window", (2000,), 1),
        ("relative window", (130, 4, 4), 1),
        ("relative window", (130, 4, 4), 2),
        ("window", (2000,), 1),
        ("streams", (2000,), 1),
        ("streams", (130, 4, 4), 1),
    ],
)
def test_noise_of_many_units_tells_nothing(parts, shape, copies):
    check_that_it_is_nothing([nothing(seed, shape, parts, copies) for seed in range(20)])


@PARTS
def test_units_may_be_copied_permuted_or_rotated(parts):
    """The usable nats stay within three of their standard errors; where units are permuted, what they are.

    What is solved is the same function of h, but the weights of h itself find their way by steps that are not.
    """
    images = images_of(TRAINED + HELD + SCORED, 0)
    generator = torch.Generator().manual_seed(1)
    units = 200
    mixing = torch.randn(16, units, generator=generator)
    h = (images.flatten(1).float() - 4) @ mixing / 6
    h = torch.tanh(h + torch.randn(h.shape, generator=generator))
    # Standardised beforehand: what is rotated then has the same units' scales.
    h = (h - h.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(h.T))).T
    rotation = torch.linalg.qr(torch.randn(units, units, generator=generator))[0]
    contexts = [h, h[:, torch.randperm(units, generator=generator)], torch.cat((h, h), dim=1), h @ rotation]
    plain, permuted, *others = usable(images, contexts, 0, parts=parts)
    assert plain.mean() > TOLD[parts]
    assert (permuted - plain).abs().mean() < 1e-3
    for other in others:
        assert abs(other.mean() - plain.mean()) < 3 * plain.std() / len(plain) ** 0.5
