"""Information about the label, against channels whose information is known."""

import math

import numpy as np
import pytest

from infoplane.information import accuracy, fit_probe, label_information


def symmetric_channel(n, error, classes, generator):
    """y uniform, h = y but with probability `error` one of the others: (one-hot h, y)."""
    y = generator.integers(0, classes, n)
    other = (y + generator.integers(1, classes, n)) % classes
    h = np.where(generator.random(n) < error, other, y)
    return np.eye(classes, dtype=np.float32)[h], y


def its_information(error, classes):
    """log K − H(error) − error · log(K − 1), in nats."""
    if error == 0:
        return math.log(classes)
    return math.log(classes) + error * math.log(error / (classes - 1)) + (1 - error) * math.log(1 - error)


@pytest.mark.parametrize(("error", "classes"), [(0.0, 4), (0.1, 4), (0.3, 2), (0.75, 4), (0.2, 10)])
def test_a_probe_reaches_the_information_of_a_symmetric_channel(error, classes):
    generator = np.random.default_rng(int(100 * error) + classes)
    (h, y), (held_h, held_y), (new_h, new_y) = (
        symmetric_channel(n, error, classes, generator) for n in (4000, 1000, 4000)
    )
    probe = fit_probe(h, y, held_h, held_y, classes=classes)
    estimate = label_information(probe.log_probs(new_h, new_y), new_y, classes=classes)
    truth = its_information(error, classes)
    assert truth >= 0
    assert estimate.value <= truth + 3 * estimate.stderr + 1e-4
    assert estimate.value > truth - 3 * estimate.stderr - 0.02
    assert (estimate.kind, estimate.direction, estimate.unit) == ("label", "lower", "nats")
    assert (estimate.n, estimate.refits) == (4000, 1)


def test_the_bound_is_one_on_average():
    # Over repetitions, with few examples, the mean stays below the truth.
    truth, values = its_information(0.2, 3), []
    for seed in range(30):
        generator = np.random.default_rng(seed)
        (h, y), (held_h, held_y), (new_h, new_y) = (symmetric_channel(n, 0.2, 3, generator) for n in (150, 50, 100))
        probe = fit_probe(h, y, held_h, held_y, classes=3)
        values.append(label_information(probe.log_probs(new_h, new_y), new_y, classes=3).value)
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    assert np.mean(values) < truth + 3 * error
    assert np.mean(values) > 0.5 * truth


def test_unrelated_features_say_nothing():
    generator = np.random.default_rng(0)
    h, y = generator.normal(size=(900, 5)), generator.integers(0, 3, 900)
    probe = fit_probe(h[:300], y[:300], h[300:400], y[300:400], classes=3)
    estimate = label_information(probe.log_probs(h[400:], y[400:]), y[400:], classes=3)
    assert estimate.value < 3 * estimate.stderr
    assert estimate.value > -0.1


def test_label_information_by_hand():
    # Labels 0, 0, 0, 1: H = .562; a classifier that gives every true label 1/2 leaves ln 2 of it unsaid.
    labels = np.array([0, 0, 0, 1])
    estimate = label_information(np.log(np.full(4, 0.5)), labels, classes=3)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert estimate.value == pytest.approx(entropy - math.log(2))
    # A constant classifier that knows the frequencies knows nothing of y from h.
    constant = label_information(np.log(np.array([0.75, 0.75, 0.75, 0.25])), labels, classes=2)
    assert constant.value == pytest.approx(0)
    assert constant.stderr == pytest.approx(0, abs=1e-9)
    refits = label_information(np.log(np.full((3, 4), 0.5)), labels, classes=2)
    assert (refits.n, refits.refits) == (4, 3)


def test_probe_probabilities_are_normalised_and_never_zero():
    generator = np.random.default_rng(0)
    h, y = generator.normal(size=(60, 4)), generator.integers(0, 3, 60)  # of 5 classes, two are never seen
    probe = fit_probe(h, y, h, y, classes=5)
    table = probe.probabilities(10 * generator.normal(size=(20, 4)))
    assert table.shape == (20, 5)
    np.testing.assert_allclose(table.sum(1), 1)
    assert table.min() > 0
    np.testing.assert_allclose(probe.log_probs(h[:5], np.arange(5)), np.log(probe.probabilities(h[:5]).diagonal()))


def test_the_probe_takes_the_penalty_that_held_out_pairs_prefer():
    # Few examples in many dimensions, one of which matters: a weak penalty overfits, the strongest underfits.
    generator = np.random.default_rng(0)
    h = generator.normal(size=(2000, 40))
    y = (h[:, 0] + 0.7 * generator.normal(size=2000) > 0).astype(int)
    train, held = (h[:80], y[:80]), (h[80:1000], y[80:1000])
    probe = fit_probe(*train, *held, classes=2)
    from infoplane.information.label import STRENGTHS, LinearProbe

    scores = [LinearProbe(*train, 2, s).log_probs(*held).mean() for s in STRENGTHS]
    assert probe.log_probs(*held).mean() == max(scores)
    assert max(scores) > min(scores) + 0.02


def test_accuracy_is_a_share_with_a_binomial_error():
    estimate = accuracy(np.array([True] * 30 + [False] * 10))
    assert estimate.value == 0.75
    assert estimate.stderr == pytest.approx(math.sqrt(0.75 * 0.25 / 40))
    assert (estimate.unit, estimate.kind, estimate.n, estimate.refits) == ("fraction", "accuracy", 40, 0)
    with pytest.raises(ValueError, match="bits"):
        _ = estimate.bits


def test_answers_to_copies_count_once():
    correct, groups = np.repeat([1, 0, 1, 1, 0, 1, 1, 0], 4), np.repeat(np.arange(8), 4)
    share = accuracy(correct, groups=groups)
    assert (share.value, share.n) == (5 / 8, 8)
    assert share.stderr == pytest.approx(np.sqrt(5 / 8 * 3 / 8 / 7))  # of eight answers, with their own mean
    scores, labels = np.log(np.random.default_rng(0).uniform(0.1, 1, 8)), np.arange(8) % 2
    grouped = label_information(np.repeat(scores, 4), np.repeat(labels, 4), classes=2, groups=groups)
    single = label_information(scores, labels, classes=2)
    assert (grouped.n, grouped.value) == (8, pytest.approx(single.value))
    assert grouped.stderr == pytest.approx(single.stderr)
