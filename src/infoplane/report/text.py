"""The table of a run as text."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence

from infoplane.errors import in_words, spoken_list
from infoplane.estimate import KINDS, OF_TWIN, Estimate
from infoplane.measurements import QUANTITIES
from infoplane.measurements.numbers import ALL, INPUT
from infoplane.report.format import NO_SPREAD, capitalised, rounded, without_spread
from infoplane.report.inversion.gather import MOST_NAMED, choice_words, network_words, reader_words, shape_of
from infoplane.report.inversion.opening import MATCHED
from infoplane.report.words import DIRECTIONS, fits
from infoplane.study.results import Results

#: the columns: kind of number -> what the footer calls it
COLUMNS = {kind: each.said for kind, each in QUANTITIES.items() if each.said}
#: letters of a line
WIDE = 110

#: (layer, checkpoint, kind) -> the estimate over all of its refits
Found = dict[tuple[str, str, str], Estimate]
#: (layer, checkpoint)
Place = tuple[str, str]


def table(results: Results) -> str:
    """Returns the table that closes a run: one line per layer, every number with its error."""
    found: Found = {}
    for (layer, checkpoint, network, _), refit, estimate in results.numbers:
        if refit == ALL and not network:
            found[layer, checkpoint, estimate.kind] = estimate
    notes = [*_of_whole(results, found), *_of_run(results), _errors(found)]
    return aligned(_rows(results, found) if results.places else [], notes, _flagged(results, found))


def aligned(lines: Sequence[Sequence[str]], notes: Sequence[str], flags: Mapping[str, Sequence[str]]) -> str:
    """Returns lines in columns, the first as their head, notes below them, and what each flag weakens."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text = [text[0], "-" * len(text[0]), *text[1:], ""] if text else []
    said = [*notes[:-1], notes[-1] + " * marks a flag:" if flags else notes[-1]] if notes else []
    text += [textwrap.fill(note, WIDE, break_long_words=False, break_on_hyphens=False) for note in said]
    for flag, who in flags.items():
        for words, first, then in ((flag, "  * ", " " * 4), ("; ".join(who), " " * 6, " " * 6)):
            text.append(textwrap.fill(words, WIDE, initial_indent=first, subsequent_indent=then))
    return "\n".join(text)


def _rows(results: Results, found: Found) -> list[list[str]]:
    """The head and a line for each layer at each checkpoint; columns are those asked for, or that hold a number."""
    several, readers = len(results.checkpoints) > 1, any(results.through(*place) for place in results.places)
    asked = {*results.spec.measure, *(kind for _, _, kind in found)}
    shown = [kind for kind in COLUMNS if kind in asked]
    varying = _varying(found)
    head = [*["checkpoint"] * several, "layer", "shape", *["read through"] * readers]
    for kind in shown:
        head += [f"{COLUMNS[kind]} [{QUANTITIES[kind].unit}]", *["[bits]"] * (kind == "usable")]
    lines = [[*head, *["refits"] * bool(varying)]]
    for layer, checkpoint in results.places:
        line = [*[checkpoint or "-"] * several, layer, _shape(results, layer)]
        line += [results.through(layer, checkpoint) or "-"] * readers
        for kind in shown:
            estimate = found.get((layer, checkpoint, kind))
            line.append(number_text(estimate))
            if kind == "usable":
                line.append(number_text(None if estimate is None else estimate.bits))
        own = {kind: found[layer, checkpoint, kind].refits for kind in varying if (layer, checkpoint, kind) in found}
        lines.append([*line, *[_behind(own)] * bool(varying)])
    return lines


def _behind(own: dict[str, int]) -> str:
    """How many refits are behind the numbers of a row: "3", or "3 (NCE), 2 (usable)" where they differ."""
    kinds: dict[int, list[str]] = {}
    for kind, refits in own.items():
        kinds.setdefault(refits, []).append(COLUMNS[kind])
    if len(kinds) < 2:
        return "".join(map(str, kinds)) or "-"
    return ", ".join(f"{refits} ({spoken_list(names)})" for refits, names in kinds.items())


