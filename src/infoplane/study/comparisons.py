"""Rows of tables that something may be claimed from, and their verdicts: all of a run are one family of tests."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from infoplane.claims import Claim, Hypothesis, claims
from infoplane.information import Mean, difference, equivalent_dof, pooled

Row = dict[str, Any]
#: refit -> what a number is the mean of, (n,), an entry for each example
Scores = Mapping[int, np.ndarray]


class Compared(NamedTuple):
    """A row without its verdict, and what is tested in it."""

    row: Row
    hypothesis: Hypothesis
    #: verdict -> other words for it in this row
    words: Mapping[str, str] = {}


def settled(tables: Mapping[str, Sequence[Compared]]) -> dict[str, list[Row]]:
    """Returns the tables with p_corrected, tests and verdict in every row, corrected over all of them together."""
    found = iter(claims([each.hypothesis for rows in tables.values() for each in rows]))
    return {
        name: [{**each.row, **_said(claim, each.words)} for each, claim in zip(rows, found, strict=False)]
        for name, rows in tables.items()
    }


def _said(claim: Claim, words: Mapping[str, str]) -> Row:
    return {"p_corrected": claim.p, "tests": claim.tests, "verdict": words.get(claim.verdict, claim.words)}


def common(*sides: Scores) -> list[int]:
    """The refits that all of these have: only these can be paired."""
    return sorted(set.intersection(*(set(side) for side in sides))) if sides else []


def stacked(scores: Scores, refits: Sequence[int]) -> np.ndarray:
    """The scores of these refits, (R, n)."""
    return np.stack([scores[refit] for refit in refits])


def numbers(own: Mean, tested: Mean) -> Row:
    """The columns of a paired difference: its own error, and the pooled one that p is from.

    `pooled_dof` are the degrees of freedom with which Student's t and the pooled error give just this p.
    """
    dof = equivalent_dof(tested.parts, tested.p_value) if tested.parts else tested.dof
    return {
        "value": own.value,
        "stderr": own.stderr,
        "dof": own.dof,
        "pooled_stderr": tested.stderr,
        "pooled_dof": dof,
        "p": tested.p_value,
    }


def layers_apart(
    first: Mapping[str, Scores], second: Mapping[str, Scores], at: str, groups: np.ndarray | None = None
) -> tuple[Mean, Mean, int] | None:
    """Returns what a first layer has more than a second at a checkpoint, twice, and the refits behind it.

    With its own error, and with the refits' spread pooled over all checkpoints at which the two have these refits.

    Args:
        first: Checkpoint -> scores; second likewise.
    """
    refits = common(first.get(at, {}), second.get(at, {}))
    if not refits:
        return None
    own = difference(stacked(first[at], refits), stacked(second[at], refits), groups=groups)
    points = [point for point in first if point in second and set(refits) <= set(common(first[point], second[point]))]
    table = np.array([_means(first[point], refits) - _means(second[point], refits) for point in points])
    contrast = [float(point == at) for point in points]
    return own, pooled(own, table, contrast), len(refits)


def change(
    curve: Mapping[str, Scores], first: str, last: str, groups: np.ndarray | None = None
) -> tuple[Mean, Mean, int] | None:
    """Returns by how much a number rises from one checkpoint to another, as `layers_apart` does."""
    refits = common(curve.get(first, {}), curve.get(last, {}))
    if not refits:
        return None
    own = difference(stacked(curve[last], refits), stacked(curve[first], refits), groups=groups)
    points = [point for point, scores in curve.items() if set(refits) <= set(scores)]
    table = np.array([_means(curve[point], refits) for point in points])
    contrast = [float(point == last) - float(point == first) for point in points]
    return own, pooled(own, table, contrast), len(refits)


def one_test(kind: str, mean: Mean) -> tuple[str, ...]:
    """What tells the test of a difference from others: equal terms have equal means and errors, whatever their names.

    NCE and usable information against one twin differ by the same terms, and so do two names of one layer.
    """
    return ("fits" if kind in ("nce", "usable") else kind, f"{abs(mean.value):.9g}", f"{mean.stderr:.9g}")


def _means(scores: Scores, refits: Sequence[int]) -> np.ndarray:
    return np.array([scores[refit].mean() for refit in refits])
