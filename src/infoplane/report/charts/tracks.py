"""Numbers through training: a line for each layer against the checkpoint, in panels below and beside each other."""

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.estimate import Estimate
from infoplane.report.contents import evenly
from infoplane.report.drawing import (
    DASHES,
    MARKED,
    Unit,
    beside,
    box,
    extent,
    gutter,
    lines,
    note,
    per_unit,
    pixels,
    scaled,
    shortened,
    tip,
    tooltip,
    write_at,
)
from infoplane.report.format import power_of_ten, rounded
from infoplane.report.theme import LINE, MUTED, PAPER, canvas

DOTS = (0, (1.2, 1.6))
_POINTS = 160  # of a dense curve: more cannot be told apart, and would fill the page
_TICKS = 12  # checkpoints, at most, that are named on the axis
_APART = 30  # pixels from one name above or below the axes to the next
_TITLE, _ABOVE, _UNDER = 26, 38, 46  # pixels of a column's title, of a panel's, and of the names of ticks and axis


@dataclass(frozen=True)
class Track:
    """One layer through training.

    Attributes:
        label: What stands beside its last point; "": nothing.
        colour: What it is drawn in.
        estimates: Checkpoint -> number, in training order.
        thin: Whether it is only a thin line, under the points of others: of exact numbers.
    """

    label: str
    colour: str
    estimates: Mapping[str, Estimate]
    thin: bool = False


@dataclass(frozen=True)
class Line:
    """A dense curve of plain values against counts, both (T,), in `dashes` of matplotlib's."""

    label: str
    colour: str
    counts: np.ndarray
    values: np.ndarray
    dashes: Any = "-"


@dataclass(frozen=True)
class Panel:
    """Tracks that share an axis.

    Attributes:
        title: Above it; "{unit}" stands for the unit, here and in `unit`.
        tracks: Those of the layers, by depth.
        unit: Beside the axis, or "".
        height: Pixels.
        ceiling: What no number can exceed, nats, and its name; or None.
        zero: Whether zero means something, and so is on the axis.
        cut: Whether errors are cut where no value can lie: at 0, and at the ceiling.
        marked: Checkpoints that have an upright line.
        named: Whether these are named above.
        note: What is said where nothing is drawn.
        scale: Panels with the same one have the same limits; "": its own.
    """

    title: str
    tracks: Sequence[Track | Line]
    unit: str = ""
    height: float = 228
    ceiling: tuple[float, str] | None = None
    zero: bool = True
    cut: bool = False
    marked: Sequence[str] = ()
    named: bool = False
    note: str = ""
    scale: str = ""


@dataclass(frozen=True)
class Column:
    """Panels that stand below each other, under a title if there is one."""

    title: str
    panels: Sequence[Panel]


def age_of(checkpoint: str, ages: Mapping[str, float]) -> float | None:
    """Returns how far training is at a checkpoint, from what is known of it, else from its name; None if neither."""
    if checkpoint in ages:
        return ages[checkpoint]
    try:
        count = float(checkpoint)
    except ValueError:
        return None
    return count if 0 <= count < math.inf else None  # one may be called "nan", "inf" or "-1"


