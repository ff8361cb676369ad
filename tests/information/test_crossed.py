"""The error of a mean over refits and examples, against simulations in which the truth is known."""

import math

import numpy as np
import pytest
from scipy import stats

from infoplane.information import Mean, crossed_mean
from infoplane.information.crossed import Part, equivalent_dof, p_of, reach


def draw(generator, refits, n, *, fits, examples, noise):
    """x_ri = 1 + a_r + b_i + e_ri."""
    return (
        1.0
        + generator.normal(0, fits, (refits, 1))
        + generator.normal(0, examples, (1, n))
        + generator.normal(0, noise, (refits, n))
    )


@pytest.mark.parametrize(
    ("refits", "n", "fits", "examples", "noise"),
    [
        (3, 50, 0.3, 1.0, 0.5),
        (3, 50, 1.0, 1.0, 0.5),
        (5, 40, 0.0, 1.0, 1.0),
        (3, 40, 0.5, 0.0, 1.0),
        (8, 20, 0.3, 2.0, 0.0),
    ],
)
def test_the_error_is_that_of_repeating_everything(refits, n, fits, examples, noise):
    generator = np.random.default_rng(0)
    repeats = 3000
    means = [
        crossed_mean(draw(generator, refits, n, fits=fits, examples=examples, noise=noise)) for _ in range(repeats)
    ]
    values = np.array([m.value for m in means])
    variances = np.array([m.stderr for m in means]) ** 2
    truth = fits**2 / refits + examples**2 / n + noise**2 / (refits * n)
    # The simulation itself: 3000 repeats give a variance to 2.6 %.
    assert values.mean() == pytest.approx(1.0, abs=4 * math.sqrt(truth / repeats))
    assert values.var() == pytest.approx(truth, rel=0.11)
    # Not understated on average, and no more than the noise counted twice.
    slack = 4 * variances.std() / math.sqrt(repeats)
    assert variances.mean() > truth - slack
    assert variances.mean() == pytest.approx(truth + noise**2 / (refits * n), abs=slack)
    # And so 95 % intervals cover, with the degrees of freedom that it states (3000 repeats give that to .4 %).
    covered = np.abs(values - 1) < stats.t.ppf(0.975, [m.dof for m in means]) * np.sqrt(variances)
    assert np.mean(covered) > 0.938


def test_with_the_examples_error_alone_coverage_would_fail():
    # What the second term is for: refits that differ.
    generator = np.random.default_rng(1)
    covered, naive = [], []
    for _ in range(1000):
        terms = draw(generator, 3, 200, fits=0.3, examples=1.0, noise=0.2)
        mean = crossed_mean(terms)
        covered.append(abs(mean.value - 1) < stats.t.ppf(0.975, mean.dof) * mean.stderr)
        one = crossed_mean(terms.mean(0))
        naive.append(abs(one.value - 1) < 1.96 * one.stderr)
    assert np.mean(covered) > 0.938
    assert np.mean(naive) < 0.7


def test_one_fit_is_the_ordinary_error_of_a_mean():
    terms = np.random.default_rng(0).normal(3, 2, 101)
    for shape in (terms, terms[None]):
        mean = crossed_mean(shape)
        assert mean.value == pytest.approx(terms.mean())
        assert mean.stderr == pytest.approx(stats.sem(terms))
        assert mean.dof == pytest.approx(100)
        assert mean.p_value == pytest.approx(stats.ttest_1samp(terms, 0).pvalue)


def test_by_hand():
    # Rows (1, 3), (5, 7): row means 2 and 6, column means 3 and 5.
    mean = crossed_mean(np.array([[1.0, 3.0], [5.0, 7.0]]))
    assert mean.value == 4
    assert mean.stderr == pytest.approx(math.sqrt(8 / 2 + 2 / 2))
    assert mean.parts == (Part(4.0, 1), Part(1.0, 1))
    assert mean.dof == pytest.approx(1)
    # Refits that only copy each other are no further evidence; nor is a constant.
    copies = crossed_mean(np.tile(np.array([1.0, 2.0, 4.0]), (5, 1)))
    assert copies.stderr == pytest.approx(crossed_mean(np.array([1.0, 2.0, 4.0])).stderr)
    constant = crossed_mean(np.full((3, 4), 2.5))
    assert (constant.value, constant.stderr) == (2.5, 0.0)
    single = crossed_mean(np.array([2.5]))
    # Of one example nothing is known of how they differ: not that they do not.
    assert (single.value, single.stderr, single.p_value) == (2.5, math.inf, 1.0)


