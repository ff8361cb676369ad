"""Information about the label, against channels whose information is known."""

import math

import numpy as np
import pytest
from scipy import special, stats

from infoplane.information import accuracy, fit_probe, label_information
from infoplane.information.class_prior import ClassPrior
from infoplane.information.label import STRENGTHS, LinearProbe, falls_short
from infoplane.information.wide_probe import fit_wide_probe


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
    train, held, new = (h[:120], y[:120]), (h[120:160], y[120:160]), (h[160:], y[160:])
    probe = fit_probe(*train, *held, classes=2)
    scores = [LinearProbe(h[:160], y[:160], 2, s).log_probs(*new).mean() for s in STRENGTHS]
    assert STRENGTHS[0] <= 1e-5
    # So few pairs cannot find the very best on 1,840 new ones, but neither of the ends.
    assert probe.log_probs(*new).mean() > max(scores) - 0.03
    assert max(scores) > max(scores[0], scores[-1]) + 0.03


@pytest.mark.parametrize("fit", [fit_probe, fit_wide_probe])
def test_a_penalty_that_is_hardly_one_is_found_where_it_does_best(fit):
    """Five standard normal features, log odds of 8 of the first: I(y;h) = log 2 − E H(y|h), by quadrature."""
    generator = np.random.default_rng(1)
    h = generator.normal(size=(6000, 5))
    y = (8 * h[:, 0] + generator.logistic(size=6000) > 0).astype(int)
    nodes, weights = np.polynomial.hermite_e.hermegauss(201)
    odds = 8 * nodes
    entropy = np.logaddexp(0, odds) - odds * special.expit(odds)
    truth = np.log(2) - float(weights @ entropy) / math.sqrt(2 * math.pi)
    found = fit(h[:150], y[:150], h[150:200], y[150:200], classes=2)
    reached = label_information(found.log_probs(h[200:], y[200:]), y[200:], classes=2)
    assert reached.value == pytest.approx(truth, abs=0.04)
    held_back = label_information(LinearProbe(h[:200], y[:200], 2, 0.1).log_probs(h[200:], y[200:]), y[200:], classes=2)
    assert held_back.value < truth - 0.04


@pytest.mark.parametrize("seed", [3, 4])
def test_of_two_thousand_units_of_noise_the_reader_learns_to_guess(seed):
    generator = np.random.default_rng(seed)
    h, y = generator.normal(size=(1150, 2000)).astype(np.float32), generator.integers(0, 2, 1150)
    probe = fit_probe(h[:120], y[:120], h[120:150], y[120:150], classes=2)
    estimate = label_information(probe.log_probs(h[150:], y[150:]), y[150:], classes=2)
    assert abs(estimate.value) < 0.02
    sure = LinearProbe(h[:150], y[:150], 2, 1.0).log_probs(h[150:], y[150:])
    assert label_information(sure, y[150:], classes=2).value < -0.1


