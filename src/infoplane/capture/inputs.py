"""From images to what a network takes, by the caller's own function."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.generators import RandomStream
from infoplane.capture.hooks import unwrap
from infoplane.capture.pytrees import Inputs, leaves, map_tensors, own_batch, rows_of
from infoplane.capture.taps import outlines, type_of
from infoplane.errors import UsageError
from infoplane.torch_state import callers_state


@checked
def model_input(transform: Callable[[Tensor], Any], images: Tensor) -> Any:
    """Returns the model's input for a few uint8 images (B, C, H, W), made from a copy of them.

    A transform may write to what it is given. Random numbers that it draws do not move the caller's.

    Raises:
        UsageError: The transform fails on them; one line says how.
    """
    with RandomStream():
        return quoted(transform)(own_batch(images))


#: what a transform is
LEGAL = "a function from uint8 images (B, C, H, W) to the model's input"


def check_transform(transform: Any) -> None:
    """Raises UsageError unless a transform can be called."""
    if not callable(transform):
        received, mend = f"{transform!r:.60}", "pass a function: transform=lambda x: x.float() / 255"
        raise UsageError("the transform is not a function", received=received, legal=LEGAL, mend=mend)


def quoted(transform: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Returns a function of the caller's that runs in the caller's state and whose failures are one line each.

    What it returns is checked as far as that can be done without the model.
    """

    def run(images: Tensor) -> Any:
        try:
            with callers_state():
                found = transform(images)
        except Exception as error:
            # The caller's code: whatever it raises is theirs to mend, and one line says what.
            received = f"{type(error).__name__}: {error}"
            raise UsageError("the transform fails on these images", received=received, legal=LEGAL) from error
        _check_input(found)
        return found

    return run


def _check_input(found: Any) -> None:
    """Raises UsageError unless this is what a model can be called with."""
    what, legal, received = "the transform returns no input of a model", "a tensor, or a dict or tuple of tensors", ""
    mend = "return a tensor"
    parts = (
        list(found.values()) if isinstance(found, Mapping) else found if isinstance(found, tuple | list) else [found]
    )
    tensors = [x for _, x in leaves(found)]
    if any(isinstance(part, np.ndarray) for part in parts):
        received, mend = "a numpy array", "return torch.from_numpy(array)"
    elif isinstance(found, list) and not tensors:
        received, mend = "a list of numbers", "return torch.tensor(list)"
    elif not tensors:
        received = "None" if found is None else f"a {type(found).__name__}"
        mend = "is a return missing?" if found is None else mend
    elif any(x.layout != torch.strided or x.is_nested for x in tensors):
        received, mend = "a sparse or nested tensor", "return x.to_dense()"
    elif any(x.is_meta for x in tensors):
        received, mend = "a tensor without values, on the meta device", "return it on the device of the images"
    if received:
        raise UsageError(what, received=received, legal=legal, mend=mend)


@checked
def as_taken(model: nn.Module, example: Inputs) -> Inputs:
    """Returns float inputs as the model takes them: as they are or, where that fails, in the type of its weights.

    Raises:
        UsageError: The model cannot be hooked.
    """
    model = unwrap(model)
    dtype = type_of(model)
    if dtype == torch.float32:
        return example
    try:
        outlines(model, rows_of(example, 2))
    except UsageError:
        return map_tensors(lambda x: x.to(dtype) if x.is_floating_point() else x, example)
    return example
