"""The activations of many images, batch by batch."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.dependence import DependenceWarning, dependence
from infoplane.capture.inputs import model_input, quoted
from infoplane.capture.pytrees import Inputs, own_batch
from infoplane.capture.runs import values_of
from infoplane.capture.taps import Device, capture
from infoplane.data.space import check_stack
from infoplane.errors import UsageError
from infoplane.torch_state import own_state

#: most images that a network is run on together, and values of their inputs: its layers take many times as much
MOST_ROWS, WORK = 256, 2**21


@checked
@own_state()
def activations(
    model: nn.Module,
    layers: Sequence[str],
    images: np.ndarray | Tensor,
    *,
    transform: Callable[[Tensor], Inputs],
    batch_size: Annotated[int, Ge(1)] = 256,
    device: Device = "cpu",
    warn: bool = True,
) -> dict[str, Any]:
    """Returns the activations of all images by layer, `(N, ...)`: arrays for an array of images, else tensors.

    Args:
        model: Any module; left as found.
        layers: Names as in `list_layers`.
        images: uint8 `(N, C, H, W)`.
        transform: From a uint8 batch `(B, C, H, W)` to model inputs, e.g. `default_transform(levels)`.
        batch_size: Images per forward pass.
        device: Where activations of a tensor of images go; None leaves them where they were computed.
        warn: Whether to look at what activations depend on beside their image, and to warn (`DependenceWarning`).

    Raises:
        UsageError: As `Tap`; also if an activation is NaN or infinite, or the images are not as above.
    """
    as_array = isinstance(images, np.ndarray)
    if not as_array and not isinstance(images, Tensor):
        legal = "uint8 (N, C, H, W), a numpy array or a tensor"
        raise UsageError("cannot use these images", received=type(images).__name__, legal=legal)
    check_stack(images, exact=True, least=1)
    starts = range(0, len(images), batch_size)
    batches = (own_batch(images[start : start + batch_size]) for start in starts)
    if warn:
        few = own_batch(images[: min(4, len(images))])
        found = dependence(model, model_input(transform, torch.cat([few, few]) if len(few) == 1 else few), layers)
        for layer, own in ((layer, found[layer]) for layer in layers if layer in found):
            for note in own.notes:
                warnings.warn(DependenceWarning(f"layer {layer!r} {note}"), stacklevel=3)
    whole: dict[str, Tensor] = {}
    place = "cpu" if as_array else device
    for start, found in zip(starts, recorded(model, layers, batches, transform=transform, device=place)):
        for name, h in found.items():
            if name not in whole:
                whole[name] = h.new_empty((len(images), *h.shape[1:]))
            whole[name][start : start + len(h)] = h
    return {name: h.numpy() if as_array else h for name, h in whole.items()}


@checked
def recorded(
    model: nn.Module,
    layers: Sequence[str],
    batches: Iterable[Tensor],
    *,
    transform: Callable[[Tensor], Inputs],
    device: Device = "cpu",
) -> Iterator[dict[str, Tensor]]:
    """Returns an iterator over the activations of batches of images (B, C, H, W), by layer: `(B, ...)`, all finite.

    Raises:
        UsageError: As `Tap`; also if an activation is NaN or infinite, or there are not as many as images.
    """
    sizes: list[int] = []

    def at_least_two() -> Iterator[Tensor]:
        # Never a batch of one, which many a transform or model takes for an image without a batch.
        for part in batches:
            sizes.append(len(part))
            yield torch.cat([part, part]) if len(part) == 1 else part

    start = 0
    for batch in capture(model, layers, at_least_two(), transform=quoted(transform), device=device):
        wanted = sizes.pop()
        cut = {name: found[:1] if wanted == 1 and len(found) == 2 else found for name, found in batch.items()}
        for name, h in cut.items():
            if len(h) != wanted:
                received, legal = f"{len(h)} rows for a batch of {wanted} images", f"{wanted} rows"
                raise UsageError("transform must return one row per image", received=received, legal=legal)
            if len(bad := h.isfinite().logical_not().nonzero()):
                received = f"NaN or infinity at layer {name!r}, example {start + int(bad[0, 0])}"
                mend = "check the model's weights and that the transform is the one it was trained with"
                raise UsageError("activations must be finite", received=received, mend=mend)
        yield cut
        start += wanted


def in_single(layer: str, h: Tensor) -> Tensor:
    """Returns activations in single precision, in which they are measured.

    Raises:
        UsageError: They are finite, but beyond what it holds.
    """
    found = h.float()
    if not bool(found.isfinite().all()):
        received = f"up to {float(h.abs().max()):.3g} at layer {layer!r}"
        legal = f"up to {torch.finfo(torch.float32).max:.3g}, since they are measured in single precision"
        raise UsageError("activations are beyond float32", received=received, legal=legal)
    return found


@checked
def at_once(inputs: Inputs) -> int:
    """Returns how many images a network is run on together, given its inputs of some: fewer where they are large."""
    return max(2, min(MOST_ROWS, WORK // max(1, values_of(inputs))))
