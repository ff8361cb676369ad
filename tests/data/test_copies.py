"""Images that belong together are found, kept in one part, and counted."""

import hashlib

import numpy as np
import pytest

from infoplane.data import Dataset, describe, group_images, hold_out, split


def distinct(count: int, seed: int = 0) -> np.ndarray:
    """Images of 2×3 pixels, no two of which are equal."""
    images = np.random.default_rng(seed).integers(0, 256, (count, 1, 2, 3), dtype=np.uint8)
    assert len(np.unique(images.reshape(count, -1), axis=0)) == count
    return images


def connected(links: list[np.ndarray]) -> list[int]:
    """The least index that each can be reached from, over pairs that share a value in any of the links: brute force."""
    found = list(range(len(links[0])))
    for _ in found:
        for i, _ in enumerate(found):
            for j, _ in enumerate(found):
                if any(link[i] == link[j] for link in links):
                    found[i] = found[j] = min(found[i], found[j])
    return found


@pytest.mark.parametrize("seed", range(5))
def test_what_belongs_together_is_found_as_by_brute_force(seed):
    rng = np.random.default_rng(seed)
    of = rng.integers(0, 25, 30)
    images = distinct(25)[of]
    assert group_images(Dataset("some", images)).tolist() == connected([of])
    names = rng.integers(0, 25, 30)
    groups = [f"scene {name}" for name in names]
    assert group_images(Dataset("some", images, groups=groups)).tolist() == connected([of, names])
    assert group_images(Dataset("some", distinct(30))).tolist() == list(range(30))


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("sizes", [(0, 160, 40), (50, None, 40), (60, 80, 40), (None, 30, 30)])
@pytest.mark.parametrize("seed", range(3))
def test_no_copy_is_in_two_parts(labelled, sizes, seed):
    images = np.repeat(distinct(40), 5, axis=0)
    order = np.random.default_rng(seed).permutation(200)
    labels = (np.repeat(np.arange(40), 5) % 7)[order] if labelled else None
    dataset = Dataset("fivefold", images[order], labels)
    wanted = dict(zip(("encoding", "decoding", "evaluation"), sizes))
    result = split(dataset, **wanted, seed=seed)
    parts = [result.encoding, result.decoding, result.evaluation]
    seen = [{image.tobytes() for image in dataset.images[part]} for part in parts]
    assert len(set.union(*seen)) == sum(map(len, seen))
    # Each group is whole, so no size can be nearer than half a group of 5; what remains for the last part varies more.
    assert abs(len(result.evaluation) - wanted["evaluation"]) <= 2
    if None in sizes or sum(sizes) == 200:
        assert sum(map(len, parts)) == 200
    assert all(abs(len(part) - size) <= 5 for part, size in zip(parts, sizes) if size is not None)


def test_sizes_are_exact_where_single_images_can_fill_up():
    images = np.concatenate([distinct(100), np.repeat(distinct(20, seed=1), 3, axis=0)])
    labels = np.random.default_rng(0).integers(0, 4, 160)
    for seed in range(20):
        result = split(Dataset("some", images, labels), encoding=31, decoding=None, evaluation=37, seed=seed)
        assert (len(result.encoding), len(result.decoding), len(result.evaluation)) == (31, 92, 37)


