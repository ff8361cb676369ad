"""One rule for what may be said: Holm's correction by hand and by its stepwise rule, and what stands in the way."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from infoplane.claims import Hypothesis, claims, corrected_for, holm, verdict_of
from infoplane.information import Mean, pooled
from infoplane.information.crossed import Part


def test_holm_by_hand():
    # Sorted .01 .02 .03 .04: times 4, 3, 2, 1, and never below the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_rejects_what_the_stepwise_rule_rejects():
    generator = np.random.default_rng(0)
    for _ in range(200):
        p = generator.random(12) ** 4
        rejected, order = np.zeros(12, dtype=bool), np.argsort(p)
        for rank, index in enumerate(order):
            if p[index] >= 0.05 / (12 - rank):
                break
            rejected[index] = True
        assert (np.array(holm(list(p))) < 0.05).tolist() == rejected.tolist()


def test_the_family_wise_error_of_dependent_tests_is_kept():
    # 4000 families of 20 true hypotheses that share much: 5 % at most, give or take .34 %.
    generator = np.random.default_rng(1)
    shared = generator.normal(size=(4000, 1)) * 0.7 + generator.normal(size=(4000, 20)) * np.sqrt(1 - 0.49)
    p = 2 * stats.norm.sf(np.abs(shared))
    found = [claims([Hypothesis(1.0, each) for each in row]) for row in p]
    wrong = [any(claim.verdict != "not told apart" for claim in family) for family in found]
    assert np.mean(wrong) < 0.06


@pytest.mark.parametrize("loud", [1.0, 5.0])
def test_a_flat_curve_is_left_alone(loud):
    """Changes between six checkpoints of a curve that never changes, three refits, pooled: 150 pages tell to ± 1.8 %.

    By p-values as they are, something would be claimed on more than an eighth of them.
    """
    generator, refits, points = np.random.default_rng(2), 3, 6
    spreads = np.r_[np.ones(points - 1), loud]
    pairs = [*pairwise(range(points)), *((at, points - 1) for at in range(points - 2))]
    said, plain = [], []
    for _ in range(150):
        fits = np.sqrt(refits) * (spreads[:, None] * generator.normal(size=(points, refits)) + generator.normal(size=3))
        images, page = generator.normal(size=points), []
        for first, last in pairs:
            change, contrast = fits[last] - fits[first], np.zeros(points)
            contrast[[first, last]] = -1, 1
            parts = (Part(change.var(ddof=1) / refits, refits - 1), Part(2.0, 299))
            own = Mean.of(float(change.mean() + images[last] - images[first]), parts)
            mean = pooled(own, fits, contrast)
            page.append(Hypothesis(mean.value, mean.p_value, refits))
        said.append(any(claim.verdict in ("rises", "falls") for claim in claims(page)))
        plain.append(any(each.p < 0.05 for each in page))
    assert np.mean(said) < 0.06 + 2 * 0.018
    assert np.mean(plain) > 0.125


def test_the_verdict_is_by_the_corrected_p_and_has_the_sign_of_the_change():
    found = claims([Hypothesis(2.0, 0.01, 3), Hypothesis(-2.0, 0.001, 3), Hypothesis(-1.0, 0.03, 3, training=True)])
    assert [claim.verdict for claim in found] == ["rises", "falls", "falls"]
    assert found[2].words == "falls, of this one network"
    assert [claim.p for claim in found] == pytest.approx([0.02, 0.003, 0.03])
    many = claims([Hypothesis(2.0, 0.03, 3), *(Hypothesis(1.0, 0.6, 3) for _ in range(5))])
    assert (many[0].verdict, many[0].p, many[0].tests) == ("not told apart", pytest.approx(0.18), 6)


def test_identical_terms_count_once_by_the_larger_p():
    found = claims([Hypothesis(2.0, 0.02, 3, "a"), Hypothesis(2.0, 0.021, 3, "a"), Hypothesis(1.0, 0.5, 3, "b")])
    assert [claim.tests for claim in found] == [2, 2, 2]
    assert [claim.p for claim in found] == pytest.approx([0.042, 0.042, 0.5])


def test_what_cannot_be_claimed_is_no_test():
    found = claims(
        [
            Hypothesis(1.0, 1e-9, 2),
            Hypothesis(1.0, 1e-9, 3, barred="only one was pooled"),
            Hypothesis(1.0, None, 3),
            Hypothesis(1.0, 0.04, 3),
            Hypothesis(1e-4, 1e-9, None, negligible=1e-3),
        ]
    )
    assert [claim.verdict for claim in found] == ["too few fits", "barred", "not tested", "rises", "not told apart"]
    assert [claim.words for claim in found[:2]] == ["fewer than 3 fits: no claim", "only one was pooled"]
    assert {claim.tests for claim in found} == {2}
    assert [claim.p for claim in found[:3]] == [None, None, None]


def test_words_are_read_back():
    for verdict in claims([Hypothesis(1.0, 0.5, 3, training=True), Hypothesis(-1.0, 1e-9), Hypothesis(1.0, 0.1, 1)]):
        assert verdict_of(verdict.words) == verdict.verdict
    assert verdict_of("only one was pooled") == "barred"


def test_a_page_says_over_how_many_tests():
    assert corrected_for(0) == ""
    assert "all 1,234 tests" in corrected_for(1234)
    assert "corrected anew" in corrected_for(3)
