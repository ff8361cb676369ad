"""A made-up study of noisy networks that resembles the paper's: layers rise, and cluster in one of two networks."""

import dataclasses
import functools
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from infoplane.measurements.numbers import Numbers
from infoplane.report.noisy.contents import (
    Cloud,
    Histogram,
    NetworkThroughTraining,
    NoisyContents,
    Snapshot,
    SweptUnit,
    UnitDensity,
)
from table_rows import falls_of, numbers_of

EPOCHS = (
    0, 1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226, 320, 453, 640, 905, 1280, 2560, 3200, 6400, 10000
)  # fmt: skip
MARKED = (0, 28, 80, 640, 10000)
LAYERS = {"layer 1": 10, "layer 2": 7, "layer 3": 5, "layer 4": 4, "layer 5": 3}
CEILING = (math.log(4096), "log 4,096")
HOSTILE = "<script>alert(1)</script>&\"'"
PLAIN, ORTHONORMAL = "plain", "orthonormal"


def row(network: str, layer: str, epoch: int, kind: str, value: float, stderr: float | None, **other: Any) -> dict:
    """Returns one tidy row."""
    return {
        "network": network, "layer": layer, "checkpoint": str(epoch), "refit": "all", "kind": kind, "value": value,
        "stderr": stderr, "unit": "nats", "direction": "estimate", "n": 40_000, "refits": 0, "flags": "", "bin": None,
        "inputs": 4096, **other,
    }  # fmt: skip


def of(rows: Iterable[dict[str, Any]]) -> Numbers:
    """Returns the numbers of rows, epochs in their order."""
    rows = list(rows)
    return numbers_of(rows, sorted({one["checkpoint"] for one in rows}, key=int))


def with_rows(contents: NoisyContents, rows: Iterable[dict[str, Any]]) -> Numbers:
    """Returns the numbers of a study and more."""
    more = of(rows)
    return Numbers([*contents.numbers, *more], sorted({*contents.numbers.checkpoints, *more.checkpoints}, key=int))


def information(depth: int, epoch: int, *, falls: bool) -> float:
    """Returns a curve that rises to a peak, and in deep layers falls after it."""
    rise = CEILING[0] - 0.9 * depth * math.exp(-epoch / 12)
    fall = (0, 0, 0.1, 1.2, 2.1)[depth - 1] * math.log1p(max(epoch - 28, 0) / 40) / math.log1p(9972 / 40)
    return rise - 0.35 * (depth - 1) - fall * falls


def rows(network: str, *, beta: float | None, bins: tuple[float, ...], falls: bool) -> list[dict[str, Any]]:
    """Returns the numbers of one network; information only where it has noise."""
    found = []
    for epoch in EPOCHS:
        for depth, layer in enumerate(LAYERS, start=1):
            value = information(depth, epoch, falls=falls)
            if beta is not None:
                flags = "within error of its ceiling" if depth == 1 and epoch > 100 else ""
                found.append(row(network, layer, epoch, "flow", value, 0.03 + 0.01 * depth, flags=flags))
                found.append(row(network, layer, epoch, "flow", value + 0.02, 0.05, refit=0))
            for size in bins:
                coarse = min(CEILING[0], CEILING[0] if size < 1e-3 else value * (1 - 0.08 * math.log10(size / 1e-3)))
                found.append(row(network, layer, epoch, "binned-entropy", coarse, None, bin=size, direction="none"))
        share = min(0.99, 0.5 + 0.1 * math.log1p(epoch))
        found.append(row(network, "", epoch, "accuracy", share, 0.004, unit="fraction", n=820))
    return found


def differences(network: str, *, falls: bool) -> list[dict[str, Any]]:
    """Returns what each layer lost: layers 4 and 5 of the network that falls, and no other."""
    value = {"layer 4": 1.21, "layer 5": 2.13} if falls else {}
    return [
        {"network": network, "layer": layer, "kind": "flow", "peak": 28 if layer in value else 640, "end": 10000,
         "value": value.get(layer, 0.012), "stderr": 0.094, "p": 1e-6 if layer in value else 0.83, "constant": 0.11}
        for layer in LAYERS
    ]  # fmt: skip


