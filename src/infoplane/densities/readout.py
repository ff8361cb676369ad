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

from infoplane.densities.likelihoods import scale_levels

FOLDS = 5
#: units up to which each pixel is regressed on all of them at once
MOST_UNITS = 1536
#: values of the weights of such a solution
MOST_WEIGHTS = 6_000_000
#: strengths among which the first fold chooses, and then between them, relative to the units' variance
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 30.0, 1000.0)
#: values of an image by which it does
LOOKED_AT = 96
#: cells of maps that a local solution is fitted to, in each fold
MOST_CELLS = 30_000

#: yields (rows, images (b, C, H, W), contexts (b, …)) over all examples
Batches = Callable[[], Iterable[tuple[Tensor, Tensor, Tensor]]]


class Solutions(NamedTuple):
    """What solved the regression without each of the folds.

    Attributes:
        weight: (folds, d, outputs).
        offset: (folds, cells, outputs).
    """

    weight: Tensor
    offset: Tensor


class Usual(NamedTuple):
    """What is known of each pixel over images, (C, H, W) each, on the axis [−1, 1].

    Attributes:
        mean: Of the images.
        left: The mean square of x − x̂, on images that x̂ was not fitted to.
        spread: The mean square of x − mean.
    """

    mean: Tensor
    left: Tensor
    spread: Tensor


