"""The figures: what each layer keeps, one panel per kind of number, and the training of each density.

Every function returns a `Figure` outside of pyplot's global state. Values come in nats, drawn in either unit.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.measurements import QUANTITIES
from infoplane.report.amounts import MISSING, rounded, with_error
from infoplane.report.contents import Curve
from infoplane.report.drawing import (
    Mark,
    Unit,
    error_bar,
    extent,
    framed,
    gutter,
    limit,
    per_unit,
    point,
    put,
    row_axes,
    scaled,
    shorten,
    tip,
    tooltip,
)
from infoplane.report.theme import GHOST, INK, LINE, MUTED, PAPER, canvas
from infoplane.report.words import name_of

_DASHES = (0, (4, 3))
_KEY = 16  # pixels of a line of the key below a panel


def opening(marks: Sequence[Mark], kind: str, unit: Unit, *, narrow: bool) -> Figure:
    """Draws what each layer keeps, and beside it what the step to it gave up.

    Args:
        marks: The layers by depth.
        kind: "usable" (bars) or "nce" (points: its zero means nothing).
        unit: What to draw in.
        narrow: Whether for a column of a phone's width, where words go above the bars.
    """
    pitch, top = (64, 6) if narrow else (44, 32)
    figure = canvas(360 if narrow else 960, top + 46 + pitch * len(marks))
    columns = 420 if any(mark.step for mark in marks) else 160
    left, right = (4, 6) if narrow else (gutter([mark.label for mark in marks]), columns)
    axes = framed(figure, left, right, top, 46)
    name = name_of(kind)
    row_axes(axes, len(marks), f"{name} ({unit} per image)")
    drop, thick = (0.17, 0.36) if narrow else (0.0, 0.52)
    values: list[float] = []
    above: float | None = None
    for row, mark in enumerate(marks):
        if mark.estimate is None:
            continue
        estimate = scaled(mark.estimate, unit)
        values += extent(estimate)
        if kind == "usable":
            start = max(estimate.value, 0.0)
            if mark.step is not None and mark.step.verdict == "falls" and above is not None and above > start:
                # What was given up on the way here.
                axes.barh(row + drop, above - start, thick, left=start, color=GHOST)
            bars = axes.barh(row + drop, estimate.value, thick, color=mark.colour)
            tip(bars.patches[0], tooltip(mark.label, estimate))
        else:
            point(axes, estimate, row + drop, mark.colour, mark.label)
        error_bar(axes, estimate, row + drop)
        above = estimate.value
    limit(axes, values, from_zero=kind == "usable")
    if kind == "usable":
        axes.axvline(0, color=MUTED, lw=1, zorder=3)
    (_words_above if narrow else _words_beside)(axes, marks, unit)
    return figure


def _words_beside(axes: Axes, marks: Sequence[Mark], unit: Unit) -> None:
    put(axes, "right", 142, -0.78, f"{unit} ± s.e.", ha="right", color=MUTED, fontsize=11)
    if any(mark.step for mark in marks):
        put(axes, "right", 172, -0.78, "change from the layer above", ha="left", color=MUTED, fontsize=11)
    for row, mark in enumerate(marks):
        claimed = mark.step is not None and mark.step.verdict in ("falls", "rises")
        put(axes, "left", -gutter([mark.label for mark in marks]), row, shorten(mark.label), color=INK, fontsize=13)
        put(axes, "right", 142, row, _number(mark, unit), ha="right", color=INK, fontsize=13)
        put(axes, "right", 172, row, _step(mark, unit), ha="left", color=INK if claimed else MUTED, fontsize=13)


def _words_above(axes: Axes, marks: Sequence[Mark], unit: Unit) -> None:
    for row, mark in enumerate(marks):
        put(axes, "left", 0, row - 0.2, shorten(mark.label, 20), color=INK, fontsize=13, fontweight="bold")
        put(axes, "right", 0, row - 0.2, _number(mark, unit), ha="right", color=INK, fontsize=13)
        if mark.step is not None:
            put(axes, "right", 0, row - 0.46, f"↓ {_step(mark, unit)}", ha="right", color=MUTED, fontsize=11)


def _number(mark: Mark, unit: Unit) -> str:
    if mark.estimate is None:
        return MISSING
    estimate = scaled(mark.estimate, unit)
    return with_error(estimate.value, estimate.stderr)


def _step(mark: Mark, unit: Unit) -> str:
    """What the step to a layer did, as far as it may be claimed."""
    step = mark.step
    if step is None:
        return ""
    if step.one_density:
        return "read with one density"
    value = -step.value * per_unit(unit)  # as a change, so that a loss carries a minus
    size = with_error(abs(value), None if step.stderr is None else step.stderr * per_unit(unit))
    change = f"{'−' if value < 0 else '+'}{size}"
    since = f" from {shorten(mark.since, 14)}" if mark.since else ""
    if step.verdict == "not told apart":
        return f"not told apart{since} ({change})"
    return f"{change}{since}" + ("" if step.verdict in ("falls", "rises") else " (no claim)")


def panel(marks: Sequence[Mark], kind: str, unit: Unit, ceiling: tuple[float, str] | None) -> Figure:
    """Draws one kind of information for every layer: a point, its standard error, and the single fits behind it.

    Args:
        marks: The layers by depth.
        kind: Which kind of number.
        unit: What to draw in.
        ceiling: What the number cannot exceed, in nats, and its name; or None.
    """
    top = 26 if ceiling else 8
    figure = canvas(400, top + 46 + 34 * max(len(marks), 2))
    labels = [shorten(mark.label, 20) for mark in marks]
    axes = framed(figure, gutter(labels), 18, top, 46)
    row_axes(axes, max(len(marks), 2), f"{name_of(kind)} ({unit} per image)")
    values: list[float] = []
    for row, mark in enumerate(marks):
        put(axes, "left", -12, row, labels[row], ha="right", color=INK, fontsize=12)
        if mark.estimate is None:
            put(axes, "left", 6, row, MISSING, ha="left", color=MUTED)
            continue
        axes.axhline(row, color=LINE, lw=0.8, zorder=1)
        estimate = scaled(mark.estimate, unit)
        singles = [value * per_unit(unit) for value in mark.fits]
        values += extent(estimate) + singles
        if len(singles) > 1:
            # Below the line, where neither the point nor its error hides them.
            axes.plot(singles, [row + 0.3] * len(singles), "|", ms=6, mew=1.4, color=mark.colour)
        error_bar(axes, estimate, row, capped=True)
        point(axes, estimate, row, mark.colour, mark.label)
    if ceiling is not None:
        height = ceiling[0] * per_unit(unit)
        values.append(height)
        axes.axvline(height, color=MUTED, lw=1.2, ls=_DASHES, zorder=2)
        axes.annotate(
            f"ceiling {ceiling[1]} = {rounded(height)}", (height, 1), xycoords=("data", "axes fraction"),
            xytext=(8, 6), textcoords="offset points", ha="right", color=MUTED, fontsize=11, annotation_clip=False,
        )  # fmt: skip
    limit(axes, values, from_zero=kind not in ("nce", "cross-entropy"))
    return figure


def ceiling_of(kind: str, candidates: int | None, classes: int | None) -> tuple[float, str] | None:
    """Returns what a kind of number cannot exceed, in nats, and its name."""
    of = QUANTITIES[kind].ceiling if kind in QUANTITIES else None
    count = {"candidates": candidates, "classes": classes}[of] if of else None
    return (math.log(count), f"log {count}") if count else None


def training(curves: Sequence[Curve], label: str, colour: str, unit: Unit, *, legend: bool) -> Figure:
    """Draws how the density of one layer was trained, all its refits in one panel, and which weights were kept."""
    fields = ("train", "heldout", "heldout_ema")
    keys = len(curves[0].watched) + sum(len(getattr(curves[0], field)) > 0 for field in fields) if legend else 0
    below = _KEY * -(-keys // 2)  # under the axes, where no line runs
    figure = canvas(330, 236 + below)
    axes = framed(figure, 52, 12, 30, 42 + below)
    axes.set_title(shorten(label, 34), loc="left", fontsize=13, color=INK, pad=12)
    axes.grid(axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_xlabel("updates")
    axes.set_ylabel(f"loss ({unit} per image)")
    looks = {
        "train": ("training", {"color": MUTED, "lw": 1.0, "ls": (0, (1.2, 1.6))}),
        "heldout": ("held-out", {"color": colour, "lw": 1.0, "alpha": 0.6}),
        "heldout_ema": ("held-out, averaged", {"color": colour, "lw": 2.0}),
    }
    # What was followed beside, in the order in which it comes.
    dashes: dict[str, str] = dict(zip(("encoding", "decoding", "evaluation"), ("-.", "--", ":")))
    shown: list[float] = []
    for index, curve in enumerate(curves):
        for name, values in curve.watched.items():
            updates, losses = _thinned(*_finite(curve.updates, values, per_unit(unit)))
            look = {"color": INK, "lw": 1.2, "ls": dashes.get(name, ":"), "alpha": 0.8}
            axes.plot(updates, losses, label=f"{name} images" if index == 0 else "_", **look)
            shown += list(losses[len(losses) // 10 :])
        for field, (name, look) in looks.items():
            updates, losses = _thinned(*_finite(curve.updates, getattr(curve, field), per_unit(unit)))
            if len(losses):
                axes.plot(updates, losses, label=name if index == 0 else "_", **look)
                # The first losses are those of an untrained density and would flatten all the rest.
                shown += list(losses[len(losses) // 10 :])
        averaged = curve.best == "ema" and len(curve.heldout_ema) > 0
        kept = curve.heldout_ema if averaged else curve.heldout
        updates, losses = _finite(curve.updates, kept, per_unit(unit))
        if len(losses):
            at = int(np.argmin(np.abs(updates - curve.best_update)))
            (dot,) = axes.plot([updates[at]], [losses[at]], "o", ms=7, mfc=colour, mec=PAPER, mew=1.4, zorder=5)
            tip(dot, f"refit {curve.refit}: weights after {updates[at]:,} updates, {rounded(losses[at])} {unit}")
    if shown:
        low, high = min(shown), max(shown)
        margin = 0.06 * (high - low) or 1.0
        axes.set_ylim(low - margin, high + margin)
        axes.set_xlim(0, max(float(curve.updates[-1]) for curve in curves if len(curve.updates)) * 1.02)
        if legend:
            axes.legend(
                loc="lower left", bbox_to_anchor=(0.02, 0), bbox_transform=figure.transFigure, ncols=2, borderaxespad=0,
                borderpad=0, labelspacing=0.3, frameon=False, fontsize=11, labelcolor=MUTED, handlelength=1.8,
            )  # fmt: skip
    return figure


def _finite(updates: np.ndarray, losses: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    losses = np.asarray(losses, dtype=float) * factor
    if not len(losses):
        return losses, losses
    known = np.isfinite(losses)
    return np.asarray(updates)[known], losses[known]


def _thinned(updates: np.ndarray, losses: np.ndarray, points: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """At most `points` of the losses: more cannot be told apart at this size, and would fill the page."""
    chosen = np.unique(np.linspace(0, len(losses) - 1, points).astype(int)) if len(losses) > points else slice(None)
    return updates[chosen], losses[chosen]
