"""PixelCNN++ (Salimans et al. 2017), unconditional or conditioned on a vector or a map of any size."""

from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.densities.conditioning import build_conditioning, silence
from infoplane.densities.density import Density, Drawing
from infoplane.densities.graphs import recorder
from infoplane.densities.incremental import Incremental
from infoplane.densities.layers import initialising, without_tf32
from infoplane.densities.likelihoods import Categorical, Likelihood, LogisticMixture, full_precision
from infoplane.densities.streams import Streams

#: factor on the rate of a context's weights for grey images, and for images in colour, which a fast context misleads
GREY, COLOUR = 5.0, 0.2
#: channels of a context from which on the rate shrinks: the more of them, the further one step moves their sum
WIDE = 32

Probability = Annotated[float, Ge(0), Lt(1)]
Filters = Annotated[int, Gt(0), Le(10**4)]
Positive = Annotated[int, Gt(0), Le(1000)]


class PixelCNN(Streams, Density):
    """An autoregressive density over the pixels in raster order: log q(x|h) = Σ_i log q(x_i | x_<i, h).

    Two streams of gated residual layers run over `scales` resolutions, down and up again: one sees the rows above a
    pixel, the other also what is left of it. Skip connections join the layers of the way down to those of the way up.
    The context adds a bias to every gated layer. The result is exactly normalised: Σ_x q(x|h) = 1.

    Args:
        shape: (C, H, W), any size.
        levels: L, 2 … 256; pixels are 0 … L − 1.
        context: None, (d,) for a vector or (c, h, w) for a map.
        filters: F, channels of every layer.
        residual_layers: Gated layers per stream in a block (5 in Salimans et al., 3 in Nash et al. 2019).
        scales: Resolutions; each halves the previous one.
        likelihood: "categorical" (softmax over the levels) or "logistic_mixture".
        mixtures: Components of the mixture.
        dropout: In each gated layer.
        conditioning: For a map context, "resize" (Nash et al. 2019) or "learned" (Darlow & Storkey 2018), or "vector":
            flattened.
        context_dropout: On the biases that come from the context.
        weight_norm: Salimans' parametrisation; without it the same function with plain weights.

    Source: Salimans et al. 2017 (architecture); Nash et al. 2019, appendix A (conditioning).

    Examples:
        >>> density = PixelCNN((1, 1, 2), levels=2, filters=4, residual_layers=1, scales=1).eval()
        >>> images = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).view(4, 1, 1, 2)  # all that there are
        >>> round(density.log_prob(images).exp().sum().item(), 4)
        1.0
    """

    @checked
    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int = 256,
        context: tuple[int, ...] | None = None,
        filters: Filters = 64,
        residual_layers: Positive = 3,
        scales: Annotated[int, Gt(0), Le(20)] = 3,
        likelihood: Literal["categorical", "logistic_mixture"] = "categorical",
        mixtures: Positive = 10,
        dropout: Probability = 0.5,
        conditioning: Literal["resize", "learned", "vector"] = "resize",
        context_dropout: Probability = 0.0,
        weight_norm: bool = True,
    ) -> None:
        super().__init__(shape, levels, context)
        self.build_streams(filters, residual_layers, scales, dropout=dropout, weight_norm=weight_norm)
        self.likelihood = _likelihood(likelihood, filters, shape[0], levels, mixtures, weight_norm)
        # Last, so that the weights above are the unconditional model's for the same seed.
        self.conditioning = build_conditioning(
            self.context, self.grids, self.stream_widths, method=conditioning, dropout=context_dropout
        )

    def features(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns what the likelihood of each pixel is computed from: (B, C, H, W), context -> (B, F, H, W).

        Position (i, j) depends on the pixels before (i, j) in raster order and on the context, on nothing else.
        """
        if images.is_cuda and not self.training:
            with without_tf32():
                return self.stream_features(images, self._biases(context))
        return self.stream_features(images, self._biases(context))

    def _biases(self, context: Tensor | None) -> list[list[Tensor | None]]:
        """Per scale, the biases of its gated layers in the order in which they run."""
        return self.biases_of(self.conditioning, context)

    def log_prob_map(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        features = self.features(images, context)
        # Whatever the convolutions are computed in, in half precision a log-likelihood is noise.
        with full_precision(features):
            return self.likelihood.score(features.to(self.above.weight), images)

    def draw(self, images: Tensor, kept: int, context: Tensor | None, how: Drawing) -> None:
        way = self._draw_cached if how.cached else self._draw_anew
        way(images, kept, self._biases(context), how)

    def _draw_cached(self, images: Tensor, kept: int, biases: list[list[Tensor | None]], how: Drawing) -> None:
        rows, columns = images.shape[2:]
        # Neither the pixel nor its noise moves, so that its computation can be recorded.
        pixel = images.new_empty(images.shape[:2])
        shape = (self.likelihood.draws, len(images), 1, 1, 1)
        uniforms = images.new_empty(shape, dtype=torch.float64).unbind()

        def draw(features: Tensor) -> Tensor:
            return self.likelihood.draw(features[:, :, None, None], uniforms, how.temperature)[:, :, 0, 0]

        state = Incremental(self, biases, len(images), recorder(images.device))
        for i in range(rows):
            state.begin_row()
            for j in range(columns):
                if i < kept:
                    state.step(pixel.copy_(images[:, :, i, j]))
                else:
                    for uniform in uniforms:
                        uniform.uniform_(generator=how.generator)
                    state.step(pixel, draw)
                    images[:, :, i, j] = pixel
            if how.progress is not None:
                how.progress((i + 1) * columns, rows * columns)

    def _draw_anew(self, images: Tensor, kept: int, biases: list[list[Tensor | None]], how: Drawing) -> None:
        rows, columns = images.shape[2:]
        for i in range(kept, rows):
            for j in range(columns):
                # Rows below the current one have no say in it: they are left out.
                features = self.stream_features(images[:, :, : i + 1], biases)[:, :, i:, j : j + 1]
                drawn = self.likelihood.sample(features, how.generator, how.temperature)
                images[:, :, i : i + 1, j : j + 1] = drawn.to(torch.uint8)
            if how.progress is not None:
                how.progress((i + 1) * columns, rows * columns)

    def initialise_from(self, images: Tensor) -> None:
        """Data-dependent initialisation (Salimans & Kingma 2016)."""
        with initialising(self):
            self.log_prob_map(images, None)

    def silence_context(self) -> None:
        """Sets the context's output weights to zero: log_prob then equals the unconditional model's exactly."""
        if self.conditioning is not None:
            silence(self.conditioning)

    def context_modules(self) -> Iterator[tuple[str, nn.Module]]:
        if self.conditioning is not None:
            yield "conditioning", self.conditioning

    def context_rates(self, factor: float | None) -> Iterator[tuple[list[nn.Parameter], float]]:
        """What is not asked for is 5 for grey images, .2 for images of several channels, and for contexts of more than
        32 units or channels less in proportion."""
        if factor is None and self.context is not None:
            factor = (GREY if self.shape[0] == 1 else COLOUR) * min(1.0, WIDE / self.context[0])
        return super().context_rates(factor)


def _likelihood(name: str, features: int, channels: int, levels: int, mixtures: int, weight_norm: bool) -> Likelihood:
    if name == "categorical":
        return Categorical(features, channels, levels, weight_norm=weight_norm)
    return LogisticMixture(features, channels, levels, mixtures=mixtures, weight_norm=weight_norm)
