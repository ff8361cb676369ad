"""Cells that compute next to nothing, and what computes them."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from infoplane.engine.cell import Cell
from infoplane.engine.plan import Plan
from infoplane.engine.store import Result, Stored
from infoplane.engine.worker import Environment

RUNNER = "toy_cells:compute"


def compute(cell: Cell, needs: Mapping[str, Stored], environment: Environment) -> Result:
    """Adds one to the sum of what it needs; fails where it is told to, as long as a file is not there."""
    print("whatever a cell prints must not be taken for a report")
    if cell.params["fails"] and not Path(cell.params["fails"]).exists():
        raise ValueError("told to\nfail")
    environment.progress(1, 2, None)
    environment.progress(2, 2, None)
    total = 1 + sum(int(need.array("total")) for need in needs.values())
    return Result({"place": cell.params["place"]}, {"total": np.array(total)})


def plan_of(needs: Mapping[str, tuple[str, ...]], fails: str = "", without: Path | None = None) -> Plan:
    """Cells by what they need, each after those, as `plan.name("part", NAME)`; one `fails` `without` a file."""
    plan = Plan()
    for place, needed in needs.items():
        named = {each: plan.name("part", each) or "" for each in needed}
        params = {"place": place, "fails": str(without) if place == fails else ""}
        cell = Cell.named("part", params, named, label=place, code="c", arithmetic="a")
        plan.put(cell, ("part", place, 0, ""))
    return plan
