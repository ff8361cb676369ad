"""The figure of what each layer keeps at every checkpoint of the network's training."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.estimate import Estimate
from infoplane.report.amounts import rounded
from infoplane.report.contents import spread
from infoplane.report.drawing import (
    MARKED,
    Unit,
    beside,
    extent,
    framed,
    gutter,
    lines,
    per_unit,
    scaled,
    shorten,
    tip,
    tooltip,
)
from infoplane.report.theme import INK, MUTED, PAPER, canvas
from infoplane.report.words import name_of

_DASHES = (0, (4, 3))
_HEIGHT, _TOP, _BOTTOM = 300, 26, 46  # pixels
_TICKS = 12  # checkpoints, at most, that are named on the axis


@dataclasses.dataclass(frozen=True)
class Track:
    """One layer through the checkpoints. `estimates` has None where a number is missing."""

    label: str
    colour: str
    estimates: tuple[Estimate | None, ...]


def age_of(checkpoint: str, ages: Mapping[str, float]) -> float | None:
    """Returns how far training is at a checkpoint, from what is known of it, else from its name; None if neither."""
    if checkpoint in ages:
        return ages[checkpoint]
    try:
        count = float(checkpoint)
    except ValueError:
        return None
    return count if 0 <= count < math.inf else None  # one may be called "nan", "inf" or "-1"


def positions(checkpoints: Sequence[str], ages: Mapping[str, float] | None = None) -> tuple[list[float], bool]:
    """Returns where each checkpoint stands on the axis, and whether that is by its number of updates or epochs.

    Counts c stand on a symmetric logarithmic scale: 0 at 0, others at 1 + log10(c / smallest). A last one
    without a number, such as "end" (the best weights, whenever they were found), stands one step after them. Where
    any other has no number, all are evenly spaced.
    """
    numbers = [age_of(name, ages or {}) for name in checkpoints]
    counts = [number for number in numbers if number is not None]
    if not counts or None in numbers[:-1]:
        return [float(index) for index in range(len(checkpoints))], False
    smallest = min((count for count in counts if count), default=1)
    places = [1 + math.log10(count / smallest) if count else 0.0 for count in counts]
    if numbers[-1] is None:
        places.append(max(places) + 1)
    return places, True


def evolution(
    tracks: Sequence[Track],
    checkpoints: Sequence[str],
    kind: str,
    unit: Unit,
    ceiling: tuple[float, str] | None,
    counted_in: str = "updates",
    ages: Mapping[str, float] | None = None,
) -> Figure:
    """Draws one kind of number of every layer against the checkpoint: a point with ± one standard error each.

    Args:
        tracks: The layers by depth.
        checkpoints: In training order, two or more.
        kind: Which kind of number.
        unit: What to draw in.
        ceiling: What the number cannot exceed, in nats, and its name; or None.
        counted_in: "updates", "epochs", or "checkpoints" where that is not known.
        ages: Checkpoint -> how many of these, where its name does not say it.
    """
    ages = ages or {}
    labels = [shorten(track.label, 16) for track in tracks]
    figure = canvas(460, _HEIGHT)
    axes = framed(figure, 68, gutter(labels) + 14, _TOP, _BOTTOM)
    places, counted = positions(checkpoints, ages)
    counts = [age_of(name, ages) for name in checkpoints]
    ticks = [shorten(name, 10) if count is None else f"{count:,.10g}" for name, count in zip(checkpoints, counts)]
    labelled = spread(range(len(places)), _TICKS)
    axes.set_xticks([places[index] for index in labelled], [ticks[index] for index in labelled])
    axes.set_xlabel(f"{counted_in} of the network" if counted else "checkpoint", loc="right")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    other = {estimate.unit for track in tracks for estimate in track.estimates if estimate} - {"nats", "bits"}
    axes.set_ylabel(other.pop() if other else f"{unit} per image")
    axes.grid(axis="y")
    values: list[float] = []
    over: dict[str, Any] = {"zorder": 4, "clip_on": False}  # the last checkpoint stands on the axes' edge
    ends: list[tuple[float, float, str, str]] = []
    for track, label in zip(tracks, labels):
        drawn = [
            (at, name, scaled(estimate, unit))
            for at, name, estimate in zip(places, checkpoints, track.estimates)
            if estimate is not None
        ]
        if not drawn:
            continue
        dashed = {name: counted and age_of(name, ages) is None for name in checkpoints}
        _path(axes, [(at, estimate.value, dashed[name]) for at, name, estimate in drawn], track)
        values += [end for _, _, estimate in drawn for end in extent(estimate)]
        bars = [(at, *extent(estimate)) for at, _, estimate in drawn if estimate.stderr is not None]
        for colour, width in ((PAPER, 4.0), (track.colour, 1.6)):
            axes.add_collection(lines([[(at, low), (at, high)] for at, low, high in bars], colour, width, **over))
        _points(axes, drawn, track)
        ends.append((drawn[-1][2].value, drawn[-1][0], label, track.colour))
    if ceiling is not None:
        height = ceiling[0] * per_unit(unit)
        values.append(height)
        axes.axhline(height, color=MUTED, lw=1.2, ls=_DASHES, zorder=2)
        words = f"ceiling {ceiling[1]} = {rounded(height)}"
        axes.annotate(
            words, (0, height), xycoords=("axes fraction", "data"), xytext=(2, 5), textcoords="offset points",
            color=MUTED, fontsize=11, annotation_clip=False,
        )  # fmt: skip
    low, high = min(values, default=0.0), max(values, default=1.0)
    if kind not in ("nce", "cross-entropy"):
        low, high = min(low, 0.0), max(high, 0.0)  # their zero means something
    margin = 0.05 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(places[0] - 0.04 * (places[-1] - places[0]), places[-1])
    beside(axes, ends, _HEIGHT - _TOP - _BOTTOM)
    axes.set_title(name_of(kind), loc="left", fontsize=13, color=INK, pad=10)
    return figure


def _points(axes: Axes, drawn: Sequence[tuple[float, str, Estimate]], track: Track) -> None:
    """Draws the numbers, hollow where a single fit is behind them; those of many checkpoints small and all at once."""
    crowded = len(drawn) > MARKED
    groups = [drawn] if crowded else [[each] for each in drawn]
    for group in groups:
        for single in (False, True):
            own = [(at, estimate.value) for at, _, estimate in group if (estimate.refits == 1) == single]
            if own:
                (mark,) = axes.plot(
                    *zip(*own), "o", ms=3 if crowded else 6, mfc=PAPER if single else track.colour, mec=track.colour,
                    mew=0.8 if crowded else 1.6, zorder=4, clip_on=False,
                )  # fmt: skip
                if not crowded:
                    tip(mark, tooltip(f"{track.label}, checkpoint {group[0][1]}", group[0][2]))


def _path(axes: Axes, points: Sequence[tuple[float, float, bool]], track: Track) -> None:
    """Joins the points, with dashes where the axis does not tell how far apart they are."""
    for wanted, dashes in ((False, "-"), (True, _DASHES)):
        steps = itertools.groupby(itertools.pairwise(points), key=lambda step: step[1][2] == wanted)
        own = [[run[0][0][:2], *(end[:2] for _, end in run)] for good, each in steps if good and (run := list(each))]
        axes.add_collection(lines(own, track.colour, 1.6, linestyles=[dashes], alpha=0.75, zorder=3))
