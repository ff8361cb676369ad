"""What a run has stored so far, and which cells are missing, damaged or failed; of noisy networks, also by role."""

from typing import Any, Self

import numpy as np

from infoplane.engine.plan import Plan
from infoplane.engine.store import Store, Stored
from infoplane.errors import CellError, UsageError
from infoplane.information.sample_propagation import NoisyEstimate
from infoplane.measurements.numbers import NETWORK, Number, Place


class Run:
    """The stored cells of a run.

    Args:
        spec: The study.
        plan: Its cells.
        store: Where they are; missing and damaged ones are left out.
    """

    def __init__(self, spec: Any, plan: Plan, store: Store) -> None:
        self.spec, self.plan, self.store = spec, plan, store
        self._loaded: dict[str, Stored | None] = {}

    @property
    def spots(self) -> list[Place]:
        """Everything that numbers are of, in the order of the table."""
        return []

    @property
    def runs(self) -> list[Self]:
        """The same of each network whose numbers are repetitions of each other's."""
        return [self]

    @property
    def order(self) -> tuple[str, ...]:
        """The checkpoints in training order; empty: as they come."""
        return ()

    def groups_of(self, part: str, first: int | None = None) -> np.ndarray | None:
        """The groups (n,) of the first examples of a part where some of them belong together, else None."""
        return None

    def noted(self, number: Number) -> Number:
        """A number with what must be said of all numbers of its place."""
        return number

    def stored(self, name: str | None) -> Stored | None:
        """The stored result of a cell, or None where it is missing or damaged, or has no name."""
        if name is None:
            return None
        if name not in self._loaded:  # one object per cell, looked for and checked once
            if not self.store.has(name):
                return None
            try:
                stored = self.store.load(name)
                stored.check()
            except CellError:
                stored = None
            self._loaded[name] = stored
        return self._loaded[name]

    def failures(self) -> dict[str, tuple[str, str]]:
        """Returns the name of every failed cell -> (message, traceback)."""
        found = ((name, self.store.failure(name)) for name in self.plan.cells)
        return {name: failure for name, failure in found if failure is not None}

    def misused(self) -> bool:
        """Whether every part that failed did so over what was asked of it, not over what went wrong meanwhile."""
        last = [traceback.rstrip().rpartition("\n")[2] for _, traceback in self.failures().values()]
        return bool(last) and all(line.startswith(f"{UsageError.__module__}.UsageError") for line in last)

    def damaged(self) -> list[str]:
        """Names of the cells whose files are not what was stored: they are left out, as if they were missing."""
        return [name for name in self.plan.cells if self.store.has(name) and self.stored(name) is None]

    def waiting(self) -> list[str]:
        """Names of the cells that are neither stored nor failed and need none that failed: a run that goes on."""
        damaged = set(self.damaged())
        return [name for name, stuck in self.unfinished().items() if not stuck and name not in damaged]

    def unfinished(self) -> dict[str, bool]:
        """Returns the name of every cell that is neither whole nor failed -> whether it needs one that failed."""
        failed, damaged = set(self.failures()), set(self.damaged())
        stuck, found = set(failed), {}
        for name, cell in self.plan.cells.items():  # each comes after those it needs
            if name in failed or (self.store.has(name) and name not in damaged):
                continue
            found[name] = not stuck.isdisjoint(cell.needs.values())
            stuck |= {name} if found[name] else set()
        return found


class Networks(Run):
    """What the cells of a study of noisy networks hold so far. A network's cells are filed under its name."""

    def __init__(self, spec: Any, plan: Plan, store: Store) -> None:
        super().__init__(spec, plan, store)
        self._propagated: dict[tuple[str, int], dict[int, list[NoisyEstimate]]] = {}

    def cell(self, kind: str, network: str = "", epoch: int | None = None, repeat: int = 0) -> Stored | None:
        """The stored result in that role, or None where it is missing or damaged."""
        return self.stored(self.plan.name(kind, network, repeat, "" if epoch is None else str(epoch)))

    @property
    def order(self) -> tuple[str, ...]:
        epochs = {epoch for network in self.spec.names for epoch in self.epochs(network)}
        return tuple(map(str, sorted(epochs)))

    @property
    def spots(self) -> list[Place]:
        """By network and epoch, the network itself and its layers."""
        return [
            Place(layer, str(epoch), network)
            for network in self.spec.names
            for epoch in self.epochs(network)
            for layer in (NETWORK, *self.layers(network))
        ]

    def epochs(self, network: str) -> list[int]:
        """The checkpoints of a network."""
        return list(self.spec.one(network).train.checkpoints or ())

    def layers(self, network: str) -> dict[str, int]:
        """Name of each hidden layer -> number of its units."""
        return {f"layer {index}": units for index, units in enumerate(self.spec.one(network).network.widths, 1)}

    def depth(self, place: Place) -> int:
        """Where a layer stands among the hidden ones, from 0."""
        return list(self.layers(place.network)).index(place.layer)

    @property
    def inputs(self) -> int | None:
        """m, the number of equally likely inputs; None where they are not loaded yet."""
        points = self.cell("points")
        return None if points is None else len(points.array("inputs"))

    def propagated(self, network: str, epoch: int) -> dict[int, list[NoisyEstimate]]:
        """Repeat -> I(X;T_l) of every layer, of the repeats that are finished."""
        if (network, epoch) not in self._propagated:
            repeats = range(1, self.spec.estimate.repeats + 1)
            cells = ((repeat, self.cell("flow", network, epoch, repeat)) for repeat in repeats)
            known = {repeat: each.values["layers"] for repeat, each in cells if each is not None}
            self._propagated[network, epoch] = {at: list(map(NoisyEstimate.of, layers)) for at, layers in known.items()}
        return self._propagated[network, epoch]
