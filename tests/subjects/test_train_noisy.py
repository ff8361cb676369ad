"""Gradient descent against loops written out here."""

import math

import numpy as np
import pytest
import torch

from infoplane.subjects.dense import DenseSettings, dense, linear_layers, orthonormality_step
from infoplane.subjects.points import neuron, pair, spiral
from infoplane.subjects.train_noisy import DescentSettings, descend, loss_of, schedule


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(network_settings, points, settings, checkpoints=(0,), seed=1, **options):
    network = dense(DenseSettings(**network_settings), points.inputs.shape[1], points.classes, seeded())
    return network, descend(network, points, settings, checkpoints=checkpoints, seed=seed, **options)


def test_a_deterministic_unit_against_gradient_descent_by_hand():
    points, rate = neuron(), 0.05
    settings = DescentSettings(epochs=200, learning_rate=rate, loss="mse")
    start = {"widths": (1,), "read_out": False, "start": ((0.1, -0.3),)}
    network, found = trained(start, points, settings, checkpoints=(0, 77, 200))
    x, y = np.array([-3.0, -1.0, 1.0, 3.0]), np.array([-1.0, -1.0, -1.0, 1.0])
    weight, bias, seen, losses = 0.1, -0.3, {}, {}
    for epoch in range(201):
        output = np.tanh(weight * x + bias)
        seen[epoch], losses[epoch] = (weight, bias), float(np.mean((output - y) ** 2))
        slope = 2 * (output - y) * (1 - output**2)
        weight, bias = weight - rate * float(np.mean(slope * x)), bias - rate * float(np.mean(slope))
    for epoch, state in found.states.items():
        values = (state["layers.0.0.weight"].item(), state["layers.0.0.bias"].item())
        assert values == pytest.approx(seen[epoch], abs=1e-12)
    assert found.curves["train loss"] == pytest.approx([losses[epoch] for epoch in found.epochs], abs=1e-12)
    known = [[list(seen[epoch])] for epoch in found.epochs]
    assert np.array(found.weights) == pytest.approx(np.array(known), abs=1e-12)
    assert "test loss" not in found.curves
    assert "train accuracy" not in found.curves
    assert not network.training
    assert losses[200] < 0.5 * losses[0]


