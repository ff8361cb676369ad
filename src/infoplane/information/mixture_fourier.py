"""Sums of Gaussians over many centres by a non-uniform Fourier transform: for wide ones in up to three dimensions."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: finest error asked of the transform; doubles carry no more
FINEST = 1e-14
#: the largest error of a transform, in units of the one that was asked for, which is a norm over all outputs
SAFETY = 20.0


class FourierSum:
    """g(v) = Σ_j w_j exp(-|v - c_j|²/2β²) as a Fourier series on a box so large that its images do not matter.

    By Poisson's formula g(v) = Σ_k ĝ_k e^{ik·v}, ĝ_k = (√(2π) β/P)^d exp(-β²|k|²/2) Σ_j w_j e^{-ik·c_j}, k on 2π/P
    times the integers. Both sums over points are non-uniform transforms.

    Attributes:
        error: What the absolute error of g stays below: images, modes left out, both transforms, rounded phases.
        modes: Fourier modes per axis.

    Args:
        low, high: (d,), d at most 3, the corners of a box that holds centres and queries.
        beta: Standard deviation of the Gaussians.
        error: Wanted absolute error of g; what cannot be had is not promised, see `error`.
    """

    def __init__(self, low: Tensor, high: Tensor, beta: float, error: float) -> None:
        share = max(error / (SAFETY + 2), FINEST)
        self.asked, self.beta = share, beta
        d = len(low)
        self.middle = ((low + high) / 2).cpu().numpy()
        # The images of a centre lie at least P - extent away; the first 2d of them are all that counts.
        margin = beta * math.sqrt(2 * math.log(4 * d / share))
        self.period = (high - low).cpu().numpy() + margin
        # Σ over |k| > K of a Gaussian's coefficients on one axis is at most erfc(βK/√2) times the sum over all, near 1.
        cut = math.sqrt(2 * math.log(4 * d / share)) / beta
        self.modes = [2 * math.ceil(cut * period / (2 * math.pi)) + 1 for period in self.period]
        # A mode's phase at a point is rounded like the point, once in either transform.
        self.error = (SAFETY + 2) * share + math.pi * sum(self.modes) * 2.0**-53

    def fit(self, centres: Tensor, weights: Tensor) -> "FourierSum":
        """Takes the transform of the centres (n, d) with weights (n,) that sum to 1; returns itself."""
        found = self._transform(1, centres, weights.cpu().numpy().astype(np.complex128), isign=-1)
        for axis, (modes, period) in enumerate(zip(self.modes, self.period, strict=True)):
            k = 2 * math.pi / period * (np.arange(modes) - modes // 2)
            factor = math.sqrt(2 * math.pi) * self.beta / period * np.exp(-((self.beta * k) ** 2) / 2)
            found *= factor.reshape([-1 if i == axis else 1 for i in range(len(self.modes))])
        self.coefficients = found
        return self

    def sum(self, queries: Tensor) -> Tensor:
        """Returns g of each query, give or take `error`: (m, d) -> (m,)."""
        found = self._transform(2, queries, self.coefficients, isign=1).real
        return torch.from_numpy(np.ascontiguousarray(found)).to(queries)

    def _transform(self, kind: int, points: Tensor, values: np.ndarray, isign: int) -> Any:
        import finufft

        angles = (points.cpu().numpy() - self.middle) * (2 * math.pi / self.period)
        axes = [np.ascontiguousarray(axis) for axis in angles.T]
        transform = getattr(finufft, f"nufft{len(axes)}d{kind}")
        size = (tuple(self.modes),) if kind == 1 else ()
        return transform(*axes, values, *size, eps=self.asked, isign=isign, nthreads=torch.get_num_threads())
