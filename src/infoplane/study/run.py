"""Run a study's cells in an order that respects what they need; whatever is stored already is not computed again."""

import errno
import importlib.metadata
import json
import os
import platform
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import torch

from infoplane.checks import check_whole
from infoplane.errors import CellError, UsageError, check_text
from infoplane.settings import shown
from infoplane.study.base import Study
from infoplane.study.cell import Cell
from infoplane.study.load import read_study, study_of
from infoplane.study.lock import LOCK_FILE
from infoplane.study.origin import NOTHING_SAID, Origin
from infoplane.study.plan import PLAN_FILE, Plan
from infoplane.study.progress import Display
from infoplane.study.store import TEMPORARY, Store, is_full, room_for, write_whole
from infoplane.study.task import Live
from infoplane.study.watch import EventLog, Watcher
from infoplane.study.worker import peak_memory_mb, run_cell

STUDY_FILE = "study.yaml"
#: most worker processes of one machine
MOST_WORKERS = 10_000
#: no file that a run keeps in `cells` has a longer path from there on
_LONGEST = "x" * 200
PACKAGES = ("infoplane", "torch", "numpy", "scipy", "scikit-learn")


def pick_device(name: str) -> torch.device:
    """Returns the device for "auto", "cpu" or "cuda".

    Raises:
        UsageError: A GPU is asked for where there is none, or the name is another.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU here", received="--device cuda", legal="auto, cpu", mend="use --device cpu")
    if name not in ("cpu", "cuda"):
        raise UsageError("unknown device", received=repr(name), legal="auto, cpu, cuda")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Returns "cpu", or the GPU's name as its driver has it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def default_workers(device: torch.device) -> int:
    """One single-thread process per core, at most 8; none beside a GPU, which one process keeps busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if device.type == "cuda" else min(8, cores)


def workers_of(asked: int | None, device: torch.device) -> int:
    """Returns how many worker processes there are to be: as many as are asked for, or the default.

    Raises:
        UsageError: It is no whole number, or one beyond reason.
    """
    most = MOST_WORKERS
    return default_workers(device) if asked is None else check_whole("number of workers", asked, least=0, most=most)


def check_place(folder: Path) -> None:
    """Raises UsageError where no run can be: before anything is computed, and without making anything.

    The path is no text, it or what will be in it is too long for the system, something on the way is no folder or
    cannot be written, or the folder holds something that is no run.
    """
    check_text("the path of the output folder", str(folder))
    try:
        check_a_run(folder)
        with suppress(FileNotFoundError):
            (folder / "cells" / _LONGEST).lstat()  # raises for what is too long, and where what is above is no folder
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(folder, error) from error


def check_folder(folder: Path, spec: Study, origin: Origin = NOTHING_SAID) -> None:
    """Raises UsageError if the folder holds another study's run, or something that is no run."""
    check_place(folder)
    try:
        if (folder / STUDY_FILE).exists() and (other := another(folder, spec, origin)) is not None:
            raise UsageError(
                "the output folder holds another study's run",
                received=f"{folder}: {other}",
                legal="a new folder, or a run of this study, which may grow by refits, layers or checkpoints",
                mend="choose another --out or delete it",
            )
    except OSError as error:
        raise unwritable(folder, error) from error


def check_a_run(folder: Path) -> None:
    """Raises UsageError if the folder holds something that is no run."""
    if (folder / STUDY_FILE).exists():
        return
    if folder.exists() and not folder.is_dir():
        raise UsageError("the output folder is a file, not a folder", received=folder, legal="a new or empty folder")
    if folder.exists() and not _only_begun(folder):
        raise UsageError(
            "the output folder is not empty and holds no run", received=folder, legal="a new or empty folder"
        )


def begun(folder: Path) -> Study:
    """Returns the study that the run in a folder is of.

    Raises:
        UsageError: It cannot be read.
    """
    known = Plan.study(folder) if _planned(folder) else None
    return read_study(folder / STUDY_FILE) if known is None else study_of(known, str(folder / STUDY_FILE))


def _planned(folder: Path) -> bool:
    return (folder / "cells" / PLAN_FILE).exists()


def on_machine(spec: Study, folder: Path | None, device: torch.device) -> Study:
    """Returns the study with what depends on the machine written out: decided once, as a run begins.

    Whoever goes on with a run, on whatever machine, takes what was decided then.

    Args:
        folder: The run's; None for a study that is not run.
    """
    there = None
    if folder is not None and (folder / STUDY_FILE).exists():
        with suppress(UsageError):  # what is wrong with that run is said by `check_folder`
            there = begun(folder)
    return spec.on(device, there)


