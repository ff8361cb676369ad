"""Weights are found in whatever a training script kept, or the message says what is there instead."""

from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.optim.swa_utils import AveragedModel

from infoplane.subjects.given import load_states


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.fc = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Linear(16, 6)


class Keeping(Net):
    """With a state that is no tensor."""

    def __init__(self):
        super().__init__()
        self.notes = {"seen": 0}

    def get_extra_state(self):
        return self.notes

    def set_extra_state(self, state):
        if state is None:
            raise ValueError("no state")
        self.notes = state


def state_of(seed: int, model: nn.Module | None = None) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    state = (Net() if model is None else model).state_dict()
    return {name: torch.rand(x.shape, generator=generator).to(x.dtype) for name, x in state.items()}


OTHER, THIRD = state_of(1), state_of(2)


def under(prefix, state=OTHER):
    return {prefix + name: x for name, x in state.items()}


def averaged():
    model = Net()
    model.load_state_dict(OTHER)
    return AveragedModel(model).state_dict()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (OTHER, ""),
        ({"checkpoint": {"model": OTHER}}, "['checkpoint']['model']"),
        ({"model": {"state_dict": OTHER}, "epoch": 3}, "['model']['state_dict']"),
        ({"state_dict_ema": OTHER}, "['state_dict_ema']"),
        ({"params": OTHER}, "['params']"),
        ({"module": OTHER, "optimizer": {"state": {0: {"step": torch.ones(1)}}}}, "['module']"),
        ({"a": {"b": {"c": {"d": under("net.")}}}}, "['a']['b']['c']['d']; prefix 'net.' taken off"),
        ([{"lr": 0.1}, OTHER], "[1]"),
        (under("module._orig_mod."), "prefix 'module._orig_mod.' taken off"),
        (
            averaged(),
            "prefix 'module.' taken off the names of all weights; left out, as none of the model's: n_averaged",
        ),
        ({**under("model."), "loss.weight": torch.ones(2)}, "left out, as none of the model's: loss.weight"),
        ({**OTHER, "epoch": 3}, "left out, as none of the model's: epoch"),
        ({"model": OTHER, "state_dict": dict(OTHER)}, "['model']"),  # the same twice is no choice
        ({"generator": OTHER, "discriminator": {"conv.weight": torch.ones(3)}}, "['generator']"),
        ({name: x for name, x in OTHER.items() if "num_batches" not in name}, ""),  # of before batches were counted
    ],
)
@pytest.mark.parametrize("in_file", [False, True])
def test_weights_are_found(content, said, in_file, tmp_path, capsys):
    if in_file:
        torch.save(content, tmp_path / "kept.pt")
        content = tmp_path / "kept.pt"
    model = Net()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    (found,) = load_states(model, {"0": content}).values()
    assert all(torch.equal(found[name], x) for name, x in OTHER.items() if name in found)
    assert found.keys() | {"norm.num_batches_tracked"} == OTHER.keys()
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    heard = capsys.readouterr().err
    assert said in heard
    assert bool(heard) == bool(said)


@pytest.mark.parametrize("wrapped", [nn.Sequential(Net()), nn.Sequential(OrderedDict(backbone=Net()))])
def test_a_wrapped_model_takes_the_weights_of_what_it_wraps(wrapped):
    for content in (OTHER, under("module.")):
        (found,) = load_states(wrapped, {"0": content}, quiet=True).values()
        front = next(iter(wrapped.state_dict())).partition(".")[0]
        assert all(torch.equal(found[f"{front}.{name}"], x) for name, x in OTHER.items())


def test_arrays_of_numpy_are_weights():
    (found,) = load_states(Net(), {"0": {name: x.numpy() for name, x in OTHER.items()}}).values()
    assert all(torch.equal(found[name], x) for name, x in OTHER.items())


def test_a_file_of_safetensors_is_read(tmp_path):
    save_file(under("module."), tmp_path / "kept.safetensors")
    (found,) = load_states(Net(), {"0": tmp_path / "kept.safetensors"}, quiet=True).values()
    assert all(torch.equal(found[name], x) for name, x in OTHER.items())


def test_what_a_module_keeps_beside_tensors_is_loaded():
    model, other = Keeping(), Keeping()
    other.notes = {"seen": 7}
    (found,) = load_states(model, {"0": under("module.", other.state_dict())}, quiet=True).values()
    assert found["_extra_state"] == {"seen": 7}
    assert model.notes == {"seen": 0}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"model": OTHER, "model_ema": THIRD}, "several networks' weights; received ['model'], ['model_ema']"),
        ({"state_dict": OTHER, "ema_state_dict": THIRD}, "several networks' weights"),
        ({"generator": OTHER, "discriminator": THIRD}, "several networks' weights"),
        ({**under("student."), **under("teacher.", THIRD)}, "under 'student.', the file itself under 'teacher.'"),
        (
            {"optimizer": {"state": {}, "param_groups": []}},
            "the keys 'optimizer' ('optimizer' has 'state', 'param_groups'); legal: a state dict with conv.weight",
        ),
        (dict(enumerate(OTHER.values())), "received the keys 0, 1, 2"),
        ({name: x.tolist() for name, x in OTHER.items()}, "the keys 'conv.weight', 'conv.bias'"),
        ({}, "received nothing; legal"),
        ({**OTHER, "extra": torch.ones(1)}, "it has also extra"),
        ({name: x for name, x in OTHER.items() if "fc" not in name}, "it lacks fc.weight, fc.bias;"),
        ({name: x for name, x in under("module.").items() if "fc" not in name}, "it lacks fc.weight, fc.bias;"),
        ({**OTHER, "fc.weight": torch.ones(3, 3)}, "it has fc.weight of 3×3 instead of 6×16"),
        ({name: x + 0j for name, x in OTHER.items()}, "conv.weight of complex64 instead of float32"),
        ({name: x.to("meta") for name, x in OTHER.items()}, "without values: conv.weight"),
        (Net(), "pass its state_dict()"),
        (torch.ones(3), "received Tensor"),
    ],
)
def test_what_is_there_instead_is_said_in_a_line(content, words, refuses):
    model = Net()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with refuses(words):
        load_states(model, {"0": content})
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_a_loader_that_takes_whatever_fits_is_not_believed(refuses):
    class Lenient(Net):
        def load_state_dict(self, state_dict, strict=False, assign=False):
            return super().load_state_dict(state_dict, strict=False)

    with refuses("it lacks conv.weight"):
        load_states(Lenient(), {"0": {"other": torch.ones(1)}})


def test_other_kinds_of_numbers_are_said(capsys):
    load_states(Net(), {"0": {name: (9 * x).int() for name, x in OTHER.items()}})
    assert "whole numbers, which the model has as floating point: conv.weight" in capsys.readouterr().err
    load_states(Net(), {"0": {**OTHER, "norm.num_batches_tracked": torch.tensor(0.5)}})
    assert "cut to whole numbers, as the model has them: norm.num_batches_tracked" in capsys.readouterr().err


def test_what_is_no_regular_file_is_refused_at_once(tmp_path, refuses):
    with refuses("it is no regular file"):
        load_states(Net(), {"0": tmp_path})
