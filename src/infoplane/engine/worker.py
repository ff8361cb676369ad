"""Running one cell; and a worker process: cells by name on standard input, all else from the run's folder, reports as
JSON lines.

python -m infoplane.engine.worker RUN_FOLDER DEVICE PARENT_PROCESS RUNNER
"""

import importlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from infoplane.engine.cell import Cell
from infoplane.engine.plan import Plan
from infoplane.engine.store import Result, Store, Stored, is_full
from infoplane.errors import InfoplaneError

#: seconds between two progress reports of one cell
PROGRESS_EVERY = 0.25

#: (done, total, current held-out nats or None)
Progress = Callable[[int, int, float | None], None]
Event = dict[str, Any]


@dataclass(frozen=True)
class Environment:
    """Where a cell runs, who hears of it, and what exists only in this process.

    Attributes:
        live: What a cell may need that cannot be sent to another process.
        scratch: A folder for what is written before it is whole, beside the stored results.
    """

    device: torch.device
    progress: Progress
    live: Any = None
    scratch: Path | None = None


#: what computes a cell, from what it needs
Runner = Callable[[Cell, Mapping[str, Stored], Environment], Result]


def runner(path: str) -> Runner:
    """Returns the function at "module:name"."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def run_cell(
    cell: Cell, run: Runner, store: Store, device: torch.device, report: Callable[[Event], None], live: Any = None
) -> bool:
    """Runs one cell and stores its result, or its traceback; returns whether it succeeded.

    Args:
        report: Called with events: progress (done, total, nats), done (seconds), failed (message), full (nothing
            more can be written). Done has a note where another writer stored something else first.
    """
    start, last = time.monotonic(), 0.0

    def progress(done: int, total: int, nats: float | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PROGRESS_EVERY or done == total:
            last = now
            report({"cell": cell.name, "event": "progress", "done": done, "total": total, "nats": nats})

    try:
        needs = {role: store.load(name) for role, name in cell.needs.items()}
        with store.scratch(cell.name) as scratch:
            result = run(cell, needs, Environment(device, progress, live, scratch))
            first = store.save(cell, result)
    except Exception as error:
        if is_full(error):
            report({"cell": cell.name, "event": "full"})
            return False
        # Whatever goes wrong in one cell is kept with it; independent cells go on.
        if isinstance(error, InfoplaneError):
            message = str(error)
        else:
            message = " ".join(f"{type(error).__name__}: {error}".split())
        store.save_failure(cell.name, message, traceback.format_exc())
        report({"cell": cell.name, "event": "failed", "message": message})
        return False
    end = {"cell": cell.name, "event": "done", "seconds": round(time.monotonic() - start, 3)}
    # What another writer has stored meanwhile stays, since other cells may have gone on from it.
    report(end if first else {**end, "note": "another writer stored other digits first, which stay"})
    return True


def serve() -> None:
    """Serves one run until standard input ends."""
    folder, device, run = Path(sys.argv[1]), torch.device(sys.argv[2]), runner(sys.argv[4])
    torch.set_num_threads(1)
    # Standard output is the line to the parent: nothing else may write there.
    line = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with, args=(int(sys.argv[3]),), daemon=True).start()

    def report(event: Event) -> None:
        try:
            line.write(json.dumps({**event, "peak_mb": peak_memory_mb()}) + "\n")
        except BrokenPipeError:
            os._exit(1)  # nobody listens any more

    cells, store = Plan.load(folder).cells, Store(folder / "cells")
    for line_in in sys.stdin:
        name = line_in.strip()
        if name not in cells:
            cells = Plan.load(folder).cells  # the plan was revised since
        run_cell(cells[name], run, store, device, report)


def _end_with(parent: int) -> None:
    """Ends this process soon after its parent, so that nothing is computed that nobody waits for."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def peak_memory_mb() -> int:
    """The most memory this process has held so far, MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (1024 * 1024 if sys.platform == "darwin" else 1024))


if __name__ == "__main__":
    serve()