def another(folder: Path, spec: Study, origin: Origin) -> str | None:
    """Returns what tells the run in a folder from one of this study, shortly; None where that can go on, or grow."""
    try:
        content = begun(folder)
    except UsageError as error:
        return f"its study cannot be read: {error}"
    if type(content) is not type(spec):
        return f"kind is {content.kind} there"
    # What is left to the machine, that run has decided.
    there, here = content.lasting(), spec.on(torch.device("cpu"), content).lasting()
    for path in {**there, **here}:
        if there.get(path) != here.get(path):
            return f"{path} is {shown(there.get(path))} there, {shown(here.get(path))} here"
    return origin.differs(Plan.origin(folder)) if _planned(folder) else None


def make_folder(folder: Path) -> None:
    """Makes the run's folder; raises UsageError where that cannot be done."""
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def prepare(folder: Path, spec: Study, plan: Plan, origin: Origin = NOTHING_SAID) -> None:
    """Writes the resolved study and its plan into the run's folder, which it makes.

    Raises:
        UsageError: The folder holds another study's run, or something that is no run, or cannot be written.
    """
    check_folder(folder, spec, origin)
    make_folder(folder)
    write_study(folder, spec, plan, origin)


def write_study(folder: Path, spec: Study, plan: Plan, origin: Origin = NOTHING_SAID) -> None:
    """Writes a study and its plan into its run's folder.

    Raises:
        UsageError: The folder cannot be written.
        CellError: The disk is full.
    """
    with room_for(folder):
        try:
            # The study last: a folder with a study has its plan.
            write_whole(folder / "cells" / PLAN_FILE, json.dumps(plan.to_json(origin, spec.to_yaml()), indent=1))
            write_whole(folder / STUDY_FILE, spec.to_yaml())
        except OSError as error:
            if is_full(error):
                raise
            raise unwritable(folder, error) from error


def _only_begun(folder: Path) -> bool:
    """Whether there is nothing but what a run leaves that was killed before its study was written."""
    cells = folder / "cells"
    named = {path.name for path in folder.iterdir() if not path.name.startswith(TEMPORARY)}
    inside = {path.name for path in cells.iterdir() if not path.name.startswith(TEMPORARY)} if cells.is_dir() else set()
    return named <= {"cells"} and inside <= {PLAN_FILE, LOCK_FILE}


def unwritable(folder: Path, error: OSError) -> UsageError:
    """Returns the error for a folder, or something in it, that cannot be written."""
    mend = "choose a folder that can be written"
    return UsageError("cannot write the output folder", received=f"{folder}: {error.strerror or error}", mend=mend)


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
    device: torch.device,
    workers: int,
    live: Live | None = None,
    local: Callable[[Cell], bool] = lambda cell: False,
    quiet: bool = False,
    watchers: Iterable[Watcher] = (),
    lock: int | None = None,
    seconds: "Seconds | None" = None,
    revise: "Revise | None" = None,
) -> Outcome:
    """Runs all cells that are not stored yet.

    Args:
        folder: The run's folder, prepared.
        cells: In an order in which each comes after those it needs.
        device: Where they compute.
        workers: Number of worker processes; 0 runs everything in this one.
        live: The network that exists in this process only.
        local: Whether a cell must run in this process, since it needs `live`; as it has them, on all threads.
        watchers: Who is told, beside `events.jsonl`.
        lock: File descriptor of the folder's lock, which workers inherit.
        seconds: Returns, of the cells that are left, cell -> about how long it takes: what the time left is told from.
            Asked once, before any cell begins and while worker processes start.
        revise: Asked whenever a cell is done which cells there are from then on; see `Revise`.

    Raises:
        CellError: The disk is full.
    """
    watching = [EventLog(), *watchers]
    runner = _Runner(folder, list(cells), device, workers, live, local, quiet, watching, lock, seconds, revise)
    with room_for(folder):
        return runner.run()


#: the cells that are left -> cell -> seconds; nothing where that is not known
Seconds = Callable[[Sequence[Cell]], Mapping[str, float]]

#: (whether a cell is stored, cell -> seconds it took, cell -> seconds since it began) -> the cells that there are from
#: now on, or None where they stay; those that run go on
Revise = Callable[[Callable[[str], bool], Mapping[str, float], Mapping[str, float]], Sequence[Cell] | None]

