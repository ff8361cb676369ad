"""How an Estimate prints, and that bits are a view of it."""

import dataclasses
import math

import numpy as np
import pytest

from infoplane.checks import check_whole
from infoplane.estimate import KINDS, Estimate

USABLE = Estimate(12.19, stderr=0.31, unit="nats", kind="usable", bound=None, n=297, refits=3)


def test_it_prints_its_meaning():
    assert str(USABLE) == "12.19 ± 0.31 nats (usable information, n = 297, 3 refits)"
    single = dataclasses.replace(USABLE, kind="nce", bound="lower", refits=1)
    assert str(single) == "12.19 ± 0.31 nats (negative cross-entropy, lower bound, n = 297, single fit)"
    flagged = dataclasses.replace(USABLE, kind="contrastive", bound="lower", flags=("saturated near log 64 = 4.159",))
    assert str(flagged).endswith("lower bound, n = 297, 3 refits; saturated near log 64 = 4.159)")
    assert "nats" not in str(Estimate(0.93, 0.01, unit="fraction", kind="accuracy", n=100))
    assert "squared error" in str(Estimate(0.02, 0.001, unit="squared error", kind="mse", n=100))


@pytest.mark.parametrize(
    ("value", "stderr", "shown"),
    [
        (1.23456, None, "1.23 nats"),
        (1.23456, 0.5, "1.23 ± 0.50 nats"),
        (1.23456, 0.0123, "1.235 ± 0.012 nats"),
        (1.23456, 0.00123, "1.2346 ± 0.0012 nats"),
        (-617.3, 12.0, "-617.30 ± 12.00 nats"),
        (1.5, 0.0, "1.50 ± 0.00 nats"),
    ],
)
def test_two_digits_of_the_error_are_shown(value, stderr, shown):
    assert str(Estimate(value, stderr, n=3)).startswith(shown + " (")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan"), 1j, "1", None, np.ones(2)])
def test_what_is_not_finite_is_no_estimate(refuses, bad):
    with refuses("the value of a number of kind 'nce' is not finite"):
        Estimate(bad, 0.1, kind="nce")
    if bad is not None:
        with refuses("the standard error of a number of kind 'information' is not finite"):
            Estimate(1.0, bad)


def test_an_error_is_not_negative_and_counts_are_whole(refuses):
    with refuses("out of range", "a finite number, 0 or more"):
        Estimate(1.0, -0.1)
    for dof in (0, -1.0, math.nan, None):
        with refuses("the degrees of freedom"):
            Estimate(1.0, 0.1, dof=dof)
    assert Estimate(1.0, 0.1, dof=math.inf).dof == math.inf
    for name in ("n", "refits"):
        for count in (-1, 2.5, None):
            with refuses("must be a whole number, 0 or more"):
                Estimate(1.0, 0.1, **{name: count})


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"unit": "bit"}, "the unit"),
        ({"bound": "up"}, "the bound"),
        ({"flags": "saturated"}, "the flags"),
        ({"flags": ("\x1b[31mred",)}, "the flags"),
        ({"kind": "a\nb"}, "the kind of a number"),
        ({"kind": ""}, "the kind of a number"),
        ({"kind": 3}, "the kind of a number"),
        ({"ceiling": -math.inf}, "the ceiling"),
        ({"ceiling": math.nan}, "the ceiling"),
        ({"unit": "fraction", "kind": "accuracy", "value": 1.2}, "must be a share"),
        ({"unit": "fraction", "kind": "accuracy", "value": -0.1}, "must be a share"),
    ],
)
def test_words_and_limits_that_are_none(refuses, fields, word):
    with refuses(word):
        Estimate(**{"value": 1.0, **fields})


def test_bits_are_a_view():
    bits = USABLE.bits
    assert bits.unit == "bits"
    assert bits.value == pytest.approx(12.19 / math.log(2))
    assert bits.stderr == pytest.approx(0.31 / math.log(2))
    assert (bits.kind, bits.bound, bits.n, bits.refits, bits.flags) == ("usable", None, 297, 3, ())
    assert bits.bits is bits
    assert USABLE.nats is USABLE
    assert bits.nats.value == pytest.approx(USABLE.value)
    assert Estimate(math.log(8), None).bits.value == pytest.approx(3)
    assert Estimate(1.0, None).bits.stderr is None
    assert USABLE.value == 12.19  # unchanged


@pytest.mark.parametrize("unit", ["fraction", "squared error"])
def test_only_information_has_bits(unit):
    with pytest.raises(ValueError, match=unit):
        _ = Estimate(1.0, 0.1, unit=unit).bits
    with pytest.raises(ValueError, match=unit):
        _ = Estimate(1.0, 0.1, unit=unit).nats


def test_it_cannot_be_changed_and_knows_its_words():
    with pytest.raises(dataclasses.FrozenInstanceError):
        USABLE.value = 3.0
    for kind, words in KINDS.items():
        assert Estimate(1.0, kind=kind).meaning == words
    assert [Estimate(1.0, bound=b).direction for b in ("lower", "upper", "estimate", None)] == [
        "lower",
        "upper",
        "estimate",
        "none",
    ]


HUGE = [10**400, -(10**400), 10**5000, -(10**5000)]


@pytest.mark.parametrize("huge", HUGE, ids=["+", "-", "++", "--"])
@pytest.mark.parametrize("field", ["value", "stderr", "ceiling", "dof"])
def test_a_number_that_no_float_holds_is_refused_in_one_line(field, huge, refuses):
    with refuses("received"):
        Estimate(**{"value": 1.0, "stderr": 0.1, field: huge})
    with refuses("received"):
        Estimate(1.0, 0.1).interval(huge)
    with refuses("received"):
        check_whole("a count", huge, least=0, most=5)


@pytest.mark.parametrize("wrong", [3, True, len, np.zeros(3), [3], b"nats"], ids=repr)
@pytest.mark.parametrize("field", ["unit", "bound", "kind", "flags"])
def test_words_must_be_words(field, wrong, refuses):
    with refuses(field, "received"):
        Estimate(**{"value": 1.0, field: wrong})


@pytest.mark.parametrize("stored", [None, 3, "abc", [], {}, {"stderr": 1.0}, {"value": 1.0, "worth": 2}], ids=repr)
def test_what_is_stored_must_be_the_fields_of_an_estimate(stored, refuses):
    with refuses("not the fields of a number", "a mapping with value"):
        Estimate.of(stored)
