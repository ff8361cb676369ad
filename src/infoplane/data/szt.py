"""The 12-bit inputs of the information-bottleneck experiments: `var_u.mat`.

Source: R. Shwartz-Ziv and N. Tishby, "Opening the Black Box of Deep Neural Networks via Information", 2017.
"""

import os
from pathlib import Path

import numpy as np

from infoplane.data.dataset import Dataset
from infoplane.data.files import as_labels, corrupt, join, read_all
from infoplane.data.matlab import read_mat, whole_numbers

FILE = "var_u.mat"
SHAPE = (1, 1, 12)


def find_szt(path: Path) -> list[Path]:
    """Returns the file, if it is in the folder or is the path."""
    file = path if path.name == FILE else path / FILE
    return [file] if file.is_file() else []


def load_szt(path: str | os.PathLike[str]) -> Dataset:
    """Returns all 4,096 inputs of 12 bits, each as an image of one row, with their binary labels; 2 levels.

    Args:
        path: The folder of `var_u.mat`, or the file.

    Raises:
        UsageError: The file is missing, damaged, or holds something else.
    """
    (file,) = find_szt(Path(path)) or [Path(path) / FILE]
    found = read_mat(file, read_all(file), ("F", "y"))
    bits = np.asarray(found["F"])
    if bits.dtype.kind not in "uifb" or bits.ndim != 2 or bits.shape[1] != SHAPE[2] or not np.isin(bits, (0, 1)).all():
        raise corrupt(file, f"F: {bits.dtype} of shape {bits.shape}", f"F: zeros and ones of shape (n, {SHAPE[2]})")
    labels = as_labels(file, whole_numbers(file, "y", found["y"]), 0, 1, len(bits))
    return join("szt", [("all", bits.astype(np.uint8).reshape(-1, *SHAPE), labels)], classes=2, levels=2)
