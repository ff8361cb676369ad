"""Whatever nobody foresaw ends in one line, with its traceback in a file; what a terminal lacks is shown anyhow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from infoplane.cli import UNFORESEEN
from tiny_study import command, write_study


def _deep() -> None:
    _deep()


def _decode() -> None:
    b"\xff".decode()


@pytest.mark.parametrize(
    ("raises", "words"),
    [
        (_deep, ["RecursionError", "nested too deeply"]),
        (lambda: (_ for _ in ()).throw(MemoryError()), ["MemoryError", "more memory than there is"]),
        (lambda: (_ for _ in ()).throw(OSError(5, "Input/output error")), ["OSError", "Input/output error"]),
        (_decode, ["UnicodeDecodeError"]),
        (lambda: 1 / 0, ["ZeroDivisionError"]),
        (lambda: (_ for _ in ()).throw(ValueError("two\nlines " + "x" * 999)), ["ValueError", "two lines x"]),
    ],
)
def test_one_line_and_a_file(capsys, monkeypatch, tmp_path, raises, words):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("infoplane.cli.report.report", lambda _: raises())
    said = command(capsys, "report", tmp_path)
    assert said.code == UNFORESEEN
    (line,) = said.err.splitlines()
    assert len(line) < 500
    for word in words:
        assert word in line
    kept = Path(re.search(r"traceback is in (.*\.txt)$", line)[1])
    assert kept.parent == tmp_path
    assert "Traceback" in kept.read_text()
    assert words[0] in kept.read_text()


def test_it_says_so_where_no_file_can_be_kept(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    monkeypatch.setattr("infoplane.cli.report.report", lambda _: 1 / 0)
    said = command(capsys, "report", tmp_path)
    assert said.code == UNFORESEEN
    assert "no file can be written" in said.err


def test_letters_that_a_terminal_lacks_do_not_end_a_command(tmp_path):
    start = "import sys; from infoplane.cli import main\ntry: main(['--help'])\nexcept SystemExit: print('5 ± 1')"
    environment = {**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    done = subprocess.run([sys.executable, "-c", start], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "5 \\xb1 1" in done.stdout


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("title", "half \ud800"),
        ("title", "two\nlines"),
        ("title", "right\u202eleft"),
        ("figure", "a\x1b[2Jb"),
        ("figure", "a\x9b2Jb"),
        ("note", "x\udfff"),
        ("note", "x\ry"),
        ("layers", ["conv1", "\x00"]),
    ],
)
def test_texts_that_cannot_be_printed_are_refused_before_anything_runs(capsys, tmp_path, field, value):
    study = write_study(tmp_path)
    content = yaml.safe_load(study.read_text())
    content[field] = value
    study.write_text(yaml.safe_dump(content))
    said = command(capsys, "run", study, "--out", tmp_path / "run")
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert f"{field} holds what is no text" in said.err
    assert not (tmp_path / "run").exists()
