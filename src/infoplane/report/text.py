"""The table of a run as text."""

import textwrap

from infoplane.claims import corrected_for
from infoplane.estimate import KINDS, Estimate
from infoplane.information import cross_entropy
from infoplane.report.amounts import NO_SPREAD, listing, without_spread
from infoplane.report.inversion import choice_words, reader_words, shape_of
from infoplane.study.measured import READERS
from infoplane.study.plan import INPUT, twin_of
from infoplane.study.results import Results

#: the columns: kind of number -> what the footer calls it
COLUMNS = {
    "nce": "NCE",
    "usable": "usable",
    "contrastive": "contrastive",
    "label": "label",
    "forward": "by the rest",
    "mse": "MSE",
}
#: those that come from densities, which are fitted equally often
FITTED = ("nce", "usable", "contrastive")

#: (layer, checkpoint, kind) -> the estimate over all of its refits
Found = dict[tuple[str, str, str], Estimate]


def table(results: Results) -> str:
    """Returns the table that closes a run: one line per layer, every number with its error."""
    found: Found = {}
    for layer, checkpoint, refit, estimate in results.once("found"):
        if refit == "all":
            found[layer, checkpoint, estimate.kind] = estimate
    several = len(results.checkpoints) > 1
    most, fewer = _refits(found)
    said = _flags(results, found)
    forward = any(kind == "forward" for _, _, kind in found)
    readers = reader_words(results)
    header = ["checkpoint"] * several + [
        "layer",
        "shape",
        *["read through"] * bool(readers),
        "NCE [nats]",
        "usable [nats]",
        "[bits]",
        "contrastive [nats]",
        "label [nats]",
        *["by the rest [nats]"] * forward,
        "MSE",
    ]
    lines = [header]
    for layer, checkpoint in results.places:
        usable = found.get((layer, checkpoint, "usable"))
        starred = {kind for kind in COLUMNS if (layer, checkpoint, kind) in fewer}
        starred.update(*said.get((layer, checkpoint), {}).values())
        if (INPUT, "") in said and twin_of(results.spec, layer) == INPUT:
            starred.add("usable")
        lines.append(
            [
                *[checkpoint or "-"] * several,
                layer,
                _shape(results, layer),
                *[results.through(layer, checkpoint) or "-"] * bool(readers),
                _number(found.get((layer, checkpoint, "nce")), star="nce" in starred),
                _number(usable, star="usable" in starred),
                _number(None if usable is None else usable.bits, star="usable" in starred),
                _number(found.get((layer, checkpoint, "contrastive")), star="contrastive" in starred),
                _number(found.get((layer, checkpoint, "label")), star="label" in starred),
                *[_number(found.get((layer, checkpoint, "forward")), star="forward" in starred)] * forward,
                _number(found.get((layer, checkpoint, "mse")), star="mse" in starred),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text = [text[0], "-" * len(text[0]), *text[1:], ""] if results.places else []
    notes = []
    unconditional = _unconditional(results, found)
    if unconditional is not None:
        notes.append(f"p(x): {unconditional}".replace("CE(x|h)", "CE(x)"))
    for checkpoint in results.checkpoints:
        right = found.get(("", checkpoint, "accuracy"))
        at = f" at {checkpoint}" if several else ""
        if right is not None and right.flags:
            notes.append(textwrap.fill(f"{'; '.join(right.flags)}{at} (n = {right.n})", 110))
        elif right is not None:
            notes.append(f"classifier accuracy{at}: {_number(right)} (95 % interval, n = {right.n})")
    if (data := results.cell("data")) is not None:
        notes.append(f"images: {data.values['name']}")
        notes += [f"data: {note}" for note in data.values.get("notes", ())]
    if words := choice_words(results):
        notes.append(textwrap.fill(words, 110))
    notes += [textwrap.fill(words, 110) for words in readers]
    notes += [f"no {KINDS[kind]}: {reason}" for kind, reason in results.left_out().items()]
    if any(kind in READERS for _, _, kind in found):
        notes.append(textwrap.fill(results.label_entropy(), 110))
    errors = _covered(most) if most else _over(1 if unconditional is None else unconditional.refits)
    errors += ", where no star says otherwise" if fewer else ""
    directions = (
        " NCE bounds I(x;h) from below up to the constant H(x);\n"
        "usable information bounds nothing; contrastive and label information are lower bounds."
    )
    if count := results.tests:
        notes.append(textwrap.fill(corrected_for(count, results.tests_before), 110))
    notes.append(f"± one standard error {errors}.{directions if results.places else ''} * marks a flag:")
    flags = []
    for (layer, checkpoint, kind), count in fewer.items():
        at = f" at {checkpoint}" if several and checkpoint else ""
        words = "single fit" if count == 1 else f"{count} refits"
        flags.append(f"  * {layer}{at} {found[layer, checkpoint, kind].meaning}: {words}")
    for (layer, checkpoint), weakened in said.items():
        at = f" at {checkpoint}" if several and checkpoint else ""
        for flag, kinds in weakened.items():
            named = f"{layer}{at} {listing([KINDS.get(kind, kind) for kind in kinds])}"
            flags.append(f"  * {'p(x), and with it usable information' if layer == INPUT else named}: {flag}")
    if not flags:
        notes[-1] = notes[-1].replace(" * marks a flag:", "")
    return "\n".join([*text, *notes, *flags])


def _flags(results: Results, found: Found) -> dict[tuple[str, str], dict[str, list[str]]]:
    """Returns (layer, checkpoint) -> flag -> the kinds of numbers that it weakens, each flag once.

    What is said of a density's gap is about all that the density gives, and of p(x) about all usable information.
    """
    said: dict[tuple[str, str], dict[str, list[str]]] = {}
    for (layer, checkpoint, kind), estimate in found.items():
        for flag in estimate.flags if layer else ():
            fitted = [each for each in FITTED if (layer, checkpoint, each) in found]
            kinds = fitted if kind == "generalisation-gap" and fitted else [kind]
            own = said.setdefault((layer, checkpoint), {}).setdefault(flag, [])
            own += [each for each in kinds if each not in own]
    return said


def _refits(found: Found) -> tuple[dict[str, int], dict[tuple[str, str, str], int]]:
    """Returns the most refits behind a number of each column, and which numbers have how many fewer.

    Numbers of one column, and of those that come from the same densities, differ in this only while a run goes on, or
    where a fit failed.
    """
    counts = {key: each.refits for key, each in found.items() if key[0] not in ("", INPUT) and key[2] in COLUMNS}
    most = {}
    for column in COLUMNS:
        alike = FITTED if column in FITTED else (column,)
        if any(kind == column for _, _, kind in counts):
            most[column] = max(count for (_, _, kind), count in counts.items() if kind in alike)
    return most, {key: count for key, count in counts.items() if count < most[key[2]]}


def _covered(most: dict[str, int]) -> str:
    """What the errors of the columns cover, by how many fits are behind their numbers, the most first."""
    columns: dict[int, list[str]] = {}
    for kind, refits in sorted(most.items(), key=lambda item: -item[1]):
        columns.setdefault(refits, []).append(COLUMNS[kind])
    if len(columns) == 1:
        return _over(*columns)
    return "; ".join(f"{_over(refits)}, in {listing(names)}" for refits, names in columns.items())


def _over(refits: int) -> str:
    return f"over examples and {refits} refits" if refits > 1 else "over examples, given this single fit"


def _unconditional(results: Results, found: Found) -> Estimate | None:
    """Returns CE(x) over the refits that the rows use, so that usable information is its difference from CE(x|h).

    None where there is no p(x) yet, or where the rows use different refits of it.
    """
    whole = found.get((INPUT, "", "cross-entropy"))
    rows = [key for key in found if key[0] not in ("", INPUT) and key[2] in ("nce", "usable")]
    if whole is None or all(found[key].refits == whole.refits for key in rows):
        return whole
    places = {(layer, point) for layer, point, _ in rows if twin_of(results.spec, layer) == INPUT}
    used = {tuple(refit for refit, _ in results.fits(*place)) for place in places}
    refits = list(used.pop()) if len(used) == 1 else []
    if not refits or refits != results.common((INPUT, ""), *places):
        return None
    return cross_entropy(results.log_probs(INPUT, refits), groups=results.groups)


def _number(estimate: Estimate | None, *, star: bool = False) -> str:
    if estimate is None:
        return "-"
    amount = estimate.amount.removesuffix(f" {estimate.unit}")
    if estimate.unit != "fraction" and estimate.stderr is not None and without_spread(estimate.value, estimate.stderr):
        amount = f"{estimate.value:.4f}{NO_SPREAD}"
    return amount + ("*" if estimate.flags or star else "")


def _shape(results: Results, layer: str) -> str:
    shape = shape_of(results, layer)
    return "-" if shape is None else "×".join(map(str, shape)) or "scalar"
