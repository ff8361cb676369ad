"""Trunks: from the pixels before a place to features, from which a head computes the pixel's distribution.

Shape legend: B images, N pixels, C channels, K places of a window, F width.
"""

import abc
from collections.abc import Callable
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from infoplane.densities.bases import Local
from infoplane.densities.contexts import Given, Reader, StreamsReader
from infoplane.densities.window import Places

#: rate of what h itself enters through, relative to that of everything else
DIRECT_RATE = 0.1

#: a base's windows (N, C, K) of places, and what it says of them
Based = tuple[Tensor, Local]


class Trunk(nn.Module, abc.ABC):
    """Features (N, F) of places, each a function of the pixels before it and of a context.

    Attributes:
        width: F.
        alone: Whether a place costs the same whichever others are asked for; else all of an image are computed at once.
        wide: Whether most of its time goes into products of wide matrices.
    """

    width: int
    alone: ClassVar[bool]
    wide: ClassVar[bool]

    @abc.abstractmethod
    def forward(self, images: Tensor, places: Places, based: Based | None, given: Given | None) -> Tensor:
        """Returns the features of places: integer images (B, C, H, W) -> (N, F). `based` is of the same places."""

    @abc.abstractmethod
    def stepper(self, images: Tensor, given: Given | None) -> Callable[[int, Based | None], Tensor]:
        """Returns what gives the features (B, F) of a pixel of all images, asked in raster order.

        Images become known meanwhile: whoever asks for a pixel has filled in all that come before it.
        """

    @abc.abstractmethod
    def reader(self, context: tuple[int, ...], form: str, method: str) -> Reader | StreamsReader:
        """Makes what a context enters through."""

    def context_rates(self, context: tuple[int, ...]) -> tuple[float, float]:
        """The rates at which what h itself enters through learns, and what x̂(h) does, relative to everything else.

        Many weights of h pull at the same features. x̂, which was solved for, need not be held back.
        """
        return DIRECT_RATE, 1.0

    def fit(self, images: Tensor, places: Places, based: Based | None) -> None:
        """Solves for what is known in closed form from some places, as `forward` has them; nothing for most trunks."""


class Residual(nn.Module):
    """x + W₂ relu(W₁ norm(x)), where a norm has mean 0 and variance 1 over the features (Ba et al. 2016)."""

    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, bias=False)
        self.first = nn.Linear(width, expansion * width)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Linear(expansion * width, width)
        nn.init.normal_(self.first.weight, std=1.4 * width**-0.5)
        nn.init.normal_(self.second.weight, std=0.3 * (expansion * width) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(self.dropout(F.relu(self.first(self.norm(x)))))


def steps_of(given: Given | None) -> Callable[[int, Local | None], list[Tensor]]:
    """Returns what gives what a context adds to a trunk's layers at a pixel of all images, (B, F) each."""
    if given is None:
        return lambda pixel, local: []
    assert isinstance(given.reader, Reader)
    return given.reader.stepper(given.context, given.image)


def added_at(given: Given | None, places: Places, based: Based | None) -> list[Tensor]:
    """What a context adds at some places to a trunk's layers, (N, F) each; none without one."""
    if given is None:
        return []
    assert isinstance(given.reader, Reader)
    return given.reader(given.context, given.image, places, None if based is None else based[1])
