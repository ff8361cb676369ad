"""Train a network by epochs with stochastic gradient descent, keeping checkpoints by epoch."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from pydantic import model_validator
from torch import Tensor, nn

from infoplane.arguments import Seed, check_argument, checked
from infoplane.checks import check_labels, type_and_shape
from infoplane.errors import FitError, UsageError
from infoplane.settings import Settings
from infoplane.torch_state import evaluating, own_state

Epoch = Annotated[int, Ge(0), Le(10**6)] | Annotated[float, Ge(0)] | Literal["end"]
Objective = Literal["cross-entropy", "mse"]
Transform = Callable[[Tensor], Tensor]

#: examples per forward pass where nothing is trained
EVALUATION_BATCH = 512
#: training examples on which the initial weights are scored
FIRST_LOOK = 2048


class EpochSettings(Settings):
    """How a network is trained by epochs (Darlow & Storkey 2018, section 5.1).

    The paper gives the learning rate, its schedule, the momentum and the weight decay, here on all parameters. It gives
    no batch size (128 is that of He et al. 2016, from whom it takes the network) and mentions no augmentation, so there
    is none. It stops at the end of the schedule: no weights are chosen by a held-out loss.

    Attributes:
        epochs: How often every example is seen.
        batch: Examples per step; the last one of an epoch has what is left, if that is two or more.
        learning_rate: At the beginning.
        momentum: Of the gradient.
        weight_decay: L2 penalty added to the gradient.
        schedule: "cosine" falls to 0 after the last epoch, a little with every step; "constant" stays.
        held_out: Share of the encoding split that is only looked at, to have a validation loss; 0 for none.
        checkpoints: Epochs whose weights are kept, 0 being before the first; fractions such as 0.5 lie within an epoch,
            at the nearest step but not before the first. "end" is after the last.
    """

    epochs: Annotated[int, Ge(1), Le(10**6)] = 200
    batch: Annotated[int, Ge(2), Le(10**5)] = 128
    learning_rate: Annotated[float, Gt(0)] = 0.1
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    weight_decay: Annotated[float, Ge(0)] = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    held_out: Annotated[float, Ge(0), Lt(1)] = 0.05
    checkpoints: tuple[Epoch, ...] = ("end",)

    @model_validator(mode="after")
    def _check_checkpoints(self) -> "EpochSettings":
        check_late(self.checkpoints, self.epochs, "epochs")
        return self

    def rate(self, done: float) -> float:
        """The factor on the learning rate when this share of all steps is done."""
        return (1 + math.cos(math.pi * done)) / 2 if self.schedule == "cosine" else 1.0

    def steps(self, examples: int) -> int:
        """Steps of an epoch. A last batch of one example is left out: batch norm cannot work with it."""
        full, rest = divmod(examples, self.batch)
        return full + (rest > 1)


def check_late(checkpoints: Sequence[float | str], last: int, counted: str) -> None:
    """Raises ValueError where a checkpoint lies after the end of a training; what that is `counted` in is for words."""
    late = next((name_of(c) for c in checkpoints if not isinstance(c, str) and c > last), None)
    if late is not None:
        raise ValueError(f"checkpoint {late} lies beyond the last of {last} {counted}; legal: 0 to {last}, and end")


def name_of(checkpoint: float | str) -> str:
    """Returns what a checkpoint is called: "0", "0.5", "10", "end"; by epochs as by updates."""
    return checkpoint if isinstance(checkpoint, str) else f"{checkpoint:.10g}"


@dataclass
class TrainedEpochs:
    """Weights per checkpoint and what training looked like.

    Attributes:
        states: Checkpoint -> weights and buffers.
        epochs: 0, 1, 2, … the epochs after which the curves have a value.
        curves: "train loss" and, with held-out examples, "validation loss"; for a classifier also "train accuracy" and
            "validation accuracy". Losses are nats for a classifier, else the squared error per value of the model's
            input. The training curves are means over the epoch as the batches saw it, with batch norm in training
            mode; at epoch 0 over some training examples, in evaluation mode as all validation curves.
    """

    states: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    epochs: list[int] = field(default_factory=list)
    curves: dict[str, list[float]] = field(default_factory=dict)


@checked
@own_state()
def train_epochs(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor | None,
    validation_inputs: Tensor,
    validation_labels: Tensor | None,
    settings: EpochSettings,
    *,
    objective: Objective,
    transform: Transform,
    seed: Seed,
    best: bool = False,
    progress: Callable[[int, int, float | None], None] | None = None,
) -> TrainedEpochs:
    """Trains `model` in place, leaves it with the last weights, and returns the weights at each checkpoint.

    Args:
        inputs: (N, …) images or activations, on any device; `validation_inputs` likewise, possibly none.
        labels: (N,) int64; not needed for a squared error.
        objective: "cross-entropy" of the outputs as logits, or "mse" of the outputs as reconstructions of the
            model's input.
        transform: A batch of inputs -> the model's input.
        seed: Of the order of the examples and of dropout. The caller's random state is left as it was.
        best: Leave the model with the weights after that epoch whose validation loss is least instead.
        progress: Called with steps done, all steps, and the validation loss in nats, where there is one.

    Raises:
        FitError: A loss is not finite; names the epoch and the learning rate.
        UsageError: There are fewer than two examples, or the model's output does not fit the objective.
    """
    check_inputs(inputs)
    check_inputs(validation_inputs)
    if len(inputs) < 2:
        raise UsageError("too few examples to train a network on", received=len(inputs), legal="2 or more")
    classes = check_output(model, inputs, objective, transform)
    if objective == "cross-entropy" or labels is not None:
        labels = as_classes(labels, inputs, classes)
        validation_labels = as_classes(validation_labels, validation_inputs, classes)
    device = device_of(model)
    steps = settings.steps(len(inputs))
    total = steps * settings.epochs
    # Name of each checkpoint -> steps after which its weights are kept.
    wanted = {name_of(c): total if c == "end" else max(round(c * steps), int(c > 0)) for c in settings.checkpoints}
    watch = _Watch(model, (validation_inputs, validation_labels), objective, transform, best)
    states = watch.found.states
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(seed)
        optimiser = torch.optim.SGD(
            model.parameters(),
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        first = slice(0, FIRST_LOOK)
        watch.look(0, *_mean(model, inputs[first], None if labels is None else labels[first], objective, transform))
        states.update({name: copied_state(model) for name, step in wanted.items() if step == 0})
        for epoch in range(settings.epochs):
            model.train()
            order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
            sums, seen, rate = torch.zeros(2, dtype=torch.float64, device=device), 0, 0.0
            for at, index in enumerate(order.split(settings.batch)[:steps]):
                done = epoch * steps + at
                rate = settings.learning_rate * settings.rate(done / total)
                for group in optimiser.param_groups:
                    group["lr"] = rate
                x = transform(inputs[index]).to(device)
                output = model(x)
                y = None if labels is None else labels[index.to(labels.device)].to(device)
                loss = objective_loss(output, x, y, objective)
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                sums += len(index) * torch.stack((loss.detach().double(), _right(output, y, objective)))
                seen += len(index)
                states.update({name: copied_state(model) for name, step in wanted.items() if step == done + 1})
                if progress is not None:
                    progress(done + 1, total, watch.nats)
            train_loss, train_accuracy = (sums / seen).tolist()
            watch.look(epoch + 1, train_loss, train_accuracy, rate)
    if watch.kept is not None:
        model.load_state_dict(watch.kept)
    model.eval()
    return watch.found


@dataclass
class _Watch:
    """What is written down after each epoch."""

    model: nn.Module
    held: tuple[Tensor, Tensor | None]
    objective: Objective
    transform: Transform
    best: bool
    found: TrainedEpochs = field(default_factory=TrainedEpochs)
    kept: dict[str, Tensor] | None = None

    @property
    def nats(self) -> float | None:
        """The last validation loss, if it is one in nats."""
        losses = self.found.curves.get("validation loss")
        return losses[-1] if losses and self.objective == "cross-entropy" else None

    def look(self, epoch: int, loss: float, accuracy: float, rate: float = 0.0) -> None:
        values = {"train loss": loss, "train accuracy": accuracy}
        if len(self.held[0]):
            held = _mean(self.model, *self.held, self.objective, self.transform)
            values |= dict(zip(("validation loss", "validation accuracy"), held, strict=True))
        for name, value in values.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise FitError(
                    f"the network under study diverged in epoch {epoch}",
                    received=f"{name} {value} at learning rate {rate:.3g}",
                    legal="finite numbers",
                    mend="lower subject.train.learning_rate",
                )
            if name.endswith("loss") or self.objective == "cross-entropy":
                self.found.curves.setdefault(name, []).append(value)
        self.found.epochs.append(epoch)
        losses = self.found.curves.get("validation loss", ())
        if self.best and losses and losses[-1] == min(losses):
            self.kept = copied_state(self.model)


def objective_loss(output: Tensor, x: Tensor, labels: Tensor | None, objective: Objective) -> Tensor:
    """The mean loss of outputs for model inputs x and their labels."""
    if objective == "mse":
        return F.mse_loss(output, x)
    assert labels is not None
    return F.cross_entropy(output, labels)


def check_inputs(inputs: Tensor) -> None:
    """Raises UsageError unless inputs (N, …) are real numbers, and finite."""
    check_argument("inputs", inputs, Tensor)
    if inputs.ndim < 2 or inputs.is_complex() or inputs.dtype == torch.bool:
        received = type_and_shape(inputs)
        raise UsageError("a network cannot be given these inputs", received=received, legal="real numbers (N, …)")
    if inputs.is_floating_point() and not bool(inputs.isfinite().all()):
        raise UsageError("a network cannot be given these inputs", received="NaN or infinity", legal="finite numbers")


def as_classes(labels: Tensor | None, inputs: Tensor, classes: int | None) -> Tensor:
    """Returns labels (N,) as int64 tensor on their device, or raises UsageError; none are no labels of no inputs."""
    if not len(inputs) and (labels is None or not len(labels)):
        return torch.empty(0, dtype=torch.int64)
    device = labels.device if isinstance(labels, Tensor) else inputs.device
    return torch.from_numpy(check_labels(labels, len(inputs), classes, of="input")).to(device)


def check_output(model: nn.Module, inputs: Tensor, objective: Objective, transform: Transform) -> int | None:
    """Returns how many classes the model answers for, None where it does not classify.

    Raises:
        UsageError: What the model answers is not what the objective compares.
    """
    with evaluating(model):
        x = transform(inputs[:2]).to(device_of(model))
        shape = tuple(model(x).shape)
    if objective == "cross-entropy" and len(shape) != 2:
        raise UsageError(
            "this network does not classify", received=f"an output of shape {shape[1:]}", legal="one score per class"
        )
    if objective == "mse" and shape != tuple(x.shape):
        raise UsageError(
            "this network does not reconstruct", received=f"{shape[1:]} for inputs of shape {tuple(x.shape[1:])}"
        )
    return shape[1] if objective == "cross-entropy" else None


def device_of(model: nn.Module) -> torch.device:
    """Returns where a model's parameters are."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def copied_state(model: nn.Module) -> dict[str, Tensor]:
    """Returns a copy of a model's weights and buffers."""
    return copy.deepcopy(model.state_dict())


def _mean(
    model: nn.Module, inputs: Tensor, labels: Tensor | None, objective: Objective, transform: Transform
) -> tuple[float, float]:
    """The mean loss and the share of right answers in evaluation mode."""
    device, sums = device_of(model), torch.zeros(2, dtype=torch.float64)
    with evaluating(model):
        for start in range(0, len(inputs), EVALUATION_BATCH):
            part = slice(start, start + EVALUATION_BATCH)
            x = transform(inputs[part]).to(device)
            y = None if labels is None else labels[part].to(device)
            output = model(x)
            found = torch.stack((objective_loss(output, x, y, objective).double(), _right(output, y, objective)))
            sums += len(x) * found.cpu()
    loss, right = (sums / len(inputs)).tolist()
    return loss, right


def _right(output: Tensor, labels: Tensor | None, objective: Objective) -> Tensor:
    """The share of outputs whose largest score is the label's."""
    if objective == "mse" or labels is None:
        return torch.zeros((), dtype=torch.float64, device=output.device)
    return (output.detach().argmax(1) == labels).double().mean()
