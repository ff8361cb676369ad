"""How often anything false is claimed on a page: Holm over twenty equal layers, and over a curve that never changes."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from infoplane.claims import Hypothesis, claims
from infoplane.information import Mean, pooled
from infoplane.information.crossed import Part

PAGES, REFITS, IMAGES = 1_500, 3, 300
RATIOS = (0.2, 1.0, 5.0)


def lines() -> Iterator[str]:
    """Yields both tables."""
    yield f"Pages without any difference, {REFITS} refits, {PAGES:,} pages: how often something is claimed."
    yield ""
    yield "| page | spreads of refits | fits : images | any claim, as printed | uncorrected |"
    yield "| --- " * 5 + "|"
    generator = np.random.default_rng(0)
    twenty = {"equal": np.ones(20), "from 1 to 5": np.linspace(1, 5, 20)}
    curves = {
        "equal": np.ones(8),
        "one five times": np.r_[1, 1, 5, 1, 1, 1, 1, 1],
        "last five times": np.r_[np.ones(7), 5],
    }
    for what, spreads, page in (("20 equal layers", twenty, layers), ("flat curve of 8", curves, curve)):
        for name, spread in spreads.items():
            for ratio in RATIOS:
                found = np.mean([_claimed(page(generator, spread, ratio)) for _ in range(PAGES)], 0)
                yield f"| {what} | {name} | {ratio:g} | {100 * found[0]:.1f} % | {100 * found[1]:.1f} % |"


def layers(generator: np.random.Generator, spreads: np.ndarray, ratio: float) -> list[Hypothesis]:
    """The steps between neighbouring layers, and from the first to the last."""
    fits, images = _drawn(generator, spreads, ratio)
    pairs = [*pairwise(range(len(spreads))), (0, len(spreads) - 1)]
    return [_tested(fits[b] - fits[a], images[b] - images[a]) for a, b in pairs]


def curve(generator: np.random.Generator, spreads: np.ndarray, ratio: float) -> list[Hypothesis]:
    """The changes from each checkpoint to the next and to the last, the refits' spread pooled."""
    fits, images = _drawn(generator, spreads, ratio)
    last = len(spreads) - 1
    found = []
    for a, b in [*pairwise(range(len(spreads))), *((at, last) for at in range(last - 1))]:
        contrast = np.zeros(len(spreads))
        contrast[[a, b]] = -1, 1
        found.append(_tested(fits[b] - fits[a], images[b] - images[a], fits, contrast))
    return found


def _drawn(generator: np.random.Generator, spreads: np.ndarray, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    """Means by refit, (layers, R), of which the p(x) of a refit is shared; what sampling images adds, (layers,)."""
    own, common = generator.normal(size=(len(spreads), REFITS)), generator.normal(size=REFITS)
    return np.sqrt(ratio * REFITS) * (spreads[:, None] * own + common), generator.normal(size=len(spreads))


def _tested(
    fits: np.ndarray, images: float, table: np.ndarray | None = None, contrast: np.ndarray | None = None
) -> Hypothesis:
    parts = (Part(float(fits.var(ddof=1)) / REFITS, REFITS - 1), Part(2.0, IMAGES - 1))
    mean = Mean.of(float(fits.mean()) + images, parts)
    mean = mean if table is None or contrast is None else pooled(mean, table, contrast)
    return Hypothesis(mean.value, mean.p_value, REFITS)


def _claimed(page: list[Hypothesis]) -> tuple[bool, bool]:
    said = any(claim.verdict in ("rises", "falls") for claim in claims(page))
    return said, any(each.p is not None and each.p < 0.05 for each in page)
