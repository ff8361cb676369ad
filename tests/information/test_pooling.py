"""The refits' spread of a layer, pooled over its checkpoints: by hand, by simulation, and how far it may go."""

import math

import numpy as np
import pytest
from scipy import stats

from infoplane.information import Mean, difference, pooled
from infoplane.information.crossed import Part
from infoplane.information.pooling import least_p, refits_parts, residuals
from infoplane.measurements.compared import CheckpointScores, change, numbers

REFITS, IMAGES = 3, 200


def own_of(fits: np.ndarray, value: float | None = None, over_images: float = 0.5) -> Mean:
    """The mean of (R,) fits with its own error, and a known part for the images."""
    parts = (Part(float(fits.var(ddof=1)) / len(fits), len(fits) - 1), Part(over_images, IMAGES - 1))
    return Mean.of(float(fits.mean()) if value is None else value, parts)


def contrast(checkpoints: int, first: int | None, last: int) -> np.ndarray:
    found = np.zeros(checkpoints)
    found[last] = 1
    if first is not None:
        found[first] = -1
    return found


def test_residuals_are_what_a_two_way_table_leaves():
    table = np.random.default_rng(0).normal(size=(4, 3))
    left = residuals(table)
    assert np.allclose(left.sum(0), 0)
    assert np.allclose(left.sum(1), 0)
    assert np.allclose(residuals(np.add.outer(np.arange(4.0), np.arange(3.0))), 0)
    assert np.allclose(residuals(np.stack([table, 2 * table])), [left, 2 * left])


def test_the_parts_are_those_of_a_two_way_analysis_of_variance():
    """Four checkpoints, three refits, written out: mean squares of refits and of what is left."""
    table = np.random.default_rng(1).normal(size=(4, 3))
    left = residuals(table)
    mean_square = (left**2).sum() / (3 * 2)
    # A change: what refits share drops out.
    (rest,) = refits_parts(table, contrast(4, 0, 3))
    assert rest.variance == pytest.approx(2 * mean_square / 3)
    squares = (left**2).sum(1)
    assert rest.dof == pytest.approx(2 * 3 / 4 * squares.sum() ** 2 / (squares**2).sum())
    # A value at one checkpoint: a quarter of it is the mean over checkpoints.
    shared, rest = refits_parts(table, contrast(4, None, 2))
    assert (shared.variance, shared.dof) == (pytest.approx(table.mean(0).var(ddof=1) / 3), 2)
    assert rest.variance == pytest.approx((1 - 1 / 4) * mean_square / 3)
    # The mean over all checkpoints has nothing else.
    (shared,) = refits_parts(table, np.full(4, 0.25))
    assert shared.variance == pytest.approx(table.mean(0).var(ddof=1) / 3)


def test_the_parts_are_unbiased():
    """Refits share a part of variance 4, and have one of their own of variance 1 at each of five checkpoints."""
    generator = np.random.default_rng(2)
    tables = 2 * generator.normal(size=(4000, 1, REFITS)) + generator.normal(size=(4000, 5, REFITS))
    for k, truth in ((contrast(5, 1, 4), 2 / REFITS), (contrast(5, None, 0), 5 / REFITS)):
        found = np.array([sum(part.variance for part in refits_parts(table, k)) for table in tables])
        assert found.mean() == pytest.approx(truth, abs=4 * found.std() / math.sqrt(4000))


def test_nothing_is_pooled_without_refits_or_checkpoints():
    fits = np.array([1.0, 2.0, 4.0])
    own = own_of(fits)
    assert pooled(own, fits[None], [1.0]) is own
    single = Mean.of(1.0, (Part(0.5, IMAGES - 1),))
    assert pooled(single, np.ones((4, 1)), contrast(4, 0, 1)) is single
    same = np.tile(fits, (4, 1))  # refits differ alike everywhere: a change has no spread of theirs
    assert pooled(own, same, contrast(4, 0, 1)) is own


def test_how_far_pooling_may_go_is_what_is_written():
    """1.15 α at 5 %, 2 α at .1 % and below, a power of α between; monotone, and nothing from 14 % on."""
    assert least_p(0.0575) == pytest.approx(0.05)
    assert least_p(0.002) == pytest.approx(0.001)
    assert least_p(2e-9) == pytest.approx(1e-9)
    assert least_p(math.sqrt(0.0575 * 0.002)) == pytest.approx(math.sqrt(0.05 * 0.001))
    assert least_p(0.14) == 0.14
    found = [least_p(own) for own in np.geomspace(1e-12, 1, 400)]
    assert np.all(np.diff(found) > 0)


