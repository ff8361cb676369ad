"""Densities over discrete images, given a layer's activations or nothing."""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from infoplane.arguments import Seed, checked
from infoplane.calls import public
from infoplane.densities.autoregressive import Autoregressive
from infoplane.densities.density import Density
from infoplane.densities.likelihoods import Categorical, LogisticMixture, log_bin_mass
from infoplane.densities.pixelcnn import PixelCNN
from infoplane.registry import Registry
from infoplane.settings import options_for
from infoplane.torch_state import own_state

#: name in a study -> class
REGISTRY: Registry[type[Density]] = Registry(
    "kind of density",
    "infoplane.densities",
    {"pixelcnn": PixelCNN, "autoregressive": Autoregressive},
    fits=lambda found: isinstance(found, type) and issubclass(found, Density),
    legal="a subclass of infoplane.densities.Density",
)


@checked
@own_state()
def build(
    kind: str,
    shape: tuple[int, int, int],
    levels: int,
    context: tuple[int, ...] | None,
    options: Mapping[str, Any],
    *,
    seed: Seed = 0,
    device: str = "cpu",
) -> Density:
    """Returns a density of that kind with the initial weights of that seed, float32.

    Neither the caller's random state nor default types and devices touch it. On the device "meta" it has shapes but no
    weights, which is enough to count what it costs.
    """
    constructor: Callable[..., Density] = REGISTRY[kind]
    options = options_for(constructor, options, kind)
    with torch.random.fork_rng([]), torch.device(device):
        torch.manual_seed(seed)
        return constructor(shape, levels, context, **options)


__all__ = [
    "REGISTRY",
    "Autoregressive",
    "Categorical",
    "Density",
    "LogisticMixture",
    "PixelCNN",
    "build",
    "log_bin_mass",
]

public(globals(), __all__)
