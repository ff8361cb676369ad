"""The density of a Gaussian mixture with many centres, to a stated tolerance: one front, and who computes it.

Shapes: n centres, m queries, d dimensions. All arithmetic is in float64.
"""

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from infoplane.errors import UsageError, check_positive
from infoplane.information.mixture_blocks import BLOCK, BlockTree, NeighbourSum, squared_distances
from infoplane.information.mixture_fourier import FourierSum
from infoplane.torch_state import own_state

#: about how many of the queries tell what all of them would cost
PROBE = 200
#: measured seconds on one core, of which only the ratios matter: a query of the blocks, a visit to one of them, a term
#: there, and a term that is only picked out
QUERY, VISIT, TERM, PICKED = 6e-6, 5e-7, 3.1e-9, 1.8e-9
#: terms that are sooner computed than the centres are put into blocks
DIRECT = 2**21
#: a point spread over one cell of the Fourier grid, a mode, and most modes in all
SPREAD, MODE, MODES = 1e-9, 4e-7, 2**24


class GaussianMixture:
    """p(t) = Σ_j w_j N(t; c_j, β²I), its identical centres folded into one with the sum of their weights.

    Args:
        centres: (n, d), any float type; as an attribute distinct and float64, as are weights.
        beta: The standard deviation of every Gaussian.
        weights: (n,), not negative; divided by their sum. Default: all the same.
        tolerance: Most relative error of a density, and so most absolute error of its logarithm; beyond it comes only
            what float64 loses on the squared distance itself, |log p| (d + 3) 2⁻⁵². At least 1e-12.

    Raises:
        UsageError: Shapes do not go together, or a number is not finite or out of range.
    """

    @own_state()
    def __init__(self, centres: Tensor, beta: float, weights: Tensor | None = None, *, tolerance: float = 1e-9) -> None:
        centres = check_points("centres", centres)
        beta = check_positive("beta", beta)
        if not 1e-12 <= tolerance < 1:
            raise UsageError("tolerance is out of range", received=tolerance, legal="1e-12 to 1")
        if weights is None:
            weights = torch.ones(len(centres), dtype=torch.float64, device=centres.device)
        weights = torch.as_tensor(weights).detach().to(centres)
        if weights.shape != centres.shape[:1]:
            raise UsageError(
                "weights and centres differ in number", received=f"{tuple(weights.shape)} and {len(centres)}"
            )
        if not bool(torch.isfinite(weights).all()) or float(weights.min()) < 0 or not float(weights.sum()) > 0:
            received = f"{float(weights.min()):g} to {float(weights.max()):g}"
            raise UsageError("weights must be finite, not negative, and not all zero", received=received)
        centres, weights = fold(centres[weights > 0], weights[weights > 0])
        self.centres, self.weights, self.beta, self.tolerance = centres, weights / weights.sum(), beta, tolerance

    @property
    def dimensions(self) -> int:
        """d."""
        return self.centres.shape[1]

    @property
    def log_peak(self) -> float:
        """log N(0; 0, β²I): the density of one Gaussian at its centre, nats."""
        return log_peak(self.dimensions, self.beta)

    @own_state()
    def log_density(self, queries: Tensor) -> Tensor:
        """Returns log p of each query, nats: (m, d) -> (m,)."""
        return self.log_sum(check_points("queries", queries, self.dimensions).to(self.centres)) + self.log_peak

    def log_sum(self, queries: Tensor) -> Tensor:
        """Returns log Σ_j w_j exp(-|v - c_j|²/2β²) of each query: (m, d) -> (m,), by whichever way is cheapest."""
        m = len(queries)
        if len(self.centres) * m <= 2**20 or len(self.centres) <= BLOCK["cpu"]:
            return self.blocks.log_sum(queries)
        if queries.device.type == "cpu":
            crowd, few = self.neighbours.crowd(queries)
            if few:
                return self._by_neighbours(queries, crowd)
        chosen = torch.arange(m, device=queries.device)[:: max(1, m // PROBE)]
        _, visits, typical = self.blocks.probe(queries[chosen])
        usual = queries.device.type == "cpu" and self.dimensions <= 3
        if usual and (fourier := self._fourier(queries, typical)) is not None:
            term = (PICKED if self.blocks.sparse else TERM) * self.blocks.centres.shape[1]
            width = 1 - math.log10(fourier.asked)
            points = SPREAD * width**self.dimensions * (len(self.centres) + m)
            if points + MODE * math.prod(fourier.modes) < (QUERY + (VISIT + term) * visits) * m:
                return self._by_fourier(queries, fourier)
        return self.blocks.log_sum(queries)

    @cached_property
    def blocks(self) -> BlockTree:
        """The centres in blocks."""
        return BlockTree(self.centres, self.weights.log(), self.beta, self.tolerance)

    @cached_property
    def neighbours(self) -> NeighbourSum:
        """The centres in a search tree."""
        return NeighbourSum(self.centres, self.weights.log(), self.beta, self.tolerance)

    def _by_neighbours(self, queries: Tensor, crowd: float) -> Tensor:
        """The nearest centres where they are all that matter, blocks elsewhere."""
        found, unknown = self.neighbours.log_sum(queries, crowd)
        left = queries[unknown]
        if len(left) * len(self.centres) <= DIRECT and "blocks" not in vars(self):  # not made yet
            exponents = self.weights.log() - squared_distances(left, self.centres, self.beta) / 2
            found[unknown] = exponents.logsumexp(1)
        else:
            found[unknown] = self.blocks.log_sum(left)
        return found

    def _fourier(self, queries: Tensor, typical: float) -> FourierSum | None:
        """The transform that would keep the tolerance at queries as dense as is typical; None if it cannot be had."""
        low = torch.minimum(queries.amin(0), self.centres.amin(0))
        high = torch.maximum(queries.amax(0), self.centres.amax(0))
        # An eighth as dense as typical, so that most queries are certified and few are left to the blocks.
        fourier = FourierSum(low, high, self.beta, self.tolerance * math.exp(typical) / 8)
        usable = math.prod(fourier.modes) <= MODES and fourier.error <= self.tolerance * math.exp(typical) / 2
        return fourier if usable else None

    def _by_fourier(self, queries: Tensor, fourier: FourierSum) -> Tensor:
        """The transform where its error is small against the sum itself, blocks elsewhere."""
        sums = fourier.fit(self.centres, self.weights).sum(queries)
        certified = (sums - fourier.error) * self.tolerance >= fourier.error
        found = torch.empty_like(sums)
        found[certified] = sums[certified].log()
        found[~certified] = self.blocks.log_sum(queries[~certified])
        return found


def log_peak(dimensions: int, beta: float) -> float:
    """Returns log N(0; 0, β²I), nats."""
    return -dimensions * (math.log(beta) + 0.5 * math.log(2 * math.pi))


def fold(points: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the distinct points and, for each, the sum of its weights: (n, d), (n,) -> (k, d), (k,)."""
    # Sorting one number per point is far faster than sorting rows; that equal numbers mean equal rows is then checked.
    bits = (points + 0.0).cpu().numpy().view(np.uint64)
    factors = np.random.default_rng(0).integers(1, 2**63, bits.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    mixed = bits ^ (bits >> np.uint64(32))
    keys = (mixed * factors).sum(1, dtype=np.uint64)
    ordered = np.sort(keys)
    if (ordered[1:] > ordered[:-1]).all():
        return points, weights
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if not np.array_equal(bits[first][inverse], bits):  # two rows share a number
        _, first, inverse = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    index = torch.from_numpy(inverse.reshape(-1)).to(points.device)
    summed = torch.zeros(len(first), dtype=weights.dtype, device=weights.device).index_add_(0, index, weights)
    return points[torch.from_numpy(first).to(points.device)], summed


def check_points(what: str, points: Tensor, dimensions: int | None = None) -> Tensor:
    """Returns points (n, d) as float64, or raises UsageError."""
    points = torch.as_tensor(points).detach()
    if points.ndim != 2 or 0 in points.shape:
        raise UsageError(
            f"{what} must be points", received=f"shape {tuple(points.shape)}", legal="(number, dimensions)"
        )
    if dimensions is not None and points.shape[1] != dimensions:
        raise UsageError("queries and centres differ in dimensions", received=f"{points.shape[1]} and {dimensions}")
    if not bool(torch.isfinite(points).all()):
        bad = int((~torch.isfinite(points)).sum())
        raise UsageError(f"{what} are not finite", received=f"{bad:,} of {points.numel():,}", legal="finite numbers")
    return points.double()
