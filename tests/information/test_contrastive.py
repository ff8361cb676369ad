"""Batches of the contrastive bound: how many, of which images, and that its interval covers, with an exact critic."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from infoplane.estimate import confidence
from infoplane.information import contrastive_batches, contrastive_bound, contrastive_terms, one_of_each
from infoplane.study.cells import batches_of


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
        params={"contrastive": {"candidates": 20, "batches": 16}},
    )
    batches = batches_of(task)  # type: ignore[arg-type]
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
