"""PixelCNN++ one pixel at a time: every convolution keeps only the row and the columns that it still needs.

The stream that sees the rows above a pixel advances a row at a time, the stream that also sees what is left of it a
pixel at a time, and what runs at scale s advances every 2^s rows and pixels. What a pixel's convolutions take from the
row above it, from the other stream and from the context is known when its row begins, and is computed for the whole
row at once. So a pixel costs a few small matrix products, not a pass through the network; the sums are those of the
parallel pass in another order.

What is computed depends on the position only through the scales that are active there, its phase, and all that is kept
lies in tensors that never move. So what one position computes can be recorded and replayed at all others of its phase
(`graphs.py`), if it reads from the device where it is.

Shape legend: B batch, C channels, W columns of a scale, F filters. Rows are (W, B, C), so that the same weights serve
rows and pixels (B, C). What is left of the first pixel is zero, and in some rows is there as one column more in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.graphs import Recorder
from infoplane.densities.layers import GatedResidual, WeightNormConv, concat_elu
from infoplane.densities.likelihoods import scale_levels

if TYPE_CHECKING:
    from infoplane.densities.streams import Streams

#: (W, C) -> zeros (W, B, C) of the right type on the right device
Zeros = Callable[[int, int], Tensor]
#: the number of a row or column, or int64 (1,) that holds it
Position = int | Tensor


class Incremental:
    """The features of an image that becomes known pixel by pixel, in raster order.

    For every row `begin_row()`, then for every pixel `step(…)`; or, never recorded, `features()` and, once its value is
    known, `put(pixel)`.

    Args:
        density: In evaluation mode; its weights must not change meanwhile.
        biases: What the context adds, per scale, as `Streams.biases_of` returns it.
        batch: B.
        record: Runs a function, or replays what it recorded under the same key. None: everything just runs.
    """

    def __init__(
        self, density: Streams, biases: list[list[Tensor | None]], batch: int, record: Recorder | None = None
    ) -> None:
        weight = density.above.weight
        self.levels, self.scales = density.levels, density.scales
        self.grids = density.grids
        self.record = record
        self.row, self.column = -1, 0
        if record is not None:  # it reads from the device where it is: per scale, the row and the column
            positions = torch.arange(max(self.grids[0]) + 1, device=weight.device)
            self.shifted = positions[:, None] >> torch.arange(self.scales, device=weight.device)  # (position, scale)
            self.places = torch.zeros_like(self.shifted[:2])
        layers, top = density.residual_layers, density.scales - 1

        def zeros(columns: int, channels: int) -> Tensor:
            return weight.new_zeros(columns, batch, channels)

        columns, self.filters = self.grids[0][1], weight.shape[0]
        self.above = _RowConv(density.above, columns, zeros)
        self.row_above = _RowConv(density.row_above, columns, zeros)
        left = _matrices(density.left)  # (2, 1): the pixel to the left in the row above and in its own row
        self.left_above, self.left_own, self.left_bias = left[0][0], left[1][0], density.left.bias
        # Pixels of the row above, until those of the row itself take their places.
        self.left = zeros(columns + 1, density.shape[0] + 1)
        self.image = self.left[1:]
        self.image[:, :, -1] = 1.0
        # What is known when a row begins: of every pixel, and of what its left neighbour adds to it.
        self.start, self.left_row = zeros(columns, self.filters), zeros(columns + 1, self.filters)
        self.left_row[1:] = self.left_bias
        up_down, up_right = _layers(density.up_down), _layers(density.up_right)
        down_down, down_right = _layers(density.down_down), _layers(density.down_right)
        self.up = [
            [_Pair(next(up_down), next(up_right), self.grids[s][1], zeros) for _ in range(layers)]
            for s in range(self.scales)
        ]
        count = {s: layers + (s < top) for s in range(self.scales)}
        self.down = {
            s: [_Pair(next(down_down), next(down_right), self.grids[s][1], zeros) for _ in range(count[s])]
            for s in reversed(range(self.scales))
        }
        for s in range(self.scales):
            for pair, index in zip([*self.up[s], *self.down[s]], range(0, len(biases[s]), 2), strict=True):
                pair.bias_down, pair.bias_right = biases[s][index], biases[s][index + 1]
        self.shrink_down = [
            _RowConv(conv, self.grids[s][1], zeros) for s, conv in enumerate(_convs(density.shrink_down))
        ]
        self.shrink_right = [
            _PixelConv(conv, self.grids[s][1], zeros) for s, conv in enumerate(_convs(density.shrink_right))
        ]
        # The way up again: module k leads from scale top - k to the next finer one.
        self.grow_down = {top - k: _Grow(conv) for k, conv in enumerate(_convs(density.grow_down))}
        self.grow_right = {top - k: _Grow(conv) for k, conv in enumerate(_convs(density.grow_right))}
        # Of the two rows that a coarser scale gives the second, and of its pixels all four.
        self.grown_down = {s: zeros(self.grids[s - 1][1], self.filters) for s in self.grow_down}
        self.grown_right = {s: weight.new_zeros(self.grids[s][1], 2, batch, 2, self.filters) for s in self.grow_right}

    def begin_row(self) -> None:
        """Moves on to the next row, of which no pixel is known yet."""
        self.row += 1
        self.rows = self._place(0, self.row)
        if self.record is None or self.row == 0:  # the first row is the only one of its kind
            self._begin_row()
        else:
            self.record(("row", self._active(self.row)), self._begin_row)
        self._move(0)

    def step(self, pixel: Tensor, draw: Callable[[Tensor], Tensor] | None = None) -> None:
        """Takes the next pixel, integer levels (B, C); if there is a `draw`, first draws it: (B, F) -> (B, C).

        A recording reads and writes `pixel` where it was the first time, and whatever `draw` reads likewise.
        """

        def run() -> None:
            features = self.features()
            if draw is not None:
                pixel.copy_(draw(features))
            self._keep(pixel)

        if self.record is None:
            run()
        else:
            self.record(("pixel", *self._phase(), draw is not None), run)
        self._move(self.column + 1)

    def features(self) -> Tensor:
        """Returns what the likelihood of the next pixel is computed from: (B, F)."""
        columns, (last, second) = self.columns, self._phase()
        left = _add_product(_at(self.left_row, columns[0]), _at(self.left, columns[0]), self.left_own)
        v = _at(self.start, columns[0]) + left
        stacks = []
        for s in range(last + 1):
            stack = [v]
            for pair in self.up[s]:
                v = pair.pixel_right(v, None, columns[s])
                stack.append(v)
            stacks.append(stack)
            if s < self.scales - 1:
                if s < last:
                    v = self.shrink_right[s](v, columns[s])
                else:
                    self.shrink_right[s].keep(v, columns[s])
        for s in reversed(range(last + 1)):
            stack = stacks[s]
            if s == self.scales - 1:
                v = stack.pop()
            elif s == last:
                v = _at(self.grown_right[s + 1].flatten(0, 1), columns[s])[:, int(second)]
            for pair in self.down[s]:
                v = pair.pixel_right(v, stack.pop(), columns[s])
            if s > 0:
                grown = self.grow_right[s].pixel(v)  # (2 columns, B, 2 rows, F)
                _put(self.grown_right[s], columns[s], grown)
                v = grown[0, :, 0]
        return v

    def put(self, pixel: Tensor) -> None:
        """Takes the value of the pixel whose features were asked for last: integer levels (B, C)."""
        self._keep(pixel)
        self._move(self.column + 1)

    def _begin_row(self) -> None:
        rows, last = self.rows, self._active(self.row)
        u = self.start
        if self.row > 0:
            # What stands for row i saw the image only down to row i - 1: the convolutions' outputs move down by one.
            u = self.above(self.image)
            self.start.copy_(self.row_above(self.image))
            torch.add(self.image @ self.left_above, self.left_bias, out=self.left_row[1:])
        stacks = []
        for s in range(last + 1):
            stack = [u]
            for pair in self.up[s]:
                u = pair.row_down(u, None, rows[s])
                pair.begin_right(u, rows[s])
                stack.append(u)
            stacks.append(stack)
            if s < self.scales - 1:
                self.shrink_right[s].begin_row()
                if s < last:
                    u = self.shrink_down[s](u)
                else:
                    self.shrink_down[s].keep(u)
        for s in reversed(range(last + 1)):
            stack = stacks[s]
            if s == self.scales - 1:
                u = stack.pop()
            elif s == last:
                u = self.grown_down[s + 1]
            for pair in self.down[s]:
                u = pair.row_down(u, stack.pop(), rows[s])
                pair.begin_right(u, rows[s])
            if s > 0:
                u, second = self.grow_down[s].rows(u)[:, : self.grids[s - 1][1]]
                self.grown_down[s].copy_(second)

    def _keep(self, pixel: Tensor) -> None:
        _put(self.image[:, :, :-1], self.columns[0], scale_levels(pixel, self.levels, self.image.dtype))

    def _move(self, column: int) -> None:
        self.column, self.columns = column, self._place(1, column)

    def _place(self, axis: int, position: int) -> Sequence[Position]:
        """A row (axis 0) or column (1) at every scale, for what is recorded in the same place every time."""
        if self.record is None:
            return [position >> s for s in range(self.scales)]
        return self.places[axis].copy_(self.shifted[position]).split(1)

    def _phase(self) -> tuple[int, bool]:
        """All that a pixel's computation depends on: the coarsest active scale, and if it is the row's coarsest too."""
        row = self._active(self.row)
        last = min(row, self._active(self.column))
        return last, row == last

    def _active(self, position: int) -> int:
        """The coarsest scale that has something to compute at a row or column."""
        s = 0
        while s < self.scales - 1 and position % (2 << s) == 0:
            s += 1
        return s


def _layers(modules: nn.ModuleList) -> Iterator[GatedResidual]:
    return iter(cast(Iterable[GatedResidual], modules))


def _convs(modules: nn.ModuleList) -> list[WeightNormConv]:
    return list(cast(Iterable[WeightNormConv], modules))


def _matrices(conv: WeightNormConv) -> list[list[Tensor]]:
    """A convolution's weight as one matrix (C, F) per row and column of its kernel."""
    weight = conv._effective_weight()
    return [[weight[:, :, a, b].T.contiguous() for b in range(weight.shape[3])] for a in range(weight.shape[2])]


