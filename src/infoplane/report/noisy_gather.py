"""What the page of a study of noisy networks shows, from a run's stored cells."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infoplane.engine.store import Stored
from infoplane.measurements.densities import seed_of
from infoplane.report.making import making
from infoplane.report.noisy_contents import (
    Cloud,
    Histogram,
    NetworkThroughTraining,
    NoisyContents,
    Snapshot,
    Sweep,
    UnitDensity,
)
from infoplane.report.noisy_text import table
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


def noisy_contents(results: NoisyResults, folder: Path) -> NoisyContents:
    """Gathers what the page shows."""
    spec, m = results.spec, results.inputs
    return NoisyContents(
        **making(results, folder, STAGES),
        description=_description(results),
        seeds=f"study seed {spec.seed}; estimates from seeds {', '.join(str(seed) for seed in _seeds(results))}",
        networks=[_network(results, name) for name in spec.names],
        ceiling=None if m is None else (float(np.log(m)), f"log {m:,}"),
        sweep=_sweep(results),
    )


def noisy_table(results: NoisyResults) -> str:
    """Returns the table that closes a run."""
    networks = [_network(results, name) for name in results.spec.names]
    return table(results.rows(), results.differences(), networks, results.tests_before)


def _seeds(results: NoisyResults) -> list[int]:
    return [seed_of(results.spec.seed, repeat) for repeat in range(1, results.spec.estimate.repeats + 1)]


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
    return sorted(((key.split(":")[1], key) for key in keys), key=lambda found: _depth(found[0]))


def _depth(layer: str) -> int:
    """Where a layer stands: 0 for the input, l for "layer l"."""
    return 0 if layer == "input" else int(layer.removeprefix("layer "))


def _histogram(stored: Stored, key: str, parts: tuple[str, ...]) -> Histogram:
    return Histogram(stored.array(f"{key}:edges"), {part: stored.array(f"{key}:{part}") for part in parts})


def _density(stored: Stored, key: str, inputs: list[str], labels: np.ndarray) -> UnitDensity:
    parts = stored.array(f"{key}:parts")
    return UnitDensity(stored.array(f"{key}:values"), parts.sum(0), parts, inputs, labels)


def _sweep(results: NoisyResults) -> Sweep | None:
    spec, stored = results.spec.sweep, results.cell("sweep")
    if spec is None or stored is None:
        return None
    arrays = (stored.array(name) for name in ("weights", "exact", "value", "stderr"))
    weights, exact, value, stderr = arrays
    return Sweep(weights, spec.betas, exact, value, stderr, spec.bias_per_weight)
