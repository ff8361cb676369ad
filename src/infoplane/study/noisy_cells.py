"""What each kind of cell of a study of noisy networks does."""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor

from infoplane.engine.store import Result
from infoplane.errors import UsageError, plain
from infoplane.geometry import binned_entropy, distance_histogram
from infoplane.information.quadrature import chain_density, chain_information
from infoplane.information.sample_propagation import FewSamplesWarning, mutual_information
from infoplane.settings import check_options, first_error, options_model
from infoplane.study.noisy_spec import NoisySpec, SweepSpec
from infoplane.study.task import Task
from infoplane.subjects.dense import DenseSettings, dense
from infoplane.subjects.noisy import LayeredNetwork, NoisyNetwork
from infoplane.subjects.points import POINTS, Points
from infoplane.subjects.train_noisy import DescentSettings, descend

#: arrays of a problem, by their names in `Points` and in its cell
POINT_ARRAYS = tuple(field.name for field in fields(Points) if field.name != "name")
#: bins of the histograms of units' values; values of units that are not bounded are cut off at `REACH` deviations
BINS, REACH = 80, 4.0
#: activations beyond which a network has diverged, if they are so large that their bins cannot be numbered
HUGE = 1e6
#: most points of the grid of a single unit's density that are kept
GRID = 1500


def load_points(spec: NoisySpec) -> Result:
    """The problem that a study asks for, as a cell's result.

    Raises:
        UsageError: It cannot be had, or does not take these options.
    """
    result = _points(spec.model_dump(mode="json")["data"], spec.seed)
    check_samples(spec, len(result.arrays["inputs"]))
    training = len(result.arrays["training"])
    for one in map(spec.one, spec.names):
        if one.train.batch is not None and one.train.batch > training:
            received = f"{one.train.batch:,} of {training:,}"
            mend = "lower train.batch, or leave it out for all of them"
            raise UsageError("train.batch is more than there are training inputs", received=received, mend=mend)
    return result


def check_samples(spec: NoisySpec, inputs: int) -> None:
    """Raises UsageError where there are too few samples for a layer behind the first one."""
    deep = any(one.network.beta is not None and len(one.network.widths) > 1 for one in map(spec.one, spec.names))
    if deep and spec.estimate.samples < 2 * inputs:
        received = f"{spec.estimate.samples:,} for {inputs:,} inputs"
        legal = f"at least two per input: {2 * inputs:,}"
        raise UsageError("estimate.samples is too small", received=received, legal=legal)


def run_points(task: Task) -> Result:
    """Makes or loads all inputs, and says which are for training."""
    return _points(task.params["data"], task.params["seed"])


def problem(name: str, options: Mapping[str, Any], seed: int) -> Points:
    """The problem of that name.

    Raises:
        UsageError: It cannot be had, or does not take these options.
    """
    try:
        taken = check_options(POINTS[name], options).model_dump()
    except ValidationError as error:
        raise first_error(error, options_model(POINTS[name]), name, options, at="data.options") from error
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        found = POINTS[name](seed, **taken)
    if not np.isfinite(found.inputs).all():
        bad = f"{int((~np.isfinite(found.inputs)).sum()):,} of {found.inputs.size:,}"
        raise UsageError("inputs are not finite", received=f"{bad} of {name}", mend="see data.options")
    return found


def _points(data: Mapping[str, Any], seed: int) -> Result:
    points = problem(data["name"], data["options"], seed)
    return Result({"name": points.name}, {name: getattr(points, name) for name in POINT_ARRAYS})


def points_of(task: Task) -> Points:
    """The problem, from its cell."""
    stored = task.needs["points"]
    return Points(stored.values["name"], **{name: stored.array(name) for name in POINT_ARRAYS})


def run_descent(task: Task) -> Result:
    """Trains a network; keeps its weights at the checkpoints."""
    points, seed = points_of(task), task.params["seed"]
    network = _built(task.params["network"], points, seed)
    settings = DescentSettings.model_validate(task.params["train"])
    # Tiny matrices: a processor is faster here than a GPU.
    found = descend(
        network,
        points,
        settings,
        checkpoints=settings.checkpoints or (),
        seed=seed + 1,
        progress=task.environment.progress,
    )
    arrays = {f"curve:{name}": np.array(values) for name, values in found.curves.items()}
    arrays["epochs"] = np.array(found.epochs)
    if found.weights:
        arrays["weights"] = np.array(found.weights)
    return Result({}, arrays, {f"epoch{epoch}": state for epoch, state in found.states.items()})


def network_at(task: Task, points: Points, epoch: int) -> LayeredNetwork:
    """A network as it was after an epoch, on the device, in evaluation mode with its noise."""
    network = _built(task.params["network"], points, 0)
    network.load_state_dict(task.needs["descent"].weights(f"epoch{epoch}"))
    return network.to(task.environment.device).eval()


def _built(settings: Mapping[str, Any], points: Points, seed: int) -> LayeredNetwork:
    generator = torch.Generator().manual_seed(seed)
    return dense(DenseSettings.model_validate(settings), points.inputs.shape[1], points.classes, generator)


