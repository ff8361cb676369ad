"""Tidy rows turned back into Estimates, and differences into what may be claimed from them."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from scipy.special import ndtr, stdtr

from infoplane.claims import Claim, Hypothesis, Verdict, claims, verdict_of
from infoplane.estimate import Estimate
from infoplane.measurements.numbers import INPUT, NETWORK, in_order


def number_of(value: object) -> float | None:
    """Returns a finite float, or None: tables carry missing values as None or NaN."""
    if value is None or isinstance(value, str):
        return None
    number = float(value)  # type: ignore[arg-type]
    return number if math.isfinite(number) else None


@dataclasses.dataclass(frozen=True)
class Result:
    """One row: whose number it is, and the number. Information is in nats."""

    layer: str
    checkpoint: str
    refit: str
    estimate: Estimate


class Results:
    """Looks up the rows of a report.

    Args:
        rows: As in `ReportContents.rows`; rows without a finite value are left out.
        checkpoints: As in `ReportContents.checkpoints`.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], checkpoints: Sequence[str] = ()) -> None:
        self.all = [result_of(row) for row in rows if number_of(row.get("value")) is not None]
        self._of: dict[tuple[str, str], dict[str, list[Result]]] = {}
        for result in self.all:
            own = self._of.setdefault((result.layer, result.estimate.kind), {})
            own.setdefault(result.checkpoint, []).append(result)
        # p(x) belongs to no checkpoint of the network, whatever its rows say.
        dated = [result.checkpoint for result in self.all if result.layer not in (NETWORK, INPUT)]
        self.checkpoints = in_order([checkpoint for checkpoint in dated if checkpoint], checkpoints)
        self.layers = list(dict.fromkeys(result.layer for result in self.all))
        self.kinds = list(dict.fromkeys(result.estimate.kind for result in self.all))

    @property
    def last(self) -> str:
        """The last checkpoint with numbers of a layer: the one that is spoken of."""
        return self.checkpoints[-1] if self.checkpoints else ""

    def fits(self, layer: str, kind: str, checkpoint: str | None = None) -> list[Estimate]:
        """Returns the number of each single fit."""
        return [found.estimate for found in self._find(layer, kind, checkpoint) if found.refit != "all"]

    def get(self, layer: str, kind: str, checkpoint: str | None = None) -> Estimate | None:
        """Returns the number over all refits, else that of the first single fit, else None."""
        found = self._find(layer, kind, checkpoint)
        pooled = next((result.estimate for result in found if result.refit == "all"), None)
        if pooled is not None or not found:
            return pooled
        first = found[0].estimate
        if len(found) == 1:
            return first
        return dataclasses.replace(first, flags=(*first.flags, f"one of {len(found)} fits that were not combined"))

    def _find(self, layer: str, kind: str, checkpoint: str | None) -> list[Result]:
        wanted = self.last if checkpoint is None else checkpoint
        found = self._of.get((layer, kind), {})
        if wanted in found:
            return found[wanted]
        # What belongs to no checkpoint belongs to every one.
        return [result for each in found.values() for result in each] if layer == INPUT else found.get("", [])

    def dated(self, layer: str) -> list[str]:
        """Returns the checkpoints at which a layer has numbers, in training order."""
        own = {result.checkpoint for result in self.all if result.layer == layer}
        return [checkpoint for checkpoint in self.checkpoints if checkpoint in own]


def result_of(row: Mapping[str, Any]) -> Result:
    """Returns what one row of a table says."""
    bound = row.get("direction")
    estimate = Estimate(
        value=float(row["value"]),
        stderr=number_of(row.get("stderr")),
        unit=row.get("unit") or "nats",
        kind=str(row["kind"]),
        bound=bound if bound in ("lower", "upper", "estimate") else None,
        n=int(row.get("n") or 0),
        refits=1 if row.get("refits") is None else int(row["refits"]),
        flags=tuple(flag.strip() for flag in str(row.get("flags") or "").split(";") if flag.strip()),
        ceiling=number_of(row.get("ceiling")),
        dof=math.inf if (dof := row.get("dof")) is None or math.isnan(dof) else float(dof),
        read_through=row.get("read_through") or "",
    )
    estimate = estimate.nats if estimate.unit == "bits" else estimate
    checkpoint = row.get("checkpoint")
    return Result(
        layer=str(row.get("layer") or NETWORK),
        checkpoint="" if checkpoint is None else str(checkpoint),
        refit=str(row.get("refit", "all")),
        estimate=estimate,
    )


@dataclasses.dataclass(frozen=True)
class Difference:
    """A paired difference, first minus second, in nats.

    Attributes:
        first: Name of the layer nearer the input.
        second: Name of the layer nearer the output.
        kind: "usable" or "nce".
        value: What the second is short of.
        stderr: Its standard error, or None.
        pooled_stderr: The error that p is from; likewise.
        dof: Degrees of freedom of that.
        p: Two-sided p-value, or None.
        claim: What may be said of it among all that is tested on the page.
        refits: Fewest fits behind either layer; None if unknown.
        n: Examples that the two are compared on; 0 if unknown.
        summed: Whether it is the sum of several steps, its error an upper limit.
        checkpoint: Of the network; "" if unknown.
        one_density: The layer whose density both are read with; "" where they have one each.
    """

    first: str
    second: str
    kind: str
    value: float
    stderr: float | None
    pooled_stderr: float | None
    dof: float
    p: float | None
    claim: Claim
    refits: int | None = None
    n: int = 0
    summed: bool = False
    checkpoint: str = ""
    one_density: str = ""

    @property
    def verdict(self) -> Verdict:
        """What may be said, of the way from the first to the second."""
        return self.claim.verdict


