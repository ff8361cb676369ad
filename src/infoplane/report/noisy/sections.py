"""The page of a study of noisy networks: its figures and sections."""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.estimate import Estimate
from infoplane.measurements import NOISY_QUANTITIES
from infoplane.report.charts import distributions, rows
from infoplane.report.charts.tracks import DASHES, DOTS, Column, Line, Panel, Track, TrainingAxis, tracks
from infoplane.report.drawer import Drawer
from infoplane.report.drawing import Drawings, Drawn, Mark, Unit, slug
from infoplane.report.format import setting_text
from infoplane.report.noisy.contents import NetworkThroughTraining, NoisyContents
from infoplane.report.noisy.opening import noisy_opening
from infoplane.report.noisy.tables import network_tables
from infoplane.report.page import Figures, Meanings, Page, Section, Text, publish
from infoplane.report.theme import HUES, INK, MUTED, Palette, style

ERRORS = (
    "± is one standard error of the estimate for this one trained network: the points at which densities were "
    "evaluated, the inputs that were drawn, the samples that were propagated, and what their finite number may still "
    "hide after its first order is removed, which no repetition averages away: for that the number is enclosed by "
    "bounds that hold whatever the number of samples is (lower and upper in results.csv, with two errors by chance on "
    "either side), and the distance to the farther one is taken over √3. It says nothing about retraining: another "
    "seed gives another network, with other numbers."
)
#: files with tables that a run's folder may hold, and what they are called
TABLES = {
    "results": "All numbers, of every epoch",
    "differences": "What each layer lost from its peak to the end",
    "truths": "Estimates beside I(X;T) by quadrature",
    "history": "Losses and accuracies through training",
}
KNOWN = (
    "Against quadrature",
    "Layers this narrow allow I(X;T) to be had by numerical integration too, which has no sampling error, so the "
    "estimates can be held against it.",
)
_WIDE, _NARROW = 960, 360  # pixels
_ACROSS = 3  # networks side by side at most


def write_noisy(contents: NoisyContents, folder: Path) -> Path:
    """Returns the path of the page, having written it and its figures; see `infoplane.report.write`."""
    return publish(contents, folder, _page, TABLES)


def _page(contents: NoisyContents, drawer: Drawer, files: Text) -> Page:
    layout = _Layout(contents, drawer)
    clouds, *others = layout.activations()
    sections = [clouds, layout.bins(), layout.others(), *others, layout.units(), layout.table(files), layout.meanings()]
    return Page(noisy_opening(contents), layout.hero(), [each for each in sections if each], layout.palette, KNOWN)


