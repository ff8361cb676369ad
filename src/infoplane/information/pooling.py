"""The spread of refits, pooled over the checkpoints of a layer: three alone measure it by two degrees of freedom."""

import functools
from collections.abc import Sequence

import numpy as np

from infoplane.arguments import checked
from infoplane.checks import check_numbers
from infoplane.errors import UsageError
from infoplane.information.crossed import Mean, Part, over_fits

#: checkpoints are pooled unless their spreads differ by more than they would in this share of equal ones
UNLIKE = 0.5
#: curves of equal spread that are drawn to know that
DRAWS = 2000


@checked
def pooled(own: Mean, table: np.ndarray, contrast: Sequence[float] | np.ndarray) -> Mean:
    """Returns the same mean with the refits' part of its error taken from all checkpoints of its layer.

    Refit r at checkpoint c has the mean x_rc = μ_c + A_r + B_rc: fits of one refit share their seeds, and a start, so
    what they share does not average away over checkpoints. For Σ_c k_c x_c the refits' variance is

        [ (Σk)² σ_A² + Σk² σ_B² ] / R  =  [ (Σk)²/C · MS_A + (Σk² − (Σk)²/C) · MS_B ] / R,

    with R − 1 and (C − 1)(R − 1) degrees of freedom. Those of the second are counted as Satterthwaite's match does,
    (R − 1)(C − 1)/C · (Σs_c)²/Σs_c² of the checkpoints' own sums of squares s_c, so that a few loud checkpoints do not
    count as many. Pooling takes for granted that spreads are alike. Where they visibly are not (Bartlett's ratio, in
    the upper half of what equal spreads give: a test before a test must be eager, Bancroft 1964) the row's own error
    stands, with R − 1; and the pooled error is never below the row's own.

    Args:
        own: The mean and its own error: of (R, n) terms, over all R refits of the table.
        table: (C, R) means over examples, per checkpoint and refit, of what the mean is a contrast of.
        contrast: (C,) k: one 1 for a value at a checkpoint, a 1 and a −1 for a change between two.
    """
    table = check_numbers(table, what="means of checkpoints", kinds="iuf")
    contrast = check_numbers(contrast, what="contrast")
    if table.ndim != 2 or contrast.shape != table.shape[:1]:
        received = f"shapes {table.shape} and {contrast.shape}"
        raise UsageError("means and contrast do not pair", received=received, legal="(C, R) and (C,)")
    checkpoints, refits = table.shape
    if refits < 2 or checkpoints < 2 or len(own.parts) != 2:
        return own
    fits, examples = own.parts
    parts = [*refits_parts(table, contrast), examples]
    spread = sum(part.variance for part in parts[:-1])
    if spread == 0 or unlike(table):
        return own
    louder = max(1.0, fits.variance / spread)
    return Mean.of(own.value, [*(Part(part.variance * louder, part.dof) for part in parts[:-1]), examples])


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


def unlike(table: np.ndarray) -> bool:
    """Whether the spreads of refits differ visibly between the checkpoints of a (C, R) table."""
    if len(table) < 3:
        return False  # those of two are one and the same
    return bool(_bartlett(residuals(table)) > _expected(*table.shape))


def residuals(table: np.ndarray) -> np.ndarray:
    """What is left of (…, C, R) without the means of rows and columns."""
    rows, columns = table.mean(-1, keepdims=True), table.mean(-2, keepdims=True)
    return table - rows - columns + table.mean((-2, -1), keepdims=True)


def _bartlett(left: np.ndarray) -> np.ndarray:
    """log of the mean of the rows' sums of squares minus the mean of their logs: 0 where all are one, else above."""
    squares = (left**2).sum(-1)
    with np.errstate(divide="ignore"):
        return np.log(squares.mean(-1)) - np.log(squares).mean(-1)


@functools.cache
def _expected(checkpoints: int, refits: int) -> float:
    """What that exceeds in a share `UNLIKE` of tables of equal spreads."""
    generator = np.random.default_rng(0)
    drawn = [_bartlett(residuals(generator.standard_normal((checkpoints, refits)))) for _ in range(DRAWS)]
    return float(np.quantile(drawn, 1 - UNLIKE))
