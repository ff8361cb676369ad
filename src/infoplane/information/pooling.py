"""The spread of refits, pooled over the checkpoints of a layer: three alone measure it by two degrees of freedom."""

import math
from collections.abc import Sequence

import numpy as np
from scipy import optimize

from infoplane.arguments import checked
from infoplane.checks import check_numbers
from infoplane.errors import UsageError
from infoplane.information.crossed import SMALLEST, Mean, Part, check_size, over_fits, p_of

#: size of a test -> how many times as often it may err at the worst, whatever the spreads of the checkpoints are
LENT = {0.05: 1.15, 0.001: 2.0}


@checked
def pooled(own: Mean, table: np.ndarray, contrast: Sequence[float] | np.ndarray) -> Mean:
    """Returns the same mean with the refits' part of its error taken from all checkpoints of its layer, within limits.

    Refit r at checkpoint c has the mean x_rc = μ_c + A_r + B_rc: fits of one refit share their seeds, and a start, so
    what they share does not average away over checkpoints. For Σ_c k_c x_c the refits' variance is

        [ (Σk)² σ_A² + Σk² σ_B² ] / R  =  [ (Σk)²/C · MS_A + (Σk² − (Σk)²/C) · MS_B ] / R,

    with R − 1 and (C − 1)(R − 1) degrees of freedom. Those of the second are counted as Satterthwaite's match does,
    (R − 1)(C − 1)/C · (Σs_c)²/Σs_c² of the checkpoints' own sums of squares s_c, so that a few loud checkpoints do not
    count as many. The pooled error is never below the row's own.

    Pooling takes for granted that spreads are alike, and three refits cannot tell: a checkpoint five times as loud as
    the others looks as quiet as they are in one case of nine, and no test before the test sees that. So the pool may
    only sharpen what the row says by itself, and only so far: with p₀ by the row's own error and R − 1, and p₁ by the
    pooled one,

        p = min(p₀, max(p₁, l(p₀))),    so that    P(p ≤ α) ≤ P(p₀ ≤ α') with l(α') = α

    whatever the spreads are: α' is 1.15 α at 5 %, 2 α at .1 % and below, a power of α between, and α from 14 % on.

    Args:
        own: The mean and its own error: of (R, n) terms, over all R refits of the table.
        table: (C, R) means over examples, per checkpoint and refit, of what the mean is a contrast of.
        contrast: (C,) k: one 1 for a value at a checkpoint, a 1 and a −1 for a change between two.
    """
    table = check_numbers(table, what="means of checkpoints", kinds="iuf")
    contrast = check_numbers(contrast, what="contrast")
    check_size(table, "means of checkpoints")
    check_size(contrast, "contrast")
    if table.ndim != 2 or contrast.shape != table.shape[:1]:
        received = f"shapes {table.shape} and {contrast.shape}"
        raise UsageError("means and contrast do not pair", received=received, legal="(C, R) and (C,)")
    checkpoints, refits = table.shape
    if refits < 2 or checkpoints < 2 or len(own.parts) != 2:
        return own
    by_itself = own.p_value
    least = least_p(by_itself)
    if least == by_itself:
        return own
    fits, examples = own.parts
    parts = refits_parts(table, contrast)
    spread = sum(part.variance for part in parts)
    if spread == 0:
        return own
    louder = max(1.0, fits.variance / spread)
    found = Mean.of(own.value, [*(Part(part.variance * louder, part.dof) for part in parts), examples])
    if found.p_value >= by_itself:
        return own
    return found if found.p_value >= least else _with_p(found, least)


def least_p(own: float) -> float:
    """Returns the smallest p-value that pooling may make of one by the row's own error: l of `pooled`."""
    (upper, more), (lower, most) = LENT.items()
    power = 1 + math.log(most / more) / math.log(lower / upper)
    between = upper * (own / (more * upper)) ** (1 / power)
    return min(own, max(own / most, between))


def _with_p(mean: Mean, p: float) -> Mean:
    """The same mean and error with so few degrees of freedom that Student's t gives a p-value larger than its own."""
    errors = abs(mean.value) / mean.stderr

    def too_far(log_dof: float) -> float:
        by_student = p_of(errors, (Part(1.0, math.exp(log_dof)),))
        return math.log(max(by_student, SMALLEST)) - math.log(p)

    # p is above that of the pooled parts, so above that of the most degrees of freedom among them too.
    most = math.log(max(part.dof for part in mean.parts or (Part(1.0, mean.dof),)))
    found = optimize.root_scalar(too_far, bracket=(-10.0, most), method="brentq", xtol=1e-12)
    return Mean(mean.value, mean.stderr, math.exp(found.root))


def refits_parts(table: np.ndarray, contrast: np.ndarray) -> list[Part]:
    """The parts of the variance of Σ_c k_c x_c that refitting causes, from a (C, R) table: see `pooled`."""
    checkpoints, refits = table.shape
    squares = (residuals(table) ** 2).sum(1)
    within = squares.sum() / ((checkpoints - 1) * (refits - 1))
    shared = contrast.sum() ** 2 / checkpoints
    parts = [Part(shared * checkpoints * over_fits(table.mean(0)).variance, refits - 1)] if shared else []
    if squares.sum() > 0 and (rest := (contrast @ contrast - shared) / refits) > 0:
        effective = squares.sum() ** 2 / (squares @ squares)
        parts.append(Part(rest * within, (refits - 1) * (checkpoints - 1) / checkpoints * effective))
    return parts


def residuals(table: np.ndarray) -> np.ndarray:
    """What is left of (…, C, R) without the means of rows and columns."""
    rows, columns = table.mean(-1, keepdims=True), table.mean(-2, keepdims=True)
    return table - rows - columns + table.mean((-2, -1), keepdims=True)
