"""Inputs whose covariance is the identity: what a layer sees of values that are almost the same.

The pixels of a window say much the same, and what tells them apart, edges and texture, varies a thousand times less
than what they share. Gradients follow the large directions, and so would the first layer's weights for most of a short
training. On inputs without correlations all directions are learnt alike.

Shape legend: N examples, d inputs, F outputs.
"""

import torch
from torch import Tensor, nn

from infoplane.densities.likelihoods import full_precision

#: added to every direction's variance, relative to their mean: what varies less is not enlarged to the same size
DAMPING = 1e-3


class Whitening(nn.Module):
    """(x − mean) Σ^{-1/2}, the symmetric one (ZCA; Bell & Sejnowski 1997), of a covariance Σ with a little added to it.

    Until `fit` was called it leaves inputs as they are.

    Args:
        inputs: d.
    """

    mean: Tensor
    matrix: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("matrix", torch.eye(inputs))

    def forward(self, x: Tensor) -> Tensor:
        """(N, d) -> (N, d)."""
        # In half precision the large directions' rounding would drown the small ones.
        with full_precision(x):
            return (x - self.mean) @ self.matrix

    @torch.no_grad()
    def fit(self, x: Tensor) -> None:
        """Solves for the mean and the matrix on examples (N, d), in double precision."""
        examples = x.double()
        mean = examples.mean(0)
        left = examples - mean
        values, vectors = torch.linalg.eigh(left.T @ left / len(left))
        # Inputs that are all alike have no direction to enlarge: they stay what they are.
        damped = values.clamp_min(0) + DAMPING * values.mean()
        scales = torch.where(damped > 0, damped, 1.0).rsqrt()
        self.mean.copy_(mean)
        self.matrix.copy_((vectors * scales) @ vectors.T)

    def folded(self, layer: nn.Linear) -> tuple[Tensor, Tensor]:
        """Returns the weight (d, F) and the bias (F,) of a linear layer of whitened inputs, for inputs as they are."""
        weight = self.matrix @ layer.weight.T
        return weight, layer.bias - self.mean @ weight
