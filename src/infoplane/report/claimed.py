"""What a run's tables say of its differences and falls, each with what may be claimed of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

from infoplane.claims import ONE_NETWORK, Claim, Verdict, verdict_of
from infoplane.estimate import Estimate
from infoplane.measurements.numbers import Numbers


@dataclass(frozen=True, kw_only=True)
class _Claimed:
    """What all of them have: by how much, in nats unless said otherwise, its error, and what may be said of it.

    Attributes:
        value, stderr: The amount and its standard error.
        p: Two-sided p-value, or None where nothing was tested.
        claim: What may be said of it among all that is tested on the page, in the words of its table.
    """

    value: float
    stderr: float | None
    p: float | None
    claim: Claim

    @property
    def verdict(self) -> Verdict:
        """What may be said, of the way from the first to the second."""
        return self.claim.verdict

    @classmethod
    def _of(cls, row: Mapping[str, Any], **more: Any) -> Self:
        """What a row says, in columns of the same names, and more."""
        words = row["verdict"]
        claim = Claim(verdict_of(words), words, row["p_corrected"], row["tests"])
        own = {field.name: row[field.name] for field in fields(cls) if field.name in row}
        return cls(**{**own, "claim": claim, **more})


@dataclass(frozen=True, kw_only=True)
class Difference(_Claimed):
    """A paired difference of two layers, first minus second: what is given up on the way is positive.

    Attributes:
        first: Name of the layer nearer the input.
        second: Name of the layer nearer the output.
        kind: "usable" or "nce".
        checkpoint: Of the network.
        dof: Degrees of freedom that p is from.
        refits: Fits behind both layers, of each network.
        networks: How many networks it is a mean over.
        same: In how many of them both are read with one density, and so do not differ.
        n: Examples that the two are compared on.
        one_density: The layer whose density both are read with; "" where they have one each.
    """

    first: str
    second: str
    kind: str
    checkpoint: str
    dof: float
    refits: int
    n: int
    one_density: str = ""
    networks: int = 1
    same: int = 0

    @property
    def repeats(self) -> int:
        """What a claim counts: networks where there are several, else fits."""
        return self.refits if self.networks == 1 else self.networks

    @property
    def counted(self) -> str:
        """What these are."""
        return "fits" if self.networks == 1 else "networks"

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Difference":
        """Returns what a row of `differences` says."""
        readers = {row["first_read_through"] or row["first"], row["second_read_through"] or row["second"]}
        same = row.get("one_density", len(readers) == 1) == row.get("networks", 1)
        return cls._of(
            row, dof=row["pooled_dof"], one_density=readers.pop() if same else "", same=row.get("one_density", 0)
        )


@dataclass(frozen=True, kw_only=True)
class Fall(_Claimed):
    """How far a number of a layer falls from its peak to the end of training; positive where it does.

    Attributes:
        layer: Its layer.
        network: Its network; "" where a study has one only.
        peak, end: The checkpoints.
        chance: What a curve that never changes would show on average, or None.
        chance_spread: The standard deviation of that, or None.
        flags: What must be said with it.
        levels: The number at the first checkpoint, at the peak and at the end, by the estimates that it was taken from.
    """

    layer: str
    peak: str
    end: str
    network: str = ""
    chance: float | None = None
    chance_spread: float | None = None
    flags: str = ""
    levels: tuple[Estimate | None, ...] = (None, None, None)

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Fall":
        """Returns what a row of `compression` says, or one of a noisy network's `differences`."""
        levels = ((row.get(f"at_{at}"), row.get(f"at_{at}_stderr")) for at in ("first", "peak", "end"))
        return cls._of(
            row,
            p=max((p for p in (row["p"], row.get("paired")) if p is not None), default=None),
            peak=str(row["peak"]),
            end=str(row["end"]),
            chance=row.get("null", row.get("constant")),
            chance_spread=row.get("null_stderr"),
            levels=tuple(None if value is None else Estimate(value, stderr) for value, stderr in levels),
        )

    @property
    def ends_highest(self) -> bool:
        """Whether the end is the peak, so that nothing can have been lost since."""
        return self.peak == self.end

    @property
    def reading(self) -> str:
        """The words of the table, but for those that hold of every fall of a network that was trained once."""
        return self.claim.words.removesuffix(f", {ONE_NETWORK}")


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


def whole(steps: Sequence[Difference], found: Sequence[Difference]) -> Difference:
    """Returns the difference from the start of the chain to its end; where none was measured, the largest step."""
    ends = (steps[0].first, steps[-1].second)
    direct = next((step for step in found if (step.first, step.second) == ends), None)
    return direct or max(steps, key=lambda step: abs(step.value))


def levels(numbers: Numbers, network: str, layer: str, fall: Fall | None) -> list[tuple[str, Estimate | None]]:
    """Returns (checkpoint, I(X;T)) of a layer at first, at its peak and at the end, with flags; empty without numbers.

    Where a fall was taken they are those that it was taken from, so that they add up; else means of all estimates.
    """
    series = numbers.series(layer, "flow", network=network)
    if not series:
        return []
    first, last = next(iter(series)), next(reversed(series))
    if fall is None or fall.end != last:
        return [(at, series[at]) for at in (first, max(series, key=lambda at: series[at].value), last)]
    behind = ((at, own, series.get(at)) for at, own in zip((first, fall.peak, last), fall.levels, strict=True))
    return [
        (at, replace(mean, value=own.value, stderr=own.stderr) if own and mean else mean or own)
        for at, own, mean in behind
    ]
