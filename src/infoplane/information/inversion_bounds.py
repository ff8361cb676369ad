"""What a fitted q(x|h) says about the information in h (Nash et al. 2019, §4.1).

Everything takes log-probabilities in nats, (R, n): R refits, n held-out examples.
"""

import math

import numpy as np

from infoplane.errors import UsageError
from infoplane.estimate import Estimate
from infoplane.information.crossed import Mean, crossed_mean

#: a contrastive bound this close to its ceiling log K says "at least so much" and no more
SATURATION = 0.95


def negative_cross_entropy(log_probs: np.ndarray) -> Estimate:
    """Returns E log q(x|h): a lower bound on I(x;h) up to the constant H(x), in nats (Nash et al. 2019, eq. 9)."""
    return _estimate(crossed_mean(log_probs), log_probs, kind="nce", bound="lower")


def cross_entropy(log_probs: np.ndarray) -> Estimate:
    """Returns −E log q(x|h): an upper bound on H(x|h), in nats (Nash et al. 2019, eq. 7)."""
    return _estimate(crossed_mean(-np.asarray(log_probs)), log_probs, kind="cross-entropy", bound="upper")


def usable_information(log_probs: np.ndarray, null: np.ndarray, *, ceiling: float | None = None) -> Estimate:
    """Returns CE(x) − CE(x|h) in nats: what q can use of h. It bounds nothing.

    The difference of two upper bounds (predictive V-information, Xu et al. 2020). `null` are the log-probabilities
    of the null-context twins, refit by refit and example by example.

    Args:
        ceiling: A value that I(x;h) cannot exceed, e.g. log n for n distinct h; a result above it is flagged.
    """
    paired = np.atleast_2d(log_probs) - np.atleast_2d(null)
    mean = crossed_mean(paired)
    flags = () if ceiling is None or mean.value <= ceiling else (f"exceeds the possible {ceiling:.3f} nats",)
    return _estimate(mean, paired, kind="usable", bound=None, flags=flags)


def difference(first: np.ndarray, second: np.ndarray) -> Mean:
    """Returns the paired difference of two log-probabilities (R, n): it compares what q could use, bounds nothing."""
    return crossed_mean(np.atleast_2d(first) - np.atleast_2d(second))


def contrastive_terms(scores: np.ndarray) -> np.ndarray:
    """Returns log [q(x_i|h_i) / (1/K Σ_k q(x_i|h_k))] for a batch of K pairs: (K, K) log-probabilities -> (K,).

    Rows are images, columns contexts, the diagonal the true pairs.
    """
    scores = np.asarray(scores, dtype=np.float64)
    top = scores.max(axis=1, keepdims=True)
    log_mean = top[:, 0] + np.log(np.exp(scores - top).mean(axis=1))
    return np.diagonal(scores) - log_mean


def contrastive_bound(batches: np.ndarray, candidates: int) -> Estimate:
    """Returns the contrastive lower bound on I(x;h), in nats (Poole et al. 2019, eq. 12, with q as the critic).

    Args:
        batches: (R, number of batches), each the mean of `contrastive_terms` over one batch of independent pairs. Terms
            of one batch share their negatives, so the standard error is over batches.
        candidates: K; the bound cannot exceed log K, and is flagged where it comes near.
    """
    batches = np.atleast_2d(batches)
    if batches.shape[1] < 2:
        raise UsageError(
            "too few batches for a standard error",
            received=batches.shape[1],
            legal="at least 2",
            mend="use fewer candidates or more evaluation examples",
        )
    mean = crossed_mean(batches)
    limit = math.log(candidates)
    flags = (f"saturated near log {candidates} = {limit:.3f}",) if mean.value > SATURATION * limit else ()
    estimate = _estimate(mean, batches, kind="contrastive", bound="lower", flags=flags)
    return estimate


def _estimate(mean: Mean, terms: np.ndarray, *, kind: str, bound, flags: tuple[str, ...] = ()) -> Estimate:
    refits, n = np.atleast_2d(terms).shape
    return Estimate(mean.value, mean.stderr, "nats", kind, bound, n=n, refits=refits, dof=mean.dof, flags=flags)
