"""CIFAR-10, binary version and Python version, as a folder or as the archive that is distributed.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infoplane.data import archive
from infoplane.data.dataset import Dataset
from infoplane.data.files import as_labels, corrupt, join, listing, read_all
from infoplane.data.pickles import read_pickle
from infoplane.errors import UsageError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)

_PIXELS = 3 * 32 * 32
_RECORD = 1 + _PIXELS
_NAME = re.compile(r"(data_batch_[1-5]|test_batch)(\.bin)?")
#: what the archives hold, and what unpacking one leaves
_FOLDERS = ("cifar-10-batches-bin", "cifar-10-batches-py")
_ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
_LEGAL = "data_batch_1 to data_batch_5 and test_batch, with .bin (binary version) or without (Python version)"

#: the largest official batch has 31 MB
_MOST_MEMBER = 64 << 20


def find_cifar(path: Path) -> list[Path]:
    """Returns the batches in a folder or in its usual subfolders, or the archive that is there or is the path."""
    if path.is_file():
        known = archive.is_archive(path) and (path.name in _ARCHIVES or archive.holds(path, _is_batch, damaged=False))
        return [path] if known else []
    for folder in (path, *(path / name for name in _FOLDERS)):
        found = [entry for entry in listing(folder) if _NAME.fullmatch(entry.name)]
        # Of both versions in one folder the binary one is taken: there is nothing to unpickle.
        if found:
            binary = [entry for entry in found if entry.suffix]
            return binary or found
    archives = [path / name for name in _ARCHIVES if (path / name).is_file()]
    return archives[:1]


def count_cifar(path: Path) -> list[int] | None:
    """Returns the number of training and of test images by the sizes of binary batches, None where there are others."""
    found = find_cifar(path)
    if not found or not all(file.suffix == ".bin" for file in found):
        return None
    try:
        counts = [(file.name.startswith("test"), file.stat().st_size // _RECORD) for file in found]
    except OSError:
        return None
    return [sum(count for is_test, count in counts if is_test == part) for part in (False, True)]


def load_cifar(path: str | os.PathLike[str]) -> Dataset:
    """Returns the images of CIFAR-10's batches, training batches first; shorter batches than the official are fine.

    Encoding and decoding draw from the training batches, evaluation from the test batch. The Python version is read
    without executing anything, see `read_pickle`.

    Args:
        path: A folder with the batches of either version, or the archive.

    Raises:
        UsageError: A batch is missing, damaged, or holds something else.
    """
    path = Path(path)
    found = dict(_batches(path))
    parts = []
    for part in ("train", "test"):
        chosen = sorted(name for name in found if name.startswith("test") == (part == "test"))
        if not chosen:
            raise UsageError(f"no {part} batch in {path}", received=", ".join(sorted(found)) or "none", legal=_LEGAL)
        pairs = [_batch(name, *found[name]) for name in chosen]
        images, labels = (np.concatenate(arrays) for arrays in zip(*pairs))
        parts.append((part, images.reshape(-1, *SHAPE), labels))
    return join("cifar10", parts, classes=len(CLASSES), class_names=CLASSES)


def _batches(path: Path) -> Iterator[tuple[str, tuple[str, bytes]]]:
    """Yields the name of each batch with what to call its file and its content."""
    for file in find_cifar(path):
        if archive.is_archive(file):
            for name, content in archive.read(file, _is_batch, _MOST_MEMBER):
                yield Path(name).name, (f"{name} in {file}", content)
            continue
        yield file.name, (str(file), read_all(file))


def _is_batch(name: str) -> bool:
    return _NAME.fullmatch(name.rpartition("/")[2]) is not None


def _batch(name: str, file: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns pixels, uint8 `(n, 3072)`, and labels `(n,)` of one batch."""
    pixels, labels = _binary(file, content) if name.endswith(".bin") else _python(file, content)
    return pixels, as_labels(file, labels, 0, len(CLASSES) - 1, len(pixels))


def _binary(file: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Reads records of one byte of label and 3,072 of pixels."""
    if not content or len(content) % _RECORD:
        received = f"{len(content):,} bytes, {len(content) // _RECORD:,} records and {len(content) % _RECORD:,} bytes"
        raise corrupt(file, received, f"whole records of {_RECORD:,} bytes", "it is cut short: get it again")
    records = np.frombuffer(content, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:], records[:, 0]


def _python(file: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Reads the pickled mapping of `data` and `labels`."""
    batch = read_pickle(file, content)
    mapping = batch if isinstance(batch, dict) else {}
    named = {key.decode("latin1") if isinstance(key, bytes) else key: value for key, value in mapping.items()}
    pixels, labels = named.get("data"), named.get("labels")
    if not isinstance(pixels, np.ndarray) or pixels.shape[1:] != (_PIXELS,) or pixels.ndim != 2 or not len(pixels):
        received = f"an array of shape {pixels.shape}" if isinstance(pixels, np.ndarray) else "none under 'data'"
        raise corrupt(file, received, f"a uint8 array 'data' of shape (n, {_PIXELS})")
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise corrupt(file, "no list of class numbers under 'labels'", f"whole numbers 0 to {len(CLASSES) - 1}")
    return pixels, np.array(labels, np.int64)
