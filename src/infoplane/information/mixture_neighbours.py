"""Sums of Gaussians of which few matter at any query: what a search tree finds within reach.

Shapes: n centres, m queries, d dimensions, K neighbours. Everything enters and leaves in float64, on a CPU.
"""

import math
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

from infoplane.information.mixture_blocks import squared_reach

#: share of the centres, and number of queries, that tell how many neighbours there are
SAMPLE, PROBE = 32, 64
#: how much farther out centres lie whose leaves a search has to pass by, and with how many of them at most the tree is
#: faster than blocks (measured)
AROUND, FEW = 2.5, 80.0
#: queries that share one radius, those of like reach together
STRIP = 2048


class NeighbourSum:
    """Truncated sums over the nearest centres, of the arguments of a `BlockTree`."""

    def __init__(self, centres: Tensor, log_weights: Tensor, beta: float, tolerance: float) -> None:
        self.centres, self.log_weights, self.beta, self.tolerance = centres, log_weights, beta, tolerance

    @cached_property
    def _tree(self) -> KDTree:
        # Splits in the middle, not at medians: half the time to plant, and no slower to search.
        return KDTree(self.centres.numpy(), balanced_tree=False, compact_nodes=False, leafsize=32)

    def crowd(self, queries: Tensor) -> tuple[float, bool]:
        """Returns about how many centres are within reach of queries like these, of which some are looked at, and
        whether they are so few that the tree is the way to go."""
        some = queries[:: max(1, len(queries) // PROBE)].numpy()
        sample = self.centres[::SAMPLE]
        tree, reach = KDTree(sample.numpy()), self._typical_reach()
        near, around = (
            float(np.mean(tree.query_ball_point(some, radius, return_length=True))) * len(self.centres) / len(sample)
            for radius in (reach, AROUND * reach)
        )
        return near, around <= FEW

    def log_sum(self, queries: Tensor, neighbours: float) -> tuple[Tensor, Tensor]:
        """Returns log Σ_j w_j exp(-|v - c_j|²/2β²) of each query, and where more neighbours were within reach than
        were asked for, so that the sum is not known: (m, d) -> (m,), (m,) bool.

        Args:
            neighbours: About how many there are.
        """
        wanted = min(len(self.centres), 2 ** math.ceil(math.log2(4 * neighbours + 4)))
        found, unknown = self._within(queries, 1.1 * self._typical_reach(), wanted)
        # Those that lie farther out than most: the nearest first, which says how far to look.
        far = unknown.nonzero()[:, 0]
        distance = torch.from_numpy(self._tree.query(queries[far].numpy())[0])
        order = torch.argsort(distance)
        for part in order.split(STRIP) if len(far) else ():
            nearest = float(distance[part[-1]])
            least = self.log_weights.min() - 0.5 * (nearest / self.beta) ** 2
            reach = squared_reach(self.log_weights.min(), least, self.beta, self.tolerance).clamp_min(0).sqrt()
            again = far[part]
            found[again], unknown[again] = self._within(queries[again], max(float(reach), nearest * 1.000001), wanted)
        return found, unknown

    def _within(self, queries: Tensor, radius: float, wanted: int) -> tuple[Tensor, Tensor]:
        """The sums over at most so many nearest centres within a radius, and where that may not be enough."""
        near, index = self._tree.query(queries.numpy(), k=wanted, distance_upper_bound=radius)
        near, index = (torch.from_numpy(each).view(len(queries), wanted) for each in (near, index))
        missing = index == len(self.centres)
        index = index.masked_fill(missing, 0)
        square = ((queries[:, None] - self.centres[index]) / self.beta).square_().sum(2)
        exponents = (self.log_weights[index] - square / 2).masked_fill_(missing, -math.inf)
        nearest = index[:, 0]
        reach = squared_reach(self.log_weights[nearest], exponents[:, 0], self.beta, self.tolerance)
        reach = reach.clamp_min(0).sqrt()
        cut = near[:, -1] <= reach if wanted < len(self.centres) else torch.zeros_like(missing[:, 0])
        return exponents.logsumexp(1), missing[:, 0] | (reach > radius) | cut

    def _typical_reach(self) -> float:
        """How far a query looks that lies where the mixture's draws do."""
        weight = self.log_weights.median()
        first = weight - self.centres.shape[1] / 2
        return float(squared_reach(weight, first, self.beta, self.tolerance).clamp_min(0).sqrt())
