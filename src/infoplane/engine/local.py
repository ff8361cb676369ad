"""Worker processes on this machine."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import torch

from infoplane.engine.store import Store
from infoplane.engine.worker import Event


class LocalWorkers:
    """An `Engine` of so many processes of one thread each: two such processes beat one with two threads.

    Args:
        folder: The run's folder, prepared.
        device: Where cells compute.
        workers: How many processes.
        lock: File descriptor of the folder's lock, which they inherit.
        runner: "module:function" of what computes a cell.
    """

    def __init__(self, folder: Path, device: torch.device, workers: int, lock: int | None, runner: str) -> None:
        self._start = (folder, device, lock, runner)
        self._store = Store(folder / "cells")
        self._said: queue.Queue[tuple[_Worker, Event | None]] = queue.Queue()
        self._workers = [self._another() for _ in range(workers)]

    @property
    def free(self) -> int:
        return sum(worker.cell is None for worker in self._workers)

    def start(self, cell: str) -> None:
        next(worker for worker in self._workers if worker.cell is None).send(cell)

    def events(self, timeout: float) -> Iterator[Event]:
        with suppress(queue.Empty):
            worker, event = self._said.get(timeout=timeout) if timeout else self._said.get_nowait()
            while True:
                if event is None:
                    event = self._died(worker)
                elif event["event"] != "progress":
                    worker.cell = None
                if event is not None:
                    yield {**event, "process": worker.process.pid}
                worker, event = self._said.get_nowait()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _another(self) -> "_Worker":
        return _Worker(*self._start, self._said)

    def _died(self, worker: "_Worker") -> Event | None:
        """A process ended on its own: its cell failed, and no other is sent to it."""
        if worker not in self._workers:
            return None
        self._workers.remove(worker)
        event: Event | None = None
        if worker.cell is not None:
            message = f"the worker process ended unexpectedly (exit code {worker.process.wait()}); out of memory?"
            self._store.save_failure(worker.cell, message, worker.errors())
            event = {"cell": worker.cell, "event": "failed", "message": message}
        worker.close()
        if not self._workers:
            self._workers.append(self._another())
        return event


class _Worker:
    """A worker process and the thread that listens to it."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        lock: int | None,
        runner: str,
        said: "queue.Queue[tuple[_Worker, Event | None]]",
    ) -> None:
        self.cell: str | None = None
        # Open for as long as the process lives, which no `with` block spans.
        self._errors: IO[str] = tempfile.TemporaryFile(  # noqa: SIM115
            "w+", encoding="utf-8", errors="replace"
        )
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        words = [str(folder), str(device), str(os.getpid()), runner]
        self.process = subprocess.Popen(
            # -P: nothing in the current folder is imported in the place of an installed module.
            [sys.executable, "-P", "-m", "infoplane.engine.worker", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            # For as long as a worker may still write, the folder stays locked, even if this process is killed.
            pass_fds=() if lock is None else (lock,),
        )
        self._listener = threading.Thread(target=self._listen, args=(said,), daemon=True)
        self._listener.start()

    def _listen(self, said: "queue.Queue[tuple[_Worker, Event | None]]") -> None:
        assert self.process.stdout is not None
        try:
            for line in self.process.stdout:
                said.put((self, json.loads(line)))
        except ValueError:
            self.process.kill()  # a line cut off, or not of our making: this process cannot be talked to
        said.put((self, None))

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