@pytest.mark.parametrize("wide", [False, True])
def test_a_class_that_decoding_never_saw_costs_what_its_share_may_be(wide):
    """Of 10 classes the last never occurs among 400 pairs: an example of it costs about log 800, not 16 nats."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, 9, 400)
    h = np.eye(10, dtype=np.float32)[y] * 3
    fitter = fit_wide_probe if wide else fit_probe
    probe = fitter(h[:320], y[:320], h[320:], y[320:], classes=10)
    new = np.concatenate([generator.integers(0, 9, 180), np.full(20, 9)])
    scores = probe.log_probs(np.eye(10, dtype=np.float32)[new] * 3, new)
    assert scores[180:].min() > -math.log(2 * 400 + 10) - 0.1
    # And the others lose next to nothing: the reader was right 80 times of 80.
    assert -0.1 < scores[:180].mean() < 0
    table = probe.probabilities(np.eye(10, dtype=np.float32))
    np.testing.assert_allclose(table.sum(1), 1)


def test_the_share_of_guessing_is_the_likeliest_with_an_example_of_either_kind_added():
    generator = np.random.default_rng(1)
    labels, q = generator.integers(0, 3, 50), generator.uniform(0, 1, 50)
    prior = ClassPrior.of(generator.integers(0, 3, 90), 3)
    found = prior.weighted(np.log(q), labels).weight
    grid = np.linspace(0, 1, 10_001)[1:-1]
    mixed = (1 - grid)[:, None] * q + grid[:, None] * prior.shares[labels]
    assert found == pytest.approx(grid[(np.log(mixed).sum(1) + np.log(grid * (1 - grid))).argmax()], abs=2e-4)
    # Right 30 times of 30: about one in 32; never right: nearly all.
    sure = prior.weighted(np.full(30, -1e-9), labels[:30]).weight
    assert 1 / 100 < sure < 1 / 15
    assert prior.weighted(np.full(30, -800.0), labels[:30]).weight > 0.9


def test_labels_of_one_class_leave_a_reader_that_knows_it():
    h = np.random.default_rng(0).normal(size=(40, 3))
    probe = fit_probe(h[:30], np.zeros(30, int), h[30:], np.zeros(10, int), classes=2)
    assert 0.9 < probe.probabilities(h)[:, 0].min() < 1


def test_copies_stay_in_one_part_of_a_cross_validation():
    """Twenty noisy images, ten times each: without groups the copies vouch for one another."""
    generator = np.random.default_rng(0)
    h, y = generator.normal(size=(20, 50)).repeat(10, 0), generator.integers(0, 2, 20).repeat(10)
    groups = np.arange(20).repeat(10)
    order = generator.permutation(200)
    fitted = [
        fit_probe(h[order][:160], y[order][:160], h[order][160:], y[order][160:], classes=2, groups=each)
        for each in (None, groups[order])
    ]
    new, labels = generator.normal(size=(500, 50)), generator.integers(0, 2, 500)
    trusting, careful = (probe.log_probs(new, labels).mean() for probe in fitted)
    assert trusting < -1.2
    assert careful > -0.85  # log 2 is .69


def test_features_that_cannot_be_read(refuses):
    h, y = np.ones((6, 2)), np.array([0, 1, 0, 1, 0, 1])
    with refuses("features are not finite"):
        fit_probe(np.full((6, 2), np.nan), y, h, y, classes=2)
    with refuses("features are no rows"):
        fit_probe(h[:, 0], y, h, y, classes=2)
    with refuses("held features are no rows"):
        fit_probe(h, y, None, y, classes=2)
    with refuses("differ in width", "2 and 1"):
        fit_probe(h, y, h[:, :1], y, classes=2)
    with refuses("labels are outside the classes"):
        fit_probe(h, y + 1, h, y, classes=2)


def test_a_reader_or_chance_that_is_none(refuses):
    with refuses("kind", "label, forward, own"):
        label_information(np.full(8, -1.0), np.arange(8) % 2, classes=2, kind="probe")
    for chance in (2.0, -0.1, math.nan, "half"):
        with refuses("the share that would agree by chance"):
            accuracy(np.arange(8) % 2 == 0, chance=chance)


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


def test_with_known_probabilities_the_entropy_of_the_label_is_exact():
    """100 classes, 200 images, a perfect reader: the plug-in entropy is some .25 nats short of log 100."""
    labels = np.random.default_rng(0).integers(0, 100, 200)
    perfect = np.full(200, -1e-12)
    short = label_information(perfect, labels, classes=100)
    assert short.value < math.log(100) - 0.2
    lacks = math.log(100) - short.value  # what it is short by exactly, since the reader is sure
    assert any(f"errs low by about {lacks:.2g} nats" in flag for flag in short.flags)
    exact = label_information(perfect, labels, classes=100, prior=np.full(100, 0.01))
    assert exact.value == pytest.approx(math.log(100))
    assert exact.flags == ()
    # With unequal classes the mean over repetitions is H(y).
    shares = np.array([0.7, 0.2, 0.1])
    drawn = np.random.default_rng(1).choice(3, (400, 60), p=shares)
    found = [label_information(np.full(60, -1e-12), each, classes=3, prior=shares).value for each in drawn]
    truth = -(shares * np.log(shares)).sum()
    assert np.mean(found) == pytest.approx(truth, abs=4 * np.std(found) / 20)


def test_groups_are_what_the_entropy_is_short_by():
    single = np.random.default_rng(0).integers(0, 90, 60)
    groups = np.arange(60).repeat(10)
    found = label_information(np.full(600, -1e-9), single.repeat(10), classes=90, groups=groups)
    assert "H(y) of 60 labels errs low by about" in found.flags[0]
    assert found.flags == label_information(np.full(60, -1e-9), single, classes=90).flags


def test_classes_that_never_occur_are_not_what_the_entropy_is_short_by():
    """Two labels called 5 and 905: H(y) ≤ log 2 whatever the largest label is."""
    labels = np.repeat([5, 905], 8)
    assert falls_short(labels, 906) == pytest.approx(1 / 32)
    assert falls_short(np.repeat([0, 1], 8), 2) == pytest.approx(0, abs=1e-12)  # no entropy is above log 2
    assert falls_short(np.zeros(5, int), 1) == 0
    # 200 labels that are all different, of 10,000 classes: the entropy lacks log 50, not 9,999/400 = 25.
    assert falls_short(np.arange(200), 10_000) == pytest.approx(math.log(50))


@pytest.mark.parametrize("classes", [10, 40, 100, 400])
def test_what_the_entropy_is_short_by_is_about_that_on_average(classes):
    """Over 300 samples of 200 labels, against the known H(y); Miller's first order within a quarter, or .02."""
    generator = np.random.default_rng(0)
    shares = generator.dirichlet(np.full(classes, 3.0))
    truth = -(shares * np.log(shares)).sum()
    drawn = [generator.choice(classes, 200, p=shares) for _ in range(300)]
    plugin = [stats.entropy(np.bincount(each)) for each in drawn]
    said = np.mean([falls_short(each, classes) for each in drawn])
    assert said == pytest.approx(truth - np.mean(plugin), rel=0.25, abs=0.02)


