"""The other way to invert: the image with the least expected squared error."""

from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from infoplane.arguments import check_argument, checked
from infoplane.checks import type_and_shape
from infoplane.data.space import Images, Levels
from infoplane.densities.density import check_context_shape
from infoplane.errors import UsageError

Size = Annotated[int, Ge(1), Le(10**6)]


class Reconstructor(nn.Module):
    """An up-convolutional network from an activation to one image (Dosovitskiy & Brox 2016; Nash et al. 2019, eq. 3).

    A vector is mapped to a small feature map, a map is taken as it is; then convolutions and doublings up to the
    image's size.

    Args:
        shape: (C, H, W) of the image.
        context: (d,) or (c, h, w).
        filters: Channels of the hidden layers.
    """

    @checked
    def __init__(self, shape: tuple[Size, Size, Size], context: tuple[Size, ...], filters: Size = 64) -> None:
        super().__init__()
        context = tuple(context)
        check_context_shape(context)
        self.shape, self.context = (shape[0], shape[1], shape[2]), context
        rows, columns = shape[1:]
        if len(context) == 1:
            self.start = (filters, max(1, -(-rows // 4)), max(1, -(-columns // 4)))
            size = self.start[0] * self.start[1] * self.start[2]
            self.enter: nn.Module = nn.Sequential(nn.Linear(context[0], size), nn.LeakyReLU(0.2))
        else:
            self.start = (filters, context[1], context[2])
            self.enter = nn.Sequential(nn.Conv2d(context[0], filters, 3, padding=1), nn.LeakyReLU(0.2))
        doublings = 0
        while self.start[1] * 2**doublings < rows or self.start[2] * 2**doublings < columns:
            doublings += 1
        self.up = nn.ModuleList(
            nn.Sequential(nn.Conv2d(filters, 4 * filters, 3, padding=1), nn.PixelShuffle(2), nn.LeakyReLU(0.2))
            for _ in range(doublings)
        )
        self.finish = nn.Sequential(
            nn.Conv2d(filters, filters, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(filters, shape[0], 3, padding=1)
        )

    def forward(self, context: Tensor) -> Tensor:
        """(B, d) or (B, c, h, w) -> images (B, C, H, W) on the scale 0 … 1, not clipped."""
        check_argument("context", context, Tensor)
        if context.is_complex() or tuple(context.shape[1:]) != self.context or not len(context):
            legal = f"real (B, {', '.join(map(str, self.context))})"
            raise UsageError("context does not fit the reconstruction", received=type_and_shape(context), legal=legal)
        context = context.to(next(self.parameters()).dtype)
        x = self.enter(context).view(len(context), *self.start)
        for layer in self.up:
            x = layer(x)
        if x.shape[2:] != self.shape[1:]:
            x = F.interpolate(x, self.shape[1:], mode="bilinear", antialias=True)
        return self.finish(x)

    @checked
    @torch.no_grad()
    def reconstruct(self, context: Tensor, levels: Levels) -> Tensor:
        """Returns uint8 images on the grid of levels.

        Raises:
            UsageError: The context is not finite, or of another shape.
        """
        found = self(context)
        if not bool(found.isfinite().all()):
            raise UsageError("reconstructions are not finite", mend="check the context for NaN and infinity")
        return (found.clamp(0, 1) * (levels - 1)).round().to(torch.uint8)


class SquaredError:
    """The squared error per pixel on the scale 0 … 1, averaged over the image, as a loss per example."""

    @checked
    def __init__(self, model: Reconstructor, levels: Levels) -> None:
        self.model, self.space = model, Images.of(model.shape, levels)

    def __call__(self, images: Tensor, context: Tensor | None) -> Tensor:
        if context is None:
            raise UsageError("nothing to reconstruct from", received="no context", legal="activations of a layer")
        check_argument("images", images, Tensor)
        check_argument("context", context, Tensor)
        self.space.check(images, whose="reconstruction", rows=len(context))
        target = images.float() / (self.space.levels - 1)
        return (self.model(context) - target).square().flatten(1).mean(1)
