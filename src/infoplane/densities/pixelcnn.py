"""PixelCNN++ (Salimans et al. 2017), unconditional or conditioned on a vector or a map of any size."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.checks import holds_integers, outline
from infoplane.densities.conditioning import build_conditioning, silence
from infoplane.densities.density import Density
from infoplane.densities.graphs import recorder
from infoplane.densities.incremental import Incremental
from infoplane.densities.layers import (
    GatedResidual,
    WeightNormUpConv,
    down_conv,
    down_right_conv,
    initialising,
    shift_down,
    shift_right,
    without_tf32,
)
from infoplane.densities.likelihoods import (
    Categorical,
    Likelihood,
    LogisticMixture,
    full_precision,
    scale_levels,
)
from infoplane.errors import UsageError
from infoplane.torch_state import own_state

Probability = Annotated[float, Ge(0), Lt(1)]
Filters = Annotated[int, Gt(0), Le(10**4)]
Positive = Annotated[int, Gt(0), Le(1000)]


class PixelCNN(Density):
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
        self.scales, self.residual_layers = scales, residual_layers
        options: dict[str, Any] = {"weight_norm": weight_norm}

        def gated(conv, side: int) -> GatedResidual:
            return GatedResidual(conv, filters, side=side, dropout=dropout, weight_norm=weight_norm)

        # The image comes with a channel of ones, so that a convolution can tell the border from a pixel of value 0.
        self.above = down_conv(shape[0] + 1, filters, (2, 3), **options)
        self.row_above = down_conv(shape[0] + 1, filters, (1, 3), **options)
        self.left = down_right_conv(shape[0] + 1, filters, (2, 1), **options)
        up = [residual_layers] * scales
        self.up_down = nn.ModuleList(gated(down_conv, 0) for n in up for _ in range(n))
        self.up_right = nn.ModuleList(gated(down_right_conv, filters) for n in up for _ in range(n))
        self.shrink_down = nn.ModuleList(
            down_conv(filters, filters, (2, 3), stride=2, **options) for _ in range(scales - 1)
        )
        self.shrink_right = nn.ModuleList(
            down_right_conv(filters, filters, (2, 2), stride=2, **options) for _ in range(scales - 1)
        )
        # On the way back the coarsest scale has one layer fewer: its first skip connection is its own output.
        down = [residual_layers + (s < scales - 1) for s in reversed(range(scales))]
        self.down_down = nn.ModuleList(gated(down_conv, filters) for n in down for _ in range(n))
        self.down_right = nn.ModuleList(gated(down_right_conv, 2 * filters) for n in down for _ in range(n))
        self.grow_down = nn.ModuleList(WeightNormUpConv(filters, filters, (2, 3), **options) for _ in range(scales - 1))
        self.grow_right = nn.ModuleList(
            WeightNormUpConv(filters, filters, (2, 2), **options) for _ in range(scales - 1)
        )
        self.likelihood = _likelihood(likelihood, filters, shape[0], levels, mixtures, weight_norm)
        # Last, so that the weights above are the unconditional model's for the same seed.
        self.grids = _grids(shape[1], shape[2], scales)
        per_scale = [2 * (up[s] + down[scales - 1 - s]) for s in range(scales)]
        self.conditioning = build_conditioning(
            self.context,
            self.grids,
            [[2 * filters] * n for n in per_scale],
            method=conditioning,
            dropout=context_dropout,
        )

    def features(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns what the likelihood of each pixel is computed from: (B, C, H, W), context -> (B, F, H, W).

        Position (i, j) depends on the pixels before (i, j) in raster order and on the context, on nothing else.
        """
        if images.is_cuda and not self.training:
            with without_tf32():
                return self._features(images, self._biases(context))
        return self._features(images, self._biases(context))

    def _features(self, images: Tensor, biases: list[list[Tensor | None]]) -> Tensor:
        """The features of the upper rows of images, given the biases of the whole: (B, C, h ≤ H, W) -> (B, F, h, W)."""
        x = scale_levels(images, self.levels, self.above.weight.dtype)
        x = torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
        grids = _grids(x.shape[2], x.shape[3], self.scales)
        bias = [
            iter([b if b is None or b.shape[2] <= rows else b[:, :, :rows] for b in per_scale])
            for per_scale, (rows, _) in zip(biases, grids, strict=True)
        ]

        u = shift_down(self.above(x))
        v = shift_down(self.row_above(x)) + shift_right(self.left(x))
        us, vs = [u], [v]
        layer = 0
        for s in range(self.scales):
            for _ in range(self.residual_layers):
                u = self.up_down[layer](u, None, next(bias[s]))
                v = self.up_right[layer](v, u, next(bias[s]))
                us.append(u)
                vs.append(v)
                layer += 1
            if s < self.scales - 1:
                u, v = self.shrink_down[s](u), self.shrink_right[s](v)
                us.append(u)
                vs.append(v)

        u, v = us.pop(), vs.pop()
        layer = 0
        for s in reversed(range(self.scales)):
            for _ in range(self.residual_layers + (s < self.scales - 1)):
                u = self.down_down[layer](u, us.pop(), next(bias[s]))
                v = self.down_right[layer](v, torch.cat((u, vs.pop()), dim=1), next(bias[s]))
                layer += 1
            if s > 0:
                rows, columns = grids[s - 1]  # an odd size was rounded up on the way down
                u = self.grow_down[self.scales - 1 - s](u)[:, :, :rows, :columns]
                v = self.grow_right[self.scales - 1 - s](v)[:, :, :rows, :columns]
        return v

    def _biases(self, context: Tensor | None) -> list[list[Tensor | None]]:
        """Per scale, the biases of its gated layers in the order in which they run."""
        counts = [4 * self.residual_layers + 2 * (s < self.scales - 1) for s in range(self.scales)]
        if self.conditioning is None or context is None:
            return [[None] * n for n in counts]
        biases = iter(self.conditioning(context.to(self.above.weight.dtype)))
        return [[next(biases) for _ in range(n)] for n in counts]

    def log_prob(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns log q(x|h) in nats, float32 or better: integer images (B, C, H, W), context (B, …) -> (B,)."""
        self.check(images, context)
        return self.log_prob_map(images, context).flatten(1).sum(1)

    def log_prob_map(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        """Returns each pixel's log q(x_i | x_<i, h) in nats, its channels summed: (B, H, W)."""
        features = self.features(images, context)
        # Whatever the convolutions are computed in, in half precision a log-likelihood is noise.
        with full_precision(features):
            return self.likelihood.score(features.to(self.above.weight), images)

    @checked
    @own_state()
    @torch.no_grad()
    def sample(
        self,
        context: Tensor | None = None,
        *,
        n: int | None = None,
        generator: torch.Generator | None = None,
        progress: Callable[[int, int], None] | None = None,
        cached: bool = True,
        temperature: Annotated[float, Gt(0)] = 1.0,
        keep: Tensor | None = None,
    ) -> Tensor:
        """Draws images pixel by pixel.

        Args:
            context: (B, d) or (B, c, h, w), None for an unconditional density.
            n: Number of images; with a context of one row, that row is repeated. Default: one per context row, else 1.
            generator: Source of randomness, on the density's device.
            progress: Called with the number of pixels drawn and the number in all.
            cached: Each pixel from what the convolutions keep (`Incremental`): the same distribution, some hundred
                times as fast; on a GPU by CUDA graphs, recorded in every call (`Graphs` says what that costs). Without
                it the network runs anew for every pixel.
            temperature: Of every channel's distribution given what came before; 1 draws from q itself.
            keep: First rows of the images, integer levels (B or 1, C, r, W); only the rows below are drawn.

        Returns: uint8 (B, C, H, W).
        """
        context, n = self._wanted(context, n)
        device = self.above.weight.device
        images = torch.zeros(n, *self.shape, dtype=torch.uint8, device=device)
        kept = 0 if keep is None else self._keep(keep, images)
        if not n:
            return images
        context = None if context is None else context.to(device)
        was_training = self.training
        self.eval()
        try:
            draw = self._draw_cached if cached else self._draw_anew
            draw(images, kept, self._biases(context), generator, temperature, progress)
        finally:
            self.train(was_training)
        return images

    def _wanted(self, context: Tensor | None, n: int | None) -> tuple[Tensor | None, int]:
        """The context row by row, and the number of images."""
        self.check_context(context)
        if n is not None and n < 0:
            raise UsageError("bad number of samples", received=n, legal="a whole number, 0 or more")
        if context is None:
            return None, 1 if n is None else n
        if n is not None and len(context) == 1:
            context = context.expand(n, *context.shape[1:])
        if n is not None and n != len(context):
            raise UsageError("n differs from the number of contexts", received=f"{n} and {len(context)}")
        return context, len(context)

    def _keep(self, keep: Tensor, images: Tensor) -> int:
        """Puts given rows into images (B, C, H, W); returns how many."""
        channels, rows, columns = self.shape
        legal = f"integer levels ({len(images)} or 1, {channels}, 0 to {rows}, {columns})"
        fits = keep.ndim == 4 and keep.shape[1] == channels and keep.shape[2] <= rows and keep.shape[3] == columns
        if not holds_integers(keep) or not fits or len(keep) not in (1, len(images)):
            raise UsageError(
                "the rows to keep do not fit the samples",
                received=outline(keep),
                legal=legal,
            )
        if keep.numel() and not 0 <= int(keep.min()) <= int(keep.max()) < self.levels:
            received = f"{int(keep.min())} … {int(keep.max())}"
            raise UsageError("the rows to keep hold other levels", received=received, legal=f"0 … {self.levels - 1}")
        images[:, :, : keep.shape[2]] = keep.to(images)
        return keep.shape[2]

    def _draw_cached(
        self,
        images: Tensor,
        kept: int,
        biases: list[list[Tensor | None]],
        generator: torch.Generator | None,
        temperature: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        rows, columns = images.shape[2:]
        # Neither the pixel nor its noise moves, so that its computation can be recorded.
        pixel = images.new_empty(images.shape[:2])
        shape = (self.likelihood.draws, len(images), 1, 1, 1)
        uniforms = images.new_empty(shape, dtype=torch.float64).unbind()

        def draw(features: Tensor) -> Tensor:
            return self.likelihood.draw(features[:, :, None, None], uniforms, temperature)[:, :, 0, 0]

        state = Incremental(self, biases, len(images), recorder(images.device))
        for i in range(rows):
            state.begin_row()
            for j in range(columns):
                if i < kept:
                    state.step(pixel.copy_(images[:, :, i, j]))
                else:
                    for uniform in uniforms:
                        uniform.uniform_(generator=generator)
                    state.step(pixel, draw)
                    images[:, :, i, j] = pixel
            if progress is not None:
                progress((i + 1) * columns, rows * columns)

    def _draw_anew(
        self,
        images: Tensor,
        kept: int,
        biases: list[list[Tensor | None]],
        generator: torch.Generator | None,
        temperature: float,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        rows, columns = images.shape[2:]
        for i in range(kept, rows):
            for j in range(columns):
                # Rows below the current one have no say in it: they are left out.
                features = self._features(images[:, :, : i + 1], biases)[:, :, i:, j : j + 1]
                drawn = self.likelihood.sample(features, generator, temperature)
                images[:, :, i : i + 1, j : j + 1] = drawn.to(torch.uint8)
            if progress is not None:
                progress((i + 1) * columns, rows * columns)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Data-dependent initialisation (Salimans & Kingma 2016) on a batch (B, C, H, W), under a null context."""
        self.check(images, None if self.context is None else torch.zeros(len(images), *self.context))
        was_training = self.training
        self.eval()
        try:
            with initialising(self):
                self.log_prob_map(images, None)
        finally:
            self.train(was_training)

    def silence_context(self) -> None:
        """Sets the context's output weights to zero: log_prob then equals the unconditional model's exactly."""
        if self.conditioning is not None:
            silence(self.conditioning)

    def context_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters through which the context enters."""
        return iter(()) if self.conditioning is None else self.conditioning.parameters()


def _grids(rows: int, columns: int, scales: int) -> list[tuple[int, int]]:
    """(rows, columns) of each scale: a stride of 2 rounds up."""
    grids = [(rows, columns)]
    for _ in range(scales - 1):
        rows, columns = (rows + 1) // 2, (columns + 1) // 2
        grids.append((rows, columns))
    return grids


def _likelihood(name: str, features: int, channels: int, levels: int, mixtures: int, weight_norm: bool) -> Likelihood:
    if name == "categorical":
        return Categorical(features, channels, levels, weight_norm=weight_norm)
    return LogisticMixture(features, channels, levels, mixtures=mixtures, weight_norm=weight_norm)
