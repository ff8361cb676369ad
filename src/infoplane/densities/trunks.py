"""Trunks: from the pixels before a place to features, from which a head computes the pixel's distribution.

Shape legend: B images, N pixels, C channels, K places of a window, F width.
"""

import abc
from collections.abc import Callable, Sequence
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.bases import Local
from infoplane.densities.contexts import Given, Reader, StreamsReader
from infoplane.densities.incremental import Incremental
from infoplane.densities.likelihoods import scale_levels
from infoplane.densities.streams import Streams
from infoplane.densities.whitening import Whitening
from infoplane.densities.window import Boxes, Growing, Places, causal_offsets, causal_window, gathered, with_beyond
from infoplane.errors import UsageError

#: where differences from a prediction are cut off, in scales
CLIP = 5.0
#: rows above and columns beside a pixel whose levels are also seen through triangles, and how many of these there are
SHARP, TRIANGLES = (2, 1), 7

#: rate of what h itself enters through, relative to that of everything else
DIRECT_RATE = 0.1
#: the same in PixelCNN++'s streams of grey images, by the dimensions of a context: of a vector, of a map; and of x̂(h)
STREAMS_DIRECT, STREAMS_DECODED = {1: 0.5, 3: 2.0}, 5.0

#: a base's windows (N, C, K) of places, and what it says of them
Based = tuple[Tensor, Local]


class Trunk(nn.Module, abc.ABC):
    """Features (N, F) of places, each a function of the pixels before it and of a context.

    Attributes:
        width: F.
        alone: Whether a place costs the same whichever others are asked for; else all of an image are computed at once.
        wide: Whether most of its time goes into products of wide matrices.
    """

    width: int
    alone: ClassVar[bool]
    wide: ClassVar[bool]

    @abc.abstractmethod
    def forward(self, images: Tensor, places: Places, based: Based | None, given: Given | None) -> Tensor:
        """Returns the features of places: integer images (B, C, H, W) -> (N, F). `based` is of the same places."""

    @abc.abstractmethod
    def stepper(self, images: Tensor, given: Given | None) -> Callable[[int, Based | None], Tensor]:
        """Returns what gives the features (B, F) of a pixel of all images, asked in raster order.

        Images become known meanwhile: whoever asks for a pixel has filled in all that come before it.
        """

    @abc.abstractmethod
    def reader(self, context: tuple[int, ...], form: str, method: str) -> Reader | StreamsReader:
        """Makes what a context enters through."""

    def context_rates(self, context: tuple[int, ...]) -> tuple[float, float]:
        """The rates at which what h itself enters through learns, and what x̂(h) does, relative to everything else.

        Many weights of h pull at the same features. x̂, which was solved for, need not be held back.
        """
        return DIRECT_RATE, 1.0

    def fit(self, images: Tensor, places: Places, based: Based | None) -> None:
        """Solves for what is known in closed form from some places, as `forward` has them; nothing for most trunks."""


class Residual(nn.Module):
    """x + W₂ relu(W₁ norm(x)), where a norm has mean 0 and variance 1 over the features (Ba et al. 2016)."""

    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.first = nn.Linear(width, expansion * width)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(expansion * width, width)
        nn.init.normal_(self.first.weight, std=1.4 * width**-0.5)
        nn.init.normal_(self.second.weight, std=0.3 * (expansion * width) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.dropout(F.relu(self.first(self.norm(x)))))


