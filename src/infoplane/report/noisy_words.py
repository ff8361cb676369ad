"""The sentences of the page of a study of noisy networks: what the numbers allow to be said."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from infoplane.report.amounts import both, information, listing, rounded
from infoplane.report.drawing import per_unit
from infoplane.report.noisy_contents import NetworkThroughTraining, NoisyContents
from infoplane.report.noisy_numbers import Loss, NoisyNumbers, ceiling_name, epoch_text, epochs_text, plain
from infoplane.report.words import Opening

#: how flags begin that many numbers have, so that they are said once below the headline, or stand in the table only:
#: the theory, which knows nothing of the layer, would ask for more samples; the error is for their number; no input
#: could add anything
_WORST_CASE, _SAMPLES, _CEILING = "fewer samples than the worst case", "most of the error is for", "near log"
#: how near its ceiling a number without an error is the ceiling
_EQUAL = 5e-4


def _of(network: NetworkThroughTraining | None, contents: NoisyContents) -> Markup:
    """Returns "the plain network", where there are several."""
    if network is None or len(contents.networks) < 2:
        return Markup("the network")
    return Markup("the {} network").format(network.name)


def opening(contents: NoisyContents, numbers: NoisyNumbers, found: Sequence[Loss]) -> Opening:
    """Returns the sentence that the losses, else the numbers, else the failures support."""
    known = {network.name: network for network in contents.networks}
    found = [loss for loss in found if loss.network in known]
    if found:
        return _lost(contents, numbers, found, known)
    for kind in ("flow", "information"):
        if numbers.has(kind):
            return _levels(contents, numbers, kind)
    for network in contents.networks:
        if numbers.bins(network.name):
            return _binned(network, contents, numbers)
    if contents.failures:
        parts = f"{len(contents.failures)} part" + ("s" if len(contents.failures) > 1 else "")
        return Opening(Markup("There are no numbers: {} of the run failed.").format(parts))
    return Opening(Markup("There are no numbers yet."))


def _layers(names: Sequence[str]) -> Markup:
    """Returns "layers 1, 2 and 3" for names of that form, else the names."""
    numbers = [name.removeprefix("layer ") for name in names]
    if len(names) < 2 or not all(
        name == f"layer {number}" and number.isdecimal() for name, number in zip(names, numbers)
    ):
        return listing(names)
    return Markup("layers {}").format(listing(numbers))


def _capital(name: str) -> str:
    return name[:1].upper() + name[1:]


def _lost(
    contents: NoisyContents,
    numbers: NoisyNumbers,
    found: Sequence[Loss],
    known: Mapping[str, NetworkThroughTraining],
) -> Opening:
    falls = sorted((loss for loss in found if loss.verdict == "falls"), key=lambda loss: -loss.value)
    several = len({loss.network for loss in found}) > 1
    details: list[Markup] = []
    if not falls:
        sentence, spoken = _kept(contents, found, several), None
    else:
        spoken = falls[0]
        where = Markup("In {}, ").format(_of(known[spoken.network], contents)) if several else Markup()
        name = spoken.layer if where else _capital(spoken.layer)
        sentence = Markup("{}{} gives up {} about the input between epoch {} and the end").format(
            where, name, information(spoken.value, spoken.stderr), epoch_text(spoken.peak)
        )
        others = [loss for loss in found if loss.layer == spoken.layer and loss.network != spoken.network]
        clauses = [Markup("in {} {}").format(_of(known[loss.network], contents), _short(loss)) for loss in others]
        sentence += Markup("; ").join([Markup(), *clauses]) if clauses else Markup()
        details += _others(contents, found, spoken, known, several)
    return Opening(sentence + _but(spoken, found, numbers), (*details, *_qualified(contents, numbers)), "flow")


def _short(loss: Loss) -> Markup:
    """What became of the same layer in another network."""
    size = information(abs(loss.value), loss.stderr)
    if loss.verdict == "falls":
        return Markup("it gives up {}").format(size)
    if loss.verdict == "rises":
        return Markup("it gains {}").format(size)
    if loss.verdict == "at the end":
        return Markup("it is highest at the end")
    if loss.verdict == "not told apart":
        return Markup("no loss is seen ({})").format(information(loss.value, loss.stderr))
    return Markup("it has {} less, without a test").format(information(loss.value, loss.stderr))


def _kept(contents: NoisyContents, found: Sequence[Loss], several: bool) -> Markup:
    """The headline where nothing can be said to fall."""
    tested = [loss for loss in found if loss.verdict in ("not told apart", "rises", "not tested")]
    if not tested:
        layers = {loss.layer for loss in found}
        who = "every layer" if len(layers) > 1 else layers.pop()
        return Markup("I(X;T) of {} is highest at the end of training").format(who)
    largest = max(tested, key=lambda loss: loss.value)
    known = {network.name: network for network in contents.networks}
    where = Markup(" of {}").format(_of(known[largest.network], contents)) if several else Markup()
    if any(loss.verdict != "not tested" for loss in tested):
        if largest.value <= 0:
            return Markup("No layer is seen to give up information about the input")
        text = Markup("No layer is seen to give up information about the input; nearest to it comes {}{}, with {}")
    else:
        text = Markup("Whether a layer gives up information was not tested; {}{} ends lowest below its peak, by {}")
    return text.format(largest.layer, where, information(largest.value, largest.stderr))


def _others(
    contents: NoisyContents,
    found: Sequence[Loss],
    spoken: Loss,
    known: Mapping[str, NetworkThroughTraining],
    several: bool,
) -> list[Markup]:
    """What the other layers did, network by network."""
    said = []
    for name in known:
        rest = [loss for loss in found if loss.network == name and loss.layer != spoken.layer]
        where = Markup("In {}").format(_of(known[name], contents)) if several else Markup("Of the other layers")
        parts = []
        falls = [loss for loss in rest if loss.verdict == "falls"]
        if falls:
            words = [Markup("{} ({})").format(loss.layer, information(loss.value, loss.stderr)) for loss in falls]
            # Where the headline spoke of this network, these come on top of it.
            also = "also " if name == spoken.network and several else ""
            parts.append(Markup("{} {}lose{} information").format(listing(words), also, "s" * (len(falls) == 1)))
        still = [loss.layer for loss in rest if loss.verdict == "not told apart"]
        if still:
            parts.append(Markup("no loss is seen in {}").format(_layers(still)))
        ended = [loss for loss in rest if loss.verdict == "at the end"]
        rose, level = [loss.layer for loss in ended if loss.rose], [loss.layer for loss in ended if not loss.rose]
        if rose:
            parts.append(Markup("{} rose to the end").format(_layers(rose)))
        if level:
            parts.append(Markup("{} {} highest at the end").format(_layers(level), "are" if len(level) > 1 else "is"))
        gains = [Markup("{} ({})").format(loss.layer, information(-loss.value, loss.stderr))
                 for loss in rest if loss.verdict == "rises"]  # fmt: skip
        if gains:
            parts.append(Markup("{} gain{}").format(listing(gains), "s" * (len(gains) == 1)))
        if parts:
            said.append(Markup("{}, {}.").format(where, Markup("; ").join(parts)))
    return said


def _but(spoken: Loss | None, found: Sequence[Loss], numbers: NoisyNumbers) -> Markup:
    """Returns the end of a headline: what is amiss with the numbers behind it, if anything is, and the stop."""
    behind = [spoken] if spoken is not None else list(found)
    flags: dict[str, dict[str, list[int]]] = {}
    for loss in behind:
        series = numbers.series(loss.network, loss.layer, "flow")
        for epoch in (loss.peak, loss.end):
            for flag in series[epoch].flags if epoch in series else ():
                if not flag.startswith((_WORST_CASE, _SAMPLES, _CEILING)):
                    at = flags.setdefault(flag.partition(":")[0], {}).setdefault(loss.layer, [])
                    at += [epoch] if epoch not in at else []
    if not flags or spoken is None:
        return Markup(".")
    clauses = [
        Markup("{} ({})").format(flag, listing([f"{layer} at {epochs_text(epochs)}" for layer, epochs in at.items()]))
        for flag, at in flags.items()
    ]
    return Markup('. <span class="caveat">But: {}.</span>').format(listing(clauses))


def _qualified(contents: NoisyContents, numbers: NoisyNumbers) -> list[Markup]:
    """What all this was measured as, and which networks it says nothing about."""
    said = []
    silent = [network for network in contents.networks if network.beta is None and numbers.bins(network.name)]
    if silent and len(silent) < len(contents.networks):
        names = listing([_of(network, contents) for network in silent])
        one = len(silent) == 1
        text = "{} {} no noise, so only {} clustering can be followed."
        said.append(Markup(text).format(_capitalised(names), "has" if one else "have", "its" if one else "their"))
    if not numbers.has("flow"):
        return [*said, Markup("Computed by quadrature, without sampling error, for this one trained network.")]
    said.append(
        Markup("Measured by sample propagation; ± is one standard error for {}, and not of retraining.").format(
            "these trained networks" if len(contents.networks) > 1 else "this one trained network"
        )
    )
    flagged = [
        (layer, flag)
        for network in contents.networks
        for layer in network.layers
        for estimate in numbers.series(network.name, layer, "flow").values()
        for flag in estimate.flags
    ]
    if any(flag.startswith(_SAMPLES) for _, flag in flagged):
        said.append(Markup("Where samples are few, ± is mostly for what their number may still hide, not for chance."))
    asked = dict.fromkeys(layer for layer, flag in flagged if flag.startswith(_WORST_CASE))
    if asked:
        text = "The theory's worst case would ask for more samples at {} than were propagated (see the table's notes)."
        said.append(Markup(text).format(_layers(list(asked))))
    return said


def _capitalised(text: Markup) -> Markup:
    return Markup(str(text)[:1].upper() + str(text)[1:])


def _levels(contents: NoisyContents, numbers: NoisyNumbers, kind: str) -> Opening:
    """What can be said of numbers of which no losses were taken."""
    sentences = []
    for network in contents.networks:
        ends = [(layer, end) for layer in network.layers if (end := numbers.last(network.name, layer, kind))]
        if not ends:
            continue
        # Layers of a run that was cut off can end at different epochs.
        shown = ends if len(ends) < 2 else [ends[0], ends[-1]]
        parts = [
            Markup("{} holds {} about the input at epoch {}").format(
                layer, information(estimate.value, estimate.stderr), epoch_text(epoch)
            )
            for layer, (epoch, estimate) in shown
        ]
        if len({epoch for _, (epoch, _) in shown}) == 1 and len(shown) > 1:
            (first, (epoch, one)), (last, (_, other)) = shown
            parts = [
                Markup("{} holds {} about the input and {} {} at epoch {}").format(
                    first, information(one.value, one.stderr), last, information(other.value, other.stderr),
                    epoch_text(epoch),
                )
            ]  # fmt: skip
        where = Markup("in {}, ").format(_of(network, contents)) if len(contents.networks) > 1 else Markup()
        sentences.append(where + listing(parts))
    if not sentences:
        return Opening(Markup("There are no numbers yet."))
    untested = Markup("What layers lost from their peak to the end was not estimated, so no fall is claimed.")
    sentence = _capitalised(Markup("; ").join(sentences)) + "."
    return Opening(sentence, (untested, *_qualified(contents, numbers)), kind)


def _binned(network: NetworkThroughTraining, contents: NoisyContents, numbers: NoisyNumbers) -> Opening:
    """What can be said of a network without noise: what its bins show."""
    sizes = sorted(numbers.bins(network.name))
    parts, epochs, full = [], set(), None
    for size in dict.fromkeys((sizes[0], sizes[-1])):
        ends = {
            layer: end
            for layer in network.layers
            if (end := numbers.last(network.name, layer, "binned-entropy", size)) is not None
        }
        values = {layer: estimate.value for layer, (_, estimate) in ends.items()}
        epochs |= {epoch for epoch, _ in ends.values()}
        if not values:
            continue
        limit = contents.ceiling
        if limit is not None and all(abs(value - limit[0]) < _EQUAL * limit[0] for value in values.values()):
            every = [
                estimate.value
                for layer in network.layers
                for estimate in numbers.series(network.name, layer, "binned-entropy", size).values()
            ]
            always = all(abs(value - limit[0]) < _EQUAL * limit[0] for value in every)
            who = "every layer has" if len(values) > 1 else f"{next(iter(values))} has"
            nats, bits = (
                f"{ceiling_name(limit, unit)} = {rounded(limit[0] * per_unit(unit))} {unit}"
                for unit in ("nats", "bits")
            )
            words = Markup("with bins of {} {} {}").format(plain(size), who, both(nats, bits))
            parts.append(words + (" at every epoch" if always else ""))
            full = size
            continue
        low, high = min(values, key=lambda name: values[name]), max(values, key=lambda name: values[name])
        text = "with bins of {} {}"
        each = Markup("{} has {}").format(low, information(values[low], None))
        if high != low:
            each = Markup("layers have {} ({}) to {} ({})").format(
                information(values[low], None), low, information(values[high], None), high
            )
        parts.append(Markup(text).format(plain(size), each))
    if not parts:
        return Opening(Markup("There are no numbers yet."))
    at = Markup(" at epoch {}").format(epoch_text(epochs.pop())) if len(epochs) == 1 else Markup(" at the end")
    settled = " at every epoch" in parts[-1]
    sentence = _capitalised(Markup("; ").join(parts)) + ("" if settled else at) + "."
    detail = [Markup("The network has no noise, so what changes with training here is how its activations cluster.")]
    if full is not None and len(parts) > 1:
        detail.append(Markup("What the number is depends on the bins: fine ones only tell all inputs apart."))
    if network.beta is not None:
        detail = [Markup("This is how activations cluster; I(X;T) was not measured yet.")]
    return Opening(sentence, tuple(detail), "binned-entropy")


def verdict_words(loss: Loss) -> str:
    """Returns what the table says of a loss."""
    return {
        "falls": "lost",
        "rises": "gained",
        "not told apart": "no loss seen",
        "not tested": "no claim: no test",
        "at the end": "rises to the end" if loss.rose else "highest at the end",
    }.get(loss.verdict, loss.claim.words)
