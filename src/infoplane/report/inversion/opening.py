"""The opening of the page of a study of inversion: what the differences, else the numbers, allow to be said."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from infoplane.claims import FITS_FOR_A_CLAIM
from infoplane.errors import fits_behind, headline_of
from infoplane.estimate import OF_TWIN, Estimate
from infoplane.measurements.numbers import INPUT, Numbers
from infoplane.report.claimed import Difference, chain, whole
from infoplane.report.format import amount, capitalised, information, listed, probability, united, with_error
from infoplane.report.inversion.contents import ReportContents
from infoplane.report.words import Opening, but, no_numbers

ERRORS = (
    "± is one standard error. Three refits or ten batches tell an error only roughly, so an interval is wider than "
    "twice that: the 95 % interval, by Student’s t, stands where one points at a number, and results.csv has the "
    "degrees of freedom. A share of images stands with its 95 % interval, [from, to]. With several refits the error "
    "covers both the choice of evaluation images and the retraining of q with another seed. A number marked “single "
    "fit” has the error given that one fit only; retraining moves it by more. “No spread” stands where all images or "
    "batches gave the same number, as they do at a ceiling: that shows that the number cannot be told from its "
    "ceiling, not that its error is small."
)

#: kinds of differences that the opening speaks of: what a density could use
OF_DENSITIES = ("nce", "usable")
#: what is said where numbers that stand side by side are of different refits
MATCHED = (
    "Usable information compares q(x|h) with p(x) in the refits that both have, and in no others: it need not be the "
    "difference of the two numbers as they are shown."
)

INFINITE = (
    "Of a deterministic network, I(x;h) itself tells little: it is infinite for continuous images and, for almost "
    "all weights, the constant H(x) for images of pixels, save for what ReLUs and pooling happen to lose. So these "
    "numbers say what can be got out of a layer h, and each has its own meaning and direction."
)


def opening(contents: ReportContents) -> Opening:
    """Returns the sentence that the differences, else the numbers, else the failures support."""
    results = contents.numbers
    layers = [layer.name for layer in contents.layers if not layer.latent]
    order = layers or [layer.name for layer in contents.layers]
    found = [step for step in contents.differences if step.checkpoint == results.last and step.kind in OF_DENSITIES]
    steps = chain(found, layers)
    kind = next((kind for kind in ("usable", "nce") if any(results.get(name, kind) for name in order)), None)
    if steps:
        total = whole(steps, found)
        details = tuple(_details(total, steps, contents, results))
        behind = {contents.spoken(name): name for name in (total.first, total.second)}
        return Opening(_total(total, contents) + _but(behind, total.kind, results), details, kind, tuple(steps))
    if kind is not None:
        sentence, count = _levels(kind, order, contents, results)
        unpaired = Markup("No paired difference between layers was taken, so no fall is claimed.")
        return Opening(sentence, (unpaired,) if count > 1 and layers else (), kind)
    base = results.get(INPUT, "cross-entropy")
    if base is not None and not order:
        once = " (single fit)" if base.single_fit else ""
        sentence = Markup("Without any layer, the density needs {} for an image{}").format(in_all(base, contents), once)
        return Opening(sentence + _but({"p(x)": INPUT}, "cross-entropy", results))
    return no_numbers(len(contents.failures))


def in_all(base: Estimate, contents: ReportContents) -> Markup:
    """Returns a cross-entropy per image, and per dimension where it is known how many there are."""
    if contents.dimensions is None:
        return amount(base)
    share = base.bits
    stderr = None if share.stderr is None else share.stderr / contents.dimensions
    each = with_error(share.value / contents.dimensions, stderr)
    return Markup("{}, {}").format(amount(base), united(each, " bits per dimension"))


def _total(step: Difference, contents: ReportContents) -> Markup:
    """What the network's first and last layer differ by, without the stop at the end."""
    first, second = contents.spoken(step.first), contents.spoken(step.second)
    size = information(abs(step.value), step.stderr)
    if step.one_density:
        text = "What the density could use about the image is the same from {} and {}: both are read with {}"
        whose = f"that of {contents.spoken(step.one_density)}" if step.networks == 1 else "one in every network"
        return Markup(text).format(first, second, whose)
    if step.verdict == "falls" and not _derived(step, contents):
        text = "The density could use {} less about the image from {} than from {}"
        return Markup(text).format(size, second, first)
    if step.verdict == "falls":
        text = "From {} to {} the network gives up {} of what the density can use about the image"
        return Markup(text).format(first, second, size)
    if step.verdict == "not told apart":
        size = information(step.value, step.stderr)
        text = "{} and {} are not told apart: of what the density can use about the image they differ by {}, {}"
        return Markup(text).format(first, second, size, _why_not(step))
    more, less = (first, second) if step.value > 0 else (second, first)
    if step.verdict == "rises":
        text = "The density could use {} more about the image from {} than from {}"
        return Markup(text).format(size, more, less)
    few = "In a single fit" if step.repeats == 1 else f"In {step.repeats} {step.counted}"
    lead = few if step.repeats < FITS_FOR_A_CLAIM else f"In these {step.counted}"
    text = "{} the density could use {} less about the image from {} than from {}"
    return Markup(text).format(lead, size, less, more)


