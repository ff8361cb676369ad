"""x̂(h): the image as a linear function of a layer, solved in closed form and cross-fitted.

A density that is told x̂(h) need not learn by gradients what a layer of many units says of each pixel. On the images
that the solution was fitted to, x̂ is better than on others; a density that saw it there would trust it too much. So
these images are parted into folds, and each is predicted by a solution that did not see its fold (cross-fitting,
Chernozhukov et al. 2018).

Shape legend: n images, d units, (c, h, w) a map, C channels, H rows, W columns.
"""

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.bases import with_ones
from infoplane.densities.likelihoods import scale_levels

FOLDS = 5
#: units up to which each pixel is regressed on all of them at once
MOST_UNITS = 1536
#: values of the weights of such a solution
MOST_WEIGHTS = 6_000_000
#: strengths among which the first fold chooses, relative to the units' mean square
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 30.0, 1000.0)
#: values of an image by which it does
LOOKED_AT = 96
#: cells of maps that a local solution is fitted to, in each fold
MOST_CELLS = 30_000

#: yields (rows, images (b, C, H, W), contexts (b, …)) over all examples
Batches = Callable[[], Iterable[tuple[Tensor, Tensor, Tensor]]]


class Readout(nn.Module):
    """x̂(h), on [−1, 1]: from all units to each pixel, or from each 3×3 patch of a map to the pixels below its centre.

    Args:
        shape: (C, H, W) of the images.
        levels: L.
        context: (d,) or (c, h, w).
    """

    weight: Tensor
    mean: Tensor

    def __init__(self, shape: tuple[int, int, int], levels: int, context: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.levels, self.context = shape, levels, context
        self.local = len(context) == 3 and not is_solvable(math.prod(context), math.prod(shape))
        if self.local:
            self.cell = (-(-shape[1] // context[1]), -(-shape[2] // context[2]))
            size = (9 * context[0] + 1, shape[0] * math.prod(self.cell))
        else:
            # Of vectors that are too wide a fixed random projection, which keeps their inner products.
            self.units = min(math.prod(context), largest(math.prod(shape)))
            self._projection: Tensor | None = None  # made when it is first used: it may be large
            size = (self.units + 1, math.prod(shape))
        self.register_buffer("weight", torch.zeros(size))
        self.register_buffer("mean", torch.zeros(shape))

    def inputs(self, context: Tensor) -> Tensor:
        """What the solution is linear in, ones last: (B, …) -> (B, d + 1), or (B·h·w, 9c + 1)."""
        context = context.to(self.weight.dtype)
        if self.local:
            patches = F.unfold(context, 3, padding=1)  # (B, 9c, h·w)
            return with_ones(patches.transpose(1, 2).flatten(0, 1))
        flat = context.flatten(1)
        if flat.shape[1] > self.units:
            flat = flat @ self._projected(flat)
        return with_ones(flat)

    def _projected(self, flat: Tensor) -> Tensor:
        """The projection of vectors (B, d), of their type and where they are: (d, units)."""
        kept = self._projection
        if kept is None:
            generator = torch.Generator().manual_seed(0)
            drawn = torch.randn(flat.shape[1], self.units, generator=generator, dtype=torch.float32)
            self._projection = kept = drawn * self.units**-0.5
        return kept.to(flat)

    def targets(self, images: Tensor) -> Tensor:
        """What is predicted, less its mean over images: (B, C, H, W) -> (B, C·H·W), or (B·h·w, C · cell)."""
        left = scale_levels(images, self.levels, self.weight.dtype) - self.mean
        if not self.local:
            return left.flatten(1)
        rows, columns = (size * cell for size, cell in zip(self.context[1:], self.cell, strict=True))
        fitted = F.interpolate(left, (rows, columns), mode="nearest") if (rows, columns) != self.shape[1:] else left
        blocks = F.unfold(fitted, self.cell, stride=self.cell)
        return blocks.transpose(1, 2).flatten(0, 1)

    def images(self, found: Tensor, n: int) -> Tensor:
        """From what the solution gives of n images to predictions (n, C, H, W)."""
        if self.local:
            rows, columns = (size * cell for size, cell in zip(self.context[1:], self.cell, strict=True))
            blocks = found.unflatten(0, (n, -1)).transpose(1, 2)
            found = F.fold(blocks, (rows, columns), self.cell, stride=self.cell)
            if (rows, columns) != self.shape[1:]:
                found = F.adaptive_avg_pool2d(found, self.shape[1:])
        return found.view(n, *self.shape) + self.mean

    def forward(self, context: Tensor) -> Tensor:
        """x̂ of contexts (B, …): (B, C, H, W)."""
        return self.images(self.inputs(context) @ self.weight, len(context))

    @torch.no_grad()
    def fit(self, batches: Batches, folds: Tensor) -> Tensor:
        """Solves for the weights on all examples; returns each fold's own, of all others: (folds, d + 1, …).

        The strength is that with which the other folds predict the first one best.

        Args:
            folds: The fold of each example, (n,).
        """
        count = len(folds)
        if not self.local:  # whose constant, the same everywhere, would not give back what another mean takes off
            mean = torch.zeros(self.shape, dtype=torch.float64, device=self.weight.device)
            for _, images, _ in batches():
                mean += scale_levels(images, self.levels, torch.float64).sum(0)
            self.mean.copy_(mean / count)
        number = int(folds.max()) + 1
        size, outputs = self.weight.shape
        options = {"dtype": torch.float64, "device": self.weight.device}
        grams, products = torch.zeros(number, size, size, **options), torch.zeros(number, size, outputs, **options)
        cells = torch.zeros(number, **options)
        share = min(1.0, MOST_CELLS * number / (count * math.prod(self.context[1:]))) if self.local else 1.0
        generator = torch.Generator().manual_seed(0)
        for rows, images, context in batches():
            x, y = self.inputs(context), self.targets(images)
            fold = folds[rows].to(x.device).repeat_interleave(len(x) // len(images))
            if share < 1:
                chosen = (torch.rand(len(x), generator=generator) < share).to(x.device)
                x, y, fold = x[chosen], y[chosen], fold[chosen]
            for k in range(number):
                own = fold == k
                if own.any():
                    grams[k] += x[own].T @ x[own]
                    products[k] += x[own].T @ y[own]
                    cells[k] += own.sum()
        strength = self._strength(grams, products, cells)
        gram, product, n = grams.sum(0), products.sum(0), cells.sum()
        solved = [_solved(gram - grams[k], product - products[k], n - cells[k], strength) for k in range(number)]
        self.weight.copy_(_solved(gram, product, n, strength))
        return torch.stack(solved).to(self.weight.dtype)

    def _strength(self, grams: Tensor, products: Tensor, cells: Tensor) -> float:
        """The strength with which what was fitted to the other folds errs least on the first."""
        some = slice(None, None, max(1, products.shape[2] // LOOKED_AT))
        gram, product, n = grams[1:].sum(0), products[1:, :, some].sum(0), cells[1:].sum()

        def error(strength: float) -> float:
            w = _solved(gram, product, n, strength)
            # The sum of squares on the first fold, less what does not depend on w.
            return float((w * (grams[0] @ w)).sum() - 2 * (w * products[0, :, some]).sum())

        return min(STRENGTHS, key=error)


def _solved(gram: Tensor, product: Tensor, n: Tensor, strength: float) -> Tensor:
    """The weights of the ridge regression of n examples with this strength; the last input, the ones, pays nothing."""
    gram = gram.clone()
    gram.diagonal()[:-1].add_(strength * gram.diagonal()[:-1].mean() + 1e-9 * n.clamp_min(1))
    gram.diagonal()[-1].add_(1e-9 * n.clamp_min(1))
    factor = torch.linalg.cholesky(gram)
    return torch.cholesky_solve(product, factor)


def largest(outputs: int) -> int:
    """The most units whose joint regression is affordable, for so many values of an image."""
    return max(1, min(MOST_UNITS, MOST_WEIGHTS // outputs))


def is_solvable(units: int, outputs: int) -> bool:
    """Whether every value of an image can be regressed on all units at once."""
    return units <= largest(outputs)


class Guide(NamedTuple):
    """What each training image is predicted to be, by a solution that did not see it.

    Attributes:
        predictions: (n, C, H, W), where contexts stay what they are; else None.
        weights: Of each fold's own solution.
        folds: The fold of each example, (n,).
        readout: Whose these are.
    """

    predictions: Tensor | None
    weights: Tensor
    folds: Tensor
    readout: Readout

    def of(self, rows: Tensor, context: Tensor | None) -> Tensor:
        """x̂ of some examples with these contexts: (B, C, H, W)."""
        if self.predictions is not None:
            return self.predictions[rows.to(self.predictions.device)]
        assert context is not None
        return predicted(self.readout, self.weights, self.folds[rows.to(self.folds.device)], context)


@torch.no_grad()
def predicted(readout: Readout, weights: Tensor, folds: Tensor, context: Tensor) -> Tensor:
    """Returns x̂ of each context (B, …) by the solution of its fold (B,): (B, C, H, W)."""
    inputs = readout.inputs(context).unflatten(0, (len(context), -1))
    found = inputs.new_empty(*inputs.shape[:2], weights.shape[2])
    for k in range(len(weights)):
        own = (folds == k).to(inputs.device)
        found[own] = inputs[own] @ weights[k]
    return readout.images(found.flatten(0, 1), len(context))
