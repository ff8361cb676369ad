"""From images to what a network takes, by the caller's own function."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.taps import Inputs, _map, _outlines, _RandomStream, _rows, _unwrap, own_batch, type_of
from infoplane.errors import UsageError
from infoplane.torch_state import callers_state


@checked
def model_input(transform: Callable[[Tensor], Any], images: np.ndarray | Tensor) -> Any:
    """Returns the model's input for a few uint8 images (B, C, H, W), made from a copy of them.

    A transform may write to what it is given. Random numbers that it draws do not move the caller's.

    Raises:
        UsageError: The transform fails on them; one line says how.
    """
    with _RandomStream():
        return quoted(transform)(own_batch(images))


def quoted(transform: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """Returns a function of the caller's that runs in the caller's state and whose failures are one line each."""

    def run(images: Tensor) -> Any:
        try:
            with callers_state():
                return transform(images)
        except Exception as error:
            # The caller's code: whatever it raises is theirs to mend, and one line says what.
            received = f"{type(error).__name__}: {error}"
            legal = "a function from uint8 images (B, C, H, W) to the model's input"
            raise UsageError("the transform fails on these images", received=received, legal=legal) from error

    return run


@checked
def as_taken(model: nn.Module, example: Inputs) -> Inputs:
    """Returns float inputs as the model takes them: as they are or, where that fails, in the type of its weights.

    Raises:
        UsageError: The model cannot be hooked.
    """
    model = _unwrap(model)
    dtype = type_of(model)
    if dtype == torch.float32:
        return example
    try:
        _outlines(model, _rows(example, 2))
    except UsageError:
        return _map(lambda x: x.to(dtype) if x.is_floating_point() else x, example)
    return example
