"""What each cell of a study costs, and when the last one would be done."""

from collections.abc import Mapping
from functools import partial

from infoplane.data.split import PARTS
from infoplane.study.cells import build_subject
from infoplane.study.check import check
from infoplane.study.cost import FIXED, START_UP, Costs, Machine, Work
from infoplane.study.plan import Plan, make_plan
from infoplane.study.spec import StudySpec


def cost_of(spec: StudySpec) -> dict[str, Work]:
    """Returns the work of every cell of a study, by name.

    Raises:
        UsageError: The study cannot be run here, e.g. since its data are missing.
    """
    loaded, contexts = check(spec)
    sizes = {part: len(loaded.arrays[part]) for part in PARTS}
    subject = None
    if spec.subject is not None:
        subject = partial(build_subject, spec.subject.kind, dict(spec.subject.model_extra or {}), loaded.values)
    costs = Costs(tuple(loaded.values["shape"]), loaded.values["levels"], sizes, contexts, subject)
    return {cell.name: costs.of(cell.kind, cell.params) for cell in make_plan(spec).cells.values()}


def expected(plan: Plan, costs: Mapping[str, Work], machine: Machine, workers: int) -> float:
    """Returns the wall time in seconds of a plan.

    Cells begin in the plan's order, as soon as what they need is there and a worker is free.
    """
    done: dict[str, float] = {}
    free = [START_UP] * workers
    for cell in plan.cells.values():
        free.sort()
        start = max([free[0], *(done[need] for need in cell.needs.values())])
        done[cell.name] = free[0] = start + machine.seconds(costs[cell.name]) + FIXED
    return max(done.values())
