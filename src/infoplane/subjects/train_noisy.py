"""Training of noisy networks by gradient descent, keeping weights at a schedule of epochs."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le
from torch import Tensor

from infoplane.arguments import Seed, checked
from infoplane.errors import UsageError
from infoplane.settings import Settings
from infoplane.subjects.dense import linear_layers, orthonormality_step
from infoplane.subjects.noisy import LayeredNetwork
from infoplane.subjects.points import Points
from infoplane.torch_state import own_state

#: points of the recorded curves
HISTORY = 120


class DescentSettings(Settings):
    """How a noisy network is trained: by plain gradient descent, with fresh noise in every pass.

    Attributes:
        epochs: Passes over the training inputs.
        batch: Inputs per step; null for all of them.
        learning_rate: Of gradient descent without momentum.
        loss: "cross-entropy", or "mse" against the problem's targets (mean over inputs of the squared error).
        orthonormal: α of the orthonormality step after every step of descent; 0 leaves it out.
        checkpoints: Epochs whose weights are kept; null for about thirty on a logarithmic scale.
    """

    epochs: Annotated[int, Ge(1), Le(10**7)]
    batch: Annotated[int, Ge(1), Le(10**6)] | None = None
    learning_rate: Annotated[float, Gt(0)] = 0.05
    loss: Literal["cross-entropy", "mse"] = "cross-entropy"
    orthonormal: Annotated[float, Ge(0)] = 0.0
    checkpoints: tuple[Annotated[int, Ge(0), Le(10**7)], ...] | None = None


@dataclass
class Descent:
    """How training went.

    Attributes:
        states: Epoch -> weights.
        epochs: Epochs of the curves.
        curves: "train loss", "test loss", "train accuracy", "test accuracy" -> one value per epoch; those of the test
            where there are test inputs, accuracies where the network has one output per class.
        weights: (epochs, layers, 2): weight and bias of every layer, where all have a single unit; else empty.
    """

    states: dict[int, dict[str, Tensor]] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)
    weights: list[list[list[float]]] = field(default_factory=list)


def schedule(last: int, count: int) -> list[int]:
    """Returns 0, 1, … and `last`: about `count` whole numbers, evenly spaced on a logarithmic scale."""
    spaced = {round(math.exp(math.log(last) * step / max(1, count - 2))) for step in range(count - 1)}
    return sorted({0, *spaced, last})


@checked
@own_state()
def descend(
    network: LayeredNetwork,
    points: Points,
    settings: DescentSettings,
    *,
    checkpoints: Sequence[int],
    seed: Seed,
    progress: Callable[[int, int, float | None], None] | None = None,
) -> Descent:
    """Trains a network in place; returns its weights at the checkpoints and what training looked like.

    Args:
        checkpoints: Epochs whose weights to keep; 0 is before the first.
        seed: Of the order of the inputs and of the noise.
        progress: Called with epochs done, all epochs, and the held-out loss in nats, where there is one.

    Raises:
        UsageError: The loss is not finite any more.
    """
    inputs, labels = torch.from_numpy(points.inputs), torch.from_numpy(points.labels)
    targets = torch.from_numpy(points.targets)
    training = torch.from_numpy(points.training)
    generator = torch.Generator().manual_seed(seed)
    observer = _Observer(network, points, settings, seed)
    optimiser = torch.optim.SGD(network.parameters(), lr=settings.learning_rate)
    matrices = [layer.weight for layer in linear_layers(network)]
    batch = settings.batch or len(training)
    keep, watch = set(checkpoints), set(schedule(settings.epochs, HISTORY)) | set(checkpoints)
    network.train()
    for epoch in range(settings.epochs + 1):
        if epoch in watch:
            observer.look(epoch)
            if progress is not None:
                progress(epoch, settings.epochs, observer.held_out)
        if epoch in keep:
            observer.found.states[epoch] = copy.deepcopy(network.state_dict())
        if epoch == settings.epochs:
            break
        order = training[torch.randperm(len(training), generator=generator)] if settings.batch else training
        for index in order.split(batch):
            loss = loss_of(network(inputs[index], generator), labels[index], targets, settings.loss)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if settings.orthonormal:
                for matrix in matrices:
                    orthonormality_step(matrix, settings.orthonormal)
    network.eval()
    return observer.found


def loss_of(output: Tensor, labels: Tensor, targets: Tensor, kind: str) -> Tensor:
    """The mean loss of outputs (B, k): cross-entropy over k classes, or squared error of k = 1 against the targets."""
    if kind == "cross-entropy":
        return F.cross_entropy(output, labels)
    return F.mse_loss(output[:, 0], targets[labels])


class _Observer:
    """Looks at the network now and then, with noise of its own, so that looking does not change training."""

    def __init__(self, network: LayeredNetwork, points: Points, settings: DescentSettings, seed: int) -> None:
        self.network, self.settings, self.seed = network, settings, seed
        self.targets = torch.from_numpy(points.targets)
        parts = {"train": points.training, "test": points.test}
        self.parts = {
            name: (torch.from_numpy(points.inputs[index]), torch.from_numpy(points.labels[index]))
            for name, index in parts.items()
            if len(index)
        }
        self.layers = linear_layers(network)
        self.single = all(layer.weight.numel() == 1 for layer in self.layers)
        self.found = Descent()

    @property
    def held_out(self) -> float | None:
        """The last loss on the test inputs, nats; None without any, and for a squared error, which has no nats."""
        losses = self.found.curves.get("test loss")
        return losses[-1] if losses and self.settings.loss == "cross-entropy" else None

    @torch.no_grad()
    def look(self, epoch: int) -> None:
        self.found.epochs.append(epoch)
        generator = torch.Generator().manual_seed(self.seed + 1)
        for part, (inputs, labels) in self.parts.items():
            output = self.network(inputs, generator)
            loss = float(loss_of(output, labels, self.targets, self.settings.loss))
            if not math.isfinite(loss):
                raise UsageError(
                    f"the network under study diverged by epoch {epoch}",
                    received=f"{part} loss {loss}{self._lost(inputs)}",
                    legal="finite numbers",
                    mend=f"lower train.learning_rate, which is {self.settings.learning_rate:g}",
                )
            self.found.curves.setdefault(f"{part} loss", []).append(loss)
            if self.settings.loss == "cross-entropy":
                right = float((output.argmax(1) == labels).double().mean())
                self.found.curves.setdefault(f"{part} accuracy", []).append(right)
        if self.single:
            self.found.weights.append([[layer.weight.item(), layer.bias.item()] for layer in self.layers])

    def _lost(self, inputs: Tensor) -> str:
        """Where activations first are not finite, in words, if they are not."""
        found = self.network.activations(inputs, torch.Generator().manual_seed(self.seed + 1))
        lost = [layer for layer, each in enumerate(found, 1) if not bool(each.isfinite().all())]
        return f", activations not finite from layer {lost[0]} on" if lost else ""
