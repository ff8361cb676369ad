"""The error of a mean over networks, refits and examples."""

import math

import numpy as np
import pytest
from scipy import stats

from infoplane.errors import UsageError
from infoplane.information import crossed_mean
from infoplane.information.crossed import mean_over_networks


def test_it_is_the_sum_of_three_parts():
    terms = np.random.default_rng(0).normal(size=(3, 4, 5))
    found = mean_over_networks(terms)
    assert found.value == pytest.approx(terms.mean())
    parts = [np.var(terms.mean(axis), ddof=1) / size for axis, size in (((1, 2), 3), ((0, 2), 4), ((0, 1), 5))]
    assert found.stderr == pytest.approx(math.sqrt(sum(parts)))
    assert [part.dof for part in found.parts] == [2, 3, 4]


def test_of_one_network_it_is_that_over_refits():
    terms = np.random.default_rng(1).normal(size=(1, 3, 6))
    groups = np.array([0, 0, 1, 1, 2, 3])
    assert mean_over_networks(terms, groups=groups) == crossed_mean(terms[0], groups=groups)


def test_what_refits_share_over_networks_is_not_averaged_away():
    """With K = 4, R = 3, n = 60 and effects of all three; 2,000 draws, so that 5 % is told to half a per cent."""
    generator, rejected, errors, values = np.random.default_rng(2), 0, [], []
    for _ in range(2000):
        networks, refits, images = (generator.normal(size=size) for size in (4, 3, 60))
        terms = 0.3 * networks[:, None, None] + 0.5 * refits[None, :, None] + images + generator.normal(size=(4, 3, 60))
        found = mean_over_networks(terms)
        rejected += found.p_value < 0.05
        errors.append(found.stderr**2)
        values.append(found.value)
    assert rejected / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)
    # Of the squared error: its mean is that of the values, but for what is counted more than once.
    truth = 0.3**2 / 4 + 0.5**2 / 3 + 1 / 60 + 1 / 720
    assert np.var(values) == pytest.approx(truth, rel=4 * math.sqrt(2 / 2000))
    assert truth < np.mean(errors) < truth + 3 / 720 + 4 * np.std(errors) / math.sqrt(2000)
    assert stats.norm.sf(abs(np.mean(values)) / math.sqrt(truth / 2000)) > 1e-4


def test_other_shapes_are_refused():
    for terms in (np.zeros((2, 3)), np.zeros((0, 1, 3))):
        with pytest.raises(UsageError, match=r"not over networks|no terms"):
            mean_over_networks(terms)
