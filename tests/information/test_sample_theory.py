"""What the theory promises, against the values that the derivations give by hand."""

import pytest
import torch

from infoplane.information.sample_propagation import mixture_entropy
from infoplane.information.sample_theory import cells_per_axis, fewest_samples, risk_bound


def test_values_worked_out_by_hand():
    assert fewest_samples(3, 0.005, 0.0) == pytest.approx(2.8e5, rel=0.01)
    assert risk_bound(4 * 10**9, 3, 0.005) == pytest.approx(0.41, abs=0.005)


def test_points_that_stay_apart_as_the_paper_counts_them():
    assert [int(cells_per_axis(d, 0.1, 0.01)) for d in (1, 11, 12, 100, 10_000)] == [3, 3, 2, 2, 2]


def test_more_samples_are_asked_for_in_more_dimensions_with_less_noise_and_for_less_bias():
    assert fewest_samples(2, 0.1, 0.1) < fewest_samples(4, 0.1, 0.1) < fewest_samples(4, 0.05, 0.1)
    assert fewest_samples(4, 0.1, 0.5) < fewest_samples(4, 0.1, 0.1)
    assert fewest_samples(1, 50.0, 0.1) <= 1


def test_the_promised_error_falls_with_samples_and_grows_with_dimensions():
    assert risk_bound(10**8, 3, 0.05) < risk_bound(10**6, 3, 0.05)
    assert risk_bound(10**6, 1, 0.05) < risk_bound(10**6, 2, 0.05)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"d": 0}, ("d must be a number of dimensions", "received 0")),
        ({"d": 1.5}, ("d must be a number of dimensions", "received 1.5")),
        ({"beta": 0}, ("beta must be a positive number",)),
        ({"beta": "x"}, ("beta must be a positive number",)),
    ],
)
def test_sizes_that_cannot_be_are_one_line(refuses, change, words):
    with refuses(*words):
        fewest_samples(**{"d": 3, "beta": 0.1, "bias": 0.1, **change})
    with refuses(*words):
        risk_bound(**{"n": 3, "d": 3, "beta": 0.1, **change})


def test_numbers_of_samples_and_biases_that_cannot_be(refuses):
    for n in (0, 0.5, -3, float("nan"), float("inf"), "x"):
        with refuses("n must be a number of samples"):
            risk_bound(n, 3, 0.005)
    for bias in (-0.1, float("nan"), None):
        with refuses("the bias must not be negative"):
            fewest_samples(3, 0.1, bias)


@pytest.mark.parametrize("n", [100, 10_000])
def test_the_promise_is_kept(n):
    # S uniform on [-1, 1], whose entropy with the noise is that of many more samples.
    def estimated(n, seed):
        centres = 2 * torch.rand(n, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
        return mixture_entropy(centres, 0.1, queries=20_000, generator=torch.Generator().manual_seed(seed)).value

    truth = estimated(10**6, 99)
    error = sum(abs(estimated(n, seed) - truth) for seed in range(10)) / 10
    assert error < risk_bound(n, 1, 0.1)
