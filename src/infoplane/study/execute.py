"""Check a study, then run it: the one way from a spec to a folder of stored cells."""

import hashlib
import json
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from infoplane.checks import check_whole
from infoplane.data import say
from infoplane.engine.cell import Cell
from infoplane.engine.devices import default_workers, device_name, pick_device
from infoplane.engine.local import LocalWorkers
from infoplane.engine.lock import locked
from infoplane.engine.plan import Plan
from infoplane.engine.run import Outcome, StartEngine, run_cells
from infoplane.engine.schedule import finished
from infoplane.engine.store import Result, Store, room_for
from infoplane.engine.watch import Watcher
from infoplane.errors import words
from infoplane.measurements import KINDS
from infoplane.measurements.counting import Machine
from infoplane.measurements.task import Live
from infoplane.registry import Registry
from infoplane.study.base import Study
from infoplane.study.bench import fresh, stored, typical
from infoplane.study.families import FAMILIES, RUNNER
from infoplane.study.folder import check_folder, check_place, make_folder, on_machine, prepare, write_study
from infoplane.study.forecast import keeping_of, seconds_of, work_of
from infoplane.study.origin import Origin
from infoplane.torch_state import own_state


class Pacing(Protocol):
    """What keeps a run near a time budget, see `infoplane.budget.Pace`."""

    def order(self, cells: Iterable[Cell]) -> list[Cell]:
        """The cells in the order in which they should begin."""
        ...

    def revised(
        self, stored: Callable[[str], bool], took: Mapping[str, float], running: Mapping[str, float], plan: Plan
    ) -> tuple[Study, Plan] | None:
        """The study and the plan from here on, or None where they stay."""


#: (plan, the cells that are left) -> cell -> seconds, which it also says something of
Foretell = Callable[[Plan, Sequence[Cell]], Mapping[str, float]]

#: where cells run that can be sent elsewhere
ENGINES: Registry[StartEngine] = Registry(
    "engine",
    "infoplane.engines",
    {"local": LocalWorkers},
    fits=callable,
    legal="a class like infoplane.engine.run.Engine",
)

#: most worker processes of one machine
MOST_WORKERS = 10_000
#: seconds from which on a run is worth a measurement of the machine's speed
WORTHWHILE = 180.0


@own_state()
def execute(
    spec: Study,
    folder: Path,
    *,
    device: str = "auto",
    workers: int | None = None,
    engine: str = "local",
    quiet: bool = False,
    watchers: Iterable[Watcher] = (),
) -> Outcome:
    """Runs a study into a folder; whatever is there already is not computed again.

    Everything that can be wrong with the study itself is found before the folder is made.

    Args:
        device: "auto", "cpu" or "cuda".
        workers: Worker processes; default: one per core, none beside a GPU.
        engine: A key of `ENGINES`.
        watchers: Who is told what happens, beside `events.jsonl`.

    Raises:
        UsageError: The data, the layers, the device or the folder cannot be used, or another run is at work there.
        CellError: The disk is full.
    """
    check_place(folder)
    where = pick_device(device)
    spec = on_machine(spec, folder, where)
    count = workers_of(workers, where)
    start = ENGINES[engine]
    loaded = FAMILIES[spec.kind].check(spec)
    say(loaded.values.get("notes", ()))
    origin = origin_of(loaded)

    def foretell(plan: Plan, waiting: Sequence[Cell]) -> dict[str, float]:
        costs = FAMILIES[spec.kind].costs(spec, loaded)
        seconds = foretold(partial(seconds_of, work_of(plan, costs)), waiting, where, count)
        if (keeping := keeping_of(plan, costs)) is not None:
            print(keeping, file=sys.stderr)
        return seconds

    return carry_out(
        spec,
        folder,
        loaded,
        origin,
        device=where,
        workers=count,
        engine=start,
        quiet=quiet,
        watchers=watchers,
        foretell=None if quiet else foretell,
    )


