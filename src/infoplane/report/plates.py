"""The figures of a report: each drawn for the page in both units, and kept for the files beside it."""

import functools
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.errors import in_words
from infoplane.estimate import Estimate
from infoplane.measurements import with_chart
from infoplane.measurements.numbers import INPUT, NETWORK, in_order
from infoplane.report import amounts, figures, sheets, words
from infoplane.report.contents import MOST_TRAINED, ReportContents, spread
from infoplane.report.drawer import Drawer
from infoplane.report.drawing import Mark, Unit
from infoplane.report.drawings import Drawings, Drawn, slug
from infoplane.report.evolution import Track, evolution
from infoplane.report.plane import Orbit, plane
from infoplane.report.results import Difference, Results
from infoplane.report.theme import INK, Palette
from infoplane.report.words import Opening


class Plates:
    """Draws the figures of one report."""

    def __init__(self, contents: ReportContents, results: Results, opening: Opening, drawer: Drawer) -> None:
        self.contents, self.results, self.opening = contents, results, opening
        self.palette = Palette([layer.name for layer in contents.layers])
        self.drawings = Drawings(self.palette, drawer)

    def _marks(self, kind: str, steps: tuple[Difference, ...] = ()) -> list[Mark]:
        arrivals = {step.second: step for step in steps}
        marks: list[Mark] = []
        above = ""
        for layer in self.contents.layers:
            step = arrivals.get(layer.name)
            marks.append(
                Mark(
                    layer.label,
                    self.palette[layer.name],
                    self.results.get(layer.name, kind),
                    tuple(estimate.value for estimate in self.results.fits(layer.name, kind)),
                    step,
                    self.contents.label(step.first) if step is not None and step.first != above else "",
                )
            )
            above = layer.name
        return marks

    def hero(self) -> Drawn | None:
        """The opening figure, for a screen and for a phone."""
        kind = self.opening.kind
        if kind is None:
            return None
        marks = self._marks(kind, self.opening.steps)
        label = f"{words.name_of(kind)} of each layer"
        views = Markup()
        for size in ("wide", "narrow"):
            narrow = size == "narrow"

            def draw(unit: Unit, narrow: bool = narrow) -> Figure:
                return figures.opening(marks, kind, unit, narrow=narrow)

            svg = self.drawings.views(f"opening{'-narrow' * narrow}", label, draw, filed=not narrow)
            views += Markup('<div class="{}">{}</div>').format(size, svg)
        base = self.results.get(INPUT, "cross-entropy")
        text = Markup("{} of each layer, from the input down to the output; lines are ± one standard error.")
        caption = text.format(words.name_of(kind))
        if any(step.verdict == "falls" for step in self.opening.steps) and kind == "usable":
            caption += " Pale: what the step to this layer gave up."
        if base is not None:
            caption += Markup(" Without any layer, the density needs {} for an image.").format(
                words.in_all(base, self.contents)
            )
        return Drawn("opening", label, views, caption=caption)

    def panels(self) -> list[Drawn]:
        """One panel per kind of number, at the last checkpoint."""
        drawn = [panel for kind in with_chart("rows") if (panel := self._panel(kind)) is not None]
        # One panel alone would only repeat the opening figure.
        return drawn if [panel.key for panel in drawn] != [self.opening.kind] else []

    def _panel(self, kind: str) -> Drawn | None:
        marks = self._marks(kind)
        known = [mark.estimate for mark in marks if mark.estimate is not None]
        if not known:
            return None
        ceiling = figures.ceiling_of(kind, self.contents.candidates, self.contents.classes)
        flagged: dict[str, list[str]] = {}
        for mark in marks:
            for flag in mark.estimate.flags if mark.estimate is not None else ():
                flagged.setdefault(flag, []).append(in_words(mark.label))
        flags = [Markup("{}: {}").format(amounts.listing(labels), flag) for flag, labels in flagged.items()]
        directions = dict.fromkeys(estimate.direction for estimate in known)
        badge = " / ".join(words.DIRECTIONS[direction] for direction in directions)
        name = words.name_of(kind)
        label = f"{name} of each layer, with standard errors"
        svg = self.drawings.views(kind, label, lambda unit: figures.panel(marks, kind, unit, ceiling))
        return Drawn(kind, name, svg, badge, Markup("; ").join(flags))

    def through(self) -> list[Drawn]:
        """What each layer keeps against the checkpoint, where there are several."""
        points = self.results.checkpoints
        if len(points) < 2:
            return []
        drawn = []
        for kind in with_chart("tracks"):
            tracks = [
                Track(
                    layer.label,
                    self.palette[layer.name],
                    tuple(self.results.get(layer.name, kind, at) for at in points),
                )
                for layer in self.contents.layers
                if self.results.dated(layer.name)
            ]
            if not any(estimate for track in tracks for estimate in track.estimates):
                continue
            own = tuple(self.results.get(NETWORK, "own", at) for at in points)
            if kind == "forward" and any(own):
                tracks.append(Track("network itself", INK, own))
            ceiling = figures.ceiling_of(kind, self.contents.candidates, self.contents.classes)
            label = f"{words.name_of(kind)} of each layer at each checkpoint, with standard errors"

            def draw(unit: Unit, kind: str = kind, tracks: list[Track] = tracks, ceiling: Any = ceiling) -> Figure:
                return evolution(tracks, points, kind, unit, ceiling, self.contents.counted, self.contents.ages)

            told = kind != "sample-variance"
            svg = self.drawings.views(f"through-{kind}", label, draw, information=told)
            drawn.append(Drawn(f"through-{kind}", label, svg))
        return drawn

    def plane(self) -> Drawn | None:
        """Both directions against each other through training, where both were measured at several checkpoints."""
        points = self.results.checkpoints
        kinds = [
            next((kind for kind in with_chart(axis)[::-1] if kind in self.results.kinds), None)
            for axis in ("right", "up")
        ]
        if len(points) < 2 or None in kinds:
            return None
        right, up = (str(kind) for kind in kinds)
        orbits = []
        for layer in self.contents.layers:
            found = [(at, *(self.results.get(layer.name, kind, at) for kind in (right, up))) for at in points]
            # A reader that does worse than guessing says nothing, and may lie thousands of nats below all others.
            known = tuple((at, x, y) for at, x, y in found if x is not None and y is not None and not _fails(y))
            if self.results.dated(layer.name) and known:
                orbits.append(Orbit(layer.label, self.palette[layer.name], known))
        if not orbits:
            return None
        label = f"{words.name_of(up)} against {words.name_of(right)}, each layer through training"
        svg = self.drawings.views("plane", label, lambda unit: plane(orbits, points, (right, up), unit))
        return Drawn("plane", label, svg)

    def training(self) -> list[Drawn]:
        """The training of every density; those of the last checkpoint, p(x) and latents first."""
        drawn = []
        curves = self.contents.curves
        trained = list(dict.fromkeys(curve.layer for curve in curves))
        order = [*self.palette.names, INPUT]
        names = [name for name in order if name in trained] + [name for name in trained if name not in order]
        points = in_order((curve.checkpoint for curve in curves if curve.checkpoint), self.contents.checkpoints)
        last = points[-1] if points else ""
        places = [(name, at) for name in names for at in dict.fromkeys(("", last))]
        places += [(name, at) for at in spread(points[:-1], MOST_TRAINED) for name in names]
        for name, at in places:
            own = sorted(
                (curve for curve in curves if (curve.layer, curve.checkpoint) == (name, at)),
                key=lambda curve: curve.refit,
            )
            if not own:
                continue
            label = self.contents.label(name)

            def draw(unit: Unit, own: Any = own, label: str = label, first: bool = not drawn) -> Figure:
                return figures.training(own, label, self.palette[own[0].layer], unit, legend=first)

            earlier = at not in ("", last)
            key = f"training-{len(drawn) + 1:02d}-{slug(name)}" + (f"-at-{slug(at)}" if earlier else "")
            if earlier:
                # As files only: there are many, and the page is to stay light.
                colour = self.palette[name]
                self.drawings.drawer.draw(key, (own, label, colour), functools.partial(draw, "nats"))
                drawn.append(Drawn(key, label, Markup(), checkpoint=at))
                continue
            svg = self.drawings.views(key, f"Training curves of the density for {label}", draw)
            drawn.append(Drawn(key, label, svg))
        return drawn

    def sheets(self) -> list[tuple[str, str]]:
        """Draws every checkpoint's pictures for a file; returns (checkpoint, file's name)."""
        drawn = []
        points = self.contents.shown or [""]
        for at in points:
            inputs, rows = self.contents.shown_inputs, sheets.rows_of(self.contents, at)
            if inputs is not None and rows:
                name = "pictures" if at == points[-1] else f"pictures-at-{slug(at)}"
                sheet = functools.partial(sheets.sheet, inputs, rows, self.contents.levels)
                self.drawings.drawer.draw(name, sheet.args, sheet)
                drawn.append((at if len(points) > 1 else "", name))
        return drawn


def _fails(label: Estimate) -> bool:
    """Whether a bound on label information lies below 0, which is known without any reader, by two errors or more."""
    return label.value < -2 * (label.stderr or 0.0)
