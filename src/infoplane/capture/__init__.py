"""The layers of any `nn.Module` that fire, their activations, and how their axes are read."""

from infoplane.capture.layout import MAX_CONTEXT, context_view
from infoplane.capture.taps import Inputs, LayerInfo, Tap, activations, capture, default_transform, list_layers

__all__ = [
    "MAX_CONTEXT",
    "Inputs",
    "LayerInfo",
    "Tap",
    "activations",
    "capture",
    "context_view",
    "default_transform",
    "list_layers",
]
