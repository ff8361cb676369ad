"""Clustering of a network's activations, which is what binned entropies see."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.errors import UsageError, plain
from infoplane.estimate import Estimate
from infoplane.geometry import binned_entropy, distance_histogram
from infoplane.information.quadrature import chain_density
from infoplane.measurements.base import Draft, Measurement, Sources, is_of
from infoplane.measurements.counting import Work
from infoplane.measurements.noisy import NoisyCosts, network_at, points_of, seed_from
from infoplane.measurements.numbers import ALL, Number, Place
from infoplane.measurements.task import Task
from infoplane.subjects.noisy import NoisyNetwork
from infoplane.subjects.points import Points

#: bins of the histograms of units' values; values of units that are not bounded are cut off at `REACH` deviations
BINS, REACH = 80, 4.0
#: activations beyond which a network has diverged, if they are so large that their bins cannot be numbered
HUGE = 1e6
#: most points of the grid of a single unit's density that are kept
GRID = 1500

#: numbers written for every pair of inputs whose distance is put into a histogram
PAIR = 10.0


class Clustering(Kind):
    """The binned activations of every layer at a checkpoint; at a marked one also what its pictures need.

    Attributes:
        network: Fields of `DenseSettings`.
        bins: Sizes of the bins.
    """

    kind: ClassVar[str] = "clustering"

    network: dict[str, Any]
    epoch: int
    bins: tuple[float, ...]
    marked: bool
    seed: int

    @torch.no_grad()
    def run(self, task: Task) -> Result:
        points = points_of(task)
        network = network_at(task, points, self.network, self.epoch)
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch, 0))
        inputs = torch.from_numpy(points.inputs).to(task.environment.device)
        # One pass of every input, with its noise where the network has any.
        activations = [t.flatten(1).double().cpu() for t in network.activations(inputs, generator)[:-1]]
        values: dict[str, Any] = {"units": [t.shape[1] for t in activations], "binned": []}
        for layer, found in enumerate(activations, 1):
            where = f"epoch {self.epoch}, layer {layer}"
            try:
                values["binned"].append([asdict(binned_entropy(found, size)) for size in self.bins])
            except UsageError as error:
                largest = float(found.abs().max())
                mend = "lower train.learning_rate"
                if not math.isfinite(largest):
                    raise UsageError(f"{where}: {error}", mend=mend) from error
                if largest < HUGE:
                    raise UsageError(f"{where}: {error}") from error
                # The bins are not to blame.
                received, legal = f"up to {plain(largest)}", f"below {plain(2**53 * min(self.bins))} with these bins"
                raise UsageError(f"{where}: activations are huge", received=received, legal=legal, mend=mend) from error
        arrays: dict[str, np.ndarray] = {}
        if self.marked:
            for layer, found in enumerate(activations, 1):
                arrays |= _pictured(f"layer {layer}", found, points)
            arrays |= _distances("input", inputs.cpu(), points)
            if isinstance(network, NoisyNetwork):
                arrays |= _unit_densities(network.cpu(), inputs.cpu())
        return Result(values, arrays)

    def work(self, costs: NoisyCosts) -> Work | None:
        pairs = len(costs.points.inputs) ** 2 * (1 + len(self.network["widths"]))
        return Work(written=PAIR * pairs) if self.marked else None


def _pictured(name: str, activations: Tensor, points: Points) -> dict[str, np.ndarray]:
    """Histograms of a layer's values and distances, and its points where they can be drawn."""
    values = activations.numpy()
    low, high = float(values.min()), float(values.max())
    middle, spread = float(np.median(values)), float(values.std())
    ends = max(low, middle - REACH * spread), min(high, middle + REACH * spread)
    edges = np.linspace(*(ends if ends[0] < ends[1] else (ends[0] - 0.5, ends[0] + 0.5)), BINS + 1)
    counts = np.histogram(values.clip(edges[0], edges[-1]), edges)[0]
    found = {f"values:{name}:edges": edges, f"values:{name}:all": counts}
    found |= _distances(name, activations, points)
    if values.shape[1] in (2, 3):
        found[f"cloud:{name}"] = values.astype(np.float32)
    return found


def _distances(name: str, activations: Tensor, points: Points) -> dict[str, np.ndarray]:
    edges, within, between = distance_histogram(activations, points.labels)
    parts = {"edges": edges, "within": within, "between": between}
    return {f"distances:{name}:{part}": array for part, array in parts.items()}


def _unit_densities(network: NoisyNetwork, inputs: Tensor) -> dict[str, np.ndarray]:
    """p(t) of the layers that are single units, from the input on."""
    found: dict[str, np.ndarray] = {}
    for layer in range(1, len(network.layers)):
        if len(network.hidden(inputs[:1], layer).flatten()) != 1:
            break
        try:
            grid, parts = chain_density(network, inputs, layer)
        except UsageError:  # too fine a grid: the picture is left out, not what was measured
            break
        step = max(1, len(grid) // GRID)
        found[f"density:layer {layer}:values"] = grid[::step].numpy()
        found[f"density:layer {layer}:parts"] = (parts / len(inputs))[:, ::step].numpy()
    return found


class Binned(Measurement):
    """H(Bin(T)), a number for each size of the bins."""

    kind: ClassVar = "binned-entropy"
    family: ClassVar = "flow"
    cells: ClassVar = (Clustering,)
    name: ClassVar = "H(Bin(T))"
    setting: ClassVar = "bins of"
    meaning: ClassVar = (
        "Entropy of the activations after each unit is cut into bins of the stated size. It measures how far inputs "
        "cluster, at the scale of the bins. In a noisy network the activations are those of one pass of every input, "
        "with the noise of that pass, so it varies a little from pass to pass; no error is given for that. It is not "
        "I(X;T): in a network without noise I(X;T) is infinite, or the constant H(X) for almost all weights, whatever "
        "the bins say."
    )

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        for name, needs in sources.networks.items():
            one, marked = spec.one(name).model_dump(mode="json"), spec.shown(name)
            for epoch in one["train"]["checkpoints"]:
                own = {"network": one["network"], "bins": tuple(one["bins"]), "seed": spec.seed}
                binned = Clustering(epoch=epoch, marked=epoch in marked, **own)
                plan.add(binned, needs, layer=name, checkpoint=str(epoch))

    def numbers(self, run: Any, place: Place) -> Iterator[Number]:
        stored = None if is_of(place, "network") else run.cell("clustering", place.network, int(place.checkpoint))
        if stored is not None:
            found, sizes = stored.values["binned"][run.depth(place)], run.spec.one(place.network).bins or ()
            for size, binned in zip(sizes, found, strict=True):
                yield Number(place._replace(setting=size), ALL, Estimate.of(binned))


BINNED = Binned()
