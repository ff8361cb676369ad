"""What there is to do: cells, each after those that it needs, and the roles that they have in what they are of."""

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infoplane.engine.cell import Cell
from infoplane.engine.kind import Kind
from infoplane.errors import UsageError
from infoplane.files import read_text

PLAN_FILE = "plan.json"

#: most cells of a plan: far more than anybody's, few enough to be listed
MOST_CELLS = 100_000

#: (kind, layer, refit, checkpoint); "" and 0 where there is none; of the second of several networks on, also which
Role = tuple[str, str, int, str, *tuple[str, ...]]


class Plan:
    """Cells, in an order in which every cell comes after those it needs.

    Attributes:
        cells: Name -> cell.
        roles: Role -> name.
    """

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.roles: dict[Role, str] = {}

    def put(self, cell: Cell, role: Role) -> str:
        """Adds a cell in a role, after those that it needs, and returns its name.

        Raises:
            UsageError: There are too many.
        """
        assert {*cell.needs.values()} <= self.cells.keys(), f"{cell.name} needs what is not planned"
        self.cells[cell.name] = cell
        if len(self.cells) > MOST_CELLS:
            raise UsageError(
                "a study of too many parts",
                received=f"more than {MOST_CELLS:,}",
                legal=f"at most {MOST_CELLS:,}",
                mend="fewer refits, layers or checkpoints, or several studies",
            )
        self.roles[role] = cell.name
        return cell.name

    def name(self, kind: str, layer: str = "", refit: int = 0, checkpoint: str = "", network: str = "") -> str | None:
        """The name of the cell in that role, or None."""
        return self.roles.get((kind, layer, refit, checkpoint, *filter(None, (network,))))

    @classmethod
    def load(cls, folder: Path) -> "Plan":
        """Returns the plan kept in a run's folder: its names stay valid when the program changes.

        Raises:
            UsageError: It cannot be read.
        """
        plan = Plan()
        with read_plan(folder) as content:
            code, cells = content["code"], content["cells"]
            plan.cells = {name: Cell(**cell, modules=code[cell["code"]]) for name, cell in cells.items()}
            plan.roles = {(kind, layer, refit, *of): name for kind, layer, refit, *of, name in content["roles"]}
        return plan

    def to_json(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """The plan as JSON, with a checksum of it.

        Args:
            about: What else it says, of what it is the plan.
        """
        cells = {name: cell.to_json() for name, cell in self.cells.items()}
        # Many cells run through the same code.
        code = {cell["code"]: cell.pop("modules") for cell in cells.values()}
        content = {**about, "cells": cells, "code": code}
        content["roles"] = [[*role, name] for role, name in self.roles.items()]
        return {**content, "sum": _sum(content)}


class Draft(Plan):
    """A plan in the making, which names its cells by what their code means, and the device: its digits are its own.

    Args:
        code_of: Cell's kind -> a hash of what its code means, and of each module that it runs through.
        device: That computes: "cpu", or a GPU's name.
        usual: The checkpoint that names leave out.
    """

    def __init__(self, code_of: Callable[[Kind], tuple[str, Mapping[str, str]]], device: str, usual: str = "") -> None:
        super().__init__()
        self._code_of, self._usual = code_of, usual
        self._torch = f"torch {importlib.metadata.version('torch')} on {device}"

    def add(
        self,
        kind: Kind,
        needs: Mapping[str, str],
        *,
        layer: str = "",
        refit: int = 0,
        checkpoint: str = "",
        network: str = "",
    ) -> str:
        """Adds a cell in a role and returns its name."""
        library = kind.library
        arithmetic = self._torch if library == "torch" else f"{library} {importlib.metadata.version(library)}"
        at = "" if checkpoint in ("", self._usual) else f"at{checkpoint}"
        of, again = f"net{network}" if network else "", f"r{refit}" if refit else ""
        short = re.sub(r"[^A-Za-z0-9._]+", "_", layer)[:40]
        label = "-".join(part for part in (short, of, at, again) if part)
        code, modules = self._code_of(kind)
        # A setting that a later version adds, at its default, renames nothing.
        params, keeps = kind.model_dump(mode="json", exclude_defaults=True), kind.keeps
        made_by = {"code": code, "arithmetic": arithmetic, "modules": modules}
        cell = Cell.named(kind.kind, params, needs, label=label, keeps=keeps, **made_by)
        role = (kind.kind, layer, refit, checkpoint)
        return self.put(cell, (*role, network) if network else role)


@contextmanager
def read_plan(folder: Path) -> Iterator[Any]:
    """The content of the plan in a run's folder; whatever is wrong with it becomes a UsageError."""
    path = folder / "cells" / PLAN_FILE
    try:
        content = json.loads(read_text(path))
        if content.pop("sum") != _sum(content):
            raise ValueError("edited")
        yield content
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        mend = "delete that file and run the same command again: it is written anew, and what is stored is kept"
        raise UsageError("the run's plan is damaged", received=path, mend=mend) from error


def _sum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
