"""Sample propagation against closed forms and quadrature."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from infoplane.information import mixture_draws
from infoplane.information.quadrature import chain_information
from infoplane.information.sample_propagation import (
    FewSamplesWarning,
    NoisyEstimate,
    mixture_entropy,
    mutual_information,
)
from infoplane.subjects import NoisyNetwork


@pytest.fixture(autouse=True)
def _few_samples_are_meant():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)
        yield


class Affine(nn.Module):
    """act(x W + b) in float64."""

    def __init__(self, weight, bias, act=torch.tanh):
        super().__init__()
        self.weight = torch.as_tensor(weight, dtype=torch.float64).reshape(len(np.atleast_2d(weight)), -1)
        self.bias, self.act = torch.as_tensor(bias, dtype=torch.float64), act

    def forward(self, x):
        return self.act(x @ self.weight + self.bias)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def entropy_of(density, step):
    """-∫ p log p by the rectangle rule, which for smooth densities that vanish at the ends is exact to rounding."""
    return float(-(density * np.log(np.maximum(density, 1e-300))).sum() * step)


# --- truth by quadrature ---

XS, BETA = (-3.0, -1.0, 1.0, 3.0), 0.1
CHAIN = [(0.8, 0.1), (2.0, -0.3), (1.5, 0.2)]


def line_entropy(centres, weights, beta):
    """The entropy of a mixture on the line, by the trapezoidal rule."""
    low, high = float(centres.min()) - 10 * beta, float(centres.max()) + 10 * beta
    grid = torch.linspace(low, high, 100_001, dtype=torch.float64)
    parts = torch.exp(-((grid - centres) ** 2) / (2 * beta**2)) / (beta * math.sqrt(2 * math.pi))
    density = weights @ parts
    return float(torch.trapezoid(-torch.special.xlogy(density, density), grid))


def chain_truth(depth, beta=BETA, xs=XS, chain=CHAIN):
    """I(X;T_depth) of a chain of single tanh neurons, from their densities on a grid, layer by layer."""
    grid = np.linspace(-1 - 9 * beta, 1 + 9 * beta, 1601)
    step = grid[1] - grid[0]
    kernel = lambda s: np.exp(-(((grid[:, None] - s) / beta) ** 2) / 2) / (beta * math.sqrt(2 * math.pi))  # noqa: E731
    weight, bias = chain[0]
    densities = kernel(np.tanh(weight * np.array(xs) + bias))  # (grid, inputs)
    for weight, bias in chain[1:depth]:
        densities = kernel(np.tanh(weight * grid + bias)) @ densities * step
    whole = entropy_of(densities.mean(1), step)
    return whole - np.mean([entropy_of(each, step) for each in densities.T])


def chain_network(beta=BETA):
    return NoisyNetwork([*(Affine(w, b) for w, b in CHAIN), nn.Identity()], beta)


def plane_truth(beta, xs, first, second):
    """I(X;T_2) of one tanh neuron followed by two, by quadrature over T_1 and the plane."""
    z = np.linspace(-8, 8, 241)
    p = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    axis = np.linspace(-1 - 7 * beta, 1 + 7 * beta, 221)
    step = axis[1] - axis[0]
    densities = []
    for x in xs:
        t = np.tanh(first[0] * x + first[1]) + beta * z
        factors = [
            np.exp(-(((axis[:, None] - np.tanh(w * t + b)) / beta) ** 2) / 2) / (beta * math.sqrt(2 * math.pi))
            for w, b in second
        ]
        densities.append((factors[0] * p) @ factors[1].T)
    whole = entropy_of(np.mean(densities, 0), step**2)
    return whole - np.mean([entropy_of(each, step**2) for each in densities])


# --- closed forms ---


@pytest.mark.parametrize(("beta", "known"), [(0.1, 0.693), (0.5, 0.633), (1.0, 0.337)])
def test_two_points_in_noise(beta, known):
    network = NoisyNetwork([nn.Identity(), nn.Identity()], beta)
    found = mutual_information(network, column(-1.0, 1.0), 1, queries=40_000, generator=seeded(0))
    assert abs(found.value - known) < 5 * found.stderr + 5e-4
    assert found.stderr < 0.003


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("beta", [0.5, 1.0])
def test_gaussian_input_in_noise(d, beta):
    # With n draws of X instead of its density the estimate errs by what n points cannot say, far below its error here.
    inputs = torch.randn(20_000, d, generator=seeded(1), dtype=torch.float64)
    network = NoisyNetwork([nn.Identity(), nn.Identity()], beta)
    found = mutual_information(network, inputs, 1, queries=20_000, generator=seeded(0))
    sampled = d * math.log(1 + 1 / beta**2) / 2 / math.sqrt(len(inputs))
    assert abs(found.value - d / 2 * math.log(1 + 1 / beta**2)) < 4 * math.hypot(found.stderr, sampled) + 0.01 * d


def test_one_gaussian_has_its_entropy_and_no_error():
    found = mixture_entropy(torch.zeros(1, 3), 0.2, queries=1000, generator=seeded(0))
    assert found.value == pytest.approx(1.5 * math.log(2 * math.pi * math.e * 0.04), abs=1e-9)
    assert found.stderr < 1e-9


def test_the_entropy_of_a_mixture_against_quadrature():
    centres, weights, beta = column(-1.0, -0.8, 0.3, 1.0), torch.tensor([0.1, 0.4, 0.3, 0.2]), 0.1
    grid = np.linspace(-2, 2, 8001)
    density = sum(
        w * np.exp(-(((grid - c) / beta) ** 2) / 2) / (beta * math.sqrt(2 * math.pi))
        for c, w in zip(centres[:, 0].tolist(), weights.tolist(), strict=True)
    )
    truth = entropy_of(density, grid[1] - grid[0])
    z = []
    for seed in range(200):
        found = mixture_entropy(centres, beta, weights=weights, queries=400, generator=seeded(seed))
        z.append((found.value - truth) / found.stderr)
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5
    assert abs(np.mean(z)) < 4 / math.sqrt(200)


def test_the_error_is_right_where_there_are_more_centres_than_draws():
    centres = torch.tanh(3 * torch.randn(3000, 2, generator=seeded(0), dtype=torch.float64))
    exact = mixture_entropy(centres, 0.05, queries=400_000, generator=seeded(1))
    found = [mixture_entropy(centres, 0.05, queries=500, generator=seeded(2 + seed)) for seed in range(200)]
    z = [(each.value - exact.value) / math.hypot(each.stderr, exact.stderr) for each in found]
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5


def test_it_stops_at_the_standard_error_that_is_asked_for():
    centres = torch.randn(500, 2, generator=seeded(0), dtype=torch.float64)
    for wanted in (0.01, 0.002):
        found = mixture_entropy(centres, 0.3, queries=50, stderr=wanted, generator=seeded(1))
        assert 0.3 * wanted < found.stderr <= wanted
        assert not found.flags


@pytest.mark.parametrize("queries", [4, 100])
def test_what_it_stops_at_is_the_truth_too(queries):
    # An error that few draws told would now and then be far too small, and be believed.
    truth = line_entropy(column(0.0, 0.3, 1.0, 1.2, 2.0, 5.0), torch.full((6,), 1 / 6, dtype=torch.float64), 0.2)
    z = []
    for seed in range(200):
        found = mixture_entropy(column(0, 0.3, 1, 1.2, 2, 5), 0.2, queries=queries, stderr=0.01, generator=seeded(seed))
        z.append((found.value - truth) / found.stderr)
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("share", [0.99, 0.999])
@pytest.mark.parametrize("apart", [3.0, 5.0, 7.1])
def test_light_centres_are_not_left_to_luck(share, apart):
    centres, weights = column(0.0, apart * 0.2), torch.tensor([share, 1 - share], dtype=torch.float64)
    truth, z = line_entropy(centres, weights, 0.2), []
    for seed in range(200):
        found = mixture_entropy(centres, 0.2, weights=weights, generator=seeded(seed))
        z.append((found.value - truth) / found.stderr)
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5


def test_an_entropy_near_what_its_centres_allow_is_flagged():
    centres = column(*range(500))
    (flag,) = mixture_entropy(centres, 0.01, generator=seeded(0)).flags
    assert "saturated near log 500" in flag
    assert not mixture_entropy(centres, 30.0, generator=seeded(0)).flags


def test_isolated_centres_leave_nothing_to_chance_and_overlapping_ones_are_not_made_worse(monkeypatch):
    def error(beta):
        return mixture_entropy(column(*range(20)), beta, queries=4000, generator=seeded(0)).stderr

    with_it = {beta: error(beta) for beta in (0.01, 10.0)}

    def without(terms, variates, share, strata):
        return regress(terms, torch.zeros_like(variates), share, strata)

    regress = mixture_draws._regress
    monkeypatch.setattr(mixture_draws, "_regress", without)
    assert with_it[0.01] < 1e-4 * math.sqrt(0.5 / 4000)  # what -mean log p would have: Var |z|²/2 = 1/2
    assert with_it[10.0] < 1.02 * error(10.0)


@pytest.mark.parametrize(("apart", "beta"), [(2.0, 0.3), (1.0, 0.16), (2.0, 0.4)])
def test_rare_draws_between_two_clusters_are_not_left_to_luck(apart, beta):
    # Three inputs in one place and one far from them: what they share is decided by draws of probability 1e-3 and less.
    centres, weights = column(0.0, apart), torch.tensor([0.75, 0.25]).double()
    truth = line_entropy(centres, weights, beta)
    found = [
        mixture_entropy(centres, beta, weights=weights, queries=8000, generator=seeded(seed)) for seed in range(200)
    ]
    z = np.array([(each.value - truth) / each.stderr for each in found])
    assert 0.8 < z.var() < 1.25
    assert np.abs(z).max() < 5
    assert abs(z.mean()) < 0.25


# --- information ---


@pytest.mark.parametrize("layer", [2, 3])
def test_a_chain_of_neurons_against_quadrature(layer):
    truth, z = chain_truth(layer), []
    for seed in range(200):
        found = mutual_information(
            chain_network(), column(*XS), layer, samples=800, queries=2000, generator=seeded(seed)
        )
        z.append((found.value - truth) / found.stderr)
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5
    assert abs(np.mean(z)) < 0.5


@pytest.mark.slow
def test_two_neurons_against_quadrature():
    xs, first, second, beta = (-1.0, 0.2, 1.5), (1.1, 0.0), [(1.5, 0.2), (-0.7, 0.5)], 0.2
    truth, z = plane_truth(beta, xs, first, second), []
    layers = [Affine(*first), Affine([[w for w, _ in second]], [b for _, b in second]), nn.Identity()]
    for seed in range(200):
        network = NoisyNetwork(layers, beta)
        found = mutual_information(network, column(*xs), 2, samples=1200, queries=2000, generator=seeded(seed))
        z.append((found.value - truth) / found.stderr)
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5
    assert abs(np.mean(z)) < 0.5


def by_chance(found: NoisyEstimate) -> float:
    """The error that chance makes."""
    return math.hypot(*(part for name, part in found.errors if name != "samples"))


@pytest.mark.slow
@pytest.mark.parametrize("alike", [False, True])
def test_the_error_counts_inputs_of_which_no_query_was_drawn(alike):
    # Queries for a quarter or a third of the inputs, which keep alike much, or differ in it by groups.
    generator = seeded(0)
    if alike:
        inputs = 2 * torch.rand(100, 1, generator=generator, dtype=torch.float64) - 1
        network, each, queries = NoisyNetwork([Affine(1.0, 0.0), Affine(2.0, 0.0), nn.Identity()], 0.05), 50, 100
    else:
        groups = [torch.rand(50, 1, generator=generator, dtype=torch.float64) * 3**-k - 2 * k for k in range(4)]
        inputs = torch.cat(groups)
        network, each, queries = NoisyNetwork([Affine(1.0, 2.0), Affine(2.0, 0.0), nn.Identity()], 0.05), 100, 240
    sizes = {"samples": len(inputs) * each}
    exact = mutual_information(network, inputs, 2, **sizes, queries=80_000, generator=generator)
    found = [
        mutual_information(network, inputs, 2, **sizes, queries=queries, generator=seeded(seed)) for seed in range(200)
    ]
    z = [(each.value - exact.value) / math.hypot(by_chance(each), by_chance(exact)) for each in found]
    assert all(dict(each.errors)["inputs"] > 0 for each in found)
    assert 0.8 < np.var(z) < 1.25
    assert np.abs(z).max() < 5


@pytest.mark.parametrize("each", [24, 96])
@pytest.mark.parametrize("layer", [2, 3])
def test_a_linear_network_whose_information_is_known(layer, each):
    """T_l | x is Gaussian with one covariance for all x: whitened, T_l is a mixture of unit Gaussians."""
    generator, beta = seeded(5), 0.05
    maps = [nn.Linear(a, b, dtype=torch.float64) for a, b in ((8, 6), (6, 4), (4, 3))]
    for linear in maps:
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5, generator=generator)
    network = NoisyNetwork([*maps, nn.Identity()], beta)
    inputs = torch.cartesian_prod(*[torch.arange(2.0, dtype=torch.float64)] * 8)
    with torch.no_grad():
        means, covariance = inputs, torch.zeros(8, 8, dtype=torch.float64)
        for linear in maps[:layer]:
            covariance = linear.weight @ covariance @ linear.weight.T
            covariance += beta**2 * torch.eye(len(covariance), dtype=torch.float64)
            means = linear(means)
        root = torch.linalg.cholesky(covariance)
        white = torch.linalg.solve_triangular(root, means.T, upper=False).T
    entropy = mixture_entropy(white, 1.0, stderr=0.002, generator=generator)
    truth = entropy.value - white.shape[1] / 2 * math.log(2 * math.pi * math.e)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewSamplesWarning)
        found = mutual_information(network, inputs, layer, samples=256 * each, queries=20_000, generator=generator)
    # The bias that few samples leave is within the error that is given for it, and is not hidden by it.
    assert abs(found.value - truth) < 2 * found.stderr
    assert found.stderr < 0.6
    assert found.bounds[0] < truth < found.bounds[1]
    if each == 24:
        assert abs(found.value - truth) < abs(found.value + found.correction - truth)


@pytest.mark.parametrize(
    ("d", "gain", "each"),
    [(1, 20, 24), (2, 3, 24), (2, 6, 24), (3, 3, 24), (3, 8, 24), (3, 5, 96), (3, 5, 8), (3, 5, 2)],
)
def test_the_bounds_hold_where_samples_lie_apart(d, gain, each):
    """T_2 = gain · T_1 + Z is Gaussian given x: its few samples lie `gain` widths of a kernel apart."""
    inputs = 0.3 * torch.randn(32, d, generator=seeded(0), dtype=torch.float64)
    width = BETA * math.sqrt(1 + gain**2)
    entropy = mixture_entropy(gain * inputs / width, 1.0, stderr=0.002, generator=seeded(1))
    truth = entropy.value - d / 2 * math.log(2 * math.pi * math.e)
    network = NoisyNetwork(
        [nn.Identity(), Affine((gain * torch.eye(d)).tolist(), [0.0] * d, lambda v: v), nn.Identity()], BETA
    )
    found = [
        mutual_information(network, inputs, 2, samples=32 * each, queries=4000, generator=seeded(seed))
        for seed in range(20)
    ]
    for one in found:
        assert one.bounds[0] < truth < one.bounds[1]
    # The bias is far from nothing here, and not beyond the farther end.
    reach = math.sqrt(3) * np.mean([dict(one.errors)["samples"] for one in found])
    assert abs(np.mean([one.value for one in found]) - truth) < reach


def test_the_bounds_of_a_layer_that_is_no_gaussian_enclose_it():
    relu = [Affine(1.0, 0.5, torch.relu), Affine(2.0, -0.3, torch.relu), Affine(3.0, 0.2, torch.relu)]
    network, xs = NoisyNetwork([*relu, nn.Identity()], 0.1), column(-1, -0.5, 0, 0.5, 1, 1.5)
    truth = chain_information(network, xs, 3).value
    z = []
    for seed in range(100):
        found = mutual_information(network, xs, 3, samples=24 * 6, queries=2000, generator=seeded(seed))
        z.append((found.value - truth) / found.stderr)
        slack = 5 * by_chance(found)
        assert found.bounds[0] - slack < truth < found.bounds[1] + slack
    assert np.abs(z).max() < 3


def test_the_layer_in_which_activations_are_lost_is_named(refuses):
    class Lost(nn.Module):
        def forward(self, x):
            return x / 0

    network = NoisyNetwork([nn.Identity(), Lost(), nn.Identity(), nn.Identity()], 0.1)
    with refuses("activations are not finite", "from layer 2 on"):
        mutual_information(network, column(*XS), 3, samples=400, queries=100, generator=seeded(0))


def test_what_it_is_made_of_adds_up():
    found = mutual_information(chain_network(), column(*XS), 2, samples=400, queries=1000, generator=seeded(0))
    assert found.entropy is not None
    assert found.conditional_entropy is not None
    assert found.value == pytest.approx(found.entropy.value - found.conditional_entropy.value)
    assert found.stderr**2 == pytest.approx(sum(part**2 for _, part in found.errors))
    assert [name for name, _ in found.errors] == ["queries", "inputs", "centres", "samples"]
    assert (found.kind, found.unit, found.direction, found.n) == ("flow", "nats", "estimate", 400)
    first = mutual_information(chain_network(), column(*XS), 1, queries=1000, generator=seeded(0))
    assert first.conditional_entropy is not None
    assert first.conditional_entropy.value == pytest.approx(0.5 * math.log(2 * math.pi * math.e * BETA**2))
    assert dict(first.errors)["centres"] == 0


def test_it_lies_between_nothing_and_the_entropy_of_the_inputs():
    for beta, expected in ((1e-6, math.log(4)), (1e3, 0.0)):
        for layer in (1, 2):
            network = chain_network(beta)
            found = mutual_information(network, column(*XS), layer, samples=400, queries=1000, generator=seeded(0))
            assert 0 <= found.value <= math.log(4)
            assert found.value == pytest.approx(expected, abs=5 * found.stderr + 1e-4)


def test_inputs_that_fall_together_count_as_one():
    network = NoisyNetwork([nn.Identity(), nn.Identity()], 1e-4)
    found = mutual_information(network, column(0.0, 0.0, 1.0, 1.0, 1.0), 1, queries=2000, generator=seeded(0))
    truth = -(0.4 * math.log(0.4) + 0.6 * math.log(0.6))
    assert found.value == pytest.approx(truth, abs=1e-3)


def test_information_falls_along_a_chain():
    found = [
        mutual_information(chain_network(0.2), column(*XS), layer, samples=4000, queries=20_000, generator=seeded(0))
        for layer in (1, 2, 3)
    ]
    for before, after in itertools.pairwise(found):
        assert after.value <= before.value + 3 * math.hypot(before.stderr, after.stderr)
    assert found[2].value < found[0].value - 3 * found[0].stderr


def test_permuting_and_shifting_units_changes_nothing():
    generator = seeded(0)
    weight = torch.randn(2, 3, generator=generator, dtype=torch.float64)
    inputs = torch.randn(6, 2, generator=generator, dtype=torch.float64)

    def measured(order, shift):
        layers = [
            Affine(torch.eye(2), torch.zeros(2)),
            Affine(weight[:, order], torch.zeros(3), lambda s: torch.tanh(s) + shift),
            nn.Identity(),
        ]
        return mutual_information(
            NoisyNetwork(layers, 0.1), inputs, 2, samples=6000, queries=20_000, generator=seeded(1)
        )

    plain = measured([0, 1, 2], 0.0)
    for other in (measured([2, 0, 1], 0.0), measured([0, 1, 2], 7.0)):
        assert abs(plain.value - other.value) < 4 * math.hypot(plain.stderr, other.stderr)
    assert measured([0, 1, 2], 7.0).value == pytest.approx(plain.value, abs=1e-6)  # the same draws


def test_the_correction_removes_most_of_what_few_samples_do():
    # Linear layers, the second of which stretches the noise before it fourfold: T_2 given x is N(4x, 17β²).
    xs, spread = (-0.3, -0.1, 0.1, 0.3), math.sqrt(17) * BETA
    grid = np.linspace(-5, 5, 20_001)
    densities = [np.exp(-(((grid - 4 * x) / spread) ** 2) / 2) / (spread * math.sqrt(2 * math.pi)) for x in xs]
    step = grid[1] - grid[0]
    truth = entropy_of(np.mean(densities, 0), step) - np.mean([entropy_of(each, step) for each in densities])
    layers = [Affine(1.0, 0.0, lambda s: s), Affine(4.0, 0.0, lambda s: s), nn.Identity()]
    network = NoisyNetwork(layers, BETA)
    found = [
        mutual_information(network, column(*xs), 2, samples=4 * 16, queries=1000, generator=seeded(seed))
        for seed in range(200)
    ]
    corrected = np.mean([each.value for each in found]) - truth
    raw = np.mean([each.value + each.correction for each in found]) - truth
    error = np.std([each.value for each in found]) / math.sqrt(200)
    assert raw > 5 * error
    assert abs(corrected) < 0.35 * raw + 2 * error


def test_the_same_seed_gives_the_same_number():
    def measured():
        return mutual_information(chain_network(), column(*XS), 2, samples=100, queries=200, generator=seeded(3)).value

    assert measured() == measured()


def test_any_modules_will_do():
    layers = [nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), nn.Sequential(nn.Flatten(), nn.Linear(8, 3)), nn.Identity()]
    network = NoisyNetwork(layers, 0.5)
    inputs = torch.rand(5, 1, 4, 4, generator=seeded(0))
    for layer in (1, 2):
        found = mutual_information(network, inputs, layer, samples=200, queries=400, generator=seeded(0))
        assert 0 <= found.value <= math.log(5)


def test_too_few_samples_are_said():
    network = NoisyNetwork([nn.Identity(), nn.Linear(1, 3), nn.Identity()], 0.005).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error", FewSamplesWarning)
        with pytest.raises(FewSamplesWarning, match="250,000 of either are needed"):
            mutual_information(network, column(*XS), 2, samples=400, queries=100, generator=seeded(0))
    found = mutual_information(network, column(*XS), 2, samples=400, queries=100, generator=seeded(0))
    assert any("fewer samples than the worst case asks for" in flag for flag in found.flags)


def test_samples_that_are_each_a_cluster_of_their_own_are_flagged():
    # A second layer that stretches the first one's noise a thousandfold.
    network = NoisyNetwork([nn.Identity(), Affine(1000.0, 0.0, lambda s: s), nn.Identity()], 0.01)
    found = mutual_information(network, column(*XS), 2, samples=80, queries=400, generator=seeded(0))
    assert any("h(T|x) saturated near log 20" in flag for flag in found.flags)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"layer": 4}, ("the last layer adds no noise", "1 to 3", "binned_entropy")),
        ({"layer": 0}, ("no such layer", "1 to 3")),
        ({"layer": 9}, ("no such layer",)),
        ({"network": nn.Linear(1, 1)}, ("the network is deterministic", "Linear", "binned_entropy")),
        ({"samples": 7}, ("too few samples", "at least two per input: 8")),
        ({"queries": 0}, ("queries must be a positive number",)),
        ({"inputs": [1.0]}, ("inputs must be a tensor",)),
        ({"layer": "2"}, ("no such layer", "received '2', of type str", "a whole number, 1 to 3")),
        ({"layer": 2.0}, ("no such layer", "received 2.0, of type float")),
        (
            {"network": NoisyNetwork([nn.Identity()], 0.1), "layer": 1},
            ("no layer of the network adds noise", "one layer"),
        ),
        ({"inputs": torch.zeros(0, 1)}, ("inputs must be a tensor", "received shape (0, 1)")),
        ({"inputs": torch.tensor(1.0)}, ("inputs must be a tensor", "received shape ()")),
        ({"inputs": column(1.0, float("nan"))}, ("inputs are not finite", "1 of 2")),
        ({"inputs": column(1.0, float("inf")), "layer": 1}, ("inputs are not finite", "1 of 2")),
    ],
)
def test_bad_input_is_one_line(refuses, change, words):
    given = {"network": chain_network(), "inputs": column(*XS), "layer": 2, "samples": 80, "queries": 80} | change
    with refuses(*words):
        mutual_information(**given)


def test_a_network_whose_noise_is_off_is_refused(refuses):
    with refuses("the network's noise is switched off"):
        mutual_information(chain_network().eval(noise=False), column(*XS), 1)


@pytest.mark.parametrize("stderr", [0.0, -1.0])
def test_a_standard_error_that_cannot_be_is_refused(refuses, stderr):
    with refuses("the standard error must be a positive number"):
        mixture_entropy(torch.zeros(2, 1), 0.1, stderr=stderr)


def two_layers(seed=0):
    torch.manual_seed(seed)
    first, second = nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Sequential(nn.Linear(3, 2), nn.Tanh())
    return NoisyNetwork([first, second, nn.Linear(2, 2)], beta=0.3).double()


@pytest.mark.filterwarnings("ignore::infoplane.information.sample_propagation.FewSamplesWarning")
@pytest.mark.parametrize("layer", [1, 2])
@pytest.mark.parametrize("copies", [1, 5])
def test_of_one_value_of_x_there_is_nothing_to_know(layer, copies):
    x = torch.randn(1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    generator = torch.Generator().manual_seed(2)
    found = mutual_information(two_layers(), x.repeat(copies, 1), layer, samples=2000, queries=500, generator=generator)
    assert found.value == 0
    assert found.stderr == pytest.approx(0, abs=1e-12)
    assert found.entropy is not None
    assert found.conditional_entropy is not None
    assert found.entropy.value == pytest.approx(
        found.conditional_entropy.value, abs=4 * (found.entropy.stderr or 0) + 1e-9
    )
    assert not found.flags


@pytest.mark.filterwarnings("ignore::infoplane.information.sample_propagation.FewSamplesWarning")
@pytest.mark.parametrize("layer", [1, 2])
def test_inputs_that_occur_several_times_are_one_value(layer):
    """Eight copies of each input change nothing; fifteen copies of one beside another leave at most H(1/16)."""
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    once, often = (
        mutual_information(
            two_layers(), inputs, layer, samples=6000, queries=1000, generator=torch.Generator().manual_seed(2)
        )
        for inputs in (x, x.repeat(8, 1))
    )
    assert often == once
    uneven = torch.cat([x[:1].repeat(15, 1), 40 * x[1:2]])
    found = mutual_information(two_layers(), uneven, layer, samples=6400, queries=2000)
    entropy = -(15 / 16 * math.log(15 / 16) + math.log(1 / 16) / 16)
    assert 0 < found.value <= entropy + 1e-12
    if found.bounds is not None:
        assert found.bounds[1] <= entropy + 1e-12
