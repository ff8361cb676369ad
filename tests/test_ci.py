"""What CI does on a machine that lacks something."""

import os
import shutil
import subprocess
from pathlib import Path

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
