"""`Reading`: the context for every way of reading axes, that nothing is lost, and that layouts make no difference."""

import json
import math

import pytest
import torch
from torch import Tensor

from infoplane.capture import Reading, vector
from infoplane.capture.layout import DIRECTIONS, MAX_CONTEXT, MAX_MAP
from infoplane.inversion import Standardiser


def draws(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def undo(context: Tensor, reading: Reading) -> Tensor:
    """The activation back from its context, element by element, written from the documentation of `Reading` alone."""
    found = torch.full((len(context), *reading.shape), float("nan"))
    others = [axis for axis in range(len(reading.shape)) if axis not in reading.at]
    sizes = [reading.shape[axis] for axis in others]
    for index in torch.cartesian_prod(*map(torch.arange, reading.shape)).reshape(-1, len(reading.shape)).tolist():
        channel = 0
        for size, axis in zip(sizes, others):
            channel = channel * size + index[axis]
        rows, columns = reading.grid
        if not reading.at:
            value = context[:, channel]
        elif len(reading.at) == 2:
            value = context[:, channel, index[reading.at[0]], index[reading.at[1]]]
        else:
            token = index[reading.at[0]]
            if token < reading.leading:
                copies = context[:, math.prod(sizes) * (1 + token) + channel].flatten(1)
                assert torch.equal(copies, copies[:, :1].expand_as(copies))
                value = copies[:, 0]
            else:
                row, column = divmod(token - reading.leading, columns)
                assert row < rows
                value = context[:, channel, row, column]
        found[(slice(None), *index)] = value
    return found


@pytest.mark.parametrize(
    ("reading", "context"),
    [
        (vector(()), (1,)),
        (vector((7,)), (7,)),
        (vector((5, 3, 4)), (60,)),
        (Reading((5, 3, 4), (1, 2), (3, 4)), (5, 3, 4)),
        (Reading((3, 4, 5), (0, 1), (3, 4)), (5, 3, 4)),
        (Reading((6, 5), (0,), (2, 3)), (5, 2, 3)),
        (Reading((5, 6), (1,), (2, 3)), (5, 2, 3)),
        (Reading((8, 5), (0,), (2, 3), 2), (15, 2, 3)),
        (Reading((2, 7, 3), (1,), (2, 3), 1), (12, 2, 3)),
        (Reading((2, 3, 4, 5), (1, 2), (3, 4)), (10, 3, 4)),
    ],
)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_context_and_round_trip(reading, context, batch):
    activation = draws(batch, *reading.shape)
    found = reading(activation)
    assert found.shape == (batch, *context)
    assert reading.context == context
    assert reading.altered is None
    if reading.shape:
        assert torch.equal(undo(found, reading), activation)
    # Every unit once, whatever is repeated.
    assert torch.equal(
        reading.units(found).sort(1).values, activation.reshape(batch, math.prod(reading.shape)).sort(1).values
    )
    assert Reading.from_json(json.loads(json.dumps(reading.to_json()))) == reading


def test_the_same_values_give_the_same_contexts_in_every_layout():
    h = draws(50, 12, 4, 6)
    tokens = h.flatten(2).transpose(1, 2)
    padded = torch.cat([torch.zeros(50, 2, 12), tokens], 1)
    plain = Reading((12, 4, 6), (1, 2), (4, 6))
    others = [
        (Reading((4, 6, 12), (0, 1), (4, 6)), h.permute(0, 2, 3, 1)),
        (Reading((24, 12), (0,), (4, 6)), tokens),
        (Reading((26, 12), (0,), (4, 6), 2), padded),
        (Reading((2, 24, 6), (1,), (4, 6)), h.reshape(50, 2, 6, 24).transpose(2, 3)),
    ]
    expected = Standardiser.of(plain.batches(h))(plain(h))
    for reading, values in others:
        found = Standardiser.of(reading.batches(values))(reading(values))
        assert torch.equal(found[:, :12], expected), reading.words
        # Leading tokens that never vary become zeros, which condition on nothing.
        assert not found[:, 12:].any()


def test_half_and_double_become_float():
    reading = Reading((3, 2, 2), (1, 2), (2, 2))
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        assert reading(torch.ones(1, 3, 2, 2, dtype=dtype)).dtype == torch.float32


# ---- what is too wide ----


def test_limits():
    assert vector((MAX_CONTEXT,)).altered is None
    assert vector((MAX_CONTEXT,)).context == (MAX_CONTEXT,)
    wide = vector((MAX_CONTEXT + 1,))
    assert wide.altered == "projected"
    assert wide.context == (DIRECTIONS,)
    assert Reading((16, 256, 512), (1, 2), (256, 512)).altered is None
    assert Reading((17, 256, 512), (1, 2), (256, 512)).altered == "projected"
    for reading in (
        Reading((64, 1024, 1024), (1, 2), (1024, 1024)),
        Reading((1, 4096, 4096), (1, 2), (4096, 4096)),
        Reading((201, 9000), (0,), (14, 14), 5),
        Reading((5000, 64, 100), (0, 2), (5000, 100)),
    ):
        assert reading.altered is not None
        assert math.prod(reading.context) <= MAX_MAP


def matrix_of(reading: Reading) -> Tensor:
    """The linear map that `condense` is, column by column."""
    size = math.prod(reading.shape)
    return reading.condense(torch.eye(size).reshape(size, *reading.shape)).flatten(1).T


@pytest.mark.parametrize("size", [12, 35])
def test_projections_are_orthonormal(monkeypatch, size):
    monkeypatch.setattr("infoplane.capture.layout.MAX_CONTEXT", 11)
    monkeypatch.setattr("infoplane.capture.layout.DIRECTIONS", 9)
    monkeypatch.setattr("infoplane.capture.layout.MAX_MAP", 36)
    monkeypatch.setattr("infoplane.capture.layout.LEAST_CHANNELS", 2)
    readings = [vector((size,)), Reading((size, 3, 2), (1, 2), (3, 2)), Reading((8, size), (0,), (2, 3), 2)]
    for reading, kept in zip(readings, (9, 36, 16)):
        matrix = matrix_of(reading)
        assert matrix.shape[0] == kept
        assert reading.altered == "projected"
        # Rounding of float32 in sums of at most 210 products: 1e-6 is ample.
        assert torch.allclose(matrix @ matrix.T, torch.eye(kept), atol=1e-6)
        # Every direction weighs many coordinates: a choice of coordinates would lose whole units.
        assert matrix.abs().max() < 0.75


def test_a_projection_sees_what_pooling_and_permuting_leave(monkeypatch):
    """Projected tokens, map and channels-last map of the same values are the same numbers."""
    monkeypatch.setattr("infoplane.capture.layout.MAX_MAP", 80)
    monkeypatch.setattr("infoplane.capture.layout.LEAST_CHANNELS", 2)
    h = draws(5, 30, 4, 5)
    plain = Reading((30, 4, 5), (1, 2), (4, 5))
    assert plain.context == (4, 4, 5)
    last, tokens = Reading((4, 5, 30), (0, 1), (4, 5)), Reading((20, 30), (0,), (4, 5))
    for reading, values in ((last, h.permute(0, 2, 3, 1)), (tokens, h.flatten(2).transpose(1, 2))):
        assert torch.equal(reading(values), plain(h))


def test_pooling_averages(monkeypatch):
    monkeypatch.setattr("infoplane.capture.layout.MAX_MAP", 3 * 8)
    reading = Reading((3, 4, 8), (1, 2), (4, 8))
    h = draws(2, 3, 4, 8)
    expected = h.reshape(2, 3, 2, 2, 4, 2).mean((3, 5))
    assert reading.altered == "pooled"
    assert torch.allclose(reading(h), expected, atol=1e-6)
    assert reading.words == "map 3×4×8, channels first, pooled to 2×4"


def test_a_million_features_are_projected_in_bounded_memory():
    reading = vector((1_000_003,))  # a prime: no power of two is needed
    h = draws(3, 1_000_003)
    found = reading(h)
    assert found.shape == (3, DIRECTIONS)
    # E‖Ph‖² = (m/d)‖h‖², relative standard deviation about √(2/m) = 1.1 %: six of them.
    ratio = found.square().sum(1) / h.square().sum(1) * (1_000_003 / DIRECTIONS)
    assert (ratio - 1).abs().max() < 0.07
    # Row by row and all at once.
    assert torch.allclose(reading(h[1:2]), found[1:2], atol=1e-5)


def test_words():
    assert vector((768,)).words == "vector of 768"
    assert vector((50, 768), guess=True).words == "50×768 flattened to a vector of 38,400, a guess"
    assert Reading((96, 56, 56), (1, 2), (56, 56)).words == "map 96×56×56, channels first"
    assert Reading((56, 56, 96), (0, 1), (56, 56)).words == "map 96×56×56, channels last"
    prefixed = Reading((198, 768), (0,), (14, 14), 2)
    assert prefixed.words == "map 768×14×14 of tokens behind 2 leading, which are repeated at every position"
    assert prefixed.pattern == "nc+2"
    assert vector((100, 1000)).words.endswith("projected onto 16,384 of 100,000 directions")
