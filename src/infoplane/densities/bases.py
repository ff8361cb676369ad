"""What is known of a pixel in closed form before anything is trained: least squares on its causal window.

Shape legend: B batch, C channels, N pixels, K places of a window.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from infoplane.densities.likelihoods import scale_levels
from infoplane.densities.window import Growing, Places, causal_offsets, causal_window, gathered, with_beyond

#: pixels that the least squares are solved on
FITTED_ON = 60_000
#: of the predictions, the coupling of channels and the log-scales, per example and of values on [-1, 1]
PREDICTION_RIDGE, COUPLING_RIDGE, SCALE_RIDGE = 1e-4, 1e-5, 1e-4
#: rows above a pixel, and columns beside it, whose deviations are its local energy
NEAR = 2


class Local(NamedTuple):
    """What a base says of some pixels.

    Attributes:
        prediction: Of every channel, on [-1, 1], from what comes before the pixel: (N, C).
        log_scale: Of what is left of every channel once those before it are known, on the same axis: (N, C).
        energy: Log mean absolute deviations of what is near the pixel from its prediction: (N, 2).
    """

    prediction: Tensor
    log_scale: Tensor
    energy: Tensor


class LinearBase(nn.Module):
    """Predicts a pixel and the size of its error from its causal window, by three linear regressions.

    The prediction is least squares of each channel on the window's values. What it leaves of a channel is regressed on
    what it leaves of the channels before (the coupling), and the log of what is left then on two local energies: log
    mean |value − prediction| over the nearest pixels and over the two that touch it. So the scale is that of the
    surroundings: small where the image is smooth.

    Args:
        shape: (C, H, W).
        levels: L.
        up, side: The window: rows above, columns to either side.
    """

    table: Tensor
    near: Tensor
    touching: Tensor
    weight: Tensor
    bias: Tensor
    coupling: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, int, int], levels: int, up: int, side: int) -> None:
        super().__init__()
        channels, rows, columns = shape
        self.shape, self.levels = shape, levels
        offsets = causal_offsets(up, side)
        near = [k for k, (row, column) in enumerate(offsets) if row >= -NEAR and abs(column) <= NEAR]
        touching = [k for k, offset in enumerate(offsets) if offset in ((-1, 0), (0, -1))]
        self.register_buffer("table", causal_window(rows, columns, offsets), persistent=False)
        self.register_buffer("near", torch.tensor(near, dtype=torch.long), persistent=False)
        self.register_buffer("touching", torch.tensor(touching, dtype=torch.long), persistent=False)
        self.register_buffer("weight", torch.zeros(channels * len(offsets), channels))
        self.register_buffer("bias", torch.zeros(channels))
        self.register_buffer("coupling", torch.zeros(channels, channels))  # row c: of the channels before c
        self.register_buffer("scale", torch.tensor([[0.0, 0.0, -1.0]]).repeat(channels, 1))

    def values(self, images: Tensor, places: Places) -> Tensor:
        """The scaled values of each pixel's window: integer (B, C, H, W) -> (N, C, K)."""
        scaled = with_beyond(scale_levels(images, self.levels, self.weight.dtype))
        return gathered(scaled, self.table[places.pixel], places.image)

    def stepper(self, images: Tensor) -> Callable[[int], tuple[Tensor, Local]]:
        """Returns what gives windows (B, C, K) at a pixel and what is known of it, of images (B, C, H, W) that become
        known in raster order."""
        known = Growing(images, self.table, lambda pixels: scale_levels(pixels, self.levels, self.weight.dtype))

        def based(pixel: int) -> tuple[Tensor, Local]:
            values = known.at(pixel)
            return values, self(values)

        return based

    def forward(self, values: Tensor) -> Local:
        """What is known of pixels with windows (N, C, K)."""
        prediction = torch.addmm(self.bias, values.flatten(1), self.weight)
        energy = self._energy(values, prediction)
        return Local(prediction, energy @ self.scale[:, :2].T + self.scale[:, 2], energy)

    def _energy(self, values: Tensor, prediction: Tensor) -> Tensor:
        deviation = (values - prediction[:, :, None]).abs()
        step = 1 / (self.levels - 1)
        parts = (deviation.index_select(2, index).mean((1, 2)) for index in (self.near, self.touching))
        return torch.stack([(part + step).log() for part in parts], dim=1)

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        """Solves the three regressions on pixels of images, integer (B, C, H, W)."""
        channels, rows, columns = self.shape
        places = Places.some(len(images), rows * columns, FITTED_ON, images.device)
        values = self.values(images, places)
        target = scale_levels(images.flatten(2)[places.image, :, places.pixel], self.levels, self.weight.dtype)
        solution = ridge(with_ones(values.flatten(1)), target, PREDICTION_RIDGE)
        self.weight.copy_(solution[:-1])
        self.bias.copy_(solution[-1])
        prediction = torch.addmm(self.bias, values.flatten(1), self.weight)
        left = target - prediction
        self.coupling.zero_()
        for c in range(1, channels):
            self.coupling[c, :c] = ridge(left[:, :c], left[:, c : c + 1], COUPLING_RIDGE)[:, 0]
        rest = left - left @ self.coupling.T
        energy = with_ones(self._energy(values, prediction))
        smallest = 0.7 / (self.levels - 1)  # a third of a step: the log of what is left is finite
        self.scale.copy_(ridge(energy, (rest.abs() + smallest).log(), SCALE_RIDGE).T)


def ridge(inputs: Tensor, targets: Tensor, strength: float) -> Tensor:
    """Returns the weights of a ridge regression, in double precision: (n, d), (n, t) -> (d, t).

    Args:
        strength: Added to the mean square of every input.
    """
    x, y = inputs.double(), targets.double()
    gram = x.T @ x
    gram.diagonal().add_(strength * len(x))
    return torch.linalg.solve(gram, x.T @ y).to(targets.dtype)


def with_ones(x: Tensor) -> Tensor:
    """Returns x (n, d) with a column of ones: (n, d + 1)."""
    return torch.cat((x, torch.ones_like(x[:, :1])), dim=1)
