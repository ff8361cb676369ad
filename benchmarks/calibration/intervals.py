"""Coverage of `Estimate.interval()` over refits and images, and of shares of images."""

import math
from collections.abc import Iterator

import numpy as np
from scipy import stats

from infoplane.estimate import Estimate
from infoplane.information import negative_cross_entropy

DRAWS, IMAGES = 4_000, 100
REFITS, RATIOS = (2, 3, 5), (0.2, 1.0, 5.0)


def lines() -> Iterator[str]:
    """Yields the two tables."""
    yield "Means over refits and images; fits : images is the ratio of what either adds to the variance of the mean."
    yield ""
    yield "| refits | fits : images | 95 % interval covers | ± 1.96 s.e. covers | 99 % interval covers |"
    yield "| --- | --- | --- | --- | --- |"
    generator = np.random.default_rng(0)
    for refits in REFITS:
        for ratio in RATIOS:
            found = [_covered(_terms(generator, refits, ratio)) for _ in range(DRAWS)]
            yield (
                f"| {refits} | {ratio:g} | " + " | ".join(f"{100 * share:.1f} %" for share in np.mean(found, 0)) + " |"
            )
    yield ""
    yield "Shares of n images, over all shares from 1 to 99 %, by enumeration: Wilson's interval, and ± 1.96 s.e."
    yield ""
    yield "| n | Wilson covers, mean | least | ± 1.96 s.e. covers, mean | least |"
    yield "| --- | --- | --- | --- | --- |"
    for n in (10, 40, 297, 1000):
        wilson, plain = (np.array(each) for each in zip(*(_shares(n, p) for p in np.linspace(0.01, 0.99, 99))))
        cells = (wilson.mean(), wilson.min(), plain.mean(), plain.min())
        yield f"| {n} | " + " | ".join(f"{100 * share:.1f} %" for share in cells) + " |"


def _terms(generator: np.random.Generator, refits: int, ratio: float) -> np.ndarray:
    """log-probabilities (R, n) whose expectation is 0."""
    fits = generator.normal(0, math.sqrt(ratio * refits / IMAGES), (refits, 1))
    return fits + generator.normal(size=IMAGES) + 0.3 * generator.normal(size=(refits, IMAGES))


def _covered(terms: np.ndarray) -> tuple[bool, bool, bool]:
    estimate = negative_cross_entropy(terms)
    (low, high), (least, most) = estimate.interval(), estimate.interval(0.99)
    return low <= 0 <= high, abs(estimate.value) <= 1.96 * (estimate.stderr or 0.0), least <= 0 <= most


def _shares(n: int, p: float) -> tuple[float, float]:
    """How probable it is that the interval holds p, Wilson's and the plain one."""
    weights = stats.binom(n, p).pmf(np.arange(n + 1))
    shares = np.arange(n + 1) / n
    ends = [Estimate(share, None, "fraction", "accuracy", n=n).interval() for share in shares]
    reach = 1.96 * np.sqrt(shares * (1 - shares) / n)
    plain = np.abs(shares - p) <= reach
    return float(weights @ [low <= p <= high for low, high in ends]), float(weights @ plain)
