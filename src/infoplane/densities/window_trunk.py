"""The trunk that is a perceptron on a pixel's causal window; shapes as in `trunks.py`."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.contexts import Given, Reader
from infoplane.densities.likelihoods import scale_levels
from infoplane.densities.trunks import Based, Residual, Trunk, added_at, steps_of
from infoplane.densities.whitening import Whitening
from infoplane.densities.window import Boxes, Growing, Places, causal_offsets, causal_window, gathered, with_beyond

#: where differences from a prediction are cut off, in scales
CLIP = 5.0
#: rows above and columns beside a pixel whose levels are also seen through triangles, and how many of these there are
SHARP, TRIANGLES = (2, 1), 7


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
