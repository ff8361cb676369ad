"""IDX files, the format of MNIST and Fashion-MNIST: a magic number, the sizes, then one byte per value."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infoplane.checks import check_whole
from infoplane.data.dataset import Dataset
from infoplane.data.files import check_range, corrupt, join, listing, read_bytes, read_start
from infoplane.errors import UsageError

# Two zero bytes, type 8 (unsigned byte), number of dimensions.
_IMAGES, _LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"

_MEANING = {_IMAGES: "images", _LABELS: "labels"}

# Some unpackers write a dot for the last dash.
_NAME = re.compile(r"(train|t10k)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")

_LEGAL = "{train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, packed (.gz) or not"


def find_idx(path: Path) -> list[Path]:
    """Returns the IDX files of a folder; where one is there both packed and not, the unpacked one."""
    found: dict[tuple[str, str], Path] = {}
    for entry in listing(path):
        if match := _NAME.fullmatch(entry.name):
            found.setdefault((match[1], match[2]), entry)  # in the order of names, ".gz" comes second
    return list(found.values())


def count_idx(path: Path) -> list[int] | None:
    """Returns the number of training and of test images by the files' headers, None where these do not tell."""
    counts = {}
    for file in find_idx(path):
        match = _NAME.fullmatch(file.name)
        if match is None or match[2] != "images":
            continue
        try:
            head = read_start(file, 8)
        except UsageError:
            return None
        if head[:4] != _IMAGES or len(head) < 8:
            return None
        counts[match[1]] = int.from_bytes(head[4:], "big")
    return [counts["train"], counts["t10k"]] if len(counts) == 2 else None


def load_idx(path: str | os.PathLike[str], *, classes: int = 10, class_names: Sequence[str] | None = None) -> Dataset:
    """Returns the images of a folder with the four IDX files of MNIST, training part first.

    Encoding and decoding draw from the training part, evaluation from the test part.

    Args:
        path: The folder.
        classes: Number of classes; every label must be below it.
        class_names: What the classes are called.

    Raises:
        UsageError: A file is missing, damaged, or says something else than its name.
    """
    path = Path(path)
    classes = check_whole("classes", classes, least=1)
    files: dict[str, Path] = {}
    for file in find_idx(path):
        match = _NAME.fullmatch(file.name)
        assert match is not None
        files[f"{match[1]}-{match[2]}"] = file
    parts = []
    for official, part in (("train", "train"), ("t10k", "test")):
        for kind in ("images", "labels"):
            if f"{official}-{kind}" not in files:
                raise UsageError(f"no {official}-{kind} file in {path}", legal=_LEGAL)
        images_file, labels_file = files[f"{official}-images"], files[f"{official}-labels"]
        images, labels = read_idx(images_file, _IMAGES)[:, None], read_idx(labels_file, _LABELS)
        if len(images) != len(labels):
            received = f"{len(labels):,} labels"
            legal = f"{len(images):,}, one per image of {images_file.name}"
            raise corrupt(labels_file, received, legal, "the two files do not belong together")
        parts.append((part, images, check_range(labels_file, labels, 0, classes - 1)))
    (_, first, _), (_, second, _) = parts
    if first.shape[1:] != second.shape[1:]:
        received = "images of {}×{} pixels".format(*second.shape[2:])
        legal = "{}×{}, as in the training part".format(*first.shape[2:])
        raise corrupt(files["t10k-images"], received, legal)
    return join(path.resolve().name, parts, classes=classes, class_names=class_names)


def read_idx(file: Path, magic: bytes) -> np.ndarray:
    """Returns the values of an IDX file of bytes, uint8 of the shape that its header states.

    Args:
        file: The file, packed by gzip or not.
        magic: The four bytes that it must start with.

    Raises:
        UsageError: It starts otherwise, or does not hold exactly what its header claims.
    """
    dimensions = magic[3]
    start = 4 + 4 * dimensions
    head = read_start(file, start)
    what = _MEANING[magic]
    if head[:4] != magic:
        other = _MEANING.get(head[:4])
        received = f"a magic number {head[:4].hex() or '(nothing)'}{f', that of {other}' if other else ''}"
        mend = "are two files swapped?" if other else None
        raise corrupt(file, received, f"{magic.hex()}, that of {what}", mend)
    if len(head) < start:
        raise corrupt(file, f"{len(head)} bytes", f"a header of {start} bytes", "it is cut short: get it again")
    shape = [int(size) for size in np.frombuffer(head, ">u4", dimensions, offset=4)]
    if 0 in shape:
        raise corrupt(file, f"a header that claims {'×'.join(map(str, shape))} values", "at least one of each")
    claim = 1
    for size in shape:  # in Python's integers: numpy's product may wrap around
        claim *= size
    return np.frombuffer(read_bytes(file, claim, start=start), np.uint8).reshape(shape)
