"""Bounds from log-probabilities, against brute force and channels whose information is known."""

import math

import numpy as np
import pytest
from scipy import special, stats

from infoplane.information import (
    contrastive_bound,
    contrastive_terms,
    cross_entropy,
    crossed_mean,
    difference,
    label_information,
    negative_cross_entropy,
    usable_information,
)


def slow_terms(scores) -> list[float]:
    """log [q(x_i|h_i) / (1/K Σ_k q(x_i|h_k))], straight from the definition."""
    k = len(scores)
    return [math.log(math.exp(scores[i][i]) / (sum(math.exp(s) for s in scores[i]) / k)) for i in range(k)]


@pytest.mark.parametrize("candidates", [1, 2, 7, 64])
def test_contrastive_terms_are_those_of_the_definition(candidates):
    scores = np.random.default_rng(candidates).normal(-3, 2, (candidates, candidates))
    np.testing.assert_allclose(contrastive_terms(scores), slow_terms(scores), rtol=1e-12, atol=1e-12)
    # An image's own probability level cancels, and neither huge nor tiny ones overflow.
    for shift in (-5000.0, 800.0):
        np.testing.assert_allclose(contrastive_terms(scores + shift), slow_terms(scores), rtol=1e-9, atol=1e-9)


def test_no_term_exceeds_log_k():
    generator = np.random.default_rng(0)
    for spread in (0.1, 10.0, 1e4):
        scores = generator.normal(0, spread, (32, 32)) + spread * 10 * np.eye(32)
        assert contrastive_terms(scores).max() <= math.log(32) + 1e-9
    perfect = np.where(np.eye(16, dtype=bool), 0.0, -1e6)
    np.testing.assert_allclose(contrastive_terms(perfect), math.log(16))
    assert contrastive_terms(np.zeros((16, 16))) == pytest.approx(np.zeros(16))


def test_single_precision_scores_are_worked_out_in_double():
    scores = np.random.default_rng(0).normal(-600, 3, (64, 64)).astype(np.float32)
    np.testing.assert_allclose(contrastive_terms(scores), slow_terms(scores.astype(np.float64) + 600), atol=1e-10)


def gaussian_bound(rho, candidates, batches, seed, *, sharpness=1.0):
    """The contrastive bound of the true density of a pair of unit Gaussians with correlation rho."""
    generator = np.random.default_rng(seed)
    means = []
    for _ in range(batches):
        h = generator.normal(size=candidates)
        x = rho * h + math.sqrt(1 - rho**2) * generator.normal(size=candidates)
        scores = stats.norm.logpdf(x[:, None], rho * h[None, :], math.sqrt(1 - rho**2))
        means.append(contrastive_terms(sharpness * scores).mean())
    return contrastive_bound(np.array(means), candidates)


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.6, 0.9])
def test_true_gaussian_density_gives_almost_the_information(rho):
    truth = -0.5 * math.log(1 - rho**2)
    estimate = gaussian_bound(rho, 64, 500, seed=1)
    assert estimate.value <= truth + 3 * estimate.stderr
    assert estimate.value >= 0.97 * truth - 3 * estimate.stderr
    assert (estimate.kind, estimate.direction, estimate.n, estimate.refits) == ("contrastive", "lower", 500, 1)
    assert estimate.flags == ()


def test_a_wrong_density_stays_below():
    truth = -0.5 * math.log(1 - 0.8**2)
    for sharpness in (0.2, 3.0):
        estimate = gaussian_bound(0.8, 64, 300, seed=2, sharpness=sharpness)
        assert estimate.value < truth - 3 * estimate.stderr


def test_true_discrete_density_gives_almost_the_information():
    # x and h in 0 … 7, joint drawn once.
    generator = np.random.default_rng(0)
    joint = generator.dirichlet(np.full(64, 0.3)).reshape(8, 8)
    by_x, by_h = joint.sum(1), joint.sum(0)
    truth = float(special.rel_entr(joint, np.outer(by_x, by_h)).sum())
    with np.errstate(divide="ignore"):
        log_conditional = np.log(joint / by_h)
    means = []
    for _ in range(400):
        x, h = np.unravel_index(generator.choice(64, size=128, p=joint.ravel()), (8, 8))
        means.append(contrastive_terms(log_conditional[x[:, None], h[None, :]]).mean())
    estimate = contrastive_bound(np.array(means), 128)
    assert truth < 0.8 * math.log(128)
    assert truth - 0.02 - 3 * estimate.stderr < estimate.value <= truth + 3 * estimate.stderr


