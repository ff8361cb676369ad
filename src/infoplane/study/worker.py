"""A worker process: cells by name on standard input, all else from the run's folder, reports as JSON lines.

python -m infoplane.study.worker RUN_FOLDER DEVICE
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from infoplane.errors import InfoplaneError
from infoplane.study.cells import KINDS, Environment, Live, Task
from infoplane.study.plan import Cell, Plan
from infoplane.study.store import Store

#: seconds between two progress reports of one cell
PROGRESS_EVERY = 0.25


def run_cell(
    cell: Cell, store: Store, device: torch.device, report: Callable[[dict[str, Any]], None], live: Live | None = None
) -> bool:
    """Runs one cell and stores its result, or its traceback; returns whether it succeeded.

    Args:
        report: Called with events: progress (done, total, nats), done (seconds), failed (message).
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
        result = KINDS[cell.kind](Task(cell.params, needs, Environment(device, progress, live)))
        store.save(cell.name, result)
    except Exception as error:
        # Whatever goes wrong in one cell is kept with it; independent cells go on.
        if isinstance(error, InfoplaneError):
            message = str(error)
        else:
            message = " ".join(f"{type(error).__name__}: {error}".split())
        store.save_failure(cell.name, message, traceback.format_exc())
        report({"cell": cell.name, "event": "failed", "message": message})
        return False
    report({"cell": cell.name, "event": "done", "seconds": round(time.monotonic() - start, 3)})
    return True


def main() -> None:
    """Runs cells until standard input ends."""
    folder, device = Path(sys.argv[1]), torch.device(sys.argv[2])
    torch.set_num_threads(1)
    # Standard output is the line to the parent: nothing else may write there.
    line = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def report(event: dict[str, Any]) -> None:
        line.write(json.dumps(event) + "\n")

    cells, store = Plan.load(folder).cells, Store(folder / "cells")
    for name in sys.stdin:
        run_cell(cells[name.strip()], store, device, lambda event: report({**event, "peak_mb": peak_memory_mb()}))


def peak_memory_mb() -> int:
    """The most memory this process has held so far, MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak // (1024 * 1024 if sys.platform == "darwin" else 1024))


if __name__ == "__main__":
    main()
