"""Dense networks: their initial weights, their noise, and the orthonormality step."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from infoplane.subjects import NoisyNetwork
from infoplane.subjects.dense import DenseSettings, dense, linear_layers, orthonormality_step


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_initial_weights_are_normal_cut_at_two_deviations():
    network = dense(DenseSettings(widths=(400, 300), gain=0.7), 50, 10, seeded())
    # The deviation of a normal that is cut at two of its own.
    shrunk = math.sqrt(1 - 4 * math.exp(-2) / (math.sqrt(2 * math.pi) * math.erf(math.sqrt(2))))
    for layer, inputs in zip(linear_layers(network), (50, 400, 300), strict=True):
        deviation = 0.7 / math.sqrt(inputs)
        weight, count = layer.weight.detach(), layer.weight.numel()
        assert float(weight.std()) == pytest.approx(shrunk * deviation, rel=6 / math.sqrt(count))
        assert float(weight.abs().max()) <= 2 * deviation
        assert float(weight.abs().max()) > 1.9 * deviation
        assert abs(float(weight.mean())) < 5 * deviation / math.sqrt(count)
        assert not layer.bias.any()
        assert layer.weight.dtype == torch.float64


def test_one_seed_one_network():
    settings = DenseSettings(widths=(3, 2), beta=0.1)
    first, again, other = (dense(settings, 4, 2, seeded(seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["layers.0.0.weight"], other["layers.0.0.weight"])
    # Noise has no part in it: a deterministic network starts from the same weights.
    quiet = dense(DenseSettings(widths=(3, 2)), 4, 2, seeded(0)).state_dict()
    assert all(torch.equal(first[key], quiet[key]) for key in first)


def test_no_gain_is_zero_and_a_start_is_taken_as_it_is():
    network = dense(DenseSettings(widths=(1,), gain=0, read_out=False), 1, 2, seeded())
    assert all(not layer.weight.any() for layer in linear_layers(network))
    start = ((-0.02, 0.2), (-0.5, -0.1))
    network = dense(DenseSettings(widths=(1, 1), read_out=False, start=start), 1, 2, seeded())
    assert tuple((layer.weight.item(), layer.bias.item()) for layer in linear_layers(network)) == start


@pytest.mark.parametrize(
    ("activation", "act"),
    [
        ("tanh", np.tanh),
        ("relu", lambda s: np.maximum(s, 0)),
        ("linear", lambda s: s),
        ("leaky", lambda s: np.maximum(s, s / 10)),
    ],
)
def test_what_it_computes_without_noise(activation, act):
    network = dense(DenseSettings(widths=(4, 3), activation=activation, gain=2.0), 5, 2, seeded())
    x = np.random.default_rng(0).normal(size=(7, 5))
    first, second, last = (
        (layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in linear_layers(network)
    )
    hidden = act(act(x @ first[0].T + first[1]) @ second[0].T + second[1])
    assert network(torch.from_numpy(x)).detach().numpy() == pytest.approx(hidden @ last[0].T + last[1], abs=1e-12)
    found = network.activations(torch.from_numpy(x))
    assert [t.shape[1] for t in found] == [4, 3, 2]
    assert found[1].detach().numpy() == pytest.approx(hidden, abs=1e-12)


def test_noise_where_there_is_a_beta_and_nowhere_else():
    x = torch.zeros(4000, 2, dtype=torch.float64)
    quiet = dense(DenseSettings(widths=(3,)), 2, 2, seeded())
    assert not isinstance(quiet, NoisyNetwork)
    for found in quiet.activations(x, seeded()):
        assert not found.any()
    loud = dense(DenseSettings(widths=(3,), beta=0.2), 2, 2, seeded())
    hidden, output = loud.activations(x, seeded())
    assert float(hidden.detach().std()) == pytest.approx(0.2, rel=0.05)
    assert torch.equal(output, loud.layers[1](hidden))


def test_without_a_read_out_the_noisy_last_layer_is_the_answer():
    network = dense(DenseSettings(widths=(3, 1), beta=0.2, read_out=False, gain=0), 2, 2, seeded())
    output = network(torch.zeros(4000, 2, dtype=torch.float64), seeded())
    assert output.shape == (4000, 1)
    assert float(output.detach().std()) == pytest.approx(0.2, rel=0.06)
    assert len(linear_layers(network)) == 2
    assert isinstance(network.layers[-1], nn.Identity)


@pytest.mark.parametrize(
    "changes",
    [
        {"widths": ()},
        {"widths": (0,)},
        {"beta": 0.0},
        {"beta": -1.0},
        {"beta": math.inf},
        {"gain": -1.0},
        {"activation": "sigmoid"},
        {"width": (3,)},
    ],
)
def test_settings_that_cannot_be(changes):
    with pytest.raises(ValidationError):
        DenseSettings.model_validate({"widths": (3,), **changes})


# --- the orthonormality step ---


def test_one_step_is_the_formula():
    weight = torch.randn(3, 5, generator=seeded(), dtype=torch.float64)
    w, alpha = weight.numpy().copy(), 0.03
    orthonormality_step(weight, alpha)
    assert weight.numpy() == pytest.approx(w - alpha * (w @ w.T - np.eye(3)) @ w, abs=1e-14)


def test_orthonormal_rows_stay():
    rows = torch.linalg.qr(torch.randn(5, 3, generator=seeded(), dtype=torch.float64))[0].T.contiguous()
    kept = rows.clone()
    for _ in range(10):
        orthonormality_step(rows, 0.5)
    assert rows.numpy() == pytest.approx(kept.numpy(), abs=1e-14)


@pytest.mark.parametrize("shape", [(3, 5), (4, 4)])
def test_steps_lead_to_orthonormal_rows(shape):
    weight = torch.randn(*shape, generator=seeded(1), dtype=torch.float64) * 0.4
    for _ in range(3000):
        orthonormality_step(weight, 0.05)
    assert (weight @ weight.T).numpy() == pytest.approx(np.eye(shape[0]), abs=1e-9)


def test_a_layer_that_is_taken_step_by_step_is_changed_in_place():
    linear = nn.Linear(5, 3, dtype=torch.float64)
    before = linear.weight.detach().clone()
    orthonormality_step(linear.weight, 0.1)
    assert linear.weight.requires_grad
    assert linear.weight.grad is None
    assert not torch.equal(linear.weight.detach(), before)
