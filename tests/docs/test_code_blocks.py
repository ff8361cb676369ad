"""The documents' code runs: a page's python blocks in order; of its `infoplane` commands the options are checked."""

import re
import shlex
from pathlib import Path

import matplotlib
import pytest
import typer
from typer.main import get_command

from infoplane.cli import SEVERAL, spread
from infoplane.cli.app import app
from infoplane.inversion import FitSettings
from infoplane.profile import request
from infoplane.study.spec import StudySpec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if "_build" not in path.parts)]
FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.M | re.S)

#: a network, images and labels, where a page speaks of the reader's own
YOURS = """
import torch
from infoplane.data import load_digits
digits = load_digits().subset(range(80))
images, labels = digits.images, digits.labels
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer2 = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.avgpool = torch.nn.AdaptiveAvgPool2d(1)
        self.head = torch.nn.Linear(4, 10)
    def forward(self, x):
        return self.head(self.avgpool(self.layer2(x).relu()).flatten(1))
torch.manual_seed(0)
model = Model()
candidates = images[8:16]
"""

#: page -> what it takes for granted
PREAMBLES = {
    "README.md": YOURS,
    "docs/index.md": YOURS,
    "docs/data.md": f"{YOURS}scenes = [k // 2 for k in range(80)]\n",
}

#: what would take minutes -> what takes seconds
SHORTER = {'budget="10m"': "budget=2, refits=1, workers=0, levels=17, quiet=True", "n=8)": "n=2)"}


@pytest.fixture
def short(monkeypatch):
    """Everything but the densities of a measurement cut to what a test can wait for."""

    def small(**fields):
        fields["reconstruction"] = FitSettings(updates=3, batch=16, evaluations=1, refits=1)
        fields["samples"] = {"images": 2, "each": 2}
        return StudySpec(**fields)

    monkeypatch.setattr(request, "StudySpec", small)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """Returns the fenced blocks of a language with the line at which each begins."""
    text = page.read_text(encoding="utf-8")
    found = [
        (text.count("\n", 0, match.start(2)) + 1, match[2]) for match in FENCE.finditer(text) if match[1] == language
    ]
    return found


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_python_blocks_run(page, tmp_path, monkeypatch, short):
    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    exec(PREAMBLES.get(name_of(page), ""), names)
    for line, code in blocks(page, "python"):
        for long, short in SHORTER.items():
            code = code.replace(long, short)
        exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)  # a traceback names the page's line


def commands(page: Path) -> list[list[str]]:
    """Returns the `infoplane` commands in a page's blocks of shell commands, as words."""
    code = [code for language in ("sh", "") for _, code in blocks(page, language)]
    lines = "\n".join(code).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("infoplane ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_have_the_options_they_are_given(page):
    root = get_command(app)
    for words in commands(page):
        verb, *rest = words
        assert verb in root.commands, f"infoplane {verb}"  # pyright: ignore[reportAttributeAccessIssue]
        command = root.commands[verb]  # pyright: ignore[reportAttributeAccessIssue]
        command.make_context(verb, spread(rest, SEVERAL))  # raises on what it does not know


def test_a_wrong_option_would_be_found():
    command = get_command(app).commands["run"]  # pyright: ignore[reportAttributeAccessIssue]
    misuse = typer.BadParameter.mro()[1]
    with pytest.raises(misuse, match="--scales"):
        command.make_context("run", ["digits", "--scales", "laptop"])