def _why_not(step: Difference) -> str:
    """Why two layers are not told apart, which a difference of many standard errors does not show."""
    said = "" if step.claim.p is None else f" (p = {probability(step.claim.p)}, corrected for all that is tested)"
    few = f": {step.repeats} {step.counted} tell that error only roughly"
    wide = step.stderr is not None and abs(step.value) > 2 * step.stderr
    return f"which may be chance{said.replace('= <', '<')}{few * wide}"


def _derived(step: Difference, contents: ReportContents) -> bool:
    """Whether the second layer of a step sees the image through the first one only, so that it cannot hold more."""
    return any(layer.name == step.second and step.first in layer.function_of for layer in contents.layers)


def _behind(labels: Mapping[str, str], kind: str) -> dict[str, str]:
    """Returns label -> name of what is behind a sentence on layers: usable information has p(x) behind it too."""
    return dict(labels) | ({"p(x)": INPUT} if kind == "usable" else {})


def _amiss(behind: Mapping[str, str], kind: str, results: Numbers) -> list[tuple[str, str]]:
    """Returns (what is amiss, label) for the fits behind a sentence.

    Args:
        behind: Label -> name of the layers that it speaks of.
        kind: What it speaks of.
        results: Where the flags are.
    """
    found = []
    for label, name in _behind(behind, kind).items():
        number = results.get(name, "cross-entropy" if name == INPUT else kind)
        flags = () if number is None else number.flags
        # What begins so is said of p(x).
        found += [(headline_of(flag), label) for flag in flags if not flag.startswith(OF_TWIN)]
    return found


def _but(behind: Mapping[str, str], kind: str, results: Numbers, told: Sequence[tuple[str, str]] = ()) -> Markup:
    """Returns the end of a sentence: what is amiss with the fits behind it, of what was not `told`, and the stop."""
    flagged = [each for each in _amiss(behind, kind, results) if each not in told]
    return but(flagged, len(_behind(behind, kind)))


