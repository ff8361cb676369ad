"""What follows a layer, trained anew to read the label from it: q(y|h_j) of the forward direction.

I(y;h_j) ≥ H(y) − CE(y|h_j): everything up to h_j is frozen, the rest gets new weights and is trained as the network
was, on the decoding split; the evaluation split is scored (Darlow & Storkey 2018, section 4.1 and algorithm 1).
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.arguments import Seed, checked
from infoplane.data import hold_out
from infoplane.errors import UsageError, unknown
from infoplane.information.class_prior import ClassPrior
from infoplane.subjects.train_epochs import (
    EVALUATION_BATCH,
    EpochSettings,
    Transform,
    as_classes,
    check_inputs,
    copied_state,
    device_of,
    train_epochs,
)
from infoplane.torch_state import evaluating, own_state

#: share of the decoding split that chooses the weights and what they are mixed with
HELD_OUT = 0.1
#: added to a seed for new weights: with the same seed a network at epoch 0 would get those that it has
ANEW = 1_000_003


@runtime_checkable
class Staged(Protocol):
    """A network that is a chain of named parts: what it must offer for its rest to be trained anew."""

    def stages(self) -> dict[str, nn.Module]:
        """Parts by name, in the order in which they follow one another."""
        ...

    def classifier(self, classes: int) -> nn.Module:
        """A classifier with the same layers, and new weights from the caller's random state."""
        ...


@dataclass
class Forward:
    """The label read from one layer.

    Attributes:
        log_probs: log q(y|h_j) of every evaluation example in nats, float64 (n,), mixed with the classes' shares.
        correct: Which of them the rest of the network reads right, bool (n,).
        curves: As `TrainedEpochs.curves`, on the decoding split and its held-out share.
        parameters: Number of parameters that were trained.
        state: The weights of the rest.
    """

    log_probs: Tensor
    correct: Tensor
    curves: dict[str, list[float]]
    parameters: int
    state: dict[str, Tensor]


@checked
def head(model: nn.Module, layer: str) -> nn.Module:
    """Returns a frozen copy of everything up to a layer, its output included: inputs (B, …) -> h (B, …).

    It is in evaluation mode, and needs no gradients; the model itself stays as it is, whatever is done with the copy.

    Raises:
        UsageError: The model is no chain of named parts, or has no such layer.
    """
    parts, at = _parts(model, layer)
    copied = copy.deepcopy(nn.Sequential(*(part for _, part in parts[: at + 1])))
    return copied.eval().requires_grad_(False)


@checked
def tail(model: nn.Module, layer: str) -> nn.Module:
    """Returns everything behind a layer, as parts of the model itself: h (B, …) -> the model's output.

    Raises:
        UsageError: The model is no chain of named parts, has no such layer, or nothing to train behind it.
    """
    parts, at = _parts(model, layer)
    rest = nn.Sequential(*(part for _, part in parts[at + 1 :]))
    if next(rest.parameters(), None) is None:
        legal = ", ".join(name for name, _ in parts[:-1])
        raise UsageError("nothing behind this layer can be trained", received=layer, legal=legal)
    return rest


