"""A noisy network: where its noise is, and where not."""

import pytest
import torch
from torch import nn

from infoplane.subjects import NoisyNetwork


def network(beta=0.1):
    torch.manual_seed(0)
    return NoisyNetwork([nn.Sequential(nn.Linear(3, 4), nn.Tanh()), nn.Linear(4, 5), nn.Linear(5, 2)], beta).double()


X = torch.ones(20_000, 3, dtype=torch.float64)


def test_noise_of_the_stated_size_follows_every_layer_but_the_last():
    net = network().eval()
    t1, t2, t3 = net.activations(X, torch.Generator().manual_seed(1))
    first, second, last = net.layers
    for noise in (t1 - first(X), t2 - second(t1)):
        assert float(noise.mean().detach()) == pytest.approx(0, abs=4 * 0.1 / (20_000 * 4) ** 0.5)
        assert float(noise.std().detach()) == pytest.approx(0.1, rel=0.02)
    assert torch.equal(t3, last(t2))
    assert torch.corrcoef(torch.stack([(t1 - first(X))[:, 0], (t2 - second(t1))[:, 0]]))[0, 1].abs() < 0.04


def test_what_a_layer_computes_before_its_noise():
    net, generator = network(), torch.Generator().manual_seed(1)
    assert torch.equal(net.hidden(X, 1, generator), net.layers[0](X))
    hidden = net.hidden(X, 2, torch.Generator().manual_seed(1))
    t1 = net.activations(X, torch.Generator().manual_seed(1))[0]
    assert torch.equal(hidden, net.layers[1](t1))
    assert torch.equal(net.hidden(X, 3, torch.Generator().manual_seed(2)), net(X, torch.Generator().manual_seed(2)))


def test_noise_is_on_until_evaluation_without_it_is_asked_for():
    net = network()
    quiet = net.layers[2](net.layers[1](net.layers[0](X)))
    for loud in (net.train(), net.eval()):
        assert not torch.equal(loud(X), quiet)
    assert torch.equal(net.eval(noise=False)(X), quiet)
    assert not net.training
    assert not torch.equal(net.train()(X), quiet)
    assert not torch.equal(net.eval(noise=False).eval()(X), quiet)


def test_one_seed_one_pass():
    net = network()
    first, again, other = (net(X, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_bad_input_is_one_line(refuses):
    for beta in (0, -1, float("nan"), float("inf"), "x"):
        with refuses("beta must be a positive number"):
            NoisyNetwork([nn.Identity()], beta)
    with refuses("a network without layers"):
        NoisyNetwork([], 0.1)
    for layers, received in (
        (nn.Linear(2, 2), "received Linear"),
        (3, "received int"),
        ([3], "received int as layer 1"),
        ([nn.Identity(), "tanh"], "received str as layer 2"),
    ):
        with refuses("a network's layers must be a list of modules", received):
            NoisyNetwork(layers, 0.1)  # pyright: ignore[reportArgumentType]
    assert len(NoisyNetwork(nn.Sequential(nn.Identity(), nn.Identity()), 0.1).layers) == 2
    for layer in (0, 4):
        with refuses("no such layer", "1 to 3"):
            network().hidden(X, layer)