#: name -> function that runs cells, with the signature of `run_cells`; a cell is sent by its name, so that an engine
#: may run it anywhere that the run's folder can be seen from
ENGINES: dict[str, Callable[..., Outcome]] = {"local": run_cells}


class _Runner:
    def __init__(
        self,
        folder: Path,
        cells: list[Cell],
        device: torch.device,
        workers: int,
        live: Live | None,
        local: Callable[[Cell], bool],
        quiet: bool,
        watchers: list[Watcher],
        lock: int | None,
        seconds: Seconds | None,
        revise: Revise | None,
    ) -> None:
        self.weight, self.seconds, self.revise = _weight, seconds, revise
        self.folder, self.device, self.live, self.quiet = folder, device, live, quiet
        self.store = Store(folder / "cells")
        self.waiting = [cell for cell in cells if not self.store.has(cell.name)]
        self.stored = len(cells) - len(self.waiting)
        self.bound = local
        self.local = (lambda _: True) if workers == 0 else local
        remote = [cell for cell in self.waiting if not self.local(cell)]
        self.outcome = Outcome()
        self.events: queue.Queue[dict[str, Any]] = queue.Queue()
        self.watchers, self.lock = watchers, lock
        self.workers = [_Worker(folder, device, self.events, lock) for _ in range(min(workers, len(remote)))]
        self.running: dict[str, _Worker | None] = {}
        self.began: dict[str, float] = {}
        self.took: dict[str, float] = {}
        self.peaks: dict[Any, int] = {}

    def run(self) -> Outcome:
        try:
            if self.seconds is not None and self.waiting and (known := self.seconds(self.waiting)):
                self.weight = lambda cell: known[cell.name]
            return self._through()
        finally:
            for worker in self.workers:
                worker.close()

    def _through(self) -> Outcome:
        """Runs all cells to the end."""
        start = time.monotonic()
        with (
            self._watched(),
            Display(
                {cell.name: self.weight(cell) for cell in self.waiting}, stored=self.stored, quiet=self.quiet
            ) as display,
        ):
            self.display = display
            if self.waiting:
                self._log({"event": "begin", "device": device_name(self.device), **surroundings()})
            while self.waiting or self.running:
                if not self._dispatch() and self.running:
                    try:
                        self._handle(self.events.get(timeout=1.0))
                    except queue.Empty:
                        display.tick()
            self.outcome.seconds = time.monotonic() - start
            self.peaks[None] = peak_memory_mb()
            self.outcome.peak_memory_mb = sum(self.peaks.values())
            self._log(
                {"event": "run", "seconds": round(self.outcome.seconds, 3), "peak_mb": self.outcome.peak_memory_mb}
            )
        return self.outcome

    def _dispatch(self, *, here: bool = True) -> bool:
        """Starts one cell that is ready, or drops one that never will be; returns whether it did.

        Args:
            here: Whether it may run in this process, where no worker has anything to do.
        """
        own = None
        for cell in self.waiting:
            if any(need in self.outcome.failed or need in self.outcome.skipped for need in cell.needs.values()):
                self.waiting.remove(cell)
                self.outcome.skipped.append(cell.name)
                self.display.finish(cell.name)
                return True
            if not all(self.store.has(need) for need in cell.needs.values()):
                continue
            if self.local(cell):
                own = own or cell
                continue
            idle = next((worker for worker in self.workers if worker.cell is None), None)
            if idle is not None:
                self.waiting.remove(cell)
                self._begin(cell, idle)
                idle.send(cell.name)
                return True
        if here and own is not None:
            self.waiting.remove(own)
            self._begin(own, None)
            with one_thread(self.device.type == "cpu" and not self.bound(own)):
                run_cell(own, self.store, self.device, self._report, self.live)
            return True
        if here and self.waiting and not self.running:
            raise CellError("no part of the study can run", received=[cell.name for cell in self.waiting])
        return False

    def _report(self, event: dict[str, Any]) -> None:
        """Hears of a cell that runs in this process, and meanwhile of the workers, who get what is next."""
        self._handle(event)
        if event["event"] != "progress":
            return
        with suppress(queue.Empty):
            while True:
                self._handle(self.events.get_nowait())
        while self._dispatch(here=False):
            pass

    def _begin(self, cell: Cell, worker: "_Worker | None") -> None:
        self.running[cell.name] = worker
        self.began[cell.name] = time.monotonic()
        self.display.start(cell.name)
        self._log({"cell": cell.name, "event": "start"})

    def _handle(self, event: dict[str, Any]) -> None:
        if event["event"] == "died":
            self._died(event["worker"])
            return
        cell = event["cell"]
        if event["event"] == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), cell)
        self.peaks[self.running.get(cell)] = event.get("peak_mb", 0)
        self._log(event)
        if event["event"] == "progress":
            self.display.progress(cell, event["done"], event["total"], event["nats"])
            return
        worker = self.running.pop(cell)
        if worker is not None:
            worker.cell = None
        message = event.get("message")
        if event["event"] == "failed":
            self.outcome.failed[cell] = message or ""
        self.display.finish(cell, failed=message)
        if event["event"] == "done":
            self.took[cell] = event["seconds"]
            self._revise()

    def _revise(self) -> None:
        """Asks which cells there are from now on."""
        now = time.monotonic()
        since = {name: now - self.began[name] for name in self.running}
        cells = None if self.revise is None else self.revise(self.store.has, self.took, since)
        if cells is None:
            return
        known = {*self.running, *self.outcome.failed, *self.outcome.skipped}
        self.waiting = [cell for cell in cells if not self.store.has(cell.name) and cell.name not in known]
        self.display.replan({cell.name: self.weight(cell) for cell in self.waiting})

    def _died(self, worker: "_Worker") -> None:
        """A worker process ended on its own: its cell failed, and no other is sent to it."""
        if worker not in self.workers:
            return
        self.workers.remove(worker)
        if worker.cell is not None:
            message = f"the worker process ended unexpectedly (exit code {worker.process.wait()}); out of memory?"
            self.store.save_failure(worker.cell, message, worker.errors())
            self._handle({"cell": worker.cell, "event": "failed", "message": message})
        worker.close()
        if not self.workers and any(not self.local(cell) for cell in self.waiting):
            self.workers.append(_Worker(self.folder, self.device, self.events, self.lock))

    @contextmanager
    def _watched(self) -> Iterator[None]:
        with ExitStack() as stack:
            for watcher in self.watchers:
                watcher.begin(self.folder)
                stack.callback(watcher.end)
            yield

    def _log(self, event: dict[str, Any]) -> None:
        for watcher in self.watchers:
            watcher.event(event)


