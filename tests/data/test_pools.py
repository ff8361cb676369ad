"""Official parts keep their purpose: through the split, through subsets, through the options of every data set."""

import numpy as np
import pytest

from infoplane.data import Dataset, load, load_digits, split
from infoplane.data.dataset import PARTS
from infoplane.data.options import apply, shrink

TRAIN, TEST = np.arange(60), np.arange(60, 80)


def dataset(**changes) -> Dataset:
    """80 images in 4 classes; the first 60 for encoding and decoding, the last 20 for evaluation."""
    images = np.random.default_rng(0).integers(0, 256, (80, 1, 4, 4), dtype=np.uint8)
    pools = {"encoding": TRAIN, "decoding": TRAIN, "evaluation": TEST}
    return Dataset("set", **{"images": images, "labels": np.arange(80) % 4, "pools": pools, **changes})


def three() -> Dataset:
    """The same with a pool for each purpose."""
    return dataset(pools={"encoding": np.arange(40), "decoding": np.arange(40, 60), "evaluation": TEST})


@pytest.mark.parametrize("seed", range(5))
def test_parts_come_from_their_pools(seed):
    parts = split(dataset(), encoding=20, decoding=None, evaluation=12, seed=seed)
    assert (len(parts.encoding), len(parts.decoding), len(parts.evaluation)) == (20, 40, 12)
    assert sorted([*parts.encoding, *parts.decoding]) == TRAIN.tolist()
    assert set(parts.evaluation) < set(TEST)
    labels = dataset().labels
    assert labels is not None
    assert np.bincount(labels[parts.evaluation]).tolist() == [3] * 4  # by class
    assert np.bincount(labels[parts.encoding]).tolist() == [5] * 4
    again = split(dataset(), encoding=20, decoding=None, evaluation=12, seed=seed)
    assert all(np.array_equal(getattr(parts, part), getattr(again, part)) for part in PARTS)
    other = split(dataset(), encoding=20, decoding=None, evaluation=12, seed=seed + 5)
    assert not np.array_equal(parts.encoding, other.encoding)


def test_one_rest_for_each_pool():
    parts = split(dataset(), encoding=10, decoding=None, evaluation=None, seed=0)
    assert (len(parts.decoding), len(parts.evaluation)) == (50, 20)
    parts = split(three(), encoding=None, decoding=None, evaluation=None, seed=0)
    assert [len(getattr(parts, part)) for part in PARTS] == [40, 20, 20]
    parts = split(three(), encoding=0, decoding=5, evaluation=None, seed=0)
    assert set(parts.decoding) < set(range(40, 60))


def test_sizes_that_cannot_be(refuses):
    with refuses("larger than the data set allows", "evaluation=21", "at most 20 examples for evaluation", "official"):
        split(dataset(), encoding=0, decoding=10, evaluation=21, seed=0)
    with refuses("larger", "at most 60 examples for encoding and decoding", "at least one for decoding"):
        split(dataset(), encoding=60, decoding=None, evaluation=5, seed=0)
    with refuses("only one part", "at most one None among encoding, decoding"):
        split(dataset(), encoding=None, decoding=None, evaluation=5, seed=0)


def test_every_example_of_a_pool_is_equally_likely():
    chosen = np.zeros(80)
    for seed in range(300):
        chosen[split(dataset(), encoding=0, decoding=15, evaluation=5, seed=seed).decoding] += 1
    # Each of the 60 is Binomial(300, 1/4), mean 75, s.d. 7.5; 5 s.d. for the extreme.
    assert np.all(np.abs(chosen[:60] - 75) < 5 * 7.5)
    assert not chosen[60:].any()


def test_subsets_keep_the_pools():
    where = np.array([70, 3, 61, 5, 3])
    small = dataset().subset(where)
    assert small.pools is not None
    assert {part: pool.tolist() for part, pool in small.pools.items()} == {
        "encoding": [1, 3, 4],
        "decoding": [1, 3, 4],
        "evaluation": [0, 2],
    }


