"""From stored cells to tidy results, whatever was measured: one row per number, the same bytes for the same seed."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from infoplane.measurements import MEASUREMENTS
from infoplane.measurements.across import checkpoint_changes, layer_differences
from infoplane.measurements.base import Measurement, Row
from infoplane.measurements.compared import with_verdicts
from infoplane.measurements.label import label_entropy
from infoplane.measurements.layers import Layers
from infoplane.measurements.numbers import Number, Numbers, Place
from infoplane.measurements.run import Networks, Run
from infoplane.study.tables import COLUMNS, tidy, write_table


class RunResults(Run):
    """What a run has measured so far."""

    #: column of results.csv -> its type
    columns: ClassVar[Mapping[str, Any]] = COLUMNS
    #: the table that holds falls from a peak
    falling: ClassVar[str] = "compression"

    #: over how many tests the verdicts of the tables that are in the run's folder were corrected, and those before
    corrected: tuple[int, int | None] = (0, None)

    @cached_property
    def _said(self) -> dict[str, Any]:
        return {}

    @property
    def measurements(self) -> Sequence[Measurement]:
        """What may be measured of such a study, in the order of columns and rows."""
        return [*MEASUREMENTS[self.spec.kind].values()]

    def once(self, what: str) -> Any:
        """Returns what a method of that name returns, computed once: page and tables ask for the same."""
        if what not in self._said:
            self._said[what] = getattr(self, what)()
        return self._said[what]

    # --- numbers ---

    @cached_property
    def numbers(self) -> Numbers:
        """All numbers so far, in the order of the rows."""
        return Numbers(self._found(), self.order)

    def _found(self) -> list[Number]:
        found = []
        for place in self.spots:
            if len(self.runs) > 1 and place.checkpoint:
                found += [each for m in self.measurements if (each := m.over_networks(self, place)) is not None]
                for number, run in enumerate(self.runs, 1):
                    found += [each._replace(place=place._replace(network=str(number))) for each in run.at(place)]
            else:
                found += self.at(place)
        return [self.noted(number) for number in found]

    def at(self, place: Place) -> list[Number]:
        """The numbers of one network at a place."""
        own = [(each, number) for each in self.measurements for number in each.numbers(self, place)]
        # First those of independent fits, all of these together and then one by one.
        fitted = [number for each, number in own if each.fitted]
        labels = dict.fromkeys(number.refit for number in fitted)
        found = [number for label in labels for number in fitted if number.refit == label]
        return found + [number for each, number in own if not each.fitted]

    def rows(self) -> list[Row]:
        """Returns one tidy row per number; keys as `columns`."""
        return [self.row(number) for number in self.numbers]

    def row(self, number: Number) -> Row:
        """Returns the row of a number."""
        (layer, checkpoint, *_), refit, estimate = number
        return tidy(self.spec, layer, checkpoint, refit, estimate)

    def left_out(self) -> dict[str, str]:
        """Returns kind of number -> why it is not given, of those that were asked for and cannot be had."""
        found = {each.kind: each.absent(self) for each in self.measurements}
        return {kind: why for kind, why in found.items() if why}

    # --- what may be claimed ---

    def differences(self) -> list[Row]:
        """Returns the paired differences of neighbouring layers, and of the first and last, per checkpoint."""
        return self._settled["differences"]

    def changes(self) -> list[Row]:
        """Returns what changes of each number from checkpoint to checkpoint, and from each to the last.

        Paired by example and, where there are any, by refit; positive where the number rises.
        """
        return self._settled["changes"]

    def falls(self) -> list[Row]:
        """Returns how far numbers fall from their peak to the end, and what chance would show."""
        return self._settled[self.falling]

    @cached_property
    def _settled(self) -> dict[str, list[Row]]:
        """The tables with verdicts, which are corrected for all that is tested in them."""
        found: dict[str, list[Any]] = {"differences": [], "changes": [], self.falling: []}
        for each in self.measurements:
            found["differences"] += layer_differences(self, each)
            found["changes"] += checkpoint_changes(self, each)
            found[self.falling] += each.falls(self)
        return with_verdicts(found)

    @property
    def tests(self) -> int:
        """How many hypotheses the verdicts of the tables are corrected for."""
        return max((row["tests"] for rows in self._settled.values() for row in rows), default=0)

    @property
    def tests_before(self) -> int | None:
        """How many they were corrected for when the run was last reported, before it grew; None where it did not."""
        last, earlier = self.corrected
        return earlier if self.tests == last else last or None

    def truths(self) -> list[Row] | None:
        """Returns what was measured beside what is known, or None where nothing is known."""
        by_kind = MEASUREMENTS[self.spec.kind]
        found = [line for number in self.numbers for line in by_kind[number.estimate.kind].truths(self, number)]
        return found or None

    # --- tables ---

    def tables(self) -> dict[str, list[Row]]:
        """Returns the tables that a run's folder holds beside its results: name -> rows, where there are any."""
        found = {"differences": self.differences(), "truths": self.once("truths") or [], **self._settled}
        for each in self.measurements:
            found |= each.tables(self)
        return {name: rows for name, rows in found.items() if rows}

    def losses(self) -> list[Row]:
        """Returns each density's loss on the parts of the split, where it was followed."""
        return self.once("tables").get("losses", [])

    def files(self) -> dict[str, list[Row]]:
        """Returns the tables as they are written: where the run grew, with how many tests there were before."""
        before = self.tests_before
        return {
            name: [row | {"tests_before": before} if before and "tests" in row else row for row in rows]
            for name, rows in self.once("tables").items()
        }

    def write(self, folder: Path) -> None:
        """Writes results.csv and results.parquet."""
        write_table(pl.DataFrame(self.once("rows"), schema=dict(self.columns)), folder, "results")


class Results(Layers, RunResults):
    """What a study of inversion has measured so far."""

    @property
    def columns(self) -> Mapping[str, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Where there are several networks, of which one and of how many a number is: of all together where none."""
        own = {"network": pl.String, "networks": pl.Int64} if len(self.runs) > 1 else {}
        return {**COLUMNS, "read_through": pl.String, **own}

    def row(self, number: Number) -> Row:
        estimate, network = number.estimate, number.place.network or None
        own = {"network": network, "networks": estimate.networks} if len(self.runs) > 1 else {}
        return super().row(number) | {"read_through": estimate.read_through, **own}

    def label_entropy(self) -> str:
        """Which H(y) label information is from, where that is not plain or moves the numbers; else nothing."""
        return label_entropy(self, self.numbers.all)


class NoisyResults(Networks, RunResults):
    """What a study of noisy networks has measured so far."""

    #: network: its name; bin: bin size of a binned entropy; inputs: number of equally likely inputs; lower, upper: what
    #: I(X;T) lies between, whatever the number of samples, give or take two errors by chance
    columns: ClassVar[Mapping[str, Any]] = {
        **{name: kind for name, kind in COLUMNS.items() if name != "dof"},
        "network": pl.String,
        "bin": pl.Float64,
        "inputs": pl.Int64,
        "lower": pl.Float64,
        "upper": pl.Float64,
        "dof": pl.Float64,
    }
    falling: ClassVar[str] = "differences"

    def row(self, number: Number) -> Row:
        bounds = getattr(number.estimate, "bounds", None) or (None, None)
        own = {"network": number.place.network, "bin": number.place.setting, "inputs": self.inputs}
        return super().row(number) | own | dict(zip(("lower", "upper"), bounds, strict=True))
