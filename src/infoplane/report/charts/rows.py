"""What each layer keeps, a row for each: the opening figure, and a panel per kind of number."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.measurements import QUANTITIES
from infoplane.report.drawing import (
    DASHES,
    Mark,
    Unit,
    box,
    error_bar,
    extent,
    gutter,
    limit,
    note,
    per_unit,
    point,
    put,
    row_axes,
    scaled,
    shortened,
    tip,
    tooltip,
)
from infoplane.report.format import MISSING, rounded, with_error
from infoplane.report.theme import GHOST, INK, LINE, MUTED, canvas
from infoplane.report.words import quantity_name


def opening_rows(marks: Sequence[Mark], kind: str, unit: Unit, *, narrow: bool) -> Figure:
    """Draws what each layer keeps, and beside it what the step to it gave up.

    Args:
        marks: The layers by depth.
        kind: "usable" (bars) or "nce" (points: its zero means nothing).
        unit: What to draw in.
        narrow: Whether for a column of a phone's width, where words go above the bars.
    """
    pitch, top = (64, 6) if narrow else (44, 32)
    width, height = 360 if narrow else 960, pitch * len(marks)
    figure = canvas(width, top + height + 46)
    columns = 420 if any(mark.step for mark in marks) else 160
    left, right = (4, 6) if narrow else (gutter([mark.label for mark in marks]), columns)
    axes = box(figure, left, top, width - left - right, height)
    name = quantity_name(kind)
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
        put(axes, "left", -gutter([mark.label for mark in marks]), row, shortened(mark.label), color=INK, fontsize=13)
        put(axes, "right", 142, row, _number(mark, unit), ha="right", color=INK, fontsize=13)
        put(axes, "right", 172, row, _step(mark, unit), ha="left", color=INK if claimed else MUTED, fontsize=13)


def _words_above(axes: Axes, marks: Sequence[Mark], unit: Unit) -> None:
    for row, mark in enumerate(marks):
        put(axes, "left", 0, row - 0.2, shortened(mark.label, 20), color=INK, fontsize=13, fontweight="bold")
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
    since = f" from {shortened(mark.since, 14)}" if mark.since else ""
    if step.verdict == "not told apart":
        return f"not told apart{since} ({change})"
    return f"{change}{since}" + ("" if step.verdict in ("falls", "rises") else " (no claim)")


def panel(marks: Sequence[Mark], kind: str, unit: Unit, ceiling: tuple[float, str] | None = None) -> Figure:
    """Draws one kind of information for every layer: a point, its standard error, and the single fits behind it.

    Args:
        marks: The layers by depth.
        kind: Which kind of number.
        unit: What to draw information in.
        ceiling: What the number cannot exceed, in nats, and its name; or None.
    """
    top = 26 if ceiling else 8
    height = 34 * max(len(marks), 2)
    figure = canvas(400, top + height + 46)
    labels = [shortened(mark.label, 20) for mark in marks]
    left = gutter(labels)
    axes = box(figure, left, top, 382 - left, height)
    units = {mark.estimate.unit for mark in marks if mark.estimate is not None} - {"nats", "bits"}
    measured = next(iter(units), f"{unit} per image" if kind in QUANTITIES else unit)
    row_axes(axes, max(len(marks), 2), f"{quantity_name(kind)} ({measured})")
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
        axes.axvline(height, color=MUTED, lw=1.2, ls=DASHES, zorder=2)
        words, of = f"ceiling {ceiling[1]} = {rounded(height)}", ("data", "axes fraction")
        note(axes, words, (height, 1), (8, 6), xycoords=of, ha="right", color=MUTED, fontsize=11)
    limit(axes, values, from_zero=kind not in ("nce", "cross-entropy"))
    return figure
