"""Means over refits and examples with a standard error that covers both, and the test that such an error allows."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Annotated, Any

import numpy as np
from annotated_types import Gt, Le
from scipy import optimize, special

from infoplane.arguments import check_argument
from infoplane.checks import check_labels, check_log_probs, check_numbers
from infoplane.errors import UsageError

#: the size of test for which `Mean.dof` is stated: that of 95 % intervals
SIZE = 0.05
#: the exponents of `reach`: the safe one, and by how much it is lower where `SIZE` is tested
SAFE, EASED = 2.0, 1.5
#: the largest terms, whose squares can be summed up
LARGEST = 1e140
#: an error below this share of its mean is one of arithmetic
ROUNDING = 1e-12
#: no p-value of several parts is below
SMALLEST = 1e-300


@dataclass(frozen=True)
class Part:
    """A part of a squared standard error: its estimate and the degrees of freedom that this has."""

    variance: float
    dof: float


@dataclass(frozen=True)
class Mean:
    """A mean and its standard error.

    Attributes:
        value: The mean.
        stderr: Its standard error.
        dof: Degrees of freedom with which Student's t gives the 95 % interval.
        parts: What the squared error is the sum of; empty: of one part, with those degrees of freedom.
    """

    value: float
    stderr: float
    dof: float
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, value: float, parts: Sequence[Part]) -> "Mean":
        """Returns the mean whose error has these parts; those of no degrees of freedom are unknown and left out."""
        known = tuple(part for part in parts if part.dof > 0)
        stderr = math.sqrt(sum(part.variance for part in known))
        if stderr < ROUNDING * abs(value):  # that of the sum, not of the terms
            stderr = 0.0
        return cls(value, stderr, equivalent_dof(known, SIZE), known if len(known) > 1 else ())

    @cached_property
    def p_value(self) -> float:
        """Two-sided p-value against zero: the size of the test that `value` just fails (see `reach`)."""
        if math.isinf(self.stderr):
            return 1.0
        if self.stderr == 0:
            return 1.0 if self.value == 0 else 0.0
        return p_of(abs(self.value) / self.stderr, self.parts or (Part(self.stderr**2, self.dof),))


def reach(parts: Sequence[Part], size: float) -> float:
    """Returns how many standard errors a mean may be off before a two-sided test of this size rejects.

    The error is the sum of parts with few and with many degrees of freedom: three fits measure their own spread by two.
    Welch and Satterthwaite's match of moments then fails in the tail: fits that are alike by chance make the error
    small and its degrees of freedom many at once, and P(p < 10⁻⁴) was 50 to 90 times what it says. Here the reach is
    the power mean, weighted by the parts of the variance, of Student's quantiles t_k of each part by itself,

        (Σ w_k t_k^q)^(1/q),    q = 2 − 1.5 √(size/.05), but at least .5.

    At q = 2 (Banerjee 1960) the size is never exceeded: P(χ²_1 ≤ y) is concave in y, so that
    P(χ²_1 ≤ Σ λ_k t_k² u_k) ≥ Σ λ_k P(χ²_1 ≤ t_k² u_k), whatever the true shares λ and whether or not the estimates u
    depend on each other. At 5 % it is then only half used where the parts are alike, while q = 1 (Cochran 1964) is too
    eager far out. So q rises to 2 as the size falls; by quadrature over all shares, with three fits, the actual size
    is between 0 and 1.12 times the nominal one from 5 % down to 10⁻⁶, and .67 to 1.04 times at 5 %. With a part of a
    single degree of freedom q is 2.

    Variances may be arrays of one shape, and so is then what is returned.

    Source: Banerjee, "On confidence interval for two-means problem" (Sankhyā 22, 1960); Cochran (Biometrics 20, 1964).
    """
    quantiles = [_quantile(part.dof, size) for part in parts]
    total, top = sum(part.variance for part in parts), max(quantiles)
    if total == 0 if isinstance(total, float) else np.all(total == 0):
        return top
    power = SAFE if min(part.dof for part in parts) < 2 else SAFE - EASED * math.sqrt(min(1.0, size / SIZE))
    mean = sum(part.variance / total * (t / top) ** power for part, t in zip(parts, quantiles, strict=True))
    return top * mean ** (1 / power)


def p_of(errors: float, parts: Sequence[Part]) -> float:
    """Returns the size of the two-sided test whose `reach` is so many standard errors."""
    dofs = [part.dof for part in parts if part.variance > 0] or [part.dof for part in parts]
    low, high = _tail(max(dofs), errors), _tail(min(dofs), errors)
    low = max(low, SMALLEST)
    if high <= low * (1 + 1e-12):
        return min(1.0, high)

    def short(log_size: float) -> float:
        return reach(parts, math.exp(log_size)) - errors

    if short(math.log(low)) <= 0:
        return low
    return math.exp(_root(short, math.log(low), math.log(high)))


def equivalent_dof(parts: Sequence[Part], size: float) -> float:
    """Returns the degrees of freedom with which Student's t has the `reach` of a test of this size.

    Raises:
        UsageError: The size is none, or there are no parts.
    """
    if type(size) is not float or not 0 < size <= 1:  # said at length only where it is wrong, or another type
        check_argument("the size of the test", size, Annotated[float, Gt(0), Le(1)])
    if not parts:
        raise UsageError("there are no parts of a variance", received="none", legal="one or more")
    dofs = [part.dof for part in parts if part.variance > 0] or [part.dof for part in parts]
    low, high = min(dofs), max(dofs)
    # Next to 1 all quantiles are 0; the degrees of freedom there are those a little further out.
    size = min(size, 0.99)
    wanted = reach(parts, size)
    if _quantile(high, size) >= wanted:
        return high
    if _quantile(low, size) <= wanted:
        return low

    def far(inverse: float) -> float:  # in 1/dof, so that infinitely many are a point like any other
        return _quantile(1 / inverse if inverse > 0 else math.inf, size) - wanted

    return 1 / _root(far, 1 / high, 1 / low)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that changes its sign between two points is 0."""
    root: Any = optimize.brentq(function, low, high, xtol=1e-14, disp=False)
    return float(root)


