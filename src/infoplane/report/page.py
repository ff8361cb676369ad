"""From the contents of a report to its files: `report.html`, which needs nothing else, and `figures/`."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.report import amounts, figures, pictures, tables, words
from infoplane.report.contents import ReportContents
from infoplane.report.drawing import Mark, Unit
from infoplane.report.results import INPUT, NETWORK, Difference, Results, differences
from infoplane.report.theme import Palette, inline, save, style

_HERE = Path(__file__).parent
_PANELS = ("nce", "usable", "contrastive", "label")


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One figure of the page: its key (also its file's name), what it says above and below, and its SVGs."""

    key: str
    title: str
    svg: Markup
    badge: str = ""
    caption: Markup = dataclasses.field(default_factory=Markup)


def write(contents: ReportContents, folder: Path) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole. The same contents give the same bytes.

    Args:
        contents: What to show; anything but its title may be missing.
        folder: Where to write `report.html` and `figures/`; made if need be.
    """
    folder = Path(folder)
    drawer = folder / "figures"
    drawer.mkdir(parents=True, exist_ok=True)
    html, files = _Page(contents).render()
    for name, figure in files.items():
        for suffix in (".svg", ".png"):
            save(figure, drawer / f"{name}{suffix}")
    page = folder / "report.html"
    draft = folder / ".report.html.tmp"
    draft.write_text(html, encoding="utf-8")
    draft.replace(page)
    return page


def _slug(name: str) -> str:
    """A file name from a layer's name, which may hold anything."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "layer"


class _Page:
    """Draws the figures of one report and fills the template; keeps the figures that go into files."""

    def __init__(self, contents: ReportContents) -> None:
        self.contents = contents
        self.results = Results(contents.rows)
        latent = {layer.name for layer in contents.layers if layer.latent}
        found = differences(contents.differences, self.results)
        self.differences = [step for step in found if not {step.first, step.second} & latent]
        self.opening = words.opening(contents, self.results, self.differences)
        self.palette = Palette([layer.name for layer in contents.layers])
        self.files: dict[str, Figure] = {}

    def render(self) -> tuple[str, dict[str, Figure]]:
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {"duration": amounts.duration}
        table = tables.numbers(self.contents, self.results, self.palette)
        # In the order in which the reader meets them in the table; those of the network last.
        shown = [column.kind for column in table.columns]
        shown += [kind for kind in self.results.kinds if kind not in (*shown, "cross-entropy")]
        html = environment.get_template("page.html.j2").render(
            contents=self.contents,
            css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
            palette=self.palette,
            opening=self.opening,
            hero=self._hero(),
            blocks=pictures.blocks(self.contents),
            panels=self._panels(),
            training=self._training(),
            table=table,
            steps=tables.steps(self.differences, self.contents),
            meanings=[words.MEANINGS[kind] for kind in shown if kind in words.MEANINGS],
            truths=tables.truths(self.contents.truth),
            errors=words.ERRORS,
            infinite=words.INFINITE,
            ticks=any(result.refit != "all" and result.layer != NETWORK for result in self.results.all),
            single=any(result.estimate.refits == 1 and result.refit == "all" for result in self.results.all),
            checkpoint=self.results.last if len(self.results.checkpoints) > 1 else "",
        )
        if (sheet := self._sheet()) is not None:
            self.files["pictures"] = sheet
        return html, self.files

    def _views(self, key: str, label: str, draw: Callable[[Unit], Figure], *, filed: bool = True) -> Markup:
        """The figure in nats and in bits, for the page's switch; the one in nats also becomes a file."""
        views = Markup()
        for unit in ("nats", "bits"):
            with style():
                figure = draw(unit)
            if unit == "nats" and filed:
                self.files[key] = figure
            svg = inline(figure, f"{key}-{unit}", f"{label}, in {unit}", self.palette.variables)
            views += Markup('<div class="{}">{}</div>').format(unit, svg)
        return views

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

    def _hero(self) -> Drawn | None:
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

            svg = self._views(f"opening{'-narrow' * narrow}", label, draw, filed=not narrow)
            views += Markup('<div class="{}">{}</div>').format(size, svg)
        base = self.results.get(INPUT, "cross-entropy")
        text = Markup("{} of each layer, from the input down to the output; lines are ± one standard error.")
        caption = text.format(words.name_of(kind))
        if any(step.verdict == "fall" for step in self.opening.steps) and kind == "usable":
            caption += " Pale: what the step to this layer gave up."
        if base is not None:
            caption += Markup(" Without any layer, the density needs {} for an image.").format(amounts.amount(base))
        return Drawn("opening", label, views, caption=caption)

    def _panels(self) -> list[Drawn]:
        drawn = [panel for kind in _PANELS if (panel := self._panel(kind)) is not None]
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
                flagged.setdefault(flag, []).append(mark.label)
        flags = [Markup("{}: {}").format(amounts.listing(labels), flag) for flag, labels in flagged.items()]
        directions = dict.fromkeys(estimate.direction for estimate in known)
        badge = " / ".join(words.DIRECTIONS[direction] for direction in directions)
        name = words.name_of(kind)
        label = f"{name} of each layer, with standard errors"
        svg = self._views(kind, label, lambda unit: figures.panel(marks, kind, unit, ceiling))
        return Drawn(kind, name, svg, badge, Markup("; ").join(flags))

    def _training(self) -> list[Drawn]:
        drawn = []
        trained = list(dict.fromkeys(curve.layer for curve in self.contents.curves))
        order = [*self.palette.names, INPUT]
        names = [name for name in order if name in trained] + [name for name in trained if name not in order]
        for index, name in enumerate(names, start=1):
            label = self.contents.label(name)

            def draw(unit: Unit, name: str = name, label: str = label, first: bool = index == 1) -> Figure:
                own = sorted((c for c in self.contents.curves if c.layer == name), key=lambda curve: curve.refit)
                return figures.training(own, label, self.palette[name], unit, legend=first)

            svg = self._views(
                f"training-{index:02d}-{_slug(name)}",
                f"Training curves of the density for {label}",
                draw,
            )
            drawn.append(Drawn(name, label, svg))
        return drawn

    def _sheet(self) -> Figure | None:
        with style():
            return pictures.sheet(self.contents)
