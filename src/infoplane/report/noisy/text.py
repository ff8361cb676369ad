"""The table under a run with noisy networks."""

from infoplane.estimate import Estimate
from infoplane.report.claimed import Fall
from infoplane.report.format import epoch_text, epochs_text
from infoplane.report.noisy.contents import NoisyContents, networks_of
from infoplane.report.noisy.tables import accuracies, columns_of
from infoplane.report.text import aligned, number_text
from infoplane.study.results import NoisyResults


def noisy_table(results: NoisyResults) -> str:
    """Returns the table that closes a run: one line per network and layer, every number with its error."""
    return network_text(networks_of(results))


def network_text(contents: NoisyContents) -> str:
    """Returns that table."""
    several, flow, columns = len(contents.networks) > 1, contents.has("flow"), list(columns_of(contents))
    after = sum(column.of_epoch for column in columns)
    head = [column.short for column in columns]
    head.insert(after, "since the peak")
    lines, flags = [[*["network"] * several, "layer", "units", *(head if flow else head[1:])]], {}
    for network in contents.networks:
        for layer, units in network.layers.items():
            found = [column.find(network, layer) for column in columns]
            cells = [number_text(each) + (f" ({epoch})" if each and epoch else "") for each, epoch in found]
            cells[after:after] = [_fallen(contents.fall(network.name, layer))] * flow
            lines.append([*[network.name] * several, layer, str(units), *cells])
            who = f"{network.name} {layer}" if several else layer
            for flag in dict.fromkeys(flag for each, _ in found if each for flag in each.flags):
                at = dict.fromkeys(epoch for each, epoch in found if each and epoch and flag in each.flags)
                flags.setdefault(flag, []).append(f"{who} at {epochs_text(list(at))}" if at else who)
    notes = []
    for network, epoch, right in accuracies(contents):
        of = f"accuracy of {network.name}" if network.name else "accuracy"
        notes.append(f"{of} at epoch {epoch_text(epoch)}: {number_text(right)} (95 % interval, n = {right.n})")
    if contents.has("binned-entropy"):
        notes.append(
            "H(Bin): at the end, for bins of the size named; how far activations cluster at that scale, not I(X;T); of "
            "one pass of every input, with the network's noise."
        )
    if flow:
        notes.append(
            "Information in nats, ± one standard error for these trained networks, not of retraining: of chance, and "
            "for what few samples may hide. The peak is chosen on one estimate, and the fall since it and the levels "
            "beside it are by the others: peak minus end is what was lost. Falls and rises: corrected p < 0.05 and "
            f"twice the error. {contents.corrected}".strip()
        )
    return aligned(lines, notes, flags)


def _fallen(fall: Fall | None) -> str:
    if fall is None:
        return "-"
    return fall.reading if fall.ends_highest else f"{number_text(Estimate(fall.value, fall.stderr))} ({fall.reading})"
