"""What CI does on a machine that lacks something."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_without_a_browser_ci_fails_and_says_so(tmp_path):
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci" / "run")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for name, code in (("make", 0), ("python3", 0), ("apt-get", 1)):
        (tools / name).write_text(f'#!{tools / "bash"}\necho {name} "$@" >> {tmp_path / "called"}\nexit {code}\n')
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": str(tools)}
    done = subprocess.run([".ci/run"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "no browser" in line
    assert "make" not in (tmp_path / "called").read_text()  # nothing passes silently


@pytest.mark.parametrize(("seconds", "expected"), [(0, True), (2000, False)])
def test_the_long_fits_are_left_out_where_time_is_short_and_that_is_said(tmp_path, seconds, expected):
    (tmp_path / ".ci").mkdir()
    # The clock of the shell is set on, as if the rest had taken so long.
    text = (ROOT / ".ci" / "run").read_text().replace("make docs\n", f"make docs\nSECONDS={seconds}\n")
    (tmp_path / ".ci" / "run").write_text(text)
    (tmp_path / ".ci" / "run").chmod(0o755)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    for name in ("make", "python3", "chromium"):
        (tools / name).write_text(f'#!{tools / "bash"}\necho {name} "$@" >> {tmp_path / "called"}\n')
        (tools / name).chmod(0o755)
    environment = {**os.environ, "PATH": str(tools)}
    done = subprocess.run([".ci/run"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0
    made = [line for line in (tmp_path / "called").read_text().splitlines() if line.startswith("make ")]
    usual = ["make lint", "make demo", "make test", "make kill", "make docs"]
    assert made == [*usual, *(["make slow"] if expected else [])]
    assert ("left out: make slow" in done.stderr) is not expected
