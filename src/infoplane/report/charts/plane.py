"""The information plane: what each layer keeps of the input, against what it tells of the label, through training."""

import dataclasses
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.estimate import Estimate
from infoplane.report.drawing import MARKED, Unit, box, extent, lines, note, scaled, shortened, tip, tooltip
from infoplane.report.theme import canvas
from infoplane.report.words import quantity_name

_WIDTH, _HEIGHT = 620, 430  # pixels
#: pixels of a letter of a name across and up, and from a point to what must not cover it
_LETTER, _LINE, _CLEAR = 8.0, 15.0, 5.0
#: where a name's lower edge may stand above its point, in pixels, the best first
_HEIGHTS = (4, -19, 20, -35, 36, -51, 52, 68, 84)
#: letters of a name
_LONGEST = 16
#: opacity of the first checkpoint; the last one has all of it
_FAINT = 0.25
#: steps of it
_SHADES = 24


@dataclasses.dataclass(frozen=True)
class Orbit:
    """One layer's way through the plane: (checkpoint, of the input, of the label), in training order."""

    label: str
    colour: str
    points: tuple[tuple[str, Estimate, Estimate], ...]


def plane(orbits: Sequence[Orbit], checkpoints: Sequence[str], kinds: tuple[str, str], unit: Unit) -> Figure:
    """Draws every layer's way, the darker the later; crosses are ± one standard error both ways.

    Args:
        orbits: The layers by depth.
        checkpoints: All of them, in training order.
        kinds: What is drawn to the right, and upwards.
        unit: What to draw in.
    """
    figure = canvas(_WIDTH, _HEIGHT)
    axes = box(figure, 68, 26, _WIDTH - 164, _HEIGHT - 76)
    axes.spines["left"].set_visible(True)
    axes.grid(True)
    axes.set_xlabel(f"{quantity_name(kinds[0])}, {unit} per image", loc="right")
    axes.set_ylabel(f"{quantity_name(kinds[1])}, {unit} per image", loc="top")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=6))
    last = max(len(checkpoints) - 1, 1)
    # In steps that cannot be told apart, so that what is of one shade is drawn at once.
    shades = [round(index * _SHADES / last) / _SHADES for index in range(len(checkpoints))]
    opacity = {name: _FAINT + (1 - _FAINT) * shade for name, shade in zip(checkpoints, shades)}
    over: dict[str, Any] = {"zorder": 4, "clip_on": False}
    ends: list[tuple[Orbit, float, float]] = []
    marks: list[tuple[float, float]] = []
    for orbit in orbits:
        drawn = [(at, scaled(x, unit), scaled(y, unit)) for at, x, y in orbit.points]
        steps = [
            ([(x.value, y.value), (then.value, there.value)], at) for (_, x, y), (at, then, there) in pairwise(drawn)
        ]
        crosses = [([(end, y.value) for end in extent(x)], at) for at, x, y in drawn if x.stderr is not None]
        crosses += [([(x.value, end) for end in extent(y)], at) for at, x, y in drawn if y.stderr is not None]
        for pieces, width, look in ((steps, 1.4, {"zorder": 3}), (crosses, 1.2, over)):
            drawn_in: dict[float, list[Any]] = {}
            for piece, at in pieces:
                drawn_in.setdefault(opacity[at], []).append(piece)
            for shade, own in drawn_in.items():
                axes.add_collection(lines(own, to_rgba(orbit.colour, shade), width, **look))
        marks += [(x.value, y.value) for _, x, y in drawn]
        if len(drawn) > MARKED:
            colours = [to_rgba(orbit.colour, opacity[at]) for at, _, _ in drawn]
            axes.scatter([x.value for _, x, _ in drawn], [y.value for *_, y in drawn], s=9, c=colours, lw=0, **over)
        for at, x, y in drawn if len(drawn) <= MARKED else ():
            (mark,) = axes.plot([x.value], [y.value], "o", ms=6, color=orbit.colour, alpha=opacity[at], mew=0, **over)
            tip(mark, f"{tooltip(f'{orbit.label}, checkpoint {at}', x)}; {tooltip(quantity_name(kinds[1]), y)}")
        if drawn:
            ends.append((orbit, drawn[-1][1].value, drawn[-1][2].value))
    axes.margins(0.06)
    _name(axes, ends, marks)
    return figure


_Box = tuple[float, float, float, float]  # left, bottom, right, top


def _name(axes: Axes, ends: Sequence[tuple[Orbit, float, float]], marks: Sequence[tuple[float, float]]) -> None:
    """Writes the layers' names beside their last points, where they cover neither one another nor a point."""
    axes.autoscale_view()
    pixel = 72 / axes.figure.dpi
    taken: list[_Box] = []
    for x, y in axes.transData.transform(marks) * pixel if marks else ():
        taken.append((x - _CLEAR, y - _CLEAR, x + _CLEAR, y + _CLEAR))
    for orbit, x, y in ends:
        label = shortened(orbit.label, _LONGEST)
        left, bottom = axes.transData.transform((x, y)) * pixel
        wide = _LETTER * len(label)
        places = [(across, up) for up in _HEIGHTS for across in (9.0, -9.0 - wide)]
        right, top = left + wide, bottom + _LINE
        boxes = {(across, up): (left + across, bottom + up, right + across, top + up) for across, up in places}
        # The first of those that cover least, on the canvas if there is room.
        place = min(places, key=lambda place: _amiss(boxes[place], taken))
        taken.append(boxes[place])
        note(axes, label, (x, y), place, color=orbit.colour, fontsize=12, zorder=5)


def _amiss(box: _Box, taken: Sequence[_Box]) -> tuple[bool, int]:
    """Whether it leaves the canvas, and how many others it covers."""
    left, low, right, high = box
    others = (left < o[2] and o[0] < right and low < o[3] and o[1] < high for o in taken)
    return left < 0 or low < 0 or right > _WIDTH or high > _HEIGHT, sum(others)
