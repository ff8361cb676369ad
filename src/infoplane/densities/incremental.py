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
from torch import Tensor, nn

from infoplane.densities.graphs import Position, Recorder, put_at, value_at
from infoplane.densities.incremental_layers import (
    GatedPair,
    PixelConv,
    RowConv,
    TransposedConv,
    add_product,
    matrices_of,
)
from infoplane.densities.layers import GatedResidual, WeightNormConv
from infoplane.densities.likelihoods import scale_levels

if TYPE_CHECKING:
    from infoplane.densities.streams import Streams


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
        self.above = RowConv(density.above, columns, zeros)
        self.row_above = RowConv(density.row_above, columns, zeros)
        left = matrices_of(density.left)  # (2, 1): the pixel to the left in the row above and in its own row
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
            [GatedPair(next(up_down), next(up_right), self.grids[s][1], zeros) for _ in range(layers)]
            for s in range(self.scales)
        ]
        count = {s: layers + (s < top) for s in range(self.scales)}
        self.down = {
            s: [GatedPair(next(down_down), next(down_right), self.grids[s][1], zeros) for _ in range(count[s])]
            for s in reversed(range(self.scales))
        }
        for s in range(self.scales):
            for pair, index in zip([*self.up[s], *self.down[s]], range(0, len(biases[s]), 2), strict=True):
                pair.bias_down, pair.bias_right = biases[s][index], biases[s][index + 1]
        self.shrink_down = [
            RowConv(conv, self.grids[s][1], zeros) for s, conv in enumerate(_convs(density.shrink_down))
        ]
        self.shrink_right = [
            PixelConv(conv, self.grids[s][1], zeros) for s, conv in enumerate(_convs(density.shrink_right))
        ]
        # The way up again: module k leads from scale top - k to the next finer one.
        self.grow_down = {top - k: TransposedConv(conv) for k, conv in enumerate(_convs(density.grow_down))}
        self.grow_right = {top - k: TransposedConv(conv) for k, conv in enumerate(_convs(density.grow_right))}
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
        left = add_product(value_at(self.left_row, columns[0]), value_at(self.left, columns[0]), self.left_own)
        v = value_at(self.start, columns[0]) + left
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
                v = value_at(self.grown_right[s + 1].flatten(0, 1), columns[s])[:, int(second)]
            for pair in self.down[s]:
                v = pair.pixel_right(v, stack.pop(), columns[s])
            if s > 0:
                grown = self.grow_right[s].pixel(v)  # (2 columns, B, 2 rows, F)
                put_at(self.grown_right[s], columns[s], grown)
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
        put_at(self.image[:, :, :-1], self.columns[0], scale_levels(pixel, self.levels, self.image.dtype))

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
