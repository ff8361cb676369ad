"""PixelCNN++'s two streams of gated layers over several resolutions (Salimans et al. 2017), without what reads them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.densities.layers import (
    GatedResidual,
    WeightNormUpConv,
    down_conv,
    down_right_conv,
    shift_down,
    shift_right,
)
from infoplane.densities.likelihoods import scale_levels


class Streams(nn.Module):
    """From images to features (B, F, H, W) of which (i, j) depends only on the pixels before (i, j) in raster order.

    One stream sees the rows above a pixel, the other also what is left of it. Skip connections join the layers of the
    way down the resolutions to those of the way up again.

    Attributes:
        grids: (rows, columns) of each scale.
        stream_widths: Per scale, the channels of the bias of each of its gated layers, in the order in which they run.
    """

    shape: tuple[int, int, int]
    levels: int

    def build_streams(
        self, filters: int, residual_layers: int, scales: int, *, dropout: float, weight_norm: bool
    ) -> None:
        """Makes the layers, for images of `shape`; `PixelCNN` says what the arguments are."""
        channels, rows, columns = self.shape
        self.scales, self.residual_layers = scales, residual_layers
        options: dict[str, Any] = {"weight_norm": weight_norm}

        def gated(conv, side: int) -> GatedResidual:
            return GatedResidual(conv, filters, side=side, dropout=dropout, weight_norm=weight_norm)

        # The image comes with a channel of ones, so that a convolution can tell the border from a pixel of value 0.
        self.above = down_conv(channels + 1, filters, (2, 3), **options)
        self.row_above = down_conv(channels + 1, filters, (1, 3), **options)
        self.left = down_right_conv(channels + 1, filters, (2, 1), **options)
        up = [residual_layers] * scales
        self.up_down = nn.ModuleList(gated(down_conv, 0) for n in up for _ in range(n))
        self.up_right = nn.ModuleList(gated(down_right_conv, filters) for n in up for _ in range(n))
        self.shrink_down = nn.ModuleList(
            down_conv(filters, filters, (2, 3), stride=2, **options) for _ in range(scales - 1)
        )
        self.shrink_right = nn.ModuleList(
            down_right_conv(filters, filters, (2, 2), stride=2, **options) for _ in range(scales - 1)
        )
        # On the way back the coarsest scale has one layer fewer: its first skip connection is its own output.
        down = [residual_layers + (s < scales - 1) for s in reversed(range(scales))]
        self.down_down = nn.ModuleList(gated(down_conv, filters) for n in down for _ in range(n))
        self.down_right = nn.ModuleList(gated(down_right_conv, 2 * filters) for n in down for _ in range(n))
        self.grow_down = nn.ModuleList(WeightNormUpConv(filters, filters, (2, 3), **options) for _ in range(scales - 1))
        self.grow_right = nn.ModuleList(
            WeightNormUpConv(filters, filters, (2, 2), **options) for _ in range(scales - 1)
        )
        self.grids = grids_of(rows, columns, scales)
        self.stream_widths = [[2 * filters] * (2 * (up[s] + down[scales - 1 - s])) for s in range(scales)]

    def stream_features(self, images: Tensor, biases: Sequence[Sequence[Tensor | None]]) -> Tensor:
        """The features of the upper rows of images, given the biases of the whole: (B, C, h ≤ H, W) -> (B, F, h, W)."""
        x = scale_levels(images, self.levels, self.above.weight.dtype)
        x = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
        grids = grids_of(x.shape[2], x.shape[3], self.scales)
        bias = [
            iter([b if b is None or b.shape[2] <= rows else b[:, :, :rows] for b in per_scale])
            for per_scale, (rows, _) in zip(biases, grids, strict=True)
        ]

        u = shift_down(self.above(x))
        v = shift_down(self.row_above(x)) + shift_right(self.left(x))
        us, vs = [u], [v]
        layer = 0
        for s in range(self.scales):
            for _ in range(self.residual_layers):
                u = self.up_down[layer](u, None, next(bias[s]))
                v = self.up_right[layer](v, u, next(bias[s]))
                us.append(u)
                vs.append(v)
                layer += 1
            if s < self.scales - 1:
                u, v = self.shrink_down[s](u), self.shrink_right[s](v)
                us.append(u)
                vs.append(v)

        u, v = us.pop(), vs.pop()
        layer = 0
        for s in reversed(range(self.scales)):
            for _ in range(self.residual_layers + (s < self.scales - 1)):
                u = self.down_down[layer](u, us.pop(), next(bias[s]))
                v = self.down_right[layer](v, torch.cat((u, vs.pop()), dim=1), next(bias[s]))
                layer += 1
            if s > 0:
                rows, columns = grids[s - 1]  # an odd size was rounded up on the way down
                u = self.grow_down[self.scales - 1 - s](u)[:, :, :rows, :columns]
                v = self.grow_right[self.scales - 1 - s](v)[:, :, :rows, :columns]
        return v

    def biases_of(self, conditioning: nn.Module | None, context: Tensor | None) -> list[list[Tensor | None]]:
        """Per scale, what a context adds to its gated layers, in the order in which they run; None for nothing."""
        added = None if conditioning is None or context is None else conditioning(context.to(self.above.weight.dtype))
        return self.by_scale(added)

    def by_scale(self, added: Sequence[Tensor] | None) -> list[list[Tensor | None]]:
        """What is added to the gated layers in the order in which they run, per scale; None for nothing."""
        if added is None:
            return [[None] * len(per_scale) for per_scale in self.stream_widths]
        biases = iter(added)
        return [[next(biases) for _ in per_scale] for per_scale in self.stream_widths]


def grids_of(rows: int, columns: int, scales: int) -> list[tuple[int, int]]:
    """(rows, columns) of each scale: a stride of 2 rounds up."""
    grids = [(rows, columns)]
    for _ in range(scales - 1):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
        grids.append((rows, columns))
    return grids