def differences(rows: Sequence[Mapping[str, Any]], results: Results) -> list[Difference]:
    """Returns the differences of one kind, usable information where there is any, at every checkpoint."""
    kinds = {str(row.get("kind")) for row in rows}
    kind = next((kind for kind in ("usable", "nce") if kind in kinds), None)
    found = []
    for row in rows:
        value = number_of(row.get("value"))
        if row.get("kind") != kind or value is None:
            continue
        first, second, checkpoint = str(row["first"]), str(row["second"]), row.get("checkpoint")
        at = results.last if checkpoint is None else str(checkpoint)
        dof, p = number_of(row.get("pooled_dof", row.get("dof"))), number_of(row.get("p"))
        refits = row.get("refits") or _fewest(results, first, second, str(kind), at)
        stderr = number_of(row.get("stderr"))
        behind = results.get(first, str(kind), at)
        readers = {row.get("first_read_through") or first, row.get("second_read_through") or second}
        found.append(
            Difference(
                first,
                second,
                str(kind),
                value,
                stderr,
                number_of(row.get("pooled_stderr", stderr)),
                math.inf if dof is None else dof,
                p,
                claim_of(row),
                refits,
                int(row.get("n") or (behind.n if behind is not None else 0)),
                checkpoint=at,
                one_density=readers.pop() if len(readers) == 1 else "",
            )
        )
    if all("verdict" in row for row in rows):
        return found
    # Rows from elsewhere come without verdicts: they are the whole family then.
    own = claims([Hypothesis(-step.value, step.p, step.refits) for step in found])
    return [dataclasses.replace(step, claim=claim) for step, claim in zip(found, own, strict=True)]


def claim_of(row: Mapping[str, Any]) -> Claim:
    """The verdict of a row, as it was written."""
    words = str(row.get("verdict") or "")
    return Claim(verdict_of(words), words, number_of(row.get("p_corrected")), int(row.get("tests") or 0))


def chain(found: Sequence[Difference], order: Sequence[str]) -> list[Difference]:
    """Returns the longest run of steps that follow one another in depth, each from where the last one ended.

    Layers whose fits failed break a run; a difference that skips layers is no step where shorter ones exist.
    """
    depth = {name: index for index, name in enumerate(order)}
    steps = [step for step in found if step.first in depth and step.second in depth]
    # Shortest first, so that a layer's step is the one to its next neighbour and not the one to the end.
    steps.sort(key=lambda step: (depth[step.first], depth[step.second] - depth[step.first]))
    by_first: dict[str, Difference] = {}
    for step in steps:
        if depth[step.second] > depth[step.first]:
            by_first.setdefault(step.first, step)
    best: list[Difference] = []
    for name in order:
        run: list[Difference] = []
        while name in by_first:
            run.append(by_first[name])
            name = by_first[name].second
        if len(run) > len(best):
            best = run
    return best


def whole(steps: Sequence[Difference], found: Sequence[Difference], results: Results) -> Difference:
    """Returns the difference from the start of the chain to its end.

    The measured one where there is one. Else the sum of the steps, with the sum of their errors: steps share a
    layer and so are correlated, but sd(A + B) <= sd(A) + sd(B) always, so this error is never too small.
    """
    first, second = steps[0].first, steps[-1].second
    direct = next((step for step in found if (step.first, step.second) == (first, second)), None)
    if direct is not None:
        return direct
    value = sum(step.value for step in steps)
    errors = [step.pooled_stderr for step in steps if step.pooled_stderr is not None]
    stderr = sum(errors) if len(errors) == len(steps) else None
    dof = min(step.dof for step in steps)
    p = None
    if stderr and all(step.p is not None for step in steps):
        t = -abs(value) / stderr
        p = float(2 * (ndtr(t) if math.isinf(dof) else stdtr(dof, t)))
    # What lies between cancels from the sum, so only the fits of its ends count.
    kind = steps[0].kind
    fewest = _fewest(results, first, second, kind, steps[0].checkpoint)
    # One more test than the page's others: the whole of the correction that this can ask for.
    tests = 1 + max(step.claim.tests for step in steps)
    (claim,) = claims([Hypothesis(-value, None if p is None else min(1.0, tests * p), fewest)])
    claim = dataclasses.replace(claim, tests=tests)
    n, at = min(step.n for step in steps), steps[0].checkpoint
    return Difference(first, second, kind, value, stderr, stderr, dof, p, claim, fewest, n, summed=True, checkpoint=at)


def _fewest(results: Results, first: str, second: str, kind: str, checkpoint: str) -> int | None:
    """Fits behind whichever of two layers has fewer; None where neither has a number."""
    known = (results.get(name, kind, checkpoint) for name in (first, second))
    return min((estimate.refits for estimate in known if estimate is not None), default=None)
