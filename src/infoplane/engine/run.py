"""Running cells in an order that respects what they need; whatever is stored already is not computed again."""

import errno
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch

from infoplane.engine.cell import Cell
from infoplane.engine.devices import device_name, one_thread
from infoplane.engine.local import LocalWorkers
from infoplane.engine.progress import Display
from infoplane.engine.schedule import Schedule
from infoplane.engine.store import Store, room_for
from infoplane.engine.watch import EventLog, Watcher
from infoplane.engine.worker import Event, Runner, peak_memory_mb, run_cell, runner
from infoplane.errors import CellError

PACKAGES = ("infoplane", "torch", "numpy", "scipy", "scikit-learn")
#: seconds that nothing is shown of what is waited for
PATIENCE = 1.0

#: the cells that are left -> cell -> seconds; nothing where that is not known
Seconds = Callable[[Sequence[Cell]], Mapping[str, float]]

#: (whether a cell is stored, cell -> seconds it took, cell -> seconds since it began) -> the cells that there are from
#: now on, or None where they stay; those that run go on
Revise = Callable[[Callable[[str], bool], Mapping[str, float], Mapping[str, float]], Sequence[Cell] | None]


class Engine(Protocol):
    """Where cells run that need nothing of the calling process. They are sent by name: all else is in the folder."""

    @property
    def free(self) -> int:
        """How many more cells may begin."""
        ...

    def start(self, cell: str) -> None:
        """Begins a cell."""

    def events(self, timeout: float) -> Iterable[Event]:
        """What has happened, as `run_cell` reports it, with the `process` it happened in; waits if there is nothing."""
        ...

    def close(self) -> None:
        """Ends whatever still runs."""


#: makes an engine of (folder, device, number of cells at once, file descriptor of the lock, path of the runner)
StartEngine = Callable[[Path, torch.device, int, int | None, str], Engine]


@dataclass
class Outcome:
    """How a run ended.

    Attributes:
        failed: Cell -> message.
        skipped: Cells that need a failed one.
        seconds: Wall time of this call.
        peak_memory_mb: Sum over processes of the most memory each has held.
    """

    failed: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0
    peak_memory_mb: int = 0


def run_cells(
    folder: Path,
    cells: Iterable[Cell],
    *,
    run: str,
    device: torch.device,
    workers: int,
    engine: StartEngine = LocalWorkers,
    live: Any = None,
    local: Callable[[Cell], bool] = lambda cell: False,
    quiet: bool = False,
    watchers: Iterable[Watcher] = (),
    lock: int | None = None,
    seconds: Seconds | None = None,
    revise: Revise | None = None,
) -> Outcome:
    """Runs all cells that are not stored yet.

    Args:
        folder: The run's folder, prepared.
        cells: In an order in which each comes after those it needs.
        run: "module:function" of what computes a cell, a `Runner`.
        device: Where they compute.
        workers: Number of worker processes; 0 runs everything in this one.
        engine: Where those cells run that can be sent elsewhere.
        live: What exists in this process only.
        local: Whether a cell must run in this process, since it needs `live`; as it has them, on all threads.
        watchers: Who is told, beside `events.jsonl`.
        lock: File descriptor of the folder's lock, which workers inherit.
        seconds: Returns, of the cells that are left, cell -> about how long it takes: what the time left is told from;
            where nothing is known, cells count alike. Asked while worker processes start, and where cells change.
        revise: Asked whenever a cell is done which cells there are from then on; see `Revise`.

    Raises:
        CellError: The disk is full.
    """
    store = Store(folder / "cells")
    here = (lambda _: True) if workers == 0 else local
    schedule = Schedule(every := list(cells), store.has, here)
    remote = sum(not local(cell) for cell in schedule.waiting) if workers else 0
    with ExitStack() as stack:
        stack.enter_context(room_for(folder))
        start: Engine | None = None
        if remote:
            start = engine(folder, device, min(workers, remote), lock, run)
            stack.callback(start.close)
        told = [EventLog(), *watchers]
        runs = _Run(store, schedule, start, runner(run), seconds, device, live, local, here, told, revise)
        return runs.through(folder, stored=len(every) - len(schedule.waiting), quiet=quiet)


