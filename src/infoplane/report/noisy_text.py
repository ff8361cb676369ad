"""The table of a run with noisy networks as text."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from infoplane.claims import corrected_for
from infoplane.estimate import Estimate
from infoplane.report.amounts import with_error
from infoplane.report.noisy_contents import NetworkThroughTraining
from infoplane.report.noisy_numbers import Loss, NoisyNumbers, epoch_text, epochs_text, levels, losses, plain
from infoplane.report.noisy_words import verdict_words


def table(
    rows: Sequence[Mapping[str, Any]],
    differences: Sequence[Mapping[str, Any]],
    networks: Sequence[NetworkThroughTraining],
    before: int | None = None,
) -> str:
    """Returns the table that closes a run: one line per network and layer, every number with its error.

    Args:
        rows: As in `NoisyContents.rows`.
        differences: As in `NoisyContents.differences`.
        networks: As in `NoisyContents.networks`.
        before: As `PageContents.tests_before`.
    """
    numbers, found = NoisyNumbers(rows, networks), losses(differences)
    flow, several = numbers.has("flow"), len(networks) > 1
    sizes = _sizes(numbers, networks, flow)
    header = ["network"] * several + ["layer", "units"]
    if flow:
        header += ["I(X;T) at first", "peak (epoch)", "end (epoch)", "lost since the peak"]
    header += [f"H(Bin), {plain(size)}" if size else "H(Bin)" for size in sizes]
    lines, starred = [header], []
    for network in networks:
        for layer, units in network.layers.items():
            line = [network.name] * several + [layer, str(units)]
            if flow:
                cells, flags = _information(network, layer, numbers, found)
                line += cells
                starred += [f"{network.name + ' ' if several else ''}{layer} {flag}" for flag in flags]
            for size in sizes:
                own = size or next(iter(numbers.bins(network.name)), None)
                end = numbers.last(network.name, layer, "binned-entropy", own)
                cell = "-" if end is None else _number(end[1])
                line.append(cell if size or end is None or own is None else f"{cell} ({plain(own)})")
            lines.append(line)
    widths = [max(len(line[at]) for line in lines) for at in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in lines]
    text.insert(1, "-" * max(len(line) for line in text))
    tests = max((loss.claim.tests for loss in found), default=0)
    notes = [
        *_notes(networks, numbers, bool(starred), flow=flow, tests=(tests, before)),
        *(f"  * {flag}" for flag in starred),
    ]
    return "\n".join([*text, "", *notes] if notes else text)


def _sizes(numbers: NoisyNumbers, networks: Sequence[NetworkThroughTraining], flow: bool) -> list[float | None]:
    """The bin sizes that have a column; None is each network's own first one."""
    own = [numbers.bins(network.name) for network in networks if numbers.bins(network.name)]
    if not own:
        return []
    if not flow:
        return [*dict.fromkeys(size for each in own for size in each)]
    first = {each[0] for each in own}
    return [first.pop()] if len(first) == 1 else [None]


def _information(
    network: NetworkThroughTraining, layer: str, numbers: NoisyNumbers, found: Sequence[Loss]
) -> tuple[list[str], list[str]]:
    """I(X;T) of a layer at first, at its peak and at the end, and what it lost; and the flags of these."""
    known = levels(numbers, network.name, layer, found)
    if not known:
        return ["-"] * 4, []
    cells, flags = [], []
    for at, (epoch, estimate) in enumerate(known):
        behind = f" ({epoch_text(epoch)})" if at else ""
        cells.append("-" if estimate is None else f"{_number(estimate)}{behind}")
        flags += [] if estimate is None else [(epoch, flag) for flag in estimate.flags]
    loss = next((loss for loss in found if (loss.network, loss.layer) == (network.name, layer)), None)
    if loss is None:
        cells.append("-")
    elif loss.peak == loss.end:
        cells.append(verdict_words(loss))
    else:
        cells.append(f"{_number(Estimate(loss.value, loss.stderr))} ({verdict_words(loss)})")
    epochs: dict[str, list[int | None]] = {}
    for epoch, flag in dict.fromkeys(flags):
        epochs.setdefault(flag, []).append(epoch)
    return cells, [f"at {epochs_text(at)}: {flag}" for flag, at in epochs.items()]


def _notes(
    networks: Sequence[NetworkThroughTraining],
    numbers: NoisyNumbers,
    starred: bool,
    *,
    flow: bool,
    tests: tuple[int, int | None],
) -> list[str]:
    notes = []
    for network in networks:
        end = numbers.last(network.name, "", "accuracy")
        if end is not None:
            epoch, right = end
            who = f"accuracy of {network.name}" if network.name else "accuracy"
            notes.append(f"{who} at epoch {epoch_text(epoch)}: {_number(right)} (95 % interval, n = {right.n})")
    if flow:
        words = (
            "Information in nats, ± one standard error for these trained networks, not of retraining: of chance, and\n"
            "for what few samples may hide. The peak is chosen on one estimate, and the loss and the levels\n"
            "beside it are by the others: peak minus end is what was lost. Lost: p < 0.05 and twice its error."
        )
        words += "\n" + textwrap.fill(corrected_for(*tests), 110) if tests[0] else ""
        notes.append(words + (" * marks a flag:" if starred else ""))
    if any(numbers.bins(network.name) for network in networks):
        at = len(notes) - 1 if flow else len(notes)
        words = (
            "H(Bin): at the end, for bins of the size named; how far activations cluster at that scale, not I(X;T);\n"
            "of one pass of every input, with the network's noise."
        )
        notes.insert(at, words)
    return notes


def _number(estimate: Estimate) -> str:
    share = estimate.unit == "fraction"
    return (estimate.amount if share else with_error(estimate.value, estimate.stderr)) + "*" * bool(estimate.flags)
