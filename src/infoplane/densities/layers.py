"""The causal building blocks of PixelCNN++ (Salimans et al. 2017): shifted convolutions and gated residual layers.

Shape legend: B batch, C channels, H rows, W columns, F filters.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@contextmanager
def without_tf32() -> Iterator[None]:
    """While active, a GPU's convolutions compute in float32 proper, which by default they do not (TF32)."""
    usual = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = usual


def concat_elu(x: Tensor, dim: int = 1) -> Tensor:
    """Returns elu of (x, −x) along the channels: (B, C, …) -> (B, 2C, …)."""
    return F.elu(torch.cat((x, -x), dim=dim))


def shift_down(x: Tensor) -> Tensor:
    """Moves rows down by one: row i receives what was row i − 1, row 0 zeros."""
    return F.pad(x, (0, 0, 1, 0))[:, :, :-1]


def shift_right(x: Tensor) -> Tensor:
    """Moves columns right by one: column j receives what was column j − 1, column 0 zeros."""
    return F.pad(x, (1, 0, 0, 0))[:, :, :, :-1]


class WeightNormConv(nn.Module):
    """A convolution, weight-normalised per output channel, with data-dependent initialisation.

    y = g · (v / ‖v‖) ∗ x + b, the norm taken over everything but the output channel (Salimans & Kingma 2016).
    While `initialising(model)` is active, a forward pass sets g and b so that each output channel has mean 0 and
    standard deviation `init_scale` over that batch, and returns the output under the new values, so that the layers
    behind it are initialised on what they will really see.

    Args:
        inputs, outputs: Channels.
        kernel: (rows, columns).
        pad: Zeros added (left, right, top, bottom) before the convolution.
        stride: Same in both directions.
        init_scale: Standard deviation of the output at initialisation.
        weight_norm: Without it the same initial weights are kept as plain parameters.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: tuple[int, int] = (1, 1),
        *,
        pad: tuple[int, int, int, int] = (0, 0, 0, 0),
        stride: int = 1,
        init_scale: float = 1.0,
        weight_norm: bool = True,
    ) -> None:
        super().__init__()
        self.pad, self.stride, self.init_scale = pad, stride, init_scale
        self.initialising = False
        fan_in = inputs * kernel[0] * kernel[1]
        self.weight = nn.Parameter(self._direction(inputs, outputs, kernel))
        with torch.no_grad():
            self.weight.mul_(init_scale * fan_in**-0.5)
        self.gain = nn.Parameter(self._norm(self.weight.detach()).flatten()) if weight_norm else None
        self.bias = nn.Parameter(torch.zeros(outputs))

    def _direction(self, inputs: int, outputs: int, kernel: tuple[int, int]) -> Tensor:
        return torch.randn(outputs, inputs, *kernel)

    def _norm(self, weight: Tensor) -> Tensor:
        """The norm per output channel, shaped to divide `weight`."""
        return weight.flatten(1).norm(dim=1)[:, None, None, None]

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if any(self.pad):
            x = F.pad(x, self.pad)
        return F.conv2d(x, weight, bias, stride=self.stride)

    def _effective_weight(self) -> Tensor:
        if self.gain is None:
            return self.weight
        norm = self._norm(self.weight)
        return self.weight * (self.gain.view(norm.shape) / norm)

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        norm = self._norm(self.weight)
        y = self._convolve(x, self.weight / norm, None)
        std, mean = torch.std_mean(y, dim=(0, 2, 3), correction=0)
        # A channel that the batch leaves constant (there is nothing above a first row) tells no scale: to divide by
        # its rounding error would make a gain of 100,000 and the first gradient NaN.
        varies = std > 1e-4 * (1 + mean.abs())
        scale = self.init_scale / torch.where(varies, std, 1.0)
        if self.gain is None:
            self.weight.mul_(scale.view(norm.shape) / norm)
        else:
            self.gain.copy_(scale)
        self.bias.copy_(-mean * scale)

    def forward(self, x: Tensor) -> Tensor:
        if self.initialising:
            self._initialise(x)
        return self._convolve(x, self._effective_weight(), self.bias)


class WeightNormUpConv(WeightNormConv):
    """The transposed convolution of the same kind, stride 2, cropped to twice the input's size.

    Args: as `WeightNormConv`; `pad` is unused. For a kernel (2, 3) one column is cropped at either side, for (2, 2)
    none.
    """

    def _direction(self, inputs: int, outputs: int, kernel: tuple[int, int]) -> Tensor:
        return torch.randn(inputs, outputs, *kernel)

    def _norm(self, weight: Tensor) -> Tensor:
        # A transposed convolution stores its weight as (inputs, outputs, …): the output channel is dimension 1.
        return weight.transpose(0, 1).flatten(1).norm(dim=1)[None, :, None, None]

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        rows, columns = 2 * x.shape[2], 2 * x.shape[3]
        y = F.conv_transpose2d(x, weight, bias, stride=2, output_padding=1)
        left = (weight.shape[3] - 1) // 2
        return y[:, :, :rows, left : left + columns]


class _Point(nn.Module):
    """What a 1×1 convolution does to a single place, as a matrix product: (B, C) -> (B, outputs)."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight[:, :, 0, 0], bias

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)


