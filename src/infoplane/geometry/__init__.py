"""Clustering of activations, which is defined for deterministic layers too."""

from infoplane.calls import public
from infoplane.geometry.binned import binned_entropy, unit_binned_entropies
from infoplane.geometry.distances import distance_histogram

__all__ = ["binned_entropy", "distance_histogram", "unit_binned_entropies"]

public(globals(), __all__)
