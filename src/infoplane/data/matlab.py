"""MATLAB files of version 5, unpacked under a bound before scipy sees them."""

import io
import struct
import warnings
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from infoplane.data.files import DEFLATE_RATIO, MOST_BYTES, corrupt

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_LEGAL = "a MATLAB 5 file (save -v6 or -v7)"
_CUT = "it is cut short: get it again"


def read_mat(file: object, content: bytes, variables: tuple[str, ...]) -> Mapping[str, Any]:
    """Returns variables of a .mat file by name, as scipy reads them.

    Args:
        file: What error messages call the file.
        content: The file's bytes.
        variables: The names of those that must be there.

    Raises:
        UsageError: It is no such file, it is damaged, or lacks a variable.
    """
    from scipy.io import loadmat  # slow to import, so only when asked for

    unpacked = _unpack(file, content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of variables that are there twice
            found = loadmat(io.BytesIO(unpacked), variable_names=variables)
    except Exception as error:  # on damaged files scipy raises almost anything
        raise corrupt(file, f"{type(error).__name__}: {error}", _LEGAL, "it is damaged: get it again") from error
    for name in variables:
        if name not in found:
            received = ", ".join(key for key in found if not key.startswith("__")) or "none of them"
            raise corrupt(file, received, f"variables {' and '.join(variables)}", "is it another file's content?")
    return found


def _unpack(file: object, content: bytes) -> bytes:
    """Returns the file with its compressed variables unpacked, none to more than it claims or can be."""
    if content[:19] == b"MATLAB 7.3 MAT-file":
        raise corrupt(file, "a MATLAB 7.3 file", _LEGAL, "save it again with save(…, '-v7')")
    byte_order = {b"IM": "<", b"MI": ">"}.get(content[126:128])
    if content[:10] != b"MATLAB 5.0" or byte_order is None:
        raise corrupt(file, f"a file that starts with {content[:10]!r}", _LEGAL)
    parts, position, total = [content[:_HEADER]], _HEADER, 0
    while position < len(content):
        if position + 8 > len(content):
            raise corrupt(file, f"{len(content):,} bytes", "whole variables", _CUT)
        kind, size = struct.unpack_from(f"{byte_order}II", content, position)
        position += 8
        if kind not in (_MATRIX, _COMPRESSED):
            raise corrupt(file, f"an element of type {kind} at byte {position - 8:,}", _LEGAL)
        if position + size > len(content):
            held = f"{len(content) - position:,} bytes"
            raise corrupt(file, held, f"as many as it claims, {size:,}, at byte {position:,}", _CUT)
        element = content[position : position + size]
        position += size
        if kind == _COMPRESSED:
            element = _inflate(file, element, byte_order)
        else:
            element = struct.pack(f"{byte_order}II", kind, size) + element
        total += len(element)
        if total > MOST_BYTES:
            raise corrupt(file, f"variables of more than {MOST_BYTES:,} bytes", "fewer")
        parts.append(element)
    return b"".join(parts)


def _inflate(file: object, packed: bytes, byte_order: str) -> bytes:
    """Returns a compressed variable, tag included, which must hold exactly what its tag claims."""
    try:
        stream = zlib.decompressobj()
        tag = stream.decompress(packed, 8)
        kind, size = struct.unpack(f"{byte_order}II", tag)
        if kind != _MATRIX or size > min(DEFLATE_RATIO * len(packed), MOST_BYTES):
            raise corrupt(file, f"a compressed variable that claims {size:,} bytes", f"what {len(packed):,} can hold")
        content = stream.decompress(stream.unconsumed_tail, size + 1)
    except (zlib.error, struct.error) as error:
        raise corrupt(file, f"{type(error).__name__}: {error}", _LEGAL, "it is damaged: get it again") from error
    if len(content) != size:
        held = f"{len(content):,} bytes" if len(content) < size else f"more than {size:,} bytes"
        raise corrupt(file, f"a compressed variable of {held}", f"the {size:,} that it claims", "get it again")
    return tag + content


def whole_numbers(file: object, name: str, values: Any) -> np.ndarray:
    """Returns a variable's values as int64 `(n,)`; MATLAB saves whole numbers as floats.

    Raises:
        UsageError: They are not whole numbers, or not in one row or column.
    """
    array = np.asarray(values)
    legal = f"{name}: whole numbers in one row or column"
    if array.dtype.kind not in "uif" or array.ndim != 2 or 1 not in array.shape:
        raise corrupt(file, f"{array.dtype} of shape {array.shape}", legal)
    flat = array.reshape(-1)
    if not (np.isfinite(flat) & (flat == np.rint(flat)) & (np.abs(flat) < 2**31)).all():
        raise corrupt(file, "fractions or values without bounds", legal)
    return flat.astype(np.int64)