class Readout(nn.Module):
    """x̂(h) less the mean image, on the axis [−1, 1]: from all units to each pixel, or from each 3×3 patch of a map to
    the pixels below its centre.

    Units, and at each cell of a map its patches, count from their means, pixels from the mean image. So what says
    nothing gives nothing, and where a patch lies is accounted for though its weights are the same everywhere.

    Args:
        shape: (C, H, W) of the images.
        levels: L.
        context: (d,) or (c, h, w).
    """

    weight: Tensor
    offset: Tensor
    mean: Tensor
    left: Tensor
    spread: Tensor

    def __init__(self, shape: tuple[int, int, int], levels: int, context: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.levels, self.context = shape, levels, context
        self.local = len(context) == 3 and not is_solvable(math.prod(context), math.prod(shape))
        if self.local:
            self.cell = (-(-shape[1] // context[1]), -(-shape[2] // context[2]))
            inputs, outputs, cells = 9 * context[0], shape[0] * math.prod(self.cell), math.prod(context[1:])
        else:
            # Of vectors that are too wide a fixed random projection, which keeps their inner products.
            inputs, outputs, cells = min(math.prod(context), largest(math.prod(shape))), math.prod(shape), 1
            self._projection: Tensor | None = None  # made when it is first used: it may be large
        self.register_buffer("weight", torch.zeros(inputs, outputs))
        self.register_buffer("offset", torch.zeros(cells, outputs))
        for name in Usual._fields:
            self.register_buffer(name, torch.zeros(shape))

    @property
    def usual(self) -> Usual:
        """What is known of each pixel."""
        return Usual(self.mean, self.left, self.spread)

    def inputs(self, context: Tensor) -> Tensor:
        """What the solution is linear in: (B, …) -> (B, cells, d), of a vector one cell."""
        if self.local:
            return F.unfold(context, 3, padding=1).transpose(1, 2)
        flat = context.flatten(1)
        if flat.shape[1] > self.weight.shape[0]:
            flat = flat @ self._projected(flat)
        return flat[:, None]

    def _projected(self, flat: Tensor) -> Tensor:
        """The projection of vectors (B, d), of their type and where they are: (d, units)."""
        kept = self._projection
        if kept is None:
            generator = torch.Generator().manual_seed(0)
            units = self.weight.shape[0]
            drawn = torch.randn(flat.shape[1], units, generator=generator, dtype=torch.float32)
            self._projection = kept = drawn * units**-0.5
        return kept.to(flat)

    def targets(self, values: Tensor) -> Tensor:
        """What is predicted of values of images: (B, C, H, W) -> (B, cells, outputs)."""
        if not self.local:
            return values.flatten(1)[:, None]
        rows, columns = (size * cell for size, cell in zip(self.context[1:], self.cell, strict=True))
        fitted = F.interpolate(values, (rows, columns), mode="nearest") if (rows, columns) != self.shape[1:] else values
        return F.unfold(fitted, self.cell, stride=self.cell).transpose(1, 2)

    def images(self, found: Tensor) -> Tensor:
        """From what the solution gives (B, cells, outputs) to values of images (B, C, H, W)."""
        if self.local:
            rows, columns = (size * cell for size, cell in zip(self.context[1:], self.cell, strict=True))
            found = F.fold(found.transpose(1, 2), (rows, columns), self.cell, stride=self.cell)
            if (rows, columns) != self.shape[1:]:
                found = F.adaptive_avg_pool2d(found, self.shape[1:])
        return found.reshape(len(found), *self.shape)

    def forward(self, context: Tensor) -> Tensor:
        """x̂ of contexts (B, …) less the mean image: (B, C, H, W)."""
        return self.images(self.inputs(context.to(self.weight.dtype)) @ self.weight - self.offset)

    @torch.no_grad()
    def fit(self, batches: Batches, folds: Tensor) -> Solutions:
        """Solves for the weights on all examples; returns those of each fold, solved on all others.

        The strength is that with which the other folds predict the first one best, to a factor of 1.15.

        Args:
            folds: The fold of each example, (n,).
        """
        number = int(folds.max()) + 1
        count, contexts, images = self._means(batches, folds, number)
        share = count / count.sum()
        context, image = _weighted(share, contexts), _weighted(share, images)
        self.mean.copy_(image)
        moments = self._moments(batches, folds, number, context, image)
        every, without = torch.ones_like(count), 1 - torch.eye(number).to(count)

        def means(folds: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            """Of inputs and targets over some folds, from those over all; and of inputs themselves."""
            part = count * folds / (count * folds).sum()
            own = _weighted(part, contexts)
            inputs = self.inputs((own - context)[None])[0]
            return inputs, self.targets((_weighted(part, images) - image)[None])[0], self.inputs(own[None])[0]

        first = _about(moments, without[0], *means(without[0])[:2])
        strength = _strength(first, _about(moments, every - without[0], *means(without[0])[:2]))
        found = []
        for some in (every, *without):
            x, y, inputs = means(some)
            weight = _solved(*_about(moments, some, x, y), strength)
            found.append((weight.to(self.weight), (inputs @ weight).to(self.weight)))
        self.weight.copy_(found[0][0])
        self.offset.copy_(found[0][1])
        weights, offsets = zip(*found[1:], strict=True)
        solutions = Solutions(torch.stack(weights), torch.stack(offsets))
        left, spread = torch.zeros_like(image), torch.zeros_like(image)
        for rows, x, h in batches():
            beside = scale_levels(x, self.levels, self.weight.dtype) - self.mean
            left += (beside - predicted(self, solutions, folds[rows], h)).double().square().sum(0)
            spread += beside.double().square().sum(0)
        self.left.copy_(left / len(folds))
        self.spread.copy_(spread / len(folds))
        return solutions

    def _means(self, batches: Batches, folds: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """How many examples each fold has, and its mean context and image: (folds,), (folds, …), (folds, C, H, W)."""
        options = {"dtype": torch.float64, "device": self.weight.device}
        count = torch.bincount(folds, minlength=number).to(**options)
        contexts, images = torch.zeros(number, *self.context, **options), torch.zeros(number, *self.shape, **options)
        for rows, x, context in batches():
            fold = folds[rows].to(count.device)
            contexts.index_add_(0, fold, context.double())
            images.index_add_(0, fold, scale_levels(x, self.levels, torch.float64))
        for sums in (contexts, images):
            sums /= count.clamp_min(1).view(-1, *[1] * (sums.ndim - 1))
        return count, contexts, images

    def _moments(self, batches: Batches, folds: Tensor, number: int, context: Tensor, image: Tensor) -> "Moments":
        """Sums over each fold, about the mean context and image."""
        (cells, outputs), size = self.offset.shape, len(self.weight)
        options = {"dtype": torch.float64, "device": self.weight.device}
        found = Moments(
            torch.zeros(number, size, size, **options),
            torch.zeros(number, size, outputs, **options),
            torch.zeros(number, cells, size, **options),
            torch.zeros(number, cells, outputs, **options),
            torch.zeros(number, cells, **options),
        )
        share = min(1.0, MOST_CELLS * number / (len(folds) * cells)) if self.local else 1.0
        generator = torch.Generator().manual_seed(0)
        place = torch.arange(cells, device=self.weight.device)
        for rows, images, h in batches():
            x = self.inputs(h.to(self.weight.dtype) - context.to(self.weight)).flatten(0, 1)
            y = self.targets(scale_levels(images, self.levels, self.weight.dtype) - image.to(self.weight)).flatten(0, 1)
            fold, cell = folds[rows].to(x.device).repeat_interleave(cells), place.repeat(len(images))
            if share < 1:
                chosen = (torch.rand(len(x), generator=generator) < share).to(x.device)
                x, y, fold, cell = x[chosen], y[chosen], fold[chosen], cell[chosen]
            for k in range(number):
                own = fold == k
                if own.any():
                    found.gram[k] += x[own].T @ x[own]
                    found.product[k] += x[own].T @ y[own]
                    found.inputs[k].index_add_(0, cell[own], x[own].double())
                    found.targets[k].index_add_(0, cell[own], y[own].double())
                    found.count[k] += torch.bincount(cell[own], minlength=cells)
        return found


class Moments(NamedTuple):
    """Sums over examples of each fold.

    Attributes:
        gram, product: Of x xᵀ and x yᵀ: (folds, d, d), (folds, d, outputs).
        inputs, targets: Of x and y by cell: (folds, cells, d), (folds, cells, outputs).
        count: Examples by cell, (folds, cells).
    """

    gram: Tensor
    product: Tensor
    inputs: Tensor
    targets: Tensor
    count: Tensor


def _weighted(weights: Tensor, values: Tensor) -> Tensor:
    """Σ_k weight_k value_k: (folds,), (folds, …) -> (…)."""
    return torch.tensordot(weights, values, 1)


def _about(moments: Moments, folds: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gram matrix and product (d, d), (d, outputs) of some folds about x (cells, d), y (cells, outputs); the number of
    examples."""
    gram, product, inputs, targets, count = (_weighted(folds, part) for part in moments)
    weighted = count[:, None] * x
    gram = gram - inputs.T @ x - x.T @ inputs + x.T @ weighted
    return gram, product - inputs.T @ y - x.T @ targets + weighted.T @ y, count.sum()


def _strength(known: tuple[Tensor, Tensor, Tensor], other: tuple[Tensor, Tensor, Tensor]) -> float:
    """The strength with which what is fitted to what is known errs least on what is not."""
    some = slice(None, None, max(1, known[1].shape[1] // LOOKED_AT))
    (gram, product, n), (new, crossed, _) = known, other

    def error(strength: float) -> float:
        w = _solved(gram, product[:, some], n, strength)
        # The sum of squares, less what does not depend on w.
        return float((w * (new @ w)).sum() - 2 * (w * crossed[:, some]).sum())

    best = min(STRENGTHS, key=error)
    # More closely, so that it does not matter where the grid lies: of copies of units it is another one that is right.
    for factor in (3**0.5, 3**0.25):
        best = min((best, best / factor, best * factor), key=error)
    return best


def _solved(gram: Tensor, product: Tensor, n: Tensor, strength: float) -> Tensor:
    """The weights of the ridge regression of n examples with this strength."""
    gram = gram.clone()
    gram.diagonal().add_(strength * gram.diagonal().mean() + 1e-9 * n.clamp_min(1))
    return torch.cholesky_solve(product, torch.linalg.cholesky(gram))


def largest(outputs: int) -> int:
    """The most units whose joint regression is affordable, for so many values of an image."""
    return max(1, min(MOST_UNITS, MOST_WEIGHTS // outputs))


def is_solvable(units: int, outputs: int) -> bool:
    """Whether every value of an image can be regressed on all units at once."""
    return units <= largest(outputs)


class Guide(NamedTuple):
    """What each training image is predicted to be, less the mean image, by a solution that did not see it.

    Attributes:
        predictions: (n, C, H, W), where contexts stay what they are; else None.
        solutions: Each fold's own.
        folds: The fold of each example, (n,).
        readout: Whose these are.
    """

    predictions: Tensor | None
    solutions: Solutions
    folds: Tensor
    readout: Readout

    def of(self, rows: Tensor, context: Tensor | None) -> Tensor:
        """x̂ of some examples with these contexts, less the mean image: (B, C, H, W)."""
        if self.predictions is not None:
            return self.predictions[rows.to(self.predictions.device)]
        assert context is not None
        return predicted(self.readout, self.solutions, self.folds[rows.to(self.folds.device)], context)


@torch.no_grad()
def predicted(readout: Readout, solutions: Solutions, folds: Tensor, context: Tensor) -> Tensor:
    """Returns x̂ of each context (B, …) by the solution of its fold (B,), less the mean image: (B, C, H, W)."""
    inputs = readout.inputs(context.to(readout.weight.dtype))
    found = inputs.new_empty(*inputs.shape[:2], solutions.weight.shape[2])
    for k, (weight, offset) in enumerate(zip(*solutions, strict=True)):
        own = (folds == k).to(inputs.device)
        found[own] = inputs[own] @ weight - offset
    return readout.images(found)