def test_a_prior_of_many_classes_that_never_occur_leaves_the_others_their_share():
    prior = ClassPrior.of(np.repeat([5, 905], 20), 906)
    assert prior.shares.sum() == pytest.approx(1)
    assert prior.shares[[5, 905]].sum() == pytest.approx(40 / 41)
    assert prior.shares.min() > 0
    # One class of ten that never occurred costs log 2n, as before.
    few = ClassPrior.of(np.repeat(np.arange(9), 20), 10)
    assert few.shares[9] == pytest.approx(0.5 / 185)


def test_all_classes_alike_by_name():
    labels = np.random.default_rng(0).integers(0, 5, 50)
    scores = np.log(np.random.default_rng(1).uniform(0.1, 1, 50))
    named, given = (label_information(scores, labels, classes=7, prior=each) for each in ("uniform", np.full(7, 1 / 7)))
    assert named == given


def test_answers_that_are_not_above_chance_are_no_classifiers():
    """Of 2,000 networks that know nothing at most 5 % pass, of those that are right in half of all cases most do."""
    generator, n, classes = np.random.default_rng(0), 60, 10
    passed = {0.0: 0, 0.5: 0}
    for knows in passed:
        for _ in range(1000):
            labels = generator.integers(0, classes, n)
            answers = np.where(generator.random(n) < knows, labels, generator.choice(classes, n, p=[0.55] + [0.05] * 9))
            chance = float((np.bincount(labels, minlength=classes) / n) @ (np.bincount(answers, minlength=classes) / n))
            passed[knows] += not accuracy(answers == labels, chance=chance).flags
    assert passed[0.0] <= 50 + 3 * math.sqrt(1000 * 0.05 * 0.95)
    assert passed[0.5] == 1000
    none = accuracy(np.zeros(200), chance=0.01)
    (flag,) = none.flags
    assert flag.startswith("the last output does not act as a classifier of these labels")
    # A constant answer is right as often as its class occurs, whatever that share.
    assert accuracy(np.arange(100) < 90, chance=0.9).flags
    assert not accuracy(np.arange(100) < 98, chance=0.9).flags


def test_probabilities_that_are_not_those_of_the_classes(refuses):
    with refuses("no such class probabilities", "'even'", "uniform"):
        label_information(np.full(3, -1.0), np.array([0, 1, 2]), classes=3, prior="even")
    for prior in ([0.5, 0.5], [0.5, 0.6, 0.1], [1.5, -0.25, -0.25], [0.5, 0.5, 0.0]):
        with refuses("class probabilities do not fit the labels"):
            label_information(np.full(3, -1.0), np.array([0, 1, 2]), classes=3, prior=np.array(prior))


@pytest.mark.filterwarnings("error")
def test_many_classes_of_few_examples_are_read_without_a_warning():
    labels = np.arange(60) % 45
    features = np.random.default_rng(0).normal(size=(60, 3))
    probe = fit_probe(features[:50], labels[:50], features[50:], labels[50:], classes=45)
    assert np.allclose(probe.probabilities(features).sum(1), 1)
