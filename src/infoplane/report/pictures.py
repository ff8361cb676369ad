"""Pictures in the page: each layer's reconstruction and samples as small PNGs with every pixel a sharp square."""

import base64
import dataclasses
import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from infoplane.report.contents import ReportContents
from infoplane.report.drawing import gutter, shorten
from infoplane.report.theme import INK, MUTED, canvas

_TILE = 30  # pixels of the page that an image is enlarged to, about: by a whole number, so that its pixels are even
_SAMPLES = 8  # shown per image and layer


@dataclasses.dataclass(frozen=True)
class Picture:
    """One PNG for the page.

    Attributes:
        url: A data URL.
        width: Its width in pixels of the page.
        alt: What it shows.
    """

    url: str
    width: int
    alt: str


@dataclasses.dataclass(frozen=True)
class Row:
    """What one layer's activation of an image was turned back into. `layer` is None for p(x)."""

    layer: str
    label: str
    reconstruction: Picture | None
    samples: Picture | None


@dataclasses.dataclass(frozen=True)
class Block:
    """One pictured image and what each layer kept of it."""

    input: Picture
    rows: tuple[Row, ...]


def _rgb(image: np.ndarray, levels: int) -> np.ndarray:
    """(C, H, W) grey values -> (H, W, 3) for the screen; channels that are no colours are averaged."""
    shown = np.rint(image.astype(np.float64) * 255 / (levels - 1))
    if image.shape[0] != 3:
        shown = np.repeat(np.rint(shown.mean(axis=0, keepdims=True)), 3, axis=0)
    return shown.transpose(1, 2, 0).astype(np.uint8)


def _strip(images: Sequence[np.ndarray]) -> np.ndarray:
    """(H, W, 3) images side by side with transparent gaps, as (H, W', 4)."""
    height, width = images[0].shape[:2]
    gap = max(1, width // 10)
    strip = np.zeros((height, len(images) * (width + gap) - gap, 4), np.uint8)
    for index, image in enumerate(images):
        start = index * (width + gap)
        strip[:, start : start + width, :3] = image
        strip[:, start : start + width, 3] = 255
    return strip


def _picture(pixels: np.ndarray, scale: int, alt: str) -> Picture:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return Picture(url, pixels.shape[1] * scale, alt)


def _of(pictures: np.ndarray | None, index: int) -> np.ndarray | tuple[()]:
    """What belongs to one image, if so many were drawn from."""
    return () if pictures is None else pictures[index : index + 1]


def _drawn(contents: ReportContents, index: int) -> list[tuple[str, str, np.ndarray | None, Sequence[np.ndarray]]]:
    """(name, label, reconstruction, samples) of every layer that was drawn from, and of p(x), for one image."""
    rows = []
    for layer in contents.layers:
        pictures = layer.pictures
        if pictures is None:
            continue
        redrawn = next(iter(_of(pictures.reconstructions, index)), None)
        samples = next((tuple(drawn[:_SAMPLES]) for drawn in _of(pictures.samples, index)), ())
        if redrawn is not None or samples:
            rows.append((layer.name, layer.label, redrawn, samples))
    null = contents.null_samples
    if null is not None and len(null):
        # Fresh ones for each image as long as they last.
        shown = [null[(index * _SAMPLES + draw) % len(null)] for draw in range(min(_SAMPLES, len(null)))]
        rows.append(("input", contents.label("input"), None, shown))
    return rows


def blocks(contents: ReportContents) -> list[Block]:
    """Returns the pictured images with what every layer kept of them; nothing where no layer was drawn from."""
    inputs = contents.inputs
    if inputs is None or not len(inputs) or not _drawn(contents, 0):
        return []
    scale = max(1, round(_TILE / inputs.shape[-1]))
    found = []
    for index, image in enumerate(inputs):
        rows = []
        for name, label, redrawn, samples in _drawn(contents, index):
            again = samples_of = None
            if redrawn is not None:
                alt = f"Reconstruction of image {index + 1} from {label}"
                again = _picture(_strip([_rgb(redrawn, contents.levels)]), scale, alt)
            if len(samples):
                strip = _strip([_rgb(sample, contents.levels) for sample in samples])
                samples_of = _picture(strip, scale, f"{len(samples)} samples from {label} for image {index + 1}")
            rows.append(Row(name, label, again, samples_of))
        shown = _picture(_strip([_rgb(image, contents.levels)]), scale, f"Image {index + 1}")
        found.append(Block(shown, tuple(rows)))
    return found


def sheet(contents: ReportContents) -> Figure | None:
    """Draws the same as one figure for a file: image | reconstruction | samples, a row per layer."""
    inputs = contents.inputs
    if inputs is None or not len(inputs) or not (first := _drawn(contents, 0)):
        return None
    height, width = inputs.shape[-2:]
    zoom = max(1, round(34 / width))
    gap = max(1, width // 10)
    wide = (2 + _SAMPLES) * (width + gap) + 2 * gap
    left = gutter([row[1] for row in first])
    block = len(first) * (height + gap) * zoom + 14
    figure = canvas(left + wide * zoom + 10, 34 + block * len(inputs))
    total_width, total_height = figure.get_size_inches() * 72
    for index, image in enumerate(inputs):
        rows = _drawn(contents, index)
        pixels = np.zeros((len(rows) * (height + gap), wide, 4), np.uint8)
        for row, (_, _, redrawn, samples) in enumerate(rows):
            shown = {0: image if row == 0 else None, 1: redrawn} | {2 + at: draw for at, draw in enumerate(samples)}
            for column, small in shown.items():
                if small is not None:
                    x = column * (width + gap) + gap * min(column, 2)
                    y = row * (height + gap)
                    pixels[y : y + height, x : x + width] = _strip([_rgb(small, contents.levels)])
        bottom = total_height - 30 - block * index - (block - 14)
        box = (left / total_width, bottom / total_height, wide * zoom / total_width, (block - 14) / total_height)
        axes = figure.add_axes(box)
        axes.imshow(pixels, interpolation="nearest", aspect="auto")
        axes.set_xticks([])
        axes.set_yticks([row * (height + gap) + height / 2 - 0.5 for row in range(len(rows))])
        axes.set_yticklabels([shorten(row[1]) for row in rows], color=INK, fontsize=10)
        axes.spines[:].set_visible(False)
        axes.patch.set_alpha(0)
        if index == 0:
            for column, words in ((0, "image"), (1, "MSE"), (2, "samples")):
                x = (column * (width + gap) + gap * min(column, 2) - 0.5, -0.5)
                axes.annotate(words, x, (0, 6), textcoords="offset points", color=MUTED, fontsize=10)
    return figure
