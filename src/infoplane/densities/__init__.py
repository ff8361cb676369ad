"""Densities over discrete images, given a layer's activations or nothing."""

from infoplane.densities.density import Density
from infoplane.densities.likelihoods import Categorical, LogisticMixture, log_bin_mass
from infoplane.densities.pixelcnn import PixelCNN

#: name in a study -> class
REGISTRY: dict[str, type[Density]] = {"pixelcnn": PixelCNN}

__all__ = ["REGISTRY", "Categorical", "Density", "LogisticMixture", "PixelCNN", "log_bin_mass"]
