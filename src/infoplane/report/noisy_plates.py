"""The figures of the page of a study of noisy networks."""

import math
from collections.abc import Callable

from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.report import noisy_figures, noisy_pictures
from infoplane.report.drawer import Drawer
from infoplane.report.drawing import Unit
from infoplane.report.drawings import Drawings, Drawn, slug
from infoplane.report.noisy_contents import NetworkThroughTraining, NoisyContents
from infoplane.report.noisy_numbers import NoisyNumbers, layers_of, titled
from infoplane.report.theme import Palette, style

UPRIGHT = "Upright lines are the epochs of which this page has pictures."


def _pictured(network: NetworkThroughTraining) -> bool:
    """Whether there are pictures of a network's activations."""
    return any(each.clouds or each.values or each.distances or each.densities for each in network.snapshots)


class NoisyPlates:
    """Draws the figures of one page."""

    def __init__(self, contents: NoisyContents, numbers: NoisyNumbers, drawer: Drawer) -> None:
        self.contents, self.numbers = contents, numbers
        self.palette = Palette(layers_of(contents))
        self.drawings = Drawings(self.palette, drawer)

    def _screens(self, key: str, label: str, draw: Callable[[Unit, bool], Figure]) -> Markup:
        """A figure for a screen and for a phone, each in nats and in bits."""
        views = Markup()
        for size in ("wide", "narrow"):
            narrow = size == "narrow"

            def one(unit: Unit, narrow: bool = narrow) -> Figure:
                return draw(unit, narrow)

            svg = self.drawings.views(f"{key}{'-narrow' * narrow}", label, one, filed=not narrow)
            views += Markup('<div class="{}">{}</div>').format(size, svg)
        return views

    def hero(self) -> Drawn | None:
        """The opening figure: information where there is noise, else what each bin size shows."""
        numbers, networks = self.numbers, self.contents.networks
        known = [network for network in networks if numbers.bins(network.name)]
        if not numbers.has("flow") and not numbers.has("information"):
            if len(networks) == 1 and known and len(numbers.bins(known[0].name)) > 1:
                return self.binned(known[0], "opening", losses=True)
            if not known:
                return None

        def draw(unit: Unit, narrow: bool) -> Figure:
            return noisy_figures.hero(self.contents, numbers, self.palette, unit, narrow=narrow)

        flow = numbers.has("flow")
        label = f"{'I(X;T) and ' if flow else ''}clustering of each layer against the epoch"
        svg = self._screens("opening", label, draw)
        sentences = []
        if flow:
            sentences.append(
                "I(X;T) of each layer through training; lines through points are ± one standard error, and where none "
                "shows it is smaller than the point. They are cut where no value could lie: at 0, and at the dashes."
            )
        if numbers.has("information"):
            sentences.append("The thin dark line is I(X;T) by quadrature, which has no sampling error.")
        if known:
            sentences.append(
                f"{'Below it, ' if flow else ''}H(Bin(T)): how far activations cluster at the scale of a bin"
                + (", in one pass of every input with its noise." if flow else ".")
            )
        if any(map(_pictured, networks)):
            sentences.append(UPRIGHT)
        return Drawn("opening", label, svg, caption=Markup.escape(" ".join(sentences)))

    def binned(self, network: NetworkThroughTraining, key: str, *, losses: bool = False) -> Drawn:
        """H(Bin(T)) of one network, for each bin size, and its losses."""

        def draw(unit: Unit, narrow: bool) -> Figure:
            return noisy_figures.binned(
                network, self.contents, self.numbers, self.palette, unit, narrow=narrow, losses=losses
            )

        label = "H(Bin(T)) of each layer against the epoch, for each bin size"
        caption = "The same activations, cut into ever coarser bins; all of them to one scale."
        if network.beta is not None:
            caption += " They are those of one pass of every input, noise included."
        if _pictured(network):
            caption += f" {UPRIGHT}"
        return Drawn(key, self._title(network), self._screens(key, label, draw), caption=Markup(caption))

    def bins(self) -> list[Drawn]:
        """H(Bin(T)) for every bin size, of networks of which the opening figure shows one only."""
        opened = self.numbers.has("flow") or self.numbers.has("information") or len(self.contents.networks) > 1
        return [
            self.binned(network, self._key("bins", network))
            for network in self.contents.networks
            if opened and len(self.numbers.bins(network.name)) > 1
        ]

    def _title(self, network: NetworkThroughTraining) -> str:
        return titled(network) if len(self.contents.networks) > 1 else ""

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

    def clouds(self) -> list[Drawn]:
        """Layers of two or three units as points."""
        drawn, label = (
            noisy_pictures.drawn_of(self.contents.networks),
            "Activations at the marked epochs, coloured by class",
        )
        return self._each("clouds", label, lambda network: noisy_pictures.clouds(network, drawn))

    def values(self) -> list[Drawn]:
        """How often units take which values."""
        label = "Histograms of the values of each layer’s units at the marked epochs"
        highest = max(map(noisy_pictures.most, self.contents.networks), default=0.0)
        return self._each("values", label, lambda network: noisy_pictures.values(network, self.palette, highest))

    def distances(self) -> list[Drawn]:
        """How far activations lie apart."""
        label = "Histograms of distances between activations, within and between classes, at the marked epochs"
        return self._each("distances", label, lambda network: noisy_pictures.distances(network, self.palette))

    def densities(self) -> list[Drawn]:
        """Densities of layers of one unit."""
        return self._each("densities", "Density of each single unit at the marked epochs", noisy_pictures.densities)

    def weights(self) -> list[Drawn]:
        """Weights of single units through training."""

        def draw(network: NetworkThroughTraining) -> Figure | None:
            return noisy_figures.weights(network, self.contents, self.palette) if network.weights else None

        return self._each("weights", "Weights through training", draw)

    def sweep(self) -> Drawn | None:
        """I(X;T) of a single unit against its weight."""
        found = self.contents.sweep
        if found is None or not len(found.weights) or not len(found.betas):
            return None
        label = "I(X;T) of one tanh unit against its weight, for several noises"
        limit = self.contents.ceiling[0] if self.contents.ceiling else math.inf

        def draw(unit: Unit) -> Figure:
            return noisy_figures.sweep(found, unit, limit)

        return Drawn("sweep", label, self.drawings.views("sweep", label, draw))
