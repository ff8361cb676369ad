"""What all figures share: how they come into the page, axes at a place in pixels, points, errors, text beside rows."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

from markupsafe import Markup
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from infoplane.errors import fits_behind
from infoplane.estimate import LEVEL, NATS_PER_BIT, Estimate
from infoplane.report.claimed import Difference
from infoplane.report.drawer import Drawer
from infoplane.report.format import ends, united, with_error
from infoplane.report.printing import Print
from infoplane.report.theme import INK, PAPER, PIXELS_PER_INCH, TIP, Palette, style

Unit = Literal["nats", "bits"]

LONGEST = 26  # letters of a layer's name that fit beside a figure
MARKED = 50  # checkpoints of a curve, at most, each of which has a mark of its own to point at
DASHES = (0, (4, 3))
_LETTER = 7.4  # pixels, at a size of 12
_LINE = 17  # pixels from one name beside the axes to the next


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One figure of the page: its key (also its file's name), what it says above and below, and its SVGs.

    One of an earlier `checkpoint` has no SVGs: it is a file only.
    """

    key: str
    title: str
    svg: Markup
    badge: str = ""
    caption: Markup = dataclasses.field(default_factory=Markup)
    checkpoint: str = ""


def slug(name: str) -> str:
    """Returns a file name from a layer's name, which may hold anything."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "layer"


class Drawings:
    """The figures of one page.

    Args:
        palette: What the layers are drawn with.
        drawer: Where files go.
    """

    def __init__(self, palette: Palette, drawer: Drawer) -> None:
        self.palette, self.drawer = palette, drawer

    def shown(self, key: str, label: str, figure: Figure) -> Markup:
        """Returns a figure that holds no information, and so is the same in nats and in bits; it becomes a file too."""
        drawn = Print(figure, key)
        self.drawer.put(key, drawn)
        return drawn.inline(label, self.palette.variables)

    def views(
        self, key: str, label: str, draw: Callable[[Unit], Figure], *, filed: bool = True, information: bool = True
    ) -> Markup:
        """Returns the figure in nats and in bits, for the page's switch; the one in nats also becomes a file.

        Args:
            label: What it shows, for those who cannot see it.
            information: Whether it shows any; all else has its own unit.
        """
        views = Markup()
        for unit in ("nats", "bits"):
            with style():
                drawn = Print(draw(unit), f"{key}-{unit}")
            if unit == "nats" and filed:
                self.drawer.put(key, drawn)
            words = f"{label}, in {unit}" if information else label
            views += Markup('<div class="{}">{}</div>').format(unit, drawn.inline(words, self.palette.variables))
        return views

    def screens(self, key: str, label: str, draw: Callable[[Unit, bool], Figure]) -> Markup:
        """Returns the same for a screen and for a phone, which `draw` is told apart by: whether it is narrow."""
        views = Markup()
        for narrow in (False, True):

            def one(unit: Unit, narrow: bool = narrow) -> Figure:
                return draw(unit, narrow)

            svg = self.views(f"{key}{'-narrow' * narrow}", label, one, filed=not narrow)
            views += Markup('<div class="{}">{}</div>').format("narrow" if narrow else "wide", svg)
        return views


@dataclasses.dataclass(frozen=True)
class Mark:
    """One layer in a figure.

    Attributes:
        label: What the reader calls it.
        colour: Its colour.
        estimate: The number, or None where it is missing.
        fits: The numbers of the single fits behind it, in nats if it is information.
        step: The paired difference of which this layer is the end, or None.
        since: Where that step starts, if not at the layer above.
    """

    label: str
    colour: str
    estimate: Estimate | None
    fits: tuple[float, ...] = ()
    step: Difference | None = None
    since: str = ""


def per_unit(unit: Unit) -> float:
    """Returns what to multiply nats with."""
    return 1.0 if unit == "nats" else 1.0 / NATS_PER_BIT


def scaled(estimate: Estimate, unit: Unit) -> Estimate:
    """Returns information in the wanted unit, and everything else as it is."""
    return getattr(estimate, unit) if estimate.unit in ("nats", "bits") else estimate


def shortened(label: str, longest: int = LONGEST) -> str:
    """Returns the label with its middle left out: the ends tell deep module paths apart."""
    label = " ".join("".join(letter if letter.isprintable() else " " for letter in label).split())
    if len(label) <= longest:
        return label
    end = (longest - 1) * 2 // 3
    return f"{label[: longest - 1 - end]}…{label[-end:]}"


def gutter(labels: Sequence[str]) -> float:
    """Returns the pixels that the longest label needs."""
    return max(56.0, _LETTER * max((len(shortened(label)) for label in labels), default=0) + 16)


def box(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Returns axes at a place in pixels, from the top left of the figure, whatever stands beside them."""
    across, down = figure.get_size_inches() * PIXELS_PER_INCH
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return axes


def write_at(figure: Figure, left: float, top: float, words: str, **look: Any) -> None:
    """Writes at a place in pixels, from the top left of the figure."""
    across, down = figure.get_size_inches() * PIXELS_PER_INCH
    figure.text(left / across, 1 - top / down, words, **{"va": "top", "color": INK, **look})  # type: ignore[arg-type]


def row_axes(axes: Axes, count: int, name: str) -> None:
    """Makes the vertical axis one of rows, the first on top, and names the horizontal one."""
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.grid(axis="x")
    axes.set_xlabel(name, loc="right")  # a long name then runs under the labels, not off the edge


