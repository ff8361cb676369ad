"""Files inside tar and zip archives, read one by one into memory: nothing is ever unpacked to disk."""

import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from infoplane.data.files import MOST_BYTES, corrupt, is_gzip
from infoplane.errors import UsageError

SUFFIXES = (".tar.gz", ".tgz", ".tar", ".zip")

#: how the names of files end that hold other files, whether they can be read here or not
PACKED = (*SUFFIXES, ".gz", ".bz2", ".xz", ".tbz2", ".txz", ".zst", ".7z", ".rar")

#: Data sets of pictures hardly compress: an archive that unpacks to more than so many times its size is a bomb …
_MOST_RATIO = 64
#: … unless it is small.
_SMALL = 64 << 20

#: How many names are looked at to tell what is in an archive.
_LOOK = 200

#: tarfile reads blocks of 10 KiB: its position is never further behind than this.
_READ_AHEAD = 32 << 10

_DAMAGED = "it is damaged or cut short: get it again"

# RuntimeError: a zip with a password; NotImplementedError: one packed in a way that Python lacks.
_FAILURES = (
    OSError,
    EOFError,
    ValueError,
    RuntimeError,
    NotImplementedError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,  # what is wrong with bzip2 is an OSError or an EOFError
)


def is_archive(path: Path) -> bool:
    """Says whether a file's name is that of an archive that can be read."""
    return path.name.lower().endswith(SUFFIXES)


def holds(path: Path, wanted: Callable[[str], bool], *, damaged: bool) -> bool:
    """Says whether a wanted file is among the first of an archive; of one that cannot be read, `damaged`."""
    try:
        for count, (name, _) in enumerate(walk(path, lambda _: False, MOST_BYTES)):
            if wanted(name):
                return True
            if count == _LOOK:
                break
    except UsageError:
        return damaged
    return False


def read(path: Path, wanted: Callable[[str], bool], most: int) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of the wanted files of an archive, in its order.

    Args:
        path: A .tar.gz, .tgz, .tar or .zip file.
        wanted: Says of a name (without a leading "./") whether its content is.
        most: Most bytes that a file in it may have, wanted or not.

    Raises:
        UsageError: The archive is damaged, has a file that is a link or a device, whose name leads out of the
            archive or is there twice, or that is larger than `most`, or unpacks to far more than its size.
    """
    return ((name, content) for name, content in walk(path, wanted, most) if content is not None)


def walk(path: Path, wanted: Callable[[str], bool], most: int) -> Iterator[tuple[str, bytes | None]]:
    """Yields what `read` does, and the names of all other files with None."""
    reader = _read_zip if path.name.lower().endswith(".zip") else _read_tar
    try:
        yield from reader(path, wanted, most)
    except _FAILURES as error:  # damaged archives
        raise corrupt(path, f"{type(error).__name__}: {error}", "an intact archive", _DAMAGED) from error


def _read_tar(path: Path, wanted: Callable[[str], bool], most: int) -> Iterator[tuple[str, bytes | None]]:
    with path.open("rb") as raw:
        packed = is_gzip(path)
        stream = _Bounded(gzip.GzipFile(fileobj=raw) if packed else raw, path)  # pyright: ignore
        seen: set[str] = set()
        # A stream, because seeking in gzip means unpacking from the start again.
        with tarfile.open(fileobj=stream, mode="r|") as tar:  # pyright: ignore
            for member in tar:
                name = _check_name(path, member.name)
                if not member.isfile() and not member.isdir():
                    kind = "a link" if member.issym() or member.islnk() else "a device or pipe"
                    raise corrupt(path, f"{kind}, {name!r}, in it", "files and folders only")
                _check_size(path, name, member.size, most)
                if member.isdir():
                    continue
                _check_once(path, name, seen)
                content = None
                if wanted(name):
                    file = tar.extractfile(member)
                    content = b"" if file is None else file.read()
                    if len(content) != member.size:
                        raise EOFError(f"{name} is cut short")
                yield name, content
        # Where a header is damaged, tarfile takes it for the end; but after the true end there are only zeros.
        if not stream.ends_at(tar.offset):
            raise EOFError("it does not end as archives do")


def _read_zip(path: Path, wanted: Callable[[str], bool], most: int) -> Iterator[tuple[str, bytes | None]]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        check_total(path, sum(member.file_size for member in members), path.stat().st_size)
        seen: set[str] = set()
        for member in members:
            name = _check_name(path, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise corrupt(path, f"a link, {name!r}, in it", "files and folders only")
            _check_size(path, name, member.file_size, most)
            if not member.is_dir():
                _check_once(path, name, seen)
        for member in members:
            name = _check_name(path, member.filename)
            if member.is_dir():
                continue
            content = None
            if wanted(name):
                with archive.open(member) as file:
                    content = file.read(member.file_size + 1)
                if len(content) != member.file_size:
                    raise EOFError(f"{name} has another size than its header says")
            yield name, content


class _Bounded:
    """A stream that refuses to unpack to far more than the file's size, and knows what came last."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream, self._path, self._packed, self._total = stream, path, path.stat().st_size, 0
        self._last = b""

    def read(self, size: int = -1) -> bytes:
        content = self._stream.read(size)
        self._total += len(content)
        check_total(self._path, self._total, self._packed)
        self._last = (self._last + content)[-_READ_AHEAD:]
        return content

    def ends_at(self, offset: int) -> bool:
        """Reads to the end; says whether there is something after `offset`, and nothing but zeros."""
        rest = self._last[offset - self._total :] if offset < self._total else b""
        zeros = len(rest) > 0 and not any(rest)
        while content := self.read(1 << 20):
            zeros = zeros and not any(content)
        return zeros


def _check_name(path: Path, name: str) -> str:
    """Returns a member's name without a leading "./", or refuses one that leads out of the archive."""
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or "\0" in name:
        mend = "an archive from a trusted source has no such names: get it again"
        raise corrupt(path, f"a file called {name!r} in it", "names that stay inside the archive", mend)
    return "/".join(part for part in parts if part not in ("", "."))


def _check_once(path: Path, name: str, seen: set[str]) -> None:
    """Refuses a second file of the same name: nobody can tell which is meant, and both would count it twice."""
    if name in seen:
        mend = "unpack it yourself, which keeps the last of them, and pack it again or give the folder"
        raise corrupt(path, f"two files called {name!r} in it", "each name once", mend)
    seen.add(name)


def _check_size(path: Path, name: str, size: int, most: int) -> None:
    if size > most:
        raise corrupt(path, f"a file of {size:,} bytes, {name!r}, in it", f"at most {most:,}")


def check_total(path: Path, unpacked: int, packed: int) -> None:
    """Raises `UsageError` for an archive of `packed` bytes that unpacks to far more than data of any use do."""
    legal = max(_SMALL, _MOST_RATIO * packed)
    if unpacked > legal:
        received = f"{packed:,} bytes that unpack to {unpacked:,} or more"
        raise corrupt(path, received, f"at most {legal:,} bytes unpacked")
