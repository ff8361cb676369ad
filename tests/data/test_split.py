"""Splits are exact in size, disjoint, balanced and repeatable."""

import numpy as np
import pytest

from infoplane.data import Dataset, Split, group_images, hold_out, load_digits, split


def distinct(count: int) -> np.ndarray:
    """Images of 1×2 pixels that count: no two are equal."""
    return np.arange(count, dtype=">u2").view(np.uint8).reshape(count, 1, 1, 2)


@pytest.fixture
def lopsided() -> Dataset:
    """200 examples of classes with 100, 60, 37 and 3, sorted by class as a folder would have them."""
    labels = np.repeat([0, 1, 2, 3], [100, 60, 37, 3])
    return Dataset("lopsided", distinct(200), labels)


def parts(result: Split) -> dict[str, np.ndarray]:
    return {"encoding": result.encoding, "decoding": result.decoding, "evaluation": result.evaluation}


@pytest.mark.parametrize("sizes", [(50, 80, 30), (0, 130, 70), (1, 1, 1), (100, 60, 40), (0, 0, 200)])
@pytest.mark.parametrize("labelled", [True, False])
def test_sizes_are_exact_and_parts_disjoint(lopsided, sizes, labelled):
    dataset = lopsided if labelled else Dataset("plain", lopsided.images)
    result = split(dataset, encoding=sizes[0], decoding=sizes[1], evaluation=sizes[2], seed=3)
    assert tuple(len(part) for part in parts(result).values()) == sizes
    everything = np.concatenate(list(parts(result).values()))
    assert len(set(everything.tolist())) == sum(sizes)
    assert everything.dtype == np.int64
    assert set(everything.tolist()) <= set(range(200))


@pytest.mark.parametrize("rest", ["encoding", "decoding", "evaluation"])
def test_none_is_the_rest(lopsided, rest):
    sizes = {"encoding": 20, "decoding": 30, "evaluation": 40} | {rest: None}
    result = split(lopsided, **sizes, seed=0)
    assert sum(map(len, parts(result).values())) == 200
    assert set(np.concatenate(list(parts(result).values())).tolist()) == set(range(200))


@pytest.mark.parametrize("seed", range(20))
def test_classes_are_in_proportion(lopsided, seed):
    sizes = {"encoding": 60, "decoding": 90, "evaluation": 20}
    result = split(lopsided, **sizes, seed=seed)
    of_class = np.bincount(lopsided.labels)
    for part, indices in parts(result).items():
        counts = np.bincount(lopsided.labels[indices], minlength=4)
        allowed = {"evaluation": 1, "decoding": 2, "encoding": 3}[part]
        assert np.all(np.abs(counts - of_class * sizes[part] / 200) < allowed), part


def test_equal_classes_give_exactly_equal_evaluation_counts():
    labels = np.tile(np.arange(10), 100)
    dataset = Dataset("even", distinct(1000), labels)
    result = split(dataset, encoding=0, decoding=None, evaluation=50, seed=1)
    assert np.bincount(labels[result.evaluation]).tolist() == [5] * 10


def test_same_seed_same_split_other_seed_another(lopsided):
    def draw(seed: int) -> list[int]:
        result = split(lopsided, encoding=20, decoding=30, evaluation=40, seed=seed)
        return np.concatenate(list(parts(result).values())).tolist()

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)


def test_order_within_a_part_is_random(lopsided):
    # Batches of neighbours, as in the contrastive bound, must vary in composition as random draws do: the count of
    # class 0 (half of the data) in 10 out of 200 is hypergeometric.
    variances = []
    for seed in range(40):
        result = split(lopsided, encoding=0, decoding=0, evaluation=200, seed=seed)
        counts = (lopsided.labels[result.evaluation] == 0).reshape(20, 10).sum(axis=1)
        variances.append(np.mean((counts - 5.0) ** 2))
    expected = 10 * 0.25 * (200 - 10) / (200 - 1)
    assert abs(np.mean(variances) - expected) < 4 * np.std(variances) / np.sqrt(40)


def test_every_example_is_equally_likely_to_be_chosen(lopsided):
    chosen = np.zeros(200)
    for seed in range(400):
        chosen[split(lopsided, encoding=0, decoding=10, evaluation=50, seed=seed).evaluation] += 1
    # Each is Binomial(400, 1/4), mean 100, s.d. 8.7; 5 s.d. for the extreme of 200.
    assert np.all(np.abs(chosen - 100) < 5 * 8.7)


def test_digits_evaluation_is_balanced():
    digits = load_digits()
    result = split(digits, encoding=600, decoding=900, evaluation=297, seed=0)
    assert digits.labels is not None
    expected = np.bincount(digits.labels) * 297 / 1797
    assert np.all(np.abs(np.bincount(digits.labels[result.evaluation]) - expected) < 1)


