"""A network's activations at the marked epochs, a row per layer: clouds, values, distances, densities.

Every function returns None where there is nothing to draw.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.report.drawing import box, gutter, note, pixels, shortened, write_at
from infoplane.report.format import listed, power_of_ten
from infoplane.report.noisy.contents import Cloud, Histogram, NetworkThroughTraining, UnitDensity
from infoplane.report.theme import GHOST, HUES, INK, LINE, MUTED, Palette, canvas

_WIDTH = 960  # pixels
_HEAD = 24  # for the epochs
_KEY = 20  # for which colour is which class
_GAP = 14
_ALL, _MOST, _FEWEST = 90_000, 3000, 800  # points on a page, and of a cloud: more cover each other, and weigh
_RASTER = 150  # dots per inch of the points
_SPREAD = 4.0  # where the boxes of a row's clouds differ by more, each has its own
_NAMED = 24  # inputs whose parts of a density are drawn one by one; more are drawn class by class
_OVERLAP = 0.5  # of two densities: from where on they share a name
_LINE = 12  # pixels from one name to the next above it
_FAINT = 1e-3  # of its peak: where a part of a density is less, it is not drawn

#: row by row: (layer, what is shown of it at each marked epoch, or None)
_Rows = list[tuple[str, list[Any]]]


def _rows(network: NetworkThroughTraining, what: str) -> _Rows:
    """What is there of each layer, by depth, the input first."""
    found: list[Mapping[str, Any]] = [getattr(snapshot, what) for snapshot in network.snapshots]
    names = [name for name in ("input", *network.layers) if any(name in each for each in found)]
    return [(name, [each.get(name) for each in found]) for name in names]


def _sheet(
    network: NetworkThroughTraining,
    rows: _Rows,
    height: Callable[[float], float],
    draw: Callable[[Axes, str, Any, Sequence[Any], bool], None],
    under: float,
    widest: float = 220,
    labels: np.ndarray | None = None,
) -> Figure:
    """Lays panels out: a column per marked epoch, a row per layer.

    Args:
        network: Whose epochs head the columns.
        rows: As from `_rows`.
        height: Width of a panel -> its height, in pixels.
        draw: (axes, layer, what it shows, what the whole row shows, whether it is the first of its row).
        under: Pixels for what is written under a panel.
        widest: A panel is no wider than this.
        labels: Of examples coloured by class, for a key above; None without one.
    """
    key = [] if labels is None else _classes(labels)
    head = _HEAD + _KEY * bool(key)
    left = gutter([name for name, _ in rows]) + 6
    wide = min(widest, (_WIDTH - left) / max(len(network.snapshots), 1))
    tall = height(wide - _GAP)
    figure = canvas(_WIDTH, head + len(rows) * (tall + under) + 4, raster=_RASTER)
    across = left
    for hue, words in key:
        write_at(figure, across, 3, "●", color=hue, fontsize=11)
        write_at(figure, across + 13, 4, words, color=MUTED, fontsize=11)
        across += 13 + 6.5 * len(words) + 16
    for column, snapshot in enumerate(network.snapshots):
        write_at(figure, left + column * wide, head - _HEAD + 4, f"epoch {snapshot.epoch:,}", color=MUTED)
    for row, (name, shown) in enumerate(rows):
        top = head + row * (tall + under)
        write_at(figure, 0, top + tall / 2, shortened(name), va="center", fontsize=13)
        known = [each for each in shown if each is not None]
        for column, each in enumerate(shown):
            if each is not None:
                axes = box(figure, left + column * wide, top, wide - _GAP, tall)
                axes.tick_params(pad=2, labelsize=10)
                draw(axes, name, each, known, each is known[0])
    return figure


def hues(labels: np.ndarray) -> list[str]:
    """Returns the colour of each example's class."""
    return [HUES[int(label) % len(HUES)] for label in np.asarray(labels).ravel()]


def _classes(labels: np.ndarray) -> list[tuple[str, str]]:
    """(colour, the classes that have it), for a key; empty where there is one class only."""
    found: dict[str, list[str]] = {}
    classes = [int(label) for label in np.unique(labels)]
    for label in classes:
        found.setdefault(HUES[label % len(HUES)], []).append(str(label))
    several = [(hue, f"class{'es' * (len(names) > 1)} {listed(names)}") for hue, names in found.items()]
    return several if len(classes) > 1 else []


