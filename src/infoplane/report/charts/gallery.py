"""Pictures: what each layer kept of each evaluation image, every pixel a sharp square, in the page and as a file."""

import base64
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from PIL import Image

from infoplane.report.drawing import box, gutter, shortened
from infoplane.report.inversion.contents import Layer, ReportContents
from infoplane.report.theme import INK, MUTED, canvas

SAMPLES = 8  # shown per image, layer and checkpoint, unless they would make the page heavy
BUDGET = 2_500_000  # bytes of pictures in the page, about

# Images are enlarged by whole numbers, so that their pixels are even. So many pixels of the page are to fill:
_TILE = 64  # an image, where there is room
_WIDE, _NARROW = 1040, 358  # all columns, on a screen and on a phone
_NAMES = {False: 150, True: 100}  # the column of layers' names, without and with several checkpoints
_BETWEEN = 24  # one column and the next

# In a file: pixels for the names of the columns, and between one image's rows and the next one's.
_ABOVE, _APART = 30, 14

#: (label, reconstruction, samples) of one layer in a file
SheetRow = tuple[str, np.ndarray | None, Sequence[np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Picture:
    """One PNG for the page.

    Attributes:
        url: A data URL.
        width, height: Its size in its own pixels.
        alt: What it shows.
    """

    url: str
    width: int
    height: int
    alt: str


@dataclasses.dataclass(frozen=True)
class Shown:
    """What one layer's activation of an image was turned back into, at one checkpoint ("": at every one)."""

    checkpoint: str
    reconstruction: Picture | None
    samples: Picture | None


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """One layer's pictures, by checkpoint; a single one where it belongs to all. A gap is None."""

    layer: str
    label: str
    cells: tuple[Shown | None, ...]


@dataclasses.dataclass(frozen=True)
class Gallery:
    """All pictures of the page.

    Attributes:
        inputs: The evaluation images to choose from.
        panels: For each of them, the rows of its layers.
        null: The row of p(x), the same for every image, or None.
        checkpoints: The columns; one or none needs no heading.
        images: How many images there are pictures of; `inputs` are the first of them.
        samples: How many samples of each are shown.
        drawn: How many there are.
        zoom, narrow: What to enlarge by, on a screen and on a phone.
        names: Pixels for the layers' names.
        width, height: Of one image, in its own pixels.
        strip: Of a reconstruction and the samples beside it.
    """

    inputs: tuple[Picture, ...]
    panels: tuple[tuple[LayerRow, ...], ...]
    null: LayerRow | None
    checkpoints: tuple[str, ...]
    images: int
    samples: int
    drawn: int
    zoom: int
    narrow: int
    names: int
    width: int
    height: int
    strip: int

    @property
    def reconstructed(self) -> bool:
        """Whether there are reconstructions."""
        return any(cell and cell.reconstruction for rows in self.panels for row in rows for cell in row.cells)


@dataclasses.dataclass(frozen=True)
class Wall:
    """Pictures side by side, and what to enlarge them by."""

    pictures: tuple[Picture, ...]
    zoom: int


def rgb(image: np.ndarray, levels: int) -> np.ndarray:
    """(C, H, W) grey values -> (H, W, 3) for the screen; channels that are no colours are averaged."""
    shown = np.rint(image.astype(np.float64) * 255 / (levels - 1))
    if image.shape[0] != 3:
        shown = np.repeat(np.rint(shown.mean(axis=0, keepdims=True)), 3, axis=0)
    return shown.transpose(1, 2, 0).astype(np.uint8)


def gap_of(width: int) -> int:
    """Returns the pixels between images of that width, in their own size."""
    return max(1, round(width / 24))


def _tiled(images: Sequence[np.ndarray], columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of one shape (H, W, …) in rows of so many with gaps: (H', W', …), and which pixels are no gap."""
    height, width = images[0].shape[:2]
    gap = gap_of(width)
    size = (
        -(-len(images) // columns) * (height + gap) - gap,
        min(columns, len(images)) * (width + gap) - gap,
    )
    tiles, filled = np.zeros((*size, *images[0].shape[2:]), np.uint8), np.zeros(size, bool)
    for index, image in enumerate(images):
        row, column = divmod(index, columns)
        y, x = row * (height + gap), column * (width + gap)
        tiles[y : y + height, x : x + width] = image
        filled[y : y + height, x : x + width] = True
    return tiles, filled


class _Encoder:
    """Turns images into PNGs; those of the same pixels are packed once.

    Args:
        levels: Values that a pixel can take.
    """

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self._packed: dict[tuple[Any, ...], tuple[str, int, int]] = {}

    def picture(self, images: Sequence[np.ndarray], columns: int, alt: str) -> Picture:
        """Returns images of (C, H, W) as one PNG, so many side by side."""
        key = (columns, len(images), images[0].shape, b"".join(image.tobytes() for image in images))
        if key not in self._packed:
            self._packed[key] = _packed(images, self.levels, columns)
        return Picture(*self._packed[key], alt)


def _packed(images: Sequence[np.ndarray], levels: int, columns: int) -> tuple[str, int, int]:
    """Returns images of (C, H, W) as the data URL of one PNG, its gaps transparent, and its width and height."""
    colour = images[0].shape[0] == 3
    pixels, filled = _tiled([rgb(image, levels)[..., slice(None) if colour else 0] for image in images], columns)
    options = {}
    if not filled.all():
        # One colour that no image has marks the gaps: a third smaller than a channel of opacity.
        packed = pixels.astype(np.uint32) @ (1 << 16, 1 << 8, 1) if colour else pixels
        free = np.setdiff1d(np.arange(1 << 14 if colour else 1 << 8), packed[filled])
        if len(free):
            key = int(free[0])
            mark = (key >> 16, key >> 8 & 255, key & 255) if colour else key
            pixels[~filled] = mark
            options["transparency"] = mark
        else:
            opacity = np.where(filled, 255, 0).astype(np.uint8)
            pixels = np.concatenate([pixels.reshape(*filled.shape, -1), opacity[..., None]], axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True, **options)
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")
    return url, pixels.shape[1], pixels.shape[0]


def drawn_at(layer: Layer, checkpoint: str, index: int) -> tuple[np.ndarray | None, Sequence[np.ndarray]]:
    """The reconstruction and the samples of one image, as far as they were drawn."""
    pictures = layer.pictures.get(checkpoint) or layer.pictures.get("")
    if pictures is None:
        return None, ()
    redrawn, samples = pictures.reconstructions, pictures.samples
    return (
        None if redrawn is None or index >= len(redrawn) else redrawn[index],
        () if samples is None or index >= len(samples) else tuple(samples[index]),
    )


def gallery(contents: ReportContents) -> Gallery | None:
    """Returns the pictured images with what every layer kept of them; None where no layer was drawn from."""
    inputs = contents.shown_inputs
    checkpoints = tuple(contents.shown)
    counts = [
        len(pictures.samples[0])
        for layer in contents.layers
        for pictures in layer.pictures.values()
        if pictures.samples is not None and len(pictures.samples)
    ]
    null = contents.null_samples if contents.null_samples is not None and len(contents.null_samples) else None
    drawn = max([*counts, 0 if null is None else min(len(null), SAMPLES)])
    several = len(checkpoints) > 1
    found = [drawn_at(layer, point, 0) for layer in contents.layers for point in _points(layer, checkpoints)]
    if inputs is None or not len(inputs) or all(redrawn is None and not len(own) for redrawn, own in found):
        return None
    assert contents.inputs is not None
    encoder = _Encoder(contents.levels)

    count = min(drawn, SAMPLES)
    while count > 1 and len(inputs) * _weight(_rows(contents, 0, checkpoints, count, encoder)) > BUDGET:
        count = -(-count // 2)  # each look packs pictures
    columns = _columns(count, several)
    height, width = inputs.shape[-2:]
    names = _NAMES[several]
    strip = (1 + columns) * (width + gap_of(width))
    alt = f"{count} samples without any layer"
    sampled = None if null is None else encoder.picture(list(null[:count]), columns, alt)
    room = (_WIDE - names) / max(len(checkpoints), 1) - _BETWEEN
    return Gallery(
        tuple(encoder.picture([image], 1, f"Evaluation image {index}") for index, image in enumerate(inputs, 1)),
        tuple(tuple(_rows(contents, index, checkpoints, count, encoder)) for index in range(len(inputs))),
        None if null is None else LayerRow("input", contents.label("input"), (Shown("", None, sampled),)),
        checkpoints,
        len(contents.inputs),
        count,
        drawn,
        zoom=max(1, min(round(_TILE / width), int(room / strip))),
        narrow=max(1, min(round(_TILE / width), int(_NARROW / strip))),
        names=names,
        width=width,
        height=height,
        strip=strip - gap_of(width),
    )


def walls(contents: ReportContents) -> tuple[Wall | None, Wall | None, int]:
    """Returns evaluation images, what p(x) draws, and how many samples of it there are; None where there are none."""
    null, inputs = contents.null_samples, contents.inputs
    if null is None or not len(null):
        return None, None, 0
    # As if no picture could be packed.
    count = max(1, min(len(null), BUDGET * 3 // 4 // null[0].size))
    encoder, zoom = _Encoder(contents.levels), max(1, round(_TILE / null.shape[-1]))

    def wall(images: np.ndarray, name: str) -> Wall:
        shown = (encoder.picture([image], 1, f"{name} {index}") for index, image in enumerate(images[:count], 1))
        return Wall(tuple(shown), zoom)

    return None if inputs is None else wall(inputs, "Evaluation image"), wall(null, "Sample"), len(null)


def _columns(count: int, several: bool) -> int:
    """Samples side by side: all of them, or two rows where several checkpoints share the width."""
    return max(1, -(-count // 2) if several and count > 3 else count)


def _weight(rows: Sequence[LayerRow]) -> int:
    """Bytes of the pictures in these rows."""
    cells = [cell for row in rows for cell in row.cells if cell is not None]
    return sum(len(picture.url) for cell in cells for picture in (cell.reconstruction, cell.samples) if picture)


def _points(layer: Layer, checkpoints: Sequence[str]) -> Sequence[str]:
    """The checkpoints that a layer has pictures of: all, or none in particular."""
    return [""] if set(layer.pictures) <= {""} else checkpoints


def _rows(
    contents: ReportContents, index: int, checkpoints: Sequence[str], count: int, encoder: _Encoder
) -> list[LayerRow]:
    """What each layer kept of one image, with so many samples."""
    columns = _columns(count, len(checkpoints) > 1)
    rows = []
    for layer in contents.layers:
        points = _points(layer, checkpoints)
        cells = tuple(_cell(layer, point, index, count, columns, encoder) for point in points)
        if any(cells):
            rows.append(LayerRow(layer.name, layer.label, cells))
    return rows


def _cell(layer: Layer, checkpoint: str, index: int, count: int, columns: int, encoder: _Encoder) -> Shown | None:
    redrawn, samples = drawn_at(layer, checkpoint, index)
    if redrawn is None and not samples:
        return None
    of = f"image {index + 1} from {layer.label}" + (f" at checkpoint {checkpoint}" if checkpoint else "")
    again = several = None
    if redrawn is not None:
        again = encoder.picture([redrawn], 1, f"Reconstruction of {of}")
    if samples:
        chosen = samples[:count]
        several = encoder.picture(chosen, columns, f"{len(chosen)} samples for {of}")
    return Shown(checkpoint, again, several)


def sheet_rows(contents: ReportContents, checkpoint: str) -> list[list[SheetRow]]:
    """Returns what is shown of a checkpoint: for each of the first images, the rows of its layers."""
    inputs = contents.shown_inputs
    found = [_drawn(contents, index, checkpoint) for index in range(0 if inputs is None else len(inputs))]
    return found if found and found[0] else []


def _drawn(contents: ReportContents, index: int, checkpoint: str) -> list[SheetRow]:
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


def sheet(inputs: np.ndarray, pictured: Sequence[Sequence[SheetRow]], levels: int) -> Figure:
    """Draws pictures as a figure for a file: image | reconstruction | samples, a row per layer.

    Args:
        inputs: The images, (P, C, H, W).
        pictured: What `sheet_rows` returns, of one checkpoint.
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
            named[y + height / 2 - 0.5] = shortened(label)
            shown = {0: image if row == 0 else None, 1: redrawn} | {2 + at: draw for at, draw in enumerate(samples)}
            for column, small in shown.items():
                if small is not None:
                    x = across(column)
                    pixels[y : y + height, x : x + width, :3] = rgb(small, levels)
                    pixels[y : y + height, x : x + width, 3] = 255
    left = gutter([*named.values()])
    high, wide = (size * zoom for size in pixels.shape[:2])
    figure = canvas(left + wide + 10, _ABOVE + high + 4)
    axes = box(figure, left, _ABOVE, wide, high)
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
