"""The trunk that is PixelCNN++'s two streams; shapes as in `trunks.py`."""

from collections.abc import Callable

import torch
from torch import Tensor

from infoplane.densities.contexts import Given, StreamsReader
from infoplane.densities.incremental import Incremental
from infoplane.densities.streams import Streams
from infoplane.densities.trunks import Based, Trunk
from infoplane.densities.window import Places

#: as `DIRECT_RATE`, of grey images, by the dimensions of a context: of a vector, of a map; and of x̂(h)
STREAMS_DIRECT, STREAMS_DECODED = {1: 0.5, 3: 2.0}, 5.0


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
