"""Downloads of official files: checked by pooch against the published checksums, and taken up where they stopped."""

import http
import http.client
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from infoplane.data.catalogue import Entry, Remote
from infoplane.errors import UsageError

#: called with the file's name, how many bytes are there, and how many there will be (None if the server does not say)
Watch = Callable[[str, int, int | None], None]

#: a server that is silent for so many seconds is given up
TIMEOUT = 30

_BLOCK = 1 << 16


def download(entry: Entry, folder: Path, watch: Watch | None = None) -> list[Path]:
    """Returns a data set's files, after downloading those that are not there with the right checksum.

    A file arrives as `NAME.part`, which stays when the connection is cut: the next call asks the server for the
    rest only. It gets its name once its checksum is right; if that is wrong, it is removed. A file without a published
    checksum is always asked for whole: two halves of different versions would not be noticed.

    Args:
        entry: The data set.
        folder: Where to; it is created.
        watch: Told of progress.

    Raises:
        UsageError: No address is known, the server cannot be reached or does not have the file, the connection is
            cut, the disk is full, or a checksum is wrong.
    """
    if not entry.remotes:
        mend = f"put its files into {folder}"
        raise UsageError(f"no public address of data set {entry.name!r} is known", mend=mend)
    return [fetch(remote, folder, watch) for remote in entry.remotes]


def fetch(remote: Remote, folder: Path, watch: Watch | None = None) -> Path:
    """Returns one file, see `download`."""
    import pooch  # brings an HTTP client along, so only when asked for

    name = remote.name
    pooch.get_logger().setLevel("ERROR")  # what it would say is said here
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{name}.part"
        downloader: Any = Resuming(name, part, watch, resume=remote.checksum is not None)
        found = pooch.retrieve(remote.url, remote.checksum, fname=name, path=folder, downloader=downloader)
    except ValueError as error:  # pooch's way to say it; by then it has removed the file
        received = re.search(r"got (\w+)", str(error))
        raise UsageError(
            f"the checksum of {name} is wrong",
            received=received[1] if received else error,
            legal=remote.checksum,
            mend=f"{remote.url} gave another file, which was removed: try again later, or get it elsewhere",
        ) from error
    except OSError as error:
        received = f"{type(error).__name__}: {error.strerror or error}"
        raise UsageError(f"cannot write {folder / name}", received=received, mend="is the disk full?") from error
    return Path(found)


class Resuming:
    """Downloads for pooch: what is already in the partial file is not asked for again.

    Args:
        name: What messages call the file.
        part: The partial file.
        watch: Told of progress.
        resume: Whether to take up the partial file; otherwise it is removed first.
    """

    def __init__(self, name: str, part: Path, watch: Watch | None = None, *, resume: bool = True) -> None:
        self.name, self.part, self.watch, self.resume = name, part, watch, resume

    def __call__(self, url: str, output_file: Any, _: Any = None) -> None:
        """Writes what is at the address to a file."""
        if not self.resume:
            self.part.unlink(missing_ok=True)
        try:
            self._get(url)
        except urllib.error.HTTPError as error:
            error.close()
            raise self._failure(url, f"HTTP {error.code} {error.reason}", "the address may have moved") from error
        except urllib.error.URLError as error:
            raise self._failure(url, str(error.reason), "is there a connection?") from error
        except (http.client.HTTPException, ssl.SSLError, ConnectionError, TimeoutError) as error:
            raise self._cut(f"{self._size():,} bytes, then {type(error).__name__}") from error
        self.part.replace(output_file)

    def _get(self, url: str) -> None:
        """Brings the partial file to its full size."""
        response = self._ask(url, self._size())
        if response is None:  # it has it
            return
        with response:
            partial = response.status == http.HTTPStatus.PARTIAL_CONTENT
            have = self._size() if partial else 0  # a server without ranges starts again
            length = response.headers.get("Content-Length", "")
            total = have + int(length) if length.isdecimal() else None
            with self.part.open("ab" if partial else "wb") as file:
                while block := response.read(_BLOCK):
                    file.write(block)
                    have += len(block)
                    if self.watch is not None:
                        self.watch(self.name, have, total)
        if total is not None and have < total:
            raise self._cut(f"{have:,} of {total:,} bytes")

    def _ask(self, url: str, have: int) -> Any:
        """Returns the server's answer: the bytes after the first `have`, or all; None if there are no more."""
        headers = {"User-Agent": "infoplane", "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        try:
            response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not have:
                raise
            error.close()
            if error.headers.get("Content-Range") == f"bytes */{have}":
                return None
        else:
            given = response.headers.get("Content-Range", "")
            if response.status != http.HTTPStatus.PARTIAL_CONTENT or given.startswith(f"bytes {have}-"):
                return response
            response.close()
        # What we have is of another file, or the server gives what we did not ask for: from the start.
        self.part.unlink()
        return self._ask(url, 0)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _cut(self, received: str) -> UsageError:
        # Without a checksum nobody would notice that the rest is of another version.
        mend = "call again: it goes on from there" if self.resume else "call again: it starts anew"
        return UsageError(f"the connection was cut while {self.name} was downloaded", received=received, mend=mend)

    def _failure(self, url: str, received: str, hint: str) -> UsageError:
        mend = f"{hint}; or put the file into {self.part.parent} by hand"
        return UsageError(f"cannot download {self.name} from {url}", received=received, mend=mend)
