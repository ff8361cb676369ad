"""What every estimator keeps to: an export that returns an Estimate, entered in `call_numbers`, brings these tests."""

import importlib
import math
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from call_goods import drawn, given
from call_inputs import Call
from call_numbers import NUMBERS
from torch import nn

from infoplane.estimate import Estimate
from infoplane.information.sample_propagation import mutual_information
from infoplane.subjects import NoisyNetwork


def returns_estimates(package: str, name: str) -> bool:
    found = getattr(importlib.import_module(f"infoplane.{package}"), name)
    returned = get_type_hints(found).get("return") if callable(found) else None
    return any(isinstance(each, type) and issubclass(each, Estimate) for each in (returned, *get_args(returned)))


def network() -> NoisyNetwork:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return NoisyNetwork([nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2)], 0.3).double()


def propagated(**settings) -> Call:
    """Of a noisy layer: what is drawn is the same each time, and not for inputs in another order."""
    small = {"layer": 2, "samples": 64, "queries": 32} | settings
    more = {name: (lambda value=value: value) for name, value in small.items()}
    draws = {"generator": lambda: torch.Generator().manual_seed(0)}
    return given(mutual_information, network=network, inputs=lambda: torch.from_numpy(drawn(8, 3)), **more, **draws)


SIZES = ({}, {"layer": 1}, {"samples": 16})
PROPAGATED = [pytest.param(propagated(**size), id=f"propagated {size}") for size in SIZES]
OF_EXAMPLES = [
    pytest.param(call, id=f"{package} {name} {at}")
    for package, names in NUMBERS.items()
    for name, calls in names.items()
    if package in ("information", "geometry") and returns_estimates(package, name)
    for at, call in enumerate(calls)
]
EVERY = pytest.mark.parametrize("call", [*OF_EXAMPLES, *PROPAGATED])


def whole(found: Estimate | list[Estimate]) -> list[Estimate]:
    return [found] if isinstance(found, Estimate) else [*found]


#: kind of argument -> the axis of its examples
EXAMPLES = {"log-probabilities": -1, "labels": 0, "activations": 0, "images": 0}


@EVERY
def test_its_number_is_whole(call):
    for found in whole(call()):
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
    own = {name: make() for name, make in call.good.items()}
    before = {name: np.asarray(value).copy() for name, value in own.items() if hasattr(value, "shape")}
    first = call(**own)
    assert call() == first
    assert all(np.array_equal(before[name], own[name]) for name in before)


@pytest.mark.parametrize("call", OF_EXAMPLES)
def test_the_order_of_the_examples_makes_no_difference(call):
    own = {name: make() for name, make in call.good.items()}
    axes = {name: EXAMPLES[kind] for name, kind in call.kinds.items() if kind in EXAMPLES}
    (count,) = {own[name].shape[axis] for name, axis in axes.items()}
    order = np.random.default_rng(0).permutation(count)
    shuffled = {name: np.take(own[name], order, axis) for name, axis in axes.items()}
    for first, other in zip(whole(call(**own)), whole(call(**{**own, **shuffled})), strict=True):
        assert other.value == pytest.approx(first.value, rel=1e-9)
        assert (other.n, other.stderr) == (first.n, pytest.approx(first.stderr, rel=1e-9))