@functools.cache
def _inputs() -> tuple[np.ndarray, np.ndarray]:
    bits = (np.arange(4096)[:, None] >> np.arange(12) & 1) * 2.0 - 1
    scores = bits @ np.linspace(1, 0.2, 12)
    return bits, (scores > 0).astype(int)


def cloud(units: int, epoch: int, *, falls: bool, seed: int = 0) -> Cloud:
    """Returns a curve that stretches with the epoch, and ends in the corners where the network clusters."""
    bits, labels = _inputs()
    rng = np.random.default_rng(seed)
    turn = rng.normal(size=(12, units)) + np.linspace(1, 0.2, 12)[:, None] * rng.choice([-1, 1], units)
    gain = 0.05 + 0.12 * math.log1p(epoch) * (1 + falls * epoch / 300)
    points = np.tanh(gain * (bits @ turn) / 2) + 0.005 * rng.normal(size=(4096, units))
    return Cloud(points, labels)


@functools.cache
def snapshot(epoch: int, *, falls: bool) -> Snapshot:
    """Returns what is shown of the network at a marked epoch."""
    values, distances = {}, {}
    chosen = np.random.default_rng(1).choice(4096, 400, replace=False)
    for depth, (layer, units) in enumerate(LAYERS.items()):
        points = cloud(units, epoch, falls=falls, seed=depth)
        counts, edges = np.histogram(points.points, bins=50, range=(-1.05, 1.05))
        values[layer] = Histogram(edges, {"all": counts})
        apart = np.linalg.norm(points.points[chosen, None] - points.points[None, chosen], axis=-1)
        same = points.labels[chosen, None] == points.labels[None, chosen]
        upper = np.triu(np.ones_like(same), 1)
        edges = np.linspace(0, 2 * math.sqrt(units), 41)
        parts = {"within": same & upper, "between": ~same & upper}
        distances[layer] = Histogram(edges, {name: np.histogram(apart[of], edges)[0] for name, of in parts.items()})
    bits, labels = _inputs()
    apart = np.linalg.norm(bits[chosen][:, None] - bits[chosen][None], axis=-1)
    same = labels[chosen][:, None] == labels[chosen][None]
    edges = np.linspace(0, 7, 41)
    parts = {"within": same, "between": ~same}
    distances["input"] = Histogram(edges, {name: np.histogram(apart[of], edges)[0] for name, of in parts.items()})
    return Snapshot(epoch, {"layer 5": cloud(3, epoch, falls=falls)}, values, distances)


def light(contents: NoisyContents) -> NoisyContents:
    """Returns the study without pictures, which take the time."""
    return dataclasses.replace(
        contents, networks=[dataclasses.replace(network, snapshots=()) for network in contents.networks]
    )


def network(name: str, *, beta: float | None = 0.005, falls: bool, **changes: Any) -> NetworkThroughTraining:
    """Returns one network of five layers."""
    history = np.unique(np.concatenate([np.arange(200), np.geomspace(200, 10_000, 400).astype(int)]))
    train = 0.02 + 0.67 * np.exp(-history / 60)
    test = train + 0.02 + falls * 0.05 * np.clip(np.log10((history + 1) / 3200), 0, None)
    accuracy = 1 - train / 2
    full = NetworkThroughTraining(
        name, beta, LAYERS, EPOCHS, history,
        {"train loss": train, "test loss": test, "train accuracy": accuracy, "test accuracy": accuracy - 0.01},
        {}, [snapshot(epoch, falls=falls) for epoch in MARKED],
    )  # fmt: skip
    return dataclasses.replace(full, **changes)


def contents(names: tuple[str, ...] = (PLAIN, ORTHONORMAL), **changes: Any) -> NoisyContents:
    """Returns a study of noisy networks, of which the first clusters and the others do not."""
    networks, found, steps = [], [], []
    for index, name in enumerate(names):
        falls = index == 0
        networks.append(network(name, falls=falls))
        found += rows(name, beta=0.005, bins=(0.05,), falls=falls)
        steps += differences(name, falls=falls)
    full = NoisyContents(
        title="Information flow in a tanh network",
        description="A network of 12-10-7-5-4-3-2 units was trained on 3,276 of 4,096 binary patterns with noise of "
        "β = 0.005 after every hidden layer.",
        networks=networks, ceiling=CEILING, numbers=of(found), falls=falls_of(steps), tests=len(steps),
        settings="title: szt-tanh\n",
        seeds="study 0", versions={"infoplane": "0.1.0"}, times=[("measuring", 300.0)], machine="2 cores",
        total_seconds=400.0, peak_memory_mb=900.0, sanity=["Permuting units changes nothing."],
    )  # fmt: skip
    return dataclasses.replace(full, **changes)


