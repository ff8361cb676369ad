"""How far apart activations lie, within classes and between them.

Source: Goldfeld et al. 2018, section 5 and Fig. 6.
"""

import numpy as np
from scipy.spatial.distance import pdist
from torch import Tensor

from infoplane.checks import check_activations, check_labels, check_whole
from infoplane.errors import UsageError, plain

#: most examples of which all pairs are taken: 4.5 million pairs
EXAMPLES = 3000
#: most bins
BINS = 2**20


def distance_histogram(
    activations: Tensor | np.ndarray, labels: np.ndarray, *, bins: int = 60, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns edges (bins + 1,) and the numbers of pairs within and between classes whose distance lies between them.

    Of more than 3,000 examples that many are taken at random.

    Args:
        activations: (n, …), one row per example.
        labels: (n,), the class of each, a whole number from 0 on.
        bins: Of equal width, from 0 to the largest distance.
        seed: Of the choice of examples.

    Raises:
        UsageError: There are fewer than two examples, numbers differ, labels are no class numbers, or an activation is
            not a finite real number.

    Examples:
        >>> distance_histogram(np.array([[0.0], [1.0], [4.0]]), np.array([0, 0, 1]), bins=2)
        (array([0., 2., 4.]), array([1, 0]), array([0, 2]))
    """
    values = check_activations(activations)
    if np.shape(labels)[:1] != (len(values),) or len(values) < 2:
        received = f"{len(values):,} activations, {np.size(labels):,} labels"
        raise UsageError("distances need as many labels as activations", received=received, legal="two or more")
    labels = check_labels(labels, len(values), of="example")
    bins, seed = check_whole("number of bins", bins, least=1, most=BINS), check_whole("seed", seed, least=0)
    if len(values) > EXAMPLES:
        chosen = np.random.default_rng(seed).choice(len(values), EXAMPLES, replace=False)
        values, labels = values[chosen], labels[chosen]
    # By a power of two, which rounds nothing: squares of the largest and the smallest activations would be lost.
    _, exponent = np.frexp(np.abs(values).max())
    with np.errstate(over="ignore"):
        distances = np.ldexp(pdist(np.ldexp(values, -exponent)), exponent)
    if not np.isfinite(distances).all():
        mend = "divide them by a common factor"
        raise UsageError("activations lie too far apart", received=plain(np.abs(values).max()), mend=mend)
    first, second = np.triu_indices(len(values), 1)
    same = labels[first] == labels[second]
    edges = np.linspace(0.0, float(distances.max()) or 1.0, bins + 1)
    within, between = (np.histogram(distances[part], edges)[0] for part in (same, ~same))
    return edges, within, between