class _Layout:
    """Draws the figures of one page, and puts them into sections; one without anything to show is None."""

    def __init__(self, contents: NoisyContents, drawer: Drawer) -> None:
        self.contents, self.numbers = contents, contents.numbers
        self.palette = Palette(contents.layers)
        self.drawings = Drawings(self.palette, drawer)
        measured = {int(epoch) for network in contents.networks for epoch in network.epochs}
        dense = np.concatenate([np.zeros(0), *(np.ravel(network.history) for network in contents.networks)])
        self.axis = TrainingAxis([str(epoch) for epoch in sorted(measured)], "epoch", history=dense, each="epoch")
        self.noisy = any(network.beta is not None for network in contents.networks)

    def _screens(self, key: str, label: str, columns: Sequence[Column], across: int) -> Markup:
        def draw(unit: Unit, narrow: bool) -> Figure:
            wide = {"width": _NARROW, "across": 1} if narrow else {"width": _WIDE, "across": across}
            return tracks(columns, self.axis, unit, tips=not narrow, **wide)

        return self.drawings.screens(key, label, draw)

    def hero(self) -> Drawn | None:
        """Every network as a column: I(X;T) of its layers against the epoch, below it H(Bin(T)) and its losses."""
        contents, known = self.contents, self.contents.has("binned-entropy")
        sampled, exact = contents.has("flow"), contents.has("information")
        if not (sampled or exact or known):
            return None
        named = any(network.name for network in contents.networks)
        columns = [Column(each.title if named else "", self._panels(each)) for each in contents.networks]
        said = {
            "I(X;T) of each layer through training; lines through points are ± one standard error, and where none "
            "shows it is smaller than the point. They are cut where no value could lie: at 0, and at the "
            "dashes.": sampled,
            "The thin dark line is I(X;T) by quadrature, which has no sampling error.": exact,
            f"{'Below it, ' if sampled else ''}H(Bin(T)): how far activations cluster at the scale of a bin"
            f"{', in one pass of every input with its noise' if sampled else ''}.": known,
            "Upright lines are the epochs of which this page has pictures.": any(
                network.marked for network in contents.networks
            ),
        }
        label = f"{'I(X;T) and ' if sampled else ''}clustering of each layer against the epoch"
        svg = self._screens("opening", label, columns, max(1, min(len(columns), _ACROSS)))
        return Drawn("opening", label, svg, caption=Markup(" ".join(words for words, holds in said.items() if holds)))

    def _panels(self, network: NetworkThroughTraining) -> list[Panel]:
        """The panels of a network, of the same kinds for each, so that they stand side by side."""
        contents, sizes = self.contents, self.contents.bins(network.name)
        marked = network.marked
        panels = []
        if contents.has("flow") or contents.has("information"):
            silent = "no noise: I(X;T) is constant\nor infinite, and not shown"
            note = silent if network.beta is None else "no numbers yet"
            own = [track for kind in ("information", "flow") for track in self._tracks(network, kind)]
            look = {"ceiling": contents.ceiling, "cut": True, "marked": marked, "named": True, "note": note}
            panels.append(Panel("I(X;T) [{unit}]", own, height=250, scale="I", **look))
        if contents.has("binned-entropy"):
            # Fine bins tell all inputs apart: where nothing else is shown, the coarsest say most.
            size = (sizes[0] if panels else max(sizes)) if sizes else None
            panels.append(self._binned(network, size, 120 if panels else 250))
        losses = [
            Line(name, hue, network.history, network.curves[f"{name} loss"], dashes)
            for name, hue, dashes in (("train", MUTED, DOTS), ("test", INK, "-"))
            if f"{name} loss" in network.curves
        ]
        if any(name.endswith(" loss") for each in contents.networks for name in each.curves):
            panels.append(Panel("loss", losses, height=96, marked=marked, scale="loss"))
        return panels

    def _tracks(self, network: NetworkThroughTraining, kind: str, size: float | None = None) -> list[Track]:
        thin = kind == "information"
        found = []
        for layer in network.layers:
            series = self.numbers.series(layer, kind, network=network.name, setting=size)
            alone = not self.numbers.series(layer, "flow", network=network.name)
            name = layer if alone or not thin else ""
            found += [Track(name, INK if thin else self.palette[layer], series, thin)] if series else []
        return found

    def _binned(self, network: NetworkThroughTraining, size: float | None, height: float) -> Panel:
        title = "H(Bin(T)) [{unit}]" + ("" if size is None else f", bins of {setting_text(size)}")
        found = [] if size is None else self._tracks(network, "binned-entropy", size)
        return Panel(title, found, "", height, self.contents.ceiling, marked=network.marked, scale="H")

    def bins(self) -> Section | None:
        """H(Bin(T)) for every bin size, of networks of which the opening figure shows one only."""
        drawn = []
        for network in self.contents.networks:
            sizes = self.contents.bins(network.name)
            if len(sizes) > 1:
                columns = [Column("", [self._binned(network, size, 190)]) for size in sorted(sizes)]
                key = self._key("bins", network)
                svg = self._screens(key, "H(Bin(T)) of each layer against the epoch, for each bin size", columns, 2)
                drawn.append(Drawn(key, self._title(network), svg))
        words = (
            "The same activations, cut into ever coarser bins, all to one scale. The smaller the bins, the more of "
            "them hold a single input, until H(Bin(T)) is the entropy of the inputs and says nothing about the network."
        )
        return _section("bins", "What the bins make of it", words, drawn, "single")

    def others(self) -> Section | None:
        """What else is measured of layers, through training and at its end, in the charts that it names."""
        drawn = []
        pairs = itertools.product(NOISY_QUANTITIES.items(), self.contents.networks)
        every = [(*pair, size) for pair in pairs for size in self.numbers.settings(pair[0][0], pair[1].name)]
        for (kind, each), network, size in every:
            found = self._tracks(network, kind, size)
            columns = [Column("", [Panel(each.name, found, "{unit}" if each.unit == "nats" else each.unit)])]
            last = {track.label: track.estimates.get(str(network.epochs[-1])) for track in found}
            marks = [Mark(layer, self.palette[layer], last.get(layer)) for layer in network.layers]
            taken = "" if size is None else setting_text(size)
            title, key = f"{self._title(network)} {each.setting} {taken}".strip(), self._key(kind, network)
            for chart, label, draw in (
                ("tracks", f"{each.name} of each layer against the epoch", partial(tracks, columns, self.axis)),
                ("rows", f"{each.name} of each layer at the end", partial(rows.panel, marks, kind)),
            ):
                if chart in each.charts:
                    name = "through-" * (chart == "tracks") + key + f"-{slug(taken)}" * bool(taken)
                    svg = self.drawings.views(name, label, draw, information=each.unit == "nats")
                    drawn.append(Drawn(name, title, svg))
        words = "Each layer against the epoch, or at the end of training; lines at points are ± one standard error."
        return _section("others", "What else was measured", words, drawn, "single")

    def _title(self, network: NetworkThroughTraining) -> str:
        return network.title if len(self.contents.networks) > 1 else ""

    def _key(self, what: str, network: NetworkThroughTraining) -> str:
        place = [each.name for each in self.contents.networks].index(network.name) + 1
        return f"{what}-{place}-{slug(network.name)}" if len(self.contents.networks) > 1 else what

    def _each(self, what: str, label: str, draw: Callable[[NetworkThroughTraining], Figure | None]) -> list[Drawn]:
        """One figure of every network that has something to show."""
        drawn = []
        for network in self.contents.networks:
            key = self._key(what, network)
            with style():
                figure = draw(network)
            if figure is not None:
                drawn.append(Drawn(key, self._title(network), self.drawings.shown(key, label, figure)))
        return drawn

    def activations(self) -> list[Section | None]:
        """Layers of two or three units as points, how often units take which values, how far activations lie apart."""
        networks = self.contents.networks
        points, highest = distributions.drawn_of(networks), max(map(distributions.most, networks), default=0.0)
        label = "Activations at the marked epochs, coloured by class"
        clouds = self._each("clouds", label, lambda network: distributions.clouds(network, points))
        label = "Histograms of the values of each layer’s units at the marked epochs"
        values = self._each("values", label, lambda network: distributions.values(network, self.palette, highest))
        label = "Histograms of distances between activations, within and between classes, at the marked epochs"
        apart = self._each("distances", label, lambda network: distributions.distances(network, self.palette))
        cluster = "A peak at zero is a cluster."
        if self.noisy:
            silent = any(network.beta is None for network in networks)
            cluster = (
                "Noise alone sets two inputs that the layer no longer tells apart about β√(2d) apart, where d is the "
                "number of its units, so a peak there is a cluster"
                f"{'; in a network without noise it stands at zero' * silent}."
            )
        return [
            _section(
                "clouds",
                "How activations move",
                f"Every point is one input as the layer sees it at that epoch{', noise included' * self.noisy}; where "
                "there are many inputs, some of them, chosen at random. Colours are classes. Where points of different "
                "inputs come to lie on top of each other, the layer no longer tells them apart.",
                clouds,
            ),
            _section(
                "values",
                "Which values units take",
                "All units of a layer together, over all inputs; counts on a logarithmic axis. Values more than four "
                "standard deviations from the middle are counted in the outermost bins. Of tanh units, peaks at the "
                "ends are saturated units.",
                values,
            ),
            _section(
                "distances",
                "How far inputs lie apart",
                "Distances between the activations of two different inputs: filled where both are of one class, as a "
                "line where they are not. Where a problem has more than 3,000 inputs, 3,000 of them were chosen at "
                f"random. {cluster} Each panel is as tall as its highest count.",
                apart,
            ),
        ]

    def units(self) -> Section | None:
        """Single units: the density of their values, their weights through training, and over their weight."""
        label = "Density of each single unit at the marked epochs"
        densities = self._each("densities", label, distributions.densities)
        weights = self._each("weights", "Weights through training", self._weights)
        panels = [Drawn(each.key, "Weights through training", each.svg, each.title) for each in weights]
        panels += filter(None, [self._sweep()])
        words = (
            "The density of a unit’s noisy value: the line is the whole, and what each input contributes is filled in "
            "the colour of its class. Inputs whose parts overlap are confused."
        )
        parts: list[object] = [Text(words), Figures(densities, "sheets")] if densities else []
        parts += [Figures(panels)] if panels else []
        return Section("units", "Single units", parts) if parts else None

    def _weights(self, network: NetworkThroughTraining) -> Figure | None:
        """Weights of single units through training; biases dashed."""
        if not network.weights:
            return None
        found = []
        for name, curve in network.weights.items():
            layer = next((layer for layer in network.layers if name.startswith(layer)), "")
            dashes = DASHES if "bias" in name else "-"
            found.append(Line(name, self.palette[layer], network.history, curve, dashes))
        return tracks([Column("", [Panel("dashed: biases", found, marked=network.marked)])], self.axis, "nats")

    def _sweep(self) -> Drawn | None:
        """I(X;T) of a single unit against its weight."""
        found = self.contents.sweep
        if found is None or not len(found.weights) or not len(found.betas):
            return None
        points = [f"{weight:.4g}" for weight in found.weights]
        axis = TrainingAxis(points, "weight w", each="w =")
        own = []
        for beta, hue, exact, value, stderr in zip(
            found.betas, itertools.cycle(HUES), found.exact, found.value, found.stderr
        ):
            known = zip(points, exact, value, stderr, strict=True)
            known = [each for each in known if np.isfinite(each[1:]).all()]
            label = f"β = {setting_text(beta)}"
            own.append(Track("", hue, {at: Estimate(float(true), refits=0) for at, true, *_ in known}, thin=True))
            numbers = {at: Estimate(float(own), float(error), refits=0) for at, _, own, error in known}
            own.append(Track(label, hue, numbers))
        panel = Panel("I(X;T) [{unit}]", own, "", 208, self.contents.ceiling, cut=True)
        label = "I(X;T) of one tanh unit against its weight, for several noises"
        svg = self.drawings.views("sweep", label, lambda unit: tracks([Column("", [panel])], axis, unit))
        caption = Markup("Lines are exact, by quadrature; points are by sample propagation, with ± one standard error.")
        bias = f"bias {setting_text(found.bias_per_weight)} w".replace("-", "−")
        return Drawn("sweep", "One tanh unit against its weight w", svg, bias, caption)

    def table(self, files: Text) -> Section | None:
        """The table."""
        parts = network_tables(self.contents)
        return Section("numbers", "The numbers", [*parts, files]) if parts else None

    def meanings(self) -> Section | None:
        """What the numbers mean."""
        shown = [each for kind, each in NOISY_QUANTITIES.items() if self.contents.has(kind)]
        meanings = [(each.name, each.meaning) for each in shown if not each.of_network]
        meanings += [each.fall for each in shown if each.fall and self.contents.falls]
        meanings += [(each.name, each.meaning) for each in shown if each.of_network]
        meanings += [("Errors", ERRORS)] * self.contents.has("flow")
        return Section("meanings", "What the numbers mean", [Meanings(meanings)]) if meanings else None


def _section(key: str, title: str, words: str, drawn: Sequence[Drawn], layout: str = "sheets") -> Section | None:
    return Section(key, title, [Text(words), Figures(drawn, layout)]) if drawn else None
