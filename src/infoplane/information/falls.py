"""How much a layer loses from its peak to the end of training, and how much of that chance alone would show."""

import math
from dataclasses import dataclass

import numpy as np

from infoplane.checks import LEAST, check_numbers, check_whole
from infoplane.errors import UsageError
from infoplane.estimate import CLAIM, FITS_FOR_A_CLAIM, TOO_FEW_FITS
from infoplane.information.crossed import count, crossed_mean

#: curves that are drawn to see what chance does
DRAWS = 20_000


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
        paired: p of the paired difference of peak and end, whose error knows these two checkpoints alone; likewise.
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
    def verdict(self) -> str:
        """What may be said, in words: whether what the density can use falls, or why nothing may be said."""
        if self.p is None or self.refits < FITS_FOR_A_CLAIM:
            return TOO_FEW_FITS
        if self.value == 0:
            return "still highest at the end"
        if self.p < CLAIM and self.paired is not None and self.paired >= CLAIM:
            return "no claim: peak and end alone are not told apart"
        return "compression" if self.p < CLAIM else "no compression to be seen"


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
    n = count(evaluation, groups)
    peak, last = int(validation.mean(1).argmax()), points - 1
    terms = evaluation[peak] - evaluation[last]
    mean = crossed_mean(terms, groups=groups)
    if refits < 2 or points < 2:
        return Compression(peak, mean.value, mean.stderr, None, None, None, None, refits, n)
    over_examples = _error_over_examples(evaluation, groups)
    # Seeds are shared along the curve, so what a refit has everywhere falls out of every difference.
    v, e = _residuals(validation), _residuals(evaluation.mean(2))
    free = (points - 1) * (refits - 1)
    covariance = np.array([[(v * v).sum(), (v * e).sum()], [(v * e).sum(), (e * e).sum()]]) / (free * refits)
    generator = np.random.default_rng(seed)
    drawn = generator.multivariate_normal(np.zeros(2), covariance, size=(DRAWS, points), method="eigh")
    # The fits' spread is itself estimated from a few of them: without that, chance would look smaller than it is.
    drawn *= np.sqrt(free / generator.chisquare(free, size=(DRAWS, 1, 1)))
    at = drawn[:, :, 0].argmax(1)
    falls = drawn[np.arange(DRAWS), at, 1] - drawn[:, last, 1]
    falls += np.where(at == last, 0.0, over_examples * generator.standard_normal(DRAWS))
    p = (1 + int((falls >= mean.value).sum())) / (1 + DRAWS)
    null = (float(falls.mean()), float(falls.std()))
    return Compression(peak, mean.value, mean.stderr, *null, p, mean.p_value, refits, n)


def _residuals(table: np.ndarray) -> np.ndarray:
    """What is left of (C, R) without the means of rows and columns."""
    return table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()


def _error_over_examples(evaluation: np.ndarray, groups: np.ndarray | None) -> float:
    """The standard error, from images alone, of a difference between a checkpoint and the last, over checkpoints."""
    means = evaluation.mean(1)  # (C, n)
    return math.sqrt(np.mean([crossed_mean(each - means[-1], groups=groups).stderr ** 2 for each in means[:-1]]))
