"""The classifier of Nash et al. (2019): its layers' shapes and what each computes."""

import pytest
import torch
import torch.nn.functional as F

from infoplane.subjects import NashCNN


def shapes(model, x):
    """The output shape of each layer to tap, without the batch."""
    found = {}
    for name in ("conv1", "conv2", "fc3", "logits"):
        getattr(model, name).register_forward_hook(
            lambda _, __, output, name=name: found.__setitem__(name, tuple(output.shape[1:]))
        )
    model(x)
    return found


def test_published_shapes():
    model = NashCNN((1, 28, 28), 10)
    expected = {"conv1": (32, 12, 12), "conv2": (32, 4, 4), "fc3": (256,), "logits": (10,)}
    assert shapes(model, torch.rand(2, 1, 28, 28)) == expected
    colour = NashCNN((3, 32, 32), 10, filters=(64, 128))
    expected = {"conv1": (64, 14, 14), "conv2": (128, 5, 5), "fc3": (256,), "logits": (10,)}
    assert shapes(colour, torch.rand(2, 3, 32, 32)) == expected


@pytest.mark.parametrize(
    ("shape", "options", "maps"),
    [
        ((1, 8, 8), {"kernel": 3, "padding": 1}, ((32, 4, 4), (32, 2, 2))),
        ((2, 16, 21), {"filters": (5, 6)}, ((5, 6, 8), (6, 1, 2))),
        ((1, 40, 40), {}, ((32, 18, 18), (32, 7, 7))),
    ],
)
def test_any_size(shape, options, maps):
    found = shapes(NashCNN(shape, 7, hidden=9, **options), torch.rand(2, *shape))
    assert found == {"conv1": maps[0], "conv2": maps[1], "fc3": (9,), "logits": (7,)}


def test_it_computes_what_it_says():
    torch.manual_seed(0)
    model = NashCNN((2, 28, 28), 4, filters=(3, 5), hidden=6).eval()
    x = torch.rand(3, 2, 28, 28)
    state = model.state_dict()
    weights = list(state.values())
    assert [tuple(w.shape) for w in weights] == [(3, 2, 5, 5), (3,), (5, 3, 5, 5), (5,), (6, 80), (6,), (4, 6), (4,)]
    h = F.max_pool2d(F.relu(F.conv2d(x, weights[0], weights[1])), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, weights[2], weights[3])), 2)
    h = F.relu(F.linear(h.flatten(1), weights[4], weights[5]))
    torch.testing.assert_close(model(x), F.linear(h, weights[6], weights[7]))


def test_dropout_is_in_front_of_all_layers_but_the_first():
    torch.manual_seed(0)
    model = NashCNN((1, 28, 28), 4, filters=(3, 5), hidden=64).train()
    x = torch.rand(2, 1, 28, 28)
    inputs = {}
    for name in ("conv1", "conv2", "fc3", "logits"):
        getattr(model, name).register_forward_pre_hook(
            lambda _, arguments, name=name: inputs.__setitem__(name, arguments[0])
        )
    first, second = model(x), model(x)
    assert not torch.equal(first, second)
    assert torch.equal(inputs["conv1"], x)
    model.eval()
    assert torch.equal(model(x), model(x))
    model.train()
    model(x)
    trained = dict(inputs)
    for name in ("conv2", "fc3", "logits"):
        zeros = (trained[name] == 0).float().mean()
        assert zeros > 0.35, name  # half of the units are dropped
    assert NashCNN((1, 28, 28), 4, dropout=0.0).dropout == 0


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 15, 28), (1, 28, 15), (1, 1, 1)])
def test_images_too_small_are_refused(shape, refuses):
    with refuses("too small", f"{shape[1]}×{shape[2]}", "kernel 5", "kernel to 3"):
        NashCNN(shape, 10)
    if min(shape[1:]) >= 4:
        NashCNN(shape, 10, kernel=3, padding=1)(torch.rand(1, *shape))


def test_smallest_images_that_fit():
    assert shapes(NashCNN((1, 16, 16), 10), torch.rand(1, 1, 16, 16))["conv2"] == (32, 1, 1)