class WindowTrunk(Trunk):
    """A perceptron on the causal window of a pixel, on averages of what is farther, and on where the pixel is.

    With a base it sees the window relative to the base's prediction, in local scales. Without one it sees levels, which
    of them are 0, those of the nearest pixels through triangles too (1 at a level, 0 from the next on: any function of
    a level is about linear in these), and if wanted all that comes before the pixel, where it is in the image: then
    what the first layer makes of it is weighed by where the pixel is.

    Args:
        shape: (C, H, W).
        levels: L.
        up, side: The window.
        far: Sizes of the boxes that see farther.
        width, depth: F, and residual layers.
        base: Whether there is a base, whose window is the same.
        whole: Whether all that comes before is seen.
    """

    alone, wide = True, True
    table: Tensor
    sharp: Tensor
    before: Tensor

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        *,
        up: int,
        side: int,
        far: Sequence[int],
        width: int,
        depth: int,
        dropout: float,
        base: bool,
        whole: bool,
    ) -> None:
        super().__init__()
        channels, rows, columns = shape
        self.shape, self.levels, self.width, self.depth = shape, levels, width, depth
        self.with_base, self.whole = base, whole
        offsets = causal_offsets(up, side)
        self.register_buffer("table", causal_window(rows, columns, offsets), persistent=False)
        self.boxes = Boxes(rows, columns, up, side, far)
        inputs = channels * (len(offsets) + self.boxes.count)
        if base:
            inputs += channels + 2
        else:
            sharp = [k for k, (row, column) in enumerate(offsets) if row >= -SHARP[0] and abs(column) <= SHARP[1]]
            self.register_buffer("sharp", torch.tensor(sharp, dtype=torch.long), persistent=False)
            inputs += channels * (len(offsets) + len(sharp) * TRIANGLES)
        if whole:
            before = torch.ones(rows * columns, rows * columns, dtype=torch.bool).tril(-1)
            self.register_buffer("before", before, persistent=False)
            inputs += channels * rows * columns
        # Of levels what hardly varies is noise: enlarged, few images are learnt by heart by it.
        self.whitening = Whitening(inputs) if base else None
        self.window = nn.Linear(inputs, width)
        nn.init.normal_(self.window.weight, std=inputs**-0.5)
        self.position = nn.Embedding(rows * columns, width)
        nn.init.normal_(self.position.weight, std=0.02)
        # What an image looks like is the same at every pixel that is asked for; what follows from it there is not.
        self.gain = nn.Embedding(rows * columns, width) if whole else None
        if self.gain is not None:
            nn.init.ones_(self.gain.weight)
        self.layers = nn.ModuleList(Residual(width, 2, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, images: Tensor, places: Places, based: Based | None, given: Given | None) -> Tensor:
        inputs = self.inputs(images, places, based)
        x = self.window(inputs if self.whitening is None else self.whitening(inputs))
        if self.gain is not None:
            x = x * self.gain(places.pixel)
        return self._layers(x + self.position(places.pixel), added_at(given, places, based))

    def fit(self, images: Tensor, places: Places, based: Based | None) -> None:
        if self.whitening is not None:
            self.whitening.fit(self.inputs(images, places, based))

    def _layers(self, x: Tensor, added: list[Tensor]) -> Tensor:
        """From the first layer's output, before what a context adds to layers, to the features."""
        for layer, residual in enumerate((None, *self.layers)):
            if residual is not None:
                # Levels need one layer more than what a base has made of them, where it costs instead of paying.
                x = residual(x if self.with_base or layer > 1 else F.relu(x))
            if layer < len(added):
                x = x + added[layer]
        return self.norm(x)

    def stepper(self, images: Tensor, given: Given | None) -> Callable[[int, Based | None], Tensor]:
        def scaled(pixels: Tensor) -> Tensor:
            return scale_levels(pixels, self.levels, self.norm.weight.dtype)

        grown: list[Growing] = []
        if not self.with_base:
            grown.append(Growing(images, self.table, lambda pixels: self._levels(scaled(pixels))))
            grown.append(Growing(images, self.table[:, self.sharp], lambda pixels: self._triangles(scaled(pixels))))
        if self.whole:
            size = len(self.before)
            table = torch.where(self.before, torch.arange(size, device=images.device), size)
            grown.append(Growing(images, table, lambda pixels: scaled(pixels) + 1))
        boxes = self.boxes.stepper(images, lambda pixels: self._averaged(scaled(pixels))) if self.boxes.count else None
        if self.whitening is None:
            weight, bias = self.window.weight.T, self.window.bias
        else:
            weight, bias = self.whitening.folded(self.window)
        gain, added = None if self.gain is None else self.gain.weight, steps_of(given)
        start = self.position.weight + (bias if gain is None else bias * gain)

        def features(pixel: int, based: Based | None) -> Tensor:
            seen = [part.at(pixel) for part in grown]
            inputs = self._joined(seen, based, None if boxes is None else boxes(pixel))
            if gain is None:
                x = torch.addmm(start[pixel], inputs, weight)
            else:
                x = torch.addcmul(start[pixel], inputs @ weight, gain[pixel])
            return self._layers(x, added(pixel, None if based is None else based[1]))

        return features

    def reader(self, context: tuple[int, ...], form: str, method: str) -> Reader:
        return Reader(self.shape, self.levels, context, form, method, [self.width] * (1 + self.depth))

    def inputs(self, images: Tensor, places: Places, based: Based | None) -> Tensor:
        """What the perceptron takes: (N, …)."""
        scaled, seen = scale_levels(images, self.levels, self.norm.weight.dtype), []
        if based is None:
            window = gathered(with_beyond(scaled, -1.0), self.table[places.pixel], places.image)
            seen = [self._levels(window), self._triangles(window.index_select(2, self.sharp))]
        if self.whole:
            seen.append((scaled + 1).flatten(2)[places.image] * self.before[places.pixel][:, None])
        return self._joined(seen, based, self.boxes(self._averaged(scaled), places) if self.boxes.count else None)

    @staticmethod
    def _levels(scaled: Tensor) -> Tensor:
        """What is seen of values without a base, 0 beyond the image: (B, C, …) -> (B, 2C, …)."""
        return torch.cat((scaled + 1, (scaled > -1).to(scaled)), dim=1)

    @staticmethod
    def _triangles(scaled: Tensor) -> Tensor:
        """What is seen of the nearest values besides, 0 beyond the image: (B, C, …) -> (B, 7C, …)."""
        at = torch.linspace(-1, 1, TRIANGLES + 2, dtype=scaled.dtype, device=scaled.device)[1:-1]
        distance = (scaled[:, None] - at.view(-1, *[1] * (scaled.ndim - 1))).abs()
        return (1 - distance * (0.5 * (TRIANGLES + 1))).clamp_min(0).flatten(1, 2)

    def _averaged(self, scaled: Tensor) -> Tensor:
        return scaled if self.with_base else scaled + 1

    def _joined(self, seen: list[Tensor], based: Based | None, far: tuple[Tensor, Tensor] | None) -> Tensor:
        """From what is seen of levels (N, …), a base's say and the means of boxes to what the perceptron takes."""
        parts = seen
        if based is not None:
            values, local = based
            scale = 0.7 * torch.exp(-local.log_scale[:, :1, None])
            relative = (values - local.prediction[:, :, None]) * scale
            parts = [relative.clamp(-CLIP, CLIP), local.prediction, local.energy + 3, *seen]
        if far is not None:
            mean, there = far
            if based is not None:
                mean = ((mean - based[1].prediction[:, :, None]) * scale).clamp(-CLIP, CLIP)
            parts.append(torch.where(there, mean, 0.0))
        return torch.cat([part.flatten(1) for part in parts], dim=1)


def steps_of(given: Given | None) -> Callable[[int, Local | None], list[Tensor]]:
    """Returns what gives what a context adds to a trunk's layers at a pixel of all images, (B, F) each."""
    if given is None:
        return lambda pixel, local: []
    assert isinstance(given.reader, Reader)
    return given.reader.stepper(given.context, given.image)


def added_at(given: Given | None, places: Places, based: Based | None) -> list[Tensor]:
    """What a context adds at some places to a trunk's layers, (N, F) each; none without one."""
    if given is None:
        return []
    assert isinstance(given.reader, Reader)
    return given.reader(given.context, given.image, places, None if based is None else based[1])


class StreamsTrunk(Streams, Trunk):
    """PixelCNN++'s two streams; `PixelCNN` says what the arguments are. A base it does not see."""

    alone, wide = False, False

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        *,
        filters: int,
        residual_layers: int,
        scales: int,
        dropout: float,
        weight_norm: bool,
    ) -> None:
        super().__init__()
        self.shape, self.levels, self.width = shape, levels, filters
        self.build_streams(filters, residual_layers, scales, dropout=dropout, weight_norm=weight_norm)
        # A processor's convolutions of few filters are a sixth faster so.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(self, images: Tensor, places: Places, based: Based | None, given: Given | None) -> Tensor:
        features = self.stream_features(images, self._biases(given))
        return features.flatten(2)[places.image, :, places.pixel]

    def context_rates(self, context: tuple[int, ...]) -> tuple[float, float]:
        """Of grey images the many layers, to each of which a context is added, gain by fast ones."""
        if self.shape[0] > 1:
            return super().context_rates(context)
        return STREAMS_DIRECT[len(context)], STREAMS_DECODED

    def _biases(self, given: Given | None) -> list[list[Tensor | None]]:
        if given is None:
            return self.by_scale(None)
        assert isinstance(given.reader, StreamsReader)
        return self.by_scale(given.reader(given.context, given.image))

    def stepper(self, images: Tensor, given: Given | None) -> Callable[[int, Based | None], Tensor]:
        state = Incremental(self, self._biases(given), len(images))
        flat, columns = images.flatten(2), images.shape[3]

        def features(pixel: int, based: Based | None) -> Tensor:
            if pixel:
                state.put(flat[:, :, pixel - 1])
            if pixel % columns == 0:
                state.begin_row()
            return state.features()

        return features

    def reader(self, context: tuple[int, ...], form: str, method: str) -> StreamsReader:
        return StreamsReader(self.shape, self.levels, context, form, method, self.grids, self.stream_widths)


