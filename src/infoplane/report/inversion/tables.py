"""The tables of the page of a study of inversion."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from markupsafe import Markup

from infoplane.data.split import PARTS
from infoplane.errors import fits_behind
from infoplane.estimate import NO_CLASSIFIER, Estimate
from infoplane.measurements import QUANTITIES
from infoplane.measurements.numbers import ALL, INPUT, NETWORK
from infoplane.report.claimed import Difference
from infoplane.report.format import both, capitalised, information, probability, shape, united, with_error
from infoplane.report.inversion.contents import ReportContents
from infoplane.report.inversion.opening import MATCHED
from infoplane.report.page import Facts, Footnotes, Heading
from infoplane.report.tables import NONE, PER_IMAGE, UNIT_WORDS, Notes, Row, Table, TableEntry, entry, worded
from infoplane.report.theme import Palette
from infoplane.report.words import DIRECTIONS, quantity_name

#: columns, at most, of one table: more would be cut off on a usual screen
ABREAST = 6
#: what entries say besides numbers
WORDS = {
    fits_behind(1): "the error is given this one fit; retraining with another seed moves the number by more.",
    "no spread": "all images or batches gave the same number, as they do at a ceiling, so that no error can be seen.",
}


def column_kinds(contents: ReportContents) -> list[str]:
    """Returns the kinds of numbers of the layers, in the order of their columns."""
    kinds = {each.estimate.kind for each in contents.numbers if each.place.layer != NETWORK}
    if "nce" in kinds:
        kinds.discard("cross-entropy")  # the same number with the other sign
    return [kind for kind in dict.fromkeys((*QUANTITIES, *contents.numbers.kinds)) if kind in kinds]


class LayerTables:
    """Every number of the layers, by checkpoint and depth, and those of the whole network.

    Where more columns would stand side by side than a screen shows, what was drawn and what is about the fits has a
    table of its own.
    """

    def __init__(self, contents: ReportContents, palette: Palette) -> None:
        self.contents, self.numbers, self.palette, self.notes = contents, contents.numbers, palette, Notes()
        self.several = len(self.numbers.checkpoints) > 1
        self.kinds = column_kinds(contents)
        self.shapes = {layer.name: layer for layer in contents.layers}
        self._even = {kind: len(self._behind(kind)) == 1 for kind in self.kinds}
        own = dict.fromkeys((*self.shapes, *self.numbers.layers))
        self.names = [
            name
            for name in own
            if name not in (INPUT, NETWORK) and (name in self.shapes or self._any(name, self.kinds))
        ]
        self.names += [INPUT] * (INPUT in self.numbers.layers)
        #: the layers that are read through other ones, as the reader knows them
        self.through = {
            contents.label(each.place.layer): None for each in self.numbers if each.estimate.read_through
        }  # fmt: skip

    def _any(self, name: str, kinds: Sequence[str]) -> bool:
        return any(self._find(name, kind, None) for kind in kinds)

    def _find(self, name: str, kind: str, checkpoint: str | None) -> Estimate | None:
        found = self.numbers.get(name, kind, checkpoint)
        if found is None and name == INPUT and kind == "nce":
            # p(x) is given as a cross-entropy; in the column of negative ones it stands with its sign turned.
            found = self.numbers.get(name, "cross-entropy", checkpoint)
            return None if found is None else replace(found, value=-found.value, kind="nce")
        return found

    def _own(self, kind: str) -> list[Estimate]:
        """The numbers of a kind over all refits, else of each; of several networks together where there are any."""
        found = [each for each in self.numbers if each.estimate.kind == kind and each.place.layer != NETWORK]
        found = [each for each in found if not each.place.network] or found
        return [each.estimate for each in found if each.refit == ALL] or [each.estimate for each in found]

    def _behind(self, kind: str) -> set[tuple[int, int]]:
        """How many refits, and of how many networks, are behind numbers of a kind; p(x) needs no network."""
        twin = self._find(INPUT, kind, "")
        own = (*self._own(kind), *([twin] if twin else ()))
        most = max((estimate.networks for estimate in own), default=1)
        return {(each.refits, most if each.networks == 1 else each.networks) for each in own}

    def _head(self, kind: str) -> TableEntry:
        """The name of a column, its unit, its direction, and what is behind it."""
        quantity, found = QUANTITIES.get(kind), self._own(kind)
        units = dict.fromkeys(estimate.unit for estimate in found)
        named = " / ".join(UNIT_WORDS.get(unit, unit) for unit in units)
        directions = dict.fromkeys(estimate.direction for estimate in found)
        direction = " / ".join(DIRECTIONS[direction] for direction in directions)
        if kind == "mse" and set(directions) == {"none"}:
            direction = "no information"
        if kind == "nce" and set(directions) == {"lower"}:
            direction += ", up to H(x)"
        counts = sorted({estimate.n for estimate in found if estimate.n})
        sizes = "–".join(f"{count:,}" for count in dict.fromkeys((*counts[:1], *counts[-1:])))
        sizes += f" {quantity.counted if quantity else 'images'}" if counts else ""
        if quantity and quantity.drawn and counts and self.contents.each is not None:
            sizes += f", {self.contents.each:,} samples of each"
        behind = fits_behind(*next(iter(self._behind(kind)))) if self._even[kind] else "refits with each number"
        unit = both("nats", "bits") if "nats" in units else named
        name = (quantity and quantity.head) or quantity_name(kind)
        return TableEntry(name, (unit, direction, ", ".join(filter(None, (sizes, behind)))))

    def _number(self, estimate: Estimate | None, kind: str) -> TableEntry:
        other = ""
        if estimate is not None and kind == "usable":
            nats, bits = (with_error(view.value, view.stderr) for view in (estimate.nats, estimate.bits))
            other = both(united(bits, " bits"), united(nats, " nats"))
        behind = "" if estimate is None or self._even[kind] else fits_behind(estimate.refits, estimate.networks)
        return entry(estimate, self.notes, other, behind)

    def _rows(self, name: str, kinds: Sequence[str]) -> list[Row]:
        """A row for each checkpoint; one for what belongs to none, or was measured nowhere yet."""
        points = (self.numbers.dated(name) if self.several and name != INPUT else [self.numbers.last]) or [""]
        layer, label, rows = self.shapes.get(name), self.contents.label(name), []
        small = [Markup("<code>{}</code>").format(name)] if name not in (label, INPUT) else []
        if layer is not None:
            small += [*filter(None, [shape(layer.shape)]), *([f"read as {layer.read_as}"] if layer.read_as else [])]
        who = TableEntry(label, tuple(small), chip=self.palette.css(name), rows=len(points), begins=self.several)
        for checkpoint in points:
            found = [self._find(name, kind, checkpoint) for kind in self.kinds]
            row = [] if rows else [who]
            row += [TableEntry(checkpoint if layer and checkpoint else "–")] if self.several else []
            through = next((each.read_through for each in found if each and each.read_through), "")
            row += [TableEntry(self.contents.label(through)) if through else NONE] if self.through else []
            rows.append(row + [self._number(each, kind) for each, kind in zip(found, self.kinds) if kind in kinds])
        return rows

    def parts(self) -> list[Facts | Heading | Table | Footnotes]:
        """Returns them as they stand in their section."""
        beside = [kind for kind in self.kinds if kind in QUANTITIES and QUANTITIES[kind].beside]
        others = [kind for kind in self.kinds if kind not in beside]
        tables = [("", self.kinds)] if self.kinds else []
        if len(self.kinds) > ABREAST and others and beside:
            tables = [("Information", others), ("What was drawn, and the fits themselves", beside)]
        parts: list[Facts | Heading | Table | Footnotes] = []
        head = [TableEntry("Layer", ("shape",)), *[TableEntry(Markup("Check&shy;point"))] * self.several]
        head += [TableEntry("Read through")] if self.through else []
        for title, kinds in tables:
            # What has no number is left out of the second table.
            known = [name for name in self.names if kinds is not beside or self._any(name, kinds)]
            rows = [row for name in known for row in self._rows(name, kinds)]
            label = "The numbers of each layer" + (f": {title}" if title else "")
            parts += [Heading(title)] if title else []
            parts.append(Table([*head, *map(self._head, kinds)], [("", rows)], label))
        facts = self._of_network()  # last, so that footnotes begin in the table
        return [Facts(facts), *parts] if facts else parts

    def _of_network(self) -> list[tuple[str, TableEntry]]:
        """The numbers of the whole network; answers that have nothing to do with the labels have no accuracy."""
        facts = []
        for place, refit, estimate in self.numbers:
            if place.layer == NETWORK and refit == ALL:
                behind = f"on {estimate.n:,} images" if estimate.n else ""
                each = entry(estimate, self.notes, behind, unit=True)
                if any(flag.startswith(NO_CLASSIFIER) for flag in estimate.flags):
                    each = replace(each, text="not above chance")
                at = f", mean over {estimate.networks} networks" if estimate.networks > 1 else ""
                at = f", network {place.network}" if place.network else at
                at += f", checkpoint {place.checkpoint}" if self.several else ""
                facts.append((quantity_name(estimate.kind) + at, each))
        return facts

    def footnotes(self, said: Sequence[object]) -> list[Footnotes]:
        """Returns what must be said below them, given what was said in them."""
        contents = self.contents
        lines: list[Markup | str] = [*contents.readers]
        lines += [f"{contents.label_entropy}."] if contents.label_entropy else []
        pooled = [each.estimate for each in self.numbers if each.refit == ALL]
        compared = {each.refits for each in pooled if each.kind == "usable"}
        others = {each.refits for each in pooled if each.kind in ("nce", "cross-entropy")}
        lines += [MATCHED] if compared and len(compared | others) > 1 else []
        left_out = contents.left_out.items()
        lines += [f"There is no {quantity_name(kind).lower()}: {reason}." for kind, reason in left_out]
        shown = repr(said)
        words = [f"“{words}”: {meaning}" for words, meaning in WORDS.items() if words in shown]
        lines += [*self.notes.lines, *words]
        return [Footnotes(lines)] if lines else []


def layer_tables(contents: ReportContents) -> list[object]:
    """Returns all numbers of the layers and of the network, and what must be said of them."""
    tables = LayerTables(contents, Palette(contents.names))
    parts = tables.parts()
    return [*parts, *tables.footnotes(parts)]


def differences_table(contents: ReportContents, kind: str, *, several: bool) -> Table:
    """Returns the paired differences between layers of one kind of number."""
    found = [step for step in contents.differences if step.kind == kind]
    networks = any(step.networks > 1 for step in found)
    head = ["Checkpoint"] * several + ["From", "To", TableEntry("Difference", (PER_IMAGE,)), "Images"]
    head += ["Networks"] * networks + ["Refits", Markup("Degrees of<br>freedom"), "p", "p, corrected", "Reading"]
    rows = [
        [
            *[step.checkpoint] * several,
            contents.label(step.first),
            contents.label(step.second),
            # Of one density there is nothing to be spread.
            information(step.value, None if step.one_density else step.stderr, unit=False),
            f"{step.n:,}",
            *[str(step.networks)] * networks,
            str(step.refits),
            "∞" if step.dof > 1e6 else f"{step.dof:.0f}" if step.dof >= 10 else f"{step.dof:.1f}",
            *_probabilities(step.p, step.claim.p),
            TableEntry(step.claim.words, _same(step)),
        ]
        for step in found
    ]
    return worded(head, rows)


def _same(step: Difference) -> tuple[str, ...]:
    """In how many networks a difference is 0, where that is not all."""
    known = 0 < step.same < step.networks
    return (f"in {step.same} of {step.networks} networks read with one density",) if known else ()


def _probabilities(*all_p: float | None) -> list[TableEntry]:
    return [TableEntry(probability(p), look="nowrap") for p in all_p]


def _but(words: str, flags: str) -> TableEntry:
    return TableEntry(words, (f"but {flags}",) if flags else ())


def changes_table(contents: ReportContents) -> Table | None:
    """Returns what numbers change by from the first checkpoint to the last, or None where nothing does."""
    head = ["Number", "Layer", "From", "To", TableEntry("Change", (PER_IMAGE,)), "p", "p, corrected", "Reading"]

    def size(each: Mapping[str, Any]) -> Markup | TableEntry:
        if each["unit"] == "nats":
            return information(each["value"], each["stderr"], unit=False)
        return TableEntry(with_error(each["value"], each["stderr"]), (str(UNIT_WORDS.get(each["unit"], each["unit"])),))

    rows = [
        [
            quantity_name(each["kind"]),
            contents.label(each["layer"]) if each["layer"] else "the network itself",
            each["first"],
            each["last"],
            size(each),
            *_probabilities(each["p"], each["p_corrected"]),
            _but(each["verdict"], each["flags"]),
        ]
        for each in contents.changes
        if (each["first"], each["last"]) == (contents.checkpoints[0], contents.checkpoints[-1])
    ]
    return worded(head, rows) if rows else None


def falls_table(contents: ReportContents) -> Table:
    """Returns the falls from the peak to the end of training."""
    head = ["Layer", f"Peak at {contents.counted[:-1]}", TableEntry("Fall", (PER_IMAGE,)), "Of a constant curve"]
    head += ["p", "p, corrected", "Reading"]
    rows = [
        [
            contents.label(fall.layer),
            fall.peak,
            information(fall.value, fall.stderr, unit=False),
            information(fall.chance, fall.chance_spread, unit=False),
            *_probabilities(fall.p, fall.claim.p),
            _but(fall.claim.words, fall.flags),
        ]
        for fall in contents.falls
    ]
    return worded(head, rows)


def losses_table(contents: ReportContents, *, several: bool) -> Table:
    """Returns the loss of every density on each part of the split."""
    head = ["Layer", *["Checkpoint"] * several, *(TableEntry(capitalised(part), (PER_IMAGE,)) for part in PARTS)]
    head.append(TableEntry("Evaluation", ("bits per dimension",)))
    rows = [
        [
            contents.label(row["layer"]),
            *[row["checkpoint"] or "–"] * several,
            *(information(row.get(part), row.get(f"{part}_stderr"), unit=False) for part in PARTS),
            with_error(row["bits_per_dimension"], row["bits_per_dimension_stderr"]),
        ]
        for row in contents.losses
    ]
    return worded(head, rows)
