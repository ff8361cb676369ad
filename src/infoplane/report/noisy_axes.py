"""The epochs' axis, and the lines that stand on it."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.estimate import Estimate
from infoplane.report.drawing import Unit, extent, scaled, tip, tooltip
from infoplane.report.noisy_contents import NoisyContents
from infoplane.report.theme import INK, LINE, MUTED, PAPER, PIXELS_PER_INCH

DASHES, DOTS = (0, (4, 3)), (0, (1.2, 1.6))
_POINTS = 160  # of a dense curve: more cannot be told apart, and would fill the page
_APART = 30  # pixels between the names of marked epochs

#: classes, and other things that have no depth; readable on light and dark, and by colour-blind eyes
HUES = ("#3b86c8", "#e0802a", "#2f9e77", "#c065a8", "#8a7ae0", "#8f959d")


def box(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Returns axes at a place in pixels, from the top left of the figure."""
    across, down = figure.get_size_inches() * PIXELS_PER_INCH
    axes = figure.add_axes((left / across, 1 - (top + height) / down, width / across, height / down))
    axes.patch.set_alpha(0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    return axes


def write(figure: Figure, left: float, top: float, words: str, **look: object) -> None:
    """Writes at a place in pixels, from the top left of the figure."""
    across, down = figure.get_size_inches() * PIXELS_PER_INCH
    figure.text(left / across, 1 - top / down, words, **({"va": "top", "color": INK} | look))  # type: ignore[arg-type]


@dataclasses.dataclass(frozen=True)
class EpochAxis:
    """A symmetric logarithmic axis: epoch 0 stands at 0, epoch e at 1 + log10(e / smallest).

    Attributes:
        smallest: The first epoch after 0.
        last: The last one.
    """

    smallest: int
    last: int

    @classmethod
    def of(cls, contents: NoisyContents) -> "EpochAxis":
        """Returns the axis on which all that was measured of all networks stands."""
        measured = {int(epoch) for network in contents.networks for epoch in network.epochs}
        dense = {int(epoch) for network in contents.networks for epoch in np.asarray(network.history).ravel()}
        later = [epoch for epoch in measured | dense if epoch > 0]
        return cls(min(later, default=1), max(later, default=1))

    def place(self, epoch: float) -> float:
        """Returns where an epoch stands."""
        return 1 + math.log10(epoch / self.smallest) if epoch > 0 else 0.0

    def lay(self, axes: Axes, *, named: bool) -> None:
        """Sets the limits and ticks: 0 and the powers of ten, with names only on the lowest of several axes."""
        powers = [10**power for power in range(12) if self.smallest <= 10**power <= self.last]
        ticks = [0, *(powers if len(powers) > 1 else sorted({self.smallest, self.last}))]
        names = [_power(tick) if named else "" for tick in ticks]
        axes.set_xticks([self.place(tick) for tick in ticks], names)
        axes.set_xlim(-0.2, self.place(self.last) + 0.12)
        if named:
            axes.set_xlabel("epoch", loc="right", labelpad=1)


def _power(count: int) -> str:
    power = round(math.log10(count)) if count else 0
    if count < 100 or count != 10**power:
        return f"{count:,}"
    return "10" + "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(power))


def mark(axes: Axes, axis: EpochAxis, epochs: Iterable[int], *, named: bool) -> None:
    """Draws the marked epochs as faint lines, named where there is room."""
    left, right = axes.get_xlim()
    wide = axes.get_position().width * axes.figure.get_size_inches()[0] * PIXELS_PER_INCH  # type: ignore[union-attr]
    before = -math.inf
    for epoch in epochs:
        at = axis.place(epoch)
        axes.axvline(at, color=LINE, lw=1, zorder=1)
        pixel = (at - left) / (right - left) * wide
        if named and pixel - before >= _APART:
            before = pixel
            axes.annotate(
                f"{epoch:,}", (at, 1), xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
                ha="center", color=MUTED, fontsize=10, annotation_clip=False,
            )  # fmt: skip


def track(
    axes: Axes,
    axis: EpochAxis,
    series: Mapping[int, Estimate],
    colour: str,
    label: str,
    unit: Unit,
    *,
    tips: bool,
    exact: Mapping[int, Estimate] | None = None,
    small: bool = False,
    top: float = math.inf,
) -> tuple[float, float, str, str] | None:
    """Draws one number through training: points with ± one standard error, joined; or over the exact line.

    Errors are cut at 0 and at `top`, which is in `unit`: beyond these no value can lie.

    Returns:
        (height, place, label, colour) of the last point, for its name.
    """
    places = [axis.place(epoch) for epoch in series]
    numbers = [scaled(estimate, unit) for estimate in series.values()]
    values = [number.value for number in numbers]
    over = {"zorder": 4, "clip_on": False}
    line: list[float] = []
    if exact:
        line = [scaled(estimate, unit).value for estimate in exact.values()]
        axes.plot([axis.place(epoch) for epoch in exact], line, color=INK, lw=1.1, zorder=3)
    if not values:
        return (line[-1], axis.place(max(exact)), label, colour) if exact else None
    if not exact:
        axes.plot(places, values, color=colour, lw=1.3, alpha=0.75, zorder=3)
    ends: list[tuple[list[float], list[float]]] = [
        ([at, at, math.nan], [*possible(number, top), math.nan]) for at, number in zip(places, numbers) if number.stderr
    ]
    if ends:
        across, along = (list(itertools.chain.from_iterable(side)) for side in zip(*ends))
        axes.plot(across, along, color=colour, lw=1.4, solid_capstyle="butt", **over)
    look = {"ms": 3.4 if small else 5, "mfc": colour, "mec": PAPER, "mew": 0.6}
    if tips:
        for epoch, at, number in zip(series, places, numbers):
            (point,) = axes.plot([at], [number.value], "o", **look, **over)
            tip(point, tooltip(f"{label}, epoch {epoch:,}", dataclasses.replace(number, refits=0)))
    else:
        axes.plot(places, values, "o", **look, **over)
    return values[-1], places[-1], label, colour


def possible(number: Estimate, top: float) -> list[float]:
    """Returns the ends of a number's error bar, cut at 0 and at `top`."""
    return [min(max(end, 0.0), top) for end in extent(number)]


def thinned(axis: EpochAxis, history: np.ndarray, curve: np.ndarray) -> tuple[list[float], list[float]]:
    """Returns the finite points of a dense curve, so many that no more could be told apart on this axis."""
    history, curve = np.asarray(history).ravel(), np.asarray(curve, dtype=float).ravel()
    known = [at for at in range(min(len(history), len(curve))) if np.isfinite(curve[at])]
    if len(known) > _POINTS:
        places = np.array([axis.place(float(history[at])) for at in known])
        wanted = np.linspace(places[0], places[-1], _POINTS)
        known = [known[at] for at in np.unique(np.searchsorted(places, wanted).clip(max=len(known) - 1))]
    return [axis.place(float(history[at])) for at in known], [float(curve[at]) for at in known]


def margins(values: Sequence[float], *, zero: bool = True) -> tuple[float, float]:
    """Returns limits around values, with zero among them where it means something."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    room = 0.06 * (high - low) or 0.5
    return low - room, high + room