BINS = (0.0005, 0.005, 0.05, 0.5)


def deterministic(**changes: Any) -> NoisyContents:
    """Returns a study of one network without noise, binned finely and coarsely."""
    full = NoisyContents(
        title="What bins measure",
        networks=[network("", beta=None, falls=True)],
        numbers=of(rows("", beta=None, bins=BINS, falls=True)),
        ceiling=CEILING,
    )
    return dataclasses.replace(full, **changes)


def three(**changes: Any) -> NoisyContents:
    """Returns a study of two networks with noise and one without, whose bins are finer."""
    both = contents()
    found = rows("deterministic", beta=None, bins=(0.001,), falls=True)
    networks = [*both.networks, network("deterministic", beta=None, falls=True)]
    return dataclasses.replace(both, networks=networks, numbers=with_rows(both, found), **changes)


#: a row of differences of a layer that is highest at the end
ENDS_HIGHEST = {
    "network": "", "layer": "layer 1", "kind": "flow", "peak": 100000, "end": 100000, "value": 0.0, "stderr": 0.0,
    "p": 1.0, "constant": 0.01,
}  # fmt: skip


def _density(epoch: int) -> UnitDensity:
    inputs, weight = np.array([-3.0, -1, 1, 3]), 0.2 * math.log1p(epoch)
    values = np.linspace(-1.2, 1.2, 601)
    centres = np.tanh(weight * inputs - 2 * weight)
    parts = np.exp(-0.5 * ((values - centres[:, None]) / 0.02) ** 2) / 0.02 / math.sqrt(2 * math.pi) / 4
    return UnitDensity(values, parts.sum(axis=0), parts, ["−3", "−1", "1", "3"], np.array([0, 0, 0, 1]))


def neuron(**changes: Any) -> NoisyContents:
    """Returns a study of a single tanh unit, with the exact information beside the estimates, and a sweep."""
    epochs = (0, 10, 100, 1000, 10000, 100000)
    exact = [math.log(4) * (1 - math.exp(-math.log1p(epoch) / 3)) for epoch in epochs]
    found = [row("", "layer 1", epoch, "information", value, None, inputs=4) for epoch, value in zip(epochs, exact)]
    found += [row("", "layer 1", epoch, "flow", value + 0.003, 0.004, inputs=4) for epoch, value in zip(epochs, exact)]
    found += [
        row("", "layer 1", epoch, "binned-entropy", value * 0.9, None, bin=0.1) for epoch, value in zip(epochs, exact)
    ]
    history = np.unique(np.geomspace(1, 100_000, 300).astype(int))
    weights = {"layer 1 weight": 0.4 * np.log1p(history), "layer 1 bias": -0.92 * np.log1p(history)}
    one = NetworkThroughTraining(
        "", 0.01, {"layer 1": 1}, epochs, history, {"train loss": np.exp(-history / 3000)}, weights,
        [Snapshot(epoch, densities={"layer 1": _density(epoch)}) for epoch in (0, 100, 1000, 100000)],
    )  # fmt: skip
    swept = np.geomspace(0.1, 10, 40)
    betas = (0.01, 0.1, 0.5)
    exact = np.array([math.log(4) * (1 - np.exp(-swept / (20 * beta))) for beta in betas])
    full = NoisyContents(
        title="One tanh neuron",
        networks=[one],
        numbers=of(found),
        ceiling=(math.log(4), "log 4"),
        falls=falls_of([ENDS_HIGHEST]),
        sweep=SweptUnit(swept, betas, exact, exact + 0.004, np.full_like(exact, 0.006), -2.0),
    )
    return dataclasses.replace(full, **changes)