def _details(
    total: Difference, steps: Sequence[Difference], contents: ReportContents, results: Numbers
) -> list[Markup]:
    """The largest fall, the ties, what should not be, and what all this was measured as."""

    def pair(step: Difference) -> tuple[str, str]:
        return contents.spoken(step.first), contents.spoken(step.second)

    said = []
    falls = sorted((step for step in steps if step.verdict == "falls"), key=lambda step: -step.value)
    if len(steps) > 1 and falls and falls[0] is not total:
        size = information(falls[0].value, falls[0].stderr)
        ends, behind = (
            {contents.spoken(name): name for name in (step.first, step.second)} for step in (total, falls[0])
        )
        largest = Markup("The largest step is from {} to {}: {}").format(*pair(falls[0]), size)
        said.append(largest + _but(behind, falls[0].kind, results, _amiss(ends, total.kind, results)))
    ties = [step for step in steps if step.verdict == "not told apart" and step is not total]
    if ties and len(steps) > 1:
        text = Markup("{} and {} ({})")
        names = [text.format(*pair(step), information(step.value, step.stderr)) for step in ties]
        said.append(Markup("Not told apart: {}.").format(Markup("; ").join(names)))
    rises = [step for step in (*steps, total) if step.verdict == "rises" and _derived(step, contents)]
    if rises:
        names = listed(list(dict.fromkeys(contents.spoken(step.second) for step in rises)))
        said.append(
            Markup(
                "A layer cannot hold more about the image than the layers it is computed from, so the rise at {} "
                "is a limit of the density, not a gain of the network."
            ).format(names)
        )
    if any(step.verdict == "too few fits" for step in (*steps, total)):
        more, why = ("refits", "retraining q") if total.networks == 1 else ("networks", "another seed")
        text = "A fall is claimed only with {} {} or more, since {} moves the numbers."
        said.append(Markup(text).format(FITS_FOR_A_CLAIM, more, why))
    # What the headline says of two layers of one density need not be said again.
    spoken = [step for step in (*steps, total) if step is not total or not total.one_density]
    barred = dict.fromkeys(step.claim.words for step in spoken if step.verdict == "barred")
    said += [Markup("{}.").format(capitalised(words)) for words in barred]
    said += _positions([step for step in (*steps, total) if step.verdict in ("falls", "rises")], contents)
    said.append(_measured(total, results))
    return said


def _positions(claimed: Sequence[Difference], contents: ReportContents) -> list[Markup]:
    """What must be said where a map is compared with a vector."""
    spatial = {layer.name: layer.spatial for layer in contents.layers}
    mixed = [step for step in claimed if {spatial.get(step.first), spatial.get(step.second)} == {True, False}]
    names = list(dict.fromkeys(name for step in mixed for name in (step.first, step.second)))
    if not names:
        return []
    kinds = {kind: listed([contents.spoken(name) for name in names if spatial[name] == kind]) for kind in (True, False)}
    text = (
        "Of a map ({}) q is also told where on the image each value belongs, of a vector ({}) not; that may favour maps"
    )
    return [Markup(f"{text}.").format(kinds[True], kinds[False])]


def _measured(total: Difference, results: Numbers) -> Markup:
    behind = [found for name in (total.first, total.second) if (found := results.get(name, total.kind)) is not None]
    counts = f" on {behind[0].n:,} evaluation images" if behind and behind[0].n else ""
    if behind:
        told = fits_behind(min(estimate.refits for estimate in behind), total.networks)
        told += " per layer" * (total.networks == 1)
        counts += f", {told}" if (total.networks, total.refits) != (1, 1) else ""
    if len(results.checkpoints) > 1:
        counts = f" at checkpoint {total.checkpoint}{counts}"
    what = "usable information" if total.kind == "usable" else "paired differences of negative cross-entropies"
    text = f"Measured as {what}{counts}; ± one standard error. It is what the density could use, and not a bound."
    return Markup("{}").format(text)


def _levels(kind: str, order: Sequence[str], contents: ReportContents, results: Numbers) -> tuple[Markup, int]:
    """What can be said of numbers between which no paired difference was taken, and how many there are."""
    known = [(contents.spoken(name), found) for name in order if (found := results.get(name, kind)) is not None]
    shown = known if len(known) < 3 else [known[0], known[-1]]
    stop = _but({contents.spoken(name): name for name in order if results.get(name, kind)}, kind, results)
    single = [Markup(" (single fit)") if estimate.single_fit else Markup() for _, estimate in shown]
    sizes = [amount(estimate) for _, estimate in shown]
    if kind == "nce":
        text = Markup("{} at {}{}")
        parts = [text.format(size, name, once) for size, (name, _), once in zip(sizes, shown, single)]
        return Markup("The negative cross-entropy is {}").format(listed(parts)) + stop, len(known)
    (name, first) = shown[0]
    if len(known) == 1 and first.stderr is not None and first.value <= 2 * first.stderr:
        text = "The density could use nothing about the image from {} that stands out from its error: {}{}"
        return Markup(text).format(name, sizes[0], single[0]) + stop, 1
    sentence = Markup("The density could use {} about the image from {}{}").format(sizes[0], name, single[0])
    if len(shown) > 1:
        sentence += Markup(" and {} from {}{}").format(sizes[1], shown[1][0], single[1])
    return sentence + stop, len(known)
