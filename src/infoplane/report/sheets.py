"""The pictures of one checkpoint as a figure for a file."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from infoplane.report.contents import ReportContents
from infoplane.report.drawing import gutter, shorten
from infoplane.report.pictures import SAMPLES, drawn_at, gap_of, rgb
from infoplane.report.theme import INK, MUTED, canvas

#: (label, reconstruction, samples) of one layer
Row = tuple[str, np.ndarray | None, Sequence[np.ndarray]]


def rows_of(contents: ReportContents, checkpoint: str) -> list[list[Row]]:
    """Returns what there is to show of a checkpoint: for each pictured image, the rows of its layers."""
    inputs = contents.inputs
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
    first = pictured[0]
    height, width = inputs.shape[-2:]
    zoom = max(1, round(34 / width))
    gap = gap_of(width)
    wide = (2 + SAMPLES) * (width + gap) + 2 * gap
    left = gutter([row[0] for row in first])
    block = len(first) * (height + gap) * zoom + 14
    figure = canvas(left + wide * zoom + 10, 34 + block * len(inputs))
    total_width, total_height = figure.get_size_inches() * 72
    for index, (image, rows) in enumerate(zip(inputs, pictured)):
        pixels = np.zeros((len(rows) * (height + gap), wide, 4), np.uint8)
        for row, (_, redrawn, samples) in enumerate(rows):
            shown = {0: image if row == 0 else None, 1: redrawn} | {2 + at: draw for at, draw in enumerate(samples)}
            for column, small in shown.items():
                if small is not None:
                    x = column * (width + gap) + gap * min(column, 2)
                    y = row * (height + gap)
                    pixels[y : y + height, x : x + width, :3] = rgb(small, levels)
                    pixels[y : y + height, x : x + width, 3] = 255
        bottom = total_height - 30 - block * index - (block - 14)
        box = (left / total_width, bottom / total_height, wide * zoom / total_width, (block - 14) / total_height)
        axes = figure.add_axes(box)
        axes.imshow(pixels, interpolation="nearest", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([row * (height + gap) + height / 2 - 0.5 for row in range(len(rows))])
        axes.set_yticklabels([shorten(row[0]) for row in rows], color=INK, fontsize=10)
        axes.spines[:].set_visible(False)
        axes.patch.set_alpha(0)
        if index == 0:
            for column, words in ((0, "image"), (1, "MSE"), (2, "samples")):
                x = (column * (width + gap) + gap * min(column, 2) - 0.5, -0.5)
                axes.annotate(words, x, (0, 6), textcoords="offset points", color=MUTED, fontsize=10)
    return figure
