"""One finished run of the tiny study."""

import shutil
from pathlib import Path

import pytest

import tiny_study
from infoplane.report.build import build_page
from infoplane.study.execute import execute


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, made in this process; only to be read."""
    folder = tmp_path_factory.mktemp("finished")
    outcome = execute(tiny_study.tiny(folder), folder / "run", workers=0, quiet=True)
    assert not outcome.failed
    build_page(folder / "run")
    return folder / "run"


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed; the study's data stay where they are."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))
