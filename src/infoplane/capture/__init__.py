"""The layers of any `nn.Module` that fire, their activations, and how their axes are read."""

from infoplane.capture.dependence import Dependence, DependenceWarning, dependence
from infoplane.capture.feeding import dependence_of_transform
from infoplane.capture.functions import functions_of
from infoplane.capture.inputs import as_taken, model_input, quoted
from infoplane.capture.layout import Reading, check_pattern, vector
from infoplane.capture.listing import fired, list_layers, readings_of
from infoplane.capture.recording import activations, at_once, in_single, recorded
from infoplane.capture.taps import Inputs, LayerInfo, Tap, capture, default_transform, own_batch, seeded

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
    "dependence_of_transform",
    "fired",
    "functions_of",
    "in_single",
    "list_layers",
    "model_input",
    "own_batch",
    "quoted",
    "readings_of",
    "recorded",
    "seeded",
    "vector",
]