class _RowConv:
    """A convolution with three columns and one or two rows, fed row by row; it keeps the row before."""

    def __init__(self, conv: WeightNormConv, columns: int, zeros: Zeros) -> None:
        # One matrix for all taps of a row, above first.
        self.weights = [torch.cat(row) for row in _matrices(conv)]
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


class _PixelConv:
    """A convolution of 2 × 2 that sees the pixel, its left neighbour, and the same two in the row above."""

    def __init__(self, conv: WeightNormConv, columns: int, zeros: Zeros) -> None:
        matrices = _matrices(conv)
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
        return _add_product(_at(self.known, column), torch.cat((_at(self.left, column), pixel), dim=1), self.own)

    def keep(self, pixel: Tensor, column: Position) -> None:
        """Remembers a pixel; for one for which nobody wants an output that is all."""
        _put(self.pixels, column, pixel)


class _Grow:
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


class _Pair:
    """A gated layer of either stream, one above the other: the second takes what the first gives, from the side."""

    def __init__(self, down: GatedResidual, right: GatedResidual, columns: int, zeros: Zeros) -> None:
        self.bias_down: Tensor | None = None
        self.bias_right: Tensor | None = None
        self.first_down = _RowConv(down.first, columns, zeros)
        self.second_down = _RowConv(down.second, columns, zeros)
        self.side_down = None if down.side is None else _matrices(down.side)[0][0]
        self.side_bias = None if down.side is None else down.side.bias
        self.first = _PixelConv(right.first, columns, zeros)
        self.second = _PixelConv(right.second, columns, zeros)
        assert right.side is not None  # every layer of this stream has one
        self.side_right_bias = right.side.bias
        side, filters = _matrices(right.side)[0][0], len(right.first.bias)
        # concat_elu of (u, v) is elu of (u, v, -u, -v): rows of the side's weight that take u, and those that take v.
        if len(side) == 4 * filters:
            parts = side.split(filters)
            self.side_row, self.side_pixel = torch.cat((parts[0], parts[2])), torch.cat((parts[1], parts[3]))
        else:
            self.side_row, self.side_pixel = side, None

    def row_down(self, x: Tensor, side: Tensor | None, row: Position) -> Tensor:
        """The layer of the stream that sees the rows above: (W, B, F), side (W, B, F) -> (W, B, F)."""
        y = self.first_down(_both(x))
        if side is not None and self.side_down is not None and self.side_bias is not None:
            y = y + (_both(side) @ self.side_down + self.side_bias)
        y = self.second_down(_both(y))
        bias = _row_of(self.bias_down, row)
        return x + F.glu(y if bias is None else y + bias, dim=2)

    def begin_right(self, u: Tensor, row: Position) -> None:
        """Prepares the layer of the other stream for a row, of whose side u (W, B, F) is known."""
        self.first.begin_row(_both(u) @ self.side_row + self.side_right_bias)
        self.second.begin_row(_row_of(self.bias_right, row))

    def pixel_right(self, x: Tensor, side: Tensor | None, column: Position) -> Tensor:
        """The layer of the stream that sees what is left: (B, F), side (B, F) -> (B, F)."""
        y = self.first(concat_elu(x), column)
        if side is not None and self.side_pixel is not None:
            y = _add_product(y, concat_elu(side), self.side_pixel)
        y = self.second(concat_elu(y), column)
        return x + F.glu(y, dim=1)


def _both(x: Tensor) -> Tensor:
    """elu of (x, -x) along the channels of a row: (W, B, C) -> (W, B, 2C)."""
    return F.elu(torch.cat((x, -x), dim=2))


def _row_of(bias: Tensor | None, row: Position) -> Tensor | None:
    """The row of a bias (B, F, R or 1, W or 1) as (W or 1, B, F)."""
    if bias is None:
        return None
    if bias.shape[2] == 1:
        row = 0
    found = bias[:, :, row] if isinstance(row, int) else bias.index_select(2, row)[:, :, 0]
    return found.permute(2, 0, 1)


def _at(rows: Tensor, position: Position) -> Tensor:
    """(W, …) -> what stands at a position: (…)."""
    return rows[position] if isinstance(position, int) else rows.index_select(0, position)[0]


def _put(rows: Tensor, position: Position, value: Tensor) -> None:
    """Puts a value (…) at a position of (W, …)."""
    if isinstance(position, int):
        rows[position] = value
    else:
        rows.index_copy_(0, position, value[None])


def _add_product(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """Adds a matrix product to x, in place: (B, F), (B, C), (C, F) -> (B, F)."""
    return torch.addmm(x, y, weight, out=x)
