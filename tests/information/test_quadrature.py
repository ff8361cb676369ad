"""Information in chains of single units by quadrature, against nested adaptive integrals and closed forms."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from torch import nn

from infoplane.information import quadrature
from infoplane.information.quadrature import chain_density, chain_information
from infoplane.subjects import NoisyNetwork


class Unit(nn.Module):
    """act(w x + b)."""

    def __init__(self, weight, bias, act=torch.tanh):
        super().__init__()
        self.weight, self.bias, self.act = weight, bias, act

    def forward(self, x):
        return self.act(self.weight * x + self.bias)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def leaky(value):
    return torch.nn.functional.leaky_relu(value, 0.1)


def chain(units, beta, act=torch.tanh):
    return NoisyNetwork([*(Unit(*unit, act) for unit in units), nn.Identity()], beta)


def normal(t, mean, deviation):
    return math.exp(-(((t - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))


def second_layer_truth(xs, units, beta, act, kinks=()):
    """I(X;T_2) by adaptive quadrature over t_2, of densities that are integrals over the noise of layer 1."""
    (w1, b1), (w2, b2) = units
    firsts = [act(w1 * x + b1) for x in xs]
    edges = sorted({*np.linspace(-7, 7, 8), *((kink - first) / beta for kink in kinks for first in firsts)})
    nodes, shares = np.polynomial.legendre.leggauss(40)

    def own(t, first):
        # Composite Gauss-Legendre over z, its pieces ending where the activation has its kink.
        total = 0.0
        for low, high in itertools.pairwise(edges):
            if low < -7 or high > 7:
                continue
            z = (high - low) / 2 * nodes + (high + low) / 2
            means = np.array([act(w2 * (first + beta * each) + b2) for each in z])
            values = np.exp(-(z**2) / 2 - ((t - means) / beta) ** 2 / 2) / (2 * math.pi * beta)
            total += float((values * shares).sum()) * (high - low) / 2
        return total

    def integrand(t):
        parts = np.array([own(t, first) for first in firsts])
        mean = parts.mean()
        return float(sum(p * math.log(p / mean) for p in parts if p > 1e-200)) / len(xs)

    reach = [act(w2 * (first + side * 7 * beta) + b2) for first in firsts for side in (-1, 1)]
    ends = np.linspace(min(reach) - 8 * beta, max(reach) + 8 * beta, 9)
    return sum(quad(integrand, *pair, epsabs=1e-9, limit=100)[0] for pair in itertools.pairwise(ends))


@pytest.mark.parametrize(("beta", "known"), [(0.1, 0.693), (0.5, 0.633), (1.0, 0.337)])
def test_two_points_in_noise(beta, known):
    network = NoisyNetwork([nn.Identity(), nn.Identity()], beta)
    found = chain_information(network, column(-1.0, 1.0), 1)
    assert found.value == pytest.approx(known, abs=5e-4)

    def integrand(t):
        plus, minus = normal(t, 1, beta), normal(t, -1, beta)
        return plus * math.log(2 * plus / (plus + minus)) if plus > 1e-200 else 0.0

    exact = quad(integrand, 1 - 12 * beta, 1 + 12 * beta, points=[0, 1], epsabs=1e-12, limit=200)[0]
    assert found.value == pytest.approx(exact, abs=1e-9)
    assert (found.kind, found.unit, found.stderr, found.n) == ("information", "nats", None, 2)


TANH = [(0.9, -0.2), (2.5, -0.4)]
LEAKY = [(0.5, 0.05), (-1.5, 0.3)]


@pytest.mark.parametrize(
    ("units", "act", "plain", "kinks", "tolerance"),
    [
        (TANH, torch.tanh, math.tanh, (), 1e-7),
        # The density of the second unit's input has no kink, its activation one at -b/w.
        (LEAKY, leaky, lambda s: max(s, s / 10), (0.2,), 2e-5),
    ],
    ids=["tanh", "leaky"],
)
def test_a_second_layer_against_nested_integrals(units, act, plain, kinks, tolerance):
    xs, beta = (-1.0, 0.1, 0.9), 0.15
    truth = second_layer_truth(xs, units, beta, plain, kinks)
    assert 0.1 < truth < math.log(3) - 0.1, "a problem that says nothing"
    assert chain_information(chain(units, beta, act), column(*xs), 2).value == pytest.approx(truth, abs=tolerance)


@pytest.mark.parametrize("slope", [3.0, 60.0, 150.0])
def test_a_linear_layer_however_steep(slope):
    # T_2 given x is normal with mean slope·x and variance β²(1 + slope²), and so is its density on the grid.
    xs, beta = (-0.02, 0.0, 0.01), 0.01
    network = chain([(1.0, 0.0), (slope, 0.0)], beta, lambda s: s)
    grid, density = chain_density(network, column(*xs), 2)
    deviation = beta * math.sqrt(1 + slope**2)
    known = np.exp(-(((grid.numpy() - slope * np.array(xs)[:, None]) / deviation) ** 2) / 2)
    known /= deviation * math.sqrt(2 * math.pi)
    assert np.abs(density.numpy() - known).max() < 1e-7 * known.max()
    ratio = np.log(np.maximum(known, 1e-300) / np.maximum(known.mean(0), 1e-300))
    truth = float((known * ratio).sum(1).mean() * (grid[1] - grid[0]))
    assert chain_information(network, column(*xs), 2).value == pytest.approx(truth, abs=1e-7)


def test_information_falls_along_a_chain_and_densities_hold_one():
    network = chain([(0.9, -0.2), (2.5, -0.4), (1.4, 0.1)], 0.1)
    inputs = column(-3.0, -1.0, 1.0, 3.0)
    found = [chain_information(network, inputs, layer).value for layer in (1, 2, 3)]
    assert math.log(4) > found[0] > found[1] + 0.01 > found[2] + 0.02 > 0.02
    for layer in (1, 2, 3):
        grid, density = chain_density(network, inputs, layer)
        assert density.shape == (4, len(grid))
        assert torch.trapezoid(density, grid).numpy() == pytest.approx(np.ones(4), abs=1e-9)


def test_next_to_no_noise_leaves_the_entropy_of_the_distinct_values():
    network = NoisyNetwork([nn.Identity(), nn.Identity()], 1e-3)
    found = chain_information(network, column(0.0, 0.0, 1.0, 1.0, 1.0), 1)
    assert found.value == pytest.approx(-(0.4 * math.log(0.4) + 0.6 * math.log(0.6)), abs=1e-9)
    assert chain_information(network, column(2.0, 2.0), 1).value == pytest.approx(0.0, abs=1e-12)


def test_inputs_may_have_several_dimensions():
    weights = nn.Linear(3, 1, dtype=torch.float64)
    nn.init.constant_(weights.weight, 1.0)
    nn.init.zeros_(weights.bias)
    wide = NoisyNetwork([weights, nn.Identity()], 0.5)
    inputs = torch.tensor([[-1.0, 1.0, -1.0], [0.5, 0.25, 0.25]], dtype=torch.float64)
    plain = NoisyNetwork([nn.Identity(), nn.Identity()], 0.5)
    assert chain_information(wide, inputs, 1).value == chain_information(plain, column(-1.0, 1.0), 1).value


def test_what_quadrature_cannot_do_is_one_line(refuses):
    wide = NoisyNetwork([nn.Linear(1, 2), nn.Linear(2, 1), nn.Identity()], 0.1).double()
    for layer in (1, 2):
        with refuses("quadrature takes layers of one unit", "2 in layer 1"):
            chain_information(wide, column(0.0, 1.0), layer)
    with refuses("the network is deterministic"):
        chain_information(nn.Linear(1, 1), column(0.0, 1.0), 1)  # pyright: ignore[reportArgumentType]
    with refuses("the last layer adds no noise"):
        chain_information(chain(TANH, 0.1), column(0.0, 1.0), 3)
    with refuses("the network's noise is switched off"):
        chain_information(chain(TANH, 0.1).eval(noise=False), column(0.0, 1.0), 1)
    with refuses("activations are not finite", "layer 1"):
        chain_information(chain(TANH, 0.1), column(0.0, math.nan), 1)
    bad = chain([(1.0, 0.0), (math.nan, 0.0)], 0.1)
    with refuses("activations are not finite", "layer 2"):
        chain_information(bad, column(0.0, 1.0), 2)
    for layer in (1, 2):
        with refuses("too far apart for quadrature", "sample propagation"):
            chain_information(chain([(1.0, 0.0)] * 2, 1e-6, lambda s: s), column(0.0, 1.0), layer)
    with refuses("too far apart for quadrature", "after which a layer is steep"):
        chain_information(chain([(1.0, 0.0), (1e6, 0.0)], 0.1), column(0.0, 1.0), 2)


def test_more_densities_than_memory_holds_are_refused(refuses, monkeypatch):
    monkeypatch.setattr(quadrature, "ENTRIES", 2000)
    network = NoisyNetwork([nn.Identity(), nn.Identity()], 1.0)
    assert chain_information(network, column(0.0, 1.0), 1).value > 0
    with refuses("too far apart for quadrature", "3 densities"):
        chain_information(network, column(0.0, 0.5, 1.0), 1)
