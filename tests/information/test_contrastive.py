"""Batches of the contrastive bound: how many, of which images, and that its interval covers, with an exact critic."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from infoplane.estimate import Estimate, confidence
from infoplane.information import contrastive_batches, contrastive_bound, contrastive_terms, one_of_each
from infoplane.measurements.fits import batches_of


def test_there_are_ten_batches_of_four_or_more_or_none():
    for images in range(1, 400):
        for candidates in (2, 5, 64):
            sizes = contrastive_batches(images, candidates=candidates, batches=16)
            if images < 40:
                assert sizes is None
                continue
            assert sizes is not None
            assert 2 <= sizes.candidates <= candidates
            assert sizes.candidates == candidates or sizes.candidates == images // 10
            assert sizes.count >= 10
            assert sizes.candidates * sizes.count <= images


def test_one_image_of_each_group_is_taken():
    assert one_of_each(None, 3).tolist() == [0, 1, 2]
    assert one_of_each(np.array([7, 2, 7, 2, 9]), 5).tolist() == [0, 1, 4]


@pytest.mark.parametrize(("copies", "expected"), [(1, (20, 12)), (2, (12, 10)), (6, (4, 10)), (7, None)])
def test_no_two_images_of_a_group_are_in_any_batch(copies, expected):
    evaluation = np.random.default_rng(0).permutation(1000)[:240]
    groups = np.arange(240) // copies
    task = SimpleNamespace(
        split=lambda _: evaluation,
        groups=lambda index: groups if index is evaluation else None,
    )
    batches = batches_of(task, {"candidates": 20, "batches": 16})  # type: ignore[arg-type]
    if expected is None:
        assert batches == []
        return
    assert (len(batches[0]), len(batches)) == expected
    used = groups[np.concatenate(batches)]
    assert len(np.unique(used)) == len(used)


@pytest.mark.parametrize("images", [40, 200])
def test_the_interval_covers_and_the_bound_stays_below_the_truth(images):
    # Pairs of Gaussians under their true density: the bound's expectation is at most I, and near it.
    correlation, draws = 0.3, 400
    information = -0.5 * math.log(1 - correlation**2)
    sizes = contrastive_batches(images, candidates=64, batches=16)
    assert sizes is not None
    k, count = sizes
    generator, found = np.random.default_rng(0), []
    h = generator.normal(size=(draws, count, k))
    x = correlation * h + math.sqrt(1 - correlation**2) * generator.normal(size=h.shape)
    for at in range(draws):
        scores = -((x[at, :, :, None] - correlation * h[at, :, None, :]) ** 2) / (2 * (1 - correlation**2))
        found.append(contrastive_bound(np.array([contrastive_terms(each).mean() for each in scores]), k))
    expected = float(np.mean([bound.value for bound in found]))
    assert expected < information
    covered = np.mean([low <= expected <= high for low, high in (bound.interval() for bound in found)])
    assert covered >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / draws)
    # Three standard errors of a known error are exceeded by .14 %, and t allows for not knowing it: .5 of 400 draws.
    far = confidence(0.9973, count - 1)
    assert sum(bound.value - information > far * bound.stderr for bound in found) <= 3


def flipped(bits, share, images, draws, seed=0):
    """Bounds from exact scores of bits that are seen through a channel that flips a share of them."""
    sizes = contrastive_batches(images, candidates=64, batches=16)
    assert sizes is not None
    generator, found = np.random.default_rng(seed), []
    h = generator.integers(0, 2, (draws, sizes.count, sizes.candidates, bits))
    x = h ^ (generator.random(h.shape) < share)
    for each_x, each_h in zip(x, h, strict=True):
        differ = (each_x[:, :, None] != each_h[:, None]).sum(3)
        scores = differ * math.log(share) + (bits - differ) * math.log(1 - share)
        terms = np.array([contrastive_terms(batch).mean() for batch in scores])
        found.append(contrastive_bound(terms, sizes.candidates))
    return found


@pytest.mark.parametrize(
    ("bits", "share", "images"), [(6, 0.05, 40), (4, 0.05, 40), (6, 0.05, 100), (8, 0.05, 40), (12, 0.05, 60)]
)
def test_near_its_ceiling_the_interval_still_covers(bits, share, images):
    """I of 2.97 nats where K = 4 bounds 1.39: terms pile up at log K. 1,000 draws tell .93 to ± .008."""
    bounds = flipped(bits, share, images, draws=1000)
    expected = np.mean([bound.value for bound in bounds])
    covered = np.mean([low <= expected <= high for low, high in (bound.interval() for bound in bounds)])
    assert covered > 0.93
    plain = [abs(bound.value - expected) <= confidence(0.95, bound.dof) * bound.stderr for bound in bounds]
    assert covered > np.mean(plain)


def test_the_interval_ends_at_log_k_and_is_a_plain_one_far_from_it():
    limit = math.log(4)
    near, far = (Estimate(value, 0.05, kind="contrastive", dof=9, ceiling=limit) for value in (1.3, -3.0))
    reach = confidence(0.95, 9) * 0.05
    low, high = near.interval()
    assert high == limit
    assert math.log((limit - low) / (limit - 1.3)) == pytest.approx(reach / (limit - 1.3))
    assert far.interval() == pytest.approx((-3 - reach, -3 + reach), abs=0.01 * reach * 1.5)
    # What is known without any critic is not gone below: information is not negative.
    assert Estimate(1.38, 0.5, kind="contrastive", dof=9, ceiling=limit).interval()[0] == 0.0
    assert Estimate(limit, 0.0, kind="contrastive", dof=9, ceiling=limit).interval() == (limit, limit)
    assert near.bits.interval() == pytest.approx(np.array(near.interval()) / math.log(2))
    # All that was drawn is near the ceiling: what ten draws can just miss, 31 % of them, may be worth nothing.
    low, high = contrastive_bound(np.r_[np.full(9, 1.38), 1.37], 4).interval()
    assert low == pytest.approx(1.379 * 0.025**0.1)
    assert 1.379 < high < limit
