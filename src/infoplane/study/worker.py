"""A worker process: cells by name on standard input, all else from the run's folder, reports as JSON lines.

python -m infoplane.study.worker RUN_FOLDER DEVICE PARENT_PROCESS
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from infoplane.capture import seeded
from infoplane.errors import InfoplaneError
from infoplane.study.cell import Cell
from infoplane.study.families import KINDS
from infoplane.study.plan import Plan
from infoplane.study.store import Store, is_full
from infoplane.study.task import Environment, Live, Task

#: seconds between two progress reports of one cell
PROGRESS_EVERY = 0.25


def run_cell(
    cell: Cell, store: Store, device: torch.device, report: Callable[[dict[str, Any]], None], live: Live | None = None
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
        # A network that draws at random does so by the study's seed and the refit's, whatever the caller's is.
        with store.scratch(cell.name) as scratch:
            environment = Environment(device, progress, live, scratch)
            with seeded(cell.params.get("seed", 0)):
                result = KINDS[cell.kind](Task(cell.params, needs, environment))
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


def main() -> None:
    """Runs cells until standard input ends."""
    folder, device = Path(sys.argv[1]), torch.device(sys.argv[2])
    torch.set_num_threads(1)
    # Standard output is the line to the parent: nothing else may write there.
    line = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    threading.Thread(target=_end_with, args=(int(sys.argv[3]),), daemon=True).start()

    def report(event: dict[str, Any]) -> None:
        try:
            line.write(json.dumps(event) + "\n")
        except BrokenPipeError:
            os._exit(1)  # nobody listens any more

    cells, store = Plan.load(folder).cells, Store(folder / "cells")
    for line_in in sys.stdin:
        name = line_in.strip()
        if name not in cells:
            cells = Plan.load(folder).cells  # the plan was revised since
        run_cell(cells[name], store, device, lambda event: report({**event, "peak_mb": peak_memory_mb()}))


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
    main()