@checked
@own_state()
def decode_labels(
    model: nn.Module,
    layer: str,
    decoding: tuple[Tensor, Tensor],
    evaluation: tuple[Tensor, Tensor],
    settings: EpochSettings,
    *,
    classes: int,
    seed: Seed,
    transform: Transform | None = None,
    held_out: float = HELD_OUT,
    groups: np.ndarray | None = None,
    progress: Callable[[int, int, float | None], None] | None = None,
) -> Forward:
    """Trains what follows a layer anew on the decoding split and scores the labels of the evaluation split.

    The model is not changed: neither its weights nor the statistics of its batch norms. Of an autoencoder, the rest is
    that of the classifier with the same encoder. A share of the decoding split is not trained on: it chooses the epoch
    whose weights are taken (the paper takes the last ones) and how much of the classes' shares is mixed into their
    answers (`ClassPrior`), so that a reader that became sure of what it cannot know, or never saw a class, does not pay
    for it without limit.

    Args:
        model: The network under study at a checkpoint, on the device where all is computed.
        layer: h_j, one of the model's named parts.
        decoding: Inputs (N, …) and labels (N,) int64 to train on; evaluation likewise. Without `transform` inputs are
            the layer's activations, as captured; with it they are images, whose activations are computed anew for
            every batch.
        settings: The schedule that the network itself was trained with; its own `held_out` and `checkpoints` are not
            used.
        classes: Number of labels.
        seed: Of the new weights, what is held out, the order of examples and dropout. The caller's random state is left
            as it was.
        transform: uint8 images -> the model's input.
        held_out: The share of the decoding split that only chooses.
        groups: (N,) whole numbers, the same for examples that belong together, which are on one side of it.

    Raises:
        FitError: A loss is not finite.
        UsageError: The model is no chain of named parts, has no such layer, or nothing to train behind it; there are
            fewer than two examples to train on, or the share cannot be held out.
    """
    device = device_of(model)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed + ANEW)
        rest = tail(_staged(model).classifier(classes), layer).to(device)
    frozen = None if transform is None else head(model, layer)

    @torch.no_grad()
    def of_batch(batch: Tensor) -> Tensor:
        return batch if transform is None or frozen is None else frozen(transform(batch).to(device))

    sides = hold_out(np.arange(len(decoding[0])), held_out, seed, groups)
    places = [torch.as_tensor(side, device=decoding[0].device) for side in sides]
    kept, held = ((decoding[0][at], decoding[1][at.to(decoding[1].device)]) for at in places)
    trained = train_epochs(
        rest,
        *kept,
        *held,
        settings.model_copy(update={"checkpoints": ()}),
        objective="cross-entropy",
        transform=of_batch,
        seed=seed,
        best=True,
        progress=progress,
    )
    known = held[1].cpu()
    prior = ClassPrior.of(kept[1].cpu().numpy(), classes)
    prior = prior.weighted(_of_labels(label_table(rest, held[0], of_batch), known).numpy(), known.numpy())
    table = label_table(rest, evaluation[0], of_batch)
    labels = evaluation[1].cpu()
    mixed = prior.mix(_of_labels(table, labels).exp().numpy(), labels.numpy())
    return Forward(
        log_probs=torch.from_numpy(mixed).log(),
        correct=table.argmax(1) == labels,
        curves=trained.curves,
        parameters=sum(p.numel() for p in rest.parameters()),
        state=copied_state(rest),
    )


@checked
def label_log_probs(model: nn.Module, inputs: Tensor, labels: Tensor, transform: Transform) -> Tensor:
    """Returns log q(y|x) that a classifier itself gives each label, in nats, float64 (n,), in evaluation mode.

    Its mean is −CE(y|network), which with H(y) bounds the information about the label in all of its layers from below.
    """
    check_inputs(inputs)
    table = label_table(model, inputs, transform)
    return _of_labels(table, as_classes(labels, inputs, table.shape[1]).cpu())


@own_state()
def label_table(model: nn.Module, inputs: Tensor, transform: Transform) -> Tensor:
    """Returns log q(y|x) of all classes, float64 (n, classes) on the CPU, in evaluation mode."""
    device = device_of(model)
    with evaluating(model):
        rows = [
            F.log_softmax(model(transform(inputs[start : start + EVALUATION_BATCH]).to(device)).double(), 1).cpu()
            for start in range(0, len(inputs), EVALUATION_BATCH)
        ]
    return torch.cat(rows)


def _of_labels(table: Tensor, labels: Tensor) -> Tensor:
    """The entries (n,) of the labels in (n, classes)."""
    return table.gather(1, labels[:, None])[:, 0]


def _staged(model: nn.Module) -> Staged:
    if not isinstance(model, Staged):
        raise UsageError(
            "what follows a layer of this network cannot be trained anew",
            received=type(model).__name__,
            legal="a network with the methods `stages` and `classifier`, such as ResNet21",
            mend="use linear probes, which work at any layer",
        )
    return model


def _parts(model: nn.Module, layer: str) -> tuple[list[tuple[str, nn.Module]], int]:
    """The model's parts and where among them the layer is."""
    parts = list(_staged(model).stages().items())
    names = [name for name, _ in parts]
    if layer not in names:
        raise unknown("layer", layer, names)
    return parts, names.index(layer)
