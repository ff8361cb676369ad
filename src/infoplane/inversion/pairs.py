"""Pairs (image, activation) to train and evaluate inversion models on."""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor

from infoplane.inversion.fast import resident
from infoplane.torch_state import own_state

ContextOf = Callable[[Tensor], Tensor]


#: standard deviations beyond which a value grows only logarithmically
TAIL = 5.0


class Standardiser:
    """Shifts and scales every unit to mean 0 and standard deviation 1: invertible, so no information is lost.

    A value z beyond ±`TAIL` becomes ±(TAIL + log(|z| − TAIL + 1)), which is invertible too: a unit that hardly ever
    fired has a small standard deviation, and would drown all others where it does fire on a new image. A unit that
    never varied keeps scale 1 and so becomes 0.

    Args:
        mean, std: Per unit, of the shape of one activation.
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    @classmethod
    def of(cls, chunks: Iterable[Tensor]) -> "Standardiser":
        """Returns the statistics per unit over all chunks, each (B, …), of which one at a time is in memory."""
        count, mean, squares = 0, torch.zeros(()), torch.zeros(())
        for chunk in chunks:
            values = chunk.double()
            own = values.mean(0)
            step, count = own - mean, count + len(chunk)
            # Chan, Golub & LeVeque 1979: sums of squares about the mean of two parts, put together.
            squares = squares + (values - own).square().sum(0) + step.square() * (len(chunk) * (1 - len(chunk) / count))
            mean = mean + step * (len(chunk) / count)
        variance = squares / count
        # What rounding makes of a constant is no variation.
        varies = variance > 1e-12 * (mean.square() + 1e-12)
        return cls(mean.float(), torch.where(varies, variance.sqrt(), 1.0).float())

    def __call__(self, context: Tensor) -> Tensor:
        z = (context - self.mean.to(context.device)) / self.std.to(context.device)
        excess = (z.abs() - TAIL).clamp_min(0)
        return z.clamp(-TAIL, TAIL) + z.sign() * excess.log1p()

    def inverse(self, z: Tensor) -> Tensor:
        """Returns the activation that became z."""
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
        device: Where batches are delivered.
    """

    def __init__(
        self,
        images: Tensor | np.ndarray,
        context: Tensor | np.ndarray | ContextOf | None = None,
        *,
        rows: Tensor | None = None,
        view: ContextOf | None = None,
        standardise: Standardiser | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.context = context if context is None or callable(context) else _trainable(context)
        self.view, self.standardise, self.device = view, standardise, torch.device(device)
        self._all, self._rows = _trainable(images), rows
        #: rows of cached contexts, where they are not all of them in their order
        self._context_rows: Tensor | None = None

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
            context = self.context(self.images_of(index) if images is None else images)
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
        found = Pairs(self.images, self.context, view=self.view, standardise=self.standardise, device=self.device)
        found._all = resident(found._all, self.device)
        if isinstance(self.context, Tensor):
            rows = self._context_rows
            found.context = resident(self.context if rows is None else self.context[rows], self.device)
        return found

    @own_state()
    def subset(self, index: Tensor | np.ndarray) -> "Pairs":
        """Returns the pairs at these indices, without a copy of them."""
        index = torch.as_tensor(index)
        index = index.nonzero()[:, 0] if index.dtype == torch.bool else index
        found = Pairs(
            self._all,
            self.context,
            rows=index if self._rows is None else self._rows[index],
            view=self.view,
            standardise=self.standardise,
            device=self.device,
        )
        if isinstance(self.context, Tensor):
            found._context_rows = index if self._context_rows is None else self._context_rows[index]
        return found


def _gathered(data: Tensor, rows: Tensor | None, index: Tensor | slice) -> Tensor:
    """Some rows of the data, or of those rows of it that there are; an index need not lie where they do."""
    if rows is not None:
        index = rows[index.to(rows.device) if isinstance(index, Tensor) else index]
    return data[index.to(data.device) if isinstance(index, Tensor) else index]


@own_state()
def _trainable(data: Tensor | np.ndarray) -> Tensor:
    """The data as a tensor that training may use, which one made in inference mode is not."""
    tensor = torch.as_tensor(data, device=None if isinstance(data, Tensor) else "cpu")
    return tensor.clone() if tensor.is_inference() else tensor
