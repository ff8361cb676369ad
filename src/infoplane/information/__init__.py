"""From log-probabilities to Estimates."""

from infoplane.calls import public
from infoplane.information.ceilings import Seen, hashes_of, seen_hashes, seen_values, states_ceiling
from infoplane.information.contrastive import (
    contrastive_batches,
    contrastive_bound,
    contrastive_terms,
    one_of_each,
)
from infoplane.information.crossed import Mean, count, crossed_mean, equivalent_dof
from infoplane.information.falls import Compression, compression
from infoplane.information.inversion_bounds import (
    cross_entropy,
    difference,
    negative_cross_entropy,
    usable_information,
)
from infoplane.information.label import accuracy, fit_probe, label_information
from infoplane.information.pooling import pooled
from infoplane.information.variety import sample_variance, variances, whole_variance
from infoplane.information.wide_probe import Rows

__all__ = [
    "Compression",
    "Mean",
    "Rows",
    "Seen",
    "accuracy",
    "compression",
    "contrastive_batches",
    "contrastive_bound",
    "contrastive_terms",
    "count",
    "cross_entropy",
    "crossed_mean",
    "difference",
    "equivalent_dof",
    "fit_probe",
    "hashes_of",
    "label_information",
    "negative_cross_entropy",
    "one_of_each",
    "pooled",
    "sample_variance",
    "seen_hashes",
    "seen_values",
    "states_ceiling",
    "usable_information",
    "variances",
    "whole_variance",
]

public(globals(), __all__)
