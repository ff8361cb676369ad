"""Files that are written whole or not at all, and of which no more is read than can be."""

import errno
import hashlib
import os
import stat
import uuid
from io import BufferedReader
from pathlib import Path

#: how the names of half-written files begin
TEMPORARY = ".tmp-"
#: how often a file is written whose temporary name was swept away meanwhile
_ATTEMPTS = 5


#: bytes of a file from which on its checksum is taken piece by piece, in a buffer that costs more than a small file
_AT_ONCE = 1 << 18
#: most bytes of a text that is read
MOST_TEXT = 256 << 20


def open_regular(path: str | Path) -> BufferedReader:
    """Returns a regular file, open for reading.

    Raises:
        OSError: It is not there, cannot be read, or is something else: opening a pipe would wait for ever, and a device
            may never end.
    """
    # Without waiting, so that what is looked at is what was opened.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is a folder, pipe or device and no regular file", str(path))
    return os.fdopen(handle, "rb")


def read_text(path: str | Path, *, most: int = MOST_TEXT, errors: str = "strict") -> str:
    """Returns a text in UTF-8 as it is in a regular file, its line ends as "\\n".

    Raises:
        OSError: As `open_regular`, or it has more than `most` bytes.
        ValueError: It is no text in UTF-8.
    """
    with open_regular(path) as file:
        # Not `read(most)`, which takes so much memory whatever there is to read.
        if os.fstat(file.fileno()).st_size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        content = file.read()
    return content.decode("utf-8", errors).replace("\r\n", "\n").replace("\r", "\n")


def checksum(path: Path) -> str:
    """Returns a regular file's SHA-256, as text; errors as those of `open_regular`."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size < _AT_ONCE:
            return hashlib.sha256(file.read()).hexdigest()
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all, whoever else writes it at the same time: the last one's stays."""
    for attempt in range(_ATTEMPTS):
        # Not `mkstemp`, whose files nobody else may read.
        temporary = path.with_name(f"{TEMPORARY}{path.name}-{uuid.uuid4().hex[:12]}")
        try:
            with temporary.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
            try:
                os.replace(temporary, path)
            except FileNotFoundError:
                if attempt == _ATTEMPTS - 1:
                    raise
                continue  # a report that was begun meanwhile took it for what a killed one had left
            return
        finally:
            temporary.unlink(missing_ok=True)
