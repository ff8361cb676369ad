"""The probe for wide layers: the optimum that scikit-learn finds, in bounded memory, and a bound that holds."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from infoplane.information import Rows, fit_probe, label_information
from infoplane.information import label as label_module
from infoplane.information.label import STRENGTHS, LinearProbe
from infoplane.information.wide_probe import ROWS, WideProbe, descend_penalised, fit_wide_probe, mean_loss


@pytest.fixture(scope="module")
def digits():
    """Standardised pixels of the digits in float32, in random order, with their labels."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    features = (images - images.mean(0)) / np.maximum(images.std(0), 1e-3)
    return features[order].astype(np.float32), labels[order]


def objective(weights, features, labels, strength):
    """C·Σ −log q(y|h) + ½|w|², by another hand."""
    logits = features.astype(np.float64) @ weights[:-1] + weights[-1]
    top = logits.max(1, keepdims=True)
    log_q = logits - top - np.log(np.exp(logits - top).sum(1, keepdims=True))
    return -strength * log_q[np.arange(len(labels)), labels].sum() + (weights[:-1] ** 2).sum() / 2


@pytest.mark.parametrize("strength", [1e-3, 1e-1])
def test_it_finds_scikit_learns_optimum(digits, strength):
    features, labels = digits[0][:900].copy(), digits[1][:900]
    features.flags.writeable = False  # as those of a mapped file are
    reference = LogisticRegression(C=strength, max_iter=5000, tol=1e-8).fit(features.astype(np.float64), labels)
    best = objective(np.vstack([reference.coef_.T, reference.intercept_]), features, labels, strength)
    *_, weights = descend_penalised(features, labels, 10, strength)
    ours = objective(weights.numpy(), features, labels, strength)
    assert ours == pytest.approx(best, rel=1e-5)
    probe = WideProbe(weights)
    held = digits[0][900:], digits[1][900:]
    expected = reference.predict_proba(held[0].astype(np.float64))
    np.testing.assert_allclose(probe.probabilities(held[0]), expected, atol=2e-3)
    found = mean_loss(torch.from_numpy(held[0]), held[1], weights)
    assert found == pytest.approx(-np.log(expected[np.arange(897), held[1]]).mean(), abs=1e-3)


def test_weights_move_on_from_where_they_start(digits):
    features, labels = torch.from_numpy(digits[0][:300]), digits[1][:300]
    *_, solved = descend_penalised(features, labels, 10, 1e-2)
    again = list(descend_penalised(features, labels, 10, 1e-2, start=solved))
    assert len(again) <= 2  # it is there already
    torch.testing.assert_close(again[0], solved, atol=1e-4, rtol=1e-3)


def test_it_does_as_well_on_new_examples_as_scikit_learns_choice(digits):
    parts = [slice(0, 600), slice(600, 900), slice(900, None)]
    (x, y), (held, held_y), (new, new_y) = ((digits[0][part], digits[1][part]) for part in parts)
    # The wide one trains on the first part alone, and chooses by the second.
    candidates = [LinearProbe(x, y, 10, strength) for strength in STRENGTHS]
    small = max(candidates, key=lambda probe: probe.log_probs(held, held_y).mean())
    wide = fit_wide_probe(x, y, held, held_y, classes=10)
    assert isinstance(wide, WideProbe)
    difference = wide.log_probs(new, new_y) - small.log_probs(new, new_y)
    assert difference.mean() > -0.01
    assert wide.log_probs(held, held_y).mean() > small.log_probs(held, held_y).mean() - 1e-3


def test_it_stops_before_it_overfits():
    """More features than examples, of which a few matter: the optimum of a weak penalty is far worse on new ones."""
    generator = np.random.default_rng(0)
    h = generator.normal(size=(1200, 300)).astype(np.float32)
    y = (h[:, 0] + h[:, 1] + 0.5 * generator.normal(size=1200) > 0).astype(int)
    train, held, new = (slice(0, 150), slice(150, 500), slice(500, None))
    probe = fit_wide_probe(h[train], y[train], h[held], y[held], classes=2)
    *_, weakest = descend_penalised(torch.from_numpy(h[train]), y[train], 2, 1.0)
    nothing = math.log(2)
    assert mean_loss(torch.from_numpy(h[new]), y[new], weakest) > nothing
    assert -probe.log_probs(h[new], y[new]).mean() < 0.95 * nothing


