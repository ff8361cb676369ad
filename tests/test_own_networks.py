"""Measuring networks that are random, look at their batch, are of another type, or cannot be copied."""

import argparse
import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn

import tiny_study
import toy_networks
from infoplane.profile import measure
from infoplane.subjects.given import load_states
from tiny_study import QUICK

IMAGES, LABELS = tiny_study.images_and_labels()

pytestmark = pytest.mark.usefixtures("short")


class Latent(nn.Module):
    """A sampled latent, as of a variational autoencoder's encoder."""

    def __init__(self):
        super().__init__()
        self.mean, self.draw = nn.Flatten(), Draw()

    def forward(self, x):
        return self.draw(self.mean(x))


class Draw(nn.Module):
    def forward(self, h):
        return h[:, :4] + 0.3 * torch.randn_like(h[:, :4])


def test_a_random_layer_depends_on_the_seed_alone_and_each_fit_draws_anew(capsys):
    found = []
    for callers in (1, 2):
        torch.manual_seed(callers)
        state = torch.get_rng_state()
        options = QUICK | {"refits": 2, "quiet": False}
        found.append(measure(Latent(), IMAGES, layers=["mean", "draw"], **options))
        assert torch.equal(torch.get_rng_state(), state)
    assert "layer 'draw' is random, drawn anew for every fit" in capsys.readouterr().err
    assert found[0].frame.equals(found[1].frame)
    other = measure(Latent(), IMAGES, layers=["draw"], **QUICK | {"seed": 1})
    assert other["draw"]["nce"].value != found[0]["draw"]["nce"].value
    for estimate in found[0]["draw"].values():
        assert any(flag.startswith("is random") for flag in estimate.flags)
    assert not any("random" in flag for flag in found[0]["mean"]["nce"].flags)
    capture = found[0]._results.cell("capture")
    assert capture.values["on_the_fly"] == ["draw"]
    assert capture.values["function_of"] == {"mean": [], "draw": []}
    quiet = found[0].log_prob("draw", IMAGES[:2], given=IMAGES[:2])
    assert "its activations were drawn anew" in capsys.readouterr().err
    assert torch.equal(quiet, found[0].log_prob("draw", IMAGES[:2], given=IMAGES[:2]))


