"""Training a network under study: reproducible, with checkpoints where they were asked for."""

import math

import pytest
import torch
from torch import nn

from infoplane.data.digits import load_digits
from infoplane.errors import FitError
from infoplane.subjects import NashCNN, TrainSettings, correct, train_classifier


def to_unit(images):
    return images.float() / 16


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
    return torch.from_numpy(data.images)[order], torch.from_numpy(data.labels).long()[order]


def network(*, seed=0, **options):
    torch.manual_seed(seed)
    return NashCNN((1, 8, 8), 10, **{"filters": (8, 8), "hidden": 32, "kernel": 3, "padding": 1} | options)


def train(model, digits, *, seed=0, progress=None, **settings):
    images, labels = digits
    chosen = TrainSettings(**{"updates": 20, "batch": 32, "learning_rate": 3e-3, "evaluate_every": 5} | settings)
    return train_classifier(
        model, images[:1000], labels[:1000], images[1000:1200], labels[1000:1200], chosen,
        transform=to_unit, seed=seed, progress=progress,
    )  # fmt: skip


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def test_it_learns_the_digits_quickly(digits):
    images, labels = digits
    model = network(filters=(16, 16), hidden=64, dropout=0.2)
    before = correct(model, images[1200:], labels[1200:], to_unit).float().mean()
    trained = train(model, digits, updates=250, evaluate_every=50)
    after = correct(model, images[1200:], labels[1200:], to_unit).float().mean()
    assert before < 0.3
    assert after > 0.9
    assert trained.updates == [50, 100, 150, 200, 250]
    assert max(trained.validation_accuracy) > 0.9


def test_checkpoints_are_kept_on_schedule(digits):
    model, path = network(), {}
    initial = {name: value.clone() for name, value in model.state_dict().items()}

    def after(step, *_):
        path[step] = {name: value.clone() for name, value in model.state_dict().items()}

    trained = train(model, digits, checkpoints=(0, 1, 7, 20, "end"), progress=after)
    assert set(trained.states) == {"0", "1", "7", "20", "end"}
    assert same(trained.states["0"], initial)
    for step in (1, 7, 20):
        assert same(trained.states[str(step)], path[step])
    assert not same(trained.states["1"], trained.states["7"])
    assert same(trained.states["end"], path[trained.best_update])
    assert same(model.state_dict(), trained.states["end"])
    assert not model.training
    # Checkpoints do not disturb the training.
    plain = train(network(), digits)
    assert set(plain.states) == {"end"}
    assert same(plain.states["end"], trained.states["end"])


def test_the_end_is_the_best_by_validation_accuracy(digits):
    images, labels = digits
    model = network()
    trained = train(model, digits, updates=60, learning_rate=0.05)  # too fast, so that it goes up and down
    best = max(trained.validation_accuracy)
    assert trained.best_update == trained.updates[trained.validation_accuracy.index(best)]
    now = correct(model, images[1000:1200], labels[1000:1200], to_unit).float().mean()
    assert float(now) == best


class Stubborn(nn.Module):
    """Learns nothing: its accuracy never improves."""

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.nothing * torch.zeros(len(x), 10) + torch.arange(10.0)


@pytest.mark.parametrize(
    ("checkpoints", "expected", "last"),
    [
        (("end",), {"end"}, 15),  # the first evaluation is the best one, two more without improvement
        ((0, "end"), {"0", "end"}, 15),
        ((15, "end"), {"15", "end"}, 20),  # on the very update at which patience ends: kept, then on to the next look
        ((32, "end"), {"32", "end"}, 35),
        ((0, 40), {"0", "40"}, 40),
    ],
)
def test_patience_waits_for_the_checkpoints_asked_for(digits, checkpoints, expected, last):
    trained = train(Stubborn(), digits, updates=40, patience=2, checkpoints=checkpoints)
    assert set(trained.states) == expected
    assert trained.updates[-1] == last
    assert trained.best_update == 5


def test_divergence_is_named(digits):
    class Exploding(Stubborn):
        def forward(self, x):
            return super().forward(x) * math.inf

    with pytest.raises(FitError, match=r"diverged at update 5.*learning rate 0\.003") as caught:
        train(Exploding(), digits)
    assert "\n" not in str(caught.value)


def test_correct_is_in_evaluation_mode_and_in_order(digits):
    images, labels = digits
    model = network(dropout=0.9).train()
    got = correct(model, images[:700], labels[:700], to_unit, batch=64)
    assert model.training
    model.eval()
    with torch.no_grad():
        assert torch.equal(got, model(to_unit(images[:700])).argmax(1) == labels[:700])
    assert got.dtype == torch.bool