@lru_cache(maxsize=256)  # that of the usual size of test is asked for with every error
def _quantile(dof: float, size: float) -> float:
    """What Student's t exceeds in absolute value with this probability."""
    return float(-special.ndtri(size / 2) if math.isinf(dof) else -special.stdtrit(dof, size / 2))


def _tail(dof: float, errors: float) -> float:
    """The probability that Student's t exceeds so much in absolute value."""
    return float(2 * (special.ndtr(-errors) if math.isinf(dof) else special.stdtr(dof, -errors)))


def crossed_mean(terms: np.ndarray, *, groups: np.ndarray | None = None) -> Mean:
    """Returns the mean of terms (R, n) over R refits and n examples, both taken as random samples.

    With x_ri = μ + a_r + b_i + e_ri the variance of the grand mean is σ_a²/R + σ_b²/n + σ_e²/(Rn). The sample
    variances of the R row means and of the n column means, divided by R and n, estimate it with the last term counted
    twice, so the error is never understated on average (Owen 2007, "The pigeonhole bootstrap"). With R = 1 the first
    term is missing: the error is then that given this fit. The two parts have R − 1 and n − 1 degrees of freedom, which
    `reach` combines.

    Args:
        terms: (R, n) or (n,).
        groups: (n,) group of every example, such as the images that are copies of one: b_i may then be alike within a
            group, so whole groups are what was sampled. The value stays the mean over examples.

    Of a single example, or group, the error is not known: it is infinite.

    Raises:
        UsageError: The terms, or the groups, are not of these shapes, or a term is not a finite number, or above 1e140.

    Examples:
        >>> mean = crossed_mean(np.array([[1.0, 2.0, 3.0], [3.0, 4.0, 5.0]]))
        >>> mean.value, round(mean.stderr, 3)  # √(2/2 + 1/3), by refits and examples
        (3.0, 1.155)
    """
    terms = check_log_probs(terms, what="terms", least=1)
    if groups is not None:
        groups = check_labels(groups, terms.shape[1], None, what="groups", of="example")
    return _crossed(terms, groups)


def mean_of_checked(terms: np.ndarray, groups: np.ndarray | None) -> Mean:
    """Returns `crossed_mean` of terms (R, n) from numbers that are checked: tables hold thousands of them."""
    # Of numbers that were finite, a difference may not be.
    return _crossed(terms, None) if groups is None and _can_be_squared(terms) else crossed_mean(terms, groups=groups)


def check_size(terms: np.ndarray, what: str = "terms") -> None:
    """Raises UsageError for numbers so large that their spread is none that a computer holds."""
    if not _can_be_squared(terms):
        received, legal = f"up to {np.abs(terms).max():g} in size", f"at most {LARGEST:g}"
        raise UsageError(f"{what} are too large", received=received, legal=legal)