def _source(kind: str) -> str:
    """What there are equally many fits of: all that comes from densities is one."""
    return "densities" if QUANTITIES[kind].fitted else kind


def _varying(found: Found) -> list[str]:
    """The columns in which numbers are of different refits; of those of densities all, where any of them are.

    Only while a run goes on, or where a fit failed.
    """
    counts: dict[str, set[int]] = {}
    for (_, _, kind), estimate in _of_rows(found).items():
        counts.setdefault(_source(kind), set()).add(estimate.refits)
    return [kind for kind in COLUMNS if len(counts.get(_source(kind), ())) > 1]


def _of_rows(found: Found) -> Found:
    """The numbers that stand in the rows of the table."""
    return {key: each for key, each in found.items() if key[0] not in ("", INPUT) and key[2] in COLUMNS}


def _of_whole(results: Results, found: Found) -> list[str]:
    """What is said of p(x), and of the network as a whole."""
    notes, several = [], len(results.checkpoints) > 1
    unconditional = found.get((INPUT, "", "cross-entropy"))
    if unconditional is not None:
        behind = (DIRECTIONS[unconditional.direction], f"n = {unconditional.n}", fits(unconditional.refits))
        notes.append(f"p(x): {number_text(unconditional, unit=True)} (cross-entropy CE(x), {', '.join(behind)})")
        counts = {each.refits for (_, _, kind), each in _of_rows(found).items() if kind in ("nce", "usable")}
        if counts - {unconditional.refits} and any(kind == "usable" for _, _, kind in found):
            notes.append(MATCHED)
    for checkpoint in results.checkpoints:
        right = found.get(("", checkpoint, "accuracy"))
        at = f" at {checkpoint}" if several else ""
        if right is not None and right.flags:
            notes.append(f"{'; '.join(right.flags)}{at} (n = {right.n})")
        elif right is not None:
            notes.append(f"classifier accuracy{at}: {number_text(right)} (95 % interval, n = {right.n})")
    return notes


def _of_run(results: Results) -> list[str]:
    """What is said of the data, of the choice of densities, and of what is missing."""
    notes = [*filter(None, [results.spec.note])]
    if (data := results.cell("data")) is not None:
        notes.append(f"images: {data.values['name']}")
        notes += [f"data: {note}" for note in data.values.get("notes", ())]
    notes += [*filter(None, [network_words(results.spec), choice_words(results)]), *reader_words(results)]
    notes += [f"no {KINDS[kind]}: {reason}" for kind, reason in results.left_out().items()]
    return [*notes, *filter(None, [results.label_entropy()])]


def _errors(found: Found) -> str:
    """What the errors are over, of how many images or batches, and what numbers bound."""
    rows, varying = _of_rows(found), _varying(found)
    over: dict[str, list[str]] = {}
    for kind in [kind for kind in COLUMNS if any(key[2] == kind for key in rows)]:
        own = [each for key, each in rows.items() if key[2] == kind]
        counts = {"networks": max(each.networks for each in own), "refits": max(each.refits for each in own)}
        words = " and ".join(f"{count} {what}" for what, count in counts.items() if count > 1)
        over.setdefault("the refits of each row" if kind in varying else words, []).append(COLUMNS[kind])
    if not rows:
        whole = found.get((INPUT, "", "cross-entropy"))
        over = {f"{whole.refits} refits" if whole is not None and whole.refits > 1 else "": []}
    parts = [
        f"over examples{f' and {words}' if words else ', given this single fit'}"
        + (f", in {spoken_list(names)}" if len(over) > 1 else "")
        for words, names in sorted(over.items(), key=lambda item: not item[0])
    ]
    kinds = {kind for _, _, kind in rows}
    bounds = [QUANTITIES[kind].bounds for kind in COLUMNS if kind in kinds and QUANTITIES[kind].bounds]
    lower = [QUANTITIES[kind].lower for kind in COLUMNS if kind in kinds and QUANTITIES[kind].lower]
    if lower:
        bounds.append(f"{spoken_list(lower)} {'are lower bounds' if len(lower) > 1 else 'is a lower bound'}")
    said = [f"± one standard error {'; '.join(parts)}", _sizes(rows), "; ".join(bounds)]
    return " ".join(f"{capitalised(words)}." for words in said if words)


