"""Rows of tables that something may be claimed from, and their verdicts: all of a run are one family of tests."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from infoplane.claims import ONE_NETWORK, Claim, Hypothesis, claims
from infoplane.errors import in_networks
from infoplane.information import Mean, difference, equivalent_dof, pooled
from infoplane.measurements.numbers import Place

Row = dict[str, Any]
#: refit -> what a number is the mean of, (n,), an entry for each example
Scores = Mapping[int, np.ndarray]


class CheckpointScores(dict[str, Scores]):
    """Checkpoint -> scores of one layer; their means are computed once, for all comparisons that take them."""

    def __init__(self, scores: Mapping[str, Scores]) -> None:
        super().__init__(scores)
        self._tables: dict[tuple[int, ...], tuple[list[str], np.ndarray]] = {}

    @cached_property
    def _means(self) -> dict[str, dict[int, float]]:
        return {point: {refit: float(each.mean()) for refit, each in own.items()} for point, own in self.items()}

    def table(self, refits: Sequence[int]) -> tuple[list[str], np.ndarray]:
        """Returns the checkpoints that have all these refits, and the means there, (checkpoints, refits)."""
        if (key := tuple(refits)) not in self._tables:
            points = [point for point, own in self._means.items() if own.keys() >= set(refits)]
            means = np.array([[self._means[point][refit] for refit in refits] for point in points])
            self._tables[key] = points, means
        return self._tables[key]


class Compared(NamedTuple):
    """A row without its verdict, and what is tested in it."""

    row: Row
    hypothesis: Hypothesis
    #: verdict -> other words for it in this row
    words: Mapping[str, str] = {}


def with_verdicts(tables: Mapping[str, Sequence[Compared]]) -> dict[str, list[Row]]:
    """Returns the tables with p_corrected, tests and verdict in every row, corrected over all of them together."""
    found = iter(claims([each.hypothesis for rows in tables.values() for each in rows]))

    def said(row: Row, words: Mapping[str, str], claim: Claim) -> Row:
        verdict = words.get(claim.verdict, claim.words)
        return {**row, "p_corrected": claim.p, "tests": claim.tests, "verdict": verdict}

    return {name: [said(each.row, each.words, next(found)) for each in rows] for name, rows in tables.items()}


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
    first: CheckpointScores, second: CheckpointScores, at: str, groups: np.ndarray | None = None
) -> tuple[Mean, Mean, int] | None:
    """Returns what a first layer has more than a second at a checkpoint, twice, and the refits behind it.

    With its own error, and with the refits' spread pooled over all checkpoints at which the two have these refits, but
    not of those at which both are of one density, whose difference has no spread.
    """
    refits = common(first.get(at, {}), second.get(at, {}))
    if not refits:
        return None
    own = difference(stacked(first[at], refits), stacked(second[at], refits), groups=groups)
    (points, means), (others, taken) = first.table(refits), second.table(refits)
    if points != others:
        shared = set(points) & set(others)
        means, taken = means[[at in shared for at in points]], taken[[at in shared for at in others]]
        points = [point for point in points if point in shared]
    table = means - taken
    apart = [bool(row.any()) or point == at for point, row in zip(points, table, strict=True)]
    table, points = table[apart], [point for point, other in zip(points, apart, strict=True) if other]
    contrast = np.zeros(len(points))
    contrast[points.index(at)] = 1.0
    return own, pooled(own, table, contrast), len(refits)


def change(
    curve: CheckpointScores, first: str, last: str, groups: np.ndarray | None = None
) -> tuple[Mean, Mean, int] | None:
    """Returns by how much a number rises from one checkpoint to another, as `layers_apart` does."""
    refits = common(curve.get(first, {}), curve.get(last, {}))
    if not refits:
        return None
    own = difference(stacked(curve[last], refits), stacked(curve[first], refits), groups=groups)
    points, table = curve.table(refits)
    contrast = np.zeros(len(points))
    contrast[points.index(last)] += 1.0
    contrast[points.index(first)] -= 1.0
    return own, pooled(own, table, contrast), len(refits)


def one_test(measurement: Any, mean: Mean) -> tuple[str, ...]:
    """What tells the test of a difference from others: equal terms have equal means and errors, whatever their names.

    NCE and usable information against one twin differ by the same terms, and so do two names of one layer.
    """
    return (measurement.test or measurement.kind, f"{abs(mean.value):.9g}", f"{mean.stderr:.9g}")


# --- over networks ---


def of_networks(hypothesis: Hypothesis) -> Hypothesis:
    """The same of several networks, which are what its fits are."""
    return replace(hypothesis, training=False, counted="networks", barred=without(hypothesis.barred))


def without(words: str) -> str:
    """Words without what is said of a network that was trained once."""
    return words.removesuffix(f", {ONE_NETWORK}")


def readers_of(run: Any, measurement: Any, **sides: Place) -> Row:
    """The layers with whose densities each side's number is read, and in how many networks; "": its own in all."""
    found = {side: [[measurement.reader(each, place)] for each in run.runs] for side, place in sides.items()}
    said = {side: in_networks([filter(None, own) for own in readers]) for side, readers in found.items()}
    return {f"{side}_read_through": "; ".join(own) for side, own in said.items()}
