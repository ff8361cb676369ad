"""What each cell of a study of noisy networks costs."""

from functools import partial
from typing import Any

import torch

from infoplane.study.cost import Work, count
from infoplane.study.flow_cells import check_samples, problem
from infoplane.study.flow_plan import make_flow_plan
from infoplane.study.flow_spec import FlowSpec
from infoplane.subjects.dense import DenseSettings, dense
from infoplane.subjects.train_noisy import loss_of

#: numbers written per propagated sample and layer, and per draw: measured as time, in those that a network writes
SAMPLE, DRAW = 4e3, 8e4


def flow_cost(spec: FlowSpec) -> dict[str, Work]:
    """Returns the work of every cell of a study, by name.

    Raises:
        UsageError: The study cannot be run here, e.g. since its data are missing.
    """
    points = problem(spec.data.name, spec.data.options, spec.seed)
    check_samples(spec, len(points.inputs))
    found = {}
    for cell in make_flow_plan(spec).cells.values():
        work, params = Work(), dict(cell.params)
        if cell.kind == "descent":
            batch = params["train"]["batch"] or len(points.training)
            updates = params["train"]["epochs"] * -(-len(points.training) // batch)
            work = _step(params, points.inputs.shape[1], points.classes, batch).times(updates)
        elif cell.kind == "flow":
            layers = len(params["network"]["widths"])
            work = Work(0.0, 0.0, layers * (SAMPLE * params["samples"] + DRAW * params["queries"]))
        elif cell.kind == "sweep":
            sweep = params["sweep"]
            work = Work(0.0, 0.0, sweep["count"] * len(sweep["betas"]) * 1e3 * params["queries"])
        found[cell.name] = work
    return found


def _step(params: dict[str, Any], inputs: int, classes: int, batch: int) -> Work:
    """One step of descent."""
    network = dense(DenseSettings.model_validate(params["network"]), inputs, classes, torch.Generator())
    x = torch.zeros(batch, inputs, dtype=torch.float64)
    labels, targets = torch.zeros(batch, dtype=torch.int64), torch.zeros(classes, dtype=torch.float64)
    return count(partial(_descend, network, x, labels, targets, params["train"]["loss"]))


def _descend(network: Any, x: Any, labels: Any, targets: Any, kind: str) -> None:
    loss_of(network(x), labels, targets, kind).backward()
