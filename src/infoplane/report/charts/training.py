"""How a density was trained: its losses against the update."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.report.drawing import Unit, box, per_unit, shortened, tip
from infoplane.report.format import rounded
from infoplane.report.inversion.contents import TrainingCurve
from infoplane.report.theme import INK, MUTED, PAPER, canvas

_KEY = 16  # pixels of a line of the key below the axes


def training(curves: Sequence[TrainingCurve], label: str, colour: str, unit: Unit, *, legend: bool) -> Figure:
    """Draws how the density of one layer was trained, all its refits in one panel, and which weights were kept."""
    fields = ("train", "heldout", "heldout_ema")
    keys = len(curves[0].watched) + sum(len(getattr(curves[0], field)) > 0 for field in fields) if legend else 0
    below = _KEY * -(-keys // 2)  # under the axes, where no line runs
    figure = canvas(330, 236 + below)
    axes = box(figure, 52, 30, 266, 164)
    axes.set_title(shortened(label, 34), loc="left", fontsize=13, color=INK, pad=12)
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
