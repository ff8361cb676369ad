"""What I(X;T) lies between, whatever the number of propagated samples: bounds in expectation, from Jensen's inequality.

T given x is drawn around one of the propagated samples of x. A density that was made of other samples knows nothing of
that draw, so that its cross-entropy is at least h(T|x); the entropy of a mixture of samples is at most that of T.

Shapes: k inputs, r draws of each, n further samples of each, d units. Densities are given up to their peak, as logs.
"""

import math

import torch
from torch import Tensor

from infoplane.information.mixture_blocks import squared_distances

#: fewest and most further samples of an input, of which nothing is drawn; between these as many as there are others
FRESH = (128, 512)
#: kernels around them, in β; Gaussians with their covariance, as multiples of it
WIDTHS, SPREADS = (1.0, 1.5, 2.25, 3.5, 5.0, 7.5, 12.0, 20.0), (1.0, 1.5, 3.0)
#: entries of a tensor that is worked on at once
TILE = 2**20


def own_densities(v: Tensor, noise: Tensor, fresh: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """Returns densities of T given x at draws, whose means are at most and at least what -h(T|x) needs: (k, r) each.

    Args:
        v: Draws of each input, (k, r, d).
        noise: -|v - c|²/2β² to the samples that they were drawn around, (k, r).
        fresh: Further samples of each input, independent of these, (k, n, d).
        beta: β.
    """
    n, d = fresh.shape[1:]
    logs = torch.empty(len(WIDTHS) + len(SPREADS), *v.shape[:2], dtype=v.dtype, device=v.device)
    for part in torch.arange(len(v), device=v.device).split(max(1, TILE // (v.shape[1] * n))):
        exponents = squared_distances(v[part], fresh[part], beta).div_(-2)
        for width, found in zip(WIDTHS, logs):
            found[part] = (exponents / width**2).logsumexp(2) - math.log(n) - d * math.log(width)
    centred = (fresh - fresh.mean(1, keepdim=True)) / beta
    covariance = centred.transpose(1, 2) @ centred / (n - 1)
    offset = (v - fresh.mean(1, keepdim=True)) / beta
    unit = torch.eye(d, dtype=v.dtype, device=v.device)
    for spread, found in zip(SPREADS, logs[len(WIDTHS) :]):
        root = torch.linalg.cholesky(spread * covariance + unit)
        white = torch.linalg.solve_triangular(root, offset.transpose(1, 2), upper=False)
        found[:] = -white.square().sum(1) / 2 - root.diagonal(dim1=1, dim2=2).log().sum(1)[:, None]
    # With the sample that it was drawn around among n + 1: any of them, as they are all alike.
    among = torch.logaddexp(logs[0] + math.log(n), noise) - math.log(n + 1)
    return _mixed(logs), among


def _mixed(logs: Tensor) -> Tensor:
    """log of the mixture of densities (K, k, r) that fits the draws best: (k, r).

    Either half of the inputs has the weights that the other half asks for, so that none has a say in its own.
    """
    found = torch.empty_like(logs[0])
    half = torch.arange(logs.shape[1], device=logs.device) % 2
    for side in (0, 1):
        weights = torch.full((len(logs), 1, 1), -math.log(len(logs)), dtype=logs.dtype, device=logs.device)
        for _ in range(20):  # expectation and maximisation
            shares = (weights + logs[:, half != side]).log_softmax(0)
            weights = shares.flatten(1).logsumexp(1)[:, None, None] - math.log(shares[0].numel())
        found[half == side] = (weights + logs[:, half == side]).logsumexp(0)
    # Where samples are many the kernel itself serves all inputs, and no shares need to be carried over from others.
    return found if found.mean() > logs[0].mean() else logs[0]


def log_difference(more: Tensor, less: Tensor) -> Tensor:
    """log(e^more - e^less), -∞ where rounding leaves nothing."""
    return more + torch.log1p(-(less - more).clamp_max(0).exp())


def bounds(whole: Tensor, others: Tensor, alone: Tensor, apart: Tensor, among: Tensor, m: int) -> tuple[float, float]:
    """Returns the lower and the upper bound of I(X;T), nats; chance is left out.

    All arguments are logs of densities at the same draws, (k, r).

    Args:
        whole: T's, of all samples.
        others: The share in it of all inputs but the draw's own, a sum over m - 1 of m.
        alone: T's given x, of all samples but the one that the draw is of.
        apart: The same of independent samples, see `own_densities`.
        among: The same of n + 1 of which the draw's own is one.
        m: Number of inputs.
    """
    share = math.log(m)
    # h(T) of a mixture of samples is too small, h(T|X) by a cross-entropy too large; or: x is guessed from T by Bayes'
    # rule with densities that know nothing of this draw (Barber and Agakov 2003).
    lower = max(float((apart - whole).mean()), float((alone - torch.logaddexp(others, alone - share)).mean()))
    upper = float((among - torch.logaddexp(others, apart - share)).mean())
    return min(max(lower, 0.0), share), min(max(upper, 0.0), share)
