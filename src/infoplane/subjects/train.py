"""Train a network under study, keeping checkpoints on a schedule."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Le, Lt
from pydantic import model_validator
from torch import Tensor, nn

from infoplane.arguments import Seed, checked
from infoplane.errors import FitError, UsageError
from infoplane.settings import Settings
from infoplane.subjects.train_epochs import as_classes, check_inputs, check_late, check_output, copied_state
from infoplane.torch_state import evaluating, own_state

Checkpoint = Annotated[int, Ge(0), Le(10**8)] | Literal["end"]


class TrainSettings(Settings):
    """How a classifier is trained (Nash et al. 2019, appendix A: Adam 3e-4, early stopping on validation accuracy).

    Attributes:
        updates: Most gradient steps.
        batch: Examples per step.
        learning_rate: Adam's.
        held_out: Share of the encoding split on which to stop early.
        evaluate_every: Steps between evaluations.
        patience: Evaluations without improvement before stopping; None trains to the end.
        checkpoints: Update counts whose weights are kept; "end" is the best by validation accuracy.
    """

    updates: Annotated[int, Ge(1), Le(10**8)] = 2000
    batch: Annotated[int, Ge(1), Le(10**5)] = 64
    learning_rate: Annotated[float, Gt(0)] = 3e-4
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.1
    evaluate_every: Annotated[int, Ge(1), Le(10**8)] = 100
    patience: Annotated[int, Ge(1), Le(10**5)] | None = None
    checkpoints: tuple[Checkpoint, ...] = ("end",)

    @model_validator(mode="after")
    def _check_checkpoints(self) -> "TrainSettings":
        check_late(self.checkpoints, self.updates, "updates")
        return self


@dataclass
class Trained:
    """Weights per checkpoint and what training looked like."""

    states: dict[str, dict[str, Tensor]]
    updates: list[int]
    validation_accuracy: list[float]
    best_update: int


@checked
@own_state()
def train_classifier(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    validation_inputs: Tensor,
    validation_labels: Tensor,
    settings: TrainSettings,
    *,
    transform: Callable[[Tensor], Tensor],
    seed: Seed,
    progress: Callable[[int, int, float | None], None] | None = None,
) -> Trained:
    """Trains `model` in place by cross-entropy and returns the weights at each checkpoint.

    Args:
        inputs: uint8 images (N, C, H, W); `validation_inputs` likewise.
        labels: (N,) int64.
        transform: uint8 images -> the model's input.

    Raises:
        FitError: The loss is not finite any more.
        UsageError: The model's output is not one score per class.
    """
    check_inputs(inputs)
    check_inputs(validation_inputs)
    if not len(inputs):
        raise UsageError("too few examples to train a network on", received=0, legal="1 or more")
    classes = check_output(model, inputs, "cross-entropy", transform)
    labels = as_classes(labels, inputs, classes)
    validation_labels = as_classes(validation_labels, validation_inputs, classes)
    wanted = {c for c in settings.checkpoints if isinstance(c, int)}
    trained = Trained({}, [], [], 0)
    best, best_accuracy, stale = copied_state(model), -math.inf, 0
    with torch.random.fork_rng([inputs.device] if inputs.device.type == "cuda" else []):
        torch.manual_seed(seed)
        optimiser = torch.optim.Adam(model.parameters(), lr=settings.learning_rate)
        for step in range(settings.updates + 1):
            if step in wanted:
                trained.states[str(step)] = copied_state(model)
            if step == settings.updates:
                break
            model.train()
            index = torch.randint(len(inputs), (settings.batch,)).to(inputs.device)
            loss = F.cross_entropy(model(transform(inputs[index])), labels[index])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if progress is not None:
                progress(step + 1, settings.updates, None)
            if (step + 1) % settings.evaluate_every == 0 or step + 1 == settings.updates:
                if not math.isfinite(float(loss.detach())):
                    raise FitError(
                        f"the network under study diverged at update {step + 1}",
                        received=f"loss {float(loss.detach())} at learning rate {settings.learning_rate:g}",
                        mend="lower subject.train.learning_rate",
                    )
                share = float(correct(model, validation_inputs, validation_labels, transform).float().mean())
                trained.updates.append(step + 1)
                trained.validation_accuracy.append(share)
                stale += 1
                if share > best_accuracy:
                    best, best_accuracy, stale, trained.best_update = copied_state(model), share, 0, step + 1
                # The weights after a step are kept as the next one begins.
                if settings.patience is not None and stale >= settings.patience and max(wanted, default=-1) <= step:
                    break
    if "end" in settings.checkpoints:
        trained.states["end"] = best
    model.load_state_dict(best)
    model.eval()
    return trained


@checked
@own_state()
def correct(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    transform: Callable[[Tensor], Tensor],
    *,
    batch: Annotated[int, Ge(1)] = 512,
) -> Tensor:
    """Returns which examples the classifier gets right, bool (N,), in evaluation mode."""
    check_inputs(inputs)
    labels = as_classes(labels, inputs, None)
    with evaluating(model):
        predicted = [model(transform(inputs[i : i + batch])).argmax(1) for i in range(0, len(inputs), batch)]
    return torch.cat(predicted) == labels
