"""Coverage over real fits: 14 densities of the digits that differ in their seeds alone."""

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from rich.progress import track

from infoplane import data, densities
from infoplane.estimate import confidence
from infoplane.information import Mean, crossed_mean
from infoplane.inversion import FitSettings, Pairs, fit_density, log_probs

FITS, REFITS, DRAWS = 14, 3, 2_000
UPDATES = 300
OPTIONS = {"filters": 16, "residual_layers": 1, "scales": 1, "likelihood": "categorical", "dropout": 0.2}


def lines() -> Iterator[str]:
    """Yields what intervals of three of the fits cover."""
    scores = _scores()
    fits, images = scores.shape
    spread, over = scores.mean(1).std(ddof=1), scores.mean(0).std(ddof=1) / math.sqrt(images)
    yield f"{fits} fits of {UPDATES} updates, {images} images: NCE {scores.mean():.2f} nats; standard deviation over"
    yield f"fits {spread:.3f} nats, so {spread / math.sqrt(REFITS):.3f} of {REFITS}, beside {over:.3f} for the images."
    yield ""
    yield f"| {REFITS} refits | 95 % interval covers | ± 1.96 s.e. covers |"
    yield "| --- | --- | --- |"
    generator = np.random.default_rng(0)
    for name, found in (
        ("differences of three pairs of fits, which are 0", _pairs(scores, generator)),
        (f"a {REFITS}/{fits} of the images, against the rest of fits and images", _rest(scores, generator)),
    ):
        student, plain = (f"{100 * share:.1f} %" for share in np.mean(found, axis=0))
        yield f"| {name} | {student} | {plain} |"


def _pairs(scores: np.ndarray, generator: np.random.Generator) -> list[tuple[bool, bool]]:
    """Fits that differ in their seed alone are equal in expectation: three paired differences are a null."""
    found = []
    for _ in range(DRAWS):
        chosen = generator.permutation(len(scores))[: 2 * REFITS]
        found.append(_covers(crossed_mean(scores[chosen[:REFITS]] - scores[chosen[REFITS:]]), 0.0))
    return found


def _rest(scores: np.ndarray, generator: np.random.Generator) -> list[tuple[bool, bool]]:
    """Three fits on a part of the images against all other fits on all other images.

    The part is so large that the rest's own variance is the same share of it in fits and in images, 3/11.
    """
    fits, images = scores.shape
    part, found = round(images * REFITS / fits), []
    every = list(itertools.combinations(range(fits), REFITS))
    for _ in range(DRAWS):
        chosen = np.array(every[generator.integers(len(every))])
        order = generator.permutation(images)
        mean = crossed_mean(scores[chosen][:, order[:part]])
        truth = float(np.delete(scores, chosen, 0)[:, order[part:]].mean())
        found.append(_covers(mean, truth, math.sqrt(1 + REFITS / (fits - REFITS))))
    return found


def _covers(mean: Mean, truth: float, wider: float = 1.0) -> tuple[bool, bool]:
    """Whether Student's interval and ± 1.96 s.e. hold the truth, whose own error makes both so many times as wide."""
    error = abs(mean.value - truth) / wider
    return error <= confidence(0.95, mean.dof) * mean.stderr, error <= 1.96 * mean.stderr


def _scores() -> np.ndarray:
    """log q(x|h) of the evaluation images (fits, n), h being the image in a quarter of its resolution."""
    torch.set_num_threads(1)
    dataset = data.load("digits")
    parts = data.split(dataset, encoding=600, decoding=900, evaluation=297, seed=0)

    def pairs(index: np.ndarray) -> Pairs:
        images = torch.from_numpy(dataset.images[index])
        coarse = torch.nn.functional.avg_pool2d(images.float(), 4).flatten(1)
        return Pairs(images, (coarse - 5) / 4)

    kept, held, evaluation = pairs(parts.decoding[:800]), pairs(parts.decoding[800:]), pairs(parts.evaluation)
    settings = FitSettings(updates=UPDATES, batch=8, learning_rate=0.003, evaluations=4)
    found = []
    for seed in track(range(FITS), description="fits"):
        density = densities.build("pixelcnn", dataset.shape, dataset.levels, kept.context_shape, OPTIONS, seed=seed)
        fit_density(density, kept, held, settings, seed=seed)
        found.append(log_probs(density, evaluation).numpy())
    return np.stack(found)
