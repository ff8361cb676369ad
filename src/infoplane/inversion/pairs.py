"""Pairs (image, activation) to train and evaluate inversion models on."""

import copy
import math
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from infoplane.arguments import check_argument, checked
from infoplane.checks import as_numpy, holds_integers, type_and_shape
from infoplane.data.space import check_stack
from infoplane.densities.readout import Guide
from infoplane.errors import UsageError
from infoplane.inversion.fast import resident
from infoplane.torch_state import own_state

ContextOf = Callable[[Tensor], Tensor]

#: values of activations that are looked at in one go
LOOKED_AT = 2**24


#: standard deviations beyond which a value grows only logarithmically
TAIL = 5.0


class Standardiser:
    """Shifts and scales every unit to mean 0 and standard deviation 1: invertible, so no information is lost.

    A value z beyond ±`TAIL` becomes ±(TAIL + log(|z| − TAIL + 1)), which is invertible too: a unit that hardly ever
    fired has a small standard deviation, and would drown all others where it does fire on a new image. A unit that
    never varied keeps scale 1 and so becomes 0.

    Args:
        mean, std: Per unit, of the shape of one activation.

    Examples:
        >>> Standardiser.of([torch.tensor([[0.0]]), torch.tensor([[2.0]])])(torch.tensor([[4.0]]))
        tensor([[3.]])
    """

    @checked
    def __init__(self, mean: Tensor, std: Tensor) -> None:
        real = not (mean.is_complex() or std.is_complex()) and mean.shape == std.shape
        if not real or not bool((mean.isfinite() & std.isfinite() & (std > 0)).all()):
            received = f"shapes {tuple(mean.shape)} and {tuple(std.shape)}"
            legal = "one finite mean and one finite deviation above 0 for each unit"
            raise UsageError("these standardise nothing", received=received, legal=legal)
        self.mean, self.std = mean, std

    @classmethod
    def of(cls, chunks: Iterable[Tensor]) -> "Standardiser":
        """Returns the statistics per unit over all chunks, each (B, …), of which one at a time is in memory."""
        check_argument("chunks", chunks, Iterable)
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for chunk in chunks:
            check_context(chunk)
            if not len(chunk):
                continue
            values = chunk.double()
            own = values.mean(0)
            step, count = own - mean, count + len(chunk)
            # Chan, Golub & LeVeque 1979: sums of squares about the mean of two parts, put together.
            squares = squares + (values - own).square().sum(0) + step.square() * (len(chunk) * (1 - len(chunk) / count))
            mean = mean + step * (len(chunk) / count)
        if not count:
            raise UsageError("there are no activations to standardise", legal="one example or more")
        variance = squares / count
        # What rounding makes of a constant is no variation.
        varies = variance > 1e-12 * (mean.square() + 1e-12)
        return cls(mean.float(), torch.where(varies, variance.sqrt(), 1.0).float())

    def __call__(self, context: Tensor) -> Tensor:
        self._check(context)
        z = (context - self.mean.to(context.device)) / self.std.to(context.device)
        excess = (z.abs() - TAIL).clamp_min(0)
        return z.clamp(-TAIL, TAIL) + z.sign() * excess.log1p()

    def _check(self, context: Tensor) -> None:
        """Raises UsageError unless these are activations (B, …) of these units."""
        check_argument("activations", context, Tensor)
        if context.is_complex() or context.shape[1:] != self.mean.shape:  # it would be broadcast
            received, legal = tuple(context.shape), f"(B, {', '.join(map(str, self.mean.shape))})"
            raise UsageError("activations do not fit the standardiser", received=received, legal=legal)

    def inverse(self, z: Tensor) -> Tensor:
        """Returns the activation that became z."""
        self._check(z)
        excess = (z.abs() - TAIL).clamp_min(0)
        return (z.clamp(-TAIL, TAIL) + z.sign() * excess.expm1()) * self.std.to(z.device) + self.mean.to(z.device)


