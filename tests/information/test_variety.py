"""The variance among samples against closed forms and a loop over every pair."""

import itertools

import numpy as np
import pytest

from infoplane.information import sample_variance, whole_variance


def test_it_is_half_the_mean_squared_distance_of_pairs():
    samples = np.random.default_rng(1).integers(0, 256, (5, 4, 3, 6, 6), dtype=np.uint8)
    pairs = [
        np.mean([np.square(one / 255 - other / 255).mean() / 2 for one, other in itertools.combinations(drawn, 2)])
        for drawn in samples.astype(float)
    ]
    found = sample_variance(samples, 256)
    assert found.value == pytest.approx(np.mean(pairs), rel=1e-12)
    assert found.stderr == pytest.approx(np.std(pairs, ddof=1) / np.sqrt(5), rel=1e-12)
    assert (found.unit, found.bound, found.n, found.refits) == ("squared error", None, 5, 1)


@pytest.mark.parametrize("each", [2, 6, 40])
def test_it_does_not_depend_on_how_many_samples_there_are(each):
    """Pixels are uniform on 16 levels, whose variance is (16² − 1)/12 levels squared."""
    samples = np.random.default_rng(each).integers(0, 16, (400, each, 1, 4, 4))
    found = sample_variance(samples, 16)
    assert found.stderr < 0.002
    assert abs(found.value - 255 / 12 / 15**2) < 4 * found.stderr


@pytest.mark.parametrize(("count", "high"), [(6, 1.7), (30, 1.2)])
def test_the_error_of_what_p_x_draws_is_over_samples(count, high):
    """Over 4,000 repetitions the squared error is the variance of the estimate, even where all pixels go together.

    The jackknife may err high, never low; the comparison itself errs by about 4 %.
    """
    generator = np.random.default_rng(count)
    found = [whole_variance(generator.integers(0, 8, (count, 1, 1, 1)).repeat(3, 3), 8) for _ in range(4000)]
    truth = np.var([each.value for each in found], ddof=1)
    claimed = np.mean([each.stderr**2 for each in found])
    assert 0.9 * truth < claimed < high * truth
    assert {each.n for each in found} == {count}


def test_two_samples_have_no_error():
    samples = np.random.default_rng(5).integers(0, 8, (2, 1, 3, 3))
    found = whole_variance(samples, 8)
    assert found.value == pytest.approx(np.square((samples[0] - samples[1]) / 7).mean() / 2)
    assert found.stderr is None


def test_samples_of_one_image_have_no_error_over_images():
    found = sample_variance(np.random.default_rng(2).integers(0, 8, (1, 30, 1, 3, 3)), 8)
    assert (found.stderr, found.n) == (None, 1)


def test_equal_samples_do_not_vary():
    assert sample_variance(np.full((3, 5, 1, 2, 2), 7), 8).value == 0


def test_one_sample_of_each_image_is_refused(refuses):
    with refuses("too few samples", "1", "2 or more"):
        sample_variance(np.zeros((4, 1, 1, 2, 2)), 2)
