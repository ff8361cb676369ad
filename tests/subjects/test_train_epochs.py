"""Training by epochs: the published schedule step by step, checkpoints by epoch, batch norm in the right mode."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infoplane.capture import default_transform
from infoplane.data.digits import load_digits
from infoplane.errors import FitError
from infoplane.subjects import (
    EpochSettings,
    NashCNN,
    ResNet21,
    ResNetAutoencoder,
    TrainSettings,
    train_classifier,
    train_epochs,
)

SMALL = {"filters": (4, 6, 8), "blocks": 1, "pool": 2}
to_unit = default_transform(17)


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(data.images)[order], torch.from_numpy(data.labels).long()[order]


def network(kind=ResNet21, *, seed=0, **options):
    torch.manual_seed(seed)
    return kind((1, 8, 8), 10, **SMALL | options)


def train(model, digits, *, n=100, held=40, seed=0, objective=None, progress=None, **settings):
    images, labels = digits
    chosen = EpochSettings(**{"epochs": 3, "batch": 32} | settings)
    return train_epochs(
        model, images[:n], labels[:n], images[n : n + held], labels[n : n + held], chosen,
        objective=objective or model.objective, transform=to_unit, seed=seed, progress=progress,
    )  # fmt: skip


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


# --- the schedule --------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_papers():
    settings = EpochSettings()
    assert (settings.epochs, settings.learning_rate, settings.momentum) == (200, 0.1, 0.9)
    assert (settings.weight_decay, settings.schedule, settings.checkpoints) == (5e-4, "cosine", ("end",))


def test_every_step_is_that_of_the_formula(digits):
    """Momentum, weight decay and the cosine from .1 to 0 written out for a linear model, whose gradient is known."""
    images, labels = digits
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    path, seen = [copied(model)], []
    model.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]) if module.training else None)
    train(
        model, digits, n=100, epochs=3, batch=40, objective="cross-entropy",
        progress=lambda *_: path.append(copied(model)),
    )  # fmt: skip
    assert len(path) == 1 + 3 * 3
    lookup = {to_unit(image).numpy().tobytes(): int(label) for image, label in zip(images[:100], labels[:100])}
    weights = {name: value.double() for name, value in path[0].items()}
    momentum = {name: torch.zeros_like(value) for name, value in weights.items()}
    for step, x in enumerate(seen):
        assert len(x) == (40, 40, 20)[step % 3]
        y = torch.tensor([lookup[image.numpy().tobytes()] for image in x])
        flat = x.flatten(1).double()
        error = F.softmax(flat @ weights["1.weight"].T + weights["1.bias"], 1) - F.one_hot(y, 10)
        gradient = {"1.weight": error.T @ flat / len(x), "1.bias": error.mean(0)}
        rate = 0.1 * (1 + math.cos(math.pi * step / 9)) / 2
        for name, value in weights.items():
            momentum[name] = 0.9 * momentum[name] + gradient[name] + 5e-4 * value
            weights[name] = value - rate * momentum[name]
            torch.testing.assert_close(path[step + 1][name].double(), weights[name], atol=2e-6, rtol=2e-5)
    for epoch in range(3):  # every example once an epoch, each time in another order
        keys = [image.numpy().tobytes() for x in seen[3 * epoch : 3 * epoch + 3] for image in x]
        assert sorted(keys) == sorted(to_unit(image).numpy().tobytes() for image in images[:100])
    assert not torch.equal(seen[0], seen[3])


def test_the_rate_falls_to_zero_along_a_cosine():
    settings = EpochSettings()
    rates = [settings.rate(share) for share in (0, 1 / 3, 0.5, 2 / 3, 1)]
    assert rates == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert EpochSettings(schedule="constant").rate(0.9) == 1


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_checkpoints_are_kept_by_epoch_and_within(digits):
    model, path = network(), {}
    path[0] = copied(model)
    trained = train(
        model, digits, epochs=3, checkpoints=(0, 0.01, 0.5, 1, 2.25, 3, "end"),
        progress=lambda done, total, _: path.__setitem__(done, copied(model)),
    )  # fmt: skip
    assert max(path) == 3 * 4  # 100 examples in batches of 32: three full ones and one of four
    expected = {"0": 0, "0.01": 1, "0.5": 2, "1": 4, "2.25": 9, "3": 12, "end": 12}
    assert set(trained.states) == set(expected)
    for name, step in expected.items():
        assert same(trained.states[name], path[step]), name
    assert same(trained.states["end"], model.state_dict())
    assert not same(trained.states["0"], trained.states["0.01"])
    assert not model.training
    # To keep checkpoints, and to look at the held-out loss, does not disturb the training.
    plain = train(network(), digits, held=0)
    assert set(plain.states) == {"end"}
    assert same(plain.states["end"], trained.states["end"])


def test_checkpoints_beyond_the_end_are_refused(refuses):
    with refuses("checkpoint 4.5 lies beyond the last of 4 epochs", "legal: 0 to 4, and end"):
        EpochSettings(epochs=4, checkpoints=(0, 4.5))
    with refuses("checkpoints.0 cannot be used", "received -1", "end"):
        EpochSettings(checkpoints=(-1,))
    with refuses("unknown key 'updates' in EpochSettings"):
        EpochSettings(updates=5)


@pytest.mark.parametrize(("n", "steps"), [(96, 3), (97, 3), (98, 4), (20, 1), (2, 1)])
def test_a_last_batch_of_one_is_left_out(digits, n, steps):
    seen = []
    train(network(), digits, n=n, held=0, epochs=2, progress=lambda *a: seen.append(a))
    assert [a[:2] for a in seen] == [(k + 1, 2 * steps) for k in range(2 * steps)]


# --- what depends on what ------------------------------------------------------------------------------------------


# --- what is written down ------------------------------------------------------------------------------------------


def test_it_learns_the_digits(digits):
    model = network(filters=(8, 16, 16))
    nats = []
    found = train(
        model, digits, n=1000, held=300, epochs=6, batch=64, progress=lambda *a: nats.append(a[2])
    )  # fmt: skip
    assert found.epochs == [0, 1, 2, 3, 4, 5, 6]
    assert set(found.curves) == {"train loss", "train accuracy", "validation loss", "validation accuracy"}
    assert all(len(curve) == 7 for curve in found.curves.values())
    assert found.curves["validation loss"][0] == pytest.approx(math.log(10), abs=0.3)
    assert found.curves["validation accuracy"][-1] > 0.9
    assert found.curves["train loss"][-1] < 0.3
    assert nats[0] == found.curves["validation loss"][0]  # what a progress bar shows
    assert nats[-1] == found.curves["validation loss"][-2]


def test_validation_is_in_evaluation_mode_and_leaves_no_trace(digits):
    images, labels = digits
    model = network()
    found = train(model, digits, epochs=2)
    with torch.no_grad():
        logits = model(to_unit(images[100:140]))  # the trained model is in evaluation mode
    assert found.curves["validation loss"][-1] == pytest.approx(float(F.cross_entropy(logits, labels[100:140])))
    right = (logits.argmax(1) == labels[100:140]).double().mean()
    assert found.curves["validation accuracy"][-1] == pytest.approx(float(right))
    # Batch norm has counted the steps of training and nothing else.
    counts = {int(m.num_batches_tracked) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
    assert counts == {2 * 4}


def test_the_training_loss_is_the_mean_over_the_epochs_examples(digits):
    model, losses = network(), []

    def loss_now(_, inputs, output):
        if model.training:
            keys = [image.numpy().tobytes() for image in inputs[0]]
            labels = torch.tensor([lookup[key] for key in keys])
            losses.extend(F.cross_entropy(output, labels, reduction="none").tolist())

    images, labels = digits
    lookup = {to_unit(image).numpy().tobytes(): int(label) for image, label in zip(images[:100], labels[:100])}
    model.register_forward_hook(loss_now)
    found = train(model, digits, epochs=2)
    assert len(losses) == 200
    assert found.curves["train loss"][1:] == pytest.approx([sum(losses[:100]) / 100, sum(losses[100:]) / 100])


def test_the_autoencoder_learns_to_reconstruct(digits):
    images, _ = digits
    model, nats = network(ResNetAutoencoder, filters=(8, 16, 32)), []
    found = train(model, digits, n=600, held=200, epochs=20, batch=32, progress=lambda *a: nats.append(a[2]))
    assert set(found.curves) == {"train loss", "validation loss"}
    x = to_unit(images[600:800])
    mean = float((to_unit(images[:600]).mean(0) - x).square().mean())  # of the best constant image
    assert found.curves["validation loss"][-1] < 0.6 * mean
    with torch.no_grad():
        assert found.curves["validation loss"][-1] == pytest.approx(float((model(x) - x).square().mean()), rel=1e-5)
    assert set(nats) == {None}  # a squared error is not in nats


def test_activations_can_be_trained_on_and_labels_may_lie_elsewhere(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    h = digits[0].float() / 16
    settings = EpochSettings(epochs=20, batch=32)
    found = train_epochs(
        model, h[:500], digits[1][:500], h[500:600], digits[1][500:600], settings,
        objective="cross-entropy", transform=lambda part: part, seed=0,
    )  # fmt: skip
    assert found.curves["validation accuracy"][-1] > 0.85


# --- what is refused -----------------------------------------------------------------------------------------------


def test_divergence_is_named(digits, refuses):
    with refuses("diverged in epoch 1", "at learning rate", "subject.train.learning_rate", error=FitError):
        train(network(), digits, learning_rate=1e30)


def test_a_network_must_answer_what_it_is_trained_for(digits, refuses):
    with refuses("does not classify", "(1, 8, 8)"):
        train(network(ResNetAutoencoder), digits, objective="cross-entropy")
    with refuses("does not reconstruct", "(10,)", "(1, 8, 8)"):
        train(network(), digits, objective="mse")
    images, labels = digits
    with refuses("does not classify"):
        train_classifier(
            network(ResNetAutoencoder), images, labels, images, labels, TrainSettings(), transform=to_unit, seed=0
        )
    with refuses("too few examples", "1"):
        train(network(), digits, n=1)


def test_networks_say_what_they_are_trained_for():
    assert (ResNet21.objective, ResNetAutoencoder.objective, NashCNN.objective) == (
        "cross-entropy", "mse", "cross-entropy",
    )  # fmt: skip