def test_parts_that_are_none(refuses):
    with refuses("there are no parts of a variance"):
        equivalent_dof([], 0.05)


def test_an_error_of_rounding_is_none():
    terms = np.full((1, 9), 0.1)
    terms[0, ::2] = np.nextafter(0.1, 1)
    assert 0 < terms.std() < 1e-16
    assert crossed_mean(terms).stderr == 0
    terms[0, 0] += 1e-9
    assert crossed_mean(terms).stderr == pytest.approx(1e-9 / 9, rel=1e-3)


def test_p_values():
    assert Mean(0.0, 1.0, 10).p_value == 1
    assert Mean(2.0, 1.0, math.inf).p_value == pytest.approx(2 * stats.norm.sf(2.0))
    assert Mean(-2.0, 1.0, 3).p_value == pytest.approx(2 * stats.t.sf(2.0, 3))
    assert Mean(0.0, 0.0, math.inf).p_value == 1
    assert Mean(0.1, 0.0, math.inf).p_value == 0


def test_groups_of_one_change_nothing_and_their_names_do_not_matter():
    terms = np.random.default_rng(0).normal(3, 2, (3, 41))
    alone = crossed_mean(terms, groups=np.arange(41)[::-1] * 7)
    plain = crossed_mean(terms)
    assert (alone.value, alone.stderr, alone.dof) == pytest.approx((plain.value, plain.stderr, plain.dof))


def test_copies_are_no_further_evidence():
    # Forty images five times each, in any order, are forty images.
    generator = np.random.default_rng(1)
    terms = generator.normal(0, 1, (3, 1)) * 0.1 + generator.normal(3, 2, (3, 40))
    shuffled = generator.permutation(np.repeat(np.arange(40), 5))
    once, copies = crossed_mean(terms), crossed_mean(terms[:, shuffled], groups=shuffled)
    assert (copies.value, copies.stderr, copies.dof) == pytest.approx((once.value, once.stderr, once.dof))
    assert crossed_mean(terms[:, shuffled]).stderr < once.stderr


def test_the_moments_of_a_clustered_variance_are_those_of_the_whole_matrix():
    # The closed form of the traces against matrices, for groups of many sizes.
    sizes = np.array([1, 1, 1, 2, 3, 8])
    groups, n = np.repeat(np.arange(6), sizes), int(sizes.sum())
    terms = np.random.default_rng(2).normal(size=n)
    centring = np.eye(6) - np.outer(sizes / n, np.ones(6))
    covariance = centring @ np.diag(sizes.astype(float) ** 2) @ centring.T
    sums = np.array([(terms[groups == g] - terms.mean()).sum() for g in range(6)])
    scale = (sizes**2).sum() / np.trace(covariance)
    found = crossed_mean(terms, groups=groups)
    assert found.value == pytest.approx(terms.mean())
    assert found.stderr == pytest.approx(math.sqrt(scale * (sums**2).sum()) / n)
    assert found.dof == pytest.approx(np.trace(covariance) ** 2 / np.trace(covariance @ covariance))


def test_clustered_errors_are_those_of_repeating_everything():
    # Groups of one to twelve, alike within but for noise: 3000 repeats give a variance to 2.6 %, coverage to .4 %.
    generator = np.random.default_rng(3)
    sizes = np.array([1] * 20 + [2] * 10 + [4] * 5 + [12] * 3)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    values, errors, reach = [], [], []
    for _ in range(3000):
        terms = generator.normal(1, 1, len(sizes))[groups] + generator.normal(0, 0.2, len(groups))
        mean = crossed_mean(terms, groups=groups)
        values.append(mean.value)
        errors.append(mean.stderr)
        reach.append(stats.t.ppf(0.975, mean.dof) * mean.stderr)
    truth = ((sizes / len(groups)) ** 2).sum() + 0.04 / len(groups)
    assert np.var(values) == pytest.approx(truth, rel=0.11)
    assert np.mean(np.square(errors)) == pytest.approx(truth, rel=0.07)
    assert 0.935 < np.mean(np.abs(np.array(values) - 1) < reach) < 0.985


