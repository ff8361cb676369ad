"""How a layer's axes are read: as a vector or as a map that a density conditions on."""

import math

import torch
from torch import Tensor

from infoplane.errors import UsageError

MAX_CONTEXT = 65_536  # features of a flat context: beyond, the layer that reads it outgrows the density


def context_view(activation: Tensor) -> Tensor:
    """Returns an activation of any rank as a density conditions on it: a vector `(B, d)` or a map `(B, c, h, w)`.

    Every case is injective for a given shape, so no information is lost:

    * `(B, d)` and `(B, c, h, w)` stay; `(B,)` becomes `(B, 1)`;
    * tokens `(B, g * g, D)` become the map `(B, D, g, g)`;
    * tokens `(B, 1 + g * g, D)`, class token first, become `(B, 2 * D, g, g)`: the patches, then the class token,
      repeated at every position;
    * other token counts, and five or more dimensions, are flattened; so is a map of one position.

    Raises:
        UsageError: If that is a vector of more than `MAX_CONTEXT` features.
    """
    view = activation
    if view.ndim == 3:
        tokens = view.shape[1]
        side = math.isqrt(tokens)
        extra = tokens - side * side  # 1 if there is a class token
        if side and extra in (0, 1):
            patches = view[:, extra:].transpose(1, 2).unflatten(2, (side, side))
            leading = view[:, :extra].flatten(1)[:, :, None, None].expand(-1, -1, side, side)
            view = torch.cat([patches, leading], dim=1)
    if view.ndim == 4 and view.shape[2] * view.shape[3] != 1:
        return view
    # Not reshape(B, -1): that is ill-defined for a batch of none.
    view = view[:, None] if view.ndim == 1 else view.flatten(1)
    if view.shape[1] > MAX_CONTEXT:
        raise UsageError(
            "this activation is too large to condition on as a flat vector",
            received=f"{view.shape[1]:,} features from shape {tuple(activation.shape[1:])}",
            legal=f"at most {MAX_CONTEXT:,}",
            mend="choose another layer, or pool it inside the model and capture the pooled layer",
        )
    return view
