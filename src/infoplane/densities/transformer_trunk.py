"""The trunk that is a causal transformer over pixels; shapes as in `trunks.py`, and T pixels in raster order."""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.contexts import Given, Reader
from infoplane.densities.likelihoods import scale_levels
from infoplane.densities.trunks import Based, Residual, Trunk, added_at, steps_of
from infoplane.densities.window import Places
from infoplane.errors import UsageError


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
