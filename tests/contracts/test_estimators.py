"""What every estimator keeps to: an export that returns an Estimate, entered in `call_numbers`, brings these tests."""

import importlib
import math
from typing import get_type_hints

import numpy as np
import pytest
from call_numbers import NUMBERS

from infoplane.estimate import Estimate


def returns_an_estimate(package: str, name: str) -> bool:
    found = getattr(importlib.import_module(f"infoplane.{package}"), name)
    return callable(found) and get_type_hints(found).get("return") is Estimate


EVERY = pytest.mark.parametrize(
    "call",
    [
        pytest.param(call, id=f"{package} {name} {at}")
        for package, names in NUMBERS.items()
        for name, calls in names.items()
        if package in ("information", "geometry") and returns_an_estimate(package, name)
        for at, call in enumerate(calls)
    ],
)
#: kind of argument -> the axis of its examples
EXAMPLES = {"log-probabilities": -1, "labels": 0, "activations": 0, "images": 0}


@EVERY
def test_its_number_is_whole(call):
    found = call()
    assert math.isfinite(found.value)
    assert found.stderr is None or 0 <= found.stderr < math.inf
    assert found.n >= 1
    assert "\n" not in str(found)
    if found.unit == "nats":
        bits = found.bits
        assert (bits.value * math.log(2), bits.unit) == (pytest.approx(found.value), "bits")
        assert bits.stderr is None or bits.stderr * math.log(2) == pytest.approx(found.stderr)


@EVERY
def test_it_is_the_same_each_time_and_leaves_what_it_is_given(call):
    given = {name: make() for name, make in call.good.items()}
    before = {name: np.array(value, copy=True) for name, value in given.items() if hasattr(value, "shape")}
    first = call(**given)
    assert call() == first
    assert all(np.array_equal(before[name], given[name]) for name in before)


@EVERY
def test_the_order_of_the_examples_makes_no_difference(call):
    given = {name: make() for name, make in call.good.items()}
    axes = {name: EXAMPLES[kind] for name, kind in call.kinds.items() if kind in EXAMPLES}
    (count,) = {given[name].shape[axis] for name, axis in axes.items()}
    order = np.random.default_rng(0).permutation(count)
    shuffled = {name: np.take(given[name], order, axis) for name, axis in axes.items()}
    first, other = call(**given), call(**{**given, **shuffled})
    assert other.value == pytest.approx(first.value, rel=1e-9)
    assert (other.n, other.stderr) == (first.n, pytest.approx(first.stderr, rel=1e-9))
