"""What makes a training step fast where there is a GPU: precision, layout, compilation, data that lie there already."""

import warnings
from contextlib import AbstractContextManager
from typing import Protocol

import torch
from torch import Tensor, nn

from infoplane.inversion.settings import FitSettings

#: fewest updates for which compiling pays
WORTH = 500
#: share of a GPU's free memory that a data set may take
SHARE = 0.5
#: steps after which the losses on a GPU are looked at; before that nobody waits for it
LOOK = 50


class CompileWarning(UserWarning):
    """A training step is not compiled."""


class Loss(Protocol):
    """(images, context) -> loss per example (B,)."""

    def __call__(self, images: Tensor, context: Tensor | None) -> Tensor: ...


def precision_of(settings: FitSettings, device: torch.device) -> torch.dtype:
    """The type that convolutions of a training step are computed in; likelihoods never are in less than float32."""
    if settings.precision != "auto":
        return torch.bfloat16 if settings.precision == "bfloat16" else torch.float32
    return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32


def autocast(settings: FitSettings, device: torch.device) -> AbstractContextManager[object]:
    """The context in which the losses of training steps are computed."""
    kind = precision_of(settings, device)
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=kind == torch.bfloat16)


def laid_out(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with the memory layout that a GPU's convolutions are fastest in."""
    return model.to(memory_format=torch.channels_last) if device.type == "cuda" else model  # pyright: ignore


def compiled(loss: Loss, settings: FitSettings, device: torch.device) -> Loss:
    """The loss of a training step as one compiled function, where that pays and works."""
    wanted = device.type == "cuda" and settings.updates >= WORTH if settings.compile == "auto" else settings.compile
    return Compiled(loss) if wanted else loss


class Compiled:
    """A loss that torch compiles, or that is left as it is where torch cannot, which is said once."""

    def __init__(self, loss: Loss) -> None:
        self.loss = loss
        self._compiled = torch.compile(lambda images, context: loss(images, context), dynamic=False)
        self._works: bool | None = None

    def __call__(self, images: Tensor, context: Tensor | None) -> Tensor:
        if self._works is False:
            return self.loss(images, context)
        try:
            found = self._compiled(images, context)
        except Exception as error:  # whatever the compiler, or what it calls, says
            if self._works:
                raise
            first = str(error).strip().partition("\n")[0]
            text = f"torch.compile failed, training goes on without it: {type(error).__name__}: {first}"
            warnings.warn(CompileWarning(text), stacklevel=2)
            self._works = False
            return self.loss(images, context)
        self._works = True
        return found


def resident(data: Tensor, device: torch.device) -> Tensor:
    """The data on the device if it has room for them, so that no step waits for a batch."""
    if device.type != "cuda" or data.device == device:
        return data
    free, _ = torch.cuda.mem_get_info(device)
    return data.to(device) if data.numel() * data.element_size() <= SHARE * free else data


class History:
    """Losses and gradient norms of all steps so far, kept where they are computed.

    Args:
        updates: Steps in all.
        device: Where.
    """

    def __init__(self, updates: int, device: torch.device) -> None:
        self.losses, self.norms, self.limits = torch.full((3, updates), torch.nan, dtype=torch.float64, device=device)
        self.steps = 0

    def limit(self, guard: float) -> Tensor:
        """The longest gradient that the next step may take: `guard` times the median of the last hundred."""
        if self.steps < 10:
            return self.norms.new_tensor(torch.inf)
        recent = self.norms[max(0, self.steps - 100) : self.steps].sort().values
        middle = len(recent) // 2
        return guard * (recent[middle] if len(recent) % 2 else (recent[middle - 1] + recent[middle]) / 2)

    def take(self, loss: Tensor, norm: Tensor, limit: Tensor) -> None:
        """Adds a step."""
        self.losses[self.steps], self.norms[self.steps], self.limits[self.steps] = loss, norm, limit
        self.steps += 1

    def bad(self, since: int) -> int | None:
        """The first step from `since` on whose loss or gradient is not finite, or None."""
        fresh = slice(since, self.steps)
        wrong = ~(self.losses[fresh].isfinite() & self.norms[fresh].isfinite())
        return since + int(wrong.int().argmax()) if bool(wrong.any()) else None

    def guarded(self) -> int:
        """How many steps were shortened."""
        return int((self.norms > self.limits)[: self.steps].sum())


def shorten(parameters: list[nn.Parameter], limit: Tensor) -> Tensor:
    """Shortens the gradient to a length if it is longer; returns the length that it had."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    scale = (limit.to(norm) / (norm + 1e-6)).clamp(max=1.0)
    torch._foreach_mul_(gradients, scale)  # pyright: ignore
    return norm
