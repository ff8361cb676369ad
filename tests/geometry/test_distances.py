"""Distances within and between classes, against counting every pair."""

import itertools
import math

import numpy as np
import pytest
import torch

from infoplane.geometry import distance_histogram
from infoplane.geometry import distances as module


def brute(values, labels, edges):
    """Counts of every pair in its bin, the last of which is closed."""
    found = {True: np.zeros(len(edges) - 1, int), False: np.zeros(len(edges) - 1, int)}
    for i, j in itertools.combinations(range(len(values)), 2):
        distance = math.dist(values[i], values[j])
        at = next(k for k in range(len(edges) - 1) if distance < edges[k + 1] or k == len(edges) - 2)
        found[labels[i] == labels[j]][at] += 1
    return found


@pytest.mark.parametrize("dimensions", [1, 3])
def test_every_pair_is_counted_once_where_it_belongs(dimensions):
    rng = np.random.default_rng(dimensions)
    values, labels = rng.normal(size=(41, dimensions)), rng.integers(0, 3, 41)
    edges, within, between = distance_histogram(torch.from_numpy(values), labels, bins=7)
    longest = max(math.dist(a, b) for a, b in itertools.combinations(values, 2))
    assert edges == pytest.approx(np.arange(8) * longest / 7)
    known = brute(values, labels, edges)
    # The longest may fall on either side of the last edge by rounding in the brute force only.
    assert within.tolist() == known[True].tolist()
    assert between.tolist() == known[False].tolist()
    assert within.sum() + between.sum() == 41 * 40 // 2


def test_clusters_by_class_lie_close_within_and_far_between():
    labels = np.arange(40) % 2
    values = 10.0 * labels[:, None] + np.random.default_rng(0).normal(size=(40, 2)) * 0.1
    edges, within, between = distance_histogram(values, labels, bins=10)
    assert within[:2].sum() == 2 * (20 * 19 // 2) == within.sum()
    assert between[-2:].sum() == 400 == between.sum()
    assert 9 < edges[-1] < 15


def test_rows_of_any_shape_and_points_that_fall_together():
    edges, within, between = distance_histogram(torch.ones(4, 2, 3), np.array([0, 0, 1, 1]), bins=4)
    assert (edges[0], edges[-1]) == (0.0, 1.0)
    assert (within.tolist(), between.tolist()) == ([2, 0, 0, 0], [4, 0, 0, 0])


def test_of_many_examples_some_are_taken(monkeypatch):
    monkeypatch.setattr(module, "EXAMPLES", 50)
    values, labels = np.random.default_rng(0).normal(size=(400, 2)), np.arange(400) % 2
    first, again, other = (distance_histogram(values, labels, seed=seed) for seed in (0, 0, 1))
    for _, within, between in (first, other):
        assert within.sum() + between.sum() == 50 * 49 // 2
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert first[0][-1] != other[0][-1]
    # They are taken with their labels: within classes, pairs of equal labels only.
    lines = np.repeat([0.0, 5.0], 200)[:, None]
    _, within, between = distance_histogram(lines, np.repeat([0, 1], 200), bins=2)
    assert (within[1], between[0]) == (0, 0)


def test_bad_input_is_one_line(refuses):
    with refuses("as many labels as activations", "3 activations, 2 labels"):
        distance_histogram(np.zeros((3, 2)), np.zeros(2))
    with refuses("as many labels as activations", "two or more"):
        distance_histogram(np.zeros((1, 2)), np.zeros(1))
    with refuses("activations are not finite", "1 of 4"):
        distance_histogram(np.array([[0.0, 1.0], [math.nan, 1.0]]), np.zeros(2))
