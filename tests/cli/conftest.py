"""A folder as a user has it, with data and a module, in which the command line is called."""

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import tiny_study
import toy_networks


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: `tiny.yaml`, `tiny.npz` and the module `mine`, which is forgotten afterwards."""
    tiny_study.write_study(tmp_path)
    shutil.copy(toy_networks.__file__, tmp_path / "mine.py")
    (tmp_path / "broken.py").write_text('raise RuntimeError("broken\\nat import")\n')
    (tmp_path / "leaving.py").write_text('import sys\nsys.exit("needs\\na GPU")\n')
    (tmp_path / "leaves.py").write_text("import sys\ndef build():\n    sys.exit(3)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("mine", "broken", "leaving", "leaves"):
        sys.modules.pop(name, None)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tiny_study.Said]:
    """Returns a function that calls the command line."""
    return lambda *words: tiny_study.command(capsys, *words)


@pytest.fixture
def arrays(home: Path) -> Callable[..., str]:
    """Returns a function that writes a .npz into the folder and returns its name."""

    def write(name: str, **content: object) -> str:
        np.savez(home / name, **content)  # pyright: ignore
        return name

    return write
