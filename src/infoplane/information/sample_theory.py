"""How many samples the theory asks for, and what error it promises, for T = S + Z with S in [-1, 1]^d, Z ~ N(0, β²I).

Source: Goldfeld et al. 2018, Theorems 1 to 3; what was worked out anew is derived in docs/noisy.md.
"""

import math
from numbers import Integral, Real

import numpy as np
from scipy.special import ndtr, ndtri

from infoplane.errors import UsageError, check_positive


def fewest_samples(d: int, beta: float, bias: float) -> float:
    """Returns the number of samples below which, for some S, the expected entropy estimate errs by `bias` nats or more.

    n > k^{d(1-ε)} exp(-(δ + H_b(ε))) with k = ⌊1 / (β Q⁻¹(½(1 - (1-ε)^{1/d})))⌋, the largest over ε. It is about the
    worst S there is; a network's may need far fewer.

    Raises:
        UsageError: d is not a whole number from 1 on, β not positive, or the bias negative.
    """
    _check_dimensions(d)
    check_positive("beta", beta)
    if not isinstance(bias, Real) or not 0 <= float(bias) < math.inf:
        raise UsageError("the bias must not be negative", received=bias, legal="nats, 0 or more")
    # 1 - (1 - 2Q(1/2β))^d, without cancellation.
    least = -np.expm1(d * np.log1p(-2 * ndtr(-1 / (2 * beta))))
    grid = np.unique(np.concatenate([np.geomspace(max(least, 1e-300), 1, 4000)[1:], np.linspace(least, 1, 4000)[1:-1]]))
    cells = cells_per_axis(d, beta, grid[grid < 1])
    eps = grid[grid < 1][cells >= 1]
    cells = cells[cells >= 1]
    if not len(eps):
        return 0.0
    entropy = -(eps * np.log(eps) + (1 - eps) * np.log1p(-eps))
    return float(np.exp(np.max(d * (1 - eps) * np.log(cells) - bias - entropy)))


def cells_per_axis(d: int, beta: float, epsilon: np.ndarray | float) -> np.ndarray:
    """Returns k* = ⌊1/(β Q⁻¹(½(1 - (1-ε)^{1/d})))⌋: so many points along an axis stay apart but for a share ε of draws.

    Source: Goldfeld et al. 2018, theorem 2.
    """
    tail = -np.expm1(np.log1p(-np.asarray(epsilon)) / d) / 2  # without cancellation
    return np.floor(-1 / (beta * ndtri(tail)))


def risk_bound(n: int, d: int, beta: float) -> float:
    """Returns a bound on E|h(S + Z) - ĥ| with n samples, nats, for any S in [-1, 1]^d; twice that for information.

    δ [1 + ½ log(n R^d / (πβ²)^{d/2})] + 2 √(B P), the least over ε > 0, where a = √((2+ε) log n), R = 2 + 2βa,
    δ = R^{d/2} / ((4πβ²)^{d/4} √n), P = min(1, 2d Q(a)) and B = (4d/β² + d)² + 2d. Derived in docs/noisy.md.

    Raises:
        UsageError: n is less than 1, d not a whole number from 1 on, or β not positive.
    """
    _check_dimensions(d)
    check_positive("beta", beta)
    if not isinstance(n, Real) or not 1 <= float(n) < math.inf:
        raise UsageError("n must be a number of samples", received=n, legal="1 or more")

    def bound(log_eps: float) -> float:
        a = math.sqrt((2 + math.exp(log_eps)) * math.log(n))
        log_r = d * math.log(2 + 2 * beta * a)
        delta = math.exp(log_r / 2 - d / 4 * math.log(4 * math.pi * beta**2) - math.log(n) / 2)
        inner = 1 + 0.5 * max(0.0, math.log(n) + log_r - d / 2 * math.log(math.pi * beta**2))
        outside = min(1.0, 2 * d * ndtr(-a))
        return delta * inner + 2 * math.sqrt(((4 * d / beta**2 + d) ** 2 + 2 * d) * outside)

    return min(bound(float(log_eps)) for log_eps in np.linspace(-12, 9, 2000))


def _check_dimensions(d: int) -> None:
    if not isinstance(d, Integral) or d < 1:
        raise UsageError("d must be a number of dimensions", received=d, legal="a whole number from 1 on")
