"""Whether the tables and the page of a run stand as they were written, and nothing that they come from has changed."""

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import infoplane
from infoplane.engine.watch import EVENTS_FILE
from infoplane.files import TEMPORARY, checksum, write_whole
from infoplane.report.drawer import DRAWN_FILE, remembered, version_of
from infoplane.study.folder import STUDY_FILE

#: key of what is remembered here, in the file that remembers what was drawn
_KEY = "run"
_TABLES = (".csv", ".parquet")


def state_of(folder: Path) -> str:
    """Returns a hash of all that a run's tables and page are made from.

    That is the program, and names, sizes and times of change of the run's files: to read thousands of results takes
    seconds, to look whether one has changed does not.
    """
    found = hashlib.sha256(version_of(Path(infoplane.__file__).parent))
    for path in (folder / STUDY_FILE, folder / EVENTS_FILE):
        if path.exists():
            found.update(_seen(path.name, path.stat()))
    for cell in sorted(os.scandir(folder / "cells"), key=lambda entry: entry.name):
        if cell.name.startswith(TEMPORARY):
            continue
        files = sorted(os.scandir(cell), key=lambda entry: entry.name) if cell.is_dir() else [cell]
        for file in files:
            found.update(_seen(f"{cell.name}/{file.name}", file.stat()))
    return found.hexdigest()


def stands(folder: Path, state: str) -> bool:
    """Whether the run's tables, page and figures lie there as they were written, in this state of the run."""
    known = remembered(folder)
    return _KEY in known and known[_KEY] == {"state": state, "files": _checksums(folder, known)}


def remember(folder: Path, state: str) -> None:
    """Remembers that tables, page and figures were written, from this state of the run."""
    known = remembered(folder)
    if known:
        known[_KEY] = {"state": state, "files": _checksums(folder, known)}
        write_whole(folder / DRAWN_FILE, json.dumps(known, indent=1, sort_keys=True))


def _checksums(folder: Path, known: dict[str, Any]) -> dict[str, str]:
    """Checksums of the page, its figures and the tables that are there."""
    tables = (path.name for path in folder.iterdir() if path.suffix in _TABLES)
    names: Iterable[str] = ("report.html", *sorted(tables), *(f"figures/{name}" for name in known.get("files", {})))
    return {name: _checksum(folder / name) for name in names}


def _checksum(path: Path) -> str:
    """A file's checksum, or nothing where it cannot be read: then all is written anew."""
    with suppress(OSError):
        return checksum(path)
    return ""


def _seen(name: str, stat: os.stat_result) -> bytes:
    return f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode("utf-8", "surrogateescape")
