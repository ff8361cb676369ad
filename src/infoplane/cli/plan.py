"""infoplane plan STUDY"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch

from infoplane.cli.tables import print_rows
from infoplane.engine.cell import Cell
from infoplane.engine.devices import device_name, pick_device
from infoplane.engine.plan import Plan
from infoplane.engine.schedule import finished
from infoplane.errors import UsageError, check_positive, spoken_size, words
from infoplane.measurements import as_kind
from infoplane.measurements.counting import Machine, Work
from infoplane.study.base import LAPTOP, Study
from infoplane.study.bench import Calibration, fresh, stored
from infoplane.study.execute import origin_of, workers_of
from infoplane.study.families import FAMILIES
from infoplane.study.folder import STUDY_FILE, another, check_a_run, on_machine
from infoplane.study.forecast import FIXED, keeping_of, seconds_of, work_of
from infoplane.study.load import scales_of
from infoplane.study.origin import NOTHING_SAID
from infoplane.study.why import Held

#: seconds
DAY = 86_400


def plan(
    spec: Study,
    study: str,
    *,
    device: str,
    workers: int | None,
    images: int | None = None,
    tflops: float | None = None,
    out: Path | None = None,
) -> int:
    """Prints a study's cells, what each needs, and what they cost here.

    Args:
        study: Its name or file.
        out: A run's folder: what of the study it holds is printed instead, and what would be computed, and why.
        images: As if the data set had so many.
        tflops: As if each process had a device that trains at so many TFLOP a second.
    """
    where = pick_device(device)
    count = workers_of(workers, where)
    assumed = None
    if tflops is not None:  # a device of which only its rate in matrix products and convolutions is known
        speed = 1e-12 / check_positive("--tflops", tflops, legal="e.g. 300")
        beside = "drawing samples, which is no question of that, counts as if it were"
        assumed = Calibration(Machine(per_flop=speed), f"{tflops:g} TFLOP a second, as given; {beside}")
    family = FAMILIES[spec.kind]
    if family.outline is None and images is not None:
        raise UsageError("--images for a study without images", received=study, mend="leave it out")
    if out is not None:
        check_a_run(out)
    spec = on_machine(spec, out, where)
    # Whatever is wrong with the study is said before any waiting. Decoding pictures and hashing them takes a while, and
    # tells nothing but whether a run is of them.
    loaded = family.check(spec) if out is not None or family.outline is None else family.outline(spec)
    origin = NOTHING_SAID if out is None else origin_of(loaded)
    cells = family.plan(spec, origin, device_name(where))
    if sys.stderr.isatty():
        print("counting what each part computes", file=sys.stderr)
    prices = family.costs(spec, loaded, **({} if images is None else {"images": images}))
    costs = work_of(cells, prices)
    known = known_speeds(where) if assumed is None else assumed
    machine = known.machine
    processes = f"{count} worker processes" if count > 1 else "one process"
    on = where if tflops is None else "such devices"
    if out is not None:
        seconds = seconds_of(costs, machine)
        left = _beside(cells, Held(out), seconds)
        if left:
            time = words(finished(left, seconds, max(1, count)))
            print(f"about {time} for these on {on}, {processes}; other programs make it longer")
            print(f"speeds: {known.source}")
        if (out / STUDY_FILE).exists() and (other := another(out, spec, origin)) is not None:
            print(f"infoplane run refuses this folder, which holds another study's run: {other}")
        return 0
    rows = [("part", "needs", "operations [TFLOP]", "time")]
    total = Work()
    groups: dict[str, list[Cell]] = defaultdict(list)
    # Refits and checkpoints in one line: they cost the same.
    for cell in cells.cells.values():
        groups[_part(cell)].append(cell)
    for label, members in groups.items():
        work = [costs[cell.name] for cell in members]
        total = sum(work, total)
        needs = sorted({cells.cells[need].kind for cell in members for need in cell.needs.values()})
        seconds = sum(machine.seconds(each) + FIXED for each in work)
        name = label if len(members) == 1 else f"{label} (×{len(members)})"
        rows.append((name, ", ".join(needs), f"{sum(each.flops for each in work) / 1e12:.4g}", words(seconds)))
    print_rows(rows, right=[2, 3])
    each = seconds_of(costs, machine)
    seconds = finished(cells.cells.values(), each, max(1, count))
    kinds = Counter(cell.kind for cell in cells.cells.values())
    print(f"\n{len(cells.cells)} parts: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}")
    print(f"{total.flops / 1e15:.3g} PFLOP in matrix products and convolutions")
    print(f"about {words(seconds)} on {on}, {processes}; other programs make it longer")
    print(f"speeds: {known.source}")
    kind, most = _largest(cells, each)
    least = words(finished(cells.cells.values(), each, len(cells.cells)))
    share = 100 * most / sum(each.values())
    print(f"bottleneck: {kind}, {share:.0f} % of all time; with any number of processes at least {least}")
    sizes = {name: prices.size(as_kind(cell)) for name, cell in cells.cells.items()}
    if total_size := sum(sizes.values()):
        kind, most = _largest(cells, sizes)
        print(f"about {spoken_size(total_size)} in the run's folder, most of it {kind} ({spoken_size(most)})")
    if (keeping := keeping_of(cells, prices)) is not None:
        print(keeping)
    ways = [f"a smaller scale (--scale {LAPTOP})"] if LAPTOP in scales_of(study) and spec.scale != LAPTOP else []
    ways += ["--device cuda where there is a GPU"] if where.type != "cuda" else []
    if seconds > DAY and ways:
        print(f"more than a day here: {', or '.join(ways)}")
    return 0


def _part(cell: Cell) -> str:
    """What a cell does, whatever the refit and the checkpoint."""
    return re.sub(r"(-net\d+)?(-at\d[\d.e-]*)?(-r\d+)?$", "", cell.label)


def _beside(cells: Plan, held: Held, seconds: Mapping[str, float]) -> list[Cell]:
    """Prints what a run's folder holds of a study, and why the rest would be computed; returns the rest."""
    roles = {name: role for role, name in cells.roles.items()}
    why = {name: held.missing(cell, roles[name]) for name, cell in cells.cells.items()}
    groups: dict[tuple[str, str | None], list[Cell]] = defaultdict(list)
    for name, cell in cells.cells.items():
        groups[_part(cell), why[name]].append(cell)
    rows = [("part", "time", "stored, or why it would be computed")]
    for (part, reason), members in groups.items():
        label = members[0].label if len(members) == 1 else f"{part} (×{len(members)})"
        time = "-" if reason is None else words(sum(seconds[cell.name] for cell in members))
        rows.append((label, time, reason or "stored"))
    print_rows(rows, right=[1])
    left = [cell for name, cell in cells.cells.items() if why[name] is not None]
    print(f"\n{len(why) - len(left)} of {len(why)} parts are stored, {len(left)} would be computed")
    return left


def _largest(cells: Plan, amounts: Mapping[str, float]) -> tuple[str, float]:
    """The kind of cell that has most of something, and how much."""
    kinds: Counter[str] = Counter()
    for cell in cells.cells.values():
        kinds[cell.kind] += amounts[cell.name]  # pyright: ignore[reportArgumentType]
    return kinds.most_common(1)[0]


def known_speeds(device: torch.device) -> Calibration:
    """This machine's speeds: those that `infoplane bench` has stored, else from a few jobs timed now."""
    if (known := stored(device)) is not None:
        return known
    print("timing a few small jobs, to see how fast this machine is", file=sys.stderr)
    return fresh(device)
