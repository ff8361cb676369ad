"""The refits' spread of a layer, pooled over its checkpoints: by hand, by simulation, and where it must not be."""

import math

import numpy as np
import pytest
from scipy import stats

from infoplane.information import Mean, difference, pooled
from infoplane.information.crossed import Part
from infoplane.information.pooling import refits_parts, residuals, unlike
from infoplane.study.comparisons import Curve, change, numbers

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


def test_nothing_is_pooled_without_refits_or_checkpoints_or_where_spreads_differ():
    fits = np.array([1.0, 2.0, 4.0])
    own = own_of(fits)
    assert pooled(own, fits[None], [1.0]) is own
    single = Mean.of(1.0, (Part(0.5, IMAGES - 1),))
    assert pooled(single, np.ones((4, 1)), contrast(4, 0, 1)) is single
    same = np.tile(fits, (4, 1))  # refits differ alike everywhere: a change has no spread of theirs
    assert pooled(own, same, contrast(4, 0, 1)) is own
    loud = np.random.default_rng(3).normal(size=(6, 3)) * np.array([1, 1, 1, 1, 1, 50.0])[:, None]
    assert unlike(loud)
    assert pooled(own, loud, contrast(6, 0, 5)) is own


def test_equal_spreads_are_told_apart_half_of_the_time_and_unequal_ones_nearly_always():
    generator = np.random.default_rng(4)
    tables = generator.normal(size=(2000, 8, REFITS))
    assert np.mean([unlike(table) for table in tables]) == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2000))
    tables[:, 7] *= 20
    assert np.mean([unlike(table) for table in tables]) > 0.95
    assert not any(unlike(table[:2]) for table in tables)  # those of two are one and the same


def test_the_pooled_error_is_never_below_the_rows_own_and_knows_more():
    generator, known = np.random.default_rng(5), []
    for _ in range(200):
        table = generator.normal(size=(8, REFITS))
        own = own_of(table[7] - table[0])
        found = pooled(own, table, contrast(8, 0, 7))
        assert found.stderr >= own.stderr * (1 - 1e-12)
        assert found.value == own.value
        if found is not own:
            known.append(found.parts[0].dof)
    # Eight checkpoints of three refits have 14 degrees of freedom at most, a row by itself 2.
    assert len(known) > 60
    assert max(known) <= 14
    assert np.mean(known) > 6


@pytest.mark.parametrize("ratio", [0.2, 5.0])
def test_a_change_that_is_none_is_claimed_as_often_as_it_may(ratio):
    """1,500 flat curves of six checkpoints with equal spreads, tested at 5 %: told to ± .6 %."""
    generator, rejected = np.random.default_rng(6), 0
    for _ in range(1500):
        fits = math.sqrt(ratio * REFITS) * (generator.normal(size=(6, REFITS)) + generator.normal(size=REFITS))
        images = generator.normal(size=6)
        own = own_of(fits[5] - fits[0], float((fits[5] - fits[0]).mean() + images[5] - images[0]), over_images=2.0)
        rejected += pooled(own, fits, contrast(6, 0, 5)).p_value < 0.05
    assert 0.02 < rejected / 1500 < 0.065


def test_students_t_with_the_pooled_error_gives_the_p_value():
    """What the tables hold as pooled_stderr and pooled_dof is what p is from."""
    generator = np.random.default_rng(7)
    curve = {
        str(at): {refit: generator.normal(size=IMAGES) + generator.normal() + 0.2 * at for refit in (1, 2, 3)}
        for at in range(5)
    }
    own, tested, refits = change(Curve(curve), "0", "4")
    plain = difference(*(np.stack([*curve[at].values()]) for at in ("4", "0")))
    assert (refits, own.value, own.stderr) == (3, pytest.approx(plain.value), pytest.approx(plain.stderr))
    row = numbers(own, tested)
    t = abs(row["value"]) / row["pooled_stderr"]
    assert row["p"] == pytest.approx(2 * stats.t.sf(t, row["pooled_dof"]), rel=1e-6)
    assert (row["stderr"], row["dof"]) == (own.stderr, own.dof)
