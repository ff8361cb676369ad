"""Means over refits and examples with a standard error that covers both."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from infoplane.checks import check_labels, check_log_probs


@dataclass(frozen=True)
class Mean:
    """A mean, its standard error and the degrees of freedom of that error."""

    value: float
    stderr: float
    dof: float

    @property
    def p_value(self) -> float:
        """Two-sided p-value against zero, by Student's t."""
        if self.stderr == 0:
            return 1.0 if self.value == 0 else 0.0
        return float(2 * stats.t.sf(abs(self.value) / self.stderr, self.dof))


def crossed_mean(terms: np.ndarray, *, groups: np.ndarray | None = None) -> Mean:
    """Returns the mean of terms (R, n) over R refits and n examples, both taken as random samples.

    With x_ri = μ + a_r + b_i + e_ri the variance of the grand mean is σ_a²/R + σ_b²/n + σ_e²/(Rn). The sample
    variances of the R row means and of the n column means, divided by R and n, estimate it with the last term counted
    twice, so the error is never understated on average (Owen 2007, "The pigeonhole bootstrap"). With R = 1 the first
    term is missing: the error is then that given this fit. Degrees of freedom after Welch and Satterthwaite.

    Args:
        terms: (R, n) or (n,).
        groups: (n,) group of every example, such as the images that are copies of one: b_i may then be alike within a
            group, so whole groups are what was sampled. The value stays the mean over examples.

    Of a single example, or group, the error is not known: it is infinite.

    Raises:
        UsageError: The terms, or the groups, are not of these shapes, or a term is not a finite number.
    """
    terms = check_log_probs(terms, what="terms", least=1)
    refits, n = terms.shape
    if groups is not None:
        groups = check_labels(groups, n, what="groups", of="example")
    examples, free = _over_examples(terms.mean(0), groups)
    if not free:
        return Mean(float(terms.mean()), math.inf, math.inf)
    fits = _variance(terms.mean(1)) / refits if refits > 1 else 0.0
    total = examples + fits
    dof = math.inf
    if total > 0:
        parts = examples**2 / free + (fits**2 / (refits - 1) if refits > 1 else 0.0)
        dof = total**2 / parts
    return Mean(float(terms.mean()), math.sqrt(total), dof)


def _over_examples(means: np.ndarray, groups: np.ndarray | None) -> tuple[float, float]:
    """The variance of the mean of (n,) that sampling examples causes, and its degrees of freedom.

    With groups of sizes m_g, N in all, and u_g the sum of a group's deviations from the mean, Σ u_g² is scaled to be
    unbiased where members of a group are all alike (by m/(m − 1) for m groups of one size), and has the degrees of
    freedom that Satterthwaite's match of two moments gives it there (m − 1 for one size, fewer where a few groups hold
    most examples; Bell & McCaffrey 2002).
    """
    n = len(means)
    if groups is None:
        return _variance(means) / n, n - 1
    _, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return 0.0, 0.0
    sums = np.bincount(of.ravel(), weights=means - means.mean())
    # With Var(group sum) = m_g² the deviations u = (I − w1ᵀ) sums have covariance D − w dᵀ − d wᵀ + s w wᵀ.
    share, spread = sizes / n, sizes.astype(np.float64) ** 2
    all_spread, crossed, shares = spread.sum(), share @ spread, share @ share
    trace = all_spread * (1 + shares) - 2 * crossed
    squares = (
        spread @ spread
        + 2 * (shares * (spread @ spread) + crossed**2)
        + (all_spread * shares) ** 2
        - 4 * (share @ spread**2)
        + 2 * all_spread * (share**2 @ spread)
        - 4 * all_spread * shares * crossed
    )
    return float(sums @ sums * all_spread / trace) / n**2, float(trace**2 / squares)


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
