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

    Args:
        images: uint8 (N, C, H, W).
        context: Activations (N, …), cached; or a function from a batch of images to its activations, evaluated
            on the fly; or None for an unconditional density.
        view: From cached activations to contexts, applied to each batch; None where they are the same.
        standardise: Applied to every context.
        device: Where batches are delivered.
    """

    def __init__(
        self,
        images: Tensor | np.ndarray,
        context: Tensor | np.ndarray | ContextOf | None = None,
        *,
        view: ContextOf | None = None,
        standardise: Standardiser | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.images = _trainable(images)
        self.context = context if context is None or callable(context) else _trainable(context)
        self.view, self.standardise, self.device = view, standardise, torch.device(device)

    def __len__(self) -> int:
        return len(self.images)

    def batch(self, index: Tensor | slice) -> tuple[Tensor, Tensor | None]:
        """Returns images (B, C, H, W) and standardised contexts (B, …) or None, on the device."""
        images = self._taken(self.images, index)
        return images, self.context_of(index, images)

    def context_of(self, index: Tensor | slice, images: Tensor | None = None) -> Tensor | None:
        """Returns the standardised contexts (B, …) of these examples, or None."""
        if self.context is None:
            return None
        if isinstance(self.context, Tensor):
            context = self._taken(self.context, index)
            context = context if self.view is None else self.view(context)
        else:
            context = self.context(self._taken(self.images, index) if images is None else images)
        return context if self.standardise is None else self.standardise(context)

    def _taken(self, data: Tensor, index: Tensor | slice) -> Tensor:
        """Rows of images or contexts, which need not lie on one device: there may be room for one of them only."""
        return data[index.to(data.device) if isinstance(index, Tensor) else index].to(self.device)

    @property
    def context_shape(self) -> tuple[int, ...] | None:
        """Shape of one context, or None."""
        context = self.context_of(slice(0, 1))
        return None if context is None else tuple(context.shape[1:])

    def resident(self) -> "Pairs":
        """Returns the pairs with images and cached contexts on the device, as far as it has room for them."""
        images = resident(self.images, self.device)
        context = resident(self.context, self.device) if isinstance(self.context, Tensor) else self.context
        if images is self.images and context is self.context:
            return self
        return Pairs(images, context, view=self.view, standardise=self.standardise, device=self.device)

    @own_state()
    def subset(self, index: Tensor | np.ndarray) -> "Pairs":
        """Returns the pairs at these indices."""
        index = torch.as_tensor(index)
        context = self.context[index] if isinstance(self.context, Tensor) else self.context
        images = self.images[index]
        return Pairs(images, context, view=self.view, standardise=self.standardise, device=self.device)


@own_state()
def _trainable(data: Tensor | np.ndarray) -> Tensor:
    """The data as a tensor that training may use, which one made in inference mode is not."""
    tensor = torch.as_tensor(data, device=None if isinstance(data, Tensor) else "cpu")
    return tensor.clone() if tensor.is_inference() else tensor
