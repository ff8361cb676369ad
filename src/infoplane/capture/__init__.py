"""The layers of any `nn.Module` that fire, their activations, and how their axes are read."""

from infoplane.calls import public
from infoplane.capture.dependence import Dependence, DependenceWarning, dependence
from infoplane.capture.functions import functions_of
from infoplane.capture.generators import seeded
from infoplane.capture.inputs import as_taken, model_input
from infoplane.capture.layout import Reading, check_pattern, vector
from infoplane.capture.listing import fired, list_layers, readings_of
from infoplane.capture.pytrees import Inputs
from infoplane.capture.recording import activations, at_once, recorded
from infoplane.capture.taps import LayerInfo, Tap, capture, default_transform

__all__ = [
    "Dependence",
    "DependenceWarning",
    "Inputs",
    "LayerInfo",
    "Reading",
    "Tap",
    "activations",
    "as_taken",
    "at_once",
    "capture",
    "check_pattern",
    "default_transform",
    "dependence",
    "fired",
    "functions_of",
    "list_layers",
    "model_input",
    "readings_of",
    "recorded",
    "seeded",
    "vector",
]

public(globals(), __all__)