def run_flow(task: Task) -> Result:
    """Estimates I(X;T_l) of every noisy layer."""
    params, points = task.params, points_of(task)
    network = network_at(task, points, params["epoch"])
    assert isinstance(network, NoisyNetwork)
    inputs = torch.from_numpy(points.inputs).to(task.environment.device)
    layers = len(network.layers) - 1
    found = []
    for layer in range(1, layers + 1):
        generator = torch.Generator().manual_seed(_seed(params["seed"], params["epoch"], layer))
        found.append(_estimated(network, inputs, layer, params, generator))
        task.environment.progress(layer, layers, None)
    return Result({"layers": found})


def _seed(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


def _estimated(
    network: NoisyNetwork, inputs: Tensor, layer: int, params: Mapping[str, Any], generator: torch.Generator
) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            # The estimate carries the same words as a flag.
            warnings.simplefilter("ignore", FewSamplesWarning)
            sizes = {"samples": params["samples"], "queries": params["queries"]}
            estimate = mutual_information(network, inputs, layer, **sizes, generator=generator)
    except UsageError as error:
        if "epoch" in params:
            raise UsageError(f"epoch {params['epoch']}: {error}") from error
        raise
    return json.loads(json.dumps(asdict(estimate), default=float))


def run_quadrature(task: Task) -> Result:
    """Takes I(X;T_l) of every layer at every checkpoint by quadrature."""
    params, points = task.params, points_of(task)
    inputs = torch.from_numpy(points.inputs)
    found = []
    for done, epoch in enumerate(params["epochs"]):
        network = network_at(task, points, epoch).cpu()
        assert isinstance(network, NoisyNetwork)
        layers = range(1, len(network.layers))
        found.append([chain_information(network, inputs, layer).value for layer in layers])
        task.environment.progress(done + 1, len(params["epochs"]), None)
    return Result({"epochs": list(params["epochs"])}, {"information": np.array(found)})


@torch.no_grad()
def run_clustering(task: Task) -> Result:
    """Bins every layer's activations; at a marked epoch also keeps what its pictures need."""
    params, points = task.params, points_of(task)
    network = network_at(task, points, params["epoch"])
    generator = torch.Generator().manual_seed(_seed(params["seed"], params["epoch"], 0))
    inputs = torch.from_numpy(points.inputs).to(task.environment.device)
    # One pass of every input, with its noise where the network has any.
    activations = [t.flatten(1).double().cpu() for t in network.activations(inputs, generator)[:-1]]
    values: dict[str, Any] = {"units": [t.shape[1] for t in activations], "binned": []}
    for layer, found in enumerate(activations, 1):
        where = f"epoch {params['epoch']}, layer {layer}"
        try:
            values["binned"].append([asdict(binned_entropy(found, size)) for size in params["bins"]])
        except UsageError as error:
            largest = float(found.abs().max())
            mend = "lower train.learning_rate"
            if not math.isfinite(largest):
                raise UsageError(f"{where}: {error}", mend=mend) from error
            if largest < HUGE:
                raise UsageError(f"{where}: {error}") from error
            # The bins are not to blame.
            received, legal = f"up to {plain(largest)}", f"below {plain(2**53 * min(params['bins']))} with these bins"
            raise UsageError(f"{where}: activations are huge", received=received, legal=legal, mend=mend) from error
    arrays: dict[str, np.ndarray] = {}
    if params["marked"]:
        for layer, found in enumerate(activations, 1):
            arrays |= _pictured(f"layer {layer}", found, points)
        arrays |= _distances("input", inputs.cpu(), points)
        if isinstance(network, NoisyNetwork):
            arrays |= _unit_densities(network.cpu(), inputs.cpu())
    return Result(values, arrays)


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


def run_sweep(task: Task) -> Result:
    """I(X;T) of a single tanh unit over its weight, by quadrature and by sample propagation."""
    params, points = task.params, points_of(task)
    sweep = SweepSpec.model_validate(params["sweep"])
    inputs = torch.from_numpy(points.inputs)
    weights = np.geomspace(*sweep.weights, sweep.count)
    exact, value, stderr = (np.empty((len(sweep.betas), len(weights))) for _ in range(3))
    for row, beta in enumerate(sweep.betas):
        for column, weight in enumerate(weights):
            start = ((float(weight), sweep.bias_per_weight * float(weight)),)
            settings = DenseSettings(widths=(1,), beta=beta, read_out=False, start=start)
            network = dense(settings, points.inputs.shape[1], points.classes, torch.Generator())
            assert isinstance(network, NoisyNetwork)
            generator = torch.Generator().manual_seed(_seed(params["seed"], row, column))
            found = _estimated(network, inputs, 1, params, generator)
            exact[row, column] = chain_information(network, inputs, 1).value
            value[row, column], stderr[row, column] = found["value"], found["stderr"]
        task.environment.progress(row + 1, len(sweep.betas), None)
    return Result({}, {"weights": weights, "exact": exact, "value": value, "stderr": stderr})


NOISY_KINDS: dict[str, Callable[[Task], Result]] = {
    "points": run_points,
    "descent": run_descent,
    "flow": run_flow,
    "quadrature": run_quadrature,
    "clustering": run_clustering,
    "sweep": run_sweep,
}
