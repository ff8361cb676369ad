"""`infoplane schema`, and completion in a shell."""

import json
import os
import subprocess
import sys

import pytest

from infoplane.cli import main
from infoplane.study.schema import schema


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["schema"])
    assert stop.value.code == 0
    assert json.loads(capsys.readouterr().out) == schema()


def test_a_shell_is_told_the_verbs() -> None:
    words = {"_INFOPLANE_COMPLETE": "complete_bash", "COMP_WORDS": "infoplane re", "COMP_CWORD": "1"}
    source = "import sys; sys.argv = ['infoplane']; from infoplane.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", source], env={**os.environ, **words}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["report"]
