"""Sums of Gaussians over many centres, pruned: blocks of neighbouring centres, and only those that can matter.

Where few centres matter at any query, a search tree finds them, on a CPU.

Shapes: n centres, m queries, d dimensions, P pairs of a query and a block. Everything enters and leaves in float64.
"""

import math
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from scipy.spatial import KDTree
from torch import Tensor

#: log-weight of the entries that only fill a block up
NOTHING = -1e18
#: terms this far below the largest of their block are raised to it: exp is slow among denormals, and n e^-60 is nothing
FLOOR = -60.0
#: centres in a block, on a CPU and on a GPU (where a kernel's launch costs more than its work)
BLOCK = {"cpu": 256, "cuda": 2048}
#: entries of a tile of exponents: on a CPU it should stay in a core's cache
TILE = {"cpu": 2**16, "cuda": 2**25}
#: share of the terms within reach below which they are picked out
SPARSE = 0.03
#: most splits with which every box may be looked at for every query
DIRECT = 10
#: queries whose distances from all boxes stay in a core's cache
STRIP = 128
#: most pairs that are held at once
FRONTIER = 2**21
#: share of the centres, and number of queries, that tell how many neighbours there are
SAMPLE, PROBES = 32, 64
#: how much farther out centres lie whose leaves a search has to pass by, and with how many of them at most the tree is
#: faster than blocks (measured)
AROUND, FEW = 2.5, 80.0
#: queries that share one radius, those of like reach together
LIKE_REACH = 2048


