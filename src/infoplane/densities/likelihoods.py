"""Distributions of one pixel given the features of its causal context. All are exactly normalised over the levels.

Shape legend: B batch, C colour channels, H rows, W columns, F features, M mixture components, L levels.
"""

import abc
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import torch
import torch.nn.functional as F
from annotated_types import Ge, Le
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.checks import holds_integers, type_and_shape
from infoplane.data.space import Levels, check_range
from infoplane.densities.layers import WeightNormConv, concat_elu
from infoplane.errors import UsageError, check_positive

Size = Annotated[int, Ge(1), Le(10**5)]

MIN_LOG_SCALE = -7.0
MAX_LOG_SCALE = 7.0


def scale_levels(index: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Maps level 0 … L − 1 to −1 … 1."""
    return index.to(dtype) * (2.0 / (levels - 1)) - 1.0


@checked
def log_bin_mass(index: Tensor, mean: Tensor, log_scale: Tensor, levels: Levels) -> Tensor:
    """Returns the log-mass, in nats, that a logistic puts on the bin of level `index`, exactly.

    Levels sit at x_k = 2k/(L − 1) − 1; bin k reaches half a step to either side, the first and last to infinity. With
    a = (upper − μ)/s and b = (lower − μ)/s the interior's mass is σ(a) − σ(b) = σ(a) σ(−b) (1 − e^{−(a−b)}), taken in
    log space, so it neither cancels nor underflows and the L masses sum to 1 (Salimans et al. 2017, eq. 2, without
    their density × width approximation).

    Args:
        index: Integer levels, broadcastable with `mean`.
        mean, log_scale: μ and log s, on the scaled axis [−1, 1]; floating point.
        levels: L ≥ 2.

    Raises:
        UsageError: These are no such tensors, do not go together, or are not finite.
    """
    if not holds_integers(index) or not (mean.is_floating_point() and log_scale.is_floating_point()):
        received = f"{index.dtype}, {mean.dtype}, {log_scale.dtype}"
        raise UsageError("bins and logistics cannot be used", received=received, legal="whole numbers, two of floats")
    try:
        torch.broadcast_shapes(index.shape, mean.shape, log_scale.shape)
    except RuntimeError as error:
        received = f"shapes {tuple(index.shape)}, {tuple(mean.shape)}, {tuple(log_scale.shape)}"
        raise UsageError("bins and logistics do not go together", received=received) from error
    _check_finite("means and scales", mean, log_scale)
    check_range(index, levels)
    return bin_mass(index, mean, log_scale, levels)


def _check_finite(what: str, *tensors: Tensor) -> None:
    if not all(bool(tensor.isfinite().all()) for tensor in tensors):
        raise UsageError(f"{what} are not finite", received="NaN or infinity", legal="finite numbers")


def bin_mass(index: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Returns what `log_bin_mass` does, of tensors that are known to be right."""
    step = 1.0 / (levels - 1)
    position = index.to(mean.dtype)
    inverse = torch.exp(-log_scale)
    # One formula in whole numbers for both ends: a bin's upper end is bit for bit its neighbour's lower end.
    upper = ((2 * position + 1) * step - 1.0 - mean) * inverse
    lower = ((2 * position - 1) * step - 1.0 - mean) * inverse
    log_below = F.logsigmoid(upper)  # log of the mass up to the upper end
    log_above = F.logsigmoid(-lower)  # log of the mass beyond the lower end
    tiny = torch.finfo(mean.dtype).tiny
    interior = log_below + log_above + torch.log((-torch.expm1(lower - upper)).clamp_min(tiny))
    return torch.where(index == 0, log_below, torch.where(index == levels - 1, log_above, interior))


class Likelihood(nn.Module, abc.ABC):
    """Distribution over one pixel's C channels given features; owns the last 1×1 convolution."""

    features: int
    channels: int
    levels: int

    @checked
    def log_prob(self, features: Tensor, images: Tensor) -> Tensor:
        """Returns log q(pixel | features) in nats: (B, F, H, W), integer (B, C, H, W) -> (B, H, W).

        Raises:
            UsageError: They are not such tensors, do not go together, or are not finite.
        """
        self._check(features)
        wanted = (len(features), self.channels, *features.shape[2:])
        if not holds_integers(images) or tuple(images.shape) != wanted:
            received = type_and_shape(images)
            raise UsageError("images do not fit the features", received=received, legal=f"integer levels {wanted}")
        check_range(images, self.levels)
        return self.score(features, images)

    def _check(self, features: Tensor) -> None:
        if not features.is_floating_point() or features.ndim != 4 or features.shape[1] != self.features:
            received = type_and_shape(features)
            legal = f"floating point (B, {self.features}, H, W)"
            raise UsageError("features do not fit the likelihood", received=received, legal=legal)
        _check_finite("features", features)

    @abc.abstractmethod
    def score(self, features: Tensor, images: Tensor) -> Tensor:
        """Returns what `log_prob` does, of tensors that are known to be right."""

    @property
    @abc.abstractmethod
    def draws(self) -> int:
        """How many uniform numbers it takes to draw a pixel."""

    @abc.abstractmethod
    def draw(self, features: Tensor, uniforms: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
        """Makes one pixel per position of uniform numbers: (B, F, H, W) -> integer levels (B, C, H, W).

        Args:
            uniforms: As many float64 tensors (B, 1, H, W) as `draws` says, on [0, 1).
            temperature: Below 1, every channel's distribution is sharpened: softmax of logits over the temperature, or
                logistics of so many times the scale.
        """

    @checked
    def sample(self, features: Tensor, generator: torch.Generator | None, temperature: float = 1.0) -> Tensor:
        """Draws one pixel per position: (B, F, H, W) -> integer levels (B, C, H, W); `draw` tells the temperature."""
        self._check(features)
        check_positive("the temperature", temperature)
        shape = (features.shape[0], 1, *features.shape[2:])
        uniforms = [
            torch.rand(shape, generator=generator, device=features.device, dtype=torch.float64)
            for _ in range(self.draws)
        ]
        return self.draw(features, uniforms, temperature)


class Categorical(Likelihood):
    """A softmax over the levels, colour channels in turn.

    Channel c's logits see the features and the values of the channels before it, each through an embedding of its
    level, so the C·log L nats of a pixel are normalised whatever C is (van den Oord et al. 2016 for one channel).
    """

    @checked
    def __init__(self, features: Size, channels: Size, levels: Levels, *, weight_norm: bool = True) -> None:
        super().__init__()
        self.features, self.channels, self.levels = features, channels, levels
        hidden = features if channels > 1 else 0
        self.hidden = nn.ModuleList(
            WeightNormConv(features, hidden, weight_norm=weight_norm) for _ in range(channels if hidden else 0)
        )
        self.previous = nn.ModuleList(nn.Embedding(levels * c, hidden) for c in range(1, channels))
        for embedding in self.previous:
            nn.init.normal_(embedding.weight, std=0.1)  # pyright: ignore[reportArgumentType]
        inputs = 2 * hidden if hidden else features
        self.logits = nn.ModuleList(
            WeightNormConv(inputs, levels, weight_norm=weight_norm, init_scale=0.1) for _ in range(channels)
        )

    def _log_probs(self, features: Tensor, channel: int, previous: Tensor) -> Tensor:
        """Log-probabilities (B, L, H, W) of one channel given the levels (B, channel, H, W) of those before it."""
        y = F.elu(features)
        if self.hidden:
            y = self.hidden[channel](y)
            if channel:
                offsets = torch.arange(channel, device=previous.device)[None, :, None, None] * self.levels
                y = y + self.previous[channel - 1](previous.long() + offsets).sum(1).movedim(-1, 1)
            y = concat_elu(y)
        return F.log_softmax(at_least_float32(self.logits[channel](y)), dim=1)

    def score(self, features: Tensor, images: Tensor) -> Tensor:
        terms = []
        for c in range(self.channels):
            table = self._log_probs(features, c, images[:, :c])
            terms.append(table.gather(1, images[:, c : c + 1].long()).squeeze(1))
        return torch.stack(terms).sum(0)

    @property
    def draws(self) -> int:
        return self.channels

    def draw(self, features: Tensor, uniforms: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
        drawn = torch.zeros(features.shape[0], 0, *features.shape[2:], dtype=torch.long, device=features.device)
        for c in range(self.channels):
            probs = F.softmax(self._log_probs(features, c, drawn) / temperature, dim=1)
            drawn = torch.cat((drawn, pick(probs, uniforms[c])), dim=1)
        return drawn


class LogisticMixture(Likelihood):
    """A mixture of M discretised logistics whose indicator the colour channels share (Salimans et al. 2017, §2.1–2.2).

    Given component m, channel c is logistic around μ_c + Σ_{j<c} tanh(k_cj) x_j, with x_j the *scaled* values of the
    channels before it.
    """

    @checked
    def __init__(
        self, features: Size, channels: Size, levels: Levels, *, mixtures: Size = 10, weight_norm: bool = True
    ) -> None:
        super().__init__()
        self.features, self.channels, self.levels, self.mixtures = features, channels, levels, mixtures
        self.couplings = channels * (channels - 1) // 2
        outputs = mixtures * (1 + 2 * channels + self.couplings)
        self.parameters_of = WeightNormConv(features, outputs, weight_norm=weight_norm)

    def _split(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Mixture logits (B, M, H, W); means, log-scales (B, M, C, H, W); couplings (B, M, C(C−1)/2, H, W)."""
        raw = at_least_float32(self.parameters_of(F.elu(features)))
        m, c = self.mixtures, self.channels
        logits, means, log_scales, couplings = raw.split((m, m * c, m * c, m * self.couplings), dim=1)
        log_scales = log_scales.unflatten(1, (m, c)).clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)
        couplings = couplings.unflatten(1, (m, self.couplings)).tanh() if self.couplings else couplings[:, :, None]
        return logits, means.unflatten(1, (m, c)), log_scales, couplings

    def _mean(self, means: Tensor, couplings: Tensor, channel: int, scaled: Tensor) -> Tensor:
        """The mean of one channel (B, M, H, W) given the scaled values (B, ≥ channel, H, W) of those before it."""
        first = channel * (channel - 1) // 2
        mean = means[:, :, channel]
        for j in range(channel):
            mean = mean + couplings[:, :, first + j] * scaled[:, None, j]
        return mean

    def score(self, features: Tensor, images: Tensor) -> Tensor:
        logits, means, log_scales, couplings = self._split(features)
        scaled = scale_levels(images, self.levels, logits.dtype)
        joint = F.log_softmax(logits, dim=1)
        for c in range(self.channels):
            mean = self._mean(means, couplings, c, scaled)
            joint = joint + bin_mass(images[:, None, c], mean, log_scales[:, :, c], self.levels)
        return torch.logsumexp(joint, dim=1)

    @property
    def draws(self) -> int:
        return 1 + self.channels

    def draw(self, features: Tensor, uniforms: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
        logits, means, log_scales, couplings = self._split(features)
        chosen = pick(F.softmax(logits / temperature, dim=1), uniforms[0])  # one component for all channels
        scaled = logits.new_zeros(logits.shape[0], 0, *logits.shape[2:])
        drawn = []
        for c in range(self.channels):
            mean = self._mean(means, couplings, c, scaled).gather(1, chosen)
            scale = temperature * log_scales[:, :, c].gather(1, chosen).exp()
            noise = torch.logit(uniforms[1 + c], eps=1e-12).to(mean.dtype)
            # Rounded to the grid before the next channel's mean is computed, as its likelihood was.
            level = ((mean + scale * noise + 1.0) * (0.5 * (self.levels - 1))).round()
            drawn.append(level.clamp(0, self.levels - 1).long())
            scaled = torch.cat((scaled, scale_levels(drawn[-1], self.levels, mean.dtype)), dim=1)
        return torch.cat(drawn, dim=1)


def at_least_float32(x: Tensor) -> Tensor:
    """float64 stays, everything else becomes float32: in half precision a log-likelihood is noise."""
    return x if x.dtype == torch.float64 else x.float()


def full_precision(x: Tensor) -> AbstractContextManager[object]:
    """A context in which what is computed from x is not in half precision, whatever surrounds it."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def pick(probs: Tensor, uniform: Tensor) -> Tensor:
    """Draws an index along dimension 1: (B, K, H, W) -> (B, 1, H, W), by inverting the cumulative distribution."""
    cumulative = probs.double().cumsum(1)
    index = (cumulative < uniform * cumulative[:, -1:]).sum(1, keepdim=True)
    return index.clamp_max(probs.shape[1] - 1)
