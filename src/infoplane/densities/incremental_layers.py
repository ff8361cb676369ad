"""PixelCNN++'s convolutions and gated layers fed a row or a pixel at a time; shapes as in `incremental.py`."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from infoplane.densities.graphs import Position, put_at, value_at
from infoplane.densities.layers import GatedResidual, WeightNormConv, concat_elu

#: (W, C) -> zeros (W, B, C) of the right type on the right device
Zeros = Callable[[int, int], Tensor]


def matrices_of(conv: WeightNormConv) -> list[list[Tensor]]:
    """A convolution's weight as one matrix (C, F) per row and column of its kernel."""
    weight = conv._effective_weight()
    return [[weight[:, :, a, b].T.contiguous() for b in range(weight.shape[3])] for a in range(weight.shape[2])]


class RowConv:
    """A convolution with three columns and one or two rows, fed row by row; it keeps the row before."""

    def __init__(self, conv: WeightNormConv, columns: int, zeros: Zeros) -> None:
        # One matrix for all taps of a row, above first.
        self.weights = [torch.cat(row) for row in matrices_of(conv)]
        self.bias, self.stride = conv.bias, conv.stride
        self.before = zeros(-(-columns // self.stride), len(self.weights[0])) if len(self.weights) == 2 else None

    def __call__(self, row: Tensor) -> Tensor:
        """(W, B, C) -> (⌈W/stride⌉, B, F)."""
        taps = _taps(row, self.stride)
        found = taps @ self.weights[-1] + self.bias
        if self.before is not None:
            found = found + self.before @ self.weights[0]
            self.before.copy_(taps)
        return found

    def keep(self, row: Tensor) -> None:
        """Remembers a row for which nobody wants an output."""
        if self.before is not None:
            self.before.copy_(_taps(row, self.stride))


def _taps(row: Tensor, stride: int) -> Tensor:
    """Every stride-th position with its two neighbours, zeros beyond the ends: (W, B, C) -> (⌈W/stride⌉, B, 3C)."""
    padded = F.pad(row, (0, 0, 0, 0, 1, 1))
    return torch.cat((padded[:-2:stride], padded[1:-1:stride], padded[2::stride]), dim=2)


class PixelConv:
    """A convolution of 2 × 2 that sees the pixel, its left neighbour, and the same two in the row above."""

    def __init__(self, conv: WeightNormConv, columns: int, zeros: Zeros) -> None:
        matrices = matrices_of(conv)
        self.above, self.own = torch.cat(matrices[0]), torch.cat(matrices[1])
        self.bias = conv.bias
        # Pixels of the row above, until those of the row itself take their places; and with each its left neighbour.
        self.left = zeros(columns + 1, len(self.own) // 2)
        self.pixels = self.left[1:]
        self.known = zeros(columns, len(self.bias))

    def begin_row(self, more: Tensor | None = None) -> None:
        """Adds up what is known of the row's outputs: the row above, the bias, and more (W, B, F)."""
        above = torch.cat((self.left[:-1], self.pixels), dim=2)
        torch.add(above @ self.above, self.bias, out=self.known)
        if more is not None:
            self.known.add_(more)

    def __call__(self, pixel: Tensor, column: Position) -> Tensor:
        """(B, C) at a column -> (B, F), once."""
        self.keep(pixel, column)
        return add_product(
            value_at(self.known, column), torch.cat((value_at(self.left, column), pixel), dim=1), self.own
        )

    def keep(self, pixel: Tensor, column: Position) -> None:
        """Remembers a pixel; for one for which nobody wants an output that is all."""
        put_at(self.pixels, column, pixel)


class TransposedConv:
    """A transposed convolution of stride 2, which turns a row into two and a pixel into four."""

    def __init__(self, conv: WeightNormConv) -> None:
        self.weight, self.bias = conv._effective_weight(), conv.bias  # (C, F, 2, 2 or 3)
        self.matrix = self.weight.permute(0, 3, 2, 1).flatten(1)  # (C, columns · rows · F)

    def rows(self, row: Tensor) -> Tensor:
        """Kernel (2, 3): (W, B, C) -> (2, 2W, B, F)."""
        beyond = torch.cat((row[1:], torch.zeros_like(row[:1])))
        found = []
        for a in range(2):
            left, middle, right = (self.weight[:, :, a, b] for b in range(3))
            pair = torch.stack((row @ middle, row @ right + beyond @ left), dim=1)
            found.append(pair.flatten(0, 1) + self.bias)
        return torch.stack(found)

    def pixel(self, pixel: Tensor) -> Tensor:
        """Kernel (2, 2): (B, C) -> (2 columns, B, 2 rows, F)."""
        return (pixel @ self.matrix).view(len(pixel), 2, 2, -1).transpose(0, 1) + self.bias


class GatedPair:
    """A gated layer of either stream, one above the other: the second takes what the first gives, from the side."""

    def __init__(self, down: GatedResidual, right: GatedResidual, columns: int, zeros: Zeros) -> None:
        self.bias_down: Tensor | None = None
        self.bias_right: Tensor | None = None
        self.first_down = RowConv(down.first, columns, zeros)
        self.second_down = RowConv(down.second, columns, zeros)
        self.side_down = None if down.side is None else matrices_of(down.side)[0][0]
        self.side_bias = None if down.side is None else down.side.bias
        self.first = PixelConv(right.first, columns, zeros)
        self.second = PixelConv(right.second, columns, zeros)
        assert right.side is not None  # every layer of this stream has one
        self.side_right_bias = right.side.bias
        side, filters = matrices_of(right.side)[0][0], len(right.first.bias)
        # concat_elu of (u, v) is elu of (u, v, -u, -v): rows of the side's weight that take u, and those that take v.
        if len(side) == 4 * filters:
            parts = side.split(filters)
            self.side_row, self.side_pixel = torch.cat((parts[0], parts[2])), torch.cat((parts[1], parts[3]))
        else:
            self.side_row, self.side_pixel = side, None

    def row_down(self, x: Tensor, side: Tensor | None, row: Position) -> Tensor:
        """The layer of the stream that sees the rows above: (W, B, F), side (W, B, F) -> (W, B, F)."""
        y = self.first_down(concat_elu(x, dim=2))
        if side is not None and self.side_down is not None and self.side_bias is not None:
            y = y + (concat_elu(side, dim=2) @ self.side_down + self.side_bias)
        y = self.second_down(concat_elu(y, dim=2))
        bias = _row_of(self.bias_down, row)
        return x + F.glu(y if bias is None else y + bias, dim=2)

    def begin_right(self, u: Tensor, row: Position) -> None:
        """Prepares the layer of the other stream for a row, of whose side u (W, B, F) is known."""
        self.first.begin_row(concat_elu(u, dim=2) @ self.side_row + self.side_right_bias)
        self.second.begin_row(_row_of(self.bias_right, row))

    def pixel_right(self, x: Tensor, side: Tensor | None, column: Position) -> Tensor:
        """The layer of the stream that sees what is left: (B, F), side (B, F) -> (B, F)."""
        y = self.first(concat_elu(x), column)
        if side is not None and self.side_pixel is not None:
            y = add_product(y, concat_elu(side), self.side_pixel)
        y = self.second(concat_elu(y), column)
        return x + F.glu(y, dim=1)


def _row_of(bias: Tensor | None, row: Position) -> Tensor | None:
    """The row of a bias (B, F, R or 1, W or 1) as (W or 1, B, F)."""
    if bias is None:
        return None
    if bias.shape[2] == 1:
        row = 0
    found = bias[:, :, row] if isinstance(row, int) else bias.index_select(2, row)[:, :, 0]
    return found.permute(2, 0, 1)


def add_product(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Adds a matrix product to x, in place: (B, F), (B, C), (C, F) -> (B, F)."""
    return torch.addmm(x, y, weight, out=x)
