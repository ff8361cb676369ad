"""The numbers of noisy networks as lines: one per network and layer, on the page and under a run."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from infoplane.claims import ONE_NETWORK
from infoplane.estimate import NATS_PER_BIT, Estimate
from infoplane.measurements import NOISY_QUANTITIES
from infoplane.measurements.numbers import NETWORK
from infoplane.report.claimed import levels
from infoplane.report.format import MISSING, both, epoch_text, information, probability, rounded, setting_text
from infoplane.report.noisy.contents import NetworkThroughTraining, NoisyContents
from infoplane.report.page import Facts, Footnotes
from infoplane.report.tables import NONE, UNIT_WORDS, UNITS, Notes, Table, TableEntry, entry

#: what a reader must know who subtracts one column from the other
ADDS_UP = (
    "I(X;T) at first, at its peak and at the end are here those of the estimates that did not choose the peak, so that "
    "peak minus end is what was lost; the figure shows the mean of all estimates. The peak is the epoch with the "
    "largest number in the estimate that chose it: where many epochs are equal but for chance, the others may well put "
    "it a little below the first epoch or the end."
)

#: its head, (network, layer) -> a number, and what stands below that
Column = tuple[TableEntry, Callable[[NetworkThroughTraining, str], tuple[Estimate | None, str]]]


def _at_epochs(contents: NoisyContents) -> Iterator[Column]:
    """The columns of I(X;T): at first, at the peak and at the end, each with its epoch."""

    def find(index: int, network: NetworkThroughTraining, layer: str) -> tuple[Estimate | None, str]:
        known = levels(contents.numbers, network.name, layer, contents.fall(network.name, layer))
        return (known[index][1], f"epoch {epoch_text(known[index][0])}") if known else (None, "")

    for index, name in enumerate(("I(X;T) at first", "at its peak", "at the end")):
        yield TableEntry(name, (UNITS, "epoch")), partial(find, index)


def _at_end(contents: NoisyContents) -> Iterator[Column]:
    """The columns of what else is known of layers at the end, in the order of what may be measured."""

    def find(kind: str, size: float | None, network: NetworkThroughTraining, layer: str) -> tuple[Estimate | None, str]:
        series = contents.numbers.series(layer, kind, network=network.name, setting=size)
        return next(reversed(series.values()), None), ""

    for kind, each in NOISY_QUANTITIES.items():
        for size in sorted(contents.numbers.settings(kind), key=lambda size: size or 0.0) if kind != "flow" else ():
            unit = UNITS if each.unit == "nats" else UNIT_WORDS.get(each.unit, each.unit)
            taken = () if size is None else (f"{each.setting} {setting_text(size)}",)
            head = TableEntry(each.head or f"{each.name} at the end", (unit, *taken))
            yield head, partial(find, kind, size)


def network_tables(contents: NoisyContents) -> list[Facts | Table | Footnotes]:
    """Returns what each layer of each network held at first, at its peak and at the end, and how far it fell."""
    notes, several = Notes(), len(contents.networks) > 1
    dated, others = list(_at_epochs(contents)) if contents.has("flow") else [], list(_at_end(contents))
    facts = []
    for kind, network in itertools.product(NOISY_QUANTITIES, contents.networks):
        for epoch, own in [*contents.numbers.series(NETWORK, kind, network=network.name).items()][-1:]:
            behind = f"at epoch {epoch_text(epoch)}" + (f", on {own.n:,} inputs" if own.n else "")
            name = f"{NOISY_QUANTITIES[kind].name}{f' of {network.name}' * several}"
            facts.append((name, entry(own, notes, behind, unit=True)))
    parts: list[Facts | Table | Footnotes] = [Facts(facts)] if facts else []
    if dated or others:

        def found(columns: Sequence[Column], network: NetworkThroughTraining, layer: str) -> list[TableEntry]:
            return [entry(*(own[0], notes, own[1])) for _, find in columns for own in [find(network, layer)]]

        # A fall stands behind the levels that it was taken from.
        fallen = [TableEntry("Fall since the peak", (UNITS, "p, corrected")), TableEntry("By chance", (UNITS,))]
        fallen = [*fallen, TableEntry("Reading", (ONE_NETWORK,))] if contents.falls else []
        groups = []
        for network in contents.networks:
            rows = []
            for layer, units in network.layers.items():
                chip = f"var(--layer-{contents.layers.index(layer)})"
                who = TableEntry(layer, (f"{units} unit{'s' * (units != 1)}",), chip=chip)
                lost = _fallen(contents, network, layer) if contents.falls else []
                rows.append([who, *found(dated, network, layer), *lost, *found(others, network, layer)])
            groups.append((network.title if several or network.name else "", rows))
        heads = [*(head for head, _ in dated), *fallen, *(head for head, _ in others)]
        parts.append(Table([TableEntry("Layer"), *heads], groups, "The numbers of each layer"))
    said = [ADDS_UP] if any(any(fall.levels) for fall in contents.falls) else []
    lines = [*said, *filter(None, [contents.corrected]), *notes.lines]
    return [*parts, *([Footnotes(lines)] if lines else [])]


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