def test_sizes_that_cannot_be(lopsided, refuses):
    with refuses("larger than the data set", "encoding=100", "evaluation=1", "at most 200 examples"):
        split(lopsided, encoding=100, decoding=100, evaluation=1, seed=0)
    with refuses("larger than the data set", "decoding=None", "at least one for decoding"):
        split(lopsided, encoding=100, decoding=None, evaluation=100, seed=0)
    with refuses("only one part", "encoding=None, decoding=None", "at most one None"):
        split(lopsided, encoding=None, decoding=None, evaluation=1, seed=0)
    with refuses("size of evaluation", "-1", "0 or more"):
        split(lopsided, encoding=0, decoding=1, evaluation=-1, seed=0)
    with refuses("size of decoding", "0.5", "whole number"):
        split(lopsided, encoding=0, decoding=0.5, evaluation=1, seed=0)
    with refuses("seed", "-1"):
        split(lopsided, encoding=0, decoding=1, evaluation=1, seed=-1)


def test_a_split_by_hand_is_checked(refuses):
    made = Split([], [3, 1], np.array([2], dtype=np.int32))
    assert made.encoding.shape == (0,)
    assert [part.dtype for part in parts(made).values()] == [np.int64] * 3
    assert repr(made) == "Split(encoding: 0, decoding: 2, evaluation: 1)"
    with refuses("overlap", "1 repeated"):
        Split([], [1, 2], [2, 3])
    with refuses("overlap"):
        Split([], [1, 1], [2, 3])
    with refuses("decoding", "float64", "whole numbers"):
        Split([], [0.5], [2])
    with refuses("evaluation", "bool"):
        Split([], [0], [True])
    with refuses("encoding", "0 or more"):
        Split([-1], [0], [1])


@pytest.mark.parametrize(("fraction", "held_count"), [(0.1, 10), (0.005, 1), (0.999, 99), (0.25, 25)])
def test_hold_out(fraction, held_count):
    indices = np.arange(500, 600)
    kept, held = hold_out(indices, fraction, seed=4)
    assert len(held) == held_count
    assert sorted([*kept, *held]) == indices.tolist()
    again = hold_out(indices, fraction, seed=4)
    assert np.array_equal(kept, again[0])
    assert np.array_equal(held, again[1])
    assert not np.array_equal(kept, hold_out(indices, fraction, seed=5)[0])


def test_hold_out_of_two_leaves_one_on_each_side():
    kept, held = hold_out(np.array([7, 9]), 0.01, seed=0)
    assert sorted([*kept, *held]) == [7, 9]
    assert len(kept) == len(held) == 1


def test_hold_out_refuses(refuses):
    for fraction in (0, 1, -0.1, float("nan"), "half", True):
        with refuses("fraction", repr(fraction), "0 < fraction < 1"):
            hold_out(np.arange(10), fraction, seed=0)
    with refuses("too few", "1", "2 or more"):
        hold_out(np.arange(1), 0.5, seed=0)


#: groups of ten examples that cannot be used
NO_GROUPS = [
    np.array([0, 0, 1]), np.arange(11), np.arange(10.0), np.full(10, np.nan), np.zeros((10, 1), int), "abc", 3, [],
    {}, len, [None] * 10, [1, [2, 3]],
]  # fmt: skip


@pytest.mark.parametrize("groups", NO_GROUPS, ids=repr)
def test_groups_must_be_whole_numbers_or_names_one_for_each(groups, refuses):
    with refuses("groups of the indices"):
        hold_out(np.arange(10), 0.5, 0, groups=groups)
    with refuses("groups of the images"):
        split(Dataset("ten", distinct(10)), encoding=2, decoding=4, evaluation=4, seed=0, groups=groups)


def test_names_part_as_numbers_do():
    numbers = np.array([7, 7, 2, 2, 5, 5, 1, 1, 0, 0])
    names = [f"scene {number}" for number in numbers]
    for given in (names, np.array(names), np.array(names, dtype=object), numbers.astype(np.uint8)):
        sides = hold_out(np.arange(10), 0.4, 0, groups=given)
        np.testing.assert_array_equal(np.concatenate(sides), np.concatenate(hold_out(np.arange(10), 0.4, 0, numbers)))
        assert sorted(np.concatenate(sides)) == list(range(10))
        assert not set(numbers[sides[0]]) & set(numbers[sides[1]])
        whole = split(Dataset("ten", distinct(10)), encoding=0, decoding=4, evaluation=6, seed=0, groups=given)
        assert [len(set(numbers[part])) for part in parts(whole).values()] == [0, 2, 3]


def test_an_index_is_held_out_once(refuses):
    with refuses("indices cannot be used", "1 repeated indices"):
        hold_out(np.array([3, 4, 5, 3]), 0.5, 0)
    with refuses("indices cannot be used", "whole numbers"):
        hold_out(np.array([1, 2**63], dtype=np.uint64), 0.5, 0)


@pytest.mark.parametrize("wrong", [None, 3, "digits", np.zeros((4, 1, 2, 2), np.uint8), {}], ids=repr)
def test_only_data_sets_are_split_and_grouped(wrong, refuses):
    with refuses("dataset cannot be used", "Dataset"):
        split(wrong, encoding=1, decoding=1, evaluation=1, seed=0)
    with refuses("dataset cannot be used", "Dataset"):
        group_images(wrong)
