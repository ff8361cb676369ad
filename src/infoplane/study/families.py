"""The families of studies: what each says of itself, how it is planned, what comes of it and what it costs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infoplane.capture import seeded
from infoplane.engine.cell import Cell
from infoplane.engine.plan import Plan
from infoplane.engine.store import Result, Stored
from infoplane.engine.worker import Environment
from infoplane.measurements import as_kind
from infoplane.measurements.counting import Prices
from infoplane.measurements.task import Task
from infoplane.study.base import Study
from infoplane.study.check import check, outlined
from infoplane.study.forecast import costs_of
from infoplane.study.noisy_spec import NoisySpec, load_points, noisy_costs
from infoplane.study.plan import make_noisy_plan, make_plan
from infoplane.study.results import NoisyResults, Results, RunResults
from infoplane.study.spec import StudySpec


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        spec: Its settings.
        source: Kind of the cell that holds the data.
        check: Settings -> the result of that cell; raises UsageError for whatever can be found
            wrong before anything is computed.
        plan: (settings, origin, device) -> cells, see `make_plan`.
        results: (settings, plan, store) -> what has been measured.
        costs: (settings, data) -> what its cells cost, see `costs_of`.
        outline: As `check`, without images, where these would have to be decoded: what a cost needs; None where a study
            has no images.
    """

    spec: type[Study]
    source: str
    check: Callable[[Any], Result]
    plan: Callable[..., Plan]
    results: Callable[..., RunResults]
    costs: Callable[..., Prices]
    outline: Callable[[Any], Result] | None = None


#: the family of a study that names none
DEFAULT = "inversion"

FAMILIES: dict[str, Family] = {
    DEFAULT: Family(StudySpec, "data", check, make_plan, Results, costs_of, outlined),
    "flow": Family(NoisySpec, "points", load_points, make_noisy_plan, NoisyResults, noisy_costs),
}

#: what a worker process computes cells with
RUNNER = f"{__name__}:compute"


def compute(cell: Cell, needs: Mapping[str, Stored], environment: Environment) -> Result:
    """Computes a cell. A network that draws at random does so by the study's seed and the refit's, whatever the
    caller's is."""
    with seeded(cell.params.get("seed", 0)):
        return as_kind(cell).run(Task(needs, environment))