class Counted:
    """Features that are made when asked for, and know how many rows that was at a time."""

    def __init__(self, labels, width):
        self.labels, self.width, self.most, self.dtypes = labels, width, 0, set()

    def __call__(self, part):
        labels = torch.from_numpy(self.labels[part])
        self.most = max(self.most, len(labels))
        generator = torch.Generator().manual_seed(part.start or 0)
        h = torch.randn(len(labels), self.width, generator=generator)
        h[torch.arange(len(labels)), labels] += 3.0
        return h


def test_a_wide_layer_is_never_held_whole(monkeypatch):
    """16,384 features, as h1 has: no more than a chunk of rows is asked for, and the larger path is taken by size."""
    monkeypatch.setattr("infoplane.information.wide_probe.ROWS", 32)
    monkeypatch.setattr("infoplane.information.wide_probe.STEPS", 3)
    monkeypatch.setattr(label_module, "WIDE_BYTES", 8 * 16_384 * 63)
    labels = np.random.default_rng(0).integers(0, 3, 96)
    made = Counted(labels[:64], 16_384), Counted(labels[64:], 16_384)
    rows = Rows(64, made[0]), Rows(32, made[1])
    probe = fit_probe(rows[0], labels[:64], rows[1], labels[64:], classes=3)
    assert isinstance(probe, WideProbe)
    assert probe.weights.shape == (16_385, 3)
    assert [m.most for m in made] == [32, 32]
    assert ROWS * 16_384 * 4 == 64 * 1024**2  # bytes of a chunk as it is
    assert -probe.log_probs(rows[0], labels[:64]).mean() < math.log(3)


def test_small_features_go_where_they_always_went(digits):
    features, labels = digits[0][:200], digits[1][:200]
    as_array = fit_probe(features, labels, features, labels, classes=10)
    rows = Rows(200, lambda part: torch.from_numpy(features[part]))
    as_rows = fit_probe(rows, labels, rows, labels, classes=10)
    assert not isinstance(as_array, WideProbe)
    np.testing.assert_array_equal(as_array.probabilities(features), as_rows.probabilities(rows))


def test_probabilities_are_normalised_and_never_zero():
    probe = WideProbe(torch.full((5, 3), 100.0, dtype=torch.float64) * torch.tensor([1, 0, -1]))
    table = probe.probabilities(10 * np.random.default_rng(0).normal(size=(20, 4)))
    np.testing.assert_allclose(table.sum(1), 1)
    assert table.min() > 0
    found = probe.log_probs(np.zeros((2, 4)), np.array([0, 2]))
    np.testing.assert_allclose(found, np.log([1 - 1e-6 + 1e-6 / 3, 1e-6 / 3]))


@pytest.mark.parametrize("wide", [False, True])
def test_the_bound_on_a_noisy_label_channel(monkeypatch, wide):
    """h is a one-hot of four values, y is the value after a channel that replaces it with probability p by another.

    I(y;h) = H(y) − H(y|h) = ln 4 + (1 − p) ln(1 − p) + p ln(p/3).
    """
    if wide:
        monkeypatch.setattr(label_module, "WIDE_BYTES", 0)
    flipped = 0.25
    truth = math.log(4) + (1 - flipped) * math.log(1 - flipped) + flipped * math.log(flipped / 3)
    generator = np.random.default_rng(4)
    values = generator.integers(0, 4, 7000)
    labels = np.where(generator.random(7000) < flipped, (values + generator.integers(1, 4, 7000)) % 4, values)
    h = np.eye(4, dtype=np.float32)[values]
    probe = fit_probe(h[:2000], labels[:2000], h[2000:3000], labels[2000:3000], classes=4)
    assert isinstance(probe, WideProbe) == wide
    estimate = label_information(probe.log_probs(h[3000:], labels[3000:]), labels[3000:], classes=4)
    assert (estimate.bound, estimate.n) == ("lower", 4000)
    assert 0.01 < estimate.stderr < 0.03
    assert abs(estimate.value - truth) < 2 * estimate.stderr


def test_whole_numbers_and_short_types_are_read_as_the_same_numbers():
    weights = torch.tensor([[0.3, -0.2], [0.7, 0.1], [0.05, -0.4]], dtype=torch.float64)
    rows = np.array([[1, 0], [2, 3], [0, 1]])
    logits = rows @ weights[:2].numpy() + weights[2].numpy()
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for features in (rows, torch.as_tensor(rows), torch.as_tensor(rows).half(), torch.as_tensor(rows).bfloat16()):
        np.testing.assert_allclose(WideProbe(weights).probabilities(features), expected, atol=2e-6)
