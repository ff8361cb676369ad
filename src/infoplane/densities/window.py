"""What lies around a pixel: windows of those before it in raster order, averages of far ones, windows of any map.

Shape legend: N pixels of some images, C channels, K places of a window, S boxes.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Places(NamedTuple):
    """Some pixels of a batch of images.

    Attributes:
        image: Which image of the batch, int64 (N,).
        pixel: Its place in raster order, int64 (N,).
    """

    image: Tensor
    pixel: Tensor

    @classmethod
    def every(cls, images: int, pixels: int, device: torch.device) -> "Places":
        """Returns all pixels of so many images, image by image."""
        index = torch.arange(images * pixels, device=device)
        return cls(index // pixels, index % pixels)

    @classmethod
    def some(cls, images: int, pixels: int, most: int, device: torch.device) -> "Places":
        """Returns all pixels of images, or so many of them, drawn at random with replacement: each time the same."""
        if images * pixels <= most:
            return cls.every(images, pixels, device)
        generator = torch.Generator().manual_seed(0)
        image, pixel = (torch.randint(size, (most,), generator=generator).to(device) for size in (images, pixels))
        return cls(image, pixel)


def causal_offsets(up: int, side: int) -> list[tuple[int, int]]:
    """Returns the (rows, columns) from a pixel to those of its window: `up` rows above it and what is left of it."""
    above = [(row, column) for row in range(-up, 0) for column in range(-side, side + 1)]
    return [*above, *((0, column) for column in range(-side, 0))]


def causal_window(rows: int, columns: int, offsets: list[tuple[int, int]]) -> Tensor:
    """Returns, for every pixel, the places in raster order of its window: int64 (H·W, K).

    What lies beyond an edge is the nearest pixel of the image that comes before; the first pixel, which has none,
    sees the place H·W, where a constant is to stand.
    """
    row = torch.arange(rows)[:, None, None]
    column = torch.arange(columns)[None, :, None]
    down, right = torch.tensor(offsets, dtype=torch.long).view(-1, 2).unbind(1)
    above, beside = (row + down).clamp_min(0), (column + right).clamp(0, columns - 1)
    place, own = above * columns + beside, row * columns + column
    # Clamped to its own row it may have come to lie at or after the pixel: then the last one before it.
    last = torch.where(column > 0, own - 1, torch.where(row > 0, own - columns, rows * columns))
    return torch.where(place < own, place, last).flatten(0, 1)


def gathered(maps: Tensor, index: Tensor, image: Tensor) -> Tensor:
    """Returns what stands at some places of maps: (B, C, S), index (N, K) of places, image (N,) -> (N, C, K)."""
    channels, size = maps.shape[1:]
    base = image[:, None] * channels + torch.arange(channels, device=maps.device)
    return torch.take(maps, base[:, :, None] * size + index[:, None])


def with_beyond(maps: Tensor, value: float = 0.0) -> Tensor:
    """Returns maps (B, C, H, W) place by place with one more at the end, which stands for what is beyond them."""
    return F.pad(maps.flatten(2), (0, 1), value=value)


class Growing:
    """Windows of images that become known pixel by pixel, in raster order, one pixel of all images at a time.

    Args:
        images: (B, C, H, W), which whoever asks for a pixel has filled in up to it.
        table: The places of every pixel's window: int64 (H·W, K).
        values: From pixels (B, C, n) to what the windows hold of them, (B, c, n).
        beyond: What stands beyond the image.
    """

    def __init__(self, images: Tensor, table: Tensor, values: Callable[[Tensor], Tensor], beyond: float = 0.0) -> None:
        self._pixels, self._table, self._values = images.flatten(2), table, values
        self._maps = with_beyond(values(self._pixels)[:, :, :, None], beyond)
        self._known = 0

    def at(self, pixel: int) -> Tensor:
        """The window of a pixel: (B, c, K)."""
        if pixel > self._known:
            some = slice(self._known, pixel)
            self._maps[:, :, some] = self._values(self._pixels[:, :, some])
            self._known = pixel
        index = self._table[pixel].expand(*self._maps.shape[:2], -1)
        return self._maps.gather(2, index)


def square_window(grid: tuple[int, int], rows: int, columns: int, radius: int) -> Tensor:
    """Returns, for every pixel of an image of rows × columns, the places in a map of `grid` around the one that it
    lies on: int64 (H·W, (2r + 1)²); beyond the edge the place h·w."""
    height, width = grid
    centre_row = torch.arange(rows)[:, None, None] * height // rows
    centre_column = torch.arange(columns)[None, :, None] * width // columns
    side = torch.arange(-radius, radius + 1)
    down, right = side.repeat_interleave(len(side)), side.repeat(len(side))
    row, column = centre_row + down, centre_column + right
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    return torch.where(inside, row * width + column, height * width).flatten(0, 1)


class Boxes(nn.Module):
    """Averages over rectangles of the rows above a pixel, which see farther than a window and cost no more.

    Args:
        rows, columns: Of the image.
        up, side: The window beyond which they lie.
        sizes: Of the boxes, pixels.

    Attributes:
        count: How many there are, S.
    """

    corners: Tensor
    area: Tensor

    def __init__(self, rows: int, columns: int, up: int, side: int, sizes: Sequence[int]) -> None:
        super().__init__()
        row, column = torch.arange(rows)[:, None], torch.arange(columns)[None, :]
        edges: list[Tensor] = []
        for size in sizes:
            half = size // 2
            for top, bottom, left, right in (
                (-up - size, -up, -half, half + 1),  # above
                (-up - size, -up, -half - size, -half),  # above, to the left
                (-up - size, -up, half + 1, half + 1 + size),  # above, to the right
                (-size, 0, -side - size, -side),  # to the left
                (-size, 0, side + 1, side + 1 + size),  # to the right
            ):
                lines = [(row + top).clamp(0, rows), (row + bottom).clamp(0, rows)]
                lines += [(column + left).clamp(0, columns), (column + right).clamp(0, columns)]
                edges.append(torch.stack([line.expand(rows, columns).flatten() for line in lines]))
        self.count = len(edges)
        top, bottom, left, right = torch.stack(edges, 2) if edges else torch.zeros(4, rows * columns, 0).long()
        wide = columns + 1
        # Places in a table of sums: of what is added, and of what is taken away.
        corners = torch.stack((bottom * wide + right, top * wide + left, top * wide + right, bottom * wide + left), 1)
        self.register_buffer("corners", corners, persistent=False)  # (H·W, 4, S)
        self.register_buffer("area", ((bottom - top) * (right - left)).float(), persistent=False)  # (H·W, S)

    def forward(self, images: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Returns means (N, C, S) of (B, C, H, W), 0 where a box is beyond the edge, and which are not: (N, 1, S)."""
        sums = F.pad(images, (1, 0, 1, 0)).cumsum(2).cumsum(3)
        table = self.corners[places.pixel].flatten(1)
        return self._means(gathered(sums.flatten(2), table, places.image), self.area[places.pixel][:, None])

    def stepper(self, images: Tensor, values: Callable[[Tensor], Tensor]) -> Callable[[int], tuple[Tensor, Tensor]]:
        """Returns what gives the same for a pixel of all images, which become known in raster order.

        Args:
            values: From rows of images (B, C, h, W) to what is averaged.
        """
        columns = images.shape[3]
        sums = F.pad(values(images), (1, 0, 1, 0)).zero_()
        flat, rows = sums.flatten(2), 0

        def means(pixel: int) -> tuple[Tensor, Tensor]:
            nonlocal rows
            while rows < pixel // columns:  # every box ends above its pixel's row
                own = values(images[:, :, rows : rows + 1]).cumsum(3)
                torch.add(sums[:, :, rows : rows + 1, 1:], own, out=sums[:, :, rows + 1 : rows + 2, 1:])
                rows += 1
            index = self.corners[pixel].flatten().expand(*flat.shape[:2], -1)
            return self._means(flat.gather(2, index), self.area[pixel])

        return means

    def _means(self, sums: Tensor, area: Tensor) -> tuple[Tensor, Tensor]:
        """From what stands at the corners (N, C, 4·S) of boxes to their means, and whether there are such boxes."""
        a, b, c, d = sums.unflatten(2, (4, self.count)).unbind(2)
        return (a + b - c - d) / area.clamp_min(1).to(sums), area > 0
