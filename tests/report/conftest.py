"""The complete made-up report, written once."""

from pathlib import Path

import pytest
import synthetic_report
from read_report import Seen

from infoplane import report


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the complete report was written."""
    folder = tmp_path_factory.mktemp("report")
    report.write(synthetic_report.contents(), folder)
    return folder


@pytest.fixture(scope="session")
def seen(folder: Path) -> Seen:
    """The complete report."""
    return Seen((folder / "report.html").read_text(encoding="utf-8"))