class TrainingAxis:
    """Where checkpoints stand: a count c on a symmetric logarithmic scale, 0 at 0, others at 1 + log10(c / smallest).

    A last one without a count, such as "end" (the best weights, whenever they were found), stands one step after them.
    Where any other has no count, all are evenly spaced.

    Args:
        checkpoints: In training order.
        counted_in: What their names count, for the name of the axis.
        ages: Checkpoint -> count, where its name does not say it.
        history: Counts of dense curves that stand on the same axis.
        each: What one of them is called where a reader points at it.
    """

    def __init__(
        self,
        checkpoints: Sequence[str],
        counted_in: str = "updates of the network",
        ages: Mapping[str, float] | None = None,
        history: Iterable[float] = (),
        each: str = "checkpoint",
    ) -> None:
        self.checkpoints, self.each = list(checkpoints), each
        self.ages = {at: age_of(at, ages or {}) for at in self.checkpoints}
        known = [*(age for age in self.ages.values() if age is not None), *map(float, history := list(history))]
        self.counted = bool(known) and None not in list(self.ages.values())[:-1]
        self.name = counted_in if self.counted else "checkpoint"
        self.smallest, self.largest = min((age for age in known if age), default=1.0), max(known, default=1.0)
        self.places = {at: float(index) for index, at in enumerate(self.checkpoints)}
        if self.counted:
            end = self.place(self.largest) + 1
            self.places = {at: end if age is None else self.place(age) for at, age in self.ages.items()}
        stands = [*self.places.values(), *map(self.place, history if self.counted else ())]
        self.first, self.last = min(stands, default=0.0), max(stands, default=1.0)

    def place(self, count: float) -> float:
        """Returns where a count stands."""
        return 1 + math.log10(count / self.smallest) if count > 0 else 0.0

    def dashed(self, checkpoint: str) -> bool:
        """Whether the axis does not tell how far a checkpoint is from the one before."""
        return self.counted and self.ages[checkpoint] is None

    def said(self, checkpoint: str) -> str:
        """Returns what a checkpoint is called where a reader points at it."""
        return f"{self.each} {f'{int(checkpoint):,}' if self.each == 'epoch' else checkpoint}"

    def _ticks(self) -> Iterator[tuple[float, str]]:
        """(place, name): of the checkpoints, or of 0 and the powers of ten where these are many."""
        powers = [p for p in range(-12, 13) if self.smallest <= 10.0**p * (1 + 1e-9) and 10.0**p <= self.largest]
        if self.counted and len(self.checkpoints) > _TICKS and len(powers) > 1:
            yield from [(0.0, "0")] * (self.first == 0)
            yield from ((self.place(10.0**power), power_of_ten(power)) for power in powers)
            yield from ((self.places[at], shortened(at, 10)) for at in self.checkpoints[-1:] if self.ages[at] is None)
            return
        for at in evenly(self.checkpoints, _TICKS):
            age = self.ages[at]
            yield self.places[at], shortened(at, 10) if age is None else f"{age:,.10g}"

    def lay(self, axes: Axes, *, named: bool) -> None:
        """Sets the limits and ticks, with names only on the lowest of several axes."""
        span = self.last - self.first or 1.0
        axes.set_xlim(self.first - 0.04 * span, self.first + span)
        kept: dict[float, str] = {}
        for place, name in self._ticks():
            last = max(kept, default=-math.inf)
            if (place - last) / span * pixels(axes)[0] < 3.6 * len(kept.get(last, "") + name) + 10:
                if place < self.last:
                    continue
                kept.pop(last)  # the last one stays
            kept[place] = name
        axes.set_xticks(list(kept), list(kept.values()) if named else [""] * len(kept))
        if named:
            axes.set_xlabel(self.name, loc="right", labelpad=1)


