"""How far apart activations lie, within classes and between them.

Source: Goldfeld et al. 2018, section 5 and Fig. 6.
"""

import numpy as np
from scipy.spatial.distance import pdist
from torch import Tensor

from infoplane.errors import UsageError
from infoplane.geometry.activations import rows

#: most examples of which all pairs are taken: 4.5 million pairs
EXAMPLES = 3000


def distance_histogram(
    activations: Tensor | np.ndarray, labels: np.ndarray, *, bins: int = 60, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns edges (bins + 1,) and the numbers of pairs within and between classes whose distance lies between them.

    Of more than 3,000 examples that many are taken at random.

    Args:
        activations: (n, …), one row per example.
        labels: (n,), the class of each.
        bins: Of equal width, from 0 to the largest distance.
        seed: Of the choice of examples.

    Raises:
        UsageError: There are fewer than two examples, numbers differ, or an activation is not finite.
    """
    values = rows(activations)
    if len(values) != len(labels) or len(values) < 2:
        received = f"{len(values):,} activations, {len(labels):,} labels"
        raise UsageError("distances need as many labels as activations", received=received, legal="two or more")
    if len(values) > EXAMPLES:
        chosen = np.random.default_rng(seed).choice(len(values), EXAMPLES, replace=False)
        values, labels = values[chosen], np.asarray(labels)[chosen]
    distances = pdist(values)
    first, second = np.triu_indices(len(values), 1)
    same = np.asarray(labels)[first] == np.asarray(labels)[second]
    edges = np.linspace(0.0, float(distances.max()) or 1.0, bins + 1)
    within, between = (np.histogram(distances[part], edges)[0] for part in (same, ~same))
    return edges, within, between
