"""Autoregressive densities put together from parts: a base, a trunk, a head, and the way a context enters.

Shape legend: B images, N pixels, C channels, H rows, W columns, F features.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.densities.bases import LinearBase, Local
from infoplane.densities.contexts import Given
from infoplane.densities.density import Density, Drawing
from infoplane.densities.importance import Importance
from infoplane.densities.layers import initialising, settled, without_tf32
from infoplane.densities.likelihoods import LogisticMixture, full_precision
from infoplane.densities.readout import FOLDS, Batches, Guide, predicted
from infoplane.densities.relative import RelativeLogistics
from infoplane.densities.softmax import Softmax
from infoplane.densities.streams_trunk import StreamsTrunk
from infoplane.densities.transformer_trunk import TransformerTrunk
from infoplane.densities.trunks import Based, Trunk
from infoplane.densities.window import Places
from infoplane.densities.window_trunk import WindowTrunk
from infoplane.errors import UsageError

#: name in a study -> trunk
TRUNKS: dict[str, type[Trunk]] = {"window": WindowTrunk, "pixelcnn": StreamsTrunk, "transformer": TransformerTrunk}

Probability = Annotated[float, Ge(0), Lt(1)]
Width = Annotated[int, Gt(0), Le(10**4)]
Few = Annotated[int, Gt(0), Le(1000)]
Window = Annotated[int, Gt(0), Le(64)]

#: pixels of images of which everything before a pixel is seen, where that is not said
WHOLE = 256
#: pixels whose features are computed at once where they need not be kept
AT_ONCE = 8192
#: pixels by which a trunk is solved for what is known of it in closed form
FITTED_ON = 20_000
#: units or channels up to which what h itself enters through learns at its trunk's rate
WIDE = 128


class Autoregressive(Density):
    """A density of pixels in raster order, log q(x|h) = Σ_i log q(x_i | x_<i, h), normalised exactly.

    What is left out is chosen by the images: in colour a linear base and logistics relative to it on a window of 3 rows
    and 3 columns to either side, in grey no base and a softmax on 5 and 5 or, of up to 256 pixels, on 3 and 3 and on
    all before.

    Args:
        shape: (C, H, W), any size.
        levels: L, 2 … 256; pixels are 0 … L − 1.
        context: None, (d,) for a vector or (c, h, w) for a map.
        base: "linear": least squares on the causal window, with the scale of its errors, in closed form; or "none".
        trunk: "window": a perceptron on a pixel's causal window; "pixelcnn": PixelCNN++'s two streams; or
            "transformer": causal attention to all pixels before.
        head: "softmax" over the levels; "logistic": a mixture of logistics on [−1, 1] (Salimans et al. 2017); or
            "relative": around the base's prediction, in its local scale.
        form: How a context enters: "biases" of the trunk's layers, as published; "decoded": x̂(h), a cross-fitted
            linear readout, around the pixel, with h itself if it is a vector, or what of its map is near; or "both".
        conditioning: For the biases from a map, see `PixelCNN`.
        up, side: Rows above, and columns beside a pixel, in its window.
        far: Sizes of boxes above and beside the window whose averages are seen.
        whole: Whether a window's trunk also sees all that comes before a pixel, where it is in the image.
        width, depth: F and residual layers of a window's or a transformer's trunk.
        heads: Of each of the transformer's layers.
        filters, residual_layers, scales, weight_norm: Of PixelCNN++'s streams, see `PixelCNN`.
        mixtures: Logistics of a mixture.
        hidden: Units of each channel's layer in the relative head.
        dropout: In every residual layer.
        pixels: Of each image that a training step looks at, at random, with a window's trunk.
    """

    initial_images: ClassVar[int] = 2048

    @checked
    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int = 256,
        context: tuple[int, ...] | None = None,
        base: Literal["none", "linear"] | None = None,
        trunk: Literal["window", "pixelcnn", "transformer"] = "window",
        head: Literal["softmax", "logistic", "relative"] | None = None,
        form: Literal["biases", "decoded", "both"] = "decoded",
        conditioning: Literal["resize", "learned", "vector"] = "resize",
        up: Window | None = None,
        side: Window | None = None,
        far: tuple[Few, ...] = (),
        whole: bool | None = None,
        width: Width | None = None,
        depth: Few = 1,
        heads: Few = 4,
        filters: Width = 64,
        residual_layers: Few = 3,
        scales: Annotated[int, Gt(0), Le(20)] = 3,
        weight_norm: bool = True,
        mixtures: Few = 8,
        hidden: Width = 96,
        dropout: Probability = 0.0,
        pixels: Annotated[int, Gt(0), Le(10**6)] = 16,
    ) -> None:
        super().__init__(shape, levels, context)
        colour = shape[0] > 1
        base = base or ("linear" if colour else "none")
        head = head or ("relative" if base == "linear" else "softmax")
        if head == "relative" and base == "none":
            raise UsageError(
                "a relative head has nothing that it is relative to", received="base none", mend="base: linear"
            )
        if whole is None:
            whole = base == "none" and shape[1] * shape[2] <= WHOLE
        # Of what is seen anyway, only the nearest helps a second time, seen from where the pixel is.
        near = 3 if colour or whole else 5
        up, side = up or near, side or near
        width = width or (128 if colour else 192)
        self.base = LinearBase(self.shape, levels, up, side) if base == "linear" else None
        options: dict[str, Any] = {"dropout": dropout}
        if trunk == "pixelcnn":
            options |= {"filters": filters, "residual_layers": residual_layers, "scales": scales}
            options["weight_norm"] = weight_norm
        elif trunk == "transformer":
            options |= {"width": width, "depth": depth, "heads": heads, "base": base == "linear"}
        else:
            options |= {"up": up, "side": side, "far": far, "width": width, "depth": depth, "base": base == "linear"}
            options["whole"] = whole
        self.trunk = TRUNKS[trunk](self.shape, levels, **options)
        features = self.trunk.width
        if head == "relative":
            assert self.base is not None
            self.head: nn.Module = RelativeLogistics(features, self.base, mixtures, hidden)
        elif head == "logistic":
            self.head = LogisticMixture(features, shape[0], levels, mixtures=mixtures, weight_norm=weight_norm)
        else:
            self.head = Softmax(features, shape[0], levels)
        # Last, so that the weights above are the unconditional model's for the same seed.
        self.reader = None if self.context is None else self.trunk.reader(self.context, form, conditioning)
        self.pixels = pixels
        self.importance = Importance(self.shape, levels)

    @property
    def wide(self) -> bool:
        return self.trunk.wide

    @classmethod
    def wide_with(cls, options: Mapping[str, Any]) -> bool:
        return TRUNKS[options.get("trunk", "window")].wide

    @property
    def looked_at(self) -> int:
        return min(self.pixels, super().looked_at) if self.trunk.alone else super().looked_at

    @classmethod
    def suited(cls, shape: tuple[int, int, int]) -> dict[str, Any]:
        """Returns the batch and the learning rate, fields of `FitSettings`, that suit images (C, H, W)."""
        return {"batch": 128, "learning_rate": 1e-2 if shape[0] > 1 else 1.2e-2}

    # --- scoring ---

    def log_prob_map(self, images: Tensor, context: Tensor | None = None) -> Tensor:
        given = self._given(context)
        if images.is_cuda and not self.training:
            with without_tf32():
                return self._map(images, given)
        return self._map(images, given)

    def _map(self, images: Tensor, given: Given | None) -> Tensor:
        rows, columns = self.shape[1:]
        every = Places.every(len(images), rows * columns, images.device)
        if not self.trunk.alone or torch.is_grad_enabled() or images.is_meta:
            return self._score(images, every, given).view(-1, rows, columns)
        parts = zip(*(index.split(AT_ONCE) for index in every), strict=True)
        scores = [self._score(images, Places(*part), given) for part in parts]
        return torch.cat(scores).view(-1, rows, columns) if scores else images.new_zeros(0, rows, columns)

    def _given(self, context: Tensor | None, image: Tensor | None = None) -> Given | None:
        """What a context says, x̂ computed where it is not known."""
        if self.reader is None or context is None:
            return None
        if image is None and self.reader.readout is not None:
            with full_precision(context):
                image = self.reader.readout(context)
        return Given(self.reader, context, image)

    def _based(self, images: Tensor, places: Places) -> Based | None:
        if self.base is None:
            return None
        with full_precision(images):
            values = self.base.values(images, places)
            return values, self.base(values)

    def _score(self, images: Tensor, places: Places, given: Given | None) -> Tensor:
        """log q of some pixels: (N,)."""
        based = self._based(images, places)
        features = self.trunk(images, places, based, given)
        target = images.flatten(2)[places.image, :, places.pixel]
        if isinstance(self.head, Softmax):
            return self.head.score(features, target)
        # Whatever the trunk is computed in, in half precision a log-likelihood is noise.
        with full_precision(features):
            features = features.to(self._weight)
            if isinstance(self.head, RelativeLogistics):
                assert self.base is not None
                assert based is not None
                return self.head.score(features, based[1], self.base.coupling, target)
            assert isinstance(self.head, LogisticMixture)
            return self.head.score(features[:, :, None, None], target[:, :, None, None])[:, 0, 0]

    @property
    def _weight(self) -> Tensor:
        return next(self.parameters())

    # --- training ---

    def training_loss(self, images: Tensor, context: Tensor | None, guide: Tensor | None = None) -> Tensor:
        """Returns an unbiased estimate of −log q(x|h) of each image, from some of its pixels: (B,).

        These are drawn from the whole batch, as `Importance` says, and weighted so that each image's mean is right.
        """
        self.check(images, context)
        given = self._given(context, guide)
        n, places = len(images), self.shape[1] * self.shape[2]
        if self.looked_at == places:
            return -self._score(images, Places.every(n, places, images.device), given).view(n, -1).sum(1)
        drawn, weight, cells = self.importance.draw(images, n * self.pixels)
        losses = -self._score(images, drawn, given)
        self.importance.follow(cells, losses.detach())
        return torch.zeros_like(losses[:n]).index_add(0, drawn.image, losses * weight)

    def initialise_from(self, images: Tensor) -> None:
        """Solves for what is known in closed form, and initialises what else depends on data."""
        if self.base is not None:
            self.base.fit(images)
        places = Places.some(len(images), self.shape[1] * self.shape[2], FITTED_ON, images.device)
        self.trunk.fit(images, places, self._based(images, places))
        with initialising(self):
            few = images[:128]
            every = Places.every(len(few), self.shape[1] * self.shape[2], images.device)
            self._score(few, every, None)
        if isinstance(self.head, Softmax):
            self.head.initialise(images)

    def fit_readout(self, batches: Batches, folds: Tensor, *, fixed: bool) -> Guide | None:
        """Solves x̂(h) on the training pairs, and predicts each of them without it (cross-fitting).

        Args:
            batches: Yields (rows, images, contexts) of all pairs.
            folds: Of each pair, 0 … 4: those that belong together have the same.
            fixed: Whether contexts are the same each time, so that predictions can be kept.
        """
        readout = None if self.reader is None else self.reader.readout
        if readout is None:
            return None
        solutions = readout.fit(batches, folds)
        predictions = None
        if fixed:
            predictions = readout.mean.new_empty(len(folds), *self.shape)
            for rows, _, context in batches():
                predictions[rows] = predicted(readout, solutions, folds[rows], context)
        return Guide(predictions, solutions, folds, readout)

    def silence_context(self) -> None:
        """Sets the context's output weights to zero: log_prob then equals the unconditional model's exactly."""
        if self.reader is not None:
            self.reader.silence()

    def context_modules(self) -> Iterator[tuple[str, nn.Module]]:
        if self.reader is not None:
            yield "reader", self.reader

    def context_rates(self, factor: float | None) -> Iterator[tuple[list[nn.Parameter], float]]:
        """What suits the trunk; of h itself, of more than 128 units or channels in proportion slower, since as many
        weights then pull at the same features."""
        if self.reader is None:
            return
        assert self.context is not None
        usual, decoded = self.trunk.context_rates(self.context)
        direct = list(self.reader.direct())
        slow = set(direct)
        yield direct, usual * min(1.0, WIDE / self.context[0]) if factor is None else factor
        yield [p for p in self.reader.parameters() if p not in slow], decoded

    # --- sampling ---

    def draw(self, images: Tensor, kept: int, context: Tensor | None, how: Drawing) -> None:
        given, (rows, columns) = self._given(context), images.shape[2:]
        step = self._stepper(images, given) if how.cached else lambda pixel: self._anew(images, pixel, given)
        flat, head = images.view(*images.shape[:2], -1), settled(self.head)
        assert isinstance(head, RelativeLogistics | Softmax | LogisticMixture)
        uniforms = torch.empty(head.draws, len(images), dtype=torch.float64, device=images.device)
        for pixel in range(rows * columns):
            known = pixel < kept * columns
            if not (known and self.trunk.alone):
                features, local = step(pixel)
                if not known:
                    uniforms.uniform_(generator=how.generator)
                    flat[:, :, pixel] = self._pixel(head, features, local, uniforms, how.temperature).to(torch.uint8)
            if how.progress is not None and (pixel + 1) % columns == 0:
                how.progress(pixel + 1, rows * columns)

    def _stepper(self, images: Tensor, given: Given | None) -> Callable[[int], tuple[Tensor, Local | None]]:
        """Returns what gives a pixel's features (B, F), and what a base says, from what was computed before."""
        base, step = None if self.base is None else self.base.stepper(images), self.trunk.stepper(images, given)

        def features(pixel: int) -> tuple[Tensor, Local | None]:
            based = None
            if base is not None:
                with full_precision(images):
                    based = base(pixel)
            return step(pixel, based), None if based is None else based[1]

        return features

    def _anew(self, images: Tensor, pixel: int, given: Given | None) -> tuple[Tensor, Local | None]:
        """The same as scoring computes it: with all other pixels."""
        every = Places.every(len(images), self.shape[1] * self.shape[2], images.device)
        based = self._based(images, every)
        features = self.trunk(images, every, based, given)
        own = every.pixel == pixel
        return features[own], None if based is None else Local(*(part[own] for part in based[1]))

    def _pixel(
        self,
        head: RelativeLogistics | Softmax | LogisticMixture,
        features: Tensor,
        local: Local | None,
        uniforms: Tensor,
        temperature: float,
    ) -> Tensor:
        """Draws one pixel of every image: (B, F) -> integer levels (B, C)."""
        if isinstance(head, RelativeLogistics):
            assert self.base is not None
            assert local is not None
            return head.draw(features, local, self.base.coupling, uniforms.unbind(), temperature)
        return head.draw(features, uniforms[:, :, None].unbind(), temperature)


def folds_of(groups: Tensor, seed: int) -> Tensor:
    """Returns the fold of each example, (n,): groups (n,) are parted whole, at random by the seed."""
    _, group = groups.unique(return_inverse=True)
    number = int(group.max()) + 1
    order = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
    return (order % min(FOLDS, max(2, number)))[group]