def tracks(
    columns: Sequence[Column], axis: TrainingAxis, unit: Unit, *, width: float = 460, across: int = 1, tips: bool = True
) -> Figure:
    """Draws columns of panels: numbers as points with ± one standard error each, joined.

    Args:
        columns: Networks, or single panels.
        axis: What they all stand on.
        unit: What to draw information in.
        width: Pixels of the figure.
        across: Columns side by side; the others stand below.
        tips: Whether points say what they are where a reader points at them.
    """
    each, titled = width / across, _TITLE * any(column.title for column in columns)
    block = titled + max(sum(_ABOVE + panel.height for panel in column.panels) for column in columns) + _UNDER
    figure = canvas(width, -(-len(columns) // across) * block)
    letters = 16 if each > 400 else 12
    every = [panel for column in columns for panel in column.panels]
    labels = [shortened(track.label, letters) for panel in every for track in panel.tracks]
    right, left = gutter(labels) + 10, 68 if any(panel.unit for panel in every) else 38
    limits = {panel.scale: _limits([one for one in every if one.scale == panel.scale], unit) for panel in every}
    for index, column in enumerate(columns):
        start, top = each * (index % across), block * (index // across)
        title = shortened(column.title, int((each - 10) / 9.2))
        write_at(figure, start, top, title, fontsize=14, fontweight="bold")
        top += titled
        for panel in column.panels:
            axes = box(figure, start + left, top + _ABOVE, each - left - right, panel.height)
            axis.lay(axes, named=panel is column.panels[-1])
            axes.set_ylim(*(limits[panel.scale] if panel.scale else _limits([panel], unit)))
            axes.grid(axis="y")
            axes.yaxis.set_major_locator(MaxNLocator(nbins=6 if panel.height > 200 else 3, steps=[1, 2, 5, 10]))
            axes.set_ylabel(panel.unit.replace("{unit}", unit))
            # Close to its own panel, unless names of checkpoints come between.
            above = top + (4 if panel.named and panel.marked else 16)
            write_at(figure, start, above, panel.title.replace("{unit}", unit), fontsize=13)
            _panel(axes, panel, axis, unit, letters, tips=tips)
            top += _ABOVE + panel.height
    return figure


def _limits(panels: Sequence[Panel], unit: Unit) -> tuple[float, float]:
    """Limits around all values of panels, with zero among them where it means something."""
    values: list[float] = []
    for panel in panels:
        values += [panel.ceiling[0] * per_unit(unit)] if panel.ceiling else []
        for track in panel.tracks:
            if isinstance(track, Line):
                values += [float(value) for value in np.ravel(track.values) if math.isfinite(value)]
            else:
                numbers = [scaled(estimate, unit) for estimate in track.estimates.values()]
                values += [end for number in numbers for end in (number.value, *_ends(number, panel, unit))]
    low, high = min(values, default=0.0), max(values, default=1.0)
    if any(panel.zero for panel in panels):
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room


def _ends(number: Estimate, panel: Panel, unit: Unit) -> list[float]:
    """The ends of a number's error bar."""
    top = panel.ceiling[0] * per_unit(unit) if panel.ceiling and panel.cut else math.inf
    return [min(max(end, 0.0), top) for end in extent(number)] if panel.cut else extent(number)


def _panel(axes: Axes, panel: Panel, axis: TrainingAxis, unit: Unit, letters: int, *, tips: bool) -> None:
    _mark(axes, panel, axis)
    ends: list[tuple[float, float, str, str]] = []
    for track in panel.tracks:
        last = _line(axes, track, axis) if isinstance(track, Line) else _track(axes, track, panel, axis, unit, tips)
        if last is not None and track.label:
            ends.append((*last, shortened(track.label, letters), track.colour))
    if panel.ceiling is not None:
        height = panel.ceiling[0] * per_unit(unit)
        axes.axhline(height, color=MUTED, lw=1.2, ls=DASHES, zorder=2)
        # To the right of the first checkpoint's line, and on paper where another one's would cross it.
        ground = {"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none"}
        words, look = f"ceiling {panel.ceiling[1]} = {rounded(height)}", {"color": MUTED, "fontsize": 10, "zorder": 1.5}
        note(axes, words, (axis.first, height), (5, 3), bbox=ground, **look)
    if panel.note and not ends:
        axes.text(0.5, 0.5, panel.note, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=12)
    beside(axes, ends, panel.height)


def _mark(axes: Axes, panel: Panel, axis: TrainingAxis) -> None:
    """Draws the marked checkpoints as faint lines, named where there is room."""
    left, right = axes.get_xlim()
    before = -math.inf
    for at in panel.marked:
        place = axis.place(float(at))
        axes.axvline(place, color=LINE, lw=1, zorder=1)
        pixel = (place - left) / (right - left) * pixels(axes)[0]
        if panel.named and pixel - before >= _APART:
            before = pixel
            of = ("data", "axes fraction")
            note(axes, f"{int(at):,}", (place, 1), (0, 3), xycoords=of, fontsize=10, ha="center", color=MUTED)


def _line(axes: Axes, line: Line, axis: TrainingAxis) -> tuple[float, float] | None:
    """Draws a dense curve; returns (height, place) of its last point."""
    places, values = thinned(axis, line.counts, line.values)
    if not places:
        return None
    axes.plot(places, values, color=line.colour, lw=1.3, ls=line.dashes)
    return values[-1], places[-1]


def _track(
    axes: Axes, track: Track, panel: Panel, axis: TrainingAxis, unit: Unit, tips: bool
) -> tuple[float, float] | None:
    """Draws the numbers of a layer; returns (height, place) of its last point."""
    drawn = [(at, axis.places[at], scaled(estimate, unit)) for at, estimate in track.estimates.items()]
    if not drawn:
        return None
    last = drawn[-1][2].value, drawn[-1][1]
    if track.thin:
        axes.plot(
            [place for _, place, _ in drawn], [each.value for *_, each in drawn], color=track.colour, lw=1.1, zorder=3
        )
        return last
    exact = any(other.thin for other in panel.tracks if isinstance(other, Track))
    if not exact:
        _path(axes, [(place, each.value, axis.dashed(at)) for at, place, each in drawn], track.colour)
    over: dict[str, Any] = {"zorder": 4, "clip_on": False}  # the last checkpoint stands on the axes' edge
    bars = [[(place, end) for end in _ends(each, panel, unit)] for _, place, each in drawn if each.stderr]
    for colour, width in ((PAPER, 4.0), (track.colour, 1.6)):
        axes.add_collection(lines(bars, colour, width, **over))
    crowded = len(drawn) > MARKED or not tips
    small = crowded or panel.height < 200 or len(drawn) > _TICKS
    for group in [drawn] if crowded else [[each] for each in drawn]:
        for single in (False, True):
            # Hollow where a single fit is behind the number.
            own = [(place, each.value) for _, place, each in group if each.single_fit == single]
            if own:
                (mark,) = axes.plot(
                    *zip(*own), "o", ms=3.4 if small else 6, mfc=PAPER if single else track.colour, mec=track.colour,
                    mew=0.8 if small else 1.6, **over,
                )  # fmt: skip
                if not crowded:
                    at, _, each = group[0]
                    tip(mark, tooltip(f"{track.label}, {axis.said(at)}", each))
    return last


def _path(axes: Axes, points: Sequence[tuple[float, float, bool]], colour: str) -> None:
    """Joins the points, with dashes where the axis does not tell how far apart they are."""
    for wanted, dashes in ((False, "-"), (True, DASHES)):
        steps = itertools.groupby(itertools.pairwise(points), key=lambda step: step[1][2] == wanted)
        own = [[run[0][0][:2], *(end[:2] for _, end in run)] for good, each in steps if good and (run := list(each))]
        axes.add_collection(lines(own, colour, 1.5, linestyles=[dashes], alpha=0.75, zorder=3))


def thinned(axis: TrainingAxis, history: np.ndarray, curve: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns the finite points of a dense curve, so many that no more could be told apart on this axis."""
    history, curve = np.asarray(history).ravel(), np.asarray(curve, dtype=float).ravel()
    known = [at for at in range(min(len(history), len(curve))) if np.isfinite(curve[at])]
    if len(known) > _POINTS:
        places = np.array([axis.place(float(history[at])) for at in known])
        wanted = np.linspace(places[0], places[-1], _POINTS)
        known = [known[at] for at in np.unique(np.searchsorted(places, wanted).clip(max=len(known) - 1))]
    return [axis.place(float(history[at])) for at in known], [float(curve[at]) for at in known]