@torch.no_grad()
def settled(model: nn.Module) -> nn.Module:
    """Returns a copy of a model for single places (B, C), whose 1×1 convolutions are normalised once for all."""
    found = copy.deepcopy(model)
    for module in list(found.modules()):
        for name, part in module.named_children():
            if isinstance(part, WeightNormConv):
                setattr(module, name, _Point(part._effective_weight(), part.bias))
    return found


def down_conv(inputs: int, outputs: int, kernel: tuple[int, int] = (2, 3), **options) -> WeightNormConv:
    """Sees the same row and those above, columns to both sides."""
    rows, columns = kernel
    side = (columns - 1) // 2
    return WeightNormConv(inputs, outputs, kernel, pad=(side, side, rows - 1, 0), **options)


def down_right_conv(inputs: int, outputs: int, kernel: tuple[int, int] = (2, 2), **options) -> WeightNormConv:
    """Sees the same row and those above, the same column and those to the left."""
    rows, columns = kernel
    return WeightNormConv(inputs, outputs, kernel, pad=(columns - 1, 0, rows - 1, 0), **options)


class GatedResidual(nn.Module):
    """x + a · σ(b), with (a, b) the second convolution's 2F channels plus the condition's bias (Salimans et al. 2017).

    Args:
        conv: `down_conv` or `down_right_conv`: decides what the layer may see.
        filters: F.
        side: Channels of the second input (skip connection or the other stream), 0 for none.
        dropout: Probability of dropping each element before the second convolution.
    """

    def __init__(self, conv, filters: int, *, side: int = 0, dropout: float = 0.0, weight_norm: bool = True) -> None:
        super().__init__()
        self.first = conv(2 * filters, filters, weight_norm=weight_norm)
        self.side = WeightNormConv(2 * side, filters, weight_norm=weight_norm) if side else None
        self.dropout = nn.Dropout(dropout)
        self.second = conv(2 * filters, 2 * filters, weight_norm=weight_norm, init_scale=0.1)

    def forward(self, x: Tensor, side: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """(B, F, H, W), side (B, side, H, W), bias broadcastable to (B, 2F, H, W) -> (B, F, H, W)."""
        y = self.first(concat_elu(x))
        if self.side is not None and side is not None:
            y = y + self.side(concat_elu(side))
        y = self.second(self.dropout(concat_elu(y)))
        if bias is not None:
            y = y + bias
        return x + F.glu(y, dim=1)


@contextmanager
def initialising(model: nn.Module) -> Iterator[None]:
    """While active, the forward pass of every `WeightNormConv` in `model` re-initialises it from its input."""
    layers = [module for module in model.modules() if isinstance(module, WeightNormConv)]
    try:
        for layer in layers:
            layer.initialising = True
        yield
    finally:
        for layer in layers:
            layer.initialising = False
