"""The page of a study of inversion: its figures and sections."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.errors import in_words
from infoplane.estimate import Estimate
from infoplane.measurements import QUANTITIES, with_chart
from infoplane.measurements.numbers import ALL, INPUT, NETWORK, in_order
from infoplane.report.charts import gallery, rows
from infoplane.report.charts.plane import Orbit, plane
from infoplane.report.charts.tracks import Column, Panel, Track, TrainingAxis, tracks
from infoplane.report.charts.training import training
from infoplane.report.claimed import Difference
from infoplane.report.contents import evenly
from infoplane.report.drawer import Drawer
from infoplane.report.drawing import Drawings, Drawn, Mark, Unit, slug
from infoplane.report.format import listed
from infoplane.report.inversion.contents import MOST_TRAINED, ReportContents, TrainingCurve
from infoplane.report.inversion.opening import ERRORS, INFINITE, OF_DENSITIES, in_all, opening
from infoplane.report.inversion.tables import (
    LayerTables,
    changes_table,
    differences_table,
    falls_table,
    losses_table,
)
from infoplane.report.page import Figures, Fold, Heading, Meanings, Page, Section, Text, downloads, publish
from infoplane.report.theme import INK, Palette
from infoplane.report.words import DIRECTIONS, quantity_name

#: files with tables that a run's folder may hold, and what they are called
TABLES = {
    "results": "All numbers, each fit by itself and all refits together",
    "differences": "Paired differences between layers",
    "changes": "Changes from checkpoint to checkpoint",
    "compression": "Falls from the peak to the end of training",
    "losses": "Losses of the densities on each part of the split",
    "truths": "Comparisons with the known truth",
}
#: rows of a table that is not folded
LONG = 12
OF_FITS = (
    "A claim needs three fits, but where nothing is fitted, as of the network itself; a linear probe has one fit, so "
    "its error is over images alone."
)
OF_NETWORKS = "A claim needs three networks, whatever the fits of each; the error is over networks, refits and images."
KNOWN = (
    "Against the known truth",
    "The data come from a generator whose information is known, so the numbers can be held against it.",
)


def write(contents: ReportContents, folder: Path) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole. The same contents give the same bytes.

    Args:
        contents: What to show; anything but its title may be missing.
        folder: Where to write `report.html` and `figures/`; made if need be. Tables that lie there are linked.
    """
    return publish(contents, folder, _page, TABLES)


def _page(contents: ReportContents, drawer: Drawer, files: Text) -> Page:
    layout = _Layout(contents, drawer)
    sections = [
        *(layout.pictures(), layout.plane(), layout.through(), layout.layers(), layout.trained()),
        *(layout.table(files), layout.meanings()),
    ]
    return Page(layout.opening, layout.hero(), [each for each in sections if each], layout.palette, KNOWN)


