"""Which pixels a training step looks at: those oftener whose gradients are large.

Shape legend: B images, H rows, W columns, N drawn pixels.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.window import Places

#: how fast what is known of a cell follows, and the share of the mean that is added to it
FOLLOWED, FLOOR = 0.05, 0.1
#: (rows, columns) to the earlier neighbours that make up a pattern; each is 0, dark or bright
NEIGHBOURS, KINDS = ((0, -1), (-1, 0), (-1, -1), (-1, 1)), 3


class Importance(nn.Module):
    """Draws pixels with probabilities that follow how far q is from certain of them, and says what weighs that up.

    Pixels are told apart by their place and, in grey images, by the pattern of their earlier neighbours where one of
    them is not 0: most of a digit's image is background, of which there is nothing to learn. For each such cell the
    root mean square of 1 − q(x_i | …) is followed. A softmax's gradient is about as long as that, and so is its share
    of the estimate's variance; what is drawn in proportion to it, and weighted by the inverse, has the least.

    Args:
        shape: (C, H, W).
        levels: L.
    """

    error: Tensor

    def __init__(self, shape: tuple[int, int, int], levels: int) -> None:
        super().__init__()
        self.levels, self.places = levels, shape[1] * shape[2]
        self.patterns = KINDS ** len(NEIGHBOURS) if shape[0] == 1 else 0
        self.register_buffer("error", torch.zeros(self.places + self.patterns), persistent=False)

    def draw(self, images: Tensor, count: int) -> tuple[Places, Tensor, Tensor]:
        """Draws `count` pixels of images, integer (B, C, H, W), the places of all images as one line.

        Returns:
            The pixels; what to multiply their terms with so that the sum over those of an image is, on average, the
            sum over all of its pixels, (N,); and their cells, (N,).
        """
        cells = self._cells(images)
        known = self.error[cells].double()
        known = known + FLOOR * known.mean() + 1e-9
        ends = known.cumsum(0)
        # One in each of so many equal parts of the line, which varies less than if each could be anywhere.
        where = torch.arange(count, device=images.device) + torch.rand(count, dtype=torch.float64, device=images.device)
        index = torch.searchsorted(ends, where * (ends[-1] / count)).clamp_max(len(cells) - 1)
        weight = ends[-1] / (known[index] * count)
        return Places(index // self.places, index % self.places), weight.to(self.error.dtype), cells[index]

    def _cells(self, images: Tensor) -> Tensor:
        """The cell of every pixel, int64 (B · H · W,)."""
        place = torch.arange(self.places, device=images.device)
        if not self.patterns:
            return place.repeat(len(images))
        values, (rows, columns) = images[:, 0], images.shape[2:]
        kinds = F.pad((values > 0).to(torch.uint8) + (values > (self.levels - 1) // 2), (1, 1, 1, 0))
        pattern = torch.zeros_like(kinds[:, 1:, 1:-1])
        for down, right in NEIGHBOURS:
            pattern = KINDS * pattern + kinds[:, 1 + down : 1 + down + rows, 1 + right : 1 + right + columns]
        pattern = pattern.flatten(1).long()
        return torch.where(pattern > 0, self.places + pattern, place).flatten()

    @torch.no_grad()
    def follow(self, cells: Tensor, losses: Tensor) -> None:
        """Takes into account what pixels of these cells have lost, −log q in nats: (N,) each."""
        zeros = torch.zeros_like(self.error)
        missed = (1 - torch.exp(-losses.to(zeros.dtype))).square()
        count = zeros.index_add(0, cells, torch.ones_like(missed))
        seen = (zeros.index_add(0, cells, missed) / count.clamp_min(1)).sqrt()
        moved = torch.where(self.error > 0, self.error.lerp(seen, FOLLOWED), seen)
        self.error.copy_(torch.where((count > 0) & seen.isfinite(), moved, self.error))
