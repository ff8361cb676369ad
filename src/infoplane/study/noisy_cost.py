"""What each cell of a study of noisy networks costs."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from infoplane.engine.plan import Plan
from infoplane.engine.store import Result
from infoplane.information.noisy_bounds import FRESH, SPREADS, WIDTHS
from infoplane.study.counting import QUERY, Work, count
from infoplane.study.noisy_cells import check_samples, problem
from infoplane.study.noisy_plan import make_noisy_plan
from infoplane.study.noisy_spec import NoisySpec
from infoplane.subjects.dense import DenseSettings, dense, linear_layers, orthonormality_step
from infoplane.subjects.train_noisy import loss_of

#: to propagate a sample takes so many times as long as to make it a centre of a mixture, of which it is one twice
PROPAGATED, MADE = 1.2, 2.0
#: centres in a block
BLOCK = 256
#: activation -> blocks that a query visits in a mixture of 100,000 centres, on average over layers and training; what
#: the named studies took at a laptop's scale
VISITS = {"tanh": 12.0, "relu": 40.0, "linear": 1.0, "leaky": 5.0}
#: calls of an operation that an estimate in one layer takes as long as, whatever its samples
ESTIMATE = 2500
#: calls of an operation that a step of descent takes as long as beside those that it makes
STEP = 20
#: numbers written for every pair of inputs whose distance is put into a histogram
PAIR = 25.0


def noisy_cost(spec: NoisySpec, plan: Plan | None = None, loaded: Result | None = None) -> dict[str, Work]:
    """Returns the work of every cell of a study, by name.

    Args:
        plan: Its cells, if they were made already.
        loaded: Its data, which take no time here.

    Raises:
        UsageError: The study cannot be run here, e.g. since its data are missing.
    """
    points = problem(spec.data.name, spec.data.options, spec.seed)
    inputs = len(points.inputs)
    check_samples(spec, inputs)
    steps: dict[str, Work] = {}
    found = {}
    for cell in (plan or make_noisy_plan(spec)).cells.values():
        work, params = Work(), dict(cell.params)
        if cell.kind == "descent":
            batch = params["train"]["batch"] or len(points.training)
            updates = params["train"]["epochs"] * -(-len(points.training) // batch)
            key = repr((params["network"], params["train"], batch))
            if key not in steps:
                steps[key] = _step(params, points.inputs.shape[1], points.classes, batch)
            work = steps[key].times(updates)
        elif cell.kind == "flow":
            network = params["network"]
            work = _estimate(network, len(network["widths"]), inputs, params["samples"], params["queries"])
        elif cell.kind == "clustering" and params["marked"]:
            work = Work(written=PAIR * inputs**2 * (1 + len(params["network"]["widths"])))
        elif cell.kind == "sweep":
            sweep = params["sweep"]
            one = _estimate({"activation": "tanh"}, 1, inputs, params["samples"], params["queries"])
            work = one.times(sweep["count"] * len(sweep["betas"]))
        found[cell.name] = work
    return found


def _estimate(network: dict[str, Any], layers: int, inputs: int, samples: int, queries: int) -> Work:
    """The information in every layer: in the first one by the inputs alone, in the others by propagated samples."""
    activation = network["activation"]
    each = max(1, samples // inputs)
    n = each * inputs
    first = Work(centres=inputs, visits=queries * _visits(inputs, activation))
    # Further samples of the inputs that are drawn from bound what a finite number of them may miss.
    fresh = min(max(each, FRESH[0]), FRESH[1])
    propagated = n + fresh * min(inputs, max(1, queries // 4))
    own = (each + fresh * (len(WIDTHS) + len(SPREADS))) / BLOCK
    deeper = Work(
        centres=MADE * n + PROPAGATED * propagated,
        visits=queries * (_visits(n, activation) + _visits(n // 2, activation) + own),
    )
    return first + deeper.times(layers - 1) + Work(light=ESTIMATE * layers)


def _visits(centres: int, activation: str) -> float:
    """What a query of a mixture takes, in visits to blocks."""
    if centres <= BLOCK:
        return centres / BLOCK
    return QUERY + min(centres / BLOCK, 2 + VISITS[activation] * centres / 1e5)


def _step(params: dict[str, Any], inputs: int, classes: int, batch: int) -> Work:
    return descent_work(descent_step(params["network"], params["train"], inputs, classes, batch))


def descent_work(step: Callable[[], None]) -> Work:
    """Returns the work of a step of descent."""
    return Work(light=STEP + count(step).operations)


def descent_step(
    network: Mapping[str, Any], train: Mapping[str, Any], inputs: int, classes: int, batch: int
) -> Callable[[], None]:
    """Returns a function that takes one step of descent on inputs that are all zero."""
    model = dense(DenseSettings.model_validate(network), inputs, classes, torch.Generator())
    x = torch.zeros(batch, inputs, dtype=torch.float64)
    labels, targets = torch.zeros(batch, dtype=torch.int64), torch.zeros(classes, dtype=torch.float64)
    index, generator = torch.arange(batch), torch.Generator()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-9)

    def step() -> None:
        loss_of(model(x[index], generator), labels[index], targets, train["loss"]).backward()
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        for layer in linear_layers(model) if train["orthonormal"] else ():
            orthonormality_step(layer.weight, train["orthonormal"])

    return step
