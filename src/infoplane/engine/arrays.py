"""Arrays in a file of the safetensors format: written a few rows at a time, read without a copy in memory.

The file is the same, byte for byte, as safetensors' own `save_file` writes of whole arrays.
"""

import json
import math
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import numpy as np

#: name of a type in such a file -> numpy's, in the order in which their arrays lie there: wide ones first, so that all
#: of them are aligned
TYPES = {
    "U64": "<u8",
    "I64": "<i8",
    "F64": "<f8",
    "F32": "<f4",
    "U32": "<u4",
    "I32": "<i4",
    "F16": "<f2",
    "U16": "<u2",
    "I16": "<i2",
    "I8": "|i1",
    "U8": "|u1",
    "BOOL": "|b1",
}
_NAMES = {np.dtype(dtype): name for name, dtype in TYPES.items()}
#: bytes of a header's length, and a multiple of which a header is long
_LENGTH = 8
#: bytes of an array from which on it is mapped: smaller ones are read at once
MAPPED = 2**20

#: name -> (type, shape) of an array
Outlines = Mapping[str, tuple[np.dtype[Any], tuple[int, ...]]]


class ArrayWriter:
    """A new file for arrays of known types and shapes, which are filled from their first row to their last.

    Args:
        path: The file.
        outlines: What it will hold.

    Raises:
        ValueError: On leaving the context, if an array has not got all its rows.
    """

    def __init__(self, path: Path, outlines: Outlines) -> None:
        order = {name: position for position, name in enumerate(TYPES)}
        kinds = {name: _NAMES[dtype.newbyteorder("<")] for name, (dtype, _) in outlines.items()}
        header: dict[str, Any] = {}
        end = 0
        for name in sorted(outlines, key=lambda name: (order[kinds[name]], name)):
            dtype, shape = outlines[name]
            begin, end = end, end + dtype.itemsize * math.prod(shape)
            header[name] = {"dtype": kinds[name], "shape": list(shape), "data_offsets": [begin, end]}
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % _LENGTH)
        self._start = _LENGTH + len(text)
        #: name -> where its next row goes, and where its last one ends
        self._next = {name: header[name]["data_offsets"][0] for name in outlines}
        self._ends = {name: header[name]["data_offsets"][1] for name in outlines}
        self._outlines = {name: (np.dtype(TYPES[kinds[name]]), shape) for name, (_, shape) in outlines.items()}
        self._stack = ExitStack()
        self._file = self._stack.enter_context(path.open("wb"))
        self._file.write(len(text).to_bytes(_LENGTH, "little") + text)

    def append(self, name: str, rows: np.ndarray) -> None:
        """Writes the next rows of an array, or all of it."""
        dtype, shape = self._outlines[name]
        at, size = self._next[name], dtype.itemsize * rows.size
        if rows.shape[1:] != shape[1:] or at + size > self._ends[name]:
            raise ValueError(f"rows of shape {rows.shape} do not fit into what is left of {name!r}, {shape}")
        self._file.seek(self._start + at)
        if size:
            self._file.write(np.ascontiguousarray(rows, dtype).data.cast("B"))
        self._next[name] = at + size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stack.close()
        short = [name for name, end in self._ends.items() if self._next[name] < end]
        if short and kind is None:
            raise ValueError(f"too few rows of {', '.join(short)}")


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes whole arrays into a new file."""
    with ArrayWriter(path, {name: (value.dtype, value.shape) for name, value in arrays.items()}) as file:
        for name, value in arrays.items():
            file.append(name, value)


class ArrayFile:
    """The arrays of a file. What is read of them is the caller's own: a change is not written anywhere.

    Raises:
        ValueError: It is no such file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH), "little")
            size = file.seek(0, 2)
            if length > size:
                raise ValueError("a header longer than its file")
            file.seek(_LENGTH)
            header = json.loads(file.read(length))
        self._start, self._arrays = _LENGTH + length, {}
        for name, each in header.items():
            if name == "__metadata__":
                continue
            dtype, shape, (begin, end) = np.dtype(TYPES[each["dtype"]]), tuple(each["shape"]), each["data_offsets"]
            inside = 0 <= begin <= end <= size - self._start
            if not inside or end - begin != dtype.itemsize * math.prod(shape):
                raise ValueError(f"array {name!r} does not fit its file")
            self._arrays[name] = dtype, shape, begin

    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._arrays)

    def read(self, name: str) -> np.ndarray:
        """Returns one array; a large one takes no memory but for the pages of the file that are looked at."""
        dtype, shape, begin = self._arrays[name]
        if dtype.itemsize * math.prod(shape) >= MAPPED:
            mapped = np.memmap(self.path, dtype=dtype, mode="c", offset=self._start + begin, shape=shape)
            return np.asarray(mapped)
        found = np.empty(shape, dtype)
        with open(self.path, "rb", buffering=0) as file:  # thousands are read: a buffer for each costs as much again
            file.seek(self._start + begin)
            if file.readinto(found.reshape(-1).view(np.uint8).data) != found.nbytes:
                raise ValueError(f"the file ends within array {name!r}")
        return found
