"""What the sentences of all pages share, and their opening."""

import dataclasses
from collections.abc import Sequence

from markupsafe import Markup

from infoplane.measurements import NOISY_QUANTITIES, QUANTITIES
from infoplane.report.claimed import Difference
from infoplane.report.format import listed

DIRECTIONS = {"lower": "lower bound", "upper": "upper bound", "estimate": "estimate", "none": "not a bound"}


def quantity_name(kind: str) -> str:
    """Returns the short name of a kind of number."""
    quantity = QUANTITIES.get(kind) or NOISY_QUANTITIES.get(kind)
    return quantity.name if quantity else kind


@dataclasses.dataclass(frozen=True)
class Opening:
    """The first thing on the page.

    Attributes:
        sentence: What the data supports, in one sentence.
        detail: Sentences that qualify it.
        kind: What the opening figure shows, or None.
        steps: The steps between layers that are spoken of.
    """

    sentence: Markup
    detail: tuple[Markup, ...] = ()
    kind: str | None = None
    steps: tuple[Difference, ...] = ()


def no_numbers(failures: int) -> Opening:
    """Returns the opening of a page without any number."""
    if failures:
        parts = f"{failures} part" + ("s" if failures > 1 else "")
        return Opening(Markup("There are no numbers: {} of the run failed.").format(parts))
    return Opening(Markup("There are no numbers yet."))


def but(flagged: Sequence[tuple[str, str]], behind: int) -> Markup:
    """Returns the end of a sentence: what is amiss with the numbers behind it, if anything is, and the stop.

    Args:
        flagged: (what is amiss, with what).
        behind: How many the sentence is about: "all of these", if these are many and all of them flagged.
    """
    whose: dict[str, list[str]] = {}
    for flag, label in flagged:
        whose.setdefault(flag, []).append(label)
    together: dict[tuple[str, ...], list[str]] = {}
    for flag, at in whose.items():
        together.setdefault(tuple(dict.fromkeys(at)), []).append(flag)
    if not together:
        return Markup(".")
    clauses = [
        Markup("at {}, {}").format("all of these" if len(at) == behind > 3 else listed(at), listed(flags))
        for at, flags in together.items()
    ]
    return Markup('. <span class="caveat">Caveat: {}.</span>').format(Markup("; ").join(clauses))