def test_batches_and_cross_entropy_against_a_loop_of_its_own():
    points = spiral(inputs=30, jitter=0.01)
    settings = DescentSettings(epochs=4, batch=7, learning_rate=0.2)
    _, found = trained({"widths": (5, 3)}, points, settings, checkpoints=(0, 1, 4), seed=9)
    other = dense(DenseSettings(widths=(5, 3)), 2, 2, seeded())
    inputs, labels = torch.from_numpy(points.inputs), torch.from_numpy(points.labels)
    generator, training = seeded(9), torch.from_numpy(points.training)
    states = {0: {key: value.clone() for key, value in other.state_dict().items()}}
    for epoch in range(1, 5):
        order = training[torch.randperm(len(training), generator=generator)]
        for low in range(0, len(order), 7):
            index = order[low : low + 7]
            scores = other(inputs[index])
            # -log softmax of the right class.
            loss = (scores.exp().sum(1).log() - scores[torch.arange(len(index)), labels[index]]).mean()
            gradients = torch.autograd.grad(loss, list(other.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(other.parameters(), gradients, strict=True):
                    parameter -= 0.2 * gradient
        states[epoch] = {key: value.clone() for key, value in other.state_dict().items()}
    for epoch in (0, 1, 4):
        for key, value in found.states[epoch].items():
            assert value.numpy() == pytest.approx(states[epoch][key].numpy(), abs=1e-12)
    test = points.test
    with torch.no_grad():
        scores = other(inputs[test])
    right = float((scores.argmax(1) == labels[test]).double().mean())
    assert found.curves["test accuracy"][-1] == right
    assert found.curves["test loss"][-1] == pytest.approx(
        float(torch.nn.functional.cross_entropy(scores, labels[test])), abs=1e-12
    )


def test_the_noise_of_training_is_fresh_and_seeded():
    points, settings = pair(), DescentSettings(epochs=30, learning_rate=0.001, loss="mse")
    network = {"widths": (1, 1), "activation": "leaky", "beta": 0.05, "read_out": False}
    states = [trained(network, points, settings, (30,), seed=seed)[1].states[30] for seed in (1, 1, 2)]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["layers.0.0.weight"], states[2]["layers.0.0.weight"])
    # One step, by hand: its gradient is that of the loss of one noisy pass.
    one, found = trained(network, points, DescentSettings(epochs=1, learning_rate=0.01, loss="mse"), (0, 1), seed=5)
    other = dense(DenseSettings(**network), 1, 2, seeded())
    output = other(torch.from_numpy(points.inputs), seeded(5))
    targets = torch.tensor([0.0] * 4 + [0.25] * 4, dtype=torch.float64)
    (output[:, 0] - targets).square().mean().backward()
    for before, after in zip(other.parameters(), one.parameters(), strict=True):
        assert after.detach().numpy() == pytest.approx((before - 0.01 * before.grad).detach().numpy(), abs=1e-14)
    assert len(found.epochs) == 2


def test_looking_more_often_does_not_change_training(monkeypatch):
    points, settings = spiral(inputs=24), DescentSettings(epochs=20, batch=5)
    network = {"widths": (3,), "beta": 0.1}
    monkeypatch.setattr("infoplane.subjects.train_noisy.HISTORY", 6)
    _, few = trained(network, points, settings, checkpoints=(20,))
    _, many = trained(network, points, settings, checkpoints=range(21))
    monkeypatch.setattr("infoplane.subjects.train_noisy.HISTORY", 2)
    _, fewer = trained(network, points, settings, checkpoints=(20,))
    assert len(fewer.epochs) < len(few.epochs) < len(many.epochs) == 21
    for key, value in few.states[20].items():
        assert torch.equal(value, many.states[20][key])
        assert torch.equal(value, fewer.states[20][key])
    at = [many.epochs.index(epoch) for epoch in few.epochs]
    assert few.curves["test loss"] == [many.curves["test loss"][index] for index in at]


def test_the_first_checkpoint_is_the_initial_network():
    points, settings = spiral(inputs=20), DescentSettings(epochs=3)
    _, found = trained({"widths": (3,), "beta": 0.1}, points, settings, checkpoints=(0, 3))
    initial = dense(DenseSettings(widths=(3,), beta=0.1), 2, 2, seeded()).state_dict()
    assert list(found.states) == [0, 3]
    assert all(torch.equal(value, initial[key]) for key, value in found.states[0].items())
    assert not torch.equal(found.states[3]["layers.0.0.weight"], initial["layers.0.0.weight"])


def test_the_orthonormal_variant_starts_alike_and_ends_otherwise():
    points = spiral(inputs=20)
    runs = [
        trained({"widths": (2, 2)}, points, DescentSettings(epochs=60, batch=4, orthonormal=alpha), (0, 1, 60))
        for alpha in (0.0, 0.05)
    ]
    plain, orthonormal = (found.states for _, found in runs)
    assert all(torch.equal(value, orthonormal[0][key]) for key, value in plain[0].items())
    weight = "layers.1.0.weight"
    assert not torch.equal(plain[1][weight], orthonormal[1][weight])

    def excess(state):
        return float((state[weight] @ state[weight].T - torch.eye(2)).norm())

    assert excess(orthonormal[60]) < 0.3 * excess(plain[60])
    # One step of each: first the descent, then the orthonormality step, of every matrix.
    whole = [
        trained({"widths": (2, 2)}, points, DescentSettings(epochs=1, orthonormal=alpha))[0] for alpha in (0.0, 0.05)
    ]
    for before, after in zip(*(linear_layers(network) for network in whole), strict=True):
        orthonormality_step(before.weight, 0.05)
        assert after.weight.detach().numpy() == pytest.approx(before.weight.detach().numpy(), abs=1e-14)


def test_divergence_names_epoch_and_learning_rate(refuses):
    settings = DescentSettings(epochs=2000, learning_rate=1e6, loss="mse")
    network = {"widths": (1,), "activation": "linear", "read_out": False, "beta": 0.01}
    with refuses("diverged by epoch", "lower train.learning_rate, which is 1e+06"):
        trained(network, neuron(), settings)


def test_progress_is_told_the_held_out_loss_where_there_is_one_in_nats():
    told = []
    hear = lambda *words: told.append(words)  # noqa: E731
    points = spiral(inputs=20)
    _, found = trained({"widths": (2,)}, points, DescentSettings(epochs=5), progress=hear)
    assert told == [(epoch, 5, loss) for epoch, loss in zip(found.epochs, found.curves["test loss"], strict=True)]
    told.clear()
    # A squared error is not in nats.
    trained({"widths": (1,), "read_out": False}, pair(), DescentSettings(epochs=2, loss="mse"), progress=hear)
    assert {loss for *_, loss in told} == {None}
    assert told[-1][:2] == (2, 2)


def test_losses():
    scores = torch.tensor([[0.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    labels = torch.tensor([0, 1])
    known = (math.log(2) + math.log(1 + math.exp(-2))) / 2
    assert float(loss_of(scores, labels, torch.zeros(2), "cross-entropy")) == pytest.approx(known)
    targets = torch.tensor([-1.0, 0.5], dtype=torch.float64)
    found = loss_of(torch.tensor([[1.0], [1.0]], dtype=torch.float64), labels, targets, "mse")
    assert float(found) == pytest.approx((4 + 0.25) / 2)


@pytest.mark.parametrize(("last", "count"), [(1, 30), (2, 30), (20, 5), (4000, 30), (1_000_000, 30), (7, 2)])
def test_a_schedule_is_spaced_evenly_in_the_logarithm(last, count):
    found = schedule(last, count)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (0, last)
    assert 1 in found
    assert len(found) <= count + 1
    if last > 1000:
        ratios = np.diff(np.log(found[-12:]))
        assert ratios.max() < 1.1 * ratios.min()
        assert len(found) > 0.6 * count
