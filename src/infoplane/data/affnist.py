"""affNIST: MNIST under random affine transformations on 40×40 pixels, in 32 batches for each part.

Source: T. Tieleman, "The affNIST dataset for machine learning", 2013.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from infoplane.checks import check_whole
from infoplane.data import archive
from infoplane.data.dataset import Dataset
from infoplane.data.files import as_labels, corrupt, join, listing, read_all
from infoplane.data.matlab import read_mat, whole_numbers
from infoplane.errors import UsageError

SHAPE = (1, 40, 40)
BATCHES = 32

#: what a part may be called, the preferred name first: a folder of batches, its archive, or one file
NAMES = {
    "train": ("training_and_validation_batches", "training_batches", "training_and_validation.mat", "training.mat"),
    "test": ("test_batches", "test.mat"),
}

_LEGAL = "training_and_validation_batches and test_batches, each a folder of 1.mat, 2.mat, … or a .zip of it"

#: the official batches have less than 150 MB
_MOST_MEMBER = 512 << 20


def find_affnist(path: Path) -> list[Path]:
    """Returns what there is of both parts: folders, archives or files."""
    return [found for part in NAMES if (found := _find(path, part)) is not None]


def load_affnist(path: str | os.PathLike[str], *, batches: int = 1) -> Dataset:
    """Returns the images of the first batches of both parts, training part first.

    Encoding and decoding draw from the training part, evaluation from the test part. A batch has the whole of
    MNIST's part once (60,000 or 10,000 images), each image under a transformation of its own.

    Args:
        path: The folder.
        batches: How many batches of each part, 1 to 32.

    Raises:
        UsageError: A part is missing, has fewer batches, is damaged, or holds something else.
    """
    path, parts = Path(path), []
    batches = check_whole("batches", batches, least=1, most=BATCHES)
    for part in NAMES:
        source = _find(path, part)
        if source is None:
            raise UsageError(f"no {part} part of affNIST in {path}", legal=_LEGAL)
        pairs = [_read(*named) for named in _batches(source, batches)]
        if not pairs or (len(pairs) < batches and source.suffix != ".mat"):
            raise corrupt(source, f"{len(pairs)} batches", f"{batches} or more", "ask for fewer with batches=…")
        images, labels = (np.concatenate(arrays) for arrays in zip(*pairs))
        parts.append((part, images, labels))
    return join("affnist", parts, classes=10, class_names="0123456789")


def _find(path: Path, part: str) -> Path | None:
    """Returns where a part is, or None."""
    for name in NAMES[part]:
        for candidate in (path / name, path / f"{name}.zip"):
            if candidate.is_dir() if candidate.suffix == "" else candidate.is_file():
                return candidate
    return None


def _batches(source: Path, count: int) -> Iterator[tuple[str, bytes]]:
    """Yields what to call the file and the content of the first `count` batches, in the order of their numbers."""
    if source.is_dir():
        names = {entry.name: entry for entry in listing(source)}
        for name in _first(names, count):
            yield str(names[name]), read_all(names[name])
    elif archive.is_archive(source):
        wanted = _first((name for name, _ in archive.walk(source, lambda _: False, _MOST_MEMBER)), count)
        found = dict(archive.read(source, wanted.__contains__, _MOST_MEMBER))
        for name in wanted:
            yield f"{name} in {source}", found[name]
    else:
        yield str(source), read_all(source)


def _first(names: Any, count: int) -> list[str]:
    """Returns the names of the first batches, `10.mat` after `9.mat`."""
    numbered = {name: match for name in names if (match := re.search(r"(?:^|/)([^/.]+)\.mat$", name))}
    return sorted(numbered, key=lambda name: (len(numbered[name][1]), numbered[name][1]))[:count]


def _read(file: str, content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, uint8 `(n, 1, 40, 40)`, and labels `(n,)` of one batch."""
    found = read_mat(file, content, ("affNISTdata",))["affNISTdata"]
    fields = getattr(getattr(found, "dtype", None), "names", None) or ()
    if "image" not in fields or "label_int" not in fields or found.size != 1:
        raise corrupt(file, f"fields {', '.join(fields) or 'none'}", "one struct with image and label_int")
    record = found.reshape(-1)[0]
    pixels = np.asarray(record["image"])
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.shape[0] != 1600:
        raise corrupt(file, f"image: {pixels.dtype} of shape {pixels.shape}", "image: uint8 of shape (1600, n)")
    labels = as_labels(file, whole_numbers(file, "label_int", record["label_int"]), 0, 9, pixels.shape[1])
    return pixels.T.reshape(-1, *SHAPE), labels