class Pairs:
    """Images with the contexts they are to be inferred from.

    Neither is copied: a part of the pairs is the same images and contexts with the rows that it has of them, which are
    gathered batch by batch. So both may be mapped files that are larger than memory.

    Args:
        images: uint8 (N, C, H, W).
        context: Activations (n, …), cached; or a function from a batch of images to its activations, evaluated
            on the fly; or None for an unconditional density.
        rows: Whole numbers (n,): which images the pairs have, in their order; None for all of them, so that n = N.
        view: From cached activations to contexts, applied to each batch; None where they are the same.
        standardise: Applied to every context.
        groups: Whole numbers (n,), the same for examples that belong together; None where each is by itself.
        device: Where batches are delivered.
    """

    @checked
    def __init__(
        self,
        images: Tensor | np.ndarray,
        context: Tensor | np.ndarray | ContextOf | None = None,
        *,
        rows: Tensor | None = None,
        view: ContextOf | None = None,
        standardise: Standardiser | None = None,
        groups: Tensor | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._all, self._rows = _trainable(images, "images"), rows
        check_stack(self._all, exact=False)
        if rows is not None:
            _check_index(rows, len(self._all))
        if context is not None and (isinstance(context, Tensor | np.ndarray) or not callable(context)):
            context = _trainable(context, "activations")
        self.context: Tensor | ContextOf | None = context  # pyright: ignore[reportAttributeAccessIssue]
        if isinstance(self.context, Tensor):
            check_context(self.context, len(self), finite=False)  # batch by batch: it may be a file
        self.view, self.standardise, self.device = view, standardise, torch.device(device)
        #: rows of cached contexts, where they are not all of them in their order
        self._context_rows: Tensor | None = None
        if groups is not None and tuple(groups.shape) != (len(self),):
            received, legal = f"shape {tuple(groups.shape)}", f"({len(self)},)"
            raise UsageError("groups do not pair with images", received=received, legal=legal)
        self._groups = groups
        self._guide: Guide | None = None

    def __len__(self) -> int:
        return len(self._all if self._rows is None else self._rows)

    @property
    def images(self) -> Tensor:
        """The images (n, C, H, W), copied where they are not all that there are."""
        return self._all if self._rows is None else _gathered(self._all, self._rows, slice(None))

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of one image."""
        return tuple(self._all.shape[1:])

    @property
    def at(self) -> torch.device:
        """Where the images lie."""
        return self._all.device

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        """Returns images (B, C, H, W) and standardised contexts (B, …) or None, on the device."""
        images = self.images_of(index)
        return images, self.context_of(index, images)

    def training_batch(self, index: Tensor | slice) -> tuple[Tensor, *tuple[Tensor | None, ...]]:
        """Returns what `batch` does and, where there is one, what a guide says of these examples."""
        images, context = self.batch(index)
        if self._guide is None:
            return images, context
        rows = torch.arange(len(self))[index] if isinstance(index, slice) else index
        return images, context, self._guide.of(rows, context).to(self.device)

    def guided(self, guide: Guide) -> "Pairs":
        """Returns the pairs with what training is told of each of them beside."""
        found = copy.copy(self)
        found._guide = guide
        return found

    @property
    def groups(self) -> Tensor:
        """Whole numbers (n,), the same for examples that belong together."""
        return torch.arange(len(self)) if self._groups is None else self._groups

    def images_of(self, index: Tensor | slice) -> Tensor:
        """Returns the images (B, C, H, W) of these examples, on the device."""
        return _gathered(self._all, self._rows, index).to(self.device)

    def context_of(self, index: Tensor | slice, images: Tensor | None = None) -> Tensor | None:
        """Returns the standardised contexts (B, …) of these examples, or None."""
        if self.context is None:
            return None
        if isinstance(self.context, Tensor):
            context = _gathered(self.context, self._context_rows, index).to(self.device)
            context = context if self.view is None else self.view(context)
        else:
            images = self.images_of(index) if images is None else images
            context = self.context(images)
        if self.device.type == "cpu":  # a GPU would be waited for; there losses that are not finite are found
            check_context(context)
        context = context if context.dtype in (torch.float32, torch.float64) else context.float()
        return context if self.standardise is None else self.standardise(context)

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """Shape of one context, or None."""
        context = self.context_of(slice(0, 1))
        return None if context is None else tuple(context.shape[1:])

    def resident(self) -> "Pairs":
        """Returns the pairs with images and cached contexts on the device, as far as it has room for them."""
        if self.device.type != "cuda":
            return self
        found = copy.copy(self)
        found._all, found._rows = resident(self.images, self.device), None
        if isinstance(self.context, Tensor):
            rows = self._context_rows
            found.context = resident(self.context if rows is None else self.context[rows], self.device)
            found._context_rows = None
        return found

    @own_state()
    def subset(self, index: Tensor | np.ndarray) -> "Pairs":
        """Returns the pairs at these indices, without a copy of them.

        Raises:
            UsageError: They are no indices of pairs.
        """
        index = index if isinstance(index, Tensor) else torch.as_tensor(as_numpy(index, what="indices"))
        if index.dtype == torch.bool and index.shape == (len(self),):
            index = index.nonzero()[:, 0]
        index = _check_index(index, len(self))
        found = copy.copy(self)
        found._rows = index if self._rows is None else self._rows[index]
        found._groups = None if self._groups is None else self._groups[index]
        found._guide = None  # which was made for all of them
        if isinstance(self.context, Tensor):
            found._context_rows = index if self._context_rows is None else self._context_rows[index]
        return found


def _gathered(data: Tensor, rows: Tensor | None, index: Tensor | slice) -> Tensor:
    """Some rows of the data, or of those rows of it that there are; an index need not lie where they do."""
    if rows is not None:
        index = rows[index.to(rows.device) if isinstance(index, Tensor) else index]
    return data[index.to(data.device) if isinstance(index, Tensor) else index]


def _check_index(index: Tensor, count: int) -> Tensor:
    """Returns indices (m,) of `count` things as int64, or raises UsageError."""
    least, most = (int(index.min()), int(index.max())) if index.numel() and not index.is_complex() else (0, -1)
    if index.ndim != 1 or not holds_integers(index) or not -count <= least <= most + 1 <= count:
        received = f"{type_and_shape(index)}, {least} to {most}"
        raise UsageError("these are no indices of pairs", received=received, legal=f"(m,) whole, below {count}")
    return index.long()


def check_context(context: Tensor, count: int | None = None, *, finite: bool = True) -> None:
    """Raises UsageError unless activations (n, …) are finite real numbers, of so many examples."""
    check_argument("activations", context, Tensor)
    if context.is_complex():
        mend = "take real and imaginary parts as two units each: torch.view_as_real(h)"
        raise UsageError("activations are not real numbers", received=context.dtype, legal="real numbers", mend=mend)
    if context.ndim < 1 or (count is not None and len(context) != count):
        legal = "(n, …)" if count is None else f"({count}, …), one for each image"
        raise UsageError("activations do not pair with images", received=f"shape {tuple(context.shape)}", legal=legal)
    if not finite or context.is_meta or not context.is_floating_point():
        return
    rows = max(1, LOOKED_AT // max(1, math.prod(context.shape[1:])))  # a few at a time: the answer is as large
    if bad := sum(int((~part.isfinite()).sum()) for part in context.split(rows)):
        received = f"{bad:,} of {context.numel():,} are NaN or infinite"
        raise UsageError("activations are not finite", received=received, legal="finite numbers")


@own_state()
def _trainable(data: Tensor | np.ndarray, what: str) -> Tensor:
    """The data as a tensor that training may use, which one made in inference mode is not."""
    if not isinstance(data, Tensor):
        array = as_numpy(data, what=what)
        try:
            data = torch.as_tensor(array, device="cpu")
        except TypeError as error:
            raise UsageError(f"{what} are no tensor", received=array.dtype, legal="numbers that torch knows") from error
    return data.clone() if data.is_inference() else data
