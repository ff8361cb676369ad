"""A fall from the peak is claimed where there is one, and as often as stated where there is none."""

import numpy as np
import pytest

from infoplane.information import Compression, compression, difference, pooled


def curves(rng, levels, *, refits=3, n=200, retraining=1.0, noise=3.0, validation=400):
    """Log-probabilities of a curve with known levels: every fit is off by its own amount on all images."""
    count = len(levels)
    level = np.asarray(levels)[:, None] + retraining * rng.standard_normal((count, refits))
    level = level + 2 * rng.standard_normal(refits)  # a seed that is better everywhere
    images = 20 * rng.standard_normal(n)
    evaluation = level[:, :, None] + images + noise * rng.standard_normal((count, refits, n))
    held = level + noise / validation**0.5 * rng.standard_normal((count, refits))
    return held, evaluation


def test_a_fall_is_measured_from_the_peak_to_the_end():
    rng = np.random.default_rng(0)
    found = compression(*curves(rng, [0, 30, 60, 50, 20], retraining=0.5, n=1000))
    assert found.peak == 2
    assert found.value == pytest.approx(40, abs=4 * found.stderr)
    assert found.stderr < 1
    assert found.p < 0.001
    assert found.verdict == "compression, of this one network"
    assert (found.refits, found.n) == (3, 1000)


def test_the_error_and_the_value_are_those_of_the_paired_difference():
    rng = np.random.default_rng(1)
    held, evaluation = curves(rng, [5, 0])
    found = compression(held, evaluation)
    terms = evaluation[0] - evaluation[1]
    assert found.value == pytest.approx(terms.mean())
    rows, columns = terms.mean(1).var(ddof=1) / 3, terms.mean(0).var(ddof=1) / 200
    assert found.stderr == pytest.approx((rows + columns) ** 0.5)


def test_a_constant_curve_is_rarely_called_compression():
    """At p < .05 at most some 5 % of 400 constant curves; the naive fall would be positive in most of them."""
    rng = np.random.default_rng(2)
    found = [compression(*curves(rng, np.zeros(5)), seed=k) for k in range(400)]
    called = np.mean([each.p < 0.05 for each in found])
    assert 0.01 < called < 0.09  # 5 % ± 3.7 standard errors of 1.1 %
    values = np.array([each.value for each in found])
    # Selection shows: densities are shared by both parts of the images, so the peak falls on average. The null says so.
    assert values.mean() > 0.3
    null = np.mean([each.null for each in found])
    assert null == pytest.approx(values.mean(), abs=5 * values.std() / 20)


def test_power_where_there_is_something():
    rng = np.random.default_rng(3)
    found = [compression(*curves(rng, [0, 6, 4, 2, 0]), seed=k) for k in range(100)]
    assert np.mean([each.verdict == "compression, of this one network" for each in found]) > 0.8


def test_what_rises_to_the_end_has_no_fall():
    found = compression(*curves(np.random.default_rng(4), [0, 10, 20, 40]))
    assert (found.peak, found.value) == (3, 0)
    assert found.verdict == "still highest at the end, of this one network"


def test_a_single_fit_allows_no_claim():
    found = compression(*curves(np.random.default_rng(5), [0, 50, 0], refits=1))
    assert found.value > 40
    assert found.p is None
    assert found.null is None
    assert found.verdict == "fewer than 3 fits: no claim"


def test_two_fits_allow_no_claim_however_small_p_is():
    found = compression(*curves(np.random.default_rng(5), [0, 50, 0], refits=2))
    assert found.p < 0.01
    assert found.verdict == "fewer than 3 fits: no claim"


def test_both_tests_must_see_a_fall():
    common = {"peak": 0, "value": 6.3, "stderr": 2.2, "null": 0.5, "null_stderr": 1.0, "refits": 3, "n": 100}
    seen, unseen = "compression, of this one network", "no compression to be seen, of this one network"
    assert Compression(**common, p=0.015, paired=0.03).verdict == seen
    assert Compression(**common, p=0.015, paired=0.075).verdict == unseen
    assert Compression(**common, p=0.4, paired=0.03).verdict == unseen
    # And it is the larger of the two that enters the family of a run's tests.
    assert Compression(**common, p=0.015, paired=0.03).hypothesis.p == 0.03


def test_the_paired_p_is_that_of_the_difference_with_its_pooled_error():
    generator = np.random.default_rng(3)
    evaluation = generator.normal(size=(3, 3, 200)) + np.array([4.0, 1.0, 0.0])[:, None, None]
    found = compression(evaluation.mean(2), evaluation)
    own = difference(evaluation[0], evaluation[2])
    assert found.paired == pooled(own, evaluation.mean(2), [1, 0, -1]).p_value