def _sizes(rows: Found) -> str:
    """Of how many images or batches the numbers of the rows are."""
    counts: dict[str, set[int]] = {}
    for (_, _, kind), estimate in rows.items():
        counts.setdefault("batches in contrastive" if kind == "contrastive" else "evaluation images", set())
        counts["batches in contrastive" if kind == "contrastive" else "evaluation images"].add(estimate.n)
    spans = {what: "–".join(f"{n:,}" for n in sorted({min(all_n), max(all_n)})) for what, all_n in counts.items()}
    return " and ".join(f"{span} {what}" for what, span in sorted(spans.items(), reverse=True) if span != "0")


def _flagged(results: Results, found: Found) -> dict[str, list[str]]:
    """Each flag, and the numbers that it weakens."""
    flagged: dict[str, dict[Place, list[str]]] = {}
    whole = found.get((INPUT, "", "cross-entropy"))
    unconditional: tuple[str, ...] = () if whole is None else whole.flags
    compared = set()
    for (layer, checkpoint, kind), estimate in found.items():
        for flag in estimate.flags if kind in COLUMNS or kind.startswith("sample-") else ():
            own = flag.removeprefix(OF_TWIN)
            if own != flag and own in unconditional:
                compared.add(own)
            elif layer not in ("", INPUT):
                flagged.setdefault(flag, {}).setdefault((layer, checkpoint), []).append(kind)
    whose = {}
    for flag in dict.fromkeys([*unconditional, *flagged]):
        who = ["p(x)" + ", and with it usable information" * (flag in compared)] * (flag in unconditional)
        whose[flag] = [*who, *_whose(flagged.get(flag, {}), results)]
    return whose


def _whose(weakened: dict[Place, list[str]], results: Results) -> Iterable[str]:
    """Whose numbers a flag is about: layers with the same kinds and checkpoints are named together."""
    by_layer: dict[str, dict[tuple[str, ...], list[str]]] = {}
    for (layer, checkpoint), kinds in weakened.items():
        by_layer.setdefault(layer, {}).setdefault(tuple(kinds), []).append(checkpoint)
    alike: dict[tuple[tuple[str, ...], tuple[str, ...]], list[str]] = {}
    for layer, own in by_layer.items():
        for kinds, points in own.items():
            alike.setdefault((kinds, tuple(points)), []).append(layer)
    for (kinds, points), layers in alike.items():
        named = spoken_list([COLUMNS.get(kind, KINDS.get(kind, kind)) for kind in kinds])
        yield f"{spoken_list([in_words(layer) for layer in layers])}{_at(points, results.checkpoints)} ({named})"


def _at(points: Sequence[str], checkpoints: Sequence[str]) -> str:
    """At which checkpoints, where there are several."""
    if len(checkpoints) < 2 or set(points) == {""}:
        return ""
    if len(points) > MOST_NAMED:
        return f" at {len(points)} of {len(checkpoints)} checkpoints"
    return f" at {spoken_list(points)}"


def number_text(estimate: Estimate | None, *, unit: bool = False) -> str:
    """Returns a number as it stands in such a table, with a star where it has flags."""
    if estimate is None:
        return "-"
    amount = estimate.amount.removesuffix(f" {estimate.unit}")
    if estimate.unit != "fraction" and estimate.stderr is not None and without_spread(estimate.value, estimate.stderr):
        amount = f"{estimate.value:.4f}{NO_SPREAD}"
    elif estimate.unit != "fraction" and estimate.stderr is None:
        amount = rounded(estimate.value)
    return f"{amount}{f' {estimate.unit}' if unit else ''}{'*' if estimate.flags else ''}"


def _shape(results: Results, layer: str) -> str:
    shape = shape_of(results, layer)
    return "-" if shape is None else "×".join(map(str, shape)) or "scalar"
