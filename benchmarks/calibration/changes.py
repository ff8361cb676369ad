"""How often a test of no change rejects where there is none, the refits' spread pooled over a layer's checkpoints."""

import math
from collections.abc import Iterator

import numpy as np

from infoplane.information import Mean, pooled
from infoplane.information.crossed import Part

DRAWS, IMAGES, REFITS, CHECKPOINTS = 10_000, 300, 3, 8
RATIOS, SIZES = (0.2, 1.0, 5.0), (0.05, 0.001, 1e-4)
EQUAL = (1.0,) * CHECKPOINTS
#: what is compared -> the spreads of refits at the checkpoints, and the two that are compared; None: another layer's
CASES = {
    "equal spreads": (EQUAL, 6, 7),
    "one checkpoint five times, a change from it": ((1, 1, 5, 1, 1, 1, 1, 1), 2, 3),
    "one checkpoint five times, a change elsewhere": ((1, 1, 5, 1, 1, 1, 1, 1), 5, 6),
    "the last five times, a change to it": ((1, 1, 1, 1, 1, 1, 1, 5), 6, 7),
    "from 1 to 5, a change to the last": (tuple(np.linspace(1, 5, CHECKPOINTS)), 0, 7),
    "two layers, equal spreads": (EQUAL, None, 7),
    "two layers, one five times": ((5.0,) * CHECKPOINTS, None, 7),
    "two layers, one five times at one checkpoint": ((1, 1, 1, 1, 1, 1, 1, 5), None, 7),
}


def lines() -> Iterator[str]:
    """Yields the table."""
    yield f"No change, {CHECKPOINTS} checkpoints, {REFITS} refits, {DRAWS:,} draws: how often there is said to be one."
    yield ""
    yield "| spreads of refits | fits : images | " + " | ".join(f"P(p < {size:g})" for size in SIZES) + " |"
    yield "| --- " * (2 + len(SIZES)) + "|"
    generator = np.random.default_rng(0)
    for name, (spreads, first, last) in CASES.items():
        for ratio in RATIOS:
            found = p_values(generator, np.array(spreads), first, last, ratio, DRAWS)
            cells = (f"{100 * np.mean(found < size):.2f} %" for size in SIZES)
            yield f"| {name} | {ratio:g} | {' | '.join(cells)} |"


def p_values(
    generator: np.random.Generator, spreads: np.ndarray, first: int | None, last: int, ratio: float, draws: int
) -> np.ndarray:
    """The p-values of so many draws, (draws,). A refit shares a p(x) at all checkpoints, of either layer.

    Args:
        first: The checkpoint that `last` is compared with; None: with another layer of spread 1 at `last`.
        ratio: What refits add to the variance of a mean over what images add, where the spread is 1.
    """
    size, found = math.sqrt(ratio * REFITS / IMAGES), np.empty(draws)
    contrast = np.zeros(len(spreads))
    contrast[last] = 1
    if first is not None:
        contrast[first] = -1
    for draw in range(draws):
        # p(x) falls out of the difference of two layers, as of that of two checkpoints.
        table = size * spreads[:, None] * generator.normal(size=(len(spreads), REFITS))
        table += size * generator.normal(size=(len(spreads) if first is None else 1, REFITS))
        fits = contrast @ table
        images = generator.normal(size=IMAGES) + generator.normal(size=IMAGES)
        parts = (
            Part(float(fits.var(ddof=1)) / REFITS, REFITS - 1),
            Part(float(images.var(ddof=1)) / IMAGES, IMAGES - 1),
        )
        own = Mean.of(float(fits.mean() + images.mean()), parts)
        found[draw] = pooled(own, table, contrast).p_value
    return found
