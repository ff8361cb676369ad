"""The small problems: exactly the published inputs and labels."""

import itertools
import math
import os

import numpy as np
import pytest

from infoplane.subjects.points import POINTS, equal_inputs, neuron, pair, spiral, szt

needs_data = pytest.mark.skipif("INFOPLANE_DATA" not in os.environ, reason="INFOPLANE_DATA is not set")


def test_the_single_neuron_of_section_4():
    found = neuron()
    by_label = {label: {float(x) for x in found.inputs[found.labels == label, 0]} for label in (0, 1)}
    assert by_label == {0: {-3.0, -1.0, 1.0}, 1: {3.0}}
    assert (found.targets.tolist(), found.classes) == ([-1.0, 1.0], 2)
    assert (found.training.tolist(), found.test.tolist()) == ([0, 1, 2, 3], [])
    assert (found.inputs.shape, found.inputs.dtype) == ((4, 1), np.float64)


def test_the_pair_of_section_8():
    found = pair()
    by_label = {label: sorted(found.inputs[found.labels == label, 0].tolist()) for label in (0, 1)}
    assert by_label == {0: [1.0, 2.0, 3.0, 4.0], 1: [5.0, 6.0, 7.0, 8.0]}
    assert found.targets.tolist() == [0.0, 0.25]
    assert (found.training.tolist(), found.test.tolist()) == (list(range(8)), [])


@needs_data
def test_all_inputs_of_12_bits():
    found = szt(seed=3)
    rows = {tuple(row) for row in found.inputs.tolist()}
    assert rows == set(itertools.product((0.0, 1.0), repeat=12))
    assert len(found.inputs) == 4096
    assert sorted(np.bincount(found.labels).tolist()) == [1978, 2118]
    assert not set(found.training) & set(found.test)
    assert sorted([*found.training, *found.test]) == list(range(4096))
    assert len(found.test) == round(0.2 * 4096)
    again, other = szt(seed=3), szt(seed=4)
    assert np.array_equal(found.test, again.test)
    assert not np.array_equal(found.test, other.test)
    assert np.array_equal(found.inputs, other.inputs)
    # A split at random: both classes are in the test, about as often as in all.
    assert abs(found.labels[found.test].mean() - found.labels.mean()) < 5 * 0.5 / math.sqrt(819)


def test_a_spiral_without_jitter_lies_on_its_two_arms():
    found = spiral(inputs=200, turns=1.5, jitter=0.0)
    radius, angle = np.hypot(*found.inputs.T), np.arctan2(found.inputs[:, 1], found.inputs[:, 0])
    assert radius.min() > 0
    assert 0.99 < radius.max() <= 1
    # On arm c, radius = φ / (2π turns) with the direction φ + πc.
    off = (angle - 2 * np.pi * 1.5 * radius - np.pi * found.labels) / (2 * np.pi)
    assert np.abs(off - off.round()).max() < 1e-9
    assert np.bincount(found.labels).tolist() == [100, 100]
    # Evenly over the disc: half of an arm within radius √½.
    assert (radius[found.labels == 0] < math.sqrt(0.5)).sum() == 50


def test_jitter_has_the_stated_size_and_a_seed():
    clean, jittered = spiral(inputs=4000, jitter=0.0), spiral(inputs=4000, jitter=0.05)
    noise = jittered.inputs - clean.inputs
    assert noise.std() == pytest.approx(0.05, rel=0.05)
    assert abs(noise.mean()) < 5 * 0.05 / math.sqrt(8000)
    assert np.array_equal(spiral(inputs=4000, jitter=0.05).inputs, jittered.inputs)
    assert not np.array_equal(spiral(1, inputs=4000, jitter=0.05).inputs, jittered.inputs)


@pytest.mark.parametrize("test", [0.01, 0.5, 0.99])
def test_there_are_always_inputs_for_training_and_for_test(test):
    found = spiral(inputs=4, test=test)
    assert len(found.training) >= 1
    assert len(found.test) >= 1
    assert sorted([*found.training, *found.test]) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": 3}, ("must come in pairs", "received 3")),
        ({"inputs": 2}, ("must come in pairs", "from 4 on")),
        ({"turns": 0}, ("turns and jitter", "turns=0")),
        ({"turns": math.inf}, ("turns and jitter", "inf")),
        ({"turns": math.nan}, ("turns and jitter", "nan")),
        ({"jitter": -0.1}, ("turns and jitter", "jitter=-0.1")),
        ({"jitter": math.inf}, ("turns and jitter",)),
        ({"test": 0}, ("test share must lie between 0 and 1", "received 0")),
        ({"test": 1}, ("test share must lie between 0 and 1",)),
        ({"test": math.nan}, ("test share must lie between 0 and 1",)),
    ],
)
def test_options_of_the_spiral_that_cannot_be(refuses, options, words):
    with refuses(*words):
        spiral(**{"inputs": 20, **options})


def test_a_file_without_labels_or_none_at_all(tmp_path, refuses):
    np.save(tmp_path / "bare.npy", np.zeros((4, 1, 1, 12), np.uint8))
    with refuses("the inputs have no labels", "bare.npy", "var_u.mat"):
        szt(path=str(tmp_path / "bare.npy"))
    with refuses("no such file"):
        szt(path=str(tmp_path / "gone.npy"))


def test_copies_of_an_input_are_on_one_side_of_the_split(tmp_path):
    """Forty inputs, each five times, and 0 written as −0 once: a fifth of them is tested on, whole."""
    bits = np.random.default_rng(0).permutation(2**12)[:40, None] >> np.arange(12) & 1
    images = np.repeat(bits, 5, 0).astype(np.uint8).reshape(200, 1, 1, 12)
    np.savez(tmp_path / "copies.npz", images=images, labels=np.repeat(np.arange(40) % 2, 5))
    for seed in range(3):
        found = szt(seed, path=str(tmp_path / "copies.npz"))
        train, test = ({row.tobytes() for row in found.inputs[each]} for each in (found.training, found.test))
        assert not train & test
        assert len(found.test) == 40
        assert sorted([*found.training, *found.test]) == list(range(200))
    assert equal_inputs(np.array([[0.0, 1.0], [1.0, 1.0], [-0.0, 1.0]])).tolist() == [0, 1, 0]


def test_splits_without_copies_are_what_they_were():
    """The permutation of all inputs that was always drawn, its first fifth held out."""
    found = spiral(3, inputs=50)
    order = np.random.default_rng([3, 12]).permutation(50)
    assert found.test.tolist() == sorted(order[:10])
    assert found.training.tolist() == sorted(order[10:])


def test_every_problem_is_whole():
    for name, make in POINTS.items():
        if name == "szt" and "INFOPLANE_DATA" not in os.environ:
            continue
        found = make(0)
        assert found.name == name
        assert len(found.inputs) == len(found.labels)
        assert set(found.labels.tolist()) == set(range(found.classes))
        assert np.isfinite(found.inputs).all()
