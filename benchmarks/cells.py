"""What running a cell takes beside what it computes: many cells that compute nothing.

    python benchmarks/cells.py [--cells 10000] [--workers 2] [--docs]

A cell needs the one at the root, and one of those before it. Timed are the first hundred, the last hundred, all of
them, and going on with a run that has finished; memory is the calling process's, after a tenth and at the end.
"""

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from infoplane.engine.cell import Cell
from infoplane.engine.lock import locked
from infoplane.engine.plan import PLAN_FILE, Plan
from infoplane.engine.run import run_cells
from infoplane.engine.store import Result, Store, Stored
from infoplane.engine.watch import EVENTS_FILE, Watcher
from infoplane.engine.worker import Environment
from infoplane.files import write_whole
from tables import add_options, deliver, where

#: what a worker process runs cells with
RUNNER = "cells:compute"


def compute(cell: Cell, needs: Mapping[str, Stored], environment: Environment) -> Result:
    """Computes nothing."""
    return Result({"place": cell.params["place"]})


class Times(Watcher):
    """When cells were done, and the memory that this process then held at most, MiB."""

    def __init__(self) -> None:
        self.done: list[float] = []
        self.held: list[float] = []

    def event(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "done":
            self.done.append(time.perf_counter())
            self.held.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def plan_of(count: int) -> Plan:
    """Cells in an order in which each comes after those it needs."""
    plan, names = Plan(), []
    for place in range(count):
        needs = {} if not place else {"root": names[0], "near": names[(place - 1) // 10 * 10]}
        cell = Cell.named("part", {"place": place}, needs, label=str(place), code="c", arithmetic="a")
        names.append(plan.put(cell, ("part", str(place), 0, "")))
    return plan


def run(folder: Path, plan: Plan, workers: int) -> tuple[Times, float]:
    """Runs them; returns what was seen, and the seconds of the call with looking at what is stored."""
    times, begin = Times(), time.perf_counter()
    with locked(folder) as lock:
        Store(folder / "cells").tidy()
        cells = plan.cells.values()
        run_cells(
            folder,
            cells,
            run=RUNNER,
            device=torch.device("cpu"),
            workers=workers,
            quiet=True,
            watchers=[times],
            lock=lock,
        )
    return times, time.perf_counter() - begin


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    add_options(parser)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    sys.path.insert(0, str(Path(__file__).parent))
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "cells").mkdir()
        plan = plan_of(options.cells)
        write_whole(folder / "cells" / PLAN_FILE, json.dumps(plan.to_json({})))
        times, whole = run(folder, plan, options.workers)
        _, again = run(folder, plan, options.workers)
        first, last = (1000 * (part[-1] - part[0]) / (len(part) - 1) for part in (times.done[:100], times.done[-100:]))
        early, late = times.held[len(times.held) // 10], times.held[-1]
        lines = [
            "| cells | first hundred, ms each | last hundred, ms each | all, s | finished already, s | memory, MiB |",
            "| --- | --- | --- | --- | --- | --- |",
            f"| {options.cells:,} | {first:.1f} | {last:.1f} | {whole:.0f} | {again:.1f} | {early:.0f} → {late:.0f} |",
            where(torch.device("cpu")),
        ]
        assert (folder / EVENTS_FILE).exists()
        deliver("cells", lines, options)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
