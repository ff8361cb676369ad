"""From images to what a network takes, by the caller's own function."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.taps import Inputs, _map, _outlines, _rows, _unwrap, type_of
from infoplane.errors import UsageError


@checked
def model_input(transform: Callable[[Tensor], Any], images: Tensor) -> Any:
    """Returns the model's input for a few uint8 images (B, C, H, W).

    Raises:
        UsageError: The transform fails on them; one line says how.
    """
    try:
        return transform(images)
    except Exception as error:
        # The caller's code: whatever it raises is theirs to mend, and one line says what.
        received = f"{type(error).__name__}: {error}"
        legal = "a function from uint8 images (B, C, H, W) to the model's input"
        raise UsageError("the transform fails on these images", received=received, legal=legal) from error


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
