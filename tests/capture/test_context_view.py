"""`context_view`: the shape for every rank, and that nothing is lost."""

import math

import pytest
import torch
from torch import Tensor

from infoplane.capture import MAX_CONTEXT, context_view
from infoplane.errors import UsageError


def undo(view: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The activation `(B, *shape)` back from its view, written from the documentation of `context_view` alone."""
    if len(shape) == 2 and shape[0]:
        tokens, features = shape
        side = math.isqrt(tokens)
        if tokens == side * side:
            return view.reshape(len(view), features, tokens).transpose(1, 2)
        if tokens == side * side + 1:
            both = view.reshape(len(view), 2 * features, tokens - 1).transpose(1, 2)
            return torch.cat([both[:, :1, features:], both[:, :, :features]], dim=1)
    return view.reshape(len(view), *shape)


@pytest.mark.parametrize(
    ("shape", "viewed"),
    [
        ((), (1,)),
        ((7,), (7,)),
        ((5, 3, 4), (5, 3, 4)),
        ((5, 1, 1), (5,)),
        ((5, 1, 2), (5, 1, 2)),
        ((16, 6), (6, 4, 4)),
        ((17, 6), (12, 4, 4)),
        ((1, 6), (6,)),
        ((2, 6), (12,)),
        ((3, 6), (18,)),
        ((18, 6), (108,)),
        ((2, 3, 4, 5), (120,)),
    ],
)
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_shape_and_round_trip(shape, viewed, batch):
    activation = torch.rand(batch, *shape)
    view = context_view(activation)
    assert view.shape == (batch, *viewed)
    assert torch.equal(undo(view, shape), activation)


def test_tokens_lie_row_by_row():
    tokens = torch.arange(9.0).reshape(1, 9, 1)
    assert torch.equal(context_view(tokens)[0, 0], torch.arange(9.0).reshape(3, 3))


def test_a_class_token_is_at_every_position():
    tokens = torch.rand(2, 10, 4)
    view = context_view(tokens)
    assert torch.equal(view[:, 4:], tokens[:, 0, :, None, None].expand(2, 4, 3, 3))


def test_too_long_a_vector_is_refused():
    assert context_view(torch.zeros(1, MAX_CONTEXT)).shape == (1, MAX_CONTEXT)
    with pytest.raises(UsageError, match=r"received 65,538 features from shape \(3, 21846\); legal: at most 65,536;"):
        context_view(torch.zeros(1, 3, 21846))
    assert context_view(torch.zeros(1, 2, 200, 200)).shape == (1, 2, 200, 200)
