"""The tables of the page, as plain cells that the template only has to lay out."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from infoplane.data.split import PARTS
from infoplane.estimate import NO_CLASSIFIER, Estimate
from infoplane.measurements import QUANTITIES
from infoplane.measurements.numbers import INPUT, NETWORK
from infoplane.report.amounts import (
    MISSING,
    NEGLIGIBLE,
    amount,
    between,
    both,
    information,
    probability,
    shape,
    united,
    with_error,
)
from infoplane.report.contents import ReportContents
from infoplane.report.results import Difference, Results
from infoplane.report.theme import Palette
from infoplane.report.words import DIRECTIONS, MATCHED, fits, name_of

#: columns, at most, of one table: more would be cut off on a usual screen
ABREAST = 6
VERDICTS = {
    "falls": "given up",
    "rises": "more usable",
}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number: itself, the same in the other unit, what must be said with it, its footnotes, and what it says more
    where a reader points at it."""

    text: Markup
    other: Markup | None = None
    remark: str = ""
    notes: tuple[str, ...] = ()
    hint: str = ""


@dataclasses.dataclass(frozen=True)
class Column:
    """One kind of number: its name, its unit, its direction, and what is behind it.

    In an `even` one all numbers have as many fits behind them, which need not be said at each.
    """

    kind: str
    name: str
    unit: Markup
    direction: str
    behind: str
    even: bool


@dataclasses.dataclass(frozen=True)
class Line:
    """One layer at one checkpoint. `rows` is how many lines the layer's name stands for, 0 below its first one.

    `through` is the layer with whose density it is read, where that is another one.
    """

    name: str
    checkpoint: str
    rows: int
    label: str
    colour: str
    shape: str
    read_as: str
    through: str
    cells: tuple[Cell | None, ...]


