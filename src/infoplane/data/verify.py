"""Whether files are those that were published, by the checksums of their content."""

import gzip
import hashlib
from collections.abc import Iterable
from pathlib import Path

from infoplane.data.catalogue import Entry
from infoplane.data.files import corrupt, is_gzip


def verify(entry: Entry, files: Iterable[Path]) -> dict[str, bool | None]:
    """Returns for each file whether its content is the published one; None where no checksum is published.

    A packed file is judged by what is in it, since packing it again makes another file of the same content, unless
    the checksum of the packed one is what was published.

    Args:
        entry: The data set.
        files: Its files, as its format's `find` has them; folders are left out.

    Raises:
        UsageError: A file is damaged.
    """
    return {str(file): _as_published(entry, file) for file in files if file.is_file()}


def _as_published(entry: Entry, file: Path) -> bool | None:
    unpacked = file.name.removesuffix(".gz")
    for name, unpack in ((file.name, False), (unpacked, is_gzip(file))):
        if (published := entry.contents.get(name)) is not None:
            algorithm, _, digest = published.partition(":")
            return _digest(file, algorithm, unpack=unpack) == digest
    return None


def _digest(file: Path, algorithm: str, *, unpack: bool) -> str:
    try:
        with gzip.open(file) if unpack else file.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.new(algorithm, usedforsecurity=False)).hexdigest()
    except (OSError, EOFError) as error:
        raise corrupt(file, f"{type(error).__name__}: {error}", "an intact file", "get it again") from error
