"""What every density q(x|h) over discrete images offers."""

import abc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Gt
from torch import Tensor, nn

from infoplane.arguments import check_argument, checked
from infoplane.data.space import Images, check_range
from infoplane.densities.readout import Batches, Guide
from infoplane.errors import UsageError
from infoplane.torch_state import evaluating, own_state


def check_context_shape(context: tuple[int, ...]) -> None:
    """Raises UsageError unless that is the shape of a vector or of a map."""
    if len(context) not in (1, 3) or min(context) < 1:
        raise UsageError("bad context shape", received=context, legal="(d,) or (c, h, w)")


@dataclass(frozen=True)
class Drawing:
    """How images are drawn; as `Density.sample` has it."""

    generator: torch.Generator | None = None
    progress: Callable[[int, int], None] | None = None
    cached: bool = True
    temperature: float = 1.0


class Density(nn.Module, abc.ABC):
    """A normalised distribution over discrete images, given a context or none.

    Attributes:
        initial_images: How many images `initialise` should have.
        space: What an image is.
        shape: (C, H, W) of an image.
        levels: L; pixels are 0 … L − 1.
        context: None, (d,) or (c, h, w).
    """

    initial_images: ClassVar[int] = 128

    @checked
    def __init__(self, shape: tuple[int, int, int], levels: int, context: tuple[int, ...] | None) -> None:
        super().__init__()
        shape = tuple(shape)  # pyright: ignore[reportAssignmentType]
        self.space = Images.of(shape, levels)
        if context is not None:
            context = tuple(context)
            check_context_shape(context)
        self.shape, self.levels, self.context = shape, levels, context

    @property
    def looked_at(self) -> int:
        """How many pixels of each image a training step computes."""
        return self.shape[1] * self.shape[2]

    @property
    def wide(self) -> bool:
        """Whether most of a training step's time goes into products so wide that a processor's bfloat16 saves time."""
        return self.wide_with({})

    @classmethod
    def wide_with(cls, options: Mapping[str, Any]) -> bool:
        """Whether such a density with these options is `wide`."""
        return False

    @classmethod
    def suited(cls, shape: tuple[int, int, int]) -> dict[str, Any]:
        """How such densities of images (C, H, W) are trained best: fields of `FitSettings` with their values."""
        return {}

    def log_prob(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log q(x|h) in nats, float32 or better: integer images (B, C, H, W), context (B, …) -> (B,)."""
        self.check(images, context)
        return self.log_prob_map(images, context).flatten(1).sum(1)

    @abc.abstractmethod
    def log_prob_map(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns each pixel's log q(x_i | x_<i, h) in nats, its channels summed: (B, H, W)."""

    @abc.abstractmethod
    def draw(self, images: Tensor, kept: int, context: Tensor | None, how: Drawing) -> None:
        """Fills images, uint8 (B, C, H, W) on the density's device, from row `kept` on, in evaluation mode.

        Args: as `sample` has them, checked; a context of B rows.
        """

    def initialise(self, images: Tensor) -> None:
        """Sets the data-dependent initial values from a batch of images (B, C, H, W), under a null context."""
        self.check(images, None if self.context is None else torch.zeros(len(images), *self.context))
        with evaluating(self):
            self.initialise_from(images)

    @abc.abstractmethod
    def initialise_from(self, images: Tensor) -> None:
        """The same, of images that fit, in evaluation mode."""

    @abc.abstractmethod
    def silence_context(self) -> None:
        """Sets the context's output weights to zero, so that the context has no effect."""

    @abc.abstractmethod
    def context_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """The modules, with their names, through which the context enters: none for an unconditional density."""

    def context_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters through which the context enters, none for an unconditional density."""
        for _, module in self.context_modules():
            yield from module.parameters()

    def context_state(self) -> frozenset[str]:
        """The keys of the state dict that an unconditional density of the family lacks."""
        return frozenset(f"{name}.{key}" for name, module in self.context_modules() for key in module.state_dict())

    def context_rates(self, factor: float | None) -> Iterator[tuple[list[nn.Parameter], float]]:
        """Yields the parameters of the context with their factors on the learning rate.

        Args:
            factor: What was asked for, or what is usual for these images; None where that is for the density to say.
        """
        yield list(self.context_parameters()), 1.0 if factor is None else factor

    def training_loss(self, images: Tensor, context: Tensor | None, guide: Tensor | None = None) -> Tensor:
        """Returns −log q(x|h) of each image, or an estimate without bias of it that costs less: (B,).

        Args:
            guide: What `fit_readout` made of these images, where it made something.
        """
        return -self.log_prob(images, context)

    def fit_readout(self, batches: Batches, folds: Tensor, *, fixed: bool) -> Guide | None:
        """Solves what can be solved of the context; returns what training is told of each image, if it is anything."""
        return None

    @checked
    @own_state()
    def sample(
        self,
        context: Tensor | None = None,
        *,
        n: int | None = None,
        generator: torch.Generator | None = None,
        progress: Callable[[int, int], None] | None = None,
        cached: bool = True,
        temperature: Annotated[float, Gt(0)] = 1.0,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Draws images pixel by pixel.

        Args:
            context: (B, d) or (B, c, h, w), None for an unconditional density.
            n: Number of images; with a context of one row, that row is repeated. Default: one per context row, else 1.
            generator: Source of randomness, on the density's device.
            progress: Called with the number of pixels drawn and the number in all.
            cached: Each pixel from what was computed for those before it: the same distribution, some hundred times as
                fast; PixelCNN++ on a GPU by CUDA graphs, recorded in every call (`Graphs` says what that costs).
                Without it the network runs anew for every pixel.
            temperature: Of every channel's distribution given what came before; 1 draws from q itself.
            keep: First rows of the images, integer levels (B or 1, C, r, W); only the rows below are drawn.

        Returns: uint8 (B, C, H, W).
        """
        context, n = self._wanted(context, n)
        device = next(self.parameters()).device
        images = torch.from_numpy(self.space.blank(n)).to(device)
        kept = 0 if keep is None else self._keep(keep, images)
        if not n:
            return images
        context = None if context is None else context.to(device)
        with evaluating(self):
            self.draw(images, kept, context, Drawing(generator, progress, cached, temperature))
        return images

    def _wanted(self, context: Tensor | None, n: int | None) -> tuple[Tensor | None, int]:
        """The context row by row, and the number of images."""
        self.check_context(context)
        if n is not None and n < 0:
            raise UsageError("bad number of samples", received=n, legal="a whole number, 0 or more")
        if context is None:
            return None, 1 if n is None else n
        if n is not None and len(context) == 1:
            context = context.expand(n, *context.shape[1:])
        if n is not None and n != len(context):
            raise UsageError("n differs from the number of contexts", received=f"{n} and {len(context)}")
        return context, len(context)

    def _keep(self, keep: Tensor, images: Tensor) -> int:
        """Puts given rows into images (B, C, H, W); returns how many."""
        self.space.check_first_rows(keep, len(images))
        images[:, :, : keep.shape[2]] = keep.to(images)
        return keep.shape[2]

    def check(self, images: Tensor, context: Tensor | None) -> None:
        """Raises UsageError unless images and context are what this density was made for, and finite."""
        check_argument("images", images, Tensor)
        self.space.check(images, whose="density")
        if images.is_meta or (images.is_cuda and self.training):
            return  # only shapes and costs are asked for; or the GPU would be waited for at every step of a training
        # Beyond the levels a categorical fails deep inside, and a mixture returns a number that means nothing.
        mend = "give the density more levels or rescale the images"
        check_range(images, self.levels, "images hold levels that the density does not have", mend=mend)
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
