"""The entropy of binned activations, which measures how far they cluster.

For a deterministic layer H(Bin(T)) = I(X;Bin(T)). It is not I(X;T), whatever the bins.

Source: Goldfeld et al. 2018, section 5 and Fig. 1.
"""

import math
from collections import Counter

import numpy as np
from torch import Tensor

from infoplane.checks import check_activations
from infoplane.errors import UsageError, check_positive, plain
from infoplane.estimate import Estimate


def binned_entropy(activations: Tensor | np.ndarray, bin_size: float) -> Estimate:
    """Returns H(Bin(T)) of a whole layer, nats: the entropy of the tuple of its units' bins over the given examples.

    Unit i of an example falls into bin ⌊t_i / bin_size + 1/2⌋, whatever its range: a bin lies around 0, and around ±1
    where its size goes into 1, so that noise does not divide what has come to rest there. Distinct tuples are counted
    exactly.

    Args:
        activations: (n, …), one row per example; float64 where bins are fine.
        bin_size: Width of a bin, in units of the activations.

    Raises:
        UsageError: There are no examples, an activation is not a finite real number, or the bin size is not a positive
            number.

    Examples:
        >>> print(binned_entropy(np.array([[-1.0], [-0.9], [0.9], [1.0]]), 0.5))
        0.69 nats (entropy of binned activations (clustering), n = 4)
    """
    bins = _bins(activations, bin_size)
    return _estimate(np.array(list(Counter(row.tobytes() for row in bins).values())), bin_size)


def unit_binned_entropies(activations: Tensor | np.ndarray, bin_size: float) -> list[Estimate]:
    """Returns H(Bin(T_i)) of every unit by itself, nats, in the order of the flattened units.

    Arguments and errors as `binned_entropy`.
    """
    bins = _bins(activations, bin_size)
    return [_estimate(np.unique(unit, return_counts=True)[1], bin_size) for unit in bins.T]


def _bins(activations: Tensor | np.ndarray, bin_size: float) -> np.ndarray:
    """The bins' numbers as the narrowest integers that hold them: (n, d), rows contiguous."""
    bin_size = check_positive("the bin size", bin_size)
    values = check_activations(activations)
    with np.errstate(over="ignore"):  # what becomes infinite is refused below
        bins = np.floor(values / bin_size + 0.5)
    reach = float(np.abs(bins).max())
    if reach >= 2**53:
        mend = f"a bin size of at least {plain(np.abs(values).max() / 2**52)}"
        raise UsageError("the bin size is too fine for these activations", received=bin_size, mend=mend)
    kind = next(kind for kind in (np.int8, np.int16, np.int32, np.int64) if reach <= np.iinfo(kind).max)
    return np.ascontiguousarray(bins.astype(kind))


def _estimate(counts: np.ndarray, bin_size: float) -> Estimate:
    n = int(counts.sum())
    value = math.log(n) - float((counts * np.log(counts)).sum()) / n
    # Where every input has a bin of its own the entropy cannot grow any more, whatever the bins.
    flags = (f"every example has a bin of its own: log {n:,}",) if len(counts) == n > 1 else ()
    return Estimate(value, None, "nats", "binned-entropy", None, n=n, refits=0, flags=flags)
