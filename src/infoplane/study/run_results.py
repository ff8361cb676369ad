"""From stored cells to tidy results, whatever was measured: one row per estimate, the same bytes for the same seed."""

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import polars as pl

from infoplane.engine.plan import Plan
from infoplane.engine.store import Store, Stored
from infoplane.errors import CellError, UsageError
from infoplane.estimate import Estimate
from infoplane.files import write_whole
from infoplane.measurements.numbers import Number, Numbers
from infoplane.study.base import Study

COLUMNS = {
    "study": pl.String,
    "layer": pl.String,
    "checkpoint": pl.String,
    "refit": pl.String,
    "kind": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "unit": pl.String,
    "direction": pl.String,
    "n": pl.Int64,
    "refits": pl.Int64,
    "flags": pl.String,
    "ceiling": pl.Float64,
    "dof": pl.Float64,
}

Spec = TypeVar("Spec", bound=Study)


class RunResults(ABC, Generic[Spec]):
    """What a run has measured so far.

    Args:
        spec: The study.
        plan: Its cells.
        store: Where they are; missing and damaged ones are left out.
    """

    def __init__(self, spec: Spec, plan: Plan, store: Store) -> None:
        self.spec, self.plan, self.store = spec, plan, store
        self._loaded: dict[str, Stored | None] = {}
        self._said: dict[str, Any] = {}
        #: over how many tests the verdicts of the tables that are in the run's folder were corrected, and those before
        self.corrected: tuple[int, int | None] = (0, None)

    #: column of results.csv -> its type
    columns: ClassVar[Mapping[str, Any]] = COLUMNS

    @abstractmethod
    def found(self) -> list[Number]:
        """Returns every number, in the order of the rows."""

    @property
    def order(self) -> Sequence[str]:
        """The checkpoints in training order; empty: as they come."""
        return ()

    @cached_property
    def numbers(self) -> Numbers:
        """All numbers so far."""
        return Numbers(self.once("found"), self.order)

    def rows(self) -> list[dict[str, Any]]:
        """Returns one tidy row per estimate; keys as `columns`."""
        return [self.row(number) for number in self.numbers]

    def row(self, number: Number) -> dict[str, Any]:
        """Returns the row of a number."""
        (layer, checkpoint, *_), refit, estimate = number
        return tidy(self.spec, layer, checkpoint, refit, estimate)

    @abstractmethod
    def differences(self) -> list[dict[str, Any]]:
        """Returns the differences that something may be claimed from."""

    @property
    def tests(self) -> int:
        """How many hypotheses the verdicts of the tables are corrected for."""
        return max((row.get("tests") or 0 for row in self.once("differences")), default=0)

    @property
    def tests_before(self) -> int | None:
        """How many they were corrected for when the run was last reported, before it grew; None where it did not."""
        last, earlier = self.corrected
        return earlier if self.tests == last else last or None

    def truths(self) -> list[dict[str, Any]] | None:
        """Returns what was measured beside what is known, or None where nothing is known."""
        return None

    def once(self, what: str) -> Any:
        """Returns what a method of that name returns, computed once: page and tables ask for the same."""
        if what not in self._said:
            self._said[what] = getattr(self, what)()
        return self._said[what]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Returns the tables that a run's folder holds beside its results: name -> rows, where there are any."""
        found = {"differences": self.once("differences"), "truths": self.once("truths") or []}
        return {name: rows for name, rows in found.items() if rows}

    def files(self) -> dict[str, list[dict[str, Any]]]:
        """Returns the tables as they are written: where the run grew, with how many tests there were before."""
        before = self.tests_before
        return {
            name: [row | {"tests_before": before} if before and "tests" in row else row for row in rows]
            for name, rows in self.tables().items()
        }

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

    def write(self, folder: Path) -> None:
        """Writes results.csv and results.parquet."""
        write_table(pl.DataFrame(self.once("rows"), schema=dict(self.columns)), folder, "results")


def tidy(study: Study, layer: str, checkpoint: str, refit: str, estimate: Estimate) -> dict[str, Any]:
    """Returns the row of an estimate; keys as `COLUMNS`."""
    return {
        "study": study.name,
        "layer": layer,
        "checkpoint": checkpoint,
        "refit": refit,
        "kind": estimate.kind,
        "value": estimate.value,
        "stderr": estimate.stderr,
        "unit": estimate.unit,
        "direction": estimate.direction,
        "n": estimate.n,
        "refits": estimate.refits,
        "flags": "; ".join(estimate.flags),
        "ceiling": estimate.ceiling,
        "dof": estimate.dof,
    }


def write_table(frame: pl.DataFrame, folder: Path, name: str) -> None:
    """Writes NAME.csv and NAME.parquet, each whole or not at all."""
    write_whole(folder / f"{name}.csv", frame.write_csv())
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_whole(folder / f"{name}.parquet", buffer.getvalue())
