"""Why a part would be computed that a run's folder does not hold: what tells it from what is stored there."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from infoplane.engine.cell import Cell, identity
from infoplane.engine.plan import PLAN_FILE, Plan, Role
from infoplane.engine.store import Store
from infoplane.errors import CellError
from infoplane.measurements import KINDS
from infoplane.settings import shown

#: most settings, modules or needs that one reason names
NAMED = 3


class Held:
    """What a run's folder holds of a study's parts.

    Args:
        folder: Of the run; it need not be there.

    Raises:
        UsageError: Its plan is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "cells")
        self.plan = Plan.load(folder) if (folder / "cells" / PLAN_FILE).exists() else None
        #: label -> the stored cells that say what they are
        self.alike: dict[str, list[Cell]] = {}
        for name in self.store.names():
            try:
                cell = self.store.load(name).cell
            except CellError:
                continue
            self.alike.setdefault(cell.label, []).append(cell)

    def missing(self, cell: Cell, role: Role) -> str | None:
        """Returns why a cell has to be computed, in a few words; None where it is stored and whole."""
        if self.store.has(cell.name):
            try:
                self.store.load(cell.name).check()
            except CellError:
                return "what is stored is damaged"
            return None
        if (failure := self.store.failure(cell.name)) is not None:
            return f"failed before: {failure[0]}"
        if others := self.alike.get(cell.label):
            return nearest((cell, other) for other in others)
        if self.plan is not None and cell.name in self.plan.cells:
            return "not computed yet"
        return self._new(role)

    def _new(self, role: Role) -> str:
        """What is new of a part that nothing stored is like."""
        kind, layer, refit, checkpoint, *network = role
        roles = [] if self.plan is None else [each for each in self.plan.roles if each[0] == kind]
        for what, own, others in (
            ("layer", layer, {each[1] for each in roles}),
            ("checkpoint", checkpoint, {each[3] for each in roles}),
            ("refit", refit, {each[2] for each in roles}),
            ("network", network, [[*each[4:]] for each in roles]),
        ):
            if roles and own and own not in others:
                return f"new: another {what}"
        return "new"


def nearest(pairs: Iterable[tuple[Cell, Cell]]) -> str:
    """Returns, of the pairs of cells that are most alike, what `reasons` says of them."""
    return min((reasons(*pair) for pair in pairs), key=lambda found: (found.count(";"), len(found), found))


def reasons(cell: Cell, other: Cell) -> str:
    """Returns what tells a cell from another, earlier one that does the same part of a study, in a few words."""
    found = []
    if cell.code != other.code:
        found.append(f"code changed{_listed(_modules(cell, other))}")
    if cell.arithmetic != other.arithmetic:
        found.append(f"arithmetic changed: {other.arithmetic} -> {cell.arithmetic}")
    settings = [*_changed(other.params, cell.params)]
    joint = KINDS[cell.kind].joint
    if joint and any(path.startswith(joint) for path in settings):
        # What one layer adds to a trunk moves what all others get from it.
        settings = [path for path in settings if not path.startswith(joint)]
        found.append(f"layers or checkpoints changed, and a {cell.kind} trains all of them together")
    if settings:
        found.append(f"settings changed{_listed(settings)}")
    both = sorted({*cell.needs, *other.needs})
    needs = [role for role in both if identity(cell.needs.get(role, "")) != identity(other.needs.get(role, ""))]
    if needs:
        found.append(f"needs changed{_listed(needs)}")
    return "; ".join(found) or "the same under another name"


def _modules(cell: Cell, other: Cell) -> list[str]:
    """The modules of which something else is run through, as far as both cells tell."""
    if not cell.modules or not other.modules:
        return []
    both = sorted({*cell.modules, *other.modules})
    return [name.removeprefix("infoplane.") for name in both if cell.modules.get(name) != other.modules.get(name)]


def _changed(there: Any, here: Any, path: str = "") -> Iterator[str]:
    """Yields what differs between plain values: where, what was there and what is here."""
    if isinstance(there, Mapping) and isinstance(here, Mapping):
        for key in (*there, *(key for key in here if key not in there)):
            inner = f"{path}.{key}" if path else str(key)
            if key in there and key in here:
                yield from _changed(there[key], here[key], inner)
            else:
                yield f"{inner} gone" if key in there else f"{inner} added"
    elif there != here:
        yield f"{path} {shown(there)} -> {shown(here)}"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f": {', '.join(names[:NAMED])}{more}" if names else ""
