"""A density whose pixels are independent given the context."""

import math
from collections.abc import Iterator
from typing import Annotated

import torch
from annotated_types import Gt
from torch import Tensor, nn

from infoplane.densities import Density
from infoplane.densities.density import Drawing


class Independent(Density):
    """Every value of an image is drawn by itself, from logits that are linear in the context.

    Args:
        shape, levels, context: As `Density` has them.
        smoothing: How often each level counts as seen before the first image is.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int = 256,
        context: tuple[int, ...] | None = None,
        *,
        smoothing: Annotated[float, Gt(0)] = 1.0,
    ) -> None:
        super().__init__(shape, levels, context)
        self.smoothing = smoothing
        self.logits = nn.Parameter(torch.randn(*shape, levels) / 10)
        size = math.prod(shape) * levels
        # Last and without a bias, as all contexts enter: for the same seed the twin has the same initial weights.
        self.entering = None if context is None else nn.Linear(math.prod(context), size, bias=False)

    def _log_probs(self, n: int, context: Tensor | None) -> Tensor:
        """log q of every level of every value of n images: (n, C, H, W, L)."""
        logits = self.logits.expand(n, *self.logits.shape)
        if self.entering is not None and context is not None:
            logits = logits + self.entering(context.flatten(1).to(self.logits)).view(-1, *self.logits.shape)
        return logits.log_softmax(-1)

    def log_prob_map(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        every = self._log_probs(len(images), context)
        return every.gather(-1, images.long()[..., None])[..., 0].sum(1)

    def draw(self, images: Tensor, kept: int, context: Tensor | None, how: Drawing) -> None:
        every = (self._log_probs(len(images), context) / how.temperature).softmax(-1)[:, :, kept:]
        drawn = torch.multinomial(every.flatten(0, -2), 1, generator=how.generator)
        images[:, :, kept:] = drawn.view(every.shape[:-1]).to(images)
        if how.progress is not None:
            how.progress(self.shape[1] * self.shape[2], self.shape[1] * self.shape[2])

    def initialise_from(self, images: Tensor) -> None:
        counts = nn.functional.one_hot(images.long(), self.levels).sum(0)
        self.logits.copy_((counts + self.smoothing).log())

    def silence_context(self) -> None:
        if self.entering is not None:
            nn.init.zeros_(self.entering.weight)

    def context_modules(self) -> Iterator[tuple[str, nn.Module]]:
        if self.entering is not None:
            yield "entering", self.entering
