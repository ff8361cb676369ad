"""How much information about the input, and about the label, each layer of a neural network keeps.

import infoplane
profile = infoplane.measure(model, images, labels, layers=["layer2", "avgpool"], budget="10m")
print(profile)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infoplane.capture import list_layers as list_layers
    from infoplane.densities import PixelCNN as PixelCNN
    from infoplane.errors import InfoplaneError as InfoplaneError
    from infoplane.estimate import Estimate as Estimate
    from infoplane.profile import Profile as Profile
    from infoplane.profile import measure as measure

__version__ = "0.1.0"

#: public name -> module that has it; imported on first use, so that `import infoplane` does not import torch
_HOMES = {
    "Estimate": "infoplane.estimate",
    "InfoplaneError": "infoplane.errors",
    "PixelCNN": "infoplane.densities",
    "Profile": "infoplane.profile",
    "list_layers": "infoplane.capture",
    "measure": "infoplane.profile",
}

__all__ = ["Estimate", "InfoplaneError", "PixelCNN", "Profile", "__version__", "list_layers", "measure"]


def __getattr__(name: str) -> Any:
    import importlib

    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'infoplane' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
