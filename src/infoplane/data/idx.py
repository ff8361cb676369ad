"""IDX files, the format of MNIST and its kin: a magic number, the sizes, then one byte per value."""

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from infoplane.checks import check_classes
from infoplane.data.dataset import Dataset
from infoplane.data.files import as_labels, corrupt, join, listing, read_bytes, read_start
from infoplane.errors import UsageError, unknown

# Two zero bytes, type 8 (unsigned byte), number of dimensions.
_IMAGES, _LABELS = b"\0\0\x08\x03", b"\0\0\x08\x01"

_MEANING = {_IMAGES: "images", _LABELS: "labels"}

# Some unpackers write a dot for the last dash; EMNIST and QMNIST put their own name before.
_NAME = re.compile(r"(?:(.+)-)?(train|t10k|test)-(images|labels)[-.]idx[13]-ubyte(\.gz)?")

_LEGAL = (
    "{train,t10k}-images-idx3-ubyte and {train,t10k}-labels-idx1-ubyte, packed (.gz) or not; t10k may be test, and all "
    "four may begin with the set's own name and a dash, as EMNIST's do"
)

#: whose published labels count from 1
_FROM_ONE = ("emnist-letters",)

#: what the published files of several sets begin with -> number of classes
CLASSES = {
    "emnist-balanced": 47,
    "emnist-bymerge": 47,
    "emnist-byclass": 62,
    "emnist-letters": 26,
    "emnist-digits": 10,
    "emnist-mnist": 10,
}


def find_idx(path: Path) -> list[Path]:
    """Returns the IDX files of a folder; where one is there both packed and not, the unpacked one."""
    return [file for files in _sets(path).values() for file in files.values()]


def _sets(path: Path) -> dict[str, dict[tuple[str, str], Path]]:
    """Returns what the files of a set begin with -> (train or test, images or labels) -> the file."""
    found: dict[str, dict[tuple[str, str], Path]] = {}
    for entry in listing(path):
        if match := _NAME.fullmatch(entry.name):
            part = "train" if match[2] == "train" else "test"
            # In the order of names, ".gz" comes second, and so does "test" after "t10k".
            found.setdefault(match[1] or "", {}).setdefault((part, match[3]), entry)
    return found


def count_idx(path: Path) -> list[int] | None:
    """Returns the number of training and of test images by the files' headers, None where these do not tell."""
    sets = list(_sets(path).values())
    files = [sets[0].get((part, "images")) for part in ("train", "test")] if len(sets) == 1 else []
    counts = []
    for file in files:
        try:
            head = b"" if file is None else read_start(file, 8)
        except UsageError:
            return None
        if head[:4] != _IMAGES or len(head) < 8:
            return None
        counts.append(int.from_bytes(head[4:], "big"))
    return counts or None


def load_idx(
    path: str | os.PathLike[str],
    *,
    files: str | None = None,
    classes: int | None = None,
    class_names: Sequence[str] | None = None,
) -> Dataset:
    """Returns the images of a folder with the four IDX files of MNIST or its kin, training part first.

    Encoding and decoding draw from the training part, evaluation from the test part. Labels from 1 to the number of
    classes, as EMNIST's letters have them, become 0 to one less, and that is noted.

    Args:
        path: The folder.
        files: What the names of the files begin with, e.g. "emnist-letters", where there are those of several sets.
        classes: Number of classes; default: as published where the files' names tell, else 10.
        class_names: What the classes are called.

    Raises:
        UsageError: A file is missing, damaged, or says something else than its name; or there are several sets.
    """
    path = Path(path)
    name, found = _choose(path, files)
    classes = CLASSES.get(name, 10) if classes is None else check_classes(classes)
    parts = []
    for part in ("train", "test"):
        for kind in ("images", "labels"):
            if (part, kind) not in found:
                called = f"{name}-{part}" if name else {"train": "train", "test": "t10k"}[part]
                raise UsageError(f"no {called}-{kind} file in {path}", legal=_LEGAL)
        images_file, labels_file = found[part, "images"], found[part, "labels"]
        images, labels = read_idx(images_file, _IMAGES)[:, None], read_idx(labels_file, _LABELS).astype(np.int64)
        if len(images) != len(labels):
            received = f"{len(labels):,} labels"
            legal = f"{len(images):,}, one per image of {images_file.name}"
            raise corrupt(labels_file, received, legal, "the two files do not belong together")
        parts.append((part, images, labels))
    shift = _shift([labels for _, _, labels in parts], classes, published=name in _FROM_ONE)
    mend = "say how many there are: classes=26, in a study data.options: {classes: 26}, or --options classes=26"
    parts = [
        (part, images, as_labels(found[part, "labels"], labels - shift, 0, classes - 1, len(images), mend))
        for part, images, labels in parts
    ]
    (_, first, _), (_, second, _) = parts
    if first.shape[1:] != second.shape[1:]:
        received = "images of {}×{} pixels".format(*second.shape[2:])
        legal = "{}×{}, as in the training part".format(*first.shape[2:])
        raise corrupt(found["test", "images"], received, legal)
    notes = [f"labels 1 to {classes} were taken as classes 0 to {classes - 1}"] if shift else []
    if name.startswith("emnist"):
        notes.append("EMNIST's files hold images with rows and columns exchanged: they are as in the files")
    title = name or path.resolve().name
    return join(title, parts, classes=classes, class_names=class_names, notes=notes)


def _choose(path: Path, files: str | None) -> tuple[str, dict[tuple[str, str], Path]]:
    """Returns the set of files that is meant: what their names begin with, and the files."""
    sets = _sets(path)
    if files is not None:
        if files not in sets:
            raise unknown(f"set of IDX files in {path}", files, list(sets))
        return files, sets[files]
    if len(sets) > 1:
        raise UsageError(
            f"several sets of IDX files in {path}",
            received=", ".join(name or "(no name before the dash)" for name in sets),
            legal="one of them",
            mend=f"say which: files={next(name for name in sets if name)}, in a study under data.options, or --options",
        )
    return next(iter(sets.items()), ("", {}))


def _shift(labels: list[np.ndarray], classes: int, *, published: bool) -> int:
    """Returns 1 where labels count from 1, else 0.

    They do where the number of classes is among them, which would be illegal if they counted from 0, or where they are
    `published` so; and not where a 0 is among them.
    """
    least, most = min(int(each.min()) for each in labels), max(int(each.max()) for each in labels)
    return int(least >= 1 and (published or most == classes))


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
    claim = math.prod(shape)  # of Python's integers: numpy's product may wrap around
    return np.frombuffer(read_bytes(file, claim, start=start), np.uint8).reshape(shape)