def test_the_pooled_p_stays_between_the_rows_own_and_what_may_be_made_of_it():
    """Spreads from equal to a hundredfold; Student's t with what is returned gives the p."""
    generator, sharpened, bounded = np.random.default_rng(5), 0, 0
    for draw in range(400):
        table = generator.normal(size=(6, REFITS)) * (100.0 ** generator.uniform(0, draw % 2, size=(6, 1)))
        fits = table[5] - table[0]
        own = own_of(fits, value=float(fits.mean()) + generator.normal() * 8, over_images=generator.choice([0.1, 2.0]))
        found = pooled(own, table, contrast(6, 0, 5))
        assert (found.value, found.stderr >= own.stderr * (1 - 1e-12)) == (own.value, True)
        assert least_p(own.p_value) * (1 - 1e-9) <= found.p_value <= own.p_value * (1 + 1e-9)
        sharpened += found is not own
        if not found.parts and found is not own:
            bounded += 1
            t = abs(found.value) / found.stderr
            assert found.p_value == pytest.approx(2 * stats.t.sf(t, found.dof), rel=1e-6)
            assert found.p_value == pytest.approx(least_p(own.p_value), rel=1e-6)
    assert sharpened > 100
    assert bounded > 50


@pytest.mark.parametrize("ratio", [0.2, 5.0])
def test_a_change_that_is_none_is_claimed_as_often_as_it_may(ratio):
    """1,500 flat curves of six checkpoints with equal spreads, tested at 5 %: told to ± .6 %."""
    assert 0.025 < rejected(np.ones(6), ratio, 1500)[0] < 0.065


@pytest.mark.parametrize("spreads", [(1, 1, 1, 1, 1, 5), (1,) * 19 + (10,), (1, 5, 5, 1, 5, 1)])
def test_loud_checkpoints_claim_no_more_than_they_may(spreads):
    """1,500 flat curves; 6.5 % and .3 % are allowed, told to ± .64 % and ± .14 %."""
    found = rejected(np.array(spreads, dtype=float), 5.0, 1500)
    assert found[0] < 0.065 + 2 * 0.0064
    assert found[1] < 0.003 + 2 * 0.0014


def test_pooling_sees_what_three_fits_alone_do_not():
    """A change of eight errors, tested at .5 %: how often it is seen, 400 curves tell to ± 2 %."""
    alone = rejected(np.ones(8), 5.0, 400, change=8.0, size=0.005, pool=False)[0]
    together = rejected(np.ones(8), 5.0, 400, change=8.0, size=0.005)[0]
    assert together > alone + 0.05


def rejected(
    spreads: np.ndarray, ratio: float, draws: int, *, change: float = 0.0, size: float = 0.05, pool: bool = True
) -> np.ndarray:
    """How often the change between the first and the last checkpoint is rejected at a size, and at .1 %."""
    generator, found, points = np.random.default_rng(6), [], len(spreads)
    for _ in range(draws):
        fits = math.sqrt(ratio * REFITS) * (
            spreads[:, None] * generator.normal(size=(points, REFITS)) + generator.normal(size=REFITS)
        )
        images = generator.normal(size=points)
        step = fits[-1] - fits[0]
        true = change * math.sqrt(ratio * (spreads[0] ** 2 + spreads[-1] ** 2) + 2)
        own = own_of(step, float(step.mean() + images[-1] - images[0]) + true, over_images=2.0)
        tested = pooled(own, fits, contrast(points, 0, points - 1)) if pool else own
        found.append(tested.p_value)
    return np.array([np.mean(np.array(found) < size), np.mean(np.array(found) < 0.001)])


def test_students_t_with_the_pooled_error_gives_the_p_value():
    """What the tables hold as pooled_stderr and pooled_dof is what p is from."""
    generator = np.random.default_rng(7)
    curve = {
        str(at): {refit: generator.normal(size=IMAGES) + generator.normal() + 0.2 * at for refit in (1, 2, 3)}
        for at in range(5)
    }
    own, tested, refits = change(CheckpointScores(curve), "0", "4")
    plain = difference(*(np.stack([*curve[at].values()]) for at in ("4", "0")))
    assert (refits, own.value, own.stderr) == (3, pytest.approx(plain.value), pytest.approx(plain.stderr))
    row = numbers(own, tested)
    t = abs(row["value"]) / row["pooled_stderr"]
    assert row["p"] == pytest.approx(2 * stats.t.sf(t, row["pooled_dof"]), rel=1e-6)
    assert (row["stderr"], row["dof"]) == (own.stderr, own.dof)