def test_scores_of_measured_images_are_of_the_activations_that_were_measured(capsys):
    """Of a layer that looks at its batch, a handful of images would have other activations by themselves."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten())
    found = measure(model, IMAGES, LABELS, layers=["2"], **QUICK)
    assert any(flag.startswith("depends on the other images of its batch") for flag in found["2"]["nce"].flags)
    data, density = (found._results.cell(*role) for role in (("data",), ("density", "2", 1)))
    few = IMAGES[data.array("evaluation")[:3]]
    scores = found.log_prob("2", few, given=few)
    assert scores.diagonal().numpy() == pytest.approx(density.array("log_probs")[:3], abs=1e-4)
    found._quiet = False
    found.log_prob("2", few, given=2 - few)
    assert "layer '2' depends on the other images" in capsys.readouterr().err


class Single(nn.Module):
    """One number per image, with an axis of units and without one, and a layer of no units."""

    def __init__(self):
        super().__init__()
        self.mean, self.scalar, self.none = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x):
        mean = self.mean(x.mean((1, 2, 3))[:, None])
        self.none(mean[:, :0])
        return self.scalar(mean[:, 0])


def test_one_number_per_image_is_a_vector_of_one_unit(refuses):
    kinds = ("nce", "usable", "contrastive", "label", "mse", "samples")
    found = measure(Single(), IMAGES, LABELS, layers=["mean", "scalar"], kinds=kinds, **QUICK)
    for kind, estimate in found["mean"].items():
        other = found["scalar"][kind]
        assert (other.value, other.stderr) == (estimate.value, estimate.stderr), kind
    assert found._results.functions("scalar") == ("mean",)
    scores = [found.log_prob(layer, IMAGES[:3], given=IMAGES[:2]) for layer in ("mean", "scalar")]
    assert torch.equal(*scores)
    lines = str(found).splitlines()
    below = lines[next(at for at, line in enumerate(lines) if line.startswith("scalar ")) + 1]
    assert below.startswith("read as vector of 1 ")
    with refuses("'none'", "no values"):
        measure(Single(), IMAGES, LABELS, layers=["mean", "none"], **QUICK)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_another_type_just_work(dtype, refuses):
    network = toy_networks.build().to(dtype)
    assert math_is_finite(measure(network, IMAGES, layers=["conv"], **QUICK)["conv"]["nce"].value)
    cast = {torch.float16: "half", torch.bfloat16: "bfloat16", torch.float64: "double"}[dtype]
    with refuses("does not run", f"transform=lambda x: x.{cast}() / 255"):
        measure(network, IMAGES, layers=["conv"], transform=lambda x: x.float() / 2, **QUICK)


def math_is_finite(value):
    return np.isfinite(value)


class Lock(toy_networks.Toy):
    """What cannot be copied: it has a lock, and keeps its last activation."""

    def __init__(self):
        super().__init__()
        self.lock = threading.Lock()

    def forward(self, x):
        self.last = self.conv(x)
        return super().forward(x)


def test_checkpoints_of_a_network_that_cannot_be_copied():
    model = Lock()
    model(torch.rand(2, 1, 4, 4)).sum().backward()
    with pytest.raises(TypeError):
        copy.deepcopy(model)
    own, earlier = copy.deepcopy(model.state_dict()), toy_networks.build().state_dict()
    found = measure(model, IMAGES, layers=["fc"], checkpoints={"0": earlier}, **QUICK)
    assert all(torch.equal(value, own[name]) for name, value in model.state_dict().items())
    assert set(found.frame["checkpoint"]) == {"", "0", "end"}
    captured = [found._results.cell("capture", checkpoint=at).array("evaluation:fc") for at in ("0", "end")]
    assert not np.allclose(*captured)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
@pytest.mark.parametrize("wrapped", [None, "state_dict", "net"])
def test_a_prefix_that_all_weights_have_is_taken_off(prefix, wrapped, tmp_path, capsys):
    model = toy_networks.build()
    state = {prefix + name: value + 1 for name, value in model.state_dict().items()}
    torch.save(state if wrapped is None else {wrapped: state}, tmp_path / "x.pt")
    found = load_states(model, {"0": tmp_path / "x.pt"})["0"]
    assert all(torch.equal(found[name], value + 1) for name, value in model.state_dict().items())
    said = [f"weights taken from [{wrapped!r}]"] * (wrapped is not None) + [f"prefix '{prefix}' taken off"]
    assert f"checkpoint '0': {'; '.join(said)}" in capsys.readouterr().err


def test_a_prefix_that_only_the_model_has_is_added(capsys):
    model = nn.Sequential()
    model.add_module("module", toy_networks.build())
    found = load_states(model, {"0": toy_networks.build().state_dict()})["0"]
    assert found.keys() == model.state_dict().keys()
    assert "prefix 'module.' added" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [{"state_dict": {}, "args": argparse.Namespace(lr=1)}, {"model": {}, "best": np.float64(0.3)}, Lock]
)
def test_files_that_hold_more_than_weights_are_told_what_to_do(content, tmp_path, refuses):
    torch.save(content if isinstance(content, dict) else toy_networks.build(), tmp_path / "x.pt")
    with refuses("cannot read the checkpoint", "weights_only=True", "torch.save(model.state_dict()"):
        load_states(toy_networks.build(), {"0": tmp_path / "x.pt"})


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.input = nn.Conv2d(1, 2, 3)
        self.parts = nn.ModuleDict({"a/b ü": nn.ReLU()})

    def forward(self, x):
        return self.parts["a/b ü"](self.input(x))


def test_names_of_modules_as_they_are_met(tmp_path):
    found = measure(Named(), IMAGES, layers=["input", "parts.a/b ü"], out=tmp_path / "out", **QUICK)
    assert found.layers == ["<input>", "parts.a/b ü"]
    assert found["<input>"]["nce"].value != found["parts.a/b ü"]["nce"].value
    assert found._results.cell("capture").values["function_of"]["parts.a/b ü"] == ["<input>"]
