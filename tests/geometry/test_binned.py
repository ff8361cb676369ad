"""The entropy of binned activations, against counting by hand."""

import itertools
import math

import numpy as np
import pytest
import torch

from infoplane.geometry import binned_entropy, unit_binned_entropies


def by_hand(values, bin_size):
    """H of the tuples of bins, in plain Python."""
    counts = {}
    for row in np.asarray(values, dtype=np.float64).reshape(len(values), -1).tolist():
        key = tuple(math.floor(value / bin_size + 0.5) for value in row)
        counts[key] = counts.get(key, 0) + 1
    return -sum(c / len(values) * math.log(c / len(values)) for c in counts.values())


@pytest.mark.parametrize("bin_size", [1e-3, 0.05, 0.5, 2.0, 1e6])
@pytest.mark.parametrize("shape", [(300, 1), (300, 3), (50, 2, 3, 3)])
def test_it_counts(bin_size, shape):
    values = 3 * np.random.default_rng(0).normal(size=shape)
    found = binned_entropy(values, bin_size)
    assert found.value == pytest.approx(by_hand(values, bin_size), abs=1e-12)
    assert (found.kind, found.direction, found.n, found.stderr) == ("binned-entropy", "none", shape[0], None)
    assert binned_entropy(torch.from_numpy(values), bin_size) == found


def test_units_by_themselves():
    values = np.random.default_rng(0).normal(size=(200, 4))
    found = unit_binned_entropies(values, 0.3)
    assert [each.value for each in found] == pytest.approx([by_hand(unit[:, None], 0.3) for unit in values.T])


def test_no_range_is_assumed_and_no_bin_wraps():
    # Activations far outside [-1, 1], a bin's width apart: every one of them has its own bin.
    for start in (-1e4, 0.0, 250.0, 1e9):
        values = start + 0.5 + np.arange(600.0)
        assert binned_entropy(values, 1.0).value == pytest.approx(math.log(600))
    assert binned_entropy(np.array([-0.5, 0.5]), 1.0).value == pytest.approx(math.log(2))
    assert binned_entropy(np.array([0.0, -0.0]), 1.0).value == 0


def test_noise_does_not_divide_what_has_come_to_rest_at_the_ends_or_at_zero():
    noise = 0.005 * np.random.default_rng(0).normal(size=(500, 3))
    for place in ([-1.0, 1.0, 0.0], [1.0, 1.0, -1.0]):
        assert binned_entropy(np.array(place) + noise, 0.05).value == 0


def test_all_twelve_bit_inputs_through_an_injective_layer():
    # Goldfeld et al. 2018, Fig. 1: small bins tell all inputs apart, ln 2^12 = 8.318 nats.
    bits = np.array(list(itertools.product([0.0, 1.0], repeat=12)))
    weight = np.random.default_rng(0).normal(size=(12, 2))
    hidden = np.tanh(bits @ weight / 4)
    values = [binned_entropy(hidden, size).value for size in (1.0, 0.1, 0.01, 1e-4, 1e-12)]
    assert values == sorted(values)
    assert values[-1] == pytest.approx(12 * math.log(2))
    assert any("every example has a bin of its own" in flag for flag in binned_entropy(hidden, 1e-12).flags)
    assert not binned_entropy(hidden, 1.0).flags


@pytest.mark.parametrize("bin_size", [0, -0.1, float("nan"), float("inf"), "1"])
def test_a_bin_size_that_cannot_be(refuses, bin_size):
    with refuses("the bin size must be a positive number"):
        binned_entropy(np.ones((3, 2)), bin_size)


def test_activations_that_cannot_be_binned(refuses):
    with refuses("activations are not finite", "1 of 4"):
        binned_entropy(np.array([[1.0, 2.0], [np.inf, 1.0]]), 0.1)
    with refuses("there are no activations"):
        binned_entropy(np.ones((0, 3)), 0.1)
    with refuses("the bin size is too fine", "a bin size of at least"):
        binned_entropy(np.array([1.0, 2.0]), 1e-300)
    # 30 · 2^52: whole numbers are said as such, and a bin of the size that is named will do.
    with refuses("a bin size of at least 30"):
        binned_entropy(np.array([30 * 2.0**52]), 0.5)
    assert binned_entropy(np.array([30 * 2.0**52]), 30).value == 0