def carry_out(
    spec: Study,
    folder: Path,
    loaded: Result,
    origin: Origin,
    *,
    device: torch.device,
    workers: int,
    engine: StartEngine = LocalWorkers,
    quiet: bool = False,
    watchers: Iterable[Watcher] = (),
    live: Live | None = None,
    on_the_fly: Collection[str] = (),
    foretell: Foretell | None = None,
    pace: Pacing | None = None,
) -> Outcome:
    """Runs a study that was checked, on data that are loaded, into a folder.

    Args:
        loaded: The data cell's result.
        origin: Hashes of what the settings do not say, see `make_plan`.
        live: A network that exists in this process only; what needs it runs here.
        on_the_fly: Layers whose activations are not kept: what is fitted on them needs it too.
        foretell: What says beforehand how long it will take, if anything does; asked again where the plan changes.
        pace: What keeps it near a time budget.
    """
    plan = FAMILIES[spec.kind].plan(spec, origin, device_name(device))
    check_folder(folder, spec, origin)  # at once; `prepare` looks again when nobody else writes there
    make_folder(folder)
    with room_for(folder), locked(folder, quiet=quiet) as lock:
        prepare(folder, spec, plan, origin)
        store, name = Store(folder / "cells"), plan.name(FAMILIES[spec.kind].source)
        assert name is not None
        damaged = store.tidy()
        if damaged and not quiet:
            print(f"computing anew what is damaged: {', '.join(damaged)}", file=sys.stderr)
        if not store.has(name):
            store.save(plan.cells[name], loaded)
        cells = list(plan.cells.values()) if pace is None else pace.order(plan.cells.values())

        def revise(
            stored: Callable[[str], bool], took: Mapping[str, float], running: Mapping[str, float]
        ) -> list[Cell] | None:
            nonlocal plan
            assert pace is not None
            changed = pace.revised(stored, took, running, plan)
            if changed is None:
                return None
            # Written at once: whoever goes on from here finds what was decided.
            write_study(folder, changed[0], changed[1], origin)
            plan = changed[1]
            return pace.order(plan.cells.values())

        return run_cells(
            folder,
            cells,
            run=RUNNER,
            engine=engine,
            device=device,
            workers=workers,
            live=live,
            local=lambda cell: live is not None and (KINDS[cell.kind].live or cell.params.get("layer") in on_the_fly),
            quiet=quiet,
            watchers=watchers,
            lock=lock,
            seconds=(lambda waiting: foretell(plan, waiting)) if foretell is not None else None,
            revise=revise if pace is not None else None,
        )


def foretold(
    expected: Callable[[Machine], dict[str, float]], waiting: Sequence[Cell], device: torch.device, workers: int
) -> dict[str, float]:
    """Says how long what is left will take; returns the seconds of each cell.

    A measurement of a few seconds is worth its time only where there is much to do and none is stored.

    Args:
        expected: Speeds -> the seconds of each cell.
    """
    count = max(1, workers)
    known = stored(device)
    if known is None:
        known = typical()
        if device.type != "cpu" or finished(waiting, expected(known.machine), count) > WORTHWHILE:
            known = fresh(device)
    seconds = expected(known.machine)
    processes = f"{count} worker processes" if count > 1 else "one process"
    time = words(finished(waiting, seconds, count))
    print(f"about {time} on {device}, {processes} ({known.source})", file=sys.stderr)
    return seconds


def origin_of(loaded: Result) -> Origin:
    """Returns a hash of the data: what is in a file may change while its name in the study does not."""
    digest = hashlib.sha256(json.dumps(loaded.values, sort_keys=True).encode())
    for name, array in sorted(loaded.arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return Origin(digest.hexdigest()[:16])


def workers_of(asked: int | None, device: torch.device) -> int:
    """Returns how many worker processes there are to be: as many as are asked for, or the default.

    Raises:
        UsageError: It is no whole number, or one beyond reason.
    """
    if asked is None:
        return default_workers(device)
    return check_whole("number of workers", asked, least=0, most=MOST_WORKERS)
