"""What I(x;h) cannot exceed, against distributions whose entropy and unseen mass are known."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from infoplane.information import Seen, seen_values, states_ceiling

#: H(x) cannot exceed this: 25 pixels of 4 levels
MOST = 25 * math.log(4)


def zipf(values, power):
    weights = np.arange(1, values + 1) ** -power
    return weights / weights.sum()


DISTRIBUTIONS = {
    "one value": np.ones(1),
    "ten alike": np.full(10, 0.1),
    "a few rare": np.array([0.6, 0.37, 0.01, 0.01, 0.005, 0.005]),
    "a long tail": zipf(3000, 1.1),
    "many alike": np.full(5000, 1 / 5000),
    # Zero for most images; the rest is passed through, each with a value of its own.
    "mostly zero": np.concatenate([[0.7], np.full(20000, 0.3 / 20000)]),
}


def entropy(weights):
    return -float((weights * np.log(weights)).sum())


@pytest.mark.parametrize("n", [20, 120, 1000])
@pytest.mark.parametrize("weights", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_the_limit_of_what_was_never_seen_covers_it_and_so_does_the_ceiling(weights, n):
    generator = np.random.default_rng(n)
    repeats, covered, above = 300, 0, 0
    for _ in range(repeats):
        drawn = generator.choice(len(weights), n, p=weights)
        seen = seen_values([drawn[: n // 3, None].astype(np.float32), drawn[n // 3 :, None].astype(np.float32)])
        occurred = np.unique(drawn)
        assert seen.values == len(occurred)
        covered += 1 - weights[occurred].sum() <= seen.mass + 1e-12
        above += entropy(weights) <= seen.ceiling(MOST) + 1e-9
    # At least 95 %; 300 repeats give that to 1.3 %.
    assert covered / repeats > 0.91
    assert above / repeats > 0.91


def test_by_hand():
    # 100 of one half, none of them new: Clopper and Pearson's limit is 1 - .05^(1/100).
    seen = Seen(10, 100, 0)
    p = 1 - 0.05 ** (1 / 100)
    assert seen.mass == pytest.approx(p, rel=1e-9)
    choice = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert seen.ceiling(50.0) == pytest.approx(choice + (1 - p) * math.log(10) + p * 50)
    # 30 of 40 new: the binomial's lower tail at the limit is 5 %; it is beyond a half, where H_b counts as log 2.
    many = Seen(31, 40, 30)
    assert stats.binom.cdf(30, 40, many.mass) == pytest.approx(0.05)
    assert many.mass > 0.5
    assert many.ceiling(5.0) == pytest.approx(min(5.0, math.log(2) + (1 - many.mass) * math.log(31) + many.mass * 5))
    assert Seen(40, 40, 40).mass == 1
    assert Seen(1, 0, 0).ceiling(7.0) == 7.0  # of one example nothing is known


def test_the_ceiling_rises_with_what_may_be_unseen():
    found = [Seen(10, 400, unseen).ceiling(MOST) for unseen in range(0, 401, 20)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(MOST)


def test_zero_for_most_images_and_the_rest_passed_through_is_no_ceiling():
    """4,000 images of entropy log 4,000; 80 % become zero. I = H_b(.2) + .2 log 800: few values are no ceiling."""
    generator = np.random.default_rng(0)
    x = generator.permutation(np.repeat(np.arange(4000), 1))
    h = np.where(x < 3200, 0, x).astype(np.float32)[generator.integers(0, 4000, 1000), None]
    seen = seen_values([h])
    assert 4 * seen.values < len(h)
    truth = 0.2 * math.log(800) - (0.2 * math.log(0.2) + 0.8 * math.log(0.8))
    assert seen.ceiling(MOST) > truth
    one_hot = np.eye(10, dtype=np.float32)[generator.integers(0, 10, 1000)]
    found = seen_values([one_hot])
    assert found.values == 10
    # With 64 pixels of 17 levels, as the digits': what a real density once gained, 5.7 bits, is beyond it.
    assert math.log(10) < found.ceiling(64 * math.log(17)) < 5.7 * math.log(2)


def test_minus_zero_is_zero():
    generator = np.random.default_rng(0)
    zeros = generator.choice([0.0, -0.0], (320, 6)).astype(np.float32)
    assert seen_values([zeros]) == Seen(1, 160, 0)
    assert seen_values([torch.relu(-torch.from_numpy(zeros)).numpy() * -1]).values == 1


def test_copies_of_an_image_do_not_confirm_each_other():
    """40 images five times each: a layer that tells all apart has shown nothing but new values, whatever the order."""
    values, groups = np.repeat(np.arange(40.0), 5), np.repeat(np.arange(40), 5)
    order = np.random.default_rng(1).permutation(200)
    apart = seen_values([values[order, None]], groups[order])
    assert apart == Seen(40, 20, 20)
    assert apart.mass == 1
    assert seen_values([values[order, None]]).mass < 0.2


def test_states():
    assert states_ceiling(2, 1) == pytest.approx(math.log(4))
    assert states_ceiling(10, 16) == pytest.approx(160 * math.log(2))


def test_what_cannot_be_counted(refuses):
    with refuses("there are no values to count"):
        seen_values([np.zeros((0, 3))])
    with refuses("there are no values to count", "3 rows, 2 groups"):
        seen_values([np.zeros((3, 1))], np.zeros(2, int))
    with refuses("bits cannot be used"):
        states_ceiling(3, 0)
    with refuses("units cannot be used"):
        states_ceiling(10**400, 2)
    for counts in ((0, 3, 1), (-1, 3, 1), (2, 3, 4), (2, 3, 0.5)):
        with refuses("cannot be used"):
            Seen(*counts)


@pytest.mark.parametrize("most", [None, -1, -1e-9, math.nan, math.inf, "5", [5.0], True, np.ones(3), 1j], ids=repr)
def test_the_most_that_there_can_be_is_a_number_from_0_on(most, refuses):
    with refuses("the most that H(x) can be cannot be used"):
        Seen(3, 2, 1).ceiling(most)
    assert Seen(3, 2, 1).ceiling(0) == 0
