"""Intervals cover what they should, and views convert all that is in a unit: against simulation and other libraries."""

import dataclasses
import importlib
import json
import math
import pkgutil
from typing import Any

import numpy as np
import pytest
from scipy import stats

import infoplane
from infoplane.errors import UsageError
from infoplane.estimate import KINDS, Estimate
from infoplane.information import accuracy, negative_cross_entropy
from infoplane.information.sample_propagation import NoisyEstimate
from infoplane.study.tables import tidy
from table_rows import estimate_of

#: fields of any estimate that have no unit, or are one
UNITLESS = {"unit", "kind", "bound", "n", "refits", "dof", "flags", "read_through", "networks"}


def classes() -> list[type[Estimate]]:
    """Estimate and every class that inherits from it, wherever in the package it is."""
    for module in pkgutil.walk_packages(infoplane.__path__, "infoplane."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found, left = [], [Estimate]
    while left:
        found.append(left.pop())
        left += found[-1].__subclasses__()
    return found


def numbers(part: Any) -> list[float]:
    """All numbers of a field, in order."""
    if isinstance(part, Estimate):
        return [part.value, *numbers(part.stderr)]
    if isinstance(part, (tuple, list)):
        return [number for each in part for number in numbers(each)]
    return [part] if isinstance(part, (int, float)) else []


def filled(kind: type[Estimate]) -> Estimate:
    """An estimate with a number in each of its fields, by their types."""
    made: dict[str, Any] = {"unit": "nats", "kind": "flow", "bound": "estimate", "flags": ("a flag",)}
    made["read_through"] = "a layer"
    for index, field in enumerate(dataclasses.fields(kind)):
        words = str(field.type)
        if field.name in made:
            continue
        if "Estimate" in words:
            made[field.name] = Estimate(index + 0.5, 0.25, n=3)
        elif "tuple[str, float]" in words:
            made[field.name] = (("one", index + 0.5), ("other", index + 0.75))
        elif "tuple[float" in words:
            made[field.name] = (index + 0.25, index + 0.75)
        else:
            made[field.name] = index + 1 if field.type in (int, "int") else index + 0.125
    return kind(**made)


def test_every_field_of_every_estimate_is_in_the_unit_or_has_none():
    found = classes()
    assert NoisyEstimate in found
    for kind in found:
        nats = filled(kind)
        assert type(nats.bits) is kind
        for field in dataclasses.fields(kind):
            before, after = getattr(nats, field.name), getattr(nats.bits, field.name)
            if field.name in UNITLESS:
                assert before == after or field.name == "unit"
                continue
            assert numbers(before), f"{kind.__name__}.{field.name}: give it a number here"
            assert np.allclose(numbers(after), np.array(numbers(before)) / math.log(2)), f"{kind.__name__}.{field.name}"
            assert np.allclose(numbers(getattr(nats.bits.nats, field.name)), numbers(before))
        low, high = nats.bits.interval()
        assert np.allclose([low, high], np.array(nats.interval()) / math.log(2))


def test_parts_in_bits_are_estimates_in_bits():
    found = NoisyEstimate(1.0, 0.1, entropy=Estimate(2.0, 0.1, kind="differential-entropy"), bounds=(0.5, 1.5)).bits
    assert found.entropy is not None
    assert found.bounds is not None
    assert found.entropy.unit == "bits"
    assert found.entropy.value == pytest.approx(2 / math.log(2))
    assert found.bounds[0] < found.value < found.bounds[1]


@pytest.mark.parametrize("kind", classes(), ids=lambda kind: kind.__name__)
def test_an_estimate_comes_back_from_what_is_stored(kind):
    for made in (filled(kind), dataclasses.replace(filled(kind), dof=math.inf, stderr=None, flags=())):
        assert kind.of(dataclasses.asdict(made)) == made
        again = kind.of(json.loads(json.dumps(dataclasses.asdict(made))))
        assert again == made
        assert hash(again) == hash(made)


@pytest.mark.parametrize("dof", [2.0, 7.31, math.inf])
@pytest.mark.parametrize("refits", [0, 1, 3])
def test_an_estimate_comes_back_from_its_row(dof, refits):
    for kind in KINDS:
        made = Estimate(-1.5, 0.25, kind=kind, bound="lower", n=12, refits=refits, dof=dof, flags=("one", "other"))
        row = tidy(dataclasses.make_dataclass("Study", ["name"])("tiny"), "fc", "end", "all", made)
        assert list(row)[-1] == "dof"
        assert estimate_of(row) == made
        assert estimate_of(row).interval(0.9) == made.interval(0.9)


def test_intervals_are_those_of_student():
    for dof, level in ((2, 0.95), (9.5, 0.5), (40, 0.999), (math.inf, 0.95)):
        found = Estimate(3.0, 0.5, dof=dof).interval(level)
        assert found == pytest.approx(stats.t.interval(level, dof, loc=3.0, scale=0.5))
    assert Estimate(3.0, 0.5, dof=2).bits.interval() == pytest.approx(
        np.array(Estimate(3.0, 0.5, dof=2).interval()) / math.log(2)
    )
    assert Estimate(3.0, 0.0, dof=2).interval() == (3.0, 3.0)


def test_shares_have_the_interval_of_wilson():
    for right, n in ((0, 10), (10, 10), (7, 10), (297, 297), (150, 300), (1, 1)):
        known = stats.binomtest(right, n).proportion_ci(0.95, method="wilson")
        found = accuracy(np.arange(n) < right)
        assert found.interval() == pytest.approx((known.low, known.high), abs=1e-12)
    assert str(accuracy(np.ones(297))) == "1.000 [0.987, 1.000] (accuracy, n = 297)"


def test_shares_of_images_in_groups_count_as_fewer():
    # 300 images, each five times: the error is that of 60.
    share, copies = 0.8, 5
    stderr = math.sqrt(share * (1 - share) / 60)
    known = stats.binomtest(48, 60).proportion_ci(0.95, method="wilson")
    found = Estimate(share, stderr, "fraction", "accuracy", n=60 * copies, refits=0)
    assert found.interval() == pytest.approx((known.low, known.high))
    # Samples of one image that disagree have a smaller error; they still count as one image.
    assert Estimate(share, 0.01, "fraction", "sample-accuracy", n=60).interval() == pytest.approx(
        (known.low, known.high)
    )


def test_shares_are_covered():
    generator = np.random.default_rng(0)
    for n, share in ((30, 0.97), (297, 0.99), (8, 0.5)):
        right = generator.binomial(n, share, 2000) / n
        ends = [Estimate(value, None, "fraction", "accuracy", n=n).interval() for value in right]
        covered = np.mean([low <= share <= high for low, high in ends])
        exact = stats.binom(n, share)
        inside = [
            low <= share <= high
            for low, high in (Estimate(k / n, n=n, unit="fraction").interval() for k in range(n + 1))
        ]
        assert covered == pytest.approx(exact.pmf(np.arange(n + 1)) @ inside, abs=4 * math.sqrt(0.25 / 2000))
        assert covered > 0.92


@pytest.mark.parametrize("ratio", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_three_refits_cover_what_every_fit_and_image_would_give(ratio, noise):
    # Variance of the mean over the choice of fits is `ratio` times that over images. 4,000 runs tell .93 to ± .004.
    generator, runs, refits, n = np.random.default_rng(1), 4000, 3, 60
    hits = 0
    for _ in range(runs):
        fits = generator.normal(0, math.sqrt(ratio * refits / n), (refits, 1))
        terms = -50 + fits + generator.normal(size=n) + noise * generator.normal(size=(refits, n))
        low, high = negative_cross_entropy(terms).interval()
        hits += low <= -50 <= high
    assert hits / runs >= 0.93


def test_a_number_without_an_error_has_no_interval():
    for found in (Estimate(8.318), Estimate(-3.0, None, kind="nce", n=1), Estimate(0.5, None, "squared error", "mse")):
        with pytest.raises(UsageError, match=r"no interval without a standard error; received .* of n = [01]"):
            found.interval()


@pytest.mark.parametrize("level", [0, 1, 1.5, -0.1, math.nan, "95", None, True])
def test_a_level_that_is_none_is_refused(level):
    for estimate in (
        Estimate(1.0, 0.1),
        Estimate(0.5, 0.1, "fraction", n=10),
        NoisyEstimate(1.0, 0.1, bounds=(0.0, 2.0)),
    ):
        with pytest.raises(UsageError, match="no such level of confidence"):
            estimate.interval(level)


def test_proved_bounds_are_the_interval():
    errors = (("queries", 0.03), ("inputs", 0.0), ("centres", 0.04), ("samples", 0.2))
    found = NoisyEstimate(2.0, 0.2, errors=errors, bounds=(1.5, 2.3))
    assert found.interval() == (1.5, 2.3)
    assert found.interval(0.5) == (1.5, 2.3)
    more = (stats.norm.ppf(0.9995) - 2) * 0.05
    assert found.interval(0.999) == pytest.approx((1.5 - more, 2.3 + more))
    assert NoisyEstimate(0.1, 0.1, bounds=(0.0, 0.2), errors=(("chance", 0.1),)).interval(0.999)[0] == 0
    # At a first layer there is chance alone, and information is never negative.
    assert NoisyEstimate(0.1, 0.1).interval() == pytest.approx((0.0, 0.1 + 0.1 * stats.norm.ppf(0.975)))


@pytest.mark.parametrize("n", [0, 40])
@pytest.mark.parametrize("value", [-2.0, 0.5, 0.96, 1.0, 1.0 + 1e-12, 1.05, 2.0, 50.0])
@pytest.mark.parametrize("stderr", [1e-9, 0.1, 3.0])
def test_the_ends_are_in_order_and_about_the_value_wherever_the_ceiling_is(value, stderr, n):
    low, high = Estimate(value, stderr, ceiling=1.0, n=n).interval()
    assert low <= value <= high
    z = stats.norm.ppf(0.975)
    # Within the ceiling nothing is above it; a value that is above it has its own error on that side.
    assert high == pytest.approx(min(value + z * stderr, 1.0) if value <= 1 else value + z * stderr)
    if value > 1 and not n:
        assert low == pytest.approx(value - z * stderr)
