"""How a context enters a density: as biases of its layers, as published, or as x̂(h) and what of h lies near a pixel.

Shape legend: B images, N pixels, C channels, F width of a trunk, (d,) or (c, h, w) a context.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from infoplane.densities.bases import Local
from infoplane.densities.conditioning import build_conditioning, silence
from infoplane.densities.readout import Readout, Usual
from infoplane.densities.window import Places, gathered, square_window, with_beyond

#: places to every side of a pixel, in x̂(h) and in a map, that are looked at
RADIUS = 1
#: where what calls for another prediction is cut off, in scales
CLIP = 6.0
#: standard deviation of what a standardised context adds to a trunk at first
INITIAL = 0.5


class Biases(nn.Module):
    """The published way: a linear map of a vector, or 1×1 convolutions of a resized map, to a bias of every layer.

    Args:
        grid: (H, W).
        widths: Of the layers of a trunk.
    """

    def __init__(self, context: tuple[int, ...], grid: tuple[int, int], widths: Sequence[int], method: str) -> None:
        super().__init__()
        conditioning = build_conditioning(context, [grid], [list(widths)], method=method, dropout=0.0)
        assert conditioning is not None
        self.conditioning = conditioning

    def forward(self, context: Tensor, places: Places) -> list[Tensor]:
        """Per layer (N, F)."""
        weight = next(self.conditioning.parameters())
        found = []
        for bias in self.conditioning(context.to(weight.dtype)):
            flat = bias.flatten(2)  # one column for all pixels of a vector's
            column = places.pixel if flat.shape[2] > 1 else torch.zeros_like(places.pixel)
            found.append(flat[places.image, :, column])
        return found

    def stepper(self, context: Tensor) -> Callable[[int], list[Tensor]]:
        """Returns what gives the same for a pixel of all images: per layer (B, F)."""
        weight = next(self.conditioning.parameters())
        # Place by place, so that what a pixel takes lies together.
        found = [bias.flatten(2).permute(2, 0, 1).contiguous() for bias in self.conditioning(context.to(weight.dtype))]
        return lambda pixel: [bias[pixel if len(bias) > 1 else 0] for bias in found]

    def silence(self) -> None:
        silence(self.conditioning)


class Near(nn.Module):
    """x̂(h) around a pixel in the scale of its surroundings, and of h itself a vector or what lies near.

    With a base, whose prediction p errs by about S, x̂, which on images that it was not fitted to errs by r, calls for
    p + (x̂ − p)·S²/(S² + r²), by (x̂ − p)·S/(S² + r²) scales away. That is what is seen, less what the mean image m,
    which errs by σ, calls for: (m − p)·S/(S² + σ²). So an h that says nothing adds nothing: of where a pixel is, which
    m tells, q(x|h) learns no more than p(x). Without a base it is x̂ − m.

    Args:
        shape: (C, H, W) of images.
        context: (d,) or (c, h, w).
        width: F.
    """

    around: Tensor
    local: Tensor

    def __init__(self, shape: tuple[int, int, int], context: tuple[int, ...], width: int) -> None:
        super().__init__()
        channels, rows, columns = shape
        window = square_window((rows, columns), rows, columns, RADIUS)
        self.columns = columns
        self.register_buffer("around", window, persistent=False)
        self.decoded = nn.Linear(channels * window.shape[1], width, bias=False)
        nn.init.normal_(self.decoded.weight, std=INITIAL * self.decoded.in_features**-0.5)
        self.spread: nn.Linear | None = None
        if len(context) == 3:
            local = square_window((context[1], context[2]), rows, columns, RADIUS)
            self.register_buffer("local", local, persistent=False)
            self.spread = nn.Linear(context[0] * local.shape[1], width, bias=False)
            nn.init.normal_(self.spread.weight, std=INITIAL * self.spread.in_features**-0.5)
        else:
            self.whole = nn.Linear(context[0], width, bias=False)
            nn.init.zeros_(self.whole.weight)

    def forward(self, context: Tensor, image: Tensor, usual: Usual, places: Places, local: Local | None) -> Tensor:
        """What is added to the first layer of a trunk: (N, F); `image` is x̂ − m (B, C, H, W)."""
        weight = self.decoded.weight
        found = gathered(with_beyond(image.to(weight.dtype)), self.around[places.pixel], places.image)
        if local is not None:
            found = _called_for(found, self._around(usual)[:, places.pixel], local)
        added = self.decoded(found.flatten(1))
        context = context.to(weight.dtype)
        if self.spread is None:
            return added + self.whole(context)[places.image]
        patch = gathered(with_beyond(context), self.local[places.pixel], places.image)
        return added + self.spread(patch.flatten(1))

    def _around(self, usual: Usual) -> Tensor:
        """What is usual around each pixel: (3, H·W, C, K)."""
        return with_beyond(torch.stack(usual))[:, :, self.around].transpose(1, 2)

    def stepper(self, context: Tensor, image: Tensor, usual: Usual) -> Callable[[int, Local | None], Tensor]:
        """Returns what gives the same for a pixel of all images (B, F), asked in raster order.

        Windows, and what does not depend on the images, are of a whole row at once.
        """
        weight, columns = self.decoded.weight, self.columns
        around = self._around(usual)
        decoded, of_context = with_beyond(image.to(weight.dtype)), self._of_context(context.to(weight.dtype))

        @lru_cache(maxsize=1)
        def windows(row: int) -> Tensor:
            here = self.around[row * columns : (row + 1) * columns]
            return decoded[:, :, here].permute(2, 0, 1, 3).contiguous()  # (W, B, C, K)

        @lru_cache(maxsize=1)
        def without_base(row: int) -> Tensor:
            return self.decoded(windows(row).flatten(2))

        def added(pixel: int, local: Local | None) -> Tensor:
            row, column = divmod(pixel, columns)
            if local is None:
                return without_base(row)[column] + of_context(row, column)
            found = _called_for(windows(row)[column], around[:, pixel], local)
            return self.decoded(found.flatten(1)) + of_context(row, column)

        return added

    def _of_context(self, context: Tensor) -> Callable[[int, int], Tensor]:
        """Returns what gives what h itself adds at a row and column (B, F): the same at all pixels of a map's cell."""
        if self.spread is None:
            whole = self.whole(context)
            return lambda row, column: whole
        cells, spread, (height, width) = with_beyond(context), self.spread, context.shape[2:]
        rows, columns = len(self.local) // self.columns, self.columns
        centres = [column * width // columns for column in range(columns)]
        first = [column for column in range(columns) if not column or centres[column] != centres[column - 1]]
        number = {centres[column]: k for k, column in enumerate(first)}

        @lru_cache(maxsize=1)
        def in_row(centre: int) -> Tensor:
            row = -(-centre * rows // height)  # the first of those that lie on this row of the map
            patches = cells[:, :, self.local[row * columns + torch.tensor(first)]]
            return spread(patches.permute(2, 0, 1, 3).flatten(2))  # (cells, B, F)

        return lambda row, column: in_row(row * height // rows)[number[centres[column]]]

    @torch.no_grad()
    def silence(self) -> None:
        for module in (self.decoded, self.whole if self.spread is None else self.spread):
            module.weight.zero_()

    def direct(self) -> Iterator[nn.Parameter]:
        """The weights of h itself, which mislead where they learn fast."""
        yield from (self.whole if self.spread is None else self.spread).parameters()


def _called_for(found: Tensor, usual: Tensor, local: Local) -> Tensor:
    """By how many scales x̂ moves a prediction beyond what the mean image does: x̂ − m and what is usual, (…, C, K)."""
    mean, left, spread = usual
    scale = 2 * local.log_scale[:, :1, None].exp()  # such logistics err by about twice their scale
    beside = mean - local.prediction[:, :, None]
    moved = (beside + found) * (scale / (scale.square() + left))
    return moved.clamp(-CLIP, CLIP) - (beside * (scale / (scale.square() + spread))).clamp(-CLIP, CLIP)


class Reader(nn.Module):
    """All through which a context enters a trunk that is asked place by place.

    Args:
        shape: (C, H, W) of images.
        levels: L.
        context: (d,) or (c, h, w).
        form: "biases", "decoded" (x̂(h) and what of h is near) or "both".
        method: For a map's biases, see `build_conditioning`.
        widths: Of the layers of the trunk.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        context: tuple[int, ...],
        form: str,
        method: str,
        widths: Sequence[int],
    ) -> None:
        super().__init__()
        grid = (shape[1], shape[2])
        self.readout = Readout(shape, levels, context) if form != "biases" else None
        self.biases = Biases(context, grid, widths, method) if form != "decoded" else None
        self.near = Near(shape, context, widths[0]) if form != "biases" else None

    def forward(self, context: Tensor, image: Tensor | None, places: Places, local: Local | None) -> list[Tensor]:
        """What is added at the first layers of a trunk: (N, F) each; `image` is x̂ less the mean image, (B, C, H, W)."""
        added = [] if self.biases is None else self.biases(context, places)
        if self.near is None or image is None:
            return added
        assert self.readout is not None
        return _joined(self.near(context, image, self.readout.usual, places, local), added)

    def stepper(self, context: Tensor, image: Tensor | None) -> Callable[[int, Local | None], list[Tensor]]:
        """Returns what gives the same for a pixel of all images, asked in raster order: (B, F) each."""
        biases = (lambda pixel: []) if self.biases is None else self.biases.stepper(context)
        if self.near is None or image is None:
            return lambda pixel, local: biases(pixel)
        assert self.readout is not None
        near = self.near.stepper(context, image, self.readout.usual)
        return lambda pixel, local: _joined(near(pixel, local), biases(pixel))

    def silence(self) -> None:
        """Sets the weights that scale everything it adds to zero."""
        for part in (self.biases, self.near):
            if part is not None:
                part.silence()

    def direct(self) -> Iterator[nn.Parameter]:
        """The weights of h itself, beside those of x̂."""
        if self.near is not None:
            yield from self.near.direct()
        if self.biases is not None:
            yield from self.biases.parameters()


def _joined(first: Tensor, added: list[Tensor]) -> list[Tensor]:
    """What is added at the first layer beside what is added at the first layers, if anything is."""
    return [first + added[0], *added[1:]] if added else [first]


class StreamsReader(nn.Module):
    """All through which a context enters PixelCNN++'s streams: biases from h, and from a map of x̂(h) beside it.

    Args: as for `Reader`; `grids` and `widths` per scale.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        context: tuple[int, ...],
        form: str,
        method: str,
        grids: Sequence[tuple[int, int]],
        widths: Sequence[Sequence[int]],
    ) -> None:
        super().__init__()
        self.readout = Readout(shape, levels, context) if form != "biases" else None
        image = shape if form != "biases" else None
        self.of_image = build_conditioning(image, grids, widths, method="resize", dropout=0.0)
        self.of_context = build_conditioning(context, grids, widths, method=method, dropout=0.0)

    def forward(self, context: Tensor, image: Tensor | None) -> list[Tensor]:
        """What is added at each gated layer, in the order in which they run: broadcastable to (B, 2F, h, w)."""
        assert self.of_context is not None
        weight = self.of_context.output_weights()[0]
        added = self.of_context(context.to(weight.dtype))
        if self.of_image is None or image is None:
            return added
        return [a + b for a, b in zip(added, self.of_image(image.to(weight.dtype)), strict=True)]

    def silence(self) -> None:
        """Sets the weights that scale everything it adds to zero."""
        for part in (self.of_context, self.of_image):
            if part is not None:
                silence(part)

    def direct(self) -> Iterator[nn.Parameter]:
        """The weights of h itself, beside those of x̂."""
        assert self.of_context is not None
        yield from self.of_context.parameters()


class Given(NamedTuple):
    """A context with what reads it.

    Attributes:
        reader: What adds it to a trunk.
        context: (B, d) or (B, c, h, w).
        image: x̂ of each less the mean image, (B, C, H, W), where the reader has one.
    """

    reader: Reader | StreamsReader
    context: Tensor
    image: Tensor | None
