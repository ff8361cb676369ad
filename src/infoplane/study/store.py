"""A run's folder on disk: one folder per finished cell, written under a temporary name and renamed."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file as load_weights
from safetensors.torch import save_file as save_weights
from torch import Tensor

from infoplane.errors import CellError


@dataclass
class Result:
    """What a cell leaves behind.

    Attributes:
        values: Anything JSON can hold.
        arrays: Numpy arrays.
        weights: Name of a set of weights -> state dict.
    """

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    weights: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


class Stored:
    """A finished cell, read lazily; every file is checked against its checksum before its first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._sums: dict[str, str] = dict(json.loads((folder / "checksums.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise _damaged(folder / "checksums.json") from error

    def _checked(self, name: str) -> Path:
        path = self.folder / name
        if not path.is_file() or self._sums.get(name) != _checksum(path):
            raise _damaged(path)
        return path

    @cached_property
    def values(self) -> dict[str, Any]:
        """The cell's JSON values."""
        return json.loads(self._checked("result.json").read_text())

    @cached_property
    def _arrays(self) -> Any:
        return safe_open(self._checked("arrays.safetensors"), framework="np")

    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._arrays.keys()) if "arrays.safetensors" in self._sums else []

    def array(self, name: str) -> np.ndarray:
        """One array."""
        return self._arrays.get_tensor(name)

    def weights(self, name: str) -> dict[str, Tensor]:
        """One set of weights, on the CPU."""
        return load_weights(self._checked(f"{name}.weights.safetensors"))


class Store:
    """The cells of one run.

    Args:
        folder: The run's `cells/` folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, cell: str) -> bool:
        """Whether the cell is finished."""
        return (self.folder / cell / "checksums.json").exists()

    def load(self, cell: str) -> Stored:
        """Returns a finished cell."""
        return Stored(self.folder / cell)

    def save(self, cell: str, result: Result) -> None:
        """Writes a cell's result: it is there whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{cell}-", dir=self.folder))
        try:
            # Stable keys and no times: the same settings leave the same bytes.
            (temporary / "result.json").write_text(json.dumps(result.values, indent=1, sort_keys=True))
            if result.arrays:
                arrays = {name: np.ascontiguousarray(value) for name, value in result.arrays.items()}
                save_arrays(arrays, temporary / "arrays.safetensors")
            for name, state in result.weights.items():
                tensors = {key: value.detach().cpu().contiguous() for key, value in state.items()}
                save_weights(tensors, temporary / f"{name}.weights.safetensors")
            sums = {path.name: _checksum(path) for path in sorted(temporary.iterdir())}
            (temporary / "checksums.json").write_text(json.dumps(sums, indent=1))
            final = self.folder / cell
            if final.exists():
                shutil.rmtree(final)
            os.replace(temporary, final)
            self.failure_file(cell).unlink(missing_ok=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def failure_file(self, cell: str) -> Path:
        """Where the traceback of a failed cell is kept."""
        return self.folder / f"{cell}.failed.txt"

    def save_failure(self, cell: str, message: str, traceback: str) -> None:
        """Keeps why a cell failed: the first line says it short."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.failure_file(cell).write_text(f"{message}\n{traceback}", encoding="utf-8")

    def failure(self, cell: str) -> tuple[str, str] | None:
        """Returns (message, traceback) of a failed cell, or None."""
        path = self.failure_file(cell)
        if not path.exists():
            return None
        message, _, traceback = path.read_text(encoding="utf-8").partition("\n")
        return message, traceback


def _damaged(path: Path) -> CellError:
    return CellError("a stored result is damaged", received=path, mend="delete that folder and run the study again")


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
