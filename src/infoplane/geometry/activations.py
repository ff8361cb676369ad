"""Activations as every measure of geometry takes them."""

import numpy as np
from torch import Tensor

from infoplane.errors import UsageError


def rows(activations: Tensor | np.ndarray) -> np.ndarray:
    """Returns activations (n, …) as one row per example: (n, d) float64.

    Raises:
        UsageError: There are none, or one is not finite.
    """
    values = activations.detach().cpu().numpy() if isinstance(activations, Tensor) else np.asarray(activations)
    if values.ndim < 1 or not values.size:
        raise UsageError("there are no activations", received=f"shape {values.shape}", legal="(n, …)")
    values = values.reshape(len(values), -1).astype(np.float64)
    if not np.isfinite(values).all():
        bad = f"{int((~np.isfinite(values)).sum()):,} of {values.size:,}"
        raise UsageError("activations are not finite", received=bad, legal="finite numbers")
    return values