class BlockTree:
    """Centres split at medians into blocks of one size: the leaves of a perfect binary tree of boxes.

    Args:
        centres: (n, d) float64.
        log_weights: (n,), normalised.
        beta: Standard deviation of the Gaussians.
        tolerance: Most relative error of a sum: one half for what is left out, one half for rounding.
    """

    def __init__(self, centres: Tensor, log_weights: Tensor, beta: float, tolerance: float) -> None:
        n, d = centres.shape
        self.beta, self.tolerance = beta, tolerance
        kind = centres.device.type
        self.depth = max(0, math.ceil(math.log2(n / BLOCK.get(kind, BLOCK["cuda"]))))
        blocks = 2**self.depth
        fill = -n % blocks
        if fill:
            centres = torch.cat([centres, centres[:fill]])
            log_weights = torch.cat([log_weights, log_weights.new_full((fill,), NOTHING)])
        order = _median_order(centres, self.depth)
        #: the centres as they lie in the blocks, neighbours near one another: (n,)
        self.order = order[order < n]
        self.centres = centres[order].view(blocks, -1, d)
        self.log_weights = log_weights[order].view(blocks, -1)
        self.weights = self.log_weights.logsumexp(1)
        low, high = self.centres.amin(1), self.centres.amax(1)
        self.middle = (low + high) / 2
        self.boxes = [(low, high)]
        while len(low) > 1:
            low, high = low.view(-1, 2, d).amin(1), high.view(-1, 2, d).amax(1)
            self.boxes.append((low, high))
        self.boxes.reverse()
        local = (self.centres - self.middle[:, None]) / beta
        square = local.square().sum(2)
        self.radius = square.amax(1).sqrt()
        # exp(-|v - c|²/2) = exp(-|v|²/2) exp(v·c - |c|²/2): the exponents of a tile are one product of matrices.
        self.columns = local.transpose(1, 2).contiguous()
        self.offsets = self.log_weights - square / 2
        self.coarse_columns, self.coarse_offsets = self.columns.float(), (-square / 2).float()
        #: queries whose pairs are held at once
        self.chunk = max(1, FRONTIER // (8 * (1 + self.depth)))
        #: whether few of the terms in the blocks within reach are within reach themselves
        self.sparse = False
        #: whether so many blocks are within reach that the tree above them saves nothing
        self.direct = False
        self.rows = max(1, TILE.get(kind, TILE["cuda"]) // self.centres.shape[1])

    def log_sum(self, queries: Tensor) -> Tensor:
        """Returns log Σ_j w_j exp(-|v - c_j|²/2β²) of each query: (m, d) -> (m,)."""
        return torch.cat([self._log_sum(part) for part in queries.split(self.chunk)])

    def probe(self, queries: Tensor) -> tuple[float, float, float]:
        """Returns what queries like these take: centres within reach and blocks to visit of one query, and the median
        of the logarithms of their sums. Further sums are taken in the way that suits them."""
        home, first, reach = self._reach(queries)
        pairs = self._within(queries, reach, home)
        if pairs is None:
            return math.inf, math.inf, float(first.median())
        everyone = torch.arange(len(home), device=home.device)
        query, block = (torch.cat(each) for each in zip(pairs, (everyone, home), strict=True))
        inside, sums = torch.zeros_like(reach), torch.zeros_like(reach)
        for part in torch.arange(len(query), device=home.device).split(self.rows):
            which = block[part]
            square = squared_distances(queries[query[part], None], self.centres[which])[:, 0]
            inside.index_add_(0, query[part], (square <= reach[query[part], None]).to(inside).sum(1))
            exponents = self.log_weights[which] - square / (2 * self.beta**2) - first[query[part], None]
            sums.index_add_(0, query[part], exponents.clamp_max(700.0).exp().sum(1))  # of more it is no number
        typical = float((first + sums.log()).median())
        found = float(inside.mean())
        self.chunk = max(64, int(FRONTIER * len(queries) / (3 * len(query))))
        self.direct = len(query) > len(queries) * len(self.centres) / 16 and self.depth <= DIRECT
        self.sparse = not queries.is_cuda and found < SPARSE * len(query) / len(queries) * self.centres.shape[1]
        return found, len(query) / len(queries), typical

    def _reach(self, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Every query's home block, the log of the sum over it, the squared distance beyond which nothing matters."""
        # The block that one comes to who always takes the nearer box.
        home = torch.zeros(len(queries), dtype=torch.long, device=queries.device)
        for low, high in self.boxes[1:]:
            left, right = (_gap(queries, low[child], high[child]) for child in (2 * home, 2 * home + 1))
            home = 2 * home + (right < left)
        sorted_home, order = torch.sort(home)
        first = torch.empty(len(home), dtype=queries.dtype, device=queries.device)
        first[order] = self._terms(queries, order, sorted_home)
        return home, first, squared_reach(self.weights[home], first, self.beta, self.tolerance)

    def _log_sum(self, queries: Tensor) -> Tensor:
        home, first, reach = self._reach(queries)
        if self.depth == 0:
            return first
        pairs = self._within(queries, reach, home)
        if pairs is None:
            half = len(queries) // 2
            return torch.cat([self._log_sum(queries[:half]), self._log_sum(queries[half:])])
        query, block = pairs
        if self.sparse:
            query, terms = self._few(queries, query, block, reach)
        else:
            terms = self._terms(queries, query, block)
        most = first.scatter_reduce(0, query, terms, "amax")
        total = torch.exp(first - most).index_add_(0, query, torch.exp(terms - most[query]))
        return most + torch.log(total)

    def _within(self, queries: Tensor, reach: Tensor, home: Tensor) -> tuple[Tensor, Tensor] | None:
        """The pairs of a query and a block, other than its home, whose box is within reach; None if too many.

        Ordered by block.
        """
        if self.direct:
            found = [
                self._boxes_near(part, limit)
                for part, limit in zip(queries.split(STRIP), reach.split(STRIP), strict=True)
            ]
            node, query = torch.cat(found, 1).nonzero(as_tuple=True)
        else:
            query = torch.arange(len(queries), device=queries.device)
            node = torch.zeros_like(query)
            for low, high in self.boxes[1:]:
                query, node = query.repeat(2), torch.cat([2 * node, 2 * node + 1])
                near = _gap(queries[query], low[node], high[node]) <= reach[query]
                query, node = query[near], node[near]
                if len(query) > FRONTIER and len(queries) > 1:
                    return None
            node, order = torch.sort(node)
            query = query[order]
        other = node != home[query]
        return query[other], node[other]

    def _boxes_near(self, queries: Tensor, reach: Tensor) -> Tensor:
        """Which blocks' boxes are within reach of which queries: (blocks, m) bool."""
        low, high = self.boxes[-1]
        gap = torch.zeros(len(low), len(queries), dtype=queries.dtype, device=queries.device)
        for axis in range(queries.shape[1]):
            point = queries[:, axis]
            gap += torch.maximum(low[:, axis, None] - point, point - high[:, axis, None]).clamp_min_(0).square_()
        return gap <= reach

    def _tiles(self, block: Tensor, rows: int) -> Iterator[tuple[int, slice]]:
        """The blocks of pairs in order, and the pairs of each, at most `rows` at a time."""
        start = 0
        for index, count in enumerate(torch.bincount(block).tolist()):
            for begin in range(start, start + count, rows):
                yield index, slice(begin, min(begin + rows, start + count))
            start += count

    def _terms(self, queries: Tensor, query: Tensor, block: Tensor) -> Tensor:
        """log of the sum over a block, for every pair: (P,); pairs ordered by block."""
        found, square = (torch.empty(len(query), dtype=queries.dtype, device=queries.device) for _ in range(2))
        for index, part in self._tiles(block, self.rows):
            local = (queries[query[part]] - self.middle[index]) / self.beta
            square[part] = local.square().sum(1)
            found[part] = _log_sum_exp(torch.addmm(self.offsets[index], local, self.columns[index]))
        found -= square / 2
        # The product's rounding error is at most this; where that is too much, distances are taken one by one.
        bound = (square.sqrt() + self.radius[block]).square() * (queries.shape[1] + 6) * 2.0**-53
        for part in torch.nonzero(bound > self.tolerance / 2)[:, 0].split(self.rows):
            one_by_one = squared_distances(queries[query[part], None], self.centres[block[part]], self.beta)[:, 0]
            found[part] = _log_sum_exp(self.log_weights[block[part]] - one_by_one / 2)
        return found

    def _few(self, queries: Tensor, query: Tensor, block: Tensor, reach: Tensor) -> tuple[Tensor, Tensor]:
        """The terms within reach one by one: the query and the logarithm of each; pairs ordered by block.

        Single precision finds them, with its error allowed for; double precision computes them.
        """
        rows, places, size = [], [], self.centres.shape[1]
        scaled = reach / (2 * self.beta**2)
        for index, part in self._tiles(block, 4 * self.rows):
            chosen = query[part]
            local = (queries[chosen] - self.middle[index]) / self.beta
            square = local.square().sum(1)
            slack = (square.sqrt() + self.radius[index]).square() * ((local.shape[1] + 6) * 2.0**-23)
            least = (square / 2 - scaled[chosen] - slack).float()
            near = torch.addmm(self.coarse_offsets[index], local.float(), self.coarse_columns[index]) >= least[:, None]
            row, column = near.nonzero(as_tuple=True)
            rows.append(chosen[row])
            places.append(column + index * size)
        if not rows:
            return query[:0], reach[:0]
        query, place = torch.cat(rows), torch.cat(places)
        distance = ((queries[query] - self.centres.flatten(0, 1)[place]) / self.beta).square_().sum(1)
        return query, self.log_weights.flatten()[place] - distance / 2


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
        some = queries[:: max(1, len(queries) // PROBES)].numpy()
        sample = self.centres[::SAMPLE]
        tree, reach = KDTree(sample.numpy()), self._typical_reach()
        near, around = (
            float(np.mean(tree.query_ball_point(some, radius, return_length=True))) * len(self.centres) / len(sample)
            for radius in (reach, AROUND * reach)
        )
        return near, around <= FEW

    def log_sum(self, queries: Tensor, neighbours: float) -> tuple[Tensor, Tensor]:
        """Returns log Σ_j w_j exp(-|v - c_j|²/2β²) of each query, with about so many neighbours, and where more were
        within reach than were asked for, so that the sum is not known: (m, d) -> (m,), (m,) bool."""
        wanted = min(len(self.centres), 2 ** math.ceil(math.log2(4 * neighbours + 4)))
        found, unknown = self._within(queries, 1.1 * self._typical_reach(), wanted)
        # Those that lie farther out than most: the nearest first, which says how far to look.
        far = unknown.nonzero()[:, 0]
        distance = torch.from_numpy(self._tree.query(queries[far].numpy())[0])
        order = torch.argsort(distance)
        for part in order.split(LIKE_REACH) if len(far) else ():
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


def squared_distances(points: Tensor, centres: Tensor, unit: float = 1.0) -> Tensor:
    """Returns |v - c|² in a unit of length, differences first: (…, q, d), (…, s, d) -> (…, q, s)."""
    shape = torch.broadcast_shapes(points.shape[:-2], centres.shape[:-2])
    found = points.new_zeros(*shape, points.shape[-2], centres.shape[-2])
    for axis in range(points.shape[-1]):
        found += ((points[..., :, None, axis] - centres[..., None, :, axis]) / unit).square_()
    return found


def squared_reach(log_weight: Tensor, log_sum: Tensor, beta: float, tolerance: float) -> Tensor:
    """Returns the squared distance beyond which no centre matters to a query some of whose terms are known.

    What lies beyond weighs at most 1 - W, and sums to at most that times exp(-reach/2β²), which is to be at most half
    the tolerance of the sum over what is known. Negative where nothing else matters at all.

    Args:
        log_weight: log W, the weight of the centres whose terms are known: (m,).
        log_sum: log of the sum of their terms: (m,).
    """
    elsewhere = torch.log((-torch.expm1(log_weight)).clamp_min(2.0**-50))
    return 2 * beta**2 * (elsewhere - math.log(tolerance / 2) - log_sum)


def _gap(queries: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Squared distances of queries from boxes: (P,)."""
    return torch.maximum(low - queries, queries - high).clamp_min_(0).square_().sum(1)


def _log_sum_exp(exponents: Tensor) -> Tensor:
    """log Σ exp over the last axis; overwrites its argument."""
    most = exponents.amax(-1)
    return exponents.sub_(most[..., None]).clamp_(min=FLOOR).exp_().sum(-1).log_().add_(most)


def _median_order(points: Tensor, depth: int) -> Tensor:
    """The order that splits points `depth` times at the median of the widest axis: (n,), n a multiple of 2^depth."""
    columns = points.T.contiguous()
    order = torch.arange(len(points), device=points.device)[None]
    for _ in range(depth):
        # Any axis will do for correctness: the widest is found on some of the points.
        some = points[order[:, :: max(1, order.shape[1] // 128)]]
        axis = (some.amax(1) - some.amin(1)).argmax(1)
        keys = columns[axis[:, None], order]
        half = keys.shape[1] // 2
        if keys.is_cuda:
            ranks = keys.argsort(1)
        else:
            ranks = torch.from_numpy(np.argpartition(keys.numpy(), half, axis=1))
        order = order.gather(1, ranks).view(-1, half)
    return order.view(-1)