def test_groups_are_drawn_evenly():
    # 40 groups of which 10 are drawn: each is in the evaluation part in a quarter of the splits.
    dataset = Dataset("pairs", np.repeat(distinct(40), 2, axis=0))
    chosen = np.zeros(40)
    for seed in range(400):
        chosen[np.unique(split(dataset, encoding=0, decoding=None, evaluation=20, seed=seed).evaluation // 2)] += 1
    assert chosen.sum() == 4000
    # Binomial with 400 draws: standard deviation 8.7; 40 of them beyond 4 of these have a chance of .3 %.
    assert np.abs(chosen - 100).max() < 4 * np.sqrt(400 * 0.25 * 0.75)


def test_without_copies_splits_are_what_they_were():
    images = np.arange(200, dtype=">u2").view(np.uint8).reshape(200, 1, 1, 2)
    dataset = Dataset("lopsided", images, np.repeat([0, 1, 2, 3], [100, 60, 37, 3]))
    expected = {(50, 80, 30): "13ffc374dfec7a63", (0, None, 70): "87c3e106e92eb01c", (60, 40, None): "f89ac31618c7ab89"}
    for (encoding, decoding, evaluation), digest in expected.items():
        result = split(dataset, encoding=encoding, decoding=decoding, evaluation=evaluation, seed=3)
        kept, held = hold_out(result.decoding, 0.15, 5)
        parts = (result.encoding, result.decoding, result.evaluation, kept, held)
        content = b"".join(part.astype("<i8").tobytes() for part in parts)
        assert hashlib.sha256(content).hexdigest()[:16] == digest
        same = hold_out(result.decoding, 0.15, 5, np.arange(1000, 1000 + len(result.decoding)))
        assert np.array_equal(same[0], kept)
        assert np.array_equal(same[1], held)


@pytest.mark.parametrize("seed", range(5))
def test_held_out_groups_are_whole(seed):
    groups = np.random.default_rng(seed).integers(0, 30, 100)
    kept, held = hold_out(np.arange(100), 0.2, seed, groups)
    assert sorted([*kept, *held]) == list(range(100))
    assert not set(groups[kept]) & set(groups[held])
    assert abs(len(held) - 20) <= np.bincount(groups).max() / 2


def test_one_large_group_is_kept_or_held_whole(refuses):
    groups = np.array([0] * 9 + [1])
    kept, held = hold_out(np.arange(10), 0.5, 0, groups)
    assert sorted(map(len, (kept, held))) == [1, 9]
    with refuses("too few examples to hold some out", "10 examples that all belong together"):
        hold_out(np.arange(10), 0.5, 0, np.zeros(10, int))


def test_too_few_distinct_images_for_the_parts(refuses):
    images = np.zeros((60, 1, 2, 2), np.uint8)
    with refuses("all images are identical; received 60 of them"):
        split(Dataset("one", images), encoding=0, decoding=None, evaluation=40, seed=0)
    images[0] = 1
    with refuses("too few images that stand alone", "60 images in 1 group;", "more distinct"):
        split(Dataset("one", images, groups=np.zeros(60, int)), encoding=0, decoding=None, evaluation=40, seed=0)


def test_copies_are_counted():
    images = np.concatenate([distinct(8), distinct(8)[:3], distinct(8)[:1]])
    labels = np.array([0] * 8 + [0, 1, 1, 0])
    dataset = Dataset("some", images, labels)
    groups = group_images(dataset)
    parts = {"encoding": np.arange(0), "decoding": np.arange(8), "evaluation": np.arange(8, 12)}
    first, labelled, sizes, *rest = describe(dataset, groups, parts, {"encoding": 0, "decoding": 8, "evaluation": 3})
    assert first.startswith("4 of 12 images are copies of others: 8 are distinct")
    assert labelled.startswith("2 of the copies have another label")
    assert "4 evaluation images for 3" in sizes
    assert rest == [
        "4 of 4 evaluation images are copies of decoding images in the official parts: they are no unseen images"
    ]
    alone = Dataset("some", distinct(12))
    assert describe(alone, group_images(alone), parts, {}) == []


def test_copies_across_official_parts_stay_and_are_said():
    images = np.concatenate([distinct(30), distinct(30)[:7], distinct(9, seed=1)])
    train, test = np.arange(30), np.arange(30, 46)
    pools = {"encoding": train, "decoding": train, "evaluation": test}
    dataset = Dataset("official", images, pools=pools)
    result = split(dataset, encoding=0, decoding=None, evaluation=None, seed=0)
    assert sorted(result.evaluation) == list(test)
    parts = {"encoding": result.encoding, "decoding": result.decoding, "evaluation": result.evaluation}
    said = " ".join(describe(dataset, group_images(dataset), parts, {"encoding": 0}))
    assert "7 of 16 evaluation images are copies of decoding images" in said


def test_groups_must_fit_the_images(refuses):
    for groups in (np.zeros(3), np.zeros((4, 1), int), np.zeros(5, int), [None] * 4):
        with refuses("groups of data set 'some' cannot be used", "(4,)"):
            Dataset("some", distinct(4), groups=groups)
    assert Dataset("some", distinct(4), groups=["b", "a", "b", "c"]).groups.tolist() == [1, 0, 1, 2]
    assert Dataset("some", distinct(4), groups=["b", "a", "b", "c"]).subset([2, 3]).groups.tolist() == [0, 1]
