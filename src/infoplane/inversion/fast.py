"""What makes a training step fast where there is a GPU: layout, compilation, data that lie there already."""

import warnings
from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor, nn

from infoplane.capture.generators import RandomStream
from infoplane.inversion.precision import autocast, is_wide
from infoplane.inversion.settings import FitSettings

#: share of a GPU's free memory that a data set may take
SHARE = 0.5
#: steps after which the losses on a GPU are looked at; before that nobody waits for it
LOOK = 50


class CompileWarning(UserWarning):
    """A training step is not compiled."""


#: images (B, C, H, W), context (B, …) or None, in training also what else is known of these examples -> losses (B,)
Loss = Callable[..., Tensor]


def laid_out(model: nn.Module, device: torch.device) -> nn.Module:
    """The model with the memory layout that a GPU's convolutions are fastest in."""
    return model.to(memory_format=torch.channels_last) if device.type == "cuda" else model  # pyright: ignore


class Step:
    """Differentiates the mean loss of batches: in a training step's precision, compiled, in portions that fit.

    What is not the loss itself, a context computed on the fly, say, stays in the precision it has. Where torch cannot
    compile the loss, or what differentiates it, the step goes on without, which is said once. Where a batch does not
    fit into a GPU's memory, its portions are differentiated one after the other from then on: the same mean. Gradients
    of the model are cleared before a step is tried again.
    """

    def __init__(self, loss: Loss, model: nn.Module, settings: FitSettings, device: torch.device) -> None:
        self.loss, self.model, self.settings, self.device = loss, model, settings, device
        self.compiled = compiled(loss) if compiling(settings, device) else None
        self.portion = settings.batch
        self._wide = is_wide(model)
        self._proved = False

    def __call__(self, images: Tensor, *others: Tensor | None) -> Tensor:
        """Returns the mean loss, no longer to be differentiated; its gradients are added to the model's."""
        random = None if self._proved else RandomStream.read()
        while True:
            try:
                loss = self._differentiate(self.compiled or self.loss, images, others)
            except torch.OutOfMemoryError:
                if self.portion <= 1:
                    raise
                self.portion = (min(self.portion, len(images)) + 1) // 2
            except Exception as error:  # whatever the compiler, or what it calls, says
                if self._proved or self.compiled is None:
                    raise
                first = str(error).strip().partition("\n")[0]
                text = f"torch.compile failed, training goes on without it: {type(error).__name__}: {first}"
                warnings.warn(CompileWarning(text), stacklevel=2)
                self.compiled = None
            else:
                self._proved = True
                return loss
            self.model.zero_grad(set_to_none=True)
            if random is not None:
                RandomStream.write(random)

    def _differentiate(self, function: Loss, images: Tensor, others: tuple[Tensor | None, ...]) -> Tensor:
        n, total = len(images), torch.zeros((), device=self.device)
        for begin in range(0, n, self.portion):
            part = slice(begin, begin + self.portion)
            with autocast(self.settings, self.device, wide=self._wide):
                loss = function(images[part], *(None if each is None else each[part] for each in others)).sum() / n
            loss.backward()
            total = total + loss.detach()
        return total


def compiling(settings: FitSettings, device: torch.device) -> bool:
    """Whether training steps are to be compiled."""
    if settings.compile != "auto":
        return settings.compile
    return device.type == "cuda" and settings.updates >= 500  # which it takes to pay


def compiled(loss: Loss) -> Loss:
    """The loss as torch compiles it when it is first called."""

    def call(*examples: Tensor | None) -> Tensor:
        return loss(*examples)

    # torch remembers what it compiled by the code, a few times only: each loss gets a copy of its own.
    own = FunctionType(call.__code__.replace(), call.__globals__, call.__name__, closure=call.__closure__)
    return torch.compile(own, dynamic=False)


def resident(data: Tensor, device: torch.device) -> Tensor:
    """The data on a GPU if it has room for them, so that no step waits for a batch."""
    free, _ = torch.cuda.mem_get_info(device)
    fits = data.device == device or data.numel() * data.element_size() <= SHARE * free
    return data.to(device) if fits else data


class History:
    """Losses and gradient norms of all steps so far, of so many updates, kept where they are computed."""

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
