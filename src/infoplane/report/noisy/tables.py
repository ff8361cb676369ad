"""The numbers of noisy networks as lines: one per network and layer, on the page and under a run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from infoplane.claims import ONE_NETWORK
from infoplane.estimate import NATS_PER_BIT, Estimate
from infoplane.measurements.numbers import NETWORK
from infoplane.report.claimed import levels
from infoplane.report.format import MISSING, both, epoch_text, information, probability, rounded, setting_text
from infoplane.report.noisy.contents import NetworkThroughTraining, NoisyContents
from infoplane.report.page import Facts, Footnotes
from infoplane.report.tables import NONE, UNITS, Notes, Table, TableEntry, entry

#: what a reader must know who subtracts one column from the other
ADDS_UP = (
    "I(X;T) at first, at its peak and at the end are here those of the estimates that did not choose the peak, so that "
    "peak minus end is what was lost; the figure shows the mean of all estimates. The peak is the epoch with the "
    "largest number in the estimate that chose it: where many epochs are equal but for chance, the others may well put "
    "it a little below the first epoch or the end."
)

#: (network, layer) -> a number, and what stands below it
Find = Callable[[NetworkThroughTraining, str], tuple[Estimate | None, str]]


@dataclass(frozen=True)
class LevelColumn:
    """A column of numbers: its name on the page, what is said below that, its name under a run, its numbers.

    Those of I(X;T) at an epoch come first, before the fall that is taken from them.
    """

    name: str
    remark: str
    short: str
    find: Find

    @property
    def of_epoch(self) -> bool:
        """Whether its numbers say of which epoch they are."""
        return self.remark == "epoch"


def columns_of(contents: NoisyContents) -> Iterator[LevelColumn]:
    """Yields the columns of numbers: I(X;T) at first, at the peak and at the end, and clustering at the end."""
    names = (("I(X;T) at first", "I(X;T): first"), ("at its peak", "peak"), ("at the end", "end"))
    for index, (name, short) in enumerate(names if contents.has("flow") else ()):
        yield LevelColumn(name, "epoch", f"{short} (epoch)" if index else short, _level(contents, index))
    if contents.has("information"):
        yield LevelColumn("at the end, by quadrature", "", "by quadrature", _last(contents, "information"))
    sizes = [size for network in contents.networks for size in contents.bins(network.name)]
    for size in sorted(set(sizes)):
        bins = setting_text(size)
        find = _last(contents, "binned-entropy", size)
        yield LevelColumn("H(Bin(T)) at the end", f"bins of {bins}", f"H(Bin), {bins}", find)


def _level(contents: NoisyContents, index: int) -> Find:
    def find(network: NetworkThroughTraining, layer: str) -> tuple[Estimate | None, str]:
        known = levels(contents.numbers, network.name, layer, contents.fall(network.name, layer))
        if not known:
            return None, ""
        epoch, estimate = known[index]
        return estimate, epoch_text(epoch)

    return find


def _last(contents: NoisyContents, kind: str, size: float | None = None) -> Find:
    def find(network: NetworkThroughTraining, layer: str) -> tuple[Estimate | None, str]:
        series = contents.numbers.series(layer, kind, network=network.name, setting=size)
        return next(reversed(series.values()), None), ""

    return find


def accuracies(contents: NoisyContents) -> Iterator[tuple[NetworkThroughTraining, str, Estimate]]:
    """Yields (network, epoch, accuracy) at the end of its training, where that is known."""
    for network in contents.networks:
        series = contents.numbers.series(NETWORK, "accuracy", network=network.name)
        if series:
            yield (network, *next(reversed(series.items())))


def network_tables(contents: NoisyContents) -> list[Facts | Table | Footnotes]:
    """Returns what each layer of each network held at first, at its peak and at the end, and how far it fell."""
    notes, columns, lost = Notes(), list(columns_of(contents)), bool(contents.falls)
    facts = []
    for network, epoch, estimate in accuracies(contents):
        who = f"Accuracy of {network.name}" if len(contents.networks) > 1 else "Accuracy"
        behind = f"at epoch {epoch_text(epoch)}" + (f", on {estimate.n:,} inputs" if estimate.n else "")
        facts.append((who, entry(estimate, notes, behind, unit=True)))
    parts: list[Facts | Table | Footnotes] = [Facts(facts)] if facts else []
    if columns:
        # A fall stands behind the levels that it was taken from.
        after = sum(column.of_epoch for column in columns)
        head = [TableEntry(column.name, tuple(filter(None, (UNITS, column.remark)))) for column in columns]
        fallen = [TableEntry("Fall since the peak", (UNITS, "p, corrected")), TableEntry("By chance", (UNITS,))]
        fallen.append(TableEntry("Reading", (ONE_NETWORK,)))
        groups = []
        for network in contents.networks:
            rows = []
            for layer, units in network.layers.items():
                found = (column.find(network, layer) for column in columns)
                row = [
                    entry(each, notes, f"{column.remark} {remark}" if remark else "")
                    for column, (each, remark) in zip(columns, found, strict=True)
                ]
                who = TableEntry(layer, (f"{units} unit{'s' * (units != 1)}",), chip=_chip(contents, layer))
                rows.append([who, *row[:after], *(_fallen(contents, network, layer) if lost else ()), *row[after:]])
            groups.append((network.title if len(contents.networks) > 1 or network.name else "", rows))
        head = [*head[:after], *(fallen if lost else ()), *head[after:]]
        parts.append(Table([TableEntry("Layer"), *head], groups, "The numbers of each layer"))
    said = [ADDS_UP] if any(any(fall.levels) for fall in contents.falls) else []
    lines = [*said, *filter(None, [contents.corrected]), *notes.lines]
    return [*parts, *([Footnotes(lines)] if lines else [])]


def _chip(contents: NoisyContents, layer: str) -> str:
    return f"var(--layer-{contents.layers.index(layer)})"


def _fallen(contents: NoisyContents, network: NetworkThroughTraining, layer: str) -> list[TableEntry]:
    """What a layer lost since its peak, what chance alone would show, and what may be said of it."""
    fall = contents.fall(network.name, layer)
    if fall is None:
        return [NONE, NONE, NONE]
    p = probability(fall.claim.p)
    said = "" if fall.claim.p is None or fall.ends_highest else f"p {p}" if p.startswith("<") else f"p = {p}"
    size = MISSING if fall.ends_highest else information(fall.value, fall.stderr, unit=False)
    chance = NONE
    if fall.chance is not None:
        chance = TableEntry(both(*(rounded(fall.chance / per, fall.chance / per) for per in (1.0, NATS_PER_BIT))))
    return [TableEntry(size, (said,) if said else ()), chance, TableEntry(fall.reading)]
