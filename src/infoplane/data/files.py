"""Reading files that nobody vouches for: everything is bounded before it is read, and failures are one line each."""

import gzip
import stat
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from infoplane.data.dataset import PARTS, Dataset
from infoplane.data.space import MOST_LEVELS
from infoplane.errors import UsageError

#: Most bytes that one file may hold, uncompressed; the largest official one (SVHN's extra part) has 1.6 GB.
MOST_BYTES = 4 << 30

#: Deflate makes nothing more than 1,032 times smaller: a header that claims more than that is wrong.
DEFLATE_RATIO = 1032

_GZIP_MAGIC = b"\x1f\x8b"


def corrupt(file: object, received: object, legal: object, mend: str | None = None) -> UsageError:
    """Returns the error for a file that is not what its format says."""
    return UsageError(f"cannot use {file}", received=received, legal=legal, mend=mend)


def check_regular(file: Path, legal: str = "an existing file") -> None:
    """Raises `UsageError` for what is no regular file: opening a pipe would wait for ever, a device never ends."""
    try:
        regular = stat.S_ISREG(file.stat().st_mode)
    except FileNotFoundError as error:
        raise UsageError("no such file", received=file, legal=legal) from error
    except OSError as error:
        raise corrupt(file, f"{type(error).__name__}: {error.strerror}", "a file that can be read") from error
    if not regular:
        raise UsageError(f"cannot read {file}", received="a folder, pipe or device", legal="a regular file")


def read_bytes(file: Path, claim: int, *, start: int = 0) -> bytes:
    """Returns exactly `claim` bytes of a file (unpacked if it is gzip) from `start` on, after which it must end.

    Nothing is read or allocated for a claim that the file cannot hold, and no more than the claim is unpacked.

    Raises:
        UsageError: The file holds less or more, is too large, or is damaged.
    """
    legal = f"{claim:,} bytes after a header of {start}"
    if claim > MOST_BYTES:
        raise corrupt(file, f"a header that claims {claim:,} bytes", f"at most {MOST_BYTES:,}")
    packed = is_gzip(file)
    size = file.stat().st_size
    if start + claim > size * (DEFLATE_RATIO if packed else 1):
        held = f"{size:,} bytes{', compressed' if packed else ''}"
        raise corrupt(file, held, f"as much as its header claims: {claim:,} bytes", "it is cut short: get it again")
    content = read_start(file, start + claim + 1)[start:]
    if len(content) != claim:
        held = f"{len(content):,} bytes" if len(content) < claim else f"more than {claim:,} bytes"
        raise corrupt(file, held, legal, "get it again")
    return content


def read_start(file: Path, count: int) -> bytes:
    """Returns the first `count` bytes of a file, unpacked if it is gzip, or all if there are fewer.

    Raises:
        UsageError: The file cannot be read or is damaged.
    """
    try:
        with gzip.open(file) if is_gzip(file) else file.open("rb") as stream:
            return stream.read(count)
    except (OSError, EOFError, zlib.error) as error:
        received = f"{type(error).__name__}: {error}"
        raise corrupt(file, received, "an intact file", "it is damaged or cut short: get it again") from error


def read_all(file: Path, most: int = MOST_BYTES) -> bytes:
    """Returns a whole file as it is.

    Raises:
        UsageError: It cannot be read or has more than `most` bytes.
    """
    check_regular(file)
    try:
        size = file.stat().st_size
        if size > most:
            raise corrupt(file, f"{size:,} bytes", f"at most {most:,}")
        return file.read_bytes()
    except OSError as error:
        raise corrupt(file, f"{type(error).__name__}: {error.strerror}", "a file that can be read") from error


def is_gzip(file: Path) -> bool:
    """Says whether a file is gzip by its first bytes, whatever its name."""
    check_regular(file)
    try:
        with file.open("rb") as stream:
            return stream.read(2) == _GZIP_MAGIC
    except OSError as error:
        raise corrupt(file, f"{type(error).__name__}: {error.strerror}", "a file that can be read") from error


def listing(folder: Path) -> list[Path]:
    """Returns what a folder holds in the order of the names, dot-files left out; nothing if it cannot be listed."""
    try:
        found = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError:
        return []
    return sorted(found, key=lambda entry: entry.name)


def as_labels(
    file: object, labels: np.ndarray, least: int, most: int, count: int, mend: str | None = None
) -> np.ndarray:
    """Returns labels as int64, or says that one is out of range, or that there are not so many.

    Raises:
        UsageError: A label is below `least` or above `most`, or there are others than `count`.
    """
    if len(labels) != count:
        raise corrupt(file, f"{len(labels):,} labels", f"{count:,}, one per image")
    labels = labels.astype(np.int64)
    if labels.size and not least <= labels.min() <= labels.max() <= most:
        raise corrupt(file, f"labels {labels.min()} to {labels.max()}", f"labels {least} to {most}", mend)
    return labels


def join(
    name: str,
    parts: Sequence[tuple[str, np.ndarray, np.ndarray | None]],
    *,
    classes: int | None,
    class_names: Iterable[str] | None = None,
    levels: int = MOST_LEVELS,
    groups: np.ndarray | None = None,
    notes: Iterable[str] = (),
) -> Dataset:
    """Returns one data set of official parts: a name, uint8 images `(n, C, H, W)` and labels `(n,)`, or None, of each.

    Of `train` and `test`, encoding and decoding draw from the first and evaluation from the second; where there is
    `valid` as well, decoding draws from that, and evaluation where there is no `test`.
    """
    starts = np.cumsum([0, *(len(images) for _, images, _ in parts)])
    held = {part: np.arange(start, stop) for (part, _, _), start, stop in zip(parts, starts, starts[1:])}
    first, last = ("train" if "train" in held else "valid"), ("test" if "test" in held else "valid")
    serves = dict(zip(PARTS, (first, "valid" if "valid" in held and last != "valid" else first, last)))
    labels = [each for _, _, each in parts if each is not None]
    return Dataset(
        name,
        np.concatenate([images for _, images, _ in parts]),
        np.concatenate(labels) if labels else None,
        levels=levels,
        classes=classes,
        pools=None if len(parts) == 1 else {part: held[pool] for part, pool in serves.items()},
        class_names=None if class_names is None else tuple(class_names),
        groups=groups,
        notes=tuple(notes),
    )
