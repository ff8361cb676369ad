"""From images to what a network takes, by the caller's own function."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from infoplane.errors import UsageError


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
        raise UsageError("the transform fails on two images", received=received, legal=legal) from error
