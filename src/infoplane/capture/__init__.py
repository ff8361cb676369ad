"""The layers of any `nn.Module` that fire, their activations, and how their axes are read."""

from infoplane.capture.layout import Reading, check_pattern, vector
from infoplane.capture.listing import list_layers, readings_of
from infoplane.capture.taps import Inputs, LayerInfo, Tap, activations, capture, default_transform

__all__ = [
    "Inputs",
    "LayerInfo",
    "Reading",
    "Tap",
    "activations",
    "capture",
    "check_pattern",
    "default_transform",
    "list_layers",
    "readings_of",
    "vector",
]
