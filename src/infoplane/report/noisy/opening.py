"""The opening of the page of a study of noisy networks: what the falls, else the numbers, allow to be said."""

from markupsafe import Markup

from infoplane.report.claimed import Fall
from infoplane.report.format import capitalised, epoch_text, epochs_text, information, listed, setting_text
from infoplane.report.noisy.contents import NetworkThroughTraining, NoisyContents
from infoplane.report.words import Opening, but, no_numbers

#: how flags begin that many numbers have, so that they are said once below the headline, or stand in the table only:
#: the theory, which knows nothing of the layer, would ask for more samples; the error is for their number; no input
#: could add anything
_WORST_CASE, _SAMPLES, _CEILING = "fewer samples than the worst case", "most of the error is for", "near log"


def noisy_opening(contents: NoisyContents) -> Opening:
    """Returns the sentence that the falls, else the numbers, else the failures support."""
    if contents.falls:
        return _fallen(contents)
    kinds = (kind for kind in ("flow", "information", "binned-entropy") if contents.has(kind))
    return _levels(contents, next(kinds, "flow"))


def _size(fall: Fall) -> Markup:
    return information(abs(fall.value), fall.stderr)


def _where(contents: NoisyContents, name: str) -> str:
    """Returns "In the plain network, ", where there are several."""
    return f"In the {name} network, " if len(contents.networks) > 1 else ""


def _fallen(contents: NoisyContents) -> Opening:
    claimed = [fall for fall in contents.falls if fall.verdict == "falls"]
    tested = [fall for fall in contents.falls if not fall.ends_highest]
    spoken = max(claimed, key=lambda fall: fall.value, default=None)
    if spoken is not None:
        text = "{}{} gives up {} about the input between epoch {} and the end"
        layer = spoken.layer if len(contents.networks) > 1 else capitalised(spoken.layer)
        told = (_where(contents, spoken.network), layer, _size(spoken), epoch_text(spoken.peak))
        sentence = Markup(text).format(*told) + but(_amiss(contents, spoken), 1)
    elif not tested:
        sentence = Markup("I(X;T) of every layer is highest at the end of training.")
    elif any(fall.verdict != "not tested" for fall in tested):
        largest = max(tested, key=lambda fall: fall.value)
        text = "No layer is seen to give up information about the input{}."
        near = Markup("; nearest to it comes {}, with {}").format(largest.layer, _size(largest))
        sentence = Markup(text).format(near if largest.value > 0 else "")
    else:
        sentence = Markup("Whether a layer gives up information about the input was not tested.")
    details = [_others(contents, network, spoken) for network in contents.networks if spoken]
    return Opening(sentence, (*filter(None, details), *_qualified(contents)), "flow")


def _others(contents: NoisyContents, network: NetworkThroughTraining, spoken: Fall | None) -> Markup:
    """What the tables say of the other layers of a network."""
    said: dict[str, list[Markup]] = {}
    for fall in contents.falls:
        if fall.network == network.name and fall is not spoken:
            size = Markup(" ({})").format(_size(fall)) if fall.verdict in ("falls", "rises") else ""
            said.setdefault(fall.reading, []).append(Markup("{}{}").format(fall.layer, size))
    if not said:
        return Markup()
    clauses = [Markup("{}: {}").format(reading, listed(layers)) for reading, layers in said.items()]
    who = _where(contents, network.name) or "Of the other layers, "
    return Markup("{}{}.").format(who, Markup("; ").join(clauses))


def _amiss(contents: NoisyContents, fall: Fall) -> list[tuple[str, str]]:
    """(what is amiss, with what) of the numbers behind a fall."""
    series = contents.numbers.series(fall.layer, "flow", network=fall.network)
    found: dict[str, list[str]] = {}
    for epoch in dict.fromkeys((fall.peak, fall.end)):
        for flag in series[epoch].flags if epoch in series else ():
            if not flag.startswith((_WORST_CASE, _SAMPLES, _CEILING)):
                found.setdefault(flag.partition(":")[0], []).append(epoch_text(epoch))
    return [(flag, f"{fall.layer} at {epochs_text(epochs)}") for flag, epochs in found.items()]


def _qualified(contents: NoisyContents) -> list[Markup]:
    """What all this was measured as, and which networks it says nothing about."""
    silent = [contents.of(network) for network in contents.networks if network.beta is None]
    said = []
    if silent and contents.has("flow"):
        text = "Without noise, only clustering can be followed: so it is in {}."
        said.append(Markup(text).format(listed(silent)))
    if not contents.has("flow"):
        return [*said, Markup("Computed by quadrature, without sampling error, for this one trained network.")]
    these = "these trained networks" if len(contents.networks) > 1 else "this one trained network"
    said.append(Markup(f"Measured by sample propagation; ± is one standard error for {these}, and not of retraining."))
    flagged = [
        (each.place.layer, flag) for each in contents.numbers if each.estimate.kind == "flow"
        for flag in each.estimate.flags
    ]  # fmt: skip
    if any(flag.startswith(_SAMPLES) for _, flag in flagged):
        said.append(Markup("Where samples are few, ± is mostly for what their number may still hide, not for chance."))
    asked = dict.fromkeys(layer for layer, flag in flagged if flag.startswith(_WORST_CASE))
    if asked:
        text = "The theory's worst case would ask for more samples at {} than were propagated (see the table's notes)."
        said.append(Markup(text).format(listed(list(asked))))
    return said


def _levels(contents: NoisyContents, kind: str) -> Opening:
    """What the first and the last layer of each network have at the end, where no falls were taken."""
    binned, parts = kind == "binned-entropy", []
    for network in contents.networks:
        sizes = sorted(contents.bins(network.name)) if binned else [None]
        for size in dict.fromkeys((*sizes[:1], *sizes[-1:])):
            ends = [
                (layer, *next(reversed(series.items())))
                for layer in network.layers
                if (series := contents.numbers.series(layer, kind, network=network.name, setting=size))
            ]
            what = "I(X;T) is" if size is None else f"H(Bin(T)) with bins of {setting_text(size)} is"
            shown = ends[:1] if len(ends) < 2 else [ends[0], ends[-1]]
            held = [
                Markup("{} in {}{}").format(
                    information(each.value, each.stderr),
                    layer,
                    # Of two at one epoch it is said once.
                    f" at epoch {epoch_text(epoch)}" * ((layer, epoch) == shown[-1][:2] or epoch != shown[-1][1]),
                )
                for layer, epoch, each in shown
            ]
            parts += [Markup("{}{} {}").format(_where(contents, network.name), what, listed(held))] if held else []
    if not parts:
        return no_numbers(len(contents.failures))
    detail = "What layers lost from their peak to the end was not estimated, so no fall is claimed."
    if binned:
        detail = "This is how activations cluster at the scale of the bins, and not I(X;T)."
    more = [] if binned else _qualified(contents)
    return Opening(Markup("; ").join(parts) + ".", (Markup(detail), *more), kind)
