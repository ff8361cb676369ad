"""What every density q(x|h) over discrete images offers."""

import abc
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from infoplane.arguments import check_argument, checked
from infoplane.checks import holds_integers, outline
from infoplane.errors import UsageError


class Density(nn.Module, abc.ABC):
    """A normalised distribution over uint8 images, given a context or none.

    Attributes:
        shape: (C, H, W) of an image.
        levels: L; pixels are 0 … L − 1.
        context: None, (d,) or (c, h, w).
    """

    @checked
    def __init__(self, shape: tuple[int, int, int], levels: int, context: tuple[int, ...] | None) -> None:
        super().__init__()
        shape = tuple(shape)  # pyright: ignore[reportAssignmentType]
        if len(shape) != 3 or min(shape) < 1:
            raise UsageError("bad image shape", received=shape, legal="(channels, rows, columns), each at least 1")
        if not 2 <= levels <= 256:
            raise UsageError("bad number of levels", received=levels, legal="2 … 256")
        if context is not None:
            context = tuple(context)
            if len(context) not in (1, 3) or min(context) < 1:
                raise UsageError("bad context shape", received=context, legal="None, (d,) or (c, h, w)")
        self.shape, self.levels, self.context = shape, levels, context

    @abc.abstractmethod
    def log_prob(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log q(x|h) in nats: integer images (B, C, H, W), context (B, …) -> (B,)."""

    @abc.abstractmethod
    def sample(
        self,
        context: Tensor | None = None,
        *,
        n: int | None = None,
        generator: torch.Generator | None = None,
        progress: Callable[[int, int], None] | None = None,
        cached: bool = True,
        temperature: float = 1.0,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Draws uint8 images (B, C, H, W): one per context row, or n. `progress` is told pixels done and in all.

        `cached` is the fast way, exact; without it the slow one that it can be held against. `temperature` sharpens
        (below 1) or flattens every pixel's distribution. `keep` are first rows (B or 1, C, r, W) that are given.
        """

    @abc.abstractmethod
    def initialise(self, images: Tensor) -> None:
        """Sets the data-dependent initial values from a batch of images, under a null context."""

    @abc.abstractmethod
    def silence_context(self) -> None:
        """Sets the context's output weights to zero, so that the context has no effect."""

    @abc.abstractmethod
    def context_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters through which the context enters, none for an unconditional density."""

    def check(self, images: Tensor, context: Tensor | None) -> None:
        """Raises UsageError unless images and context are what this density was made for, and finite."""
        check_argument("images", images, Tensor)
        if not holds_integers(images) or tuple(images.shape[1:]) != self.shape or not images.ndim:
            raise UsageError(
                "images do not fit the density",
                received=outline(images),
                legal=f"integer levels (B, {', '.join(map(str, self.shape))})",
            )
        if images.is_meta or (images.is_cuda and self.training):
            return  # only shapes and costs are asked for; or the GPU would be waited for at every step of a training
        # Beyond the levels a categorical fails deep inside, and a mixture returns a number that means nothing.
        lowest = 0 if images.dtype == torch.uint8 or not images.numel() else int(images.min())
        highest = int(images.max()) if images.numel() else 0
        if lowest < 0 or highest >= self.levels:
            raise UsageError(
                "images hold levels that the density does not have",
                received=f"{lowest} … {highest}",
                legal=f"0 … {self.levels - 1}",
                mend="give the density more levels or rescale the images",
            )
        self.check_context(context)
        if context is not None and len(context) != len(images):
            raise UsageError("images and context differ in length", received=f"{len(images)} and {len(context)}")

    def check_context(self, context: Tensor | None) -> None:
        """Raises UsageError unless the context has the shape this density was made for, and is finite."""
        check_argument("context", context, Tensor | None)
        if self.context is None:
            if context is not None:
                raise UsageError("context given to an unconditional density", received=f"{tuple(context.shape)}")
        elif context is None or tuple(context.shape[1:]) != self.context:
            raise UsageError(
                "context does not fit the density",
                received="none" if context is None else f"{tuple(context.shape)}",
                legal=f"(B, {', '.join(map(str, self.context))})",
            )
        elif context.is_complex():
            mend = "take real and imaginary parts as two units each: torch.view_as_real(context)"
            raise UsageError("context is not of real numbers", received=context.dtype, mend=mend)
        elif not (context.is_meta or bool(context.isfinite().all())):
            bad = f"{int((~context.isfinite()).sum()):,} of {context.numel():,} are NaN or infinite"
            raise UsageError("context is not finite", received=bad, legal="finite activations")
