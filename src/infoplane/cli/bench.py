"""infoplane bench"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from infoplane.cli.tables import print_rows
from infoplane.engine.devices import free_memory, one_thread, pick_device
from infoplane.errors import UsageError, words
from infoplane.files import write_whole
from infoplane.study.bench import QUICK, WHOLE, Job, Timing, jobs, keep, speeds, this_machine


def bench(device: str, *, quick: bool, out: Path | None) -> int:
    """Times reference jobs on a processor's core and on the GPU, if there is one; keeps what `plan` and `run` use.

    Args:
        device: "auto" for all that there are.
        quick: Leave out the density of the papers' size.
        out: Where to write it all as JSON.
    """
    devices = _devices(device)
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise _unwritable(out, "it is a folder" if out.is_dir() else "no such folder")
    found = []
    for where in devices:
        timings = _timed(where, quick)
        machine = speeds(timings)
        name = this_machine(where)
        _say(where, name, timings)
        try:
            print(f"kept for plan and run on {where}: {keep(where, machine, quick=quick)}")
        except OSError as error:
            print(f"these speeds cannot be kept for plan and run: {error.strerror or error}", file=sys.stderr)
        rows = [_row(timing) for timing in timings]
        found.append({"machine": name, "quick": quick, "timings": rows, "seconds": asdict(machine)})
    if out is not None:
        try:
            write_whole(out, json.dumps(found, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise _unwritable(out, error.strerror or str(error)) from error
    return 0


def _devices(name: str) -> list[torch.device]:
    if name == "auto" and torch.cuda.is_available():
        return [torch.device("cpu"), torch.device("cuda")]
    return [pick_device(name)]


def _timed(device: torch.device, quick: bool) -> list[Timing]:
    wanted, left_out = jobs(quick=quick), list[Job]()
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}")
    console = Console(file=sys.stderr)
    with Progress(
        *columns, TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(f"{device}", total=len(wanted))
        with one_thread(device.type == "cpu"):
            found = []
            for job in wanted:
                bar.update(task, description=f"{device}: {job.what}, {job.on}")
                if job.memory > free_memory(device):
                    left_out.append(job)
                else:
                    found.append(job.time(device, QUICK if quick else WHOLE))
                bar.advance(task)
    for job in left_out:
        print(f"left out: {job.what}, {job.on} needs {job.memory:g} GiB of memory", file=sys.stderr)
    return found


def _say(device: torch.device, name: dict[str, Any], timings: Sequence[Timing]) -> None:
    where = f"one of {name['cores']} cores of {name['processor']}" if device.type == "cpu" else name["device"]
    print(f"{device}: {where}; infoplane {name['infoplane'].split()[0]}, torch {name['torch']}")
    rows: list[tuple[str, ...]] = [("", "", "per second", "", "measured in")]
    rows += [(t.job.what, t.job.on, _rounded(t.job.amount / t.seconds), t.job.unit, f"{t.took:.1f} s") for t in timings]
    print_rows(rows, right=[2, 4])
    print(f"{words(sum(t.took for t in timings))} in all\n")


def _row(timing: Timing) -> dict[str, Any]:
    job, work = timing.job, {name: amount for name, amount in vars(timing.work).items() if amount}
    done = {"what": job.what, "on": job.on, "unit": job.unit, "amount": job.amount}
    took = {"seconds": timing.seconds, "took": timing.took}
    return {**done, **took, "work": work, "per_second": job.amount / timing.seconds}


def _rounded(rate: float) -> str:
    """Three digits, which is more than is known."""
    digits = 2 - int(f"{rate:e}".partition("e")[2])
    return f"{round(rate, digits):,.{max(0, digits)}f}"


def _unwritable(path: Path, why: str) -> UsageError:
    return UsageError(
        "cannot write the measurements", received=f"{path}: {why}", mend="choose a file that can be written"
    )