class _Layout:
    """Draws the figures of one page, and puts them into sections; one without anything to show is None."""

    def __init__(self, contents: ReportContents, drawer: Drawer) -> None:
        self.contents, self.numbers, self.opening = contents, contents.numbers, opening(contents)
        self.palette = Palette(contents.names)
        self.drawings = Drawings(self.palette, drawer)
        self.points = self.numbers.checkpoints
        self.several = len(self.points) > 1
        self.networks = max((each.estimate.networks for each in self.numbers), default=1)
        self.at_last = f" Checkpoint {self.numbers.last}." if self.several else ""
        self.source = Text(f"Images: {contents.source}." if contents.source else "", "quiet")
        self.tables = LayerTables(contents, self.palette)

    def _marks(self, kind: str, steps: Sequence[Difference] = ()) -> list[Mark]:
        arrivals = {step.second: step for step in steps}
        marks: list[Mark] = []
        above = ""
        for layer in self.contents.layers:
            step = arrivals.get(layer.name)
            since = self.contents.label(step.first) if step is not None and step.first != above else ""
            fits = tuple(estimate.value for estimate in self.numbers.fits(layer.name, kind))
            own = self.numbers.get(layer.name, kind)
            marks.append(Mark(layer.label, self.palette[layer.name], own, fits, step, since))
            above = layer.name
        return marks

    def hero(self) -> Drawn | None:
        """The opening figure, for a screen and for a phone."""
        kind = self.opening.kind
        if kind is None:
            return None
        marks = self._marks(kind, self.opening.steps)
        label = f"{quantity_name(kind)} of each layer"
        svg = self.drawings.screens(
            "opening", label, lambda unit, narrow: rows.opening_rows(marks, kind, unit, narrow=narrow)
        )
        text = "{} of each layer, from the input down to the output; lines are ± one standard error."
        caption = Markup(text).format(quantity_name(kind))
        if any(step.verdict == "falls" for step in self.opening.steps) and kind == "usable":
            caption += " Pale: what the step to this layer gave up."
        base = self.numbers.get(INPUT, "cross-entropy")
        if base is not None:
            text = " Without any layer, the density needs {} for an image."
            caption += Markup(text).format(in_all(base, self.contents))
        return Drawn("opening", label, svg, caption=caption + self.at_last)

    def pictures(self) -> Section | None:
        """What each layer kept of each evaluation image; of p(x) alone, what it draws."""
        found = gallery.gallery(self.contents)
        if found is None:
            return self._walls()
        first = "first its reconstruction from the layer’s activation with the least squared error, then "
        words = (
            f"Choose an evaluation image. Beside each layer stand {first * found.reconstructed}samples from the "
            "density q(x|h): images that it finds likely given that activation. What the samples share is what q has "
            "learnt to read of the layer; what differs, q leaves open, though the layer may hold it."
        )
        wide = [in_words(layer.label) for layer in self.contents.layers if self._too_varied(layer.name)]
        if wide:
            words += (
                f" At {listed(wide)} they vary more than the layer allows: the reconstruction’s error, on the same "
                "scale, is below their variance."
            )
        if len(self.contents.layers) > 1:
            words += (
                " The samples of all layers are drawn with the same random numbers, so those of densities that make "
                "little use of their layer look alike for that reason."
            )
        own, pictured, shown = [*self.tables.through], len(self.contents.pictured), len(found.checkpoints)
        others = "the others are in the run’s folder."
        notes = {
            f"Of {found.images} images, the first {len(found.inputs)} are shown; {others}": (
                len(found.inputs) < found.images
            ),
            f"Of {found.drawn} samples of each, {found.samples} are shown; {others}": found.samples < found.drawn,
            "The last row, p(x), is what the density draws when it sees nothing.": found.null is not None,
            f"Samples are from each layer’s own density, also at {', '.join(own)}, whose numbers are read through a "
            "later layer.": bool(own),
            f"{shown} of {pictured} checkpoints are pictured, spread evenly; {others}": shown < pictured,
            "Samples at every checkpoint are from densities trained for that checkpoint alone.": shown > 1,
        }
        last = Markup(" ").join([*(note for note, holds in notes.items() if holds), self._sheets()])
        return Section("pictures", "What is kept, in pictures", [Text(words), found, Text(last, "quiet")])

    def _too_varied(self, layer: str) -> bool:
        """Whether samples vary by more than the squared error of a reconstruction: given h, no image can be so free."""
        error, variance = (self.numbers.get(layer, kind) for kind in ("mse", "sample-variance"))
        if error is None or variance is None:
            return False
        return variance.value - error.value > 2 * math.hypot(error.stderr or 0.0, variance.stderr or 0.0)

    def _walls(self) -> Section | None:
        beside, samples, drawn = gallery.walls(self.contents)
        if samples is None:
            return None
        words = "Images that the density draws without seeing any layer."
        if beside is not None:
            words = f"Above evaluation images, below {words[0].lower()}{words[1:]}"
        few, count = Markup(), len(samples.pictures)
        if count < drawn:
            few = Markup(f"Of {drawn} samples {count} are shown; the others are in the run’s folder. ")
        parts = [Text(words), *filter(None, (beside, samples)), Text(few + self._sheets(), "quiet")]
        return Section("pictures", "What it draws", parts)

    def _sheets(self) -> Markup:
        """Draws every checkpoint's pictures for a file; returns links to them."""
        links = []
        points = self.contents.shown or [""]
        for at in points:
            inputs, found = self.contents.shown_inputs, gallery.sheet_rows(self.contents, at)
            if inputs is not None and found:
                name = "pictures" if at == points[-1] else f"pictures-at-{slug(at)}"
                sheet = functools.partial(gallery.sheet, inputs, found, self.contents.levels)
                self.drawings.drawer.draw(name, sheet.args, sheet)
                links.append(downloads(name, "Pictures" + (f" at checkpoint {at}" if len(points) > 1 else "")))
        return Markup("; ").join(links)

    def plane(self) -> Section | None:
        """Both directions against each other through training, where both were measured at several checkpoints."""
        kinds = [
            next((kind for kind in with_chart(axis)[::-1] if self.numbers.has(kind)), None) for axis in ("right", "up")
        ]
        if not self.several or None in kinds:
            return None
        right, up = (str(kind) for kind in kinds)
        orbits = []
        for layer in self.contents.layers:
            found = [(at, *(self.numbers.get(layer.name, kind, at) for kind in (right, up))) for at in self.points]
            # A reader that does worse than guessing says nothing, and may lie thousands of nats below all others.
            known = tuple((at, x, y) for at, x, y in found if x is not None and y is not None and not _fails(y))
            if self.numbers.dated(layer.name) and known:
                orbits.append(Orbit(layer.label, self.palette[layer.name], known))
        if not orbits:
            return None
        label = f"{quantity_name(up)} against {quantity_name(right)}, each layer through training"
        svg = self.drawings.views("plane", label, lambda unit: plane(orbits, self.points, (right, up), unit))
        words = (
            "To the right what a layer keeps of the input, upwards what it tells of the label, from the first "
            "checkpoint (faint) to the last (dark); crosses are ± one standard error. Where a reader does worse than "
            "guessing the label, there is no point."
        )
        return Section("plane", "The information plane", [Text(words), Figures([Drawn("plane", "", svg)], "single")])

    def through(self) -> Section | None:
        """What each layer keeps against the checkpoint, how far it falls from its peak, and what changes in all."""
        drawn = [panel for kind in with_chart("tracks") if self.several and (panel := self._tracks(kind)) is not None]
        if not drawn:
            return None
        contents, counted = self.contents, self.contents.counted
        scale = f"{counted.capitalize()} stand on a logarithmic scale that includes 0"
        if (end := contents.ages.get("end")) is not None:
            scale += f"; “end” is after {end:g} {counted if end != 1 else counted[:-1]}"
        elif contents.checkpoints and contents.checkpoints[-1] == "end":
            scale += "; dashes lead to a checkpoint that is not known by its count"
        anew = ", its densities trained anew for each" * bool(contents.curves)
        words = f"Each layer at every checkpoint of the network{anew}; lines at points are ± one standard error. "
        words += f"{scale}."
        parts: list[object] = [Text(words), Figures(drawn)]
        if contents.falls:
            words = (
                "The peak is chosen on held-out decoding images, the fall measured on evaluation images; what falls is "
                "what the density can use of a layer. Beside it stands what a curve that never changes would show on "
                "average, and how far that scatters: the best of several fits is too good by chance. p is the larger "
                "of two: the share of such curves that fall as far, and that of peak and end compared by themselves, "
                f"as in the table below. {contents.corrected}"
            )
            badge = "NCE at the peak less NCE at the end; not a bound"
            parts += [Heading("From the peak to the end", badge), Text(words), falls_table(contents), self.source]
        if (changes := changes_table(contents)) is not None:
            words = (
                f"Positive where the number is larger at the end. {OF_NETWORKS if self.networks > 1 else OF_FITS} "
                f"{'' if contents.falls else contents.corrected + ' '}Every step between neighbouring checkpoints, and "
                "from each to the last, is in the file."
            )
            badge = "paired differences on the same images; not a bound"
            parts += [Heading("From the first checkpoint to the last", badge), Text(words), changes, self.source]
        return Section("through", "Through training", parts)

    def _tracks(self, kind: str) -> Drawn | None:
        dated = [layer for layer in self.contents.layers if self.numbers.dated(layer.name)]
        found = [Track(layer.label, self.palette[layer.name], self.numbers.series(layer.name, kind)) for layer in dated]
        if not any(track.estimates for track in found):
            return None
        if kind == "forward" and (own := self.numbers.series(NETWORK, "own")):
            found.append(Track("network itself", INK, own))
        units = {estimate.unit for track in found for estimate in track.estimates.values()} - {"nats", "bits"}
        unit = next(iter(units), "{unit} per image")
        zero = kind not in ("nce", "cross-entropy")
        panel = Panel(quantity_name(kind), found, unit, ceiling=self._ceiling(kind), zero=zero)
        axis = TrainingAxis(self.points, f"{self.contents.counted} of the network", self.contents.ages)
        label = f"{quantity_name(kind)} of each layer at each checkpoint, with standard errors"
        svg = self.drawings.views(
            f"through-{kind}", label, lambda unit: tracks([Column("", [panel])], axis, unit), information=not units
        )
        return Drawn(f"through-{kind}", "", svg)

    def _ceiling(self, kind: str) -> tuple[float, str] | None:
        """What a kind of number cannot exceed, in nats, and its name."""
        of = QUANTITIES[kind].ceiling if kind in QUANTITIES else None
        count = {"candidates": self.contents.candidates, "classes": self.contents.classes}[of] if of else None
        return (math.log(count), f"log {count}") if count else None

    def layers(self) -> Section | None:
        """One panel per kind of number, at the last checkpoint."""
        drawn = [panel for kind in with_chart("rows") if (panel := self._rows(kind)) is not None]
        # One panel alone would only repeat the opening figure.
        if not drawn or [panel.key for panel in drawn] == [self.opening.kind]:
            return None
        words = "Points are estimates, lines through them ± one standard error"
        if any(each.refit != ALL and each.place.layer != NETWORK for each in self.numbers):
            words += ", ticks below them the single fits"
        together = [each for each in self.numbers if each.refit == ALL and not each.place.network]
        if any(each.estimate.single_fit for each in together):
            words += "; a hollow point has a single fit behind it"
        return Section("layers", "How much each layer keeps", [Text(f"{words}.{self.at_last}"), Figures(drawn)])

    def _rows(self, kind: str) -> Drawn | None:
        marks = self._marks(kind)
        known = [mark.estimate for mark in marks if mark.estimate is not None]
        if not known:
            return None
        ceiling = self._ceiling(kind)
        flagged: dict[str, list[str]] = {}
        for mark in marks:
            for flag in mark.estimate.flags if mark.estimate is not None else ():
                flagged.setdefault(flag, []).append(in_words(mark.label))
        flags = [Markup("{}: {}").format(listed(labels), flag) for flag, labels in flagged.items()]
        badge = " / ".join(DIRECTIONS[direction] for direction in dict.fromkeys(each.direction for each in known))
        label = f"{quantity_name(kind)} of each layer, with standard errors"
        svg = self.drawings.views(kind, label, lambda unit: rows.panel(marks, kind, unit, ceiling))
        return Drawn(kind, quantity_name(kind), svg, badge, Markup("; ").join(flags) + "." * bool(flags))

    def trained(self) -> Section | None:
        """The training of every density; those of the last checkpoint, p(x) and latents first, others as files."""
        contents, curves = self.contents, self.contents.curves
        if not curves:
            return None
        names = in_order((curve.layer for curve in curves), [*self.palette.names, INPUT])
        points = in_order((curve.checkpoint for curve in curves if curve.checkpoint), contents.checkpoints)
        last, earlier = (points[-1] if points else ""), evenly(points[:-1], MOST_TRAINED)
        places = [(name, at) for name in names for at in dict.fromkeys(("", last))]
        places += [(name, at) for at in earlier for name in names]
        drawn: list[Drawn] = []
        files: dict[str, list[Markup]] = {}
        for name, at in places:
            own = [curve for curve in curves if (curve.layer, curve.checkpoint) == (name, at)]
            if not own:
                continue
            label, number = contents.label(name), len(drawn) + sum(map(len, files.values())) + 1
            key = f"training-{number:02d}-{slug(name)}" + (f"-at-{slug(at)}" if at not in ("", last) else "")
            if at not in ("", last):
                # As files only: there are many, and the page is to stay light.
                draw = functools.partial(self._training, own, label, "nats", legend=False)
                self.drawings.drawer.draw(key, (own, label, self.palette[name]), draw)
                files.setdefault(at, []).append(downloads(key, label))
                continue
            draw = functools.partial(self._training, own, label, legend=not drawn)
            svg = self.drawings.views(key, f"Training curves of the density for {label}", draw)
            drawn.append(Drawn(key, "", svg))
        followed = ", and on images of the other parts, which decide nothing" if contents.losses else ""
        words = (
            f"Loss on training images and on held-out {contents.fit_on} images{followed}; every refit in one panel; "
            "averaged: with a running mean of the weights; the dot is the update whose weights were kept. A held-out "
            "loss still falling at its end means a density that could have used more training, and so a looser number."
        )
        parts: list[object] = [Text(words), Figures(drawn, "curves")]
        if files:
            few = f"{len(earlier)} of {len(points) - 1} " if len(earlier) < len(points) - 1 else ""
            lines = [Markup("Checkpoint {}: {}").format(at, Markup("; ").join(own)) for at, own in files.items()]
            parts.append(Fold(f"Training at {few}earlier checkpoints, as files", lines))
        if contents.losses:
            network = ", the encoding images the network under study" if contents.fit_on == "decoding" else ""
            words = (
                f"The {contents.fit_on} images trained the density{network}; nothing was trained or chosen on the "
                "evaluation images. Means over the first images of a part, which the file counts, ± one standard error."
            )
            badge = "cross-entropy, the mean of −log q; upper bound on H(x|h)"
            table = losses_table(contents, several=self.several)
            parts += [Heading("Loss on each part of the split", badge), Text(words), table, self.source]
        return Section("training", "How the densities were trained", parts)

    def _training(self, own: Sequence[TrainingCurve], label: str, unit: Unit, *, legend: bool) -> Figure:
        own = sorted(own, key=lambda curve: curve.refit)
        return training(own, label, self.palette[own[0].layer], unit, legend=legend)

    def table(self, files: Text) -> Section | None:
        """All numbers, and the differences from layer to layer."""
        parts: list[object] = [*self.tables.parts()]
        if not parts:
            return None
        parts += [self.source] if self.tables.kinds else []
        parts += self.tables.footnotes(parts)
        kinds = list(dict.fromkeys(step.kind for step in self.contents.differences))
        for kind in kinds:
            table = differences_table(self.contents, kind, several=self.several)
            title = "From layer to layer" if kind in OF_DENSITIES else f"From layer to layer: {quantity_name(kind)}"
            long = kind not in OF_DENSITIES and len(table.groups[0][1]) > LONG
            own = Fold(f"{len(table.groups[0][1])} differences", parts=[table]) if long else table
            parts += [Heading(title, "paired differences on the same images; not a bound")]
            parts += [*[Text(self.contents.corrected)] * (kind == kinds[0]), own, self.source]
        return Section("numbers", "The numbers", [*parts, files])

    def meanings(self) -> Section | None:
        """What the numbers mean, in the order of the table; those of the network last."""
        shown = self.tables.kinds
        shown = [*shown, *(kind for kind in self.numbers.kinds if kind not in (*shown, "cross-entropy"))]
        meanings = [(QUANTITIES[kind].name, QUANTITIES[kind].meaning) for kind in shown if kind in QUANTITIES]
        if not meanings:
            return None
        parts = [Text(INFINITE if self.contents.layers else ""), Meanings([*meanings, ("Errors", ERRORS)])]
        return Section("meanings", "What the numbers mean", parts)


def _fails(label: Estimate) -> bool:
    """Whether a bound on label information lies below 0, which is known without any reader, by two errors or more."""
    return label.value < -2 * (label.stderr or 0.0)
