"""The table of a run as text."""

from infoplane.estimate import Estimate
from infoplane.report.build import shape_of
from infoplane.study.plan import INPUT
from infoplane.study.results import Results


def table(results: Results) -> str:
    """Returns the table that closes a run: one line per layer, every number with its error."""
    found: dict[tuple[str, str, str], Estimate] = {}
    for layer, checkpoint, refit, estimate in results.estimates():
        if refit == "all":
            found[layer, checkpoint, estimate.kind] = estimate
    several = len(results.checkpoints) > 1
    header = ["checkpoint"] * several + [
        "layer",
        "shape",
        "NCE [nats]",
        "usable [nats]",
        "[bits]",
        "contrastive [nats]",
        "label [nats]",
        "MSE",
    ]
    lines = [header]
    for layer, checkpoint in results.places:
        usable = found.get((layer, checkpoint, "usable"))
        lines.append(
            [
                *[checkpoint or "-"] * several,
                layer,
                "×".join(map(str, shape_of(results, layer))) or "-",
                _number(found.get((layer, checkpoint, "nce"))),
                _number(usable),
                _number(None if usable is None else usable.bits),
                _number(found.get((layer, checkpoint, "contrastive"))),
                _number(found.get((layer, checkpoint, "label"))),
                _number(found.get((layer, checkpoint, "mse"))),
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "-" * len(text[0]))
    notes = []
    unconditional = found.get((INPUT, "", "cross-entropy"))
    if unconditional is not None:
        notes.append(f"p(x): {unconditional}")
    for checkpoint in results.checkpoints:
        right = found.get(("", checkpoint, "accuracy"))
        if right is not None:
            at = f" at {checkpoint}" if several else ""
            notes.append(f"classifier accuracy{at}: {_number(right)} (n = {right.n})")
    sample = next(iter(found.values()), None)
    refits = unconditional.refits if unconditional is not None else (1 if sample is None else sample.refits)
    errors = f"over examples and {refits} refits" if refits > 1 else "over examples, given this single fit"
    notes.append(
        f"± one standard error {errors}. NCE bounds I(x;h) from below up to the constant H(x);\n"
        "usable information bounds nothing; contrastive and label information are lower bounds. * marks a flag:"
    )
    flags = []
    for (layer, checkpoint, _), estimate in found.items():
        at = f" at {checkpoint}" if several and checkpoint else ""
        flags += [f"  * {layer}{at} {estimate.meaning}: {flag}" for flag in estimate.flags if layer]
    if not flags:
        notes[-1] = notes[-1].replace(" * marks a flag:", "")
    return "\n".join([*text, "", *notes, *flags])


def _number(estimate: Estimate | None) -> str:
    if estimate is None:
        return "-"
    value = str(estimate).split(" (")[0].removesuffix(f" {estimate.unit}")
    return value + ("*" if estimate.flags else "")
