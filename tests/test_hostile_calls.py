"""What `measure` cannot use is refused in a line, and what interrupts it says what becomes of its results."""

import numpy as np
import pytest
import torch
from torch import nn

import infoplane
import tiny_study
import toy_networks
from infoplane.capture import activations, list_layers
from infoplane.cli import main
from infoplane.measurements.task import Live
from infoplane.profile import Profile

IMAGES, LABELS = tiny_study.images_and_labels()
QUICK = {**tiny_study.QUICK, "kinds": ["label"]}

pytestmark = pytest.mark.usefixtures("short")


def measured(model=None, **options):
    given = {**QUICK, "layers": ["fc"], **options}
    return infoplane.measure(toy_networks.build() if model is None else model, IMAGES, LABELS, **given)


def scaled(x):
    return x.float() / 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"out": 3}, ("out cannot be used", "received 3")),
        ({"out": True}, ("out cannot be used",)),
        ({"read_as": "vector"}, ("read_as cannot be used", "name the layer")),
        ({"read_as": ["hwc"]}, ("read_as cannot be used",)),
        ({"watchers": [3]}, ("watchers cannot be used",)),
        ({"watchers": 3}, ("watchers cannot be used",)),
        ({"watchers": print}, ("watchers cannot be used",)),
        ({"kinds": ["label", "label"]}, ("kinds must be distinct",)),
        ({"layers": 3}, ("layers must be a list of names",)),
        ({"layers": iter([])}, ("layers must be a list of names",)),
        ({"layers": {"fc": 1}}, ("layers must be a list of names",)),
        ({"layers": ["input"]}, ("unknown layer", "received 'input'")),
        ({"transform": "x/255"}, ("the transform is not a function", "transform=lambda x: x.float() / 255")),
        ({"transform": lambda x: scaled(x).numpy()}, ("a numpy array", "torch.from_numpy")),
        ({"transform": lambda x: {"x": scaled(x).numpy()}}, ("a numpy array", "torch.from_numpy")),
        ({"transform": lambda x: scaled(x).tolist()}, ("a list of numbers", "torch.tensor")),
        ({"transform": lambda x: scaled(x).to_sparse()}, ("sparse", "to_dense")),
        ({"transform": lambda x: (scaled(x).to_sparse(),)}, ("sparse", "to_dense")),
        ({"transform": lambda x: scaled(x).to("meta")}, ("without values",)),
        ({"transform": lambda x: None}, ("received None", "is a return missing?")),
        ({"transform": lambda x: "text"}, ("received a str",)),
        ({"transform": lambda x: x}, ("does not run on these inputs", "x.float() / 255")),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(options, words, refuses):
    with refuses(*words):
        measured(**options)


def test_layers_may_come_from_an_iterator():
    assert "fc" in str(measured(layers=iter(["fc"])))


def test_a_network_without_weights_is_refused(refuses):
    for look in (
        lambda model: measured(model),
        lambda model: list_layers(model, torch.rand(2, 1, 4, 4)),
        lambda model: activations(model, ["fc"], IMAGES, transform=scaled),
    ):
        with refuses("the model has no weights", "meta"):
            look(toy_networks.build().to("meta"))


def test_an_exported_program_is_refused(refuses):
    exported = torch.export.export(toy_networks.build().eval(), (torch.rand(2, 1, 4, 4),)).module()
    with refuses("an exported program", "pass the module that was exported"):
        measured(exported)


@pytest.mark.parametrize("kept", [True, False])
def test_values_beyond_single_precision_are_named(kept, refuses, monkeypatch):
    if not kept:
        monkeypatch.setattr("infoplane.measurements.inputs.CACHE_BYTES", 0)
    model = toy_networks.build().double()
    model.fc.weight.data *= 1e200
    with refuses("activations are beyond float32", "layer 'fc'"):
        measured(model)


def test_the_command_says_the_same_of_transforms(tmp_path, monkeypatch, capsys):
    (tmp_path / "hostile_network.py").write_text(
        "from toy_networks import build\n"
        "def as_array(x):\n    return x.numpy() / 255\n"
        "def sparse(x):\n    return (x / 255).to_sparse()\n"
        "text = 'x/255'\n"
    )
    monkeypatch.chdir(tmp_path)
    words = {"as_array": "torch.from_numpy", "sparse": "to_dense", "text": "not"}
    for name, word in words.items():
        with pytest.raises(SystemExit, match="2"):
            main(
                ["layers", "hostile_network.py:build", "--input", "1x4x4", "--transform", f"hostile_network.py:{name}"]
            )
        said = capsys.readouterr().err
        assert word in said
        assert said.count("\n") == 1


class Interrupted(nn.Module):
    """Its user loses patience at some forward pass."""

    def __init__(self, at):
        super().__init__()
        self.net, self.at, self.passes = toy_networks.build(), at, 0

    def forward(self, x):
        self.passes += 1
        if self.passes == self.at:
            raise KeyboardInterrupt
        return self.net(x)


@pytest.mark.parametrize("at", [1, 4, 20])
def test_an_interruption_says_what_becomes_of_it_at_any_time(at, tmp_path):
    with pytest.raises(KeyboardInterrupt, match=r"what was computed is kept in .*out: the same call goes on"):
        measured(Interrupted(at), layers=["net.fc"], out=tmp_path / "out")
    with pytest.raises(KeyboardInterrupt, match="nothing is kept"):
        measured(Interrupted(at), layers=["net.fc"])


def test_labels_of_one_class_are_said_to_tell_nothing(refuses, capsys):
    one = np.zeros(len(IMAGES), int)
    options = {**QUICK, "layers": ["fc"]}
    with refuses("all labels are the same"):
        infoplane.measure(toy_networks.build(), IMAGES, one, **options)
    found = infoplane.measure(
        toy_networks.build(), IMAGES, one, **{**options, "kinds": ["label", "nce"], "quiet": False}
    )
    assert "There is no label information: all labels are the same" in " ".join(str(found).split())
    assert "all labels are the same" in capsys.readouterr().err


@pytest.mark.parametrize("folder", [3, None, b"run", ["run"], len], ids=repr)
def test_a_report_goes_to_a_folder(tmp_path, folder, refuses):
    found = Profile(tmp_path, Live(nn.Flatten(), None), torch.device("cpu"))
    with refuses("folder cannot be used", "the path of a folder"):
        found.report(folder)
