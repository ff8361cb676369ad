"""What lies in a run's folder that nothing names any more, and how it is taken out."""

import json
import os
import re
import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infoplane.engine.lock import LOCK_FILE, locked
from infoplane.engine.plan import PLAN_FILE
from infoplane.engine.store import SUMS_FILE, VALUES_FILE, Store
from infoplane.errors import UsageError
from infoplane.files import TEMPORARY, read_text
from infoplane.study.why import Held, nearest

#: how the name of a cell ends: its identity, and what it keeps
_ENDING = re.compile(r"-[0-9a-f]{12}(\.[0-9a-f]{6})?$")
_FAILURE = ".failed.txt"


@dataclass(frozen=True)
class Leftover:
    """A cell, or the traceback of one, that the run's plan does not name.

    Attributes:
        name: Of the entry in the run's `cells/`.
        why: Why the run does not need it, in a few words.
        size: Bytes.
    """

    name: str
    why: str
    size: int


def leftovers(folder: Path) -> tuple[list[Leftover], list[tuple[str, str]]]:
    """Returns what could be taken out of a run's folder, and (name, why) of what is not ours to take.

    Only what infoplane wrote, and nothing else with it: a cell's folder with the files that its checksums list, the
    traceback of a cell, what a killed run left half-written. Links are neither followed nor taken.

    Raises:
        UsageError: The folder holds no run, its plan is damaged, or its `cells` is a link.
    """
    cells = folder / "cells"
    if not (cells / PLAN_FILE).is_file():
        raise UsageError("no run in this folder", received=folder, legal="the --out folder of a run or measure")
    if cells.is_symlink() or (cells / LOCK_FILE).is_symlink():
        name = cells if cells.is_symlink() else cells / LOCK_FILE
        mend = "clean the folder that it leads to"
        raise UsageError("links are not followed", received=name, legal="a run's own folder", mend=mend)
    held = Held(folder)
    assert held.plan is not None
    found, foreign = [], []
    for entry in sorted(cells.iterdir()):
        name = entry.name.removesuffix(_FAILURE)
        if entry.name in (PLAN_FILE, LOCK_FILE) or name in held.plan.cells:
            continue
        if (size := _ours(entry)) is None:
            foreign.append((entry.name, "not written by infoplane, or something else lies in it"))
        else:
            found.append(Leftover(entry.name, _why(entry, held), size))
    return found, foreign


def take_out(folder: Path, names: Iterable[str], *, quiet: bool = False) -> list[Leftover]:
    """Takes what is left over out of a run's folder, as far as nothing names it still; returns what was taken.

    Args:
        names: Of `Leftover`s that may be taken.

    Raises:
        UsageError: A run is at work in the folder.
    """
    leftovers(folder)  # before anything is opened for writing
    with locked(folder, quiet=quiet):
        wanted = set(names)
        taken = [each for each in leftovers(folder)[0] if each.name in wanted]
        store = Store(folder / "cells")
        for each in taken:
            path = folder / "cells" / each.name
            if not stat.S_ISDIR(path.lstat().st_mode):
                path.unlink()
            elif each.name.startswith(TEMPORARY):
                shutil.rmtree(path)
            else:
                store.remove(each.name)
    return taken


def _ours(entry: Path) -> int | None:
    """The bytes of what infoplane wrote, or None of anything else."""
    mode = entry.lstat().st_mode
    if entry.name.startswith(TEMPORARY):
        return _bytes([entry] if stat.S_ISREG(mode) else [*entry.iterdir()] if stat.S_ISDIR(mode) else None)
    if entry.name.endswith(_FAILURE):
        return _bytes([entry]) if _ENDING.search(entry.name.removesuffix(_FAILURE)) else None
    if not stat.S_ISDIR(mode) or not _ENDING.search(entry.name):
        return None
    files = {path.name: path for path in entry.iterdir()}
    if not files.keys() >= {SUMS_FILE, VALUES_FILE} or (size := _bytes(files.values())) is None:
        return None
    try:
        listed = set(json.loads(read_text(files[SUMS_FILE])))
    except (OSError, ValueError, TypeError):
        return None
    return size if files.keys() <= {SUMS_FILE, *listed} else None


def _bytes(files: Iterable[Path] | None) -> int | None:
    """The sum of the sizes of plain files, or None where one of them is something else."""
    found = None if files is None else [os.lstat(path) for path in files]
    if found is None or not all(stat.S_ISREG(each.st_mode) for each in found):
        return None
    return sum(each.st_size for each in found)


def _why(entry: Path, held: Held) -> str:
    if entry.name.startswith(TEMPORARY):
        return "left half-written by an interrupted run"
    if entry.name.endswith(_FAILURE):
        return "says why a part failed that the study does not have now"
    label = entry.name.rpartition("-")[0]
    assert held.plan is not None
    named = [cell for cell in held.plan.cells.values() if cell.label == label]
    own = [cell for cell in held.alike.get(label, []) if cell.name == entry.name]
    if not named:
        return "the study has no such part now"
    return (
        f"replaced: {nearest((cell, own[0]) for cell in named)}" if own else "replaced: by another version, or damaged"
    )
