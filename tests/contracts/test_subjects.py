"""What every registered network keeps to: an entry of the registry brings these tests."""

import pytest
import torch
from safetensors.torch import load, save

from infoplane import subjects
from infoplane.capture import default_transform, list_layers
from infoplane.errors import UsageError
from infoplane.settings import options_for
from infoplane.subjects import EpochSettings, TrainSettings, objective_of, settings_of, train_classifier, train_epochs
from plugin_site import visible

SHAPE, CLASSES, LEVELS = (1, 8, 8), 3, 4
#: kind -> options that make it small; any other kind is taken as it is
SMALL = {
    "nash-cnn": {"filters": [3, 4], "hidden": 6, "kernel": 3, "padding": 1},
    "resnet-classifier": {"filters": [3, 4, 5], "blocks": 1, "pool": 2},
    "resnet-autoencoder": {"filters": [3, 4, 5], "blocks": 1, "pool": 2},
}
with visible():
    EVERY = pytest.mark.parametrize("kind", [name for name, _ in subjects.REGISTRY.items()])
TO_UNIT = default_transform(LEVELS)


def built(kind, *, seed=0, shape=SHAPE):
    torch.manual_seed(seed)
    constructor = subjects.REGISTRY[kind]
    return constructor(shape, CLASSES, **options_for(constructor, SMALL.get(kind, {}), kind))


def images(n=48):
    """Images whose mean brightness tells their label."""
    labels = torch.arange(n) % CLASSES
    uniform = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(0))
    return (uniform * (2 + labels.view(-1, 1, 1, 1))).floor().clamp(0, LEVELS - 1).to(torch.uint8), labels


def trained(kind, *, seed=0, checkpoints=(0, 1, "end"), more=False):
    """A network and what its training kept."""
    model, (x, y) = built(kind), images()
    split = (x[:32], y[:32], x[32:], y[32:])
    if settings_of(kind) is EpochSettings:
        settings = EpochSettings(epochs=40 if more else 2, batch=8, learning_rate=0.05, checkpoints=checkpoints)
        how = {"objective": objective_of(kind), "transform": TO_UNIT, "seed": seed}
        return model, train_epochs(model, *split, settings, **how)
    settings = TrainSettings(updates=150 if more else 4, batch=8, learning_rate=0.01, checkpoints=checkpoints)
    return model, train_classifier(model, *split, settings, transform=TO_UNIT, seed=seed)


def loss(kind, model):
    """On the training images, in evaluation mode."""
    x, y = images()
    with torch.no_grad():
        output = model.eval()(TO_UNIT(x[:32]))
    if objective_of(kind) == "mse":
        return float(torch.nn.functional.mse_loss(output, TO_UNIT(x[:32])))
    return float(torch.nn.functional.cross_entropy(output, y[:32]))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@EVERY
def test_a_seed_decides_the_initial_weights_and_it_answers_what_it_is_trained_for(kind):
    model = built(kind).eval()
    assert same(model.state_dict(), built(kind).state_dict())
    assert not same(model.state_dict(), built(kind, seed=1).state_dict())
    x = TO_UNIT(images(5)[0])
    with torch.no_grad():
        output = model(x)
        assert output.shape == (x.shape if objective_of(kind) == "mse" else (5, CLASSES))
        assert output.isfinite().all()
        assert torch.equal(model(x), output)
        alone = torch.cat([model(x[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(alone, output, atol=1e-5, rtol=1e-5)  # one image's answer is no question of the others


@EVERY
def test_its_layers_fire_and_can_be_read(kind):
    model = built(kind).eval()
    listed = list_layers(model, TO_UNIT(images(4)[0]), image=SHAPE[1:])
    assert [info for info in listed if info.reading is not None]
    assert all(info.problem for info in listed if info.reading is None)
    assert len({info.name for info in listed}) == len(listed)


@EVERY
def test_it_learns(kind):
    before = loss(kind, built(kind))
    assert loss(kind, trained(kind, more=True)[0]) < 0.9 * before


@EVERY
def test_training_is_decided_by_its_seed_and_checkpoints_are_its_states(kind):
    model, first = trained(kind)
    built(kind)
    state = torch.get_rng_state()
    again = trained(kind)[1]
    assert torch.equal(torch.get_rng_state(), state)  # the caller's, as it was once the network was made
    assert {**vars(first), "states": 0} == {**vars(again), "states": 0}
    assert list(first.states) == list(again.states)
    assert set(first.states) == {"0", "1", "end"}
    assert all(same(first.states[name], again.states[name]) for name in first.states)
    assert not same(first.states["end"], trained(kind, seed=1)[1].states["end"])
    assert same(first.states["0"], built(kind).state_dict())
    assert not same(first.states["0"], first.states["1"])
    assert same(trained(kind, checkpoints=("end",))[1].states["end"], first.states["end"])  # they disturb nothing
    assert not model.training
    # Kept as safetensors and loaded, a checkpoint is the network again.
    x = TO_UNIT(images(4)[0])
    kept = load(save({name: value.contiguous() for name, value in first.states["end"].items()}))
    other = built(kind, seed=7).eval()
    other.load_state_dict(kept)
    with torch.no_grad():
        assert torch.equal(other(x), model(x))


@EVERY
def test_images_of_any_size_fit_or_are_refused_in_one_line(kind):
    for shape in ((1, 1, 1), (3, 5, 7), (2, 12, 20)):
        refused = ""
        try:
            model = built(kind, shape=shape).eval()
        except UsageError as error:
            refused = str(error)
        assert "\n" not in refused
        if not refused:
            with torch.no_grad():
                assert model(torch.rand(2, *shape)).isfinite().all()


@EVERY
def test_options_that_there_are_not_are_refused_in_one_line(kind, refuses):
    with refuses("unknown key", "no_such_option"):
        options_for(subjects.REGISTRY[kind], {"no_such_option": 1}, kind)
