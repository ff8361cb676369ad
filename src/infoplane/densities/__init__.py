"""Densities over discrete images, given a layer's activations or nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from infoplane.densities.density import Density
from infoplane.densities.likelihoods import Categorical, LogisticMixture, log_bin_mass
from infoplane.densities.pixelcnn import PixelCNN

#: name in a study -> class
REGISTRY: dict[str, type[Density]] = {"pixelcnn": PixelCNN}


def build(
    kind: str,
    shape: tuple[int, int, int],
    levels: int,
    context: tuple[int, ...] | None,
    options: Mapping[str, Any],
    *,
    seed: int = 0,
) -> Density:
    """Returns a density of that kind with the initial weights of that seed; the caller's random state stays."""
    constructor: Callable[..., Density] = REGISTRY[kind]
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return constructor(shape, levels, context, **options)


__all__ = ["REGISTRY", "Categorical", "Density", "LogisticMixture", "PixelCNN", "build", "log_bin_mass"]