def test_pools_that_are_none(refuses):
    for pools, says in (
        ({"encoding": TRAIN, "evaluation": TEST}, "encoding, decoding, evaluation"),
        (
            {"encoding": TRAIN, "decoding": TRAIN, "evaluation": np.arange(60, 81)},
            "of shape (n,), 0 to 79",
        ),
        ({"encoding": TRAIN, "decoding": TRAIN, "evaluation": [-1]}, "of shape (n,), 0 to 79"),
        ({"encoding": TRAIN, "decoding": TRAIN, "evaluation": TEST / 2}, "float64"),
        ({"encoding": TRAIN, "decoding": TRAIN, "evaluation": np.arange(59, 80)}, "1 examples both in encoding and in"),
        ({"encoding": TRAIN, "decoding": TRAIN[:50], "evaluation": TEST}, "50 examples both in encoding and in decod"),
    ):
        with refuses("of data set 'set'", says):
            dataset(pools=pools)
    with refuses("class names of data set 'set'", "3", "4 names"):
        dataset(class_names=("a", "b", "c"))


# ---- options of every data set ----


def test_shrink_means_squares_rounded_half_up():
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 6, 12), dtype=np.uint8)
    for factor in (2, 3, 6):
        small = shrink(images, factor)
        assert (small.dtype, small.shape) == (np.uint8, (5, 3, 6 // factor, 12 // factor))
        for index in np.ndindex(small.shape):
            n, c, i, j = index
            square = images[n, c, i * factor : (i + 1) * factor, j * factor : (j + 1) * factor]
            assert small[index] == np.floor(square.mean(dtype=float) + 0.5)
    assert shrink(np.full((1, 1, 34, 34), 255, np.uint8), 17).tolist() == [[[[255, 255], [255, 255]]]]
    halves = np.array([[[[0, 1], [1, 0]]], [[[0, 0], [1, 0]]], [[[1, 1], [1, 0]]]], np.uint8)
    assert shrink(halves, 2).ravel().tolist() == [1, 0, 1]  # .5 up, .25 down, .75 up


def test_subset_keeps_pools_and_classes_in_proportion():
    small = apply(dataset(), subset=40)
    assert small.pools is not None
    assert small.labels is not None
    assert [len(small.pools[part]) for part in PARTS] == [30, 30, 10]
    for part in ("encoding", "evaluation"):
        counts = np.bincount(small.labels[small.pools[part]])
        assert np.ptp(counts) <= 1
    assert (small.name, small.classes) == ("set (40 of 80)", 4)
    # The order stays, and with it which image has which label.
    whole = dataset()
    places = [np.flatnonzero((whole.images == image).all(axis=(1, 2, 3)))[0] for image in small.images]
    assert places == sorted(set(places))
    assert whole.labels is not None
    assert np.array_equal(whole.labels[places], small.labels)


def test_options_of_load():
    whole = load_digits()
    assert whole.labels is not None
    small = load("digits", subset=500, downsample=2)
    assert (len(small), small.shape, small.levels, small.classes) == (500, (1, 4, 4), 17, 10)
    assert small.name == "digits (500 of 1,797; downsampled 2×)"
    assert small.labels is not None
    assert np.all(np.abs(np.bincount(small.labels) - np.bincount(whole.labels) * 500 / 1797) < 1)
    assert np.array_equal(load("digits", subset=500, downsample=2).images, small.images)
    assert not np.array_equal(load("digits", subset=500, subset_seed=1, downsample=2).images, small.images)
    assert np.array_equal(load({"name": "digits", "downsample": 1, "subset": None}).images, whole.images)
    assert load("digits", subset=1797).name == "digits"


def test_subset_of_what_has_no_labels():
    images = np.arange(200, dtype=np.uint8).reshape(100, 1, 1, 2)
    assert len(apply(Dataset("plain", images), subset=7)) == 7


def test_latents_follow():
    small = load("truth", n=50, subset=20)
    assert small.latents["template"].shape == (20, 4)
    assert small.labels is not None
    assert np.array_equal(small.latents["template"].argmax(1), small.labels)


def test_options_that_cannot_be(refuses):
    with refuses("cannot be downsampled 3×", "8×8 pixels", "multiples of 3"):
        load("digits", downsample=3)
    with refuses("downsample", "0", "1 or more"):
        load("digits", downsample=0)
    with refuses("subset of digits", "1798", "2 to 1797"):
        load("digits", subset=1798)
    with refuses("subset of digits", "1.5", "whole"):
        load("digits", subset=1.5)
    with refuses("subset_seed", "-1"):
        load("digits", subset=5, subset_seed=-1)
