"""The table of a run as text."""

from infoplane.estimate import Estimate
from infoplane.information import cross_entropy
from infoplane.report.inversion import shape_of
from infoplane.study.plan import INPUT, twin_of
from infoplane.study.results import Results

#: the columns whose numbers come from densities, which are fitted several times
FITTED = ("nce", "usable", "contrastive")

#: (layer, checkpoint, kind) -> the estimate over all of its refits
Found = dict[tuple[str, str, str], Estimate]


def table(results: Results) -> str:
    """Returns the table that closes a run: one line per layer, every number with its error."""
    found: Found = {}
    for layer, checkpoint, refit, estimate in results.estimates():
        if refit == "all":
            found[layer, checkpoint, estimate.kind] = estimate
    several = len(results.checkpoints) > 1
    most, fewer = _refits(found)
    forward = any(kind == "forward" for _, _, kind in found)
    header = ["checkpoint"] * several + [
        "layer",
        "shape",
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
        starred = {kind for kind in FITTED if (layer, checkpoint, kind) in fewer}
        lines.append(
            [
                *[checkpoint or "-"] * several,
                layer,
                "×".join(map(str, shape_of(results, layer))) or "-",
                _number(found.get((layer, checkpoint, "nce")), star="nce" in starred),
                _number(usable, star="usable" in starred),
                _number(None if usable is None else usable.bits, star="usable" in starred),
                _number(found.get((layer, checkpoint, "contrastive")), star="contrastive" in starred),
                _number(found.get((layer, checkpoint, "label"))),
                *[_number(found.get((layer, checkpoint, "forward")))] * forward,
                _number(found.get((layer, checkpoint, "mse"))),
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
        if right is not None:
            at = f" at {checkpoint}" if several else ""
            notes.append(f"classifier accuracy{at}: {_number(right)} (n = {right.n})")
    if (data := results.cell("data")) is not None:
        notes.append(f"images: {data.values['name']}")
    refits = most or (unconditional.refits if unconditional is not None else 1)
    errors = f"over examples and {refits} refits" if refits > 1 else "over examples, given this single fit"
    if fewer:
        errors = f"over examples and {refits} refits, where no star says otherwise"
    directions = (
        " NCE bounds I(x;h) from below up to the constant H(x);\n"
        "usable information bounds nothing; contrastive and label information are lower bounds."
    )
    notes.append(f"± one standard error {errors}.{directions if results.places else ''} * marks a flag:")
    flags = []
    for (layer, checkpoint, kind), count in fewer.items():
        at = f" at {checkpoint}" if several and checkpoint else ""
        words = "single fit" if count == 1 else f"{count} refits"
        flags.append(f"  * {layer}{at} {found[layer, checkpoint, kind].meaning}: {words}")
    for (layer, checkpoint, _), estimate in found.items():
        at = f" at {checkpoint}" if several and checkpoint else ""
        flags += [f"  * {layer}{at} {estimate.meaning}: {flag}" for flag in estimate.flags if layer]
    if not flags:
        notes[-1] = notes[-1].replace(" * marks a flag:", "")
    return "\n".join([*text, *notes, *flags])


def _refits(found: Found) -> tuple[int, dict[tuple[str, str, str], int]]:
    """Returns the most refits behind a number of the rows, and which numbers have how many fewer.

    Numbers of one run differ in this only while it goes on, or where a fit failed.
    """
    counts = {key: each.refits for key, each in found.items() if key[0] not in ("", INPUT) and key[2] in FITTED}
    most = max(counts.values(), default=0)
    return most, {key: count for key, count in counts.items() if count < most}


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
    return cross_entropy(results.log_probs(INPUT, refits))


def _number(estimate: Estimate | None, *, star: bool = False) -> str:
    if estimate is None:
        return "-"
    value = str(estimate).split(" (")[0].removesuffix(f" {estimate.unit}")
    return value + ("*" if estimate.flags or star else "")
