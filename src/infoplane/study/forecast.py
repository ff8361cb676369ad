"""What each cell of a study costs, and how long that takes."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from infoplane.data.space import Images
from infoplane.data.split import PARTS
from infoplane.engine.plan import Plan
from infoplane.engine.store import Result
from infoplane.measurements import as_kind
from infoplane.measurements.cost import Costs
from infoplane.measurements.counting import Machine, Prices, Work
from infoplane.measurements.inputs import Capture, keeping_words
from infoplane.measurements.task import build_subject
from infoplane.study.check import contexts_of, outlined
from infoplane.study.spec import StudySpec

#: seconds of a cell apart from its passes: reading, splitting, writing
FIXED = 0.1


def costs_of(spec: StudySpec, loaded: Result | None = None, *, images: int | None = None) -> Costs:
    """Returns what cells of a study cost.

    Args:
        loaded: Its data, if they were loaded and checked already.
        images: As if there were so many, divided over the parts of the split as those that there are.

    Raises:
        UsageError: The study cannot be run here, e.g. since its data are missing.
    """
    loaded = outlined(spec) if loaded is None else loaded
    contexts = contexts_of(spec, loaded)
    sizes = {part: len(loaded.arrays[part]) for part in PARTS}
    if images is not None:
        sizes = {part: round(images * size / sum(sizes.values())) for part, size in sizes.items()}
    space, subject = Images.of_values(loaded.values), None
    if spec.subject is not None:
        subject = partial(build_subject, spec.subject.kind, dict(spec.subject.model_extra or {}), loaded.values)
    return Costs(space.shape, space.levels, sizes, contexts, subject)


def work_of(plan: Plan, costs: Prices) -> dict[str, Work]:
    """Returns the work of every cell, by name."""
    return {cell.name: costs.of(as_kind(cell)) for cell in plan.cells.values()}


def keeping_of(plan: Plan, costs: Any) -> str | None:
    """Returns what is said beforehand of the activations that are kept; None where none are asked for."""
    captures = (kind for kind in map(as_kind, plan.cells.values()) if isinstance(kind, Capture))
    return next((keeping_words(kind.kept(costs), kind.layers) for kind in captures), None)


def seconds_of(costs: Mapping[str, Work], machine: Machine) -> dict[str, float]:
    """Returns the time that each cell takes, in seconds."""
    return {name: machine.seconds(work) + FIXED for name, work in costs.items()}
