"""Runs whose numbers and words are kept, and what must not move of them.

    python tests/golden/golden.py [CASE …]      says what has moved
    python tests/golden/golden.py --renew …     keeps what there is now; the commit says why

The same processor and the same torch give the same bytes. Elsewhere last digits differ, and training magnifies them:
there numbers are held to a hundredth of their standard errors, and words to what is left of them without digits.
"""

import csv
import json
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch
from torch import nn

import infoplane
from infoplane import data
from infoplane.report.build import build_page
from infoplane.study.execute import execute
from infoplane.study.load import load_study

HERE = Path(__file__).parent
#: of every case, as far as it has them
TABLES = ("results.csv", "differences.csv", "changes.csv")
PAGE, MACHINE = "page.txt", "machine.json"
#: how far a number may move on another processor, in standard errors
NEAR = 0.01


def study(name: str, **changes: Any) -> Callable[[Path], None]:
    """Runs a named study at a laptop's scale, with some settings changed."""

    def run(folder: Path) -> None:
        spec = load_study(name, {path.replace("__", "."): value for path, value in changes.items()})
        execute(spec, folder, device="cpu", workers=2, quiet=True)
        build_page(folder)

    return run


def measured(folder: Path) -> None:
    """`measure` with a budget of updates, of a small network and images that come with scikit-learn."""
    digits = data.load("digits")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(512, 10))
    infoplane.measure(
        model, digits.images[:300], digits.labels[:300], layers=["1", "3"], levels=digits.levels, budget=30,
        device="cpu", workers=2, quiet=True, out=folder, name="a small network",
    )  # fmt: skip
    build_page(folder)


#: name -> what makes its folder
CASES: dict[str, Callable[[Path], None]] = {
    "digits": study("digits"),
    "checkpoints": study(
        "digits", subject__train__updates=200, subject__train__checkpoints=[0, "end"], layers=["conv2", "logits"],
        density={"kind": "autoregressive"}, fit__updates=60, fit__base_updates=60, measure=["nce", "usable", "label"],
    ),
    "known-truth": study(
        "known-truth", data__decoding=4000, data__options={"noise": 0.2, "n": 12096, "seed": 2},
        fit__updates=60, fit__base_updates=60, subject__train__updates=200, reconstruction__updates=60,
    ),
    "szt-tanh": study("szt-tanh", train__epochs=80, marked=[0, 28, 80], estimate__samples=8192, estimate__queries=1000),
    "measure": measured,
}  # fmt: skip


class _Text(HTMLParser):
    """The words of a page, a line for each block, without how and when it was made."""

    BLOCKS = frozenset(
        ("p", "h1", "h2", "h3", "tr", "td", "th", "li", "div", "section", "figure", "summary", "dt", "dd")
    )

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = [""]
        self._hidden: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden:
            if tag == self._hidden[0]:
                self._hidden.append(tag)
        elif tag in ("script", "style", "svg", "title") or dict(attrs).get("id") == "making":
            self._hidden.append(tag)
        elif tag in self.BLOCKS:
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        if self._hidden and tag == self._hidden[0]:
            self._hidden.pop()
        elif not self._hidden and tag in self.BLOCKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.lines[-1] += data


def text_of(page: Path) -> str:
    """Returns the words of a page, without how and when it was made."""
    parser = _Text()
    parser.feed(page.read_text(encoding="utf-8"))
    lines = (" ".join(line.split()) for line in parser.lines)
    return "\n".join(line for line in lines if line) + "\n"


def machine() -> dict[str, str]:
    """What last digits depend on."""
    info = Path("/proc/cpuinfo")
    found = dict(re.findall(r"(?m)^(model name|flags)\s*:\s*(.*)$", info.read_text())) if info.exists() else {}
    return {
        "processor": found.get("model name", platform.processor()),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
    }


def made(case: str, folder: Path, finished: Path | None = None) -> dict[str, str]:
    """Runs a case into a folder; returns what is kept of it: name of a file -> its text.

    Args:
        finished: A folder in which the run may be finished already.
    """
    if finished is not None and finished.exists():
        shutil.copytree(finished, folder)
    CASES[case](folder)
    kept = {name: (folder / name).read_text() for name in TABLES if (folder / name).exists()}
    return {**kept, PAGE: text_of(folder / "report.html")}


def known(case: str) -> dict[str, str]:
    """Returns what is kept of a case."""
    return {path.name: path.read_text() for path in sorted((HERE / case).iterdir())}


def moved(before: dict[str, str], after: dict[str, str], *, exact: bool) -> list[str]:
    """Returns what differs, a line each."""
    found = [f"{name}: {'gone' if name in before else 'new'}" for name in sorted({*before} ^ {*after})]
    for name in sorted({*before} & {*after}):
        if before[name] == after[name]:
            continue
        if exact:
            lines = zip(before[name].splitlines(), after[name].splitlines(), strict=False)
            first = next((f"{old!r} is now {new!r}" for old, new in lines if old != new), "lines at the end")
            found.append(f"{name}: {first}")
        elif name == PAGE:
            if without_digits(before[name]) != without_digits(after[name]):
                found.append(f"{name}: other words")
        else:
            found += [f"{name}: {line}" for line in _far(before[name], after[name])]
    return found


def without_digits(text: str) -> str:
    """Returns a text without its numbers."""
    return re.sub(r"[−-]?\d[\d,.]*", "#", text)


def _far(before: str, after: str) -> list[str]:
    """What differs between two tables by more than a hundredth of a standard error."""
    old, new = (list(csv.DictReader(text.splitlines())) for text in (before, after))
    if [row.keys() for row in old] != [row.keys() for row in new]:
        return ["other rows or columns"]
    found = []
    for first, second in zip(old, new, strict=True):
        error = float(first.get("stderr") or 0.0)
        near = abs(float(first["value"] or 0) - float(second["value"] or 0)) <= NEAR * error
        names = ("layer", "kind", "checkpoint", "first", "second", "last")
        if not near or any(first.get(name) != second.get(name) for name in names):
            found.append(f"{first} is now {second}")
    return found


def main(words: list[str]) -> int:
    """Compares or renews; returns the exit code."""
    renew, chosen = "--renew" in words, [word for word in words if word in CASES] or list(CASES)
    bad = 0
    for case in chosen:
        with tempfile.TemporaryDirectory() as folder:
            found = made(case, Path(folder) / "run")
        if renew:
            shutil.rmtree(HERE / case, ignore_errors=True)
            (HERE / case).mkdir()
            for name, text in found.items():
                (HERE / case / name).write_text(text)
            (HERE / MACHINE).write_text(json.dumps(machine(), indent=1) + "\n")
        else:
            differs = moved(known(case), found, exact=machine() == json.loads((HERE / MACHINE).read_text()))
            bad += bool(differs)
            print("\n".join([f"{case}: {'moved' if differs else 'as it was'}", *differs]))
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
