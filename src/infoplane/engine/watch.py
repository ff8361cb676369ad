"""Who is told what happens in a run: the log that is always kept, and whatever imitates it."""

import abc
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

EVENTS_FILE = "events.jsonl"


class Watcher(abc.ABC):
    """Sees every event of a run, in the process that called it.

    To watch a run in a way of your own, derive from this class, override `event` and hand an instance to
    `infoplane.measure` or to `infoplane.study.execute.execute` as `watchers=[…]`. Events are mappings with the key
    `event`, one of

    * `begin`: device, machine and versions;
    * `start`: a `cell` begins;
    * `progress`: `cell`, updates `done` of `total`, and its current held-out `nats` or None;
    * `done`: the result of `cell` is stored; `seconds`;
    * `failed`: `cell` and why (`message`);
    * `run`: the call ends; `seconds`, `peak_mb`.

    What a watcher raises ends the run.
    """

    def begin(self, folder: Path) -> None:  # noqa: B027 - nothing to do is a legal choice
        """The run in this folder begins; its plan is there and so are the results stored so far."""

    @abc.abstractmethod
    def event(self, event: Mapping[str, Any]) -> None:
        """Something happened."""

    def end(self) -> None:  # noqa: B027
        """The run has ended, however it did."""


class EventLog(Watcher):
    """Appends every event to `events.jsonl`, with its time and the seconds since its call began."""

    def begin(self, folder: Path) -> None:
        self._begun = time.monotonic()
        path = folder / EVENTS_FILE
        # Open for as long as the run lasts, which no `with` block here spans.
        self._file: IO[str] = path.open("a+", encoding="utf-8")
        with path.open("rb") as file:
            if file.seek(0, 2) and file.seek(-1, 2) and file.read(1) != b"\n":
                self._file.write("\n")  # a run that was killed left half a line

    def event(self, event: Mapping[str, Any]) -> None:
        # The time of day may be set while a run goes on.
        times = {"time": round(time.time(), 3), "elapsed": round(time.monotonic() - self._begun, 3)}
        self._file.write(json.dumps({**times, **event}) + "\n")
        self._file.flush()

    def end(self) -> None:
        with suppress(OSError):  # of a full disk, which the event that did not fit has reported
            self._file.close()
