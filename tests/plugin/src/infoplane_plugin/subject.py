"""A network of one hidden layer."""

import math
from typing import Annotated

from annotated_types import Gt, Le
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Layers to tap: `hidden`, `logits`."""

    def __init__(
        self, shape: tuple[int, int, int], classes: int, *, units: Annotated[int, Gt(0), Le(1000)] = 6
    ) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), units), nn.Tanh())
        self.logits = nn.Linear(units, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.hidden(x))
