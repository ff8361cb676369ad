"""The complete made-up report, written once, and a browser."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import synthetic_report
from browser import CHROMIUM
from read_report import Seen

from infoplane.report.inversion.sections import write


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the complete report was written."""
    folder = tmp_path_factory.mktemp("report")
    write(synthetic_report.contents(), folder)
    return folder


@pytest.fixture(scope="session")
def seen(folder: Path) -> Seen:
    """The complete report."""
    return Seen((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
