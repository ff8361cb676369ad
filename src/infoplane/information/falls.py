"""How much a layer loses from its peak to the end of training, and how much of that chance alone would show."""

import math
from dataclasses import dataclass

import numpy as np

from infoplane.checks import LEAST, check_numbers, check_whole
from infoplane.claims import FITS_FOR_A_CLAIM, ONE_NETWORK, Hypothesis, claims
from infoplane.errors import UsageError
from infoplane.information.crossed import count, crossed_mean, over_examples
from infoplane.information.pooling import pooled, residuals

#: constant curves that are drawn to see what chance does: at least so many, and more until so many fell as far
DRAWS, EXCEEDING, MOST_DRAWS = 20_000, 20, 60_000
#: points of curves that are drawn at once, whatever their length
AT_ONCE = 500_000
#: verdict -> its words where a fall is what is asked about
FALL_WORDS = {
    "falls": f"compression, {ONE_NETWORK}",
    "not told apart": f"no compression to be seen, {ONE_NETWORK}",
}


@dataclass(frozen=True)
class Compression:
    """The fall of a layer's −CE(x|h) from its peak to its last checkpoint, in nats.

    Attributes:
        peak: Position of the checkpoint with the highest value on validation images.
        value: The fall on evaluation images, 0 if the peak is the end.
        stderr: Its standard error given the peak, over examples and refits.
        null: What the same statistic is on average where the curve is constant.
        null_stderr: Its standard deviation there.
        p: Share of constant curves whose fall is at least as large; None of a single fit, whose error does not cover
            retraining.
        paired: p of the paired difference of peak and end, its error `pooled`; likewise.
        refits: Fits behind every point.
        n: Evaluation images, or groups of them where some belong together.
    """

    peak: int
    value: float
    stderr: float
    null: float | None
    null_stderr: float | None
    p: float | None
    paired: float | None
    refits: int
    n: int

    @property
    def hypothesis(self) -> Hypothesis:
        """What is tested: that what the density can use falls, by the larger of both p-values."""
        known = [p for p in (self.p, self.paired) if p is not None]
        highest = self.value == 0 and self.refits >= FITS_FOR_A_CLAIM
        still = f"still highest at the end, {ONE_NETWORK}" if highest else ""
        return Hypothesis(-self.value, max(known, default=None), self.refits, barred=still, training=True)

    @property
    def verdict(self) -> str:
        """What may be said of it if it is all that is tested, in words; a run corrects for the rest."""
        (claim,) = claims([self.hypothesis])
        return FALL_WORDS.get(claim.verdict, claim.words)


def compression(
    validation: np.ndarray, evaluation: np.ndarray, *, seed: int = 0, groups: np.ndarray | None = None
) -> Compression:
    """Returns the fall from the peak to the end of a curve over checkpoints.

    The highest of several noisy points is too high on average. So the peak is chosen on validation images, and the fall
    is measured on evaluation images. Both still share the densities, one of which may have turned out well by chance:
    what that makes of a constant curve is found by drawing such curves, with the fits' own spread.

    Args:
        validation: (C, R) means over validation images of log q(x|h), per checkpoint in training order and refit.
        evaluation: (C, R, n) log q(x|h) of the evaluation images.
        seed: Of the draws.
        groups: (n,) of images that belong together: errors are over groups then.

    Raises:
        UsageError: The shapes do not fit together, or a number is not finite.

    Source: the question is Darlow & Storkey 2018's (section 6); the peak on validation images and the constant curve
    answer the bias of a maximum.
    """
    validation, evaluation = (
        check_numbers(values, what=f"log-probabilities of {part} images", kinds="iuf")
        for values, part in ((validation, "validation"), (evaluation, "evaluation"))
    )
    if evaluation.ndim != 3 or validation.shape != evaluation.shape[:2] or evaluation.shape[2] < LEAST:
        raise UsageError(
            "the points of a curve do not fit together",
            received=f"shapes {validation.shape} and {evaluation.shape}",
            legal=f"(checkpoints, refits) and (checkpoints, refits, n), n of {LEAST} or more",
        )
    seed = check_whole("seed", seed, least=0)
    points, refits = evaluation.shape[:2]
    n = count(evaluation[0], groups)
    peak, last = int(validation.mean(1).argmax()), points - 1
    mean = crossed_mean(evaluation[peak] - evaluation[last], groups=groups)
    if refits < 2 or points < 2:
        return Compression(peak, mean.value, mean.stderr, None, None, None, None, refits, n)
    means = evaluation.mean(2)
    # From sampling images, of the mean difference of a checkpoint and the last: over checkpoints.
    sampling = math.sqrt(np.mean([over_examples(each - evaluation[-1], groups).variance for each in evaluation[:-1]]))
    # Seeds are shared along the curve, so what a refit has everywhere falls out of every difference.
    v, e = residuals(validation), residuals(means)
    free = (points - 1) * (refits - 1)
    covariance = np.array([[(v * v).sum(), (v * e).sum()], [(v * e).sum(), (e * e).sum()]]) / (free * refits)
    falls = _constant_curves(covariance, free, points, sampling, mean.value, seed)
    p = (1 + int((falls >= mean.value).sum())) / (1 + len(falls))
    null = (float(falls.mean()), float(falls.std()))
    contrast = (np.arange(points) == peak).astype(float) - (np.arange(points) == last)
    paired = pooled(mean, means, contrast).p_value
    return Compression(peak, mean.value, mean.stderr, *null, p, paired, refits, n)


def _constant_curves(
    covariance: np.ndarray, free: int, points: int, sampling: float, seen: float, seed: int
) -> np.ndarray:
    """The same statistic of constant curves of so many points: as many as tell how rare a fall like the one seen is."""
    generator = np.random.default_rng(seed)
    size, last, found, exceeding = max(1, AT_ONCE // points), points - 1, [], 0
    while (drawn := sum(map(len, found))) < DRAWS or (exceeding < EXCEEDING and drawn < MOST_DRAWS):
        size = min(size, (DRAWS if drawn < DRAWS else MOST_DRAWS) - drawn)
        curves = generator.multivariate_normal(np.zeros(2), covariance, size=(size, points), method="eigh")
        # The fits' spread is itself estimated from a few of them: without that, chance would look smaller than it is.
        curves *= np.sqrt(free / generator.chisquare(free, size=(size, 1, 1)))
        at = curves[:, :, 0].argmax(1)
        falls = curves[np.arange(size), at, 1] - curves[:, last, 1]
        falls += np.where(at == last, 0.0, sampling * generator.standard_normal(size))
        exceeding += int((falls >= seen).sum())
        found.append(falls)
    return np.concatenate(found)
