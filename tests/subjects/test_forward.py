"""The forward direction: what is frozen stays frozen, what follows is new; the bound holds where I(y;h) is known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from infoplane.capture import activations, default_transform
from infoplane.data import hold_out
from infoplane.data.truth import Truth
from infoplane.information import label_information
from infoplane.subjects import (
    EpochSettings,
    NashCNN,
    ResNet21,
    ResNetAutoencoder,
    decode_labels,
    head,
    label_log_probs,
    tail,
    train_epochs,
)

SMALL = {"filters": (3, 4, 5), "blocks": 1, "pool": 2}
NASH = {"filters": (3, 4), "hidden": 6, "kernel": 3, "padding": 1, "dropout": 0.5}
SHORT = EpochSettings(epochs=1, batch=16)
to_unit = default_transform(4)

LAYERS = {
    ResNet21: ("stem", "h1", "h2", "h3", "h4"),
    ResNetAutoencoder: ("stem", "h1", "h2", "h3", "h4"),
    NashCNN: ("conv1", "conv2", "fc3"),
}


def network(kind=ResNet21, *, seed=0):
    """A network whose batch norms have seen something, in evaluation mode."""
    torch.manual_seed(seed)
    model = kind((1, 8, 8), 4, **(NASH if kind is NashCNN else SMALL))
    with torch.no_grad():
        model.train()(torch.rand(20, 1, 8, 8))
    return model.eval()


@pytest.fixture(scope="module")
def images():
    """100 images and labels."""
    found = Truth(0.1).sample(100, seed=0)
    return torch.from_numpy(found.images), torch.from_numpy(found.labels).long()


def copied(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def halves(h, y, at=60):
    return (h[:at], y[:at]), (h[at:], y[at:])


# --- head and tail -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "layer"), [(kind, layer) for kind, layers in LAYERS.items() for layer in layers])
def test_tail_of_head_is_the_network(kind, layer):
    model, x = network(kind), torch.rand(3, 1, 8, 8)
    with torch.no_grad():
        h = head(model, layer)(x)
        assert torch.equal(tail(model, layer)(h), model(x))
    images = (3 * x).round().to(torch.uint8)
    captured = activations(model, [layer], images, transform=to_unit)[layer]
    assert torch.equal(head(model, layer)(to_unit(images)), captured)


def test_the_tail_drops_what_the_network_drops():
    model = network(NashCNN).train()
    rest = tail(model, "conv2")
    drops = [module for module in rest.modules() if isinstance(module, nn.Dropout)]
    assert [drop.p for drop in drops] == [0.5]  # one module, in front of fc3 and of the logits
    x = torch.rand(2, 1, 8, 8)
    h = head(model, "conv2")(x)
    torch.manual_seed(5)
    model(x)  # the masks after conv1 come first
    torch.manual_seed(5)
    first = rest(h)
    assert not torch.equal(first, rest(h))
    rest.eval()
    assert torch.equal(rest(h), rest(h))


def test_a_head_is_a_frozen_copy(images):
    model = network().train()
    before = copied(model)
    frozen = head(model, "h2")
    assert model.training
    assert not any(module.training for module in frozen.modules())
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for p in model.parameters())
    frozen.train()(to_unit(images[0]))  # whatever is done with it
    assert same(copied(model), before)


# --- the rest is new, and only the rest ----------------------------------------------------------------------------


@pytest.mark.parametrize("captured", [True, False])
@pytest.mark.parametrize("kind", list(LAYERS))
def test_the_network_is_bit_identical_before_and_after(images, kind, captured):
    model = network(kind)
    before, flags = copied(model), [module.training for module in model.modules()]
    layer = LAYERS[kind][-2]
    h = activations(model, [layer], images[0], transform=to_unit)[layer] if captured else images[0]
    found = decode_labels(
        model, layer, *halves(h, images[1]), SHORT, classes=4, seed=0, transform=None if captured else to_unit
    )
    assert same(copied(model), before)
    assert [module.training for module in model.modules()] == flags
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert found.log_probs.shape == (40,)
    assert found.log_probs.dtype == torch.float64
    assert found.log_probs.max() <= 0


def test_captured_activations_and_images_give_the_same(images):
    model = network()
    h = activations(model, ["h2"], images[0], transform=to_unit)["h2"]
    first = decode_labels(model, "h2", *halves(h, images[1]), SHORT, classes=4, seed=3)
    second = decode_labels(model, "h2", *halves(*images), SHORT, classes=4, seed=3, transform=to_unit)
    torch.testing.assert_close(first.log_probs, second.log_probs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("layer", LAYERS[ResNet21])
def test_new_weights_are_new_even_where_the_network_is_untrained(images, layer):
    torch.manual_seed(0)
    model = ResNet21((1, 8, 8), 4, **SMALL)  # at epoch 0, from the very seed that is given below
    still = SHORT.model_copy(update={"learning_rate": 1e-12, "weight_decay": 0.0})
    found = decode_labels(model, layer, *halves(*images), still, classes=4, seed=0, transform=to_unit)
    own, names = tail(model, layer).state_dict(), dict(tail(model, layer).named_parameters())
    assert own.keys() == found.state.keys()
    drawn = [name for name in names if names[name].ndim > 1]  # batch norms always begin with ones and zeros
    assert drawn
    for name in drawn:
        assert (found.state[name] - own[name]).abs().max() > 0.01, name
    assert found.parameters == sum(p.numel() for p in names.values())


def test_the_seed_decides_and_the_callers_random_state_stays(images):
    model = network(NashCNN)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    results = [
        decode_labels(model, "conv1", *halves(*images), SHORT, classes=4, seed=seed, transform=to_unit)
        for seed in (2, 2, 3)
    ]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(results[0].log_probs, results[1].log_probs)
    assert not torch.equal(results[0].log_probs, results[2].log_probs)


def test_an_autoencoders_h3_and_h4_read_the_same(images):
    """Pooling is on one side or the other (Darlow & Storkey 2018, the caption of Fig. 3)."""
    model = network(ResNetAutoencoder)
    found = [
        decode_labels(model, layer, *halves(*images), SHORT, classes=4, seed=0, transform=to_unit).log_probs
        for layer in ("h3", "h4")
    ]
    torch.testing.assert_close(*found)


def test_the_held_out_share_chooses_the_epoch_and_the_mixture_and_is_not_trained_on(images):
    """By hand: the rest trained on what is kept, stopped where the held-out loss is least, mixed by what it says."""
    model, (decoding, rest), groups = network(), halves(*images), np.arange(60) // 2
    fast = EpochSettings(epochs=6, batch=8, learning_rate=0.5)
    seen = []
    found = decode_labels(
        model, "h3", decoding, rest, fast, classes=4, seed=1, transform=to_unit, held_out=0.2, groups=groups,
        progress=lambda *a: seen.append(a),
    )  # fmt: skip
    assert seen[-1][:2] == (36, 36)  # 48 of 60 examples in batches of 8, six times
    losses = found.curves["validation loss"]
    assert int(np.argmin(losses)) < 6  # at this rate the last weights are not the best
    kept, held = hold_out(np.arange(60), 0.2, 1, groups)
    assert not set(groups[kept]) & set(groups[held])
    again = nn.Sequential(*tail(network().classifier(4), "h3"))
    again.load_state_dict(found.state)
    again.eval()
    with torch.no_grad():
        table = {
            part: F.log_softmax(again(head(model, "h3")(to_unit(x))).double(), 1).numpy()
            for part, x in (("held", decoding[0][held]), ("evaluation", rest[0]))
        }
    labels = decoding[1].numpy()
    own = table["held"][np.arange(12), labels[held]]
    assert -own.mean() == pytest.approx(min(losses), rel=1e-5)
    shares = (np.bincount(labels[kept], minlength=4) + 0.5) / (48 + 2)
    q, p = np.exp(own), shares[labels[held]]
    weights = np.linspace(1e-4, 1 - 1e-4, 20_001)[:, None]
    w = weights[(np.log((1 - weights) * q + weights * p).sum(1, keepdims=True) + np.log(weights * (1 - weights)))
                .argmax()]  # fmt: skip
    mixed = np.log((1 - w) * np.exp(table["evaluation"]) + w * shares)
    assert found.log_probs.numpy() == pytest.approx(mixed[np.arange(40), rest[1].numpy()], abs=2e-3)
    assert found.correct.numpy() == pytest.approx(table["evaluation"].argmax(1) == rest[1].numpy())


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_a_class_that_the_rest_never_saw_costs_what_its_share_may_be(images, rate):
    """Labels 3 occur in the evaluation split only: each costs about log 2n, whatever the rest became sure of."""
    x, y = images
    decoding, evaluation = torch.nonzero(y < 3)[:, 0], torch.nonzero(y == 3)[:, 0]
    assert len(evaluation) > 10
    settings = EpochSettings(epochs=8, batch=8, learning_rate=rate)
    found = decode_labels(
        network(), "h2", (x[decoding], y[decoding]), (x[evaluation], y[evaluation]), settings, classes=4, seed=0,
        transform=to_unit,
    )  # fmt: skip
    assert found.log_probs.min() > -math.log(2 * (len(decoding) + 2)) - 1
    assert not found.correct.any()


# --- the network's own likelihood ----------------------------------------------------------------------------------


def test_the_classifiers_own_likelihood(images):
    model = network().train()
    found = label_log_probs(model, *images, to_unit)
    assert model.training
    model.eval()
    with torch.no_grad():
        expected = -F.cross_entropy(model(to_unit(images[0])).double(), images[1], reduction="none")
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        model.logits.weight.mul_(1e6)  # as sure as can be, and often wrong
    assert label_log_probs(model, *images, to_unit).isfinite().all()


# --- where I(y;h) is known -----------------------------------------------------------------------------------------

#: share of labels that are replaced by one of the three others
FLIPPED = 0.2


def channel(count, seed):
    """Images whose template can be read without error, and labels that are the template after a noisy channel.

    Returns images, labels, and log p(y|template) of every example. I(y;h) of an h from which the template can be read
    is H(y) − H(y|template) = ln 4 + (1 − p) ln(1 − p) + p ln(p/3).
    """
    data = Truth(0.05).sample(count, seed)
    generator = np.random.default_rng(seed)
    flipped = generator.random(count) < FLIPPED
    labels = np.where(flipped, (data.labels + generator.integers(1, 4, count)) % 4, data.labels)
    exact = np.where(flipped, math.log(FLIPPED / 3), math.log(1 - FLIPPED))
    return torch.from_numpy(data.images), torch.from_numpy(labels).long(), exact


INFORMATION = math.log(4) + (1 - FLIPPED) * math.log(1 - FLIPPED) + FLIPPED * math.log(FLIPPED / 3)


@pytest.mark.parametrize(("layer", "epochs"), [("h1", 0), ("h2", 5), ("h4", 5)])
def test_the_bound_on_a_noisy_label_channel(layer, epochs):
    assert Truth(0.05).information("template", 20_000).value == pytest.approx(math.log(4), abs=1e-3)
    images, labels, _ = channel(800, seed=1)
    torch.manual_seed(0)
    model = ResNet21((1, 8, 8), 4, filters=(4, 6, 8), blocks=1, pool=2).eval()
    if epochs:
        train_epochs(
            model, images, labels, images[:0], None, EpochSettings(epochs=epochs, batch=16),
            objective="cross-entropy", transform=to_unit, seed=0,
        )  # fmt: skip
    decoding, (held, held_labels, exact) = channel(2000, seed=2), channel(2000, seed=3)
    found = decode_labels(
        model, layer, decoding[:2], (held, held_labels), EpochSettings(epochs=5, batch=64),
        classes=4, seed=0, transform=to_unit,
    )  # fmt: skip
    estimate = label_information(found.log_probs.numpy(), held_labels.numpy(), classes=4)
    assert (estimate.bound, estimate.n) == ("lower", 2000)
    assert 0.015 < estimate.stderr < 0.03
    # The same examples under the true channel: what is lost is q's own doing, and never less than nothing.
    lost = exact - found.log_probs.numpy()
    assert -3 * lost.std() / math.sqrt(2000) < lost.mean() < 0.04
    assert abs(estimate.value + lost.mean() - INFORMATION) < 3 * estimate.stderr
    assert estimate.value < INFORMATION + 3 * estimate.stderr
    assert abs(float(found.correct.double().mean()) - (1 - FLIPPED)) < 0.03


# --- what is refused -----------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_refused(images, refuses):
    decoding, evaluation = halves(*images)
    with refuses("nothing behind this layer", "logits", "h4"):
        decode_labels(network(), "logits", decoding, evaluation, SHORT, classes=4, seed=0, transform=to_unit)
    with refuses("unknown layer", "'h5'", "h4"):
        tail(network(), "h5")
    with refuses("unknown layer", "'decoder'"):
        decode_labels(
            network(ResNetAutoencoder), "decoder", decoding, evaluation, SHORT, classes=4, seed=0, transform=to_unit
        )
    with refuses("cannot be trained anew", "Sequential", "stages", "linear probes"):
        head(nn.Sequential(nn.Linear(2, 2)), "0")
