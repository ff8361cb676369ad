"""The contrastive lower bound on I(x;h), with a density as its critic (Poole et al. 2019, eq. 12).

Terms of one batch share their negatives, so the batch is what is sampled: the error is over batches, of which there
are at least `LEAST_BATCHES`, and the interval is Student's with one less, stretched downwards near log K, where terms
pile up and the rare low ones may all be missing. With four batches, or two, a standard error
is too small by luck now and then, and the bound seems to exceed what it bounds.
"""

import math
from typing import NamedTuple

import numpy as np

from infoplane.checks import check_labels, check_log_probs, check_numbers, check_whole
from infoplane.errors import UsageError
from infoplane.estimate import SATURATION, Estimate
from infoplane.information.crossed import crossed_mean

#: fewest batches that an error is taken over, and fewest candidates in each that bound more than log 2
LEAST_BATCHES, LEAST_CANDIDATES = 10, 4
#: fewest images, of which no two are copies, of which there is a bound
LEAST_IMAGES = LEAST_BATCHES * LEAST_CANDIDATES


class Batches(NamedTuple):
    """How images are put into batches: K candidates in each, and their number."""

    candidates: int
    count: int


def contrastive_batches(images: int, *, candidates: int, batches: int) -> Batches | None:
    """Returns K and the number of batches for so many images; None below `LEAST_IMAGES`, where there is no bound.

    K shrinks until there are `LEAST_BATCHES` batches; there are that many also where fewer were asked for.

    Args:
        images: Evaluation images of which no two belong together.
        candidates, batches: The most of either.

    Examples:
        >>> contrastive_batches(200, candidates=32, batches=20)  # ten batches at least, so fewer candidates
        Batches(candidates=20, count=10)
    """
    images = check_whole("number of images", images, least=0)
    candidates = check_whole("number of candidates", candidates, least=1)
    batches = check_whole("number of batches", batches, least=1)
    if images < LEAST_IMAGES:
        return None
    k = max(2, min(candidates, images // LEAST_BATCHES))
    return Batches(k, max(LEAST_BATCHES, min(batches, images // k)))


def lowered_words(candidates: int, asked: int, images: int) -> str:
    """Returns what must be said where so many images allow fewer candidates than were asked for."""
    return f"K = {candidates}, not {asked}: {images:,} images make {LEAST_BATCHES} batches of so many"


def one_of_each(groups: np.ndarray | None, images: int) -> np.ndarray:
    """Returns the places (m,) of the first image of every group, in their order: every image without groups.

    Batches are made of these. A copy of an image would be a negative that is as good as the true one, or make two
    batches one; so the pairs are those of images drawn one from each group.

    Args:
        groups: (n,) the group of every image, or None.
        images: n.
    """
    images = check_whole("number of images", images, least=1)
    groups = None if groups is None else check_labels(groups, images, None, what="groups")
    return np.arange(images) if groups is None else np.sort(np.unique(groups, return_index=True)[1])


def contrastive_terms(scores: np.ndarray) -> np.ndarray:
    """Returns log [q(x_i|h_i) / (1/K Σ_k q(x_i|h_k))] for a batch of K pairs: (K, K) log-probabilities -> (K,).

    Rows are images, columns contexts, the diagonal the true pairs. Off the diagonal −∞ will do.

    Raises:
        UsageError: The scores are not square, or one is not a number.

    Examples:
        >>> contrastive_terms(np.array([[-1.0, -np.inf], [-np.inf, -2.0]])).round(3)  # each finds its own of two: log 2
        array([0.693, 0.693])
    """
    scores = check_log_probs(scores, what="contrastive scores", least=1, lowest=True)
    if scores.shape[0] != scores.shape[1]:
        legal = "(K, K), an image in every row, a context in every column"
        raise UsageError("contrastive scores are not square", received=f"shape {scores.shape}", legal=legal)
    check_numbers(np.diagonal(scores), what="scores of true pairs")
    top = scores.max(axis=1, keepdims=True)
    log_mean = top[:, 0] + np.log(np.exp(scores - top).mean(axis=1))
    return np.diagonal(scores) - log_mean


def contrastive_bound(batches: np.ndarray, candidates: int) -> Estimate:
    """Returns the contrastive lower bound on I(x;h), in nats, with its error over batches.

    Args:
        batches: (R, number of batches), each the mean of `contrastive_terms` over one batch of independent pairs. Terms
            of one batch share their negatives, so the standard error is over batches.
        candidates: K; the bound cannot exceed log K, which is its `ceiling`, and is flagged where it comes near.

    Raises:
        UsageError: There are fewer than `LEAST_BATCHES` batches, one is not a finite number, or one exceeds log K.
    """
    candidates = check_whole("number of candidates", candidates, least=1)
    batches = check_log_probs(batches, what="contrastive terms", least=1)
    refits, count = batches.shape
    if count < LEAST_BATCHES:
        raise UsageError(
            "too few batches for a standard error",
            received=count,
            legal=f"at least {LEAST_BATCHES}",
            mend="use fewer candidates or more evaluation examples",
        )
    mean = crossed_mean(batches)
    limit = math.log(candidates)
    if batches.max() > limit + 1e-6:
        received = f"up to {batches.max():g} with {candidates} candidates"
        raise UsageError("contrastive terms exceed log K", received=received, legal=f"at most {limit:.6g}")
    flags = (f"saturated near log {candidates} = {limit:.3f} nats",) if mean.value > SATURATION * limit else ()
    value = min(mean.value, limit)  # which rounding may pass by some 10⁻¹⁵
    return Estimate(value, mean.stderr, "nats", "contrastive", "lower", count, refits, mean.dof, flags, limit)
