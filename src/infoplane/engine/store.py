"""A run's folder on disk: one folder per finished cell, written under a temporary name and renamed."""

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load_file as load_weights
from safetensors.torch import save_file as save_weights
from torch import Tensor

from infoplane.engine.arrays import ArrayFile, write_arrays
from infoplane.engine.cell import Cell
from infoplane.engine.lock import alone
from infoplane.errors import CellError
from infoplane.files import TEMPORARY, checksum, read_text, write_whole

#: written last: a folder with this file is a finished cell
SUMS_FILE = "checksums.json"
#: what every finished cell has
VALUES_FILE = "result.json"
#: what a cell is: its name, kind, settings and needs
CELL_FILE = "cell.json"
#: a cell's arrays
ARRAYS_FILE = "arrays.safetensors"


@dataclass
class Result:
    """What a cell leaves behind.

    Attributes:
        values: Anything JSON can hold.
        arrays: Numpy arrays.
        weights: Name of a set of weights -> state dict.
        file: Where the arrays are, if they were written as they were made (see `Store.scratch`); it is moved.
    """

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    file: Path | None = None


class Stored:
    """A finished cell, read lazily; every file is checked against its checksum before its first use.

    Raises:
        CellError: It is damaged, or is another cell than its folder's name says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: set[str] = set()
        try:
            self._sums: dict[str, str] = dict(json.loads(read_text(folder / SUMS_FILE)))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(folder / SUMS_FILE) from error
        _ = self.cell  # which checks it; kept, those of thousands would fill tens of megabytes

    @property
    def cell(self) -> Cell:
        """What it is, checked against the folder's name."""
        path = self._checked(CELL_FILE)
        try:
            cell = Cell(**json.loads(read_text(path)))
            bound = cell.name == self.folder.name and cell.sound
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise _damaged(path) from error
        if not bound:
            mend = "run the same command again: it is computed anew"
            raise CellError(
                "a stored result is damaged: it is another part's", received=f"{cell.name} in {self.folder}", mend=mend
            )
        return cell

    def _checked(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file() or (name not in self._seen and self._sums.get(name) != checksum(path)):
            raise _damaged(path)
        self._seen.add(name)
        return path

    @cached_property
    def values(self) -> dict[str, Any]:
        """The cell's JSON values."""
        return json.loads(read_text(self._checked(VALUES_FILE)))

    @cached_property
    def _arrays(self) -> ArrayFile:
        path = self._checked(ARRAYS_FILE)
        try:
            return ArrayFile(path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path) from error

    def names(self) -> list[str]:
        """Names of the arrays."""
        return self._arrays.names() if ARRAYS_FILE in self._sums else []

    def array(self, name: str) -> np.ndarray:
        """One array, the caller's own; a large one is mapped: what is not looked at takes no memory."""
        return self._arrays.read(name)

    def weights(self, name: str) -> dict[str, Tensor]:
        """One set of weights, on the CPU."""
        return load_weights(self._checked(f"{name}.weights.safetensors"))

    def check(self) -> None:
        """Raises `CellError` unless every file is there and has its checksum."""
        for name in self._sums:
            self._checked(name)


class Store:
    """The cells of one run.

    Args:
        folder: The run's `cells/` folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, cell: str) -> bool:
        """Whether the cell is finished."""
        return (self.folder / cell / SUMS_FILE).exists()

    def names(self) -> list[str]:
        """Names of the finished cells, whole or damaged."""
        entries = sorted(self.folder.iterdir()) if self.folder.is_dir() else []
        return [entry.name for entry in entries if not entry.name.startswith(TEMPORARY) and self.has(entry.name)]

    def tidy(self) -> list[str]:
        """Removes what a killed run left half-written, and finished cells that are damaged; returns the latter.

        Only for whoever holds the run's lock.
        """
        damaged = []
        for entry in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            if entry.name.startswith(TEMPORARY):
                shutil.rmtree(entry, ignore_errors=True) if entry.is_dir() else entry.unlink()
            elif any((entry / name).exists() for name in (SUMS_FILE, VALUES_FILE)):
                try:
                    self.load(entry.name).check()
                except CellError:
                    damaged.append(entry.name)
                    self.remove(entry.name)
        return damaged

    def remove(self, cell: str) -> None:
        """Removes a cell, or what has its name; whoever looks meanwhile finds it whole or not at all."""
        aside = self._aside(cell)
        with suppress(FileNotFoundError):
            os.rename(self.folder / cell, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def load(self, cell: str) -> Stored:
        """Returns a finished cell."""
        return Stored(self.folder / cell)

    @contextmanager
    def scratch(self, cell: str) -> Iterator[Path]:
        """A folder for what a cell writes before its result is whole; afterwards it is gone."""
        folder = self._aside(cell)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, cell: Cell, result: Result) -> bool:
        """Writes a cell's result: it is there whole or not at all, and of several writers the first one's stays.

        Returns: Whether what is stored now is this result, byte for byte, whoever wrote it. A result that another
            writer stored first is never replaced, since others may have gone on from it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = self._aside(cell.name)
        temporary.mkdir()  # not `mkdtemp`, whose folders nobody else may read
        try:
            # Stable keys and no times: the same settings leave the same bytes.
            (temporary / VALUES_FILE).write_text(json.dumps(result.values, indent=1, sort_keys=True))
            (temporary / CELL_FILE).write_text(json.dumps(cell.to_json(), indent=1, sort_keys=True))
            if result.file is not None:
                os.rename(result.file, temporary / ARRAYS_FILE)
            elif result.arrays:
                write_arrays(temporary / ARRAYS_FILE, result.arrays)
            for name, state in result.weights.items():
                tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
                save_weights(tensors, temporary / f"{name}.weights.safetensors")
            sums = {path.name: checksum(path) for path in sorted(temporary.iterdir())}
            (temporary / SUMS_FILE).write_text(content := json.dumps(sums, indent=1))
            rights = (temporary / SUMS_FILE).stat().st_mode
            for path in temporary.iterdir():
                path.chmod(rights)  # safetensors gives them to nobody else, whatever the umask says
                _to_disk(path)  # before the name says that it is whole
            stored = content if self._publish(temporary, cell.name) else read_text(self.folder / cell.name / SUMS_FILE)
            _to_disk(self.folder)
            self.failure_file(cell.name).unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return stored == content

    def _publish(self, temporary: Path, cell: str) -> bool:
        """Gives a whole cell its name; returns False where a finished one has it already."""
        while True:
            try:
                os.rename(temporary, self.folder / cell)
            except OSError as error:
                if self.has(cell):
                    return False
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                    raise
                self._clear(cell)
            else:
                return True

    def _clear(self, cell: str) -> None:
        """Takes out of a cell's way what has its name and is no finished cell.

        One writer at a time: as long as it is in the way nobody can finish the cell, so that what is moved stays what
        it was when it was looked at.
        """
        with alone(self.folder):
            if not self.has(cell):  # else another writer was faster
                self.remove(cell)

    def _aside(self, cell: str) -> Path:
        """A name of its own for a folder that is not, or no longer, a cell."""
        return self.folder / f"{TEMPORARY}{cell}-{uuid.uuid4().hex[:12]}"

    def failure_file(self, cell: str) -> Path:
        """Where the traceback of a failed cell is kept."""
        return self.folder / f"{cell}.failed.txt"

    def save_failure(self, cell: str, message: str, traceback: str) -> None:
        """Keeps why a cell failed: the first line says it short."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.failure_file(cell), f"{message}\n{traceback}")

    def failure(self, cell: str) -> tuple[str, str] | None:
        """Returns (message, traceback) of a failed cell, or None."""
        path = self.failure_file(cell)
        # A run that is killed right after a cell is stored may leave the traceback of its earlier failure.
        if not path.is_file() or self.has(cell):
            return None
        message, _, traceback = read_text(path, errors="replace").partition("\n")
        return message, traceback


@contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """Turns whatever says that nothing more can be written in a run's folder into one line.

    Raises:
        CellError: The disk is full.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not is_full(error):
            raise
        mend = "free some and run the same command again: what is stored is kept"
        raise CellError("no space left on the disk", received=folder, mend=mend) from error


def is_full(error: BaseException) -> bool:
    """Whether an error says that nothing more can be written there: a full disk or a used-up quota."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    # safetensors writes from Rust, whose errors carry the number in words only.
    return isinstance(error, SafetensorError) and any(
        f"os error {number}" in str(error) for number in (errno.ENOSPC, errno.EDQUOT)
    )


def _to_disk(path: Path) -> None:
    """Waits until a file, or the names in a folder, would survive a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(path: Path) -> CellError:
    mend = "run the same command again: what is damaged is computed anew"
    return CellError("a stored result is damaged", received=path, mend=mend)
