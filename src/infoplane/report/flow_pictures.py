"""Pictures of a network's activations at the marked epochs: clouds, values, distances, densities; a row per layer.

Every function returns a `Figure` outside of pyplot's global state, or None where there is nothing to draw.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.report.drawing import gutter, shorten
from infoplane.report.flow_axes import HUES, box, write
from infoplane.report.flow_contents import Cloud, Histogram, NetworkThroughTraining, UnitDensity
from infoplane.report.theme import GHOST, INK, LINE, MUTED, Palette, canvas

_WIDTH = 960  # pixels
_HEAD = 24  # for the epochs
_GAP = 14
_ALL, _MOST, _FEWEST = 90_000, 3000, 800  # points on a page, and of a cloud: more cover each other, and weigh
_RASTER = 150  # dots per inch of the points
_SPREAD = 4.0  # where the boxes of a row's clouds differ by more, each has its own
_NAMED = 24  # inputs whose parts of a density are drawn one by one; more are drawn class by class
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
) -> Figure:
    """Lays panels out: a column per marked epoch, a row per layer.

    Args:
        network: Whose epochs head the columns.
        rows: As from `_rows`.
        height: Width of a panel -> its height, in pixels.
        draw: (axes, layer, what it shows, what the whole row shows, whether it is the first of its row).
        under: Pixels for what is written under a panel.
        widest: A panel is no wider than this.
    """
    left = gutter([name for name, _ in rows]) + 6
    wide = min(widest, (_WIDTH - left) / max(len(network.snapshots), 1))
    tall = height(wide - _GAP)
    figure = canvas(_WIDTH, _HEAD + len(rows) * (tall + under) + 4, raster=_RASTER)
    for column, snapshot in enumerate(network.snapshots):
        write(figure, left + column * wide, 4, f"epoch {snapshot.epoch:,}", color=MUTED)
    for row, (name, shown) in enumerate(rows):
        top = _HEAD + row * (tall + under)
        write(figure, 0, top + tall / 2, shorten(name), va="center", fontsize=13)
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

    def draw(axes: Axes, _: str, cloud: Cloud, row: Sequence[Cloud], first: bool) -> None:
        _cloud(axes, cloud, row, first, drawn)

    return _sheet(network, rows, lambda width: width, draw, 24)


def _reach(cloud: Cloud) -> tuple[float, float]:
    """The ends of the box that holds a cloud, but for its last outliers; the same in every direction."""
    low, high = np.quantile(cloud.points, (0.001, 0.999))
    room = 0.04 * (high - low) or 0.5
    return float(low - room), float(high + room)


def _cloud(axes: Axes, cloud: Cloud, row: Sequence[Cloud], first: bool, drawn: int) -> None:
    ends = [_reach(each) for each in row]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    shared = (high - low) <= _SPREAD * min(end[1] - end[0] for end in ends)
    if not shared:
        low, high = _reach(cloud)
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
    if first or not shared:
        words = f"{low:.2g} to {high:.2g} each way".replace("-", "−")
        axes.annotate(
            words, (0.5, 0), (0, -3), xycoords="axes fraction", textcoords="offset points", ha="center", va="top",
            color=MUTED, fontsize=10, annotation_clip=False,
        )  # fmt: skip


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
    rows = _rows(network, "values")
    if not rows or not most(network):
        return None
    powers = [power for power in range(0, 12, 2) if 10**power <= highest]

    def draw(axes: Axes, name: str, each: Histogram, row: Sequence[Histogram], first: bool) -> None:
        counts = _total(each)
        # An empty bin has no logarithm; half a count lies on the axis.
        axes.stairs(np.log10(np.maximum(counts, 0.5)), each.edges, baseline=math.log10(0.5), fill=True,
                    color=palette[name], lw=0)  # fmt: skip
        axes.set_ylim(math.log10(0.5), math.log10(highest) + 0.2)
        names = (
            ["1" if power == 0 else f"10{'⁰¹²³⁴⁵⁶⁷⁸⁹'[power]}" for power in powers] if first and powers[-1] < 10 else []
        )
        axes.set_yticks(powers, names or [""] * len(powers))
        axes.grid(axis="y")
        _across(axes, row)

    return _sheet(network, rows, lambda width: min(0.45 * width, 76), draw, 26)


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
    rows = _rows(network, "distances")
    if not rows:
        return None
    # Distances between inputs are the same at every epoch.
    rows = [(name, _once(shown) if name == "input" else shown) for name, shown in rows]

    def draw(axes: Axes, name: str, each: Histogram, row: Sequence[Histogram], _: bool) -> None:
        within, between = (np.asarray(each.counts.get(part, [0])) for part in ("within", "between"))
        if within.size == len(each.edges) - 1:
            axes.stairs(within, each.edges, fill=True, color=palette[name], alpha=0.75, lw=0)
        if between.size == len(each.edges) - 1:
            axes.stairs(between, each.edges, color=INK, lw=1.2)
        axes.set_ylim(0, 1.06 * max(float(within.max(initial=0)), float(between.max(initial=0)), 1e-9))
        axes.set_yticks([])
        _across(axes, row)

    return _sheet(network, rows, lambda width: min(0.45 * width, 76), draw, 26)


def _once(shown: list[Any]) -> list[Any]:
    first = next((at for at, each in enumerate(shown) if each is not None), 0)
    return [each if at == first else None for at, each in enumerate(shown)]


def densities(network: NetworkThroughTraining) -> Figure | None:
    """Draws the density of layers of one unit: the whole as a line, under it what each input contributes."""
    rows = _rows(network, "densities")
    return _sheet(network, rows, lambda width: min(0.6 * width, 110), _density, 30, 240) if rows else None


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
    peak = float(np.max(each.density, initial=0)) or 1.0
    axes.set_ylim(0, 1.28 * peak)
    low, high = min(float(one.values[0]) for one in row), max(float(one.values[-1]) for one in row)
    axes.set_xlim(low, high)
    axes.set_yticks([])
    axes.axhline(0, color=GHOST, lw=1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
    if not named:
        return
    # Inputs that lie together share a name.
    places = sorted(
        (float(grid[int(np.argmax(part))]), index) for index, part in enumerate(each.parts) if np.max(part) > 0
    )
    groups: list[list[tuple[float, int]]] = []
    for place in places:
        if groups and place[0] - groups[-1][-1][0] < 0.13 * (high - low):
            groups[-1].append(place)
        else:
            groups.append([place])
    for group in groups:
        centre = float(np.mean([place for place, _ in group]))
        near = np.abs(grid - centre) < 0.09 * (high - low)
        height = float(np.max(np.asarray(each.density)[near], initial=0))
        names = [shorten(each.inputs[index], 12) for index in sorted(index for _, index in group)]
        words = ", ".join(names) if len(names) < 5 else f"{names[0]} … {names[-1]}"
        side = (
            "right"
            if centre > high - 0.15 * (high - low)
            else "left"
            if centre < low + 0.15 * (high - low)
            else "center"
        )
        axes.annotate(
            words, (centre, height), (0, 3), textcoords="offset points", ha=side, color=MUTED, fontsize=10,
            annotation_clip=False,
        )  # fmt: skip
