"""What the page of a study of noisy networks is made of: plain values and numpy arrays."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from infoplane.report.contents import PageContents


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


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
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

    Attributes:
        rows: As in `PageContents`, with three keys more: network (a name of `networks`), bin (bin size of a
            "binned-entropy", else None), inputs (number of inputs m). `checkpoint` is the epoch as text, `layer` e.g.
            "layer 3" or "" for the whole network. Kinds: "flow" (I(X;T_l) by sample propagation), "information" (the
            same by quadrature, where it can be had), "differential-entropy" is not shown, "binned-entropy",
            "accuracy". `refit` is "all", or the number of one of several independent estimates of the same network.
        differences: What each layer lost from its peak to the end. Keys: network, layer, kind ("flow"), peak and end
            (epochs), value (nats; positive is compression), stderr, p, constant (what picking the largest of so many
            equal numbers would give on average, nats). The peak is chosen on one estimate and the value taken from
            the others, so `value` itself has no such bias; at_first, at_peak and at_end, each with its _stderr, are
            what those others say of the levels, and may be missing.
        networks: Those of the study.
        ceiling: What no layer can exceed, nats, e.g. log 4096, and its name; or None.
        sweep: Or None.
    """

    networks: Sequence[NetworkThroughTraining] = ()
    ceiling: tuple[float, str] | None = None
    sweep: Sweep | None = None
