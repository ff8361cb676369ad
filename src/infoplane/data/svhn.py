"""SVHN, cropped digits: `train_32x32.mat` and `test_32x32.mat`.

Source: Y. Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011.
"""

import os
from pathlib import Path

import numpy as np

from infoplane.data.dataset import Dataset
from infoplane.data.files import as_labels, corrupt, join, read_all
from infoplane.data.matlab import read_mat, whole_numbers
from infoplane.errors import UsageError

FILES = {"train": "train_32x32.mat", "test": "test_32x32.mat"}


def find_svhn(path: Path) -> list[Path]:
    """Returns the two files of a folder, or those of them that are there."""
    return [path / name for name in FILES.values() if (path / name).is_file()]


def load_svhn(path: str | os.PathLike[str]) -> Dataset:
    """Returns the images of both files, training part first; the files' label 10 is the digit 0.

    Encoding and decoding draw from the training part, evaluation from the test part. `extra_32x32.mat` is not read.

    Args:
        path: The folder.

    Raises:
        UsageError: A file is missing, damaged, or holds something else.
    """
    path, parts = Path(path), []
    for part, name in FILES.items():
        if not (path / name).is_file():
            raise UsageError(f"no {name} in {path}", legal=" and ".join(FILES.values()))
        parts.append((part, *_read(path / name)))
    extra = path / "extra_32x32.mat"
    notes = [f"{extra.name} is there and was not read"] if extra.exists() else []
    return join("svhn", parts, classes=10, class_names="0123456789", notes=notes)


def _read(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Returns images, uint8 `(n, 3, 32, 32)`, and labels `(n,)` of one file."""
    found = read_mat(file, read_all(file), ("X", "y"))
    pixels = np.asarray(found["X"])
    if pixels.ndim == 3:  # MATLAB drops the last dimension of a single image
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.shape[:3] != (32, 32, 3) or pixels.ndim != 4:
        raise corrupt(file, f"X: {pixels.dtype} of shape {pixels.shape}", "X: uint8 of shape (32, 32, 3, n)")
    labels = as_labels(file, whole_numbers(file, "y", found["y"]), 1, 10, pixels.shape[3])
    return pixels.transpose(3, 2, 0, 1), labels % 10
