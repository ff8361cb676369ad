"""Means over refits and examples with a standard error that covers both."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats


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


def crossed_mean(terms: np.ndarray) -> Mean:
    """Returns the mean of terms (R, n) over R refits and n examples, both taken as random samples.

    With x_ri = μ + a_r + b_i + e_ri the variance of the grand mean is σ_a²/R + σ_b²/n + σ_e²/(Rn). The sample
    variances of the R row means and of the n column means, divided by R and n, estimate it with the last term counted
    twice, so the error is never understated on average (Owen 2007, "The pigeonhole bootstrap"). With R = 1 the first
    term is missing: the error is then that given this fit. Degrees of freedom after Welch and Satterthwaite.

    Args:
        terms: (R, n) or (n,).
    """
    terms = np.atleast_2d(np.asarray(terms, dtype=np.float64))
    refits, n = terms.shape
    examples = _variance(terms.mean(0)) / n
    fits = _variance(terms.mean(1)) / refits if refits > 1 else 0.0
    total = examples + fits
    dof = math.inf
    if total > 0 and n > 1:
        parts = examples**2 / (n - 1) + (fits**2 / (refits - 1) if refits > 1 else 0.0)
        dof = total**2 / parts
    return Mean(float(terms.mean()), math.sqrt(total), dof)


def _variance(values: np.ndarray) -> float:
    return float(values.var(ddof=1)) if len(values) > 1 else 0.0