def test_saturation_is_flagged():
    # I = 5.4 nats with 8 candidates: the bound can only say log 8.
    saturated = gaussian_bound(0.99999, 8, 200, seed=3)
    assert saturated.value <= math.log(8)
    assert any("saturated" in flag and "8" in flag for flag in saturated.flags)
    assert saturated.value < -0.5 * math.log(1 - 0.99999**2)
    assert gaussian_bound(0.5, 8, 200, seed=3).flags == ()


@pytest.mark.parametrize("batches", [1, 2, 9])
def test_a_bound_needs_ten_batches(refuses, batches):
    with refuses("too few batches", str(batches), "at least 10"):
        contrastive_bound(np.zeros((3, batches)), 64)
    assert contrastive_bound(np.zeros((3, 10)), 64).n == 10


def test_standard_error_of_the_bound_is_over_batches():
    batches = np.random.default_rng(0).normal(1, 0.1, (3, 20))
    estimate = contrastive_bound(batches, 64)
    expected = math.sqrt(batches.mean(0).var(ddof=1) / 20 + batches.mean(1).var(ddof=1) / 3)
    assert estimate.stderr == pytest.approx(expected)
    assert (estimate.n, estimate.refits) == (20, 3)


@pytest.mark.parametrize("refits", [1, 3])
def test_cross_entropy_and_its_negative(refits):
    scores = np.random.default_rng(0).normal(-80, 5, (refits, 200))
    given = scores[0] if refits == 1 else scores
    nce, ce = negative_cross_entropy(given), cross_entropy(given)
    assert nce.value == pytest.approx(scores.mean())
    assert ce.value == pytest.approx(-scores.mean())
    assert nce.stderr == pytest.approx(ce.stderr)
    assert nce.stderr == pytest.approx(crossed_mean(scores).stderr)
    assert (nce.direction, ce.direction) == ("lower", "upper")
    assert (nce.kind, ce.kind) == ("nce", "cross-entropy")
    assert (nce.n, nce.refits) == (200, refits)
    assert math.isfinite(nce.dof)


def test_usable_information_is_paired_example_by_example():
    # Images differ by 10 nats, what h adds varies by .1: the pairing takes the former out.
    generator = np.random.default_rng(0)
    null = generator.normal(-80, 10, (1, 400))
    gain = generator.normal(2, 0.1, (1, 400))
    estimate = usable_information(null + gain, null)
    assert estimate.value == pytest.approx(gain.mean())
    assert estimate.stderr == pytest.approx(gain.std(ddof=1) / 20)
    assert estimate.stderr < 0.01
    assert (estimate.kind, estimate.direction, estimate.bound) == ("usable", "none", None)
    # In another order of examples the error is that of two unpaired means, and the value the same.
    unpaired = usable_information(null + gain, null[:, ::-1])
    assert unpaired.value == pytest.approx(estimate.value)
    assert unpaired.stderr > 50 * estimate.stderr
    assert difference(null + gain, null).value == estimate.value
    assert difference(null + gain, null).stderr == estimate.stderr


def test_usable_information_is_paired_refit_by_refit():
    # The seed moves both fits alike: the pairing takes that out too.
    generator = np.random.default_rng(0)
    seeds = generator.normal(0, 5, (3, 1))
    null = generator.normal(-80, 10, (1, 100)) + seeds
    gain = generator.normal(1, 0.1, (3, 100))
    estimate = usable_information(null + gain, null)
    assert estimate.stderr == pytest.approx(crossed_mean(gain).stderr)
    assert estimate.refits == 3
    assert usable_information(null + gain, null[::-1]).stderr > 20 * estimate.stderr


