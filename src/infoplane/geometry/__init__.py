"""Clustering of activations, which is defined for deterministic layers too."""

from infoplane.geometry.binned import binned_entropy, unit_binned_entropies

__all__ = ["binned_entropy", "unit_binned_entropies"]
