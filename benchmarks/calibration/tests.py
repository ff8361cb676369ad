"""How often a test of no difference rejects where there is none: three refits that share a p(x), layer by layer."""

import math
from collections.abc import Iterator

import numpy as np

from infoplane.information.crossed import Part, reach

DRAWS, IMAGES, REFITS = 10_000, 100, 3
RATIOS, SIZES = (0.2, 1.0, 5.0), (0.05, 0.001, 1e-4, 1e-8)
#: spread of the refits of five layers
SPREADS = {"equal": (1, 1, 1, 1, 1), "one five times the others": (1, 1, 1, 1, 5)}
#: the share of a refit's variance that all layers have from its p(x)
SHARED = 0.5


def lines() -> Iterator[str]:
    """Yields the table."""
    yield f"Five layers without any difference, {REFITS} refits, {DRAWS:,} draws; the least and the most of the layers."
    yield ""
    yield "| spreads | fits : images | " + " | ".join(f"P(p < {size:g})" for size in SIZES) + " |"
    yield "| --- " * (2 + len(SIZES)) + "|"
    generator = np.random.default_rng(0)
    for name, spreads in SPREADS.items():
        for ratio in RATIOS:
            found = rejected(generator, np.array(spreads, dtype=float), ratio, DRAWS)
            cells = (f"{100 * least:.3g}–{100 * most:.3g} %" for least, most in zip(found.min(0), found.max(0)))
            yield f"| {name} | {ratio:g} | " + " | ".join(cells) + " |"


def rejected(generator: np.random.Generator, spreads: np.ndarray, ratio: float, draws: int) -> np.ndarray:
    """Returns how often each layer's test rejects at each of `SIZES`, (layers, sizes).

    Args:
        ratio: What refits add to the variance of a mean over what images add, where the spread is 1.
    """
    found = np.zeros((len(spreads), len(SIZES)))
    size = math.sqrt(ratio * REFITS / IMAGES)
    common = generator.normal(size=(draws, REFITS))
    for layer, spread in enumerate(spreads):
        own = generator.normal(size=(draws, REFITS))
        fits = size * spread * (math.sqrt(SHARED) * common + math.sqrt(1 - SHARED) * own)
        images = generator.normal(size=(draws, IMAGES))
        value = fits.mean(1) + images.mean(1)
        parts = (
            Part(fits.var(1, ddof=1) / REFITS, REFITS - 1),  # type: ignore[arg-type]
            Part(images.var(1, ddof=1) / IMAGES, IMAGES - 1),  # type: ignore[arg-type]
        )
        stderr = np.sqrt(parts[0].variance + parts[1].variance)
        found[layer] = [np.mean(np.abs(value) > stderr * reach(parts, each)) for each in SIZES]
    return found
