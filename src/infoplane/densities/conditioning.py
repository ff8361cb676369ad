"""How a context enters PixelCNN++: as one bias per gated layer, added before the gate.

No parameter here is a bias and every non-linearity keeps 0 at 0, so a context of zeros gives biases of zero: the
conditional model with a null context *is* the unconditional one.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.layers import concat_elu

#: standard deviation, at initialisation, of the bias that a standardised context gives: that of the convolution
#: whose output it joins
INITIAL_SCALE = 0.1


class VectorConditioning(nn.Module):
    """A linear map from a vector, or a flattened map, to every gated layer's channels (Nash et al. 2019, appendix A).

    Args:
        size: d.
        widths: Channels that each gated layer wants.
        dropout: Applied to the outputs of the projection.
    """

    def __init__(self, size: int, widths: Sequence[int], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.widths = list(widths)
        self.project = nn.Linear(size, sum(widths), bias=False)  # one product for all layers
        self.dropout = nn.Dropout(dropout)
        nn.init.normal_(self.project.weight, std=INITIAL_SCALE * size**-0.5)

    def forward(self, context: Tensor) -> list[Tensor]:
        """(B, d), or (B, c, h, w) with as many units -> per layer (B, width, 1, 1)."""
        return list(self.dropout(self.project(context.flatten(1)))[:, :, None, None].split(self.widths, dim=1))

    def output_weights(self) -> list[nn.Parameter]:
        """The weights that scale every bias: at zero, the context has no effect."""
        return [self.project.weight]  # pyright: ignore[reportReturnType]


class MapConditioning(nn.Module):
    """A spatial context, brought to the size of each scale's feature map, then 1×1 convolutions to biases.

    Args:
        shape: (c, h, w) of the context.
        grids: (rows, columns) of each scale.
        widths: Per scale, the channels that each of its gated layers wants.
        method: "resize" copies to larger and averages to smaller maps (Nash et al. 2019); "learned" uses strided
            convolutions with average pooling down, sub-pixel shuffling up (Darlow & Storkey 2018).
        dropout: Applied to the biases.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        grids: Sequence[tuple[int, int]],
        widths: Sequence[Sequence[int]],
        *,
        method: str,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.widths = [list(per_scale) for per_scale in widths]
        fit = _Learned if method == "learned" else _Resize
        self.fit = nn.ModuleList(fit(shape, grid) for grid in grids)
        self.project = nn.ModuleList(
            nn.Conv2d(module.channels, sum(per_scale), 1, bias=False)  # pyright: ignore[reportArgumentType]
            for module, per_scale in zip(self.fit, self.widths, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        for weight in self.output_weights():
            nn.init.normal_(weight, std=INITIAL_SCALE * weight.shape[1] ** -0.5)

    def forward(self, context: Tensor) -> list[Tensor]:
        """(B, c, h, w) -> per layer (B, width, rows, columns), scale by scale."""
        biases: list[Tensor] = []
        for fit, project, widths in zip(self.fit, self.project, self.widths, strict=True):
            biases.extend(self.dropout(project(fit(context))).split(widths, dim=1))
        return biases

    def output_weights(self) -> list[nn.Parameter]:
        """The weights that scale every bias: at zero, the context has no effect."""
        return [module.weight for module in self.project]  # pyright: ignore[reportReturnType]


class _Resize(nn.Module):
    """Copies to a larger map (nothing lost, nothing invented), averages to a smaller one."""

    def __init__(self, shape: tuple[int, int, int], grid: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.grid = shape[0], grid

    def forward(self, context: Tensor) -> Tensor:
        rows, columns = self.grid
        if context.shape[2] > rows or context.shape[3] > columns:
            context = F.adaptive_avg_pool2d(context, (min(rows, context.shape[2]), min(columns, context.shape[3])))
        return context if context.shape[2:] == self.grid else F.interpolate(context, self.grid, mode="nearest")


class _Learned(nn.Module):
    """Strided convolution and average pooling towards a smaller map, sub-pixel shuffle towards a larger one."""

    def __init__(self, shape: tuple[int, int, int], grid: tuple[int, int]) -> None:
        super().__init__()
        channels, rows, columns = shape
        self.resize: nn.Module
        self.strided: nn.Conv2d | None = None
        self.shuffle: nn.Conv2d | None = None
        self.pool = 1
        ratio = max(rows / grid[0], columns / grid[1])
        if ratio > 1:
            self.strided = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
            # One stride-2 convolution, then as many 2×2 average pools as the remaining factor asks for.
            self.pool = 2 ** max(0, math.ceil(math.log2(ratio)) - 1)
            channels = 4 * channels
        elif ratio < 1:
            self.factor = math.ceil(max(grid[0] / rows, grid[1] / columns))
            self.shuffle = nn.Conv2d(channels, channels * self.factor**2, 1, bias=False)
        self.resize = _Resize((channels, 0, 0), grid)
        self.channels = channels

    def forward(self, context: Tensor) -> Tensor:
        if self.strided is not None:
            context = concat_elu(self.strided(context))
            if self.pool > 1 and min(context.shape[2:]) >= self.pool:
                context = F.avg_pool2d(context, self.pool)
        elif self.shuffle is not None:
            context = F.pixel_shuffle(self.shuffle(context), self.factor)
        return self.resize(context)


def build_conditioning(
    context: tuple[int, ...] | None,
    grids: Sequence[tuple[int, int]],
    widths: Sequence[Sequence[int]],
    *,
    method: str,
    dropout: float,
) -> VectorConditioning | MapConditioning | None:
    """Returns the module for a context of shape None, (d,) or (c, h, w)."""
    if context is None:
        return None
    if len(context) == 1 or method == "vector":
        return VectorConditioning(math.prod(context), [w for per_scale in widths for w in per_scale], dropout=dropout)
    return MapConditioning((context[0], context[1], context[2]), grids, widths, method=method, dropout=dropout)


@torch.no_grad()
def silence(conditioning: VectorConditioning | MapConditioning) -> None:
    """Sets the output weights to zero: the conditional model then equals the unconditional one exactly."""
    for weight in conditioning.output_weights():
        weight.zero_()
