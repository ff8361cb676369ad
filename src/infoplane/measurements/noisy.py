"""What noisy networks are measured on: a problem with all its inputs, and a network that is trained on it."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ValidationError

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.errors import UsageError
from infoplane.measurements.counting import Work, count
from infoplane.measurements.quantity import Quantity
from infoplane.measurements.task import Task
from infoplane.settings import check_options, first_error, options_model
from infoplane.subjects.dense import DenseSettings, dense, linear_layers, orthonormality_step
from infoplane.subjects.noisy import LayeredNetwork
from infoplane.subjects.points import POINTS, Points
from infoplane.subjects.train_noisy import DescentSettings, descend, loss_of

#: arrays of a problem, by their names in `Points` and in its cell
POINT_ARRAYS = tuple(field.name for field in fields(Points) if field.name != "name")
#: calls of an operation that a step of descent takes as long as beside those that it makes
STEP = 20


FALL = Quantity(
    "fall",
    "Fall since the peak",
    "I(X;T) at its peak minus I(X;T) at the end. Which epoch is the peak is chosen on one estimate, and the value is "
    "taken from the others, so it is not inflated by the choice. “By chance” is what picking the largest would show "
    "if all epochs were equal and the same estimate were used for both; it is there to compare with, and is in no "
    "number. “Falls” and “rises” need a corrected p < 0.05 and twice the standard error; “not told apart” does not "
    "mean that there is no fall, only that it would be of the size of the error.",
)

NETWORK_ACCURACY = Quantity(
    "accuracy",
    "Accuracy",
    "Share of the test inputs that the network puts in the right class.",
)


class NoisyCosts:
    """What cells of a study of noisy networks cost.

    Attributes:
        points: The problem.
    """

    def __init__(self, points: Points) -> None:
        self.points = points
        self._steps: dict[str, Work] = {}

    def step(self, network: Mapping[str, Any], train: Mapping[str, Any]) -> Work:
        """Returns the work of a step of descent."""
        batch = train["batch"] or len(self.points.training)
        key = repr((network, train, batch))
        if key not in self._steps:
            inputs, classes = self.points.inputs.shape[1], self.points.classes
            self._steps[key] = descent_work(descent_step(network, train, inputs, classes, batch))
        return self._steps[key]


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


def made(name: str, options: Mapping[str, Any], seed: int) -> Result:
    """Returns the problem of that name as a cell's result; errors as those of `problem`."""
    points = problem(name, options, seed)
    return Result({"name": points.name}, {array: getattr(points, array) for array in POINT_ARRAYS})


def points_of(task: Task) -> Points:
    """The problem, from its cell."""
    stored = task.needs["points"]
    return Points(stored.values["name"], **{name: stored.array(name) for name in POINT_ARRAYS})


class Descent(Kind):
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
        found = descend(
            network,
            points,
            settings,
            checkpoints=settings.checkpoints or (),
            seed=self.seed + 1,
            progress=task.environment.progress,
        )
        arrays = {f"curve:{name}": np.array(values) for name, values in found.curves.items()}
        arrays["epochs"] = np.array(found.epochs)
        if found.weights:
            arrays["weights"] = np.array(found.weights)
        return Result({}, arrays, {f"epoch{epoch}": state for epoch, state in found.states.items()})

    def work(self, costs: NoisyCosts) -> Work:
        training = len(costs.points.training)
        updates = self.train["epochs"] * -(-training // (self.train["batch"] or training))
        return costs.step(self.network, self.train).times(updates)


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