def drawn_of(networks: Sequence[NetworkThroughTraining]) -> int:
    """Returns how many points of a cloud are drawn where a page shows these networks."""
    count = sum(len(snapshot.clouds) for network in networks for snapshot in network.snapshots)
    return min(_MOST, max(_FEWEST, _ALL // max(count, 1)))


def clouds(network: NetworkThroughTraining, drawn: int) -> Figure | None:
    """Draws layers of two or three units as points, coloured by class; at most `drawn` points of each."""
    rows = [
        (name, [cloud if cloud is not None and cloud.points.shape[-1] in (2, 3) else None for cloud in shown])
        for name, shown in _rows(network, "clouds")
    ]
    rows = [(name, shown) for name, shown in rows if any(cloud is not None and len(cloud.points) for cloud in shown)]
    if not rows:
        return None

    every = [cloud for _, shown in rows for cloud in shown if cloud is not None]

    def draw(axes: Axes, _: str, cloud: Cloud, row: Sequence[Cloud], first: bool) -> None:
        # One box for the whole network where that crowds no cloud, else one for the row, else each its own.
        together = next((of for of in (every, row) if _alike(of)), [cloud])
        _cloud(axes, cloud, _box(together), drawn, named=first, told=first or len(together) == 1)

    labels = np.concatenate([np.asarray(cloud.labels).ravel() for cloud in every])
    return _sheet(network, rows, lambda width: width, draw, 24, labels=labels)


def _reach(cloud: Cloud) -> tuple[float, float]:
    """The ends of the box that holds a cloud, but for its last outliers; the same in every direction."""
    low, high = np.quantile(cloud.points, (0.001, 0.999))
    room = 0.04 * (high - low) or 0.5
    return float(low - room), float(high + room)


def _alike(of: Sequence[Cloud]) -> bool:
    """Whether clouds can be drawn in one box, and each still be seen."""
    ends = [_reach(each) for each in of]
    wide = max(end[1] for end in ends) - min(end[0] for end in ends)
    return wide <= _SPREAD * min(end[1] - end[0] for end in ends)


def _box(of: Sequence[Cloud]) -> tuple[float, float, int]:
    """The ends of the box that holds clouds, rounded outwards, and the decimals that both ends are written with."""
    ends = [_reach(each) for each in of]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    decimals = 1 - math.floor(math.log10(high - low))
    step = 10.0**-decimals
    # What is a whole number of steps but for its last digits stays that.
    return math.floor(low / step + 1e-6) * step, math.ceil(high / step - 1e-6) * step, max(0, decimals)


def _cloud(axes: Axes, cloud: Cloud, ends: tuple[float, float, int], drawn: int, *, named: bool, told: bool) -> None:
    """Draws one cloud in a box with these ends; `named`: with names of the units, `told`: with the ends."""
    low, high, decimals = ends
    # In an order that is fixed but mixed, so that no class lies on top of another.
    order = np.random.default_rng(0).permutation(len(cloud.points))[:drawn]
    points, colours = np.asarray(cloud.points, dtype=float)[order], np.array(hues(cloud.labels))[order]
    points = (points - (low + high) / 2) / ((high - low) / 2)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    corners = np.array(list(itertools.product((-1.0, 1.0), repeat=points.shape[1])))
    edges = [(one, other) for one, other in itertools.combinations(corners, 2) if np.sum(one != other) == 1]
    if points.shape[1] == 3:
        points, nearness = _projected(points)
        nearest = np.argsort(nearness)
        points, colours = points[nearest], colours[nearest]
        edges = [tuple(_projected(np.array(edge))[0]) for edge in edges]
    for one, other in edges:
        axes.plot([one[0], other[0]], [one[1], other[1]], color=LINE, lw=0.9, zorder=1)
    axes.scatter(points[:, 0], points[:, 1], s=3.2, c=colours, lw=0, alpha=0.75, rasterized=True, zorder=2)
    reach = 1.0 if cloud.points.shape[1] == 2 else 1.62
    axes.set_xlim(-1.03 * reach, 1.03 * reach)
    axes.set_ylim(-1.03 * reach, 1.03 * reach)
    if named:
        _units(axes, cloud.points.shape[1])
    if told:
        words = f"each unit from {low:.{decimals}f} to {high:.{decimals}f}".replace("-", "−")
        at = {"xycoords": "axes fraction", "ha": "center", "va": "top"}
        note(axes, words, (0.5, 0), (0, -3), color=MUTED, fontsize=10, **at)


def _units(axes: Axes, count: int) -> None:
    """Names the units along the edges of the box: those in front where there are three."""
    places: list[tuple[np.ndarray, str, str, float]] = [
        (np.array([0.0, -1.0]), "center", "bottom", 0), (np.array([-1.0, 0.0]), "left", "center", 90),
    ]  # fmt: skip
    if count == 3:
        middles, _ = _projected(np.array([[0.0, -1.0, -1.0], [1.0, 0.0, -1.0], [-1.0, -1.0, 0.0]]))
        looks = (("right", "top", 0.0), ("left", "top", 0.0), ("right", "center", 90.0))
        places = [(middle, *look) for middle, look in zip(middles, looks)]
    for unit, (at, across, down, turned) in enumerate(places, start=1):
        axes.text(at[0], at[1], f"unit {unit}", ha=across, va=down, rotation=turned, color=MUTED, fontsize=9, zorder=3)


def _projected(points: np.ndarray, azimuth: float = -58.0, elevation: float = 20.0) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 3) as seen from afar: where they stand on the paper, (n, 2), and how near they are, (n,)."""
    turn, lift = math.radians(azimuth), math.radians(elevation)
    right = np.array([-math.sin(turn), math.cos(turn), 0.0])
    up = np.array([-math.sin(lift) * math.cos(turn), -math.sin(lift) * math.sin(turn), math.cos(lift)])
    return points @ np.stack([right, up], axis=1), points @ np.cross(right, up)


def most(network: NetworkThroughTraining) -> float:
    """Returns the largest count of any value of a network's units."""
    every = (each for snapshot in network.snapshots for each in snapshot.values.values())
    return max((float(np.max(_total(each), initial=0)) for each in every), default=0.0)


def _total(each: Histogram) -> np.ndarray:
    return np.sum([np.asarray(part, dtype=float) for part in each.counts.values()], axis=0)


def values(network: NetworkThroughTraining, palette: Palette, highest: float) -> Figure | None:
    """Draws how often the units of each layer take which values; counts on a logarithmic axis up to `highest`."""
    powers = [power for power in range(0, 10, 2) if 10**power <= highest]

    def draw(axes: Axes, name: str, each: Histogram, row: Sequence[Histogram], first: bool) -> None:
        # An empty bin has no logarithm; half a count lies on the axis.
        counts, low = np.log10(np.maximum(_total(each), 0.5)), math.log10(0.5)
        axes.stairs(counts, each.edges, baseline=low, fill=True, color=palette[name], lw=0)
        axes.set_ylim(low, math.log10(highest) + 0.2)
        axes.set_yticks(powers, [power_of_ten(power) if first else "" for power in powers])
        axes.grid(axis="y")
        _across(axes, row)

    rows = _rows(network, "values") if most(network) else []
    return _sheet(network, rows, lambda width: min(0.45 * width, 76), draw, 26) if rows else None


def _across(axes: Axes, row: Sequence[Histogram]) -> None:
    """Gives the panels of a row the same horizontal axis, with its ends and its middle named."""
    low = min(float(each.edges[0]) for each in row)
    high = max(float(each.edges[-1]) for each in row)
    room = 0.02 * (high - low)
    axes.set_xlim(low - room, high + room)
    step = 10.0 ** math.floor(math.log10((high - low) / 2))
    step *= max(times for times in (1, 2, 5) if times * step <= (high - low) / 2)
    ticks = np.arange(math.ceil(low / step) * step, high + room, step)
    axes.set_xticks(ticks, [f"{round(tick, 9) + 0.0:g}".replace("-", "−") for tick in ticks])


def distances(network: NetworkThroughTraining, palette: Palette) -> Figure | None:
    """Draws how far activations lie apart: within a class filled, between classes as a line."""

    def draw(axes: Axes, name: str, each: Histogram, row: Sequence[Histogram], _: bool) -> None:
        axes.stairs(each.counts["within"], each.edges, fill=True, color=palette[name], alpha=0.75, lw=0)
        axes.stairs(each.counts["between"], each.edges, color=INK, lw=1.2)
        axes.set_ylim(0, 1.06 * max(1e-9, *(float(np.max(part)) for part in each.counts.values())))
        axes.set_yticks([])
        _across(axes, row)

    # Distances between inputs are the same at every epoch.
    rows = [
        (name, [shown[0], *[None] * (len(shown) - 1)] if name == "input" else shown)
        for name, shown in _rows(network, "distances")
    ]
    return _sheet(network, rows, lambda width: min(0.45 * width, 76), draw, 26) if rows else None


def densities(network: NetworkThroughTraining) -> Figure | None:
    """Draws the density of layers of one unit: the whole as a line, under it what each input contributes."""
    rows = _rows(network, "densities")
    if not rows:
        return None
    every = [each.labels for _, shown in rows for each in shown if each is not None]
    labels = np.concatenate([np.asarray(each).ravel() for each in every])
    return _sheet(network, rows, lambda width: min(0.6 * width, 110), _density, 30, 240, labels=labels)


def _density(axes: Axes, _: str, each: UnitDensity, row: Sequence[UnitDensity], __: bool) -> None:
    grid = np.asarray(each.values, dtype=float)
    parts, labels = np.asarray(each.parts, dtype=float), np.asarray(each.labels).ravel()
    named = len(parts) <= _NAMED
    if not named:
        labels = np.unique(labels)
        parts = np.stack([parts[np.asarray(each.labels).ravel() == label].sum(axis=0) for label in labels])
    for part, hue in zip(parts, hues(labels)):
        seen = np.flatnonzero(part > _FAINT * part.max(initial=0))
        if len(seen):
            at = slice(seen[0], seen[-1] + 1)
            axes.fill_between(grid[at], part[at], color=hue, alpha=0.55, lw=0)
    axes.plot(grid, each.density, color=INK, lw=1)
    low, high = min(float(one.values[0]) for one in row), max(float(one.values[-1]) for one in row)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.axhline(0, color=GHOST, lw=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    _name(axes, each, low, high) if named else axes.set_ylim(0, None)


def _name(axes: Axes, each: UnitDensity, low: float, high: float) -> None:
    """Writes the inputs' names over their parts: those that cannot be told apart share one."""
    wide, tall = pixels(axes)
    scale = 0.78 * tall / (float(np.max(each.density, initial=0)) or 1.0)  # pixels of a density of 1
    places: list[tuple[float, float, float]] = []
    for group in overlapping(each):
        tops = [int(np.argmax(each.parts[index])) for index in group]
        words = [shortened(each.inputs[index], 12) for index in sorted(group)]
        text = ", ".join(words) if len(words) < 5 else f"{words[0]} … {words[-1]}"
        centre, half = (float(np.mean(each.values[tops])) - low) / (high - low) * wide, 3.2 * len(text) + 2
        # Above its own part, and above any name that would be in the way.
        taken = [bottom + _LINE for left, right, bottom in places if left < centre + half and centre - half < right]
        places.append((centre - half, centre + half, max([scale * float(np.max(each.density[tops])), *taken])))
        place = (centre, places[-1][2] + 3)
        note(axes, text, place, xycoords="axes points", ha="center", color=MUTED, fontsize=10)
    above = max((bottom + _LINE for *_, bottom in places), default=tall) / tall
    axes.set_ylim(0, max(1.0, above) * tall / scale)


def overlapping(each: UnitDensity) -> list[list[int]]:
    """Returns the inputs in groups, by where they peak; in a group each overlaps the one before by more than half.

    The overlap of two densities is the integral of the smaller of both: 1 where they are the same, 0 where apart.
    """
    parts = np.asarray(each.parts, dtype=float)
    mass = np.trapezoid(parts, each.values, axis=1)
    known = [index for index in range(len(parts)) if mass[index] > 0]
    groups: list[list[int]] = []
    for index in sorted(known, key=lambda index: (float(each.values[int(np.argmax(parts[index]))]), index)):
        own = parts[index] / mass[index]
        before = groups[-1][-1] if groups else None
        if before is not None:
            overlap = np.trapezoid(np.minimum(own, parts[before] / mass[before]), each.values)
            if overlap > _OVERLAP:
                groups[-1].append(index)
                continue
        groups.append([index])
    return groups
