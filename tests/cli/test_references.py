"""What a reference on the command line names."""

import subprocess
import sys

import pytest

from infoplane.cli.references import resolve, resolve_model
from infoplane.errors import UsageError
from infoplane.subjects import NashCNN

NET = "from torch import nn\nimport beside\n\ndef build():\n    return nn.Linear(beside.WIDTH, 2)\n"


@pytest.fixture
def folder(home):
    """A folder that is not the current one, with a model in a file and what that imports."""
    (home / "nets").mkdir()
    (home / "nets" / "net.py").write_text(NET)
    (home / "nets" / "beside.py").write_text("WIDTH = 5\n")
    yield home / "nets"
    sys.modules.pop("beside", None)


def test_a_file_by_its_path(folder):
    assert resolve_model("nets/net.py:build").in_features == 5
    assert resolve_model(f"{folder / 'net.py'}:build").in_features == 5


def test_a_file_is_imported_once(folder):
    assert resolve("nets/net.py:build", "model") is resolve("./nets/net.py:build", "model")


def test_a_missing_file_and_a_missing_name(folder, refuses):
    with refuses("the model does not import", "no file nets/gone.py"):
        resolve("nets/gone.py:build", "model")
    with refuses("unknown name in nets/net.py", "did you mean 'build'"):
        resolve("nets/net.py:buidl", "model")


def test_the_current_folder_does_not_shadow_an_installed_module(home, refuses):
    (home / "colorsys.py").write_text("def build():\n    raise RuntimeError('shadowed')\n")
    assert resolve("colorsys:rgb_to_hsv", "transform")(0.0, 0.0, 0.0) == (0.0, 0.0, 0.0)
    with refuses("unknown name in colorsys", "write colorsys.py:build"):
        resolve("colorsys:build", "model")
    with pytest.raises(UsageError, match="shadowed"):
        resolve_model("colorsys.py:build")


@pytest.mark.parametrize("words", [["-m", "infoplane", "studies", "--help"], ["-P", "-m", "infoplane.engine.worker"]])
def test_nor_in_the_command_and_its_workers(home, words):
    # A user's file called like one that imports of ours need.
    (home / "uuid.py").write_text("raise RuntimeError('shadowed')\n")
    (home / "typer.py").write_text("raise RuntimeError('shadowed')\n")
    said = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, cwd=home)
    assert "shadowed" not in said.stderr


def test_layers_with_the_data_and_the_transform(home, call):
    (home / "mine.py").write_text(
        (home / "mine.py").read_text()
        + "\n\ndef twice(x):\n    return torch.cat((x, x), 1).float()\n\n\ndef two():\n    return Toy(channels=2)\n"
    )
    for example in (["--data", "tiny.npz"], ["--input", "1x4x4"]):
        said = call("layers", "mine.py:two", *example, "--transform", "mine.py:twice")
        assert said.code == 0, said.err
        assert [line.split()[:2] for line in said.out.splitlines()[:2]] == [["layer", "shape"], ["conv", "2×2×2"]]


def test_models_of_the_package_are_named_as_before():
    assert resolve("infoplane.subjects:NashCNN", "model") is NashCNN
