"""A softmax over the levels of a pixel, for trunks that are asked place by place.

Shape legend: N pixels, C channels, L levels, F features.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.likelihoods import at_least_float32, pick


class Softmax(nn.Module):
    """Per channel a softmax over the levels, given those of the channels before it.

    Args:
        features: F.
        channels: C.
        levels: L.
    """

    def __init__(self, features: int, channels: int, levels: int) -> None:
        super().__init__()
        self.levels, self.draws = levels, channels  # of uniform numbers that it takes to draw a pixel
        self.earlier = nn.ModuleList(nn.Embedding(levels * c, features) for c in range(1, channels))
        self.hidden = nn.ModuleList(nn.Linear(features, features) for _ in range(channels - 1))
        self.outputs = nn.ModuleList(nn.Linear(features, levels) for _ in range(channels))
        with torch.no_grad():
            for module in self.earlier:
                assert isinstance(module, nn.Embedding)
                module.weight.mul_(0.1)
            for module in self.outputs:
                assert isinstance(module, nn.Linear)
                module.weight.mul_(0.1)

    @torch.no_grad()
    def initialise(self, images: Tensor) -> None:
        """Begins with how often each level occurs in images, integer (B, C, H, W)."""
        for channel, module in enumerate(self.outputs):
            counts = torch.bincount(images[:, channel].flatten().long(), minlength=self.levels) + 1.0
            assert isinstance(module.bias, Tensor)
            module.bias.copy_((counts / counts.sum()).log())

    def _logits(self, features: Tensor, c: int, earlier: Tensor) -> Tensor:
        """The logits (N, L) of a channel, given the levels (N, c) of those before it."""
        if c:
            offsets = torch.arange(c, device=earlier.device) * self.levels
            seen = self.earlier[c - 1](earlier.long() + offsets).sum(1)
            features = F.relu(self.hidden[c - 1](features) + seen)
        return at_least_float32(self.outputs[c](features))

    def score(self, features: Tensor, target: Tensor) -> Tensor:
        """Returns log q(pixel | features) in nats: (N, F), integer (N, C) -> (N,)."""
        terms = []
        for c in range(self.draws):
            logits = self._logits(features, c, target[:, :c])
            terms.append(-F.cross_entropy(logits, target[:, c].long(), reduction="none"))
        return torch.stack(terms).sum(0)

    def draw(self, features: Tensor, uniforms: Sequence[Tensor], temperature: float = 1.0) -> Tensor:
        """Makes a pixel of uniform numbers, float64 (N, 1) each: (N, F) -> integer levels (N, C)."""
        drawn = torch.zeros(len(features), 0, dtype=torch.long, device=features.device)
        for c in range(self.draws):
            probs = F.softmax(self._logits(features, c, drawn) / temperature, dim=1)
            drawn = torch.cat((drawn, pick(probs, uniforms[c])), dim=1)
        return drawn
