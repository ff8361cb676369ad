"""The figures of noisy networks through training: information, clustering, loss, weights, and the sweep over w.

Every function returns a `Figure` outside of pyplot's global state. Values come in nats, drawn in either unit.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from infoplane.estimate import Estimate
from infoplane.report.amounts import rounded, with_error
from infoplane.report.drawing import Unit, beside, gutter, per_unit, scaled, shorten, tip
from infoplane.report.noisy_axes import (
    DASHES,
    DOTS,
    HUES,
    EpochAxis,
    box,
    margins,
    mark,
    possible,
    thinned,
    track,
    write,
)
from infoplane.report.noisy_contents import NetworkThroughTraining, NoisyContents, Sweep
from infoplane.report.noisy_numbers import NoisyNumbers, ceiling_name, plain, titled
from infoplane.report.theme import INK, MUTED, PAPER, Palette, canvas

_WIDE, _NARROW = 960, 360  # pixels
_TITLE = 26  # of a network
_ABOVE = 38  # a panel's own title, and the names of marked epochs
_UNDER = 34  # names of ticks, and of the axis
_NAME = 12  # letters of a name beside a line
_ACROSS = 3  # networks side by side at most


def hero(contents: NoisyContents, numbers: NoisyNumbers, palette: Palette, unit: Unit, *, narrow: bool) -> Figure:
    """Draws every network as a column: I(X;T) of its layers against the epoch, below it H(Bin(T)) and its losses.

    Args:
        contents: What to show.
        numbers: Its rows.
        palette: Colours of the layers.
        unit: What to draw in.
        narrow: Whether for a column of a phone's width, where networks stand one below the other.
    """
    networks, axis = contents.networks, EpochAxis.of(contents)
    across = 1 if narrow else max(1, min(len(networks), _ACROSS))
    lines = -(-len(networks) // across)
    panels = [("flow", 250.0)] * (numbers.has("flow") or numbers.has("information"))
    panels += [("binned-entropy", 120.0 if panels else 250.0)] * numbers.has("binned-entropy")
    panels += [("loss", 96.0)] * any(_losses(network) for network in networks)
    block = _TITLE * _named(contents) + sum(_ABOVE + height for _, height in panels) + _UNDER + 24
    width = _NARROW if narrow else _WIDE
    figure = canvas(width, lines * block - 16)
    each = width / across
    limits = {kind: _limits(kind, contents, numbers, unit) for kind, _ in panels}
    for index, network in enumerate(networks):
        left, top = each * (index % across), block * (index // across)
        right = gutter(_short([*network.layers, "train"]))
        if _named(contents):
            write(figure, left, top, shorten(titled(network), int((each - 10) / 9.2)), fontsize=14, fontweight="bold")
            top += _TITLE
        for kind, height in panels:
            axes = box(figure, left + 34, top + _ABOVE, each - 34 - right - 10, height)
            last = kind == panels[-1][0]
            axis.lay(axes, named=last)
            axes.set_ylim(*limits[kind])
            mark(axes, axis, [snapshot.epoch for snapshot in network.snapshots], named=kind == panels[0][0])
            _panel(axes, kind, network, contents, numbers, palette, unit, axis, tips=not narrow, pixels=height)
            # Close to its own panel; the names of marked epochs come between above the first one only.
            write(figure, left, top + (4 if kind == panels[0][0] else 16), _name(kind, network, numbers, unit))
            top += _ABOVE + height
    return figure


def _named(contents: NoisyContents) -> bool:
    """Whether networks need a name above them."""
    return len(contents.networks) > 1 or any(network.name for network in contents.networks)


def _name(kind: str, network: NetworkThroughTraining, numbers: NoisyNumbers, unit: Unit) -> str:
    sizes = numbers.bins(network.name)
    bins = f", bins of {plain(sizes[0])}" if sizes else ""
    return {"flow": f"I(X;T) [{unit}]", "binned-entropy": f"H(Bin(T)) [{unit}]{bins}", "loss": "loss"}[kind]


def _losses(network: NetworkThroughTraining) -> dict[str, np.ndarray]:
    return {name.removesuffix(" loss"): curve for name, curve in network.curves.items() if name.endswith(" loss")}


def _limits(kind: str, contents: NoisyContents, numbers: NoisyNumbers, unit: Unit) -> tuple[float, float]:
    """The same for every network, so that heights can be compared."""
    values, top = [], _top(contents, unit)
    for network in contents.networks:
        if kind == "loss":
            values += [float(value) for curve in _losses(network).values() for value in np.asarray(curve).ravel()]
            continue
        for layer in network.layers:
            for series in _drawn(kind, network, layer, numbers):
                for number in (scaled(estimate, unit) for estimate in series.values()):
                    values += [number.value, *possible(number, top)]
    if contents.ceiling is not None and kind != "loss":
        values.append(top)
    return margins(values)


def _top(contents: NoisyContents, unit: Unit) -> float:
    """What no layer can exceed."""
    return math.inf if contents.ceiling is None else contents.ceiling[0] * per_unit(unit)


def _drawn(
    kind: str, network: NetworkThroughTraining, layer: str, numbers: NoisyNumbers
) -> list[Mapping[int, Estimate]]:
    """The numbers of a layer in a panel, and under them those by quadrature."""
    if kind == "binned-entropy":
        sizes = numbers.bins(network.name)
        return [numbers.series(network.name, layer, kind, sizes[0])] if sizes else []
    return [numbers.series(network.name, layer, "flow"), numbers.series(network.name, layer, "information")]


def _panel(
    axes: Axes,
    kind: str,
    network: NetworkThroughTraining,
    contents: NoisyContents,
    numbers: NoisyNumbers,
    palette: Palette,
    unit: Unit,
    axis: EpochAxis,
    *,
    tips: bool,
    pixels: float,
) -> None:
    axes.grid(axis="y")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6 if pixels > 200 else 3, steps=[1, 2, 5, 10]))
    if kind == "loss":
        _loss(axes, network, axis, pixels)
        return
    ends = []
    for layer in network.layers:
        drawn = _drawn(kind, network, layer, numbers)
        if drawn:
            end = track(
                axes,
                axis,
                drawn[0],
                palette[layer],
                layer,
                unit,
                tips=tips,
                exact=dict(*drawn[1:]),
                small=pixels < 200 or not tips,
                top=_top(contents, unit),
            )
            ends += [end] if end else []
    if contents.ceiling is not None:
        ceiling(axes, contents.ceiling, unit, named=pixels > 200)
    if kind == "flow" and not ends:
        words = "no noise: I(X;T) is constant\nor infinite, and not shown" if network.beta is None else "no numbers yet"
        axes.text(0.5, 0.5, words, transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=12)
    beside(axes, [(at, place, shorten(name, _NAME), hue) for at, place, name, hue in ends], pixels)


def _loss(axes: Axes, network: NetworkThroughTraining, axis: EpochAxis, pixels: float) -> None:
    looks = {"train": {"color": MUTED, "lw": 1.3, "ls": DOTS}, "test": {"color": INK, "lw": 1.3}}
    ends = []
    for name, curve in _losses(network).items():
        places, values = thinned(axis, network.history, curve)
        if places:
            axes.plot(places, values, **looks.get(name, looks["train"]))
            ends.append((values[-1], places[-1], shorten(name, _NAME), MUTED))
    beside(axes, ends, pixels)


def _short(names: Sequence[str]) -> list[str]:
    """Names as they stand beside lines."""
    return [shorten(name, _NAME) for name in names]


def ceiling(axes: Axes, limit: tuple[float, str], unit: Unit, *, named: bool) -> None:
    """Draws what no layer can exceed."""
    height, name = limit[0] * per_unit(unit), ceiling_name(limit, unit)
    axes.axhline(height, color=MUTED, lw=1.2, ls=DASHES, zorder=2)
    if not named:
        return
    # To the right of the line of epoch 0, and on paper where another epoch's line would cross it.
    axes.annotate(
        f"{name} = {rounded(height)}", (0, height), xytext=(5, 3), textcoords="offset points", color=MUTED, fontsize=10,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none"}, zorder=1.5, annotation_clip=False,
    )  # fmt: skip


def binned(
    network: NetworkThroughTraining, contents: NoisyContents, numbers: NoisyNumbers, palette: Palette, unit: Unit,
    *, narrow: bool, losses: bool,
) -> Figure:  # fmt: skip
    """Draws H(Bin(T)) of one network's layers against the epoch, one panel per bin size, all to one scale.

    With `losses` its losses have the last panel.
    """
    axis, sizes = EpochAxis.of(contents), sorted(numbers.bins(network.name))
    cells: list[float | None] = [*sizes, *[None] * (losses and bool(_losses(network)))]
    across = 1 if narrow else min(2, len(cells))
    width, tall = (_NARROW if narrow else _WIDE), 190.0
    each, block = width / across, tall + _ABOVE + _UNDER + 10
    figure = canvas(width, block * -(-len(cells) // across))
    series = {
        (size, layer): numbers.series(network.name, layer, "binned-entropy", size)
        for size in sizes
        for layer in network.layers
    }
    values = [scaled(estimate, unit).value for found in series.values() for estimate in found.values()]
    top = contents.ceiling[0] * per_unit(unit) if contents.ceiling else 0.0
    right = gutter(_short([*network.layers, "train"]))
    for index, size in enumerate(cells):
        left, above = each * (index % across), block * (index // across)
        axes = box(figure, left + 34, above + _ABOVE, each - 44 - right, tall)
        axis.lay(axes, named=True)
        axes.grid(axis="y")
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 5, 10]))
        mark(axes, axis, [snapshot.epoch for snapshot in network.snapshots], named=False)
        write(figure, left, above + 14, "loss" if size is None else f"H(Bin(T)) [{unit}], bins of {plain(size)}")
        if size is None:
            axes.set_ylim(*_limits("loss", contents, numbers, unit))
            _loss(axes, network, axis, tall)
            continue
        axes.set_ylim(*margins([*values, top]))
        ends = [
            track(axes, axis, series[size, layer], palette[layer], layer, unit, tips=not narrow, small=True)
            for layer in network.layers
        ]
        if contents.ceiling is not None:
            ceiling(axes, contents.ceiling, unit, named=True)
        beside(axes, [(at, place, shorten(name, _NAME), hue) for at, place, name, hue in filter(None, ends)], tall)
    return figure


def weights(network: NetworkThroughTraining, contents: NoisyContents, palette: Palette) -> Figure:
    """Draws the weights of single units through training."""
    axis = EpochAxis.of(contents)
    figure = canvas(460, 280)
    names = {name: name.removeprefix("layer ") if len(name) > 16 else name for name in network.weights}
    right = gutter([shorten(name, 16) for name in names.values()])
    axes = box(figure, 40, 16, 460 - 50 - right, 216)
    axis.lay(axes, named=True)
    axes.grid(axis="y")
    curves = {name: thinned(axis, network.history, curve) for name, curve in network.weights.items()}
    axes.set_ylim(*margins([value for _, values in curves.values() for value in values]))
    axes.axhline(0, color=MUTED, lw=1)
    mark(axes, axis, [snapshot.epoch for snapshot in network.snapshots], named=False)
    ends = []
    for name, (places, values) in curves.items():
        layer = next((layer for layer in network.layers if name.startswith(layer)), "")
        dashes = DASHES if "bias" in name else "-"
        if places:
            axes.plot(places, values, color=palette[layer], lw=1.6, ls=dashes)
            ends.append((values[-1], places[-1], shorten(names[name], 16), palette[layer]))
    beside(axes, ends, 216)
    return figure


def sweep(found: Sweep, unit: Unit, limit: float = math.inf) -> Figure:
    """Draws I(X;T) of a single tanh unit against its weight: exact lines, and points with ± one standard error.

    Errors are cut at 0 and at `limit`, nats, which I(X;T) cannot exceed.
    """
    figure = canvas(460, 280)
    labels = [f"β = {plain(beta)}" for beta in found.betas]
    axes = box(figure, 40, 24, 460 - 50 - gutter(labels), 208)
    swept = np.log10(np.asarray(found.weights, dtype=float))
    exact, value, error = (np.asarray(each) * per_unit(unit) for each in (found.exact, found.value, found.stderr))
    powers = range(int(np.ceil(swept[0] - 1e-9)), int(np.floor(swept[-1] + 1e-9)) + 1)
    ticks = [float(power) for power in powers]
    axes.set_xticks(ticks, [plain(10.0**power) for power in powers])
    axes.set_xlim(swept[0] - 0.03 * np.ptp(swept), swept[-1] + 0.03 * np.ptp(swept))
    axes.set_xlabel("weight w", loc="right", labelpad=1)
    ends = np.stack([value - error, value + error]).clip(0.0, limit * per_unit(unit))
    axes.set_ylim(*margins([*exact.ravel(), *value.ravel(), *ends.ravel()]))
    axes.grid(axis="y")
    names = []
    for index, label in enumerate(labels):
        hue = HUES[index % len(HUES)]
        axes.plot(swept, exact[index], color=hue, lw=1.5, zorder=3)
        bars = ends[:, index].T
        for at, weight, measured, spread, bar in zip(swept, found.weights, value[index], error[index], bars):
            if not np.isfinite(measured):
                continue
            axes.plot([at, at], bar, color=hue, lw=1.4, zorder=4)
            (point,) = axes.plot([at], [measured], "o", ms=4, mfc=hue, mec="none", zorder=5)
            tip(point, f"w = {weight:.3g}, {label}: {with_error(float(measured), float(spread))} {unit}")
        finite = exact[index][np.isfinite(exact[index])]
        names += [(float(finite[-1]), float(swept[-1]), label, hue)] if len(finite) else []
    beside(axes, names, 208)
    write(figure, 0, 2, f"I(X;T) [{unit}]")
    return figure