def surroundings() -> dict[str, Any]:
    """The machine and the versions that a run's numbers come from."""
    versions = {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}}
    return {"machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores", "versions": versions}


def _weight(cell: Cell) -> float:
    """About how long a cell takes, in updates of a density."""
    updates = cell.params.get("fit", {}).get("updates", 0)
    share = {"trunk": 1.2 * len(cell.params.get("places", ())), "density": 1.2, "candidate": 1.2, "mse": 0.25}.get(
        cell.kind, 0.0
    )
    return max(30.0, share * updates)


class _Worker:
    """A worker process and the thread that listens to it."""

    def __init__(
        self, folder: Path, device: torch.device, events: "queue.Queue[dict[str, Any]]", lock: int | None
    ) -> None:
        self.cell: str | None = None
        # Open for as long as the process lives, which no `with` block spans.
        self._errors: IO[str] = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        # One thread each: two such processes beat one with two threads.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            # -P: nothing in the current folder is imported in the place of an installed module.
            [sys.executable, "-P", "-m", "infoplane.study.worker", str(folder), str(device), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            # For as long as a worker may still write, the folder stays locked, even if this process is killed.
            pass_fds=() if lock is None else (lock,),
        )
        self._listener = threading.Thread(target=self._listen, args=(events,), daemon=True)
        self._listener.start()

    def _listen(self, events: "queue.Queue[dict[str, Any]]") -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                events.put(json.loads(line))
        except ValueError:
            self.process.kill()  # a line cut off, or not of our making: this process cannot be talked to
        events.put({"event": "died", "worker": self})

    def send(self, cell: str) -> None:
        assert self.process.stdin is not None
        self.cell = cell
        try:
            self.process.stdin.write(cell + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: the listener says so next

    def errors(self) -> str:
        """What the process wrote to standard error."""
        self._errors.seek(0)
        return self._errors.read()[-20_000:]

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                with suppress(BrokenPipeError):  # what a dead process was still to read
                    stream.close()


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """As in a worker, whose every sum is over one thread: another number of threads gives other last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
