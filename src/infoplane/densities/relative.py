"""Logistics whose means and scales are relative to what is predicted of a pixel and to the scale of its surroundings.

On the absolute axis an error δ of a mean costs about (δ/s)² nats, most where the image is smooth and the scale s is a
few levels; so whatever disturbs the means a little, a context above all, harms where it should not.

Shape legend: N pixels, C channels, M components, F features.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.bases import LinearBase, Local
from infoplane.densities.likelihoods import MAX_LOG_SCALE, MIN_LOG_SCALE, at_least_float32, bin_mass, pick, scale_levels

#: where what is left of earlier channels is cut off, in scales
CLIP = 8.0


class RelativeLogistics(nn.Module):
    """Per channel a mixture of logistics at prediction + coupling + scale · δ, given the channels before it.

    Args:
        features: F.
        base: What says predictions, couplings and scales.
        mixtures: M.
        hidden: Units of a layer of each channel, which also sees what is left of the channels before.
    """

    def __init__(self, features: int, base: LinearBase, mixtures: int, hidden: int) -> None:
        super().__init__()
        self.channels, self.levels, self.mixtures = base.shape[0], base.levels, mixtures
        self.hidden = nn.ModuleList(nn.Linear(features, hidden) for _ in range(self.channels))
        self.earlier = nn.ModuleList(nn.Linear(c, hidden, bias=False) for c in range(1, self.channels))
        self.outputs = nn.ModuleList(nn.Linear(hidden, 3 * mixtures) for _ in range(self.channels))
        with torch.no_grad():
            for module in self.outputs:
                assert isinstance(module, nn.Linear)
                module.weight.mul_(0.3)
                module.bias.zero_()
                _, mean, scale = module.bias.split(mixtures)
                # Some broad and some narrow at every place.
                mean.copy_(torch.linspace(-1.0, 1.0, mixtures))
                scale.copy_(torch.linspace(-1.5, 0.3, mixtures)[torch.randperm(mixtures)])

    @property
    def draws(self) -> int:
        """How many uniform numbers it takes to draw a pixel."""
        return 2 * self.channels

    def _mixture(
        self, features: Tensor, local: Local, coupling: Tensor, c: int, left: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, means and log-scales (N, M) of a channel, given what is left (N, c) of those before it."""
        y = self.hidden[c](features)
        if c:
            y = y + self.earlier[c - 1]((left * torch.exp(-local.log_scale[:, :1])).clamp(-CLIP, CLIP))
        logits, mean, scale = at_least_float32(self.outputs[c](F.relu(y))).split(self.mixtures, dim=1)
        centre = local.prediction[:, c] + left @ coupling[c, :c]
        mean = centre[:, None] + mean * torch.exp(local.log_scale[:, c : c + 1])
        return logits, mean, (scale + local.log_scale[:, c : c + 1]).clamp(MIN_LOG_SCALE, MAX_LOG_SCALE)

    def score(self, features: Tensor, local: Local, coupling: Tensor, target: Tensor) -> Tensor:
        """Returns log q(pixel | features) in nats: (N, F), integer (N, C) -> (N,)."""
        left = scale_levels(target, self.levels, local.prediction.dtype) - local.prediction
        total = features.new_zeros(len(features))
        for c in range(self.channels):
            logits, mean, scale = self._mixture(features, local, coupling, c, left[:, :c])
            mass = bin_mass(target[:, c : c + 1], mean, scale, self.levels)
            total = total + torch.logsumexp(F.log_softmax(logits, dim=1) + mass, dim=1)
        return total

    def draw(
        self, features: Tensor, local: Local, coupling: Tensor, uniforms: Sequence[Tensor], temperature: float = 1.0
    ) -> Tensor:
        """Makes a pixel of uniform numbers, float64 (N,) each: (N, F) -> integer levels (N, C)."""
        left, found = features.new_zeros(len(features), 0), []
        for c in range(self.channels):
            logits, mean, scale = self._mixture(features, local, coupling, c, left)
            chosen = pick(F.softmax(logits / temperature, dim=1), uniforms[2 * c][:, None])
            noise = torch.logit(uniforms[2 * c + 1], eps=1e-12).to(mean.dtype)[:, None]
            value = mean.gather(1, chosen) + temperature * scale.gather(1, chosen).exp() * noise
            level = ((value + 1.0) * (0.5 * (self.levels - 1))).round().clamp(0, self.levels - 1).long()
            found.append(level)
            # Rounded to the grid before the next channel's mean is computed, as its likelihood was.
            own = scale_levels(level, self.levels, mean.dtype) - local.prediction[:, c : c + 1]
            left = torch.cat((left, own), dim=1)
        return torch.cat(found, dim=1)
