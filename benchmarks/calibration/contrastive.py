"""Coverage of the contrastive bound's interval, and how often it seems to exceed the truth, with exact critics."""

import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np

from infoplane.estimate import Estimate, confidence
from infoplane.information import contrastive_batches, contrastive_bound

DRAWS = 2_000
SIZES = (40, 100, 300, 1000)
CANDIDATES, BATCHES = 64, 16
#: confidence of three standard errors that are known
THREE = 0.9973

#: where more than so many bounds are flagged, the others are too few to say how often they cover
RARE = 0.95

#: draws (batches, K, K) of log p(x_i|h_k)
Scores = Callable[[np.random.Generator, int, int], np.ndarray]


def lines() -> Iterator[str]:
    """Yields a table for each problem."""
    yield "Single fits, the critic is the true density. Covers: the expectation of the bound at this K. Above: it"
    yield "exceeds I(x;h) by more than 3 s.e., and by more than Student's t allows where 3 s.e. of a known error do."
    yield "Saturated: bounds that are flagged. Plain t: what value ± t · s.e. would cover, which forgets the ceiling."
    yield ""
    yield (
        "| problem | I, nats | images | K | batches | 95 % interval covers | of those not flagged | saturated | "
        "plain t | above by 3 s.e. | above by t | allowed |"
    )
    yield "| --- " * 12 + "|"
    for name, information, scores in _problems():
        for images in SIZES:
            sizes = contrastive_batches(images, candidates=CANDIDATES, batches=BATCHES)
            assert sizes is not None
            generator = np.random.default_rng(images)
            bounds = [_bound(scores(generator, sizes.count, sizes.candidates)) for _ in range(DRAWS)]
            expected = float(np.mean([bound.value for bound in bounds]))
            inside = np.array([low <= expected <= high for low, high in (bound.interval() for bound in bounds)])
            flagged = np.array([bool(bound.flags) for bound in bounds])
            plain = np.mean([low <= expected <= high for low, high in map(_plain, bounds)])
            above = [
                np.mean([bound.value - information > far * (bound.stderr or 0.0) for bound in bounds])
                for far in (3.0, confidence(THREE, sizes.count - 1))
            ]
            cells = [name, f"{information:.3f}", str(images), str(sizes.candidates), str(sizes.count)]
            clear = "–" if flagged.mean() > RARE else f"{100 * inside[~flagged].mean():.1f} %"
            cells += [f"{100 * inside.mean():.1f} %", clear, f"{100 * flagged.mean():.0f} %", f"{100 * plain:.1f} %"]
            cells += [f"{100 * share:.2f} %" for share in (*above, (1 - THREE) / 2)]
            yield f"| {' | '.join(cells)} |"


def _plain(bound: Estimate) -> tuple[float, float]:
    """The interval without its ceiling."""
    return dataclasses.replace(bound, ceiling=None).interval()


def _problems() -> Iterator[tuple[str, float, Scores]]:
    """Yields (name, I(x;h), scores): pairs of Gaussians, and bits that are seen through noise."""
    for correlation in (0.3, 0.8):
        information = -0.5 * math.log(1 - correlation**2)
        yield (
            f"Gaussians, correlation {correlation:g}",
            information,
            lambda g, b, k, c=correlation: _gaussian(g, b, k, c),
        )
    for bits, flipped in ((2, 0.2), (4, 0.05), (6, 0.05), (8, 0.05), (12, 0.05)):
        entropy = -sum(p * math.log(p) for p in (flipped, 1 - flipped))
        information = bits * (math.log(2) - entropy)
        yield (
            f"{bits} bits, {flipped:.0%} flipped",
            information,
            lambda g, b, k, n=bits, f=flipped: _flips(g, b, k, n, f),
        )


def _gaussian(generator: np.random.Generator, batches: int, k: int, correlation: float) -> np.ndarray:
    h = generator.normal(size=(batches, k))
    left = 1 - correlation**2
    x = correlation * h + math.sqrt(left) * generator.normal(size=(batches, k))
    return -((x[:, :, None] - correlation * h[:, None, :]) ** 2) / (2 * left)


def _flips(generator: np.random.Generator, batches: int, k: int, bits: int, flipped: float) -> np.ndarray:
    h = generator.integers(0, 2, (batches, k, bits))
    x = h ^ (generator.random(h.shape) < flipped)
    differ = (x[:, :, None] != h[:, None]).sum(3)
    return differ * math.log(flipped) + (bits - differ) * math.log(1 - flipped)


def _bound(scores: np.ndarray) -> Estimate:
    """The bound of scores (batches, K, K): `contrastive_terms` of all batches at once."""
    top = scores.max(2)
    terms = np.diagonal(scores, axis1=1, axis2=2) - top - np.log(np.exp(scores - top[..., None]).mean(2))
    return contrastive_bound(terms.mean(1), scores.shape[1])
