"""What a fitted q(x|h) says about the information in h (Nash et al. 2019, §4.1).

Everything takes log-probabilities in nats, (R, n): R refits, n held-out examples, at least two; (n,) is one fit. They
are arrays or tensors of finite numbers in float32 or better, none of them above 0, since images are discrete, and
nothing is broadcast: anything else is a UsageError.
Where some examples belong together (copies, frames of one scene), `groups` (n,) says so: errors are over groups then,
and groups are what is counted.
"""

import numpy as np

from infoplane.checks import check_log_probs, check_numbers, check_same_shape
from infoplane.estimate import Estimate
from infoplane.information.crossed import Mean, check_parted, count, mean_of_checked

#: how far above 0 rounding may lift an image's log-probability: by float32's 1e-7 for each of up to 100,000 sub-pixels
ROUNDING = 1e-2


def negative_cross_entropy(log_probs: np.ndarray, *, groups: np.ndarray | None = None) -> Estimate:
    """Returns E log q(x|h): a lower bound on I(x;h) up to the constant H(x), in nats (Nash et al. 2019, eq. 9).

    Examples:
        >>> print(negative_cross_entropy(np.log([0.5, 0.25])))
        -1.04 ± 0.35 nats (negative cross-entropy, lower bound, n = 2, single fit)
    """
    return _estimate(check_log_probs(log_probs, over=ROUNDING), groups, kind="nce", bound="lower")


def cross_entropy(log_probs: np.ndarray, *, groups: np.ndarray | None = None) -> Estimate:
    """Returns −E log q(x|h): an upper bound on H(x|h), in nats (Nash et al. 2019, eq. 7)."""
    return _estimate(-check_log_probs(log_probs, over=ROUNDING), groups, kind="cross-entropy", bound="upper")


def usable_information(
    log_probs: np.ndarray, null: np.ndarray, *, ceiling: float | None = None, groups: np.ndarray | None = None
) -> Estimate:
    """Returns CE(x) − CE(x|h) in nats: what q can use of h. It bounds nothing.

    The difference of two upper bounds (predictive V-information, Xu et al. 2020). `null` are the log-probabilities
    of the null-context twins, refit by refit and example by example.

    Args:
        ceiling: A value that I(x;h) cannot exceed, e.g. log n for n distinct h; a result above it is flagged.

    Examples:
        >>> given_h, null = np.log([0.5, 0.25]), np.log([0.25, 0.25])  # h tells one bit of the first image
        >>> print(usable_information(given_h, null))
        0.35 ± 0.35 nats (usable information, n = 2, single fit)
    """
    paired = _paired(log_probs, null, "log-probabilities of a density and its twin", over=ROUNDING)
    if ceiling is not None:
        ceiling = float(check_numbers(ceiling, what="ceilings").item())
    flags = () if ceiling is None or paired.mean() <= ceiling else (f"exceeds the possible {ceiling:.3f} nats",)
    return _estimate(paired, groups, kind="usable", bound=None, flags=flags)


def difference(first: np.ndarray, second: np.ndarray, *, groups: np.ndarray | None = None) -> Mean:
    """Returns the paired difference of two log-probabilities (R, n): it compares what q could use, bounds nothing.

    Args:
        groups: (n,) group of every example, as in `crossed_mean`.
    """
    return mean_of_checked(_paired(first, second, "two log-probabilities"), groups)


def _paired(first: np.ndarray, second: np.ndarray, what: str, over: float | None = None) -> np.ndarray:
    """The difference of two (R, n), fit by fit and example by example."""
    first, second = check_log_probs(first, over=over), check_log_probs(second, over=over)
    check_same_shape(first, second, what=what)
    return first - second


def _estimate(
    terms: np.ndarray, groups: np.ndarray | None, *, kind: str, bound, flags: tuple[str, ...] = ()
) -> Estimate:
    mean, (refits, n) = mean_of_checked(terms, groups), terms.shape
    if groups is not None:
        n = count(terms, groups)
        check_parted(n)
    return Estimate(mean.value, mean.stderr, "nats", kind, bound, n=n, refits=refits, dof=mean.dof, flags=flags)
