"""Fit densities and reconstructions to pairs of images and activations."""

from infoplane.calls import public
from infoplane.inversion.fit import Curve, fit, losses_of, seconds_per_update
from infoplane.inversion.invert import NegativeLogProb, cross_log_probs, fit_density, log_probs
from infoplane.inversion.pairs import Pairs, Standardiser
from infoplane.inversion.parallel import Ranks, joined
from infoplane.inversion.reconstruction import Reconstructor, SquaredError
from infoplane.inversion.settings import FitSettings
from infoplane.inversion.shared import SharedCurve, fit_shared, trunk_of

__all__ = [
    "Curve",
    "FitSettings",
    "NegativeLogProb",
    "Pairs",
    "Ranks",
    "Reconstructor",
    "SharedCurve",
    "SquaredError",
    "Standardiser",
    "cross_log_probs",
    "fit",
    "fit_density",
    "fit_shared",
    "joined",
    "log_probs",
    "losses_of",
    "seconds_per_update",
    "trunk_of",
]

public(globals(), __all__)
