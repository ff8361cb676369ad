"""infoplane plan STUDY, infoplane studies"""

import re
import sys
from collections import Counter, defaultdict

import torch

from infoplane.errors import UsageError
from infoplane.study.base import LAPTOP, Study
from infoplane.study.calibration import Calibration, fresh, stored
from infoplane.study.cost import FIXED, words
from infoplane.study.counting import Work
from infoplane.study.families import DEFAULT, FAMILIES
from infoplane.study.forecast import expected
from infoplane.study.load import load_study, named_studies, scales_of
from infoplane.study.plan import Cell
from infoplane.study.run import default_workers, pick_device

#: seconds
DAY = 86_400


def plan(spec: Study, study: str, *, device: str, workers: int | None) -> int:
    """Prints a study's cells, what each needs, and what they cost here.

    Args:
        study: Its name or file.
    """
    where = pick_device(device)
    count = default_workers(where) if workers is None else workers
    family = FAMILIES[spec.kind]
    cells = family.plan(spec)
    costs = family.cost(spec, cells)  # whatever is wrong with the study is said before any waiting
    known = known_speeds(where)
    machine = known.machine
    rows = [("part", "needs", "operations [TFLOP]", "time")]
    total = Work()
    groups: dict[str, list[Cell]] = defaultdict(list)
    # Refits in one line; so are checkpoints where all of them cost the same.
    pattern = r"-r\d+$" if spec.kind == DEFAULT else r"(-at\d+)?(-r\d+)?$"
    for cell in cells.cells.values():
        groups[re.sub(pattern, "", cell.label)].append(cell)
    for label, members in groups.items():
        work = [costs[cell.name] for cell in members]
        total = sum(work, total)
        needs = sorted({cells.cells[need].kind for cell in members for need in cell.needs.values()})
        seconds = sum(machine.seconds(each) + FIXED for each in work)
        name = label if len(members) == 1 else f"{label} (×{len(members)})"
        rows.append((name, ", ".join(needs), f"{sum(each.arithmetic for each in work) / 1e12:.4g}", words(seconds)))
    print_rows(rows, right={2, 3})
    seconds = expected(cells, costs, machine, max(1, count))
    kinds = Counter(cell.kind for cell in cells.cells.values())
    print(f"\n{len(cells.cells)} parts: {', '.join(f'{n} {kind}' for kind, n in kinds.items())}")
    print(f"{total.arithmetic / 1e15:.3g} PFLOP in matrix products and convolutions")
    processes = f"{count} worker processes" if count > 1 else "one process"
    print(f"about {words(seconds)} on {where}, {processes}; other programs make it longer")
    print(f"speeds: {known.source}")
    ways = _shorter(spec, where, study)
    if seconds > DAY and ways:
        print(f"more than a day here: {', or '.join(ways)}")
    return 0


def _shorter(spec: Study, where: torch.device, study: str) -> list[str]:
    """Returns what would make a run shorter, as far as this study and this machine have it."""
    scales = scales_of(study)
    ways = [f"a smaller scale (--scale {LAPTOP})"] if LAPTOP in scales and spec.scale != LAPTOP else []
    if where.type != "cuda":
        ways.append("--device cuda where there is a GPU")
    return ways


def studies(device: str) -> int:
    """Prints the named studies, at every scale."""
    where = pick_device(device)
    machine = known_speeds(where).machine
    rows = [("study", "scale", "figure", "time here", "what it shows")]
    for name in named_studies():
        for scale in scales_of(name) or [None]:
            spec = load_study(name, scale=scale)
            try:
                family = FAMILIES[spec.kind]
                seconds = expected(family.plan(spec), family.cost(spec), machine, max(1, default_workers(where)))
                time = words(seconds)
            except UsageError:
                time = "data missing"  # `infoplane data` says what to do about that
            rows.append((name, scale or "-", spec.figure or "-", time, spec.title))
    print_rows(rows)
    print("\ninfoplane run STUDY --scale SCALE runs one; infoplane plan STUDY --scale SCALE says what it would do")
    return 0


def known_speeds(device: torch.device) -> Calibration:
    """This machine's speeds: those that `infoplane bench` has stored, else from a few jobs timed now."""
    if (known := stored(device)) is not None:
        return known
    print("timing a few small jobs, to see how fast this machine is", file=sys.stderr)
    return fresh(device)


def print_rows(rows: list[tuple[str, ...]], right: set[int] = frozenset()) -> None:  # pyright: ignore[reportArgumentType]
    """Prints rows in columns, some of them flush right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = (
            cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("  ".join(cells).rstrip())
