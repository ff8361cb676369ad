"""The families of studies: what each says of itself, how it is planned, what comes of it and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infoplane.study.base import Study
from infoplane.study.check import check
from infoplane.study.cost import Work
from infoplane.study.forecast import cost_of
from infoplane.study.plan import Plan, make_plan
from infoplane.study.results import Results
from infoplane.study.run_results import RunResults
from infoplane.study.spec import StudySpec
from infoplane.study.store import Result


@dataclass(frozen=True)
class Family:
    """One family.

    Attributes:
        spec: Its settings.
        check: Settings -> the result of the cell that holds the data; raises UsageError for whatever can be found
            wrong before anything is computed.
        plan: (settings, fingerprint, device) -> cells, see `make_plan`.
        results: (settings, plan, store) -> what has been measured.
        cost: Settings -> work of every cell, by name.
    """

    spec: type[Study]
    check: Callable[[Any], Result]
    plan: Callable[..., Plan]
    results: Callable[..., RunResults[Any]]
    cost: Callable[[Any], dict[str, Work]]


#: the family of a study that names none
DEFAULT = "inversion"

FAMILIES: dict[str, Family] = {
    DEFAULT: Family(StudySpec, lambda spec: check(spec)[0], make_plan, Results, cost_of),
}