def test_one_group_alone_has_no_error_to_give():
    found = crossed_mean(np.array([1.0, 2.0, 3.0]), groups=np.zeros(3, dtype=int))
    assert (found.value, found.stderr) == (2.0, math.inf)


def size_of(test, fits, share):
    """The actual size of a test of a mean whose error has a part of few degrees of freedom and a known one.

    By quadrature over the quantiles of that part's estimate; `test` gives the squared reach.
    """
    edges = np.concatenate([[0], np.geomspace(1e-7, 0.02, 150), np.linspace(0.02, 1, 151)[1:]])
    estimates = share * stats.chi2.ppf((edges[1:] + edges[:-1]) / 2, fits) / fits
    squares = np.array([test(each) ** 2 * (each + 1) for each in estimates])
    return float(np.diff(edges) @ stats.chi2.sf(squares / (share + 1), 1))


@pytest.mark.parametrize(("size", "least"), [(0.05, 0.65), (0.01, 0.2), (0.001, 0.03), (1e-5, 0.0)])
@pytest.mark.parametrize("fits", [2, 8])
def test_the_size_of_the_test_is_what_it_says(size, least, fits):
    # Quadrature, not draws: no statistical error. Refits rule, weigh as much as examples, hardly matter.
    for share in (0.05, 0.2, 1.0, 5.0, 20.0, 300.0):
        actual = size_of(lambda fit: reach((Part(fit, fits), Part(1.0, math.inf)), size), fits, share)
        assert least * size < actual < 1.13 * size


def test_welch_and_satterthwaite_would_reject_far_too_often():
    def welch(fit):
        return stats.t.isf(5e-5, 2 * (fit + 1) ** 2 / fit**2)

    assert size_of(welch, 2, 5.0) > 50 * 1e-4


def test_with_the_safe_exponent_no_dependence_of_the_parts_matters():
    # Both estimates from the same draw, two degrees of freedom each: the test is then by Student's t with two.
    parts = (Part(1.0, 1), Part(3.0, 1))
    assert reach(parts, 0.01) == pytest.approx(stats.t.isf(0.005, 1))
    # And by hand (Banerjee 1960), where a part has a single degree of freedom.
    parts = (Part(1.0, 1), Part(3.0, 10))
    by_hand = math.sqrt((stats.t.isf(0.005, 1) ** 2 + 3 * stats.t.isf(0.005, 10) ** 2) / 4)
    assert reach(parts, 0.01) == pytest.approx(by_hand)


@pytest.mark.parametrize("dofs", [(2, 299), (1, 7), (2, 2), (2, 16, 4000), (3, math.inf)])
def test_p_and_equivalent_degrees_of_freedom_are_what_the_reach_implies(dofs):
    generator = np.random.default_rng(0)
    for size in (0.9, 0.3, 0.05, 1e-3, 1e-7, 1e-40):
        parts = [Part(float(variance), dof) for variance, dof in zip(generator.exponential(size=3), dofs, strict=False)]
        errors = reach(parts, size)
        assert p_of(errors, parts) == pytest.approx(size, rel=1e-6)
        dof = equivalent_dof(parts, size)
        assert min(dofs) <= dof <= max(dofs)
        assert 2 * stats.t.sf(errors, dof) == pytest.approx(size, rel=1e-4)


def test_p_falls_as_the_mean_rises_and_never_below_that_of_the_most_degrees_of_freedom():
    parts = (Part(0.7, 2), Part(0.3, 100))
    found = [p_of(errors, parts) for errors in np.geomspace(1e-3, 1e8, 200)]
    assert np.all(np.diff(found) < 0)
    assert found[0] == pytest.approx(1, abs=2e-3)
    assert all(
        stats.t.sf(errors, 100) * 2 <= p <= stats.t.sf(errors, 2) * 2 * (1 + 1e-9)
        for errors, p in zip(np.geomspace(1e-3, 1e8, 200), found, strict=True)
        if stats.t.sf(errors, 100) > 1e-290
    )
