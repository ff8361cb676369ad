"""What each cell of a study costs, and when the last one would be done."""

from collections.abc import Iterable, Mapping
from functools import partial

from infoplane.data.space import Images
from infoplane.data.split import PARTS
from infoplane.engine.cell import Cell
from infoplane.engine.plan import Plan
from infoplane.engine.store import Result
from infoplane.measurements import settings_of
from infoplane.measurements.cost import FIXED, START_UP, Costs, keeping_words
from infoplane.measurements.counting import Work
from infoplane.measurements.keeping import kept_layers
from infoplane.measurements.machine import Machine
from infoplane.measurements.task import build_subject
from infoplane.study.check import contexts_of, outlined
from infoplane.study.plan import make_plan
from infoplane.study.spec import StudySpec


def cost_of(
    spec: StudySpec, plan: Plan | None = None, loaded: Result | None = None, *, images: int | None = None
) -> dict[str, Work]:
    """Returns the work of every cell of a study, by name.

    Args:
        plan: Its cells, if they were made already.
        loaded: Its data, if they were loaded and checked already.
        images: As if there were so many, divided over the parts of the split as those that there are.

    Raises:
        UsageError: The study cannot be run here, e.g. since its data are missing.
    """
    costs = _costs(spec, loaded, images)
    return {cell.name: costs.of(settings_of(cell)) for cell in (plan or make_plan(spec)).cells.values()}


def size_of(
    spec: StudySpec, plan: Plan, loaded: Result | None = None, *, images: int | None = None
) -> dict[str, float]:
    """Returns about how many bytes every cell of a study stores, by name; arguments as those of `cost_of`."""
    costs = _costs(spec, loaded, images)
    return {cell.name: costs.size(settings_of(cell)) for cell in plan.cells.values()}


def keeping_of(spec: StudySpec, loaded: Result | None = None, *, images: int | None = None) -> str | None:
    """Returns what is said beforehand of the activations that are kept; None where none are asked for."""
    if not spec.layers:
        return None
    costs = _costs(spec, loaded, images)
    examples = costs.sizes["decoding"] + costs.sizes["evaluation"]
    if "losses" in spec.measure:
        examples += min(spec.losses.images, costs.sizes["encoding"])
    shapes = {layer: costs.contexts[layer] for layer in spec.layers}
    return keeping_words(kept_layers(shapes, examples, len(spec.checkpoints)), spec.layers)


def _costs(spec: StudySpec, loaded: Result | None, images: int | None) -> Costs:
    loaded, contexts = outlined(spec) if loaded is None else (loaded, contexts_of(spec, loaded))
    sizes = {part: len(loaded.arrays[part]) for part in PARTS}
    if images is not None:
        sizes = {part: round(images * size / sum(sizes.values())) for part, size in sizes.items()}
    space, subject = Images.of_values(loaded.values), None
    if spec.subject is not None:
        subject = partial(build_subject, spec.subject.kind, dict(spec.subject.model_extra or {}), loaded.values)
    return Costs(space.shape, space.levels, sizes, contexts, subject)


def expected(plan: Plan, costs: Mapping[str, Work], machine: Machine, workers: int) -> float:
    """Returns the wall time in seconds of a plan of which nothing is done yet."""
    return finished(plan.cells.values(), seconds_of(costs, machine), workers)


def seconds_of(costs: Mapping[str, Work], machine: Machine) -> dict[str, float]:
    """Returns the time that each cell takes, in seconds."""
    return {name: machine.seconds(work) + FIXED for name, work in costs.items()}


def finished(
    cells: Iterable[Cell],
    seconds: Mapping[str, float],
    workers: int,
    *,
    running: Mapping[str, float] | None = None,
    start_up: float | None = None,
) -> float:
    """Returns after how many seconds the last cell is done.

    Cells begin in their order, as soon as what they need is there and a worker is free.

    Args:
        cells: What is to be done; other cells that they need are there, or running.
        running: Name -> seconds until it is done, of cells that have begun; each has a worker.
        start_up: Seconds until the workers are ready; default: as long as they take to start.
    """
    done: dict[str, float] = dict(running or {})
    start_up = START_UP if start_up is None else start_up
    cells = list(cells)
    # More workers than parts have nothing to do.
    free = sorted([*done.values(), *[start_up] * max(0, min(workers, len(done) + len(cells)) - len(done))])
    for cell in cells:
        free.sort()
        start = max([free[0], *(done.get(need, 0.0) for need in cell.needs.values())])
        done[cell.name] = free[0] = start + seconds[cell.name]
    return max(done.values(), default=0.0)
