"""The table of the page of a study of noisy networks, as plain cells that the template only has to lay out."""

import dataclasses

from markupsafe import Markup

from infoplane.claims import ONE_NETWORK, corrected_for
from infoplane.estimate import NATS_PER_BIT, Estimate
from infoplane.report.amounts import MISSING, amount, between, both, information, probability, rounded
from infoplane.report.noisy_contents import NetworkThroughTraining, NoisyContents
from infoplane.report.noisy_numbers import Loss, NoisyNumbers, epoch_text, levels, plain, titled
from infoplane.report.noisy_words import verdict_words
from infoplane.report.tables import Cell, Notes


@dataclasses.dataclass(frozen=True)
class NoisyColumn:
    """What a column holds, in which unit, and what more must be said of it."""

    name: str
    unit: Markup
    remark: str = ""


@dataclasses.dataclass(frozen=True)
class NoisyLine:
    """One layer of one network."""

    layer: str
    units: int
    cells: tuple[Cell | None, ...]


@dataclasses.dataclass(frozen=True)
class NoisyTable:
    """All numbers.

    `groups` are (network's title, its lines); `network` are facts of whole networks; `remark` is on the columns;
    `corrected` says over how many tests the verdicts hold.
    """

    columns: tuple[NoisyColumn, ...]
    groups: tuple[tuple[str, tuple[NoisyLine, ...]], ...]
    network: tuple[tuple[str, Cell], ...]
    footnotes: tuple[tuple[str, str], ...]
    remark: str = ""
    corrected: str = ""


#: what a reader must know who subtracts one column from the other
ADDS_UP = (
    "I(X;T) at first, at its peak and at the end are here those of the estimates that did not choose the peak, so that "
    "peak minus end is what was lost; the figure shows the mean of all estimates. The peak is the epoch with the "
    "largest number in the estimate that chose it: where many epochs are equal but for chance, the others may well put "
    "it a little below the first epoch or the end."
)


def numbers(contents: NoisyContents, found: NoisyNumbers, losses: list[Loss]) -> NoisyTable:
    """Returns what each layer of each network held at first, at its peak and at the end, and what it lost."""
    unit, notes = both("nats", "bits"), Notes()
    flow, exact = found.has("flow"), found.has("information")
    lost = flow and bool(losses)
    columns = []
    if flow:
        columns += [NoisyColumn("I(X;T) at first", unit), NoisyColumn("at its peak", unit, "epoch")]
        columns += [NoisyColumn("at the end", unit, "epoch")]
    columns += [NoisyColumn("at the end, by quadrature", unit)] * exact
    if lost:
        columns += [
            NoisyColumn("Lost since the peak", unit, "p, corrected"),
            NoisyColumn("By chance", unit),
            NoisyColumn("Reading", Markup(), ONE_NETWORK),
        ]
    sizes = {network.name: found.bins(network.name) for network in contents.networks}
    several = any(len(each) > 1 for each in sizes.values())
    shown = sorted({size for each in sizes.values() for size in each}) if several else [None] * any(sizes.values())
    columns += [
        NoisyColumn("H(Bin(T)) at the end", unit, "" if size is None else f"bins of {plain(size)}") for size in shown
    ]
    groups = []
    for network in contents.networks:
        lines = []
        for layer, units in network.layers.items():
            cells = _information(network, layer, found, losses, notes) if flow else []
            if exact:
                end = found.last(network.name, layer, "information")
                cells.append(None if end is None else _cell(end[1], notes))
            cells += _lost(network, layer, losses) if lost else []
            for size in shown:
                own = size if size is not None else next(iter(sizes[network.name]), None)
                end = found.last(network.name, layer, "binned-entropy", own)
                remark = f"bins of {plain(own)}" if size is None and own is not None else ""
                cells.append(None if end is None else _cell(end[1], notes, remark))
            lines.append(NoisyLine(layer, units, tuple(cells)))
        groups.append((titled(network) if len(contents.networks) > 1 or network.name else "", tuple(lines)))
    facts = tuple(fact for network in contents.networks for fact in _facts(network, contents, found, notes))
    groups = groups if columns else []
    footnotes = tuple((letter, flag) for flag, letter in notes.letters.items())
    remark = ADDS_UP if lost and any(loss.at_peak is not None for loss in losses) else ""
    tests = max((loss.claim.tests for loss in losses), default=0)
    corrected = corrected_for(tests, contents.tests_before) if lost else ""
    return NoisyTable(tuple(columns), tuple(groups), facts, footnotes, remark, corrected)


def _cell(estimate: Estimate, notes: Notes, remark: str = "") -> Cell:
    return Cell(amount(estimate, unit=False), None, remark, notes.mark(estimate.flags), between(estimate))


def _information(
    network: NetworkThroughTraining, layer: str, found: NoisyNumbers, losses: list[Loss], notes: Notes
) -> list[Cell | None]:
    """I(X;T) at first, at its peak and at the end."""
    known = levels(found, network.name, layer, losses)
    if not known:
        return [None, None, None]
    return [
        None if estimate is None else _cell(estimate, notes, "" if at == epoch == 0 else f"epoch {epoch_text(epoch)}")
        for at, (epoch, estimate) in enumerate(known)
    ]


def _lost(network: NetworkThroughTraining, layer: str, losses: list[Loss]) -> list[Cell | None]:
    loss = next((loss for loss in losses if (loss.network, loss.layer) == (network.name, layer)), None)
    if loss is None:
        return [None, None, None]
    p = probability(loss.claim.p)
    remark = "" if loss.claim.p is None or loss.peak == loss.end else f"p {p}" if p.startswith("<") else f"p = {p}"
    size = Markup(MISSING) if loss.peak == loss.end else information(loss.value, loss.stderr, unit=False)
    chance = (
        None
        if loss.constant is None
        else Cell(both(*(rounded(loss.constant / per, loss.constant / per) for per in (1.0, NATS_PER_BIT))))
    )
    return [Cell(size, None, remark), chance, Cell(Markup.escape(verdict_words(loss)))]


def _facts(
    network: NetworkThroughTraining, contents: NoisyContents, found: NoisyNumbers, notes: Notes
) -> list[tuple[str, Cell]]:
    end = found.last(network.name, "", "accuracy")
    if end is None:
        return []
    epoch, estimate = end
    who = f"Accuracy of {network.name}" if len(contents.networks) > 1 else "Accuracy"
    behind = Markup("at epoch {}{}").format(epoch_text(epoch), f", on {estimate.n:,} inputs" if estimate.n else "")
    return [(who, dataclasses.replace(_cell(estimate, notes), text=amount(estimate), other=behind))]