@dataclass
class _Run:
    """A run; arguments as those of `run_cells`.

    Attributes:
        bound: Whether a cell needs `live`.
        local: Whether it runs in this process, for that or since there is no other.
        running: Cell that runs -> when it began.
        peaks: Process -> the most memory that it has held.
    """

    store: Store
    schedule: Schedule
    engine: Engine | None
    run: Runner
    seconds: Seconds | None
    device: torch.device
    live: Any
    bound: Callable[[Cell], bool]
    local: Callable[[Cell], bool]
    watchers: list[Watcher]
    revise: Revise | None
    outcome: Outcome = field(default_factory=Outcome)
    running: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    peaks: dict[Any, int] = field(default_factory=dict)

    def through(self, folder: Path, *, stored: int, quiet: bool) -> Outcome:
        """Runs the schedule to its end."""
        weights, start = self._weights(), time.monotonic()
        with ExitStack() as stack:
            for watcher in self.watchers:
                watcher.begin(folder)
                stack.callback(watcher.end)
            self.display = stack.enter_context(Display(weights, stored=stored, quiet=quiet))
            if self.schedule:
                self._log({"event": "begin", "device": device_name(self.device), **surroundings()})
            while self.schedule or self.running:
                self._dispatch()
                if self._here():
                    continue
                if self.running:
                    self._hear(PATIENCE)
                elif self.schedule:
                    names = [cell.name for cell in self.schedule.waiting]
                    raise CellError("no part of the study can run", received=names)
            self.outcome.seconds = time.monotonic() - start
            self.peaks[None] = peak_memory_mb()
            self.outcome.peak_memory_mb = sum(self.peaks.values())
            self._log(
                {"event": "run", "seconds": round(self.outcome.seconds, 3), "peak_mb": self.outcome.peak_memory_mb}
            )
        return self.outcome

    def _dispatch(self) -> None:
        """Starts whatever is ready elsewhere."""
        while self.engine is not None and self.engine.free:
            cell = self.schedule.take(here=False)
            if cell is None:
                return
            self._begin(cell)
            self.engine.start(cell.name)

    def _here(self) -> bool:
        """Runs the first cell that is ready and must run in this process; returns whether there was one."""
        cell = self.schedule.take(here=True)
        if cell is None:
            return False
        self._begin(cell)
        with one_thread(self.device.type == "cpu" and not self.bound(cell)):
            run_cell(cell, self.run, self.store, self.device, self._report, self.live)
        return True

    def _report(self, event: Event) -> None:
        """Hears of a cell that runs in this process, and meanwhile of the others, which get what is next."""
        self._handle(event)
        if event["event"] == "progress":
            self._hear(0.0)
            self._dispatch()

    def _hear(self, timeout: float) -> None:
        """Handles what has happened elsewhere."""
        heard = [] if self.engine is None else list(self.engine.events(timeout))
        last = {event["cell"]: at for at, event in enumerate(heard) if event["event"] == "progress"}
        for at, event in enumerate(heard):
            # Of several reports of one cell's progress the last one counts.
            if event["event"] != "progress" or last[event["cell"]] == at:
                self._handle(event)
        if not heard and timeout:
            self.display.tick()

    def _begin(self, cell: Cell) -> None:
        self.running[cell.name] = time.monotonic()
        self.display.start(cell.name)
        self._log({"cell": cell.name, "event": "start"})

    def _handle(self, event: Event) -> None:
        cell, process = event["cell"], event.pop("process", None)
        if event["event"] == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), cell)
        self.peaks[process] = event.get("peak_mb", self.peaks.get(process, 0))
        self._log(event)
        if event["event"] == "progress":
            self.display.progress(cell, event["done"], event["total"], event["nats"])
            return
        del self.running[cell]
        self.display.finish(cell, failed=event.get("message"))
        if event["event"] == "failed":
            self.outcome.failed[cell] = event["message"]
            self._skip(self.schedule.lose(cell))
            return
        self.took[cell] = event["seconds"]
        self.schedule.done(cell)
        self._revise()

    def _skip(self, cells: Iterable[str]) -> None:
        for cell in cells:
            self.outcome.skipped.append(cell)
            self.display.finish(cell)

    def _revise(self) -> None:
        """Asks which cells there are from now on."""
        now = time.monotonic()
        since = {name: now - began for name, began in self.running.items()}
        cells = None if self.revise is None else self.revise(self.store.has, self.took, since)
        if cells is None:
            return
        lost = (*self.outcome.failed, *self.outcome.skipped)
        self.schedule = Schedule(cells, self.store.has, self.local, running=self.running, lost=lost)
        self.display.replan(self._weights())
        self._skip(self.schedule.skipped)

    def _weights(self) -> dict[str, float]:
        """About how long each cell takes that is left."""
        waiting = self.schedule.waiting
        known = self.seconds(waiting) if self.seconds is not None and waiting else {}
        return {cell.name: known.get(cell.name, 1.0) for cell in waiting}

    def _log(self, event: Mapping[str, Any]) -> None:
        for watcher in self.watchers:
            watcher.event(event)


def surroundings() -> dict[str, Any]:
    """The machine and the versions that a run's numbers come from."""
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
    return {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", "versions": versions}