def test_usable_information_of_a_known_channel():
    # x uniform on 8 values, h its first two bits: with the true densities, log 4 for every example.
    x = np.random.default_rng(0).integers(0, 8, 50)
    estimate = usable_information(np.full(x.shape, -math.log(2)), np.full(x.shape, -math.log(8)))
    assert estimate.value == pytest.approx(math.log(4))
    assert estimate.stderr == pytest.approx(0, abs=1e-12)


def test_more_than_possible_is_flagged():
    scores, null = np.full((1, 10), -1.0), np.full((1, 10), -4.0)
    assert usable_information(scores, null).flags == ()
    assert usable_information(scores, null, ceiling=3.1).flags == ()
    (flag,) = usable_information(scores, null, ceiling=math.log(10)).flags
    assert "2.303" in flag


def test_errors_are_over_groups_and_groups_are_counted():
    # Forty examples, each five times: there is as much to learn from them as from the forty.
    terms = np.random.default_rng(0).normal(-9, size=(3, 40))
    null = np.random.default_rng(1).normal(-9, size=(3, 40))
    fivefold, groups = np.repeat(terms, 5, axis=1), np.repeat(np.arange(40), 5)
    of_null = np.repeat(null, 5, axis=1)
    pairs = [
        (negative_cross_entropy(fivefold, groups=groups), negative_cross_entropy(terms)),
        (cross_entropy(fivefold, groups=groups), cross_entropy(terms)),
        (usable_information(fivefold, of_null, groups=groups), usable_information(terms, null)),
    ]
    for grouped, single in pairs:
        assert (grouped.n, grouped.refits, grouped.kind) == (40, 3, single.kind)
        assert grouped.value == pytest.approx(single.value, rel=1e-12)
        assert grouped.stderr == pytest.approx(single.stderr, rel=1e-9)
    # Without groups a single fit would seem √5 times as exact.
    apparent, true = (negative_cross_entropy(fivefold[:1], groups=each).stderr for each in (None, groups))
    assert apparent == pytest.approx(true * np.sqrt(39 / 199))
    assert difference(fivefold, of_null, groups=groups).stderr == pytest.approx(difference(terms, null).stderr)


@pytest.mark.parametrize("values", [np.ones(10), [-3.0, 0.02], [[-1.0, -2.0], [-1.0, 5.0]]], ids=repr)
def test_images_have_no_probabilities_above_one(values, refuses):
    below = np.full(np.shape(values), -1.0)
    for call in (
        lambda: negative_cross_entropy(values),
        lambda: cross_entropy(values),
        lambda: usable_information(values, below),
        lambda: usable_information(below, values),
    ):
        with refuses("log-probabilities are above 0", "0 or less"):
            call()


def test_rounding_may_lift_a_certain_image_above_one():
    assert negative_cross_entropy([-1.0, 1e-4]).value == pytest.approx(-0.49995)


@pytest.mark.parametrize("terms", [[-1e200, -2e200, 0, -1], [-1e308, -1e308, -1e308], [[-1e150, 0], [0, -1e150]]])
@pytest.mark.parametrize("groups", [None, np.arange(4)])
def test_terms_whose_spread_no_computer_holds_are_refused(terms, groups, refuses):
    groups = None if groups is None else groups[: np.shape(terms)[-1]]
    null = np.full(np.shape(terms), -1.0)
    for call in (
        lambda: negative_cross_entropy(terms, groups=groups),
        lambda: crossed_mean(terms, groups=groups),
        lambda: usable_information(terms, null, groups=groups),
        lambda: difference(null, terms, groups=groups),
    ):
        with refuses("terms are too large", "1e+140"):
            call()


def test_examples_of_one_group_have_no_error(refuses):
    """Neither a bound on pixels nor one on labels can say how far off it is, and so is not made."""
    scores, groups = -np.arange(1.0, 11.0), np.zeros(10, dtype=int)
    for made in (
        lambda groups: negative_cross_entropy(scores, groups=groups),
        lambda groups: usable_information(scores, scores - 1, groups=groups),
        lambda groups: label_information(scores, np.arange(10) % 2, classes=2, groups=groups),
    ):
        with refuses("all examples are of one group", "2 or more"):
            made(groups)
        assert made(np.arange(10) // 5).n == 2
