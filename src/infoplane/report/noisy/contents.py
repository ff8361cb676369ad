"""What the page of a study of noisy networks is made of, and how it is gathered from a run's stored cells."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from infoplane.engine.store import Stored
from infoplane.measurements.densities import seed_of
from infoplane.report.claimed import Fall
from infoplane.report.contents import PageContents
from infoplane.report.format import setting_text
from infoplane.report.provenance import provenance
from infoplane.study.results import NoisyResults

#: kind of cell -> what the reader calls it
STAGES = {
    "points": "inputs",
    "descent": "network under study",
    "flow": "information",
    "quadrature": "information by quadrature",
    "clustering": "clustering",
    "sweep": "sweep over the weight",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Cloud:
    """A layer's activations at one checkpoint: points (n, d) of one pass with the network's noise, labels (n,)."""

    points: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Histogram:
    """Counts between edges: edges (B + 1,), name of a part -> counts (B,). What lies beyond falls into the end bins."""

    edges: np.ndarray
    counts: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class UnitDensity:
    """The density of a layer of one unit.

    Attributes:
        values: (G,), ascending.
        density: p(t) there, (G,).
        parts: p(t|x) times the probability of x, (m, G), one row per input.
        inputs: What the m inputs are called.
        labels: (m,), the class of each.
    """

    values: np.ndarray
    density: np.ndarray
    parts: np.ndarray
    inputs: Sequence[str]
    labels: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Snapshot:
    """One network at one marked epoch; each maps the name of a layer to what is shown of it.

    Attributes:
        epoch: Which.
        clouds: Layers of two or three units.
        values: Values of all units of a layer together, part "all".
        distances: Pairwise distances between activations of different inputs, parts "within" and "between" classes;
            layer "input" is there too.
        densities: Layers of one unit.
    """

    epoch: int
    clouds: Mapping[str, Cloud] = dataclasses.field(default_factory=dict)
    values: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)
    distances: Mapping[str, Histogram] = dataclasses.field(default_factory=dict)
    densities: Mapping[str, UnitDensity] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkThroughTraining:
    """One network of the study.

    Attributes:
        name: The key that rows use; "" where the study has one only.
        beta: Standard deviation of its noise; None for a deterministic network, which has no rows of kind "flow".
        layers: Name -> number of units, from the input to the last noisy layer.
        epochs: At which it was measured, ascending; 0 is the initial network.
        history: Epochs (E,) of the curves below, denser than `epochs`.
        curves: "train loss", "test loss", "train accuracy", "test accuracy": those that there are -> (E,).
        weights: Name such as "layer 1 weight" -> (E,): of networks with single units only.
        snapshots: At the marked epochs, ascending.
    """

    name: str
    beta: float | None
    layers: Mapping[str, int]
    epochs: Sequence[int]
    history: np.ndarray
    curves: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    snapshots: Sequence[Snapshot] = ()

    @property
    def title(self) -> str:
        """What stands above its figures."""
        noise = "no noise" if self.beta is None else f"noise β = {setting_text(self.beta)}"
        return f"{self.name} · {noise}" if self.name else noise

    @property
    def marked(self) -> list[str]:
        """The epochs of which there are pictures."""
        return [
            str(each.epoch) for each in self.snapshots if each.clouds or each.values or each.distances or each.densities
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class SweptUnit:
    """I(X;T) of a single tanh unit against its weight, its bias being `bias_per_weight` times that.

    Attributes:
        weights: (W,), ascending, positive.
        betas: (B,).
        exact: By quadrature, nats, (B, W).
        value, stderr: By sample propagation, nats, (B, W).
    """

    weights: np.ndarray
    betas: Sequence[float]
    exact: np.ndarray
    value: np.ndarray
    stderr: np.ndarray
    bias_per_weight: float


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class NoisyContents(PageContents):
    """What the page of a study of noisy networks shows.

    `checkpoint` of a place is the epoch as text, `layer` e.g. "layer 3" or "" for the whole network, `setting` the bin
    size of a "binned-entropy". Kinds: "flow" (I(X;T_l) by sample propagation), "information" (the same by quadrature,
    where it can be had), "binned-entropy", "accuracy".

    Attributes:
        networks: Those of the study.
        ceiling: What no layer can exceed, nats, e.g. log 4096, and its name; or None.
        sweep: Or None.
    """

    networks: Sequence[NetworkThroughTraining] = ()
    ceiling: tuple[float, str] | None = None
    sweep: SweptUnit | None = None

    @property
    def layers(self) -> list[str]:
        """The layers of all networks by depth, those of the deepest one first: what another calls otherwise follows."""
        networks = sorted(self.networks, key=lambda network: -len(network.layers))
        return list(dict.fromkeys(name for network in networks for name in network.layers))

    def fall(self, network: str, layer: str) -> Fall | None:
        """Returns how far I(X;T) of a layer falls, where that was estimated."""
        return next((fall for fall in self.falls if (fall.network, fall.layer) == (network, layer)), None)

    def bins(self, network: str) -> list[float]:
        """Returns the bin sizes of a network, as they come."""
        return self.numbers.settings("binned-entropy", network)

    def has(self, kind: str) -> bool:
        """Whether there is any number of a kind."""
        return self.numbers.has(kind)

    def of(self, network: NetworkThroughTraining) -> str:
        """Returns "the plain network", where there are several."""
        return f"the {network.name} network" if len(self.networks) > 1 else "the network"


def noisy_contents(results: NoisyResults) -> NoisyContents:
    """Gathers what the page shows."""
    spec, m = results.spec, results.inputs
    seeds = (seed_of(spec.seed, repeat) for repeat in range(1, spec.estimate.repeats + 1))
    return NoisyContents(
        **provenance(results, STAGES),
        description=_description(results),
        falls=[Fall.of(row) for row in results.once("differences")],
        seeds=f"study seed {spec.seed}; estimates from seeds {', '.join(map(str, seeds))}",
        networks=[_network(results, name) for name in spec.names],
        ceiling=None if m is None else (float(np.log(m)), f"log {m:,}"),
        sweep=_sweep(results),
    )


def _description(results: NoisyResults) -> str:
    spec, points = results.spec, results.cell("points")
    if points is None:
        return "No part of this run has finished yet."
    m, training = len(points.array("inputs")), len(points.array("training"))
    test = "" if training == m else f", of which the networks were trained on {training:,}"
    return (
        f"X is uniform on the {m:,} inputs of the problem {points.values['name']!r}{test}. Information is that of X in "
        f"each layer of the trained network as it is, with its noise: {spec.estimate.repeats} independent estimates at "
        f"every checkpoint."
    )


def _network(results: NoisyResults, name: str) -> NetworkThroughTraining:
    one, descent = results.spec.one(name), results.cell("descent", name)
    history, curves, weights = np.array([]), {}, {}
    if descent is not None:
        history = descent.array("epochs")
        curves = {key.removeprefix("curve:"): descent.array(key) for key in descent.names() if key.startswith("curve:")}
        weights = dict(_weights(descent))
    return NetworkThroughTraining(
        name,
        one.network.beta,
        results.layers(name),
        results.epochs(name),
        history,
        curves,
        weights,
        list(_snapshots(results, name)),
    )


def _weights(descent: Stored) -> Iterator[tuple[str, np.ndarray]]:
    """Weight and bias of every layer through training, where all are single units."""
    if "weights" not in descent.names():
        return
    found = descent.array("weights")  # (epochs, layers, 2)
    for layer in range(found.shape[1]):
        yield f"layer {layer + 1} weight", found[:, layer, 0]
        yield f"layer {layer + 1} bias", found[:, layer, 1]


def _snapshots(results: NoisyResults, name: str) -> Iterator[Snapshot]:
    points = results.cell("points")
    if points is None:
        return
    labels = points.array("labels")
    inputs = [f"{value:g}".replace("-", "−") for value in points.array("inputs")[:, 0]]
    for epoch in results.spec.shown(name):
        stored = results.cell("clustering", name, epoch)
        if stored is None:
            continue
        yield Snapshot(
            epoch,
            {layer: Cloud(stored.array(key), labels) for layer, key in _of(stored, "cloud")},
            {layer: _histogram(stored, key, ("all",)) for layer, key in _of(stored, "values")},
            {layer: _histogram(stored, key, ("within", "between")) for layer, key in _of(stored, "distances")},
            {layer: _density(stored, key, inputs, labels) for layer, key in _of(stored, "density")},
        )


def _of(stored: Stored, what: str) -> list[tuple[str, str]]:
    """(layer, beginning of the names of its arrays), layers in depth order, the input first."""
    keys = {":".join(name.split(":")[:2]) for name in stored.names() if name.startswith(f"{what}:")}
    found = [(key.split(":")[1], key) for key in keys]
    return sorted(found, key=lambda each: (each[0] != "input", len(each[0]), each[0]))  # "layer 10" after "layer 9"


def _histogram(stored: Stored, key: str, parts: tuple[str, ...]) -> Histogram:
    return Histogram(stored.array(f"{key}:edges"), {part: stored.array(f"{key}:{part}") for part in parts})


def _density(stored: Stored, key: str, inputs: list[str], labels: np.ndarray) -> UnitDensity:
    parts = stored.array(f"{key}:parts")
    return UnitDensity(stored.array(f"{key}:values"), parts.sum(0), parts, inputs, labels)


def _sweep(results: NoisyResults) -> SweptUnit | None:
    spec, stored = results.spec.sweep, results.cell("sweep")
    if spec is None or stored is None:
        return None
    arrays = (stored.array(name) for name in ("weights", "exact", "value", "stderr"))
    weights, exact, value, stderr = arrays
    return SweptUnit(weights, spec.betas, exact, value, stderr, spec.bias_per_weight)