@dataclasses.dataclass(frozen=True)
class Part:
    """A table by itself: its title, which of the columns it has, and its lines."""

    title: str
    columns: tuple[int, ...]
    lines: tuple[Line, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """All numbers of the layers; `several` checkpoints make a column of them.

    `parts` are what stands side by side, `footnotes` are (mark, text), `words` are (what a cell says, what that means).
    `matched` says that usable information is of the refits that are on both sides, where numbers are of different ones.
    """

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    parts: tuple[Part, ...]
    several: bool
    network: tuple[tuple[str, Cell], ...]
    footnotes: tuple[tuple[str, str], ...]
    words: tuple[tuple[str, str], ...]
    matched: str

    @property
    def through(self) -> list[str]:
        """The layers that are read through other ones, as the reader knows them, each once."""
        return list(dict.fromkeys(line.label for line in self.lines if line.through))


#: what cells say besides numbers
WORDS = {
    fits(1): "the error is given this one fit; retraining with another seed moves the number by more.",
    "no spread": "all images or batches gave the same number, as they do at a ceiling, so that no error can be seen.",
}


class Notes:
    """Gives every distinct flag one letter."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def mark(self, flags: Sequence[str]) -> tuple[str, ...]:
        for flag in flags:
            index = len(self.letters)
            letter = chr(ord("a") + index % 26) * (1 + index // 26)
            self.letters.setdefault(flag, letter)
        return tuple(self.letters[flag] for flag in flags)


def _cell(estimate: Estimate, notes: Notes, *, remark: bool) -> Cell:
    other = None
    if estimate.kind == "usable":
        values = [with_error(view.value, view.stderr) for view in (estimate.nats, estimate.bits)]
        other = both(united(values[1], " bits"), united(values[0], " nats"))
    return Cell(
        amount(estimate, unit=estimate.unit == "fraction"),
        other,
        fits(estimate.refits) if remark else "",
        notes.mark(estimate.flags),
        between(estimate),
    )


def _column(kind: str, results: Results, each: int | None) -> Column:
    own = [result for result in results.all if result.estimate.kind == kind and result.layer != NETWORK]
    found = [result.estimate for result in own]
    pooled = [result.estimate for result in own if result.refit == "all"]
    units = dict.fromkeys(estimate.unit for estimate in found)
    named = " / ".join("share" if unit == "fraction" else unit for unit in units)
    unit = both("nats", "bits") if "nats" in units else Markup.escape(named)
    directions = dict.fromkeys(estimate.direction for estimate in found)
    if kind == "mse" and set(directions) == {"none"}:
        direction = "no information"
    else:
        direction = " / ".join(DIRECTIONS[direction] for direction in directions)
    if kind == "nce" and set(directions) == {"lower"}:
        direction += ", up to H(x)"
    quantity = QUANTITIES.get(kind)
    counts = sorted({estimate.n for estimate in pooled or found if estimate.n})
    sizes = "–".join(f"{count:,}" for count in dict.fromkeys((counts[0], counts[-1]))) if counts else ""
    sizes += f" {quantity.counted if quantity else 'images'}" if counts else ""
    if quantity and quantity.drawn and counts and each is not None:
        sizes += f", {each:,} samples of each"
    twin = _twin(INPUT, kind, "", results)
    refits = {estimate.refits for estimate in (*(pooled or found), *([twin] if twin else ()))}
    spread = fits(*refits) if len(refits) == 1 else "refits with each number"
    behind = ", ".join(filter(None, (sizes, spread)))
    return Column(kind, (quantity and quantity.head) or name_of(kind), unit, direction, behind, len(refits) == 1)


def numbers(contents: ReportContents, results: Results, palette: Palette) -> Table:
    """Returns every number of the layers, by checkpoint and depth, and those of the whole network."""
    kinds = {result.estimate.kind for result in results.all if result.layer != NETWORK}
    if "nce" in kinds:
        kinds.discard("cross-entropy")  # the same number with the other sign
    order = [kind for kind in (*QUANTITIES, *results.kinds) if kind in kinds]
    order = list(dict.fromkeys(order))
    columns = tuple(_column(kind, results, contents.each) for kind in order)
    notes = Notes()
    names = [layer.name for layer in contents.layers]
    names += [name for name in results.layers if name not in (*names, INPUT, NETWORK)]
    shapes = {layer.name: shape(layer.shape) for layer in contents.layers}
    read_as = {layer.name: layer.read_as for layer in contents.layers}
    several = len(results.checkpoints) > 1

    def of_layer(name: str) -> list[Line]:
        # What belongs to no checkpoint, or was measured nowhere yet, has one line.
        points = results.dated(name) if several and name != INPUT else [results.last]
        points = points or [""]
        made = []
        for row, checkpoint in enumerate(points):
            kinds = (column.kind for column in columns)
            found = [results.get(name, kind, checkpoint) or _twin(name, kind, checkpoint, results) for kind in kinds]
            cells = tuple(
                None if estimate is None else _cell(estimate, notes, remark=not column.even)
                for estimate, column in zip(found, columns, strict=True)
            )
            through = next((estimate.read_through for estimate in found if estimate and estimate.read_through), "")
            at = checkpoint if several and name in shapes else ""
            rows, labels = (0 if row else len(points)), (contents.label(name), palette.css(name), shapes.get(name, ""))
            through = contents.label(through) if through else ""
            made.append(Line(name, at, rows, *labels, read_as.get(name, ""), through, cells))
        return made

    lines = [line for name in names for line in of_layer(name)]
    lines = [line for line in lines if any(line.cells) or line.name in shapes]
    if INPUT in results.layers:
        lines += of_layer(INPUT)
    network = [
        (
            name_of(result.estimate.kind) + (f", checkpoint {result.checkpoint}" if several else ""),
            _of_network(result.estimate, notes),
        )
        for result in results.all
        if result.layer == NETWORK and result.refit == "all"
    ]
    footnotes = tuple((letter, flag) for flag, letter in notes.letters.items())
    cells = [cell for line in lines for cell in line.cells if cell is not None] + [cell for _, cell in network]
    said = " ".join([*(f"{cell.text} {cell.remark}" for cell in cells), *(column.behind for column in columns)])
    meanings = tuple((words, meaning) for words, meaning in WORDS.items() if words in said)
    pooled = [result.estimate for result in results.all if result.refit == "all"]
    compared = {each.refits for each in pooled if each.kind == "usable"}
    others = {each.refits for each in pooled if each.kind in ("nce", "cross-entropy")}
    matched = MATCHED if compared and len(compared | others) > 1 else ""
    return Table(columns, tuple(lines), _parts(columns, lines), several, tuple(network), footnotes, meanings, matched)


def _parts(columns: Sequence[Column], lines: Sequence[Line]) -> tuple[Part, ...]:
    """Returns one table, or two where its columns would not stand side by side."""
    about_fits = {kind for kind, each in QUANTITIES.items() if each.beside}
    beside = tuple(index for index, column in enumerate(columns) if column.kind in about_fits)
    others = tuple(index for index in range(len(columns)) if index not in beside)
    if len(columns) <= ABREAST or not others or not beside:
        return (Part("", tuple(range(len(columns))), tuple(lines)),) if columns else ()
    known = {line.name for line in lines if any(line.cells[index] for index in beside)}
    drawn = tuple(line for line in lines if line.name in known)
    return Part("Information", others, tuple(lines)), Part("What was drawn, and the fits themselves", beside, drawn)


def _twin(name: str, kind: str, checkpoint: str, results: Results) -> Estimate | None:
    """p(x) is given as a cross-entropy; in the column of negative ones it stands with its sign turned."""
    if name != INPUT or kind != "nce" or (found := results.get(name, "cross-entropy", checkpoint)) is None:
        return None
    return dataclasses.replace(found, value=-found.value, kind="nce")


def _of_network(estimate: Estimate, notes: Notes) -> Cell:
    """One number of the whole network; answers that have nothing to do with the labels have no accuracy."""
    cell = dataclasses.replace(_cell(estimate, notes, remark=estimate.refits == 1), other=_behind(estimate))
    no_classifier = any(flag.startswith(NO_CLASSIFIER) for flag in estimate.flags)
    return dataclasses.replace(cell, text=Markup("not above chance")) if no_classifier else cell


def _behind(estimate: Estimate) -> Markup:
    return Markup(f"on {estimate.n:,} images") if estimate.n else Markup()


def steps(
    found: Sequence[Difference], contents: ReportContents
) -> list[tuple[str, str, str, Markup, str, str, str, str, str, str]]:
    """Returns (checkpoint, from, to, difference, n, refits, degrees of freedom, p, corrected p, verdict) of each."""
    return [
        (
            step.checkpoint,
            contents.label(step.first),
            contents.label(step.second),
            # Of one density there is nothing to be spread.
            information(step.value, None if step.one_density else step.stderr, unit=False),
            f"{step.n:,}" if step.n else MISSING,
            str(step.refits or MISSING),
            "∞" if step.dof > 1e6 else f"{step.dof:.0f}" if step.dof >= 10 else f"{step.dof:.1f}",
            probability(step.p),
            probability(step.claim.p),
            VERDICTS.get(step.verdict, step.claim.words),
        )
        for step in found
    ]


def changes(contents: ReportContents) -> list[tuple[str, str, str, str, Markup, str, str, str, str]]:
    """Returns (number, layer, first, last, change, p, corrected p, verdict, flags), from first to last checkpoint."""
    points = contents.checkpoints
    return [
        (
            name_of(row["kind"]),
            contents.label(row["layer"]) if row["layer"] else "the network itself",
            str(row["first"]),
            str(row["last"]),
            information(row["value"], row["stderr"], unit=False),
            probability(row["p"]),
            probability(row.get("p_corrected")),
            str(row["verdict"]),
            str(row["flags"]),
        )
        for row in contents.changes
        if (row["first"], row["last"]) == (points[0], points[-1]) and row["unit"] == "nats"
    ]


def falls(contents: ReportContents) -> list[tuple[str, str, Markup, Markup, str, str, str, str]]:
    """Returns (layer, peak, fall, fall of a constant curve, p, corrected p, verdict, flags) of every layer."""
    return [
        (
            contents.label(row["layer"]),
            str(row["peak"]),
            information(row["value"], row["stderr"], unit=False),
            Markup("–") if row["null"] is None else information(row["null"], row["null_stderr"], unit=False),
            probability(max((p for p in (row["p"], row.get("paired")) if p is not None), default=None)),
            probability(row.get("p_corrected")),
            str(row["verdict"]),
            str(row["flags"]),
        )
        for row in contents.falls
    ]


def tests(contents: ReportContents) -> int:
    """Returns how many hypotheses the verdicts of the page are corrected for."""
    rows = (*contents.differences, *contents.changes, *contents.falls)
    return max((int(row.get("tests") or 0) for row in rows), default=0)


def losses(contents: ReportContents) -> list[tuple[str, str, tuple[Markup, ...], str]]:
    """Returns (layer, checkpoint, loss on each part of the split, bits per dimension) of every density."""
    return [
        (
            contents.label(row["layer"]),
            str(row["checkpoint"]),
            tuple(
                information(row[part], row[f"{part}_stderr"], unit=False) if part in row else Markup("–")
                for part in PARTS
            ),
            with_error(row["bits_per_dimension"], row["bits_per_dimension_stderr"]),
        )
        for row in contents.losses
    ]


def _known(truth: float | None, stderr: float | None) -> Markup:
    """A true value; an error that says nothing is left out, where "no spread" would be the wrong words."""
    told = truth is not None and stderr is not None and stderr >= NEGLIGIBLE * abs(truth) and stderr > 0
    return information(truth, stderr if told else None, unit=False)


def truths(rows: Sequence[Mapping[str, Any]] | None) -> list[tuple[str, Markup, Markup, str, str]]:
    """Returns (name, truth, measured, direction, verdict) of every comparison with a known truth."""
    return [
        (
            str(row.get("name", "")),
            _known(row.get("truth"), row.get("truth_stderr")),
            information(row.get("measured"), row.get("stderr"), unit=False),
            DIRECTIONS.get(str(row.get("direction")), str(row.get("direction") or "")),
            str(row.get("verdict") or ""),
        )
        for row in rows or ()
    ]
