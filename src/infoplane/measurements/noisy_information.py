"""I(X;T) of noisy networks: by sample propagation and by quadrature, and of a single unit over its weight."""

import json
import warnings
from dataclasses import asdict
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from annotated_types import Ge, Gt, Le, MinLen
from torch import Tensor

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.errors import UsageError
from infoplane.information.noisy_bounds import FRESH, SPREADS, WIDTHS
from infoplane.information.quadrature import chain_information
from infoplane.information.sample_propagation import FewSamplesWarning, mutual_information
from infoplane.measurements.counting import Work
from infoplane.measurements.noisy import NoisyCosts, network_at, points_of, seed_from
from infoplane.measurements.task import Task
from infoplane.settings import Settings
from infoplane.subjects.dense import DenseSettings, dense
from infoplane.subjects.noisy import NoisyNetwork

#: what takes so many times as long as to look at a block of a mixture's centres for a query: a query by itself, and to
#: propagate a sample or to make it a centre
QUERY, MADE = 11, 0.38
#: centres in a block
BLOCK = 256
#: activation -> blocks that a query visits in a mixture of 100,000 centres, on average over layers and training; what
#: the named studies took at a laptop's scale
VISITS = {"tanh": 12.0, "relu": 40.0, "linear": 1.0, "leaky": 5.0}
#: calls of an operation that an estimate in one layer takes as long as, whatever its samples
ESTIMATE = 4000


class Propagation(Kind):
    """I(X;T_l) of every noisy layer at a checkpoint, by sample propagation.

    Attributes:
        network: Fields of `DenseSettings`.
        samples, queries: See `mutual_information`.
    """

    kind: ClassVar[str] = "flow"

    network: dict[str, Any]
    epoch: int
    samples: int
    queries: int
    seed: int

    def run(self, task: Task) -> Result:
        points = points_of(task)
        network = network_at(task, points, self.network, self.epoch)
        assert isinstance(network, NoisyNetwork)
        inputs = torch.from_numpy(points.inputs).to(task.environment.device)
        layers = len(network.layers) - 1
        found = []
        for layer in range(1, layers + 1):
            generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch, layer))
            try:
                found.append(_estimated(network, inputs, layer, self.samples, self.queries, generator))
            except UsageError as error:
                raise UsageError(f"epoch {self.epoch}: {error}") from error
            task.environment.progress(layer, layers, None)
        return Result({"layers": found})

    def work(self, costs: NoisyCosts) -> Work:
        layers, activation = len(self.network["widths"]), self.network["activation"]
        return _estimate(activation, layers, len(costs.points.inputs), self.samples, self.queries)


class Quadrature(Kind):
    """I(X;T_l) of all layers and checkpoints of a chain of single units, by quadrature; fields as of `Propagation`."""

    kind: ClassVar[str] = "quadrature"

    network: dict[str, Any]
    epochs: tuple[int, ...]

    def run(self, task: Task) -> Result:
        points = points_of(task)
        inputs = torch.from_numpy(points.inputs)
        found = []
        for done, epoch in enumerate(self.epochs):
            network = network_at(task, points, self.network, epoch).cpu()
            assert isinstance(network, NoisyNetwork)
            layers = range(1, len(network.layers))
            found.append([chain_information(network, inputs, layer).value for layer in layers])
            task.environment.progress(done + 1, len(self.epochs), None)
        return Result({"epochs": list(self.epochs)}, {"information": np.array(found)})


class SweepSpec(Settings):
    """I(X;T) of a single tanh unit over its weight.

    Attributes:
        weights: The smallest and the largest.
        count: How many, evenly spaced on a logarithmic scale.
        betas: Standard deviations of the noise.
        bias_per_weight: The bias, in units of the weight.
    """

    weights: tuple[Annotated[float, Gt(0)], Annotated[float, Gt(0)]] = (0.05, 20.0)
    count: Annotated[int, Ge(2), Le(10**4)] = 40
    betas: Annotated[tuple[Annotated[float, Gt(0)], ...], MinLen(1)] = (0.01, 0.1, 0.5, 1.0)
    bias_per_weight: float = -2.0


class Sweep(Kind):
    """I(X;T) of a single tanh unit over its weight, by quadrature and by sample propagation, as `SweepSpec` says."""

    kind: ClassVar[str] = "sweep"

    sweep: dict[str, Any]
    samples: int
    queries: int
    seed: int

    def run(self, task: Task) -> Result:
        points, sweep = points_of(task), SweepSpec.model_validate(self.sweep)
        inputs = torch.from_numpy(points.inputs)
        weights = np.geomspace(*sweep.weights, sweep.count)
        exact, value, stderr = (np.empty((len(sweep.betas), len(weights))) for _ in range(3))
        for row, beta in enumerate(sweep.betas):
            for column, weight in enumerate(weights):
                start = ((float(weight), sweep.bias_per_weight * float(weight)),)
                settings = DenseSettings(widths=(1,), beta=beta, read_out=False, start=start)
                network = dense(settings, points.inputs.shape[1], points.classes, torch.Generator())
                assert isinstance(network, NoisyNetwork)
                generator = torch.Generator().manual_seed(seed_from(self.seed, row, column))
                found = _estimated(network, inputs, 1, self.samples, self.queries, generator)
                exact[row, column] = chain_information(network, inputs, 1).value
                value[row, column], stderr[row, column] = found["value"], found["stderr"]
            task.environment.progress(row + 1, len(sweep.betas), None)
        return Result({}, {"weights": weights, "exact": exact, "value": value, "stderr": stderr})

    def work(self, costs: NoisyCosts) -> Work:
        one = _estimate("tanh", 1, len(costs.points.inputs), self.samples, self.queries)
        return one.times(self.sweep["count"] * len(self.sweep["betas"]))


def _estimated(
    network: NoisyNetwork, inputs: Tensor, layer: int, samples: int, queries: int, generator: torch.Generator
) -> dict[str, Any]:
    with warnings.catch_warnings():
        # The estimate carries the same words as a flag.
        warnings.simplefilter("ignore", FewSamplesWarning)
        estimate = mutual_information(network, inputs, layer, samples=samples, queries=queries, generator=generator)
    return json.loads(json.dumps(asdict(estimate), default=float))


def _estimate(activation: str, layers: int, inputs: int, samples: int, queries: int) -> Work:
    """The information in every layer: in the first one by the inputs alone, in the others by propagated samples."""

    def asked(centres: int) -> float:
        if centres <= BLOCK:
            return centres / BLOCK
        return QUERY + min(centres / BLOCK, 2 + VISITS[activation] * centres / 1e5)

    each = max(1, samples // inputs)
    n = each * inputs
    # Further samples of the inputs that are drawn from bound what a finite number of them may miss.
    fresh = min(max(each, FRESH[0]), FRESH[1])
    own = (each + fresh * (len(WIDTHS) + len(SPREADS))) / BLOCK
    # Each sample is propagated, and a centre twice: of all of them, and of one half.
    made = 3 * n + fresh * min(inputs, max(1, queries // 4))
    deeper = MADE * made + queries * (asked(n) + asked(n // 2) + own)
    first = MADE * inputs + queries * asked(inputs)
    return Work(calls=ESTIMATE * layers, visits=first + (layers - 1) * deeper)
