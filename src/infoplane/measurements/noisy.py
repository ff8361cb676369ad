"""What noisy networks are measured on: a problem with all its inputs, and a network that is trained on it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.errors import UsageError, agreed
from infoplane.estimate import Estimate
from infoplane.measurements.base import Measurement, Row, is_of
from infoplane.measurements.counting import Prices, Work
from infoplane.measurements.numbers import Place
from infoplane.measurements.task import Task
from infoplane.settings import options_for
from infoplane.subjects.dense import DenseSettings, dense
from infoplane.subjects.noisy import LayeredNetwork
from infoplane.subjects.points import POINTS, Points, equal_inputs
from infoplane.subjects.train_noisy import DescentSettings, descend

#: arrays of a problem, by their names in `Points` and in its cell
POINT_ARRAYS = tuple(field.name for field in fields(Points) if field.name != "name")
#: operations of a step of descent: by itself, for a layer, its noise, and for keeping its weights orthonormal; and as
#: many calls without gradients as each takes as long as
STEP, LAYER, NOISE, ORTHONORMAL, GRADED = 45, 18, 3, 13, 2.7


@dataclass(frozen=True)
class NoisyCosts(Prices):
    """What cells of a study of noisy networks cost, for its problem."""

    points: Points


class ProblemPoints(Kind):
    """All inputs of a problem, and which are for training.

    Attributes:
        data: Its name and options.
        fingerprint: A hash of them.
    """

    kind: ClassVar[str] = "points"
    library: ClassVar[str] = "numpy"

    data: dict[str, Any]
    seed: int
    fingerprint: str = ""

    def run(self, task: Task) -> Result:
        return made(self.data["name"], self.data["options"], self.seed)


def problem(name: str, options: Mapping[str, Any], seed: int) -> Points:
    """The problem of that name.

    Raises:
        UsageError: It cannot be had, or does not take these options.
    """
    taken = options_for(POINTS[name], options, name, at="data.options")
    with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
        found = POINTS[name](seed, **taken)
    if not np.isfinite(found.inputs).all():
        bad = f"{int((~np.isfinite(found.inputs)).sum()):,} of {found.inputs.size:,}"
        raise UsageError("inputs are not finite", received=f"{bad} of {name}", mend="see data.options")
    return found


def made(name: str, options: Mapping[str, Any], seed: int) -> Result:
    """Returns the problem of that name as a cell's result; errors as those of `problem`."""
    points = problem(name, options, seed)
    return Result({"name": points.name}, {array: getattr(points, array) for array in POINT_ARRAYS})


def points_of(task: Task) -> Points:
    """The problem, from its cell."""
    stored = task.needs["points"]
    return Points(stored.values["name"], **{name: stored.array(name) for name in POINT_ARRAYS})


class DescentCell(Kind):
    """A network, trained, with its weights at the checkpoints.

    Attributes:
        network, train: Fields of `DenseSettings` and `DescentSettings`.
    """

    kind: ClassVar[str] = "descent"
    keeps: ClassVar[tuple[str, ...]] = ("train.checkpoints",)

    network: dict[str, Any]
    train: dict[str, Any]
    seed: int

    def run(self, task: Task) -> Result:
        points = points_of(task)
        network = _built(self.network, points, self.seed)
        settings = DescentSettings.model_validate(self.train)
        # Tiny matrices: a processor is faster here than a GPU.
        kept, progress = settings.checkpoints or (), task.environment.progress
        found = descend(network, points, settings, checkpoints=kept, seed=self.seed + 1, progress=progress)
        arrays = {f"curve:{name}": np.array(values) for name, values in found.curves.items()}
        arrays["epochs"] = np.array(found.epochs)
        if found.weights:
            arrays["weights"] = np.array(found.weights)
        return Result({}, arrays, {f"epoch{epoch}": state for epoch, state in found.states.items()})

    def work(self, costs: NoisyCosts) -> Work:
        training, layers = len(costs.points.training), len(self.network["widths"])
        updates = self.train["epochs"] * -(-training // (self.train["batch"] or training))
        calls = STEP + layers * (LAYER + NOISE * (self.network["beta"] is not None))
        calls += (layers + 1) * ORTHONORMAL * bool(self.train["orthonormal"])
        return Work(calls=GRADED * updates * calls)


def network_at(task: Task, points: Points, settings: Mapping[str, Any], epoch: int) -> LayeredNetwork:
    """A network as it was after an epoch, on the device, in evaluation mode with its noise."""
    network = _built(settings, points, 0)
    network.load_state_dict(task.needs["descent"].weights(f"epoch{epoch}"))
    return network.to(task.environment.device).eval()


def _built(settings: Mapping[str, Any], points: Points, seed: int) -> LayeredNetwork:
    generator = torch.Generator().manual_seed(seed)
    return dense(DenseSettings.model_validate(settings), points.inputs.shape[1], points.classes, generator)


def seed_from(*parts: int) -> int:
    return int(np.random.SeedSequence(parts).generate_state(1)[0])


class NetworkAccuracy(Measurement):
    """Accuracy on the inputs that the network was not trained on; equal ones are counted once in its error."""

    kind: ClassVar = "accuracy"
    family: ClassVar = "flow"
    name: ClassVar = "Accuracy"
    meaning: ClassVar = "Share of the test inputs that the network puts in the right class."
    unit: ClassVar = "fraction"
    bound: ClassVar = "estimate"
    of_network: ClassVar = True

    def refits(self, run: Any, place: Place) -> list[int]:
        descent = run.cell("descent", place.network) if is_of(place, "network") else None
        known = descent is not None and run.cell("points") is not None and "curve:test accuracy" in descent.names()
        return [0] if known else []

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        descent, points = run.cell("descent", place.network), run.cell("points")
        at = int(np.flatnonzero(descent.array("epochs") == int(place.checkpoint))[0])
        share, test = float(descent.array("curve:test accuracy")[at]), points.array("test")
        n = len(np.unique(equal_inputs(points.array("inputs")[test])))
        words = f"of {len(test):,} test inputs {n:,} {agreed(n, 'are distinct: they are')} what is counted"
        flags = () if n == len(test) else (words,)
        stderr = math.sqrt(share * (1 - share) / n)
        return Estimate(share, stderr, self.unit, self.kind, self.bound, n, 0, flags=flags)

    def tables(self, run: Any) -> dict[str, list[Row]]:
        """How training went."""
        history = [
            {"network": network, "epoch": int(epoch), "curve": name.removeprefix("curve:"), "value": float(value)}
            for network in run.spec.names
            if (descent := run.cell("descent", network)) is not None
            for name in sorted(descent.names())
            if name.startswith("curve:")
            for epoch, value in zip(descent.array("epochs"), descent.array(name), strict=True)
        ]
        return {"history": history} if history else {}


NETWORK_ACCURACY = NetworkAccuracy()