def _can_be_squared(terms: np.ndarray) -> bool:
    return terms.min() >= -LARGEST and terms.max() <= LARGEST  # not NaN either


def _crossed(terms: np.ndarray, groups: np.ndarray | None) -> Mean:
    check_size(terms)
    value, fits, examples = float(terms.mean()), over_fits(terms.mean(1)), over_examples(terms, groups)
    return Mean.of(value, (fits, examples)) if examples.dof else Mean(value, math.inf, math.inf)


def mean_over_networks(terms: np.ndarray, *, groups: np.ndarray | None = None) -> Mean:
    """Returns the mean of terms (K, R, n) over K networks of other seeds, R refits and n examples, all three sampled.

    As `crossed_mean`, with the sample variance of the K network means, divided by K, as a third part of the squared
    error. Fits of one refit have one seed, whichever network they are of, so what they share does not average away over
    networks; what is of a network and a refit alone is counted more than once, so that the error is never understated
    on average. Groups (n,) are as there.

    Raises:
        UsageError: The terms are not of this shape, or not finite.
    """
    terms = check_numbers(terms, what="terms", kinds="iuf")
    if terms.ndim != 3 or not all(terms.shape):
        raise UsageError("terms are not over networks", received=f"shape {terms.shape}", legal="(K, R, n)")
    check_size(terms)
    flat = terms.reshape(-1, terms.shape[2])
    if groups is not None:
        groups = check_labels(groups, flat.shape[1], None, what="groups", of="example")
    parts = over_fits(terms.mean((1, 2))), over_fits(terms.mean((0, 2))), over_examples(flat, groups)
    value = float(terms.mean())
    return Mean.of(value, parts) if any(part.dof for part in parts) else Mean(value, math.inf, math.inf)


def mean_over_parts(terms: Sequence[np.ndarray], groups: Sequence[np.ndarray]) -> Mean:
    """Returns the mean over R fits of the means of terms (n_r,), each fit's on a part of the examples of its own.

    As `crossed_mean`, whose fits have the same examples: fits count by their means, and an example, or group, by all
    terms that it has in any of the fits, so that one which several of them share is one.

    Args:
        terms: Of each fit (n_r,).
        groups: Of each fit (n_r,) the group of every example, or its number; the same in all fits.
    """
    means = np.array([each.mean() for each in terms])
    examples = over_examples(np.concatenate(terms)[None], np.concatenate(groups))
    value = float(means.mean())
    return Mean.of(value, (over_fits(means), examples)) if examples.dof else Mean(value, math.inf, math.inf)


def count(terms: np.ndarray, groups: np.ndarray | None) -> int:
    """Returns how many independent examples stand behind terms (R, n) or (n,): their groups, where there are any."""
    examples = check_log_probs(terms, what="terms", least=1, lowest=True).shape[1]
    if groups is None:
        return examples
    return len(np.unique(check_labels(groups, examples, None, what="groups", of="example")))


def over_fits(means: np.ndarray) -> Part:
    """The part of the variance of the mean of (R,) fits that refitting causes."""
    refits = len(means)
    return Part(_variance(means) / refits, refits - 1)


def check_parted(n: int) -> None:
    """Raises UsageError where examples are of fewer than two groups, of which no error can be had."""
    if n < 2:
        mend = "more examples, or groups that part them"
        raise UsageError("all examples are of one group", received=f"{n} group", legal="2 or more", mend=mend)


def over_examples(terms: np.ndarray, groups: np.ndarray | None = None) -> Part:
    """The part of the variance of the mean of (R, n) that sampling examples causes.

    With groups of sizes m_g, N in all, and u_g the sum of a group's deviations from the mean, Σ u_g² is scaled to be
    unbiased where members of a group are all alike (by m/(m − 1) for m groups of one size), and has the degrees of
    freedom that Satterthwaite's match of two moments gives it there (m − 1 for one size, fewer where a few groups hold
    most examples; Bell & McCaffrey 2002).
    """
    means = terms.mean(0)
    n = len(means)
    if groups is None:
        return Part(_variance(means) / n, n - 1)
    _, of, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return Part(0.0, 0.0)
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
    return Part(float(sums @ sums * all_spread / trace) / n**2, float(trace**2 / squares))


def _variance(values: np.ndarray) -> float:
    """That of a sample (n,): as `numpy.var` computes it, which takes twice as long for so few."""
    if len(values) < 2:
        return 0.0
    far = values - values.sum() / len(values)
    return float((far * far).sum() / (len(values) - 1))
