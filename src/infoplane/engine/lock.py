"""One run at a time in a folder."""

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infoplane.errors import UsageError
from infoplane.files import read_text

LOCK_FILE = ".lock"
#: seconds to wait for workers that outlived a killed run: they notice within one
PATIENCE = 60.0
#: seconds to wait for a run that has the lock and has not said its number yet
MOMENT = 1.0


@contextmanager
def locked(folder: Path, *, quiet: bool = False) -> Iterator[int]:
    """Holds the lock of a run's folder; yields its file descriptor, which workers inherit.

    The system lets go of the lock when the last process that inherited it ends, however it ends.

    Raises:
        UsageError: Another run is at work there.
    """
    path = folder / "cells" / LOCK_FILE
    with open(path, "a+", encoding="utf-8", opener=_of_its_own) as file:
        _take(file.fileno(), path, quiet)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield file.fileno()


def _of_its_own(path: str, flags: int) -> int:
    """Opens a file that is not another folder's, since this run's number is written there."""
    try:
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UsageError("links are not followed", received=path, legal="a file", mend="delete the link") from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until no other thread or process is in this block with the same folder, and keeps others out meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _system().flock(handle, _system().LOCK_EX)
        yield
    finally:
        os.close(handle)  # which lets go of the lock


def _system() -> Any:
    """What locks files here.

    Raises:
        UsageError: Nothing does.
    """
    try:
        import fcntl  # not on every system, and nothing but runs needs it
    except ImportError as error:
        raise UsageError(
            "runs need a system that locks files as POSIX does",
            received=sys.platform,
            legal="Linux or macOS",
            mend="on Windows, use the Windows Subsystem for Linux",
        ) from error
    return fcntl


def _take(handle: int, path: Path, quiet: bool) -> None:
    fcntl = _system()
    start, said = time.monotonic(), quiet
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            text, waited = read_text(path), time.monotonic() - start
            owner = int(text) if text.isdecimal() else None
            if waited > MOMENT if owner is None else _lives(owner) or waited > PATIENCE:
                mend = f"wait for {'it' if owner is None else f'process {owner}'} to end, or choose another folder"
                raise UsageError(
                    "another run is at work in this folder", received=path.parent.parent, mend=mend
                ) from error
        else:
            return
        if not said and owner is not None:
            print("waiting for a worker of an interrupted run to end", file=sys.stderr)
            said = True
        time.sleep(0.1)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
