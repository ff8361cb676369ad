"""The pictures of one checkpoint as a figure for a file."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from infoplane.report.contents import ReportContents
from infoplane.report.drawing import framed, gutter, shorten
from infoplane.report.pictures import SAMPLES, drawn_at, gap_of, rgb
from infoplane.report.theme import INK, MUTED, canvas

_ABOVE, _APART = 30, 14  # pixels for the names of the columns, and between one image's rows and the next one's

#: (label, reconstruction, samples) of one layer
Row = tuple[str, np.ndarray | None, Sequence[np.ndarray]]


def rows_of(contents: ReportContents, checkpoint: str) -> list[list[Row]]:
    """Returns what is shown of a checkpoint: for each of the first images, the rows of its layers."""
    inputs = contents.shown_inputs
    found = [_drawn(contents, index, checkpoint) for index in range(0 if inputs is None else len(inputs))]
    return found if found and found[0] else []


def _drawn(contents: ReportContents, index: int, checkpoint: str) -> list[Row]:
    """(label, reconstruction, samples) of every layer that was drawn from at a checkpoint, and of p(x)."""
    rows = []
    for layer in contents.layers:
        redrawn, samples = drawn_at(layer, checkpoint, index)
        if redrawn is not None or len(samples):
            rows.append((layer.label, redrawn, samples[:SAMPLES]))
    null = contents.null_samples
    if null is not None and len(null):
        # Fresh ones for each image as long as they last.
        shown = [null[(index * SAMPLES + draw) % len(null)] for draw in range(min(SAMPLES, len(null)))]
        rows.append((contents.label("input"), None, shown))
    return rows


def sheet(inputs: np.ndarray, pictured: Sequence[Sequence[Row]], levels: int) -> Figure:
    """Draws pictures as a figure for a file: image | reconstruction | samples, a row per layer.

    Args:
        inputs: The images, (P, C, H, W).
        pictured: What `rows_of` returns, of one checkpoint.
        levels: Values that a pixel can take.
    """
    most = max(map(len, pictured))
    height, width = inputs.shape[-2:]
    zoom = max(1, round(34 / width))
    gap = gap_of(width)
    apart = max(gap, round(_APART / zoom))
    block = most * (height + gap) - gap + apart  # the rows of one image, and what is between it and the next
    # One picture in one pair of axes: a pair for each image takes six times as long to draw.
    pixels = np.zeros((len(inputs) * block - apart, (2 + SAMPLES) * (width + gap) + gap, 4), np.uint8)

    def across(column: int) -> int:
        """Where a column begins: the image, its reconstruction, and the samples a little apart."""
        return column * (width + gap) + gap * min(column, 2)

    named: dict[float, str] = {}
    for index, (image, rows) in enumerate(zip(inputs, pictured)):
        for row, (label, redrawn, samples) in enumerate(rows):
            y = index * block + row * (height + gap)
            named[y + height / 2 - 0.5] = shorten(label)
            shown = {0: image if row == 0 else None, 1: redrawn} | {2 + at: draw for at, draw in enumerate(samples)}
            for column, small in shown.items():
                if small is not None:
                    x = across(column)
                    pixels[y : y + height, x : x + width, :3] = rgb(small, levels)
                    pixels[y : y + height, x : x + width, 3] = 255
    left = gutter([*named.values()])
    high, wide = (size * zoom for size in pixels.shape[:2])
    figure = canvas(left + wide + 10, _ABOVE + high + 4)
    axes = framed(figure, left, 10, _ABOVE, 4)
    squares = _Squares(axes)
    squares.set_data(pixels)
    squares.set_clip_path(axes.patch)
    squares.set_extent(squares.get_extent())
    axes.add_image(squares)
    axes.set_xticks([])
    axes.set_yticks([*named], [*named.values()], color=INK, fontsize=10)
    axes.spines[:].set_visible(False)
    for column, words in ((0, "image"), (1, "MSE"), (2, "samples")):
        at = (across(column) - 0.5, -0.5)
        axes.annotate(words, at, (0, 6), textcoords="offset points", color=MUTED, fontsize=10)
    return figure


class _Squares(AxesImage):
    """An image (H, W, 4) of squares, one for each pixel; matplotlib's own way there takes ten times the memory."""

    def make_image(self, renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> tuple[Any, ...]:
        """Returns the pixels as they are drawn, the lowest row first, where they stand, and no transformation."""
        own = np.asarray(self.get_array())
        left, low, right, high = np.rint(np.array(self.get_window_extent(renderer).extents) * magnification).astype(int)
        up, across = (
            (np.arange(drawn) * 2 + 1) * count // (2 * drawn)
            for drawn, count in zip((high - low, right - left), own.shape[:2], strict=True)
        )
        return own[up[::-1]][:, across], left / magnification, low / magnification, None