def tip(artist: Artist, words: str) -> None:
    """Gives a mark the words that appear when a reader points at it; in SVG only."""
    artist.set_gid(TIP + words.encode().hex())


def tooltip(label: str, estimate: Estimate) -> str:
    """Returns what a mark in a figure says: whose number it is, its error, interval and unit, and what is behind it."""
    unit = {"fraction": "", "squared error": " squared error"}.get(estimate.unit, f" {estimate.unit}")
    behind = f", {own}" if (own := fits_behind(estimate.refits, estimate.networks)) else ""
    interval = f", {100 * LEVEL:.0f} % interval {own}" if (own := ends(estimate)) else ""
    return f"{label}: {united(with_error(estimate.value, estimate.stderr), unit)}{interval}{behind}"


def error_bar(axes: Axes, estimate: Estimate, row: float, *, capped: bool = False) -> None:
    """Draws one standard error, cased in the paper's colour so that it is seen on a dark bar too.

    Caps keep it visible where it is hardly longer than the point is wide.
    """
    if estimate.stderr is None:
        return
    ends = extent(estimate)
    if capped:
        axes.plot(ends, [row, row], "|", color=INK, ms=9, mew=1.4, zorder=4)
    for colour, width in ((PAPER, 4.0), (INK, 1.6)):
        axes.plot(ends, [row, row], color=colour, lw=width, solid_capstyle="butt", zorder=4)


def point(axes: Axes, estimate: Estimate, row: float, colour: str, label: str) -> None:
    """Draws the number, hollow where a single fit is behind it."""
    face = PAPER if estimate.single_fit else colour
    (mark,) = axes.plot([estimate.value], [row], "o", ms=6, mfc=face, mec=colour, mew=1.6, zorder=5, clip_on=False)
    tip(mark, tooltip(label, estimate))


def lines(pieces: Sequence[Sequence[tuple[float, float]]], colour: Any, width: float, **look: Any) -> PathCollection:
    """Returns many lines of one look as one thing to draw: each by itself would take seconds and megabytes.

    Args:
        pieces: The points of each; none of them is joined to another.
    """
    vertices = [point for piece in pieces for point in piece]
    codes = [code for piece in pieces for code in (Path.MOVETO, *[Path.LINETO] * (len(piece) - 1))]
    paths = [Path(vertices, codes)] if vertices else []
    return PathCollection(paths, facecolors="none", edgecolors=[colour], linewidths=[width], **look)


def extent(estimate: Estimate) -> list[float]:
    """Returns the ends of the number's error bar."""
    error = estimate.stderr or 0.0
    return [estimate.value - error, estimate.value + error]


def limit(axes: Axes, values: Sequence[float], *, from_zero: bool) -> None:
    """Leaves room around the values; where zero means nothing the axis need not hold it."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    margin = 0.06 * (high - low) or max(abs(high) * 0.1, 1.0)
    axes.set_xlim(low - (margin if low < 0 or not from_zero else 0), high + margin)


def pixels(axes: Axes) -> tuple[float, float]:
    """Returns how wide and how high axes are."""
    position, (across, down) = axes.get_position(), axes.figure.get_size_inches()  # type: ignore[union-attr]
    return position.width * across * PIXELS_PER_INCH, position.height * down * PIXELS_PER_INCH


def note(axes: Axes, words: str, at: tuple[float, float], offset: tuple[float, float] = (0, 0), **look: Any) -> None:
    """Writes so many pixels from a point, beyond the axes too; `xycoords` in `look` says what the point is of."""
    axes.annotate(words, at, offset, textcoords="offset points", annotation_clip=False, **look)


def put(axes: Axes, side: Literal["left", "right"], offset: float, row: float, words: str, **look: Any) -> None:
    """Writes at a row, that many pixels to the right of one side of the axes."""
    place, of = (0 if side == "left" else 1, row), ("axes fraction", "data")
    note(axes, words, place, (offset, 0), xycoords=of, va="center_baseline", **look)


def beside(axes: Axes, ends: Sequence[tuple[float, float, str, str]], tall: float) -> None:
    """Writes each line's name to the right of its last point, moved apart where they would overlap.

    Args:
        axes: Where the lines are drawn; its limits are set.
        ends: (height, place, name, colour) of each last point.
        tall: Height of the axes, pixels.
    """
    low, high = axes.get_ylim()
    (left, right), (wide, _) = axes.get_xlim(), pixels(axes)
    step = _LINE * (high - low) / tall
    order = sorted(ends, key=lambda end: -end[0])[::-1]  # of equal ones the first comes on top
    heights = [value for value, *_ in order]
    for _ in range(100):
        for index in range(len(heights) - 1):
            push = max(0.0, step - (heights[index + 1] - heights[index])) / 2
            heights[index] -= push
            heights[index + 1] += push
        heights = [min(max(height, low), high) for height in heights]
    for (value, at, label, colour), height in zip(order, heights):
        # A thread from the point to its name, in the line's colour.
        axes.plot(
            [at, right + 12 / wide * (right - left)], [value, height],
            color=colour, lw=1.0, ls=(0, (1, 2)), clip_on=False, zorder=2,
        )  # fmt: skip
        put(axes, "right", 17, height, label, color=INK, fontsize=12)