class Attention(nn.Module):
    """x + W(attention of the normalised x to itself and what comes before it)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, bias=False)
        self.project = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.normal_(self.out.weight, std=0.3 * width**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, F)."""
        q, k, v = self._parts(x)
        return x + self._joined(F.scaled_dot_product_attention(q, k, v, is_causal=True))

    def step(self, x: Tensor, keys: Tensor, values: Tensor, at: int) -> Tensor:
        """The same for place `at` alone, (B, 1, F), whose key and value join those kept (B, heads, T, F/heads)."""
        q, k, v = self._parts(x)
        keys[:, :, at], values[:, :, at] = k[:, :, 0], v[:, :, 0]
        found = F.scaled_dot_product_attention(q, keys[:, :, : at + 1], values[:, :, : at + 1])
        return x + self._joined(found)

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        parts = self.project(self.norm(x)).chunk(3, dim=2)
        return tuple(part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in parts)

    def _joined(self, found: Tensor) -> Tensor:
        return self.out(found.transpose(1, 2).flatten(2))


class TransformerTrunk(Trunk):
    """A causal transformer over the pixels in raster order, each told the pixel before it and what a base says of it.

    Args:
        shape: (C, H, W).
        levels: L.
        width, depth, heads: F, layers, and heads of attention in each.
        base: Whether there is a base.
    """

    alone, wide = False, True

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        *,
        width: int,
        depth: int,
        heads: int,
        dropout: float,
        base: bool,
    ) -> None:
        super().__init__()
        if width % heads:
            mend = "choose a width that is a multiple of heads"
            raise UsageError("width and heads do not go together", received=f"{width} and {heads}", mend=mend)
        channels, rows, columns = shape
        self.shape, self.levels, self.width, self.depth = shape, levels, width, depth
        self.before = nn.Linear(2 * channels + (channels + 2 if base else 0), width)
        self.position = nn.Embedding(rows * columns, width)
        nn.init.normal_(self.position.weight, std=0.1)
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(depth))
        self.layers = nn.ModuleList(Residual(width, 2, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)

    def forward(self, images: Tensor, places: Places, based: Based | None, given: Given | None) -> Tensor:
        n, pixels = len(images), images[0, 0].numel()
        # The base's say is of the places that were asked for: all of them, in order, as a transformer wants them.
        assert len(places.pixel) == n * pixels
        scaled = F.pad(scale_levels(images.flatten(2), self.levels, self.norm.weight.dtype), (1, 0))[:, :, :-1]
        x = self._embedded(scaled.transpose(1, 2).flatten(0, 1), places.pixel, based)
        added = added_at(given, places, based)
        for layer in range(self.depth + 1):
            if layer:
                x = self.layers[layer - 1](self.attention[layer - 1](x.unflatten(0, (n, pixels))).flatten(0, 1))
            if layer < len(added):
                x = x + added[layer]
        return self.norm(x)

    def _embedded(self, before: Tensor, pixel: Tensor, based: Based | None) -> Tensor:
        """The first layer: values (N, C) of the pixels before those (N,), 0 before the first."""
        parts = [before, torch.where(pixel[:, None] > 0, (before <= -1).to(before), 0.0)]
        if based is not None:
            parts += [based[1].prediction, based[1].energy + 3]
        return self.before(torch.cat(parts, dim=1)) + self.position(pixel)

    def stepper(self, images: Tensor, given: Given | None) -> Callable[[int, Based | None], Tensor]:
        n, flat, weight = len(images), images.flatten(2), self.norm.weight
        every, added_by = torch.arange(n, device=images.device), steps_of(given)
        heads = [cast(Attention, attention).heads for attention in self.attention]
        kept = [weight.new_zeros(2, n, h, flat.shape[2], self.width // h) for h in heads]

        def features(pixel: int, based: Based | None) -> Tensor:
            before = scale_levels(flat[:, :, max(0, pixel - 1)], self.levels, weight.dtype)
            x = self._embedded(before if pixel else torch.zeros_like(before), torch.full_like(every, pixel), based)
            added = added_by(pixel, None if based is None else based[1])
            for layer in range(self.depth + 1):
                if layer:
                    keys, values = kept[layer - 1]
                    attention = cast(Attention, self.attention[layer - 1])
                    x = self.layers[layer - 1](attention.step(x[:, None], keys, values, pixel)[:, 0])
                if layer < len(added):
                    x = x + added[layer]
            return self.norm(x)

        return features

    def reader(self, context: tuple[int, ...], form: str, method: str) -> Reader:
        return Reader(self.shape, self.levels, context, form, method, [self.width] * (1 + self.depth))


#: name in a study -> trunk
TRUNKS: dict[str, type[Trunk]] = {"window": WindowTrunk, "pixelcnn": StreamsTrunk, "transformer": TransformerTrunk}
