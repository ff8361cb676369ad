"""What a thing measured is: how its numbers come from stored cells, and whatever is said of them.

A new one is a class in a file of its own, and a line in `infoplane.measurements`: its numbers are then rows of
results.csv, columns of the tables and charts of the page, compared and tested as it says. One that has cells of its own
says in `plan` which; the kinds of cells are classes too, see `infoplane.engine.kind`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np

from infoplane.engine.kind import Kind
from infoplane.engine.plan import Draft
from infoplane.errors import in_networks
from infoplane.estimate import Bound, Estimate, Unit
from infoplane.information import count, crossed_mean
from infoplane.information.crossed import mean_over_networks
from infoplane.measurements.compared import Compared, Row, Scores
from infoplane.measurements.numbers import ALL, INPUT, NETWORK, Number, Place

#: a chart that numbers may have: rows of layers ("rows"), lines through training ("tracks"), one of the two axes of
#: the information plane
Chart = Literal["rows", "tracks", "right", "up"]


@dataclass(frozen=True)
class Source:
    """Where contexts come from: a layer at a checkpoint, or a latent, with the cells that hold its values.

    Attributes:
        read: What `OfLayer` has beside a layer.
        network: Of several networks from the second on, which.
    """

    layer: str
    checkpoint: str
    needs: Mapping[str, str]
    read: Mapping[str, str] = field(default_factory=dict)
    network: str = ""

    @property
    def layer_fields(self) -> dict[str, Any]:
        """The fields of `OfLayer`."""
        return {"layer": None if self.layer == INPUT else self.layer, **self.read}

    def add(self, plan: Draft, kind: Kind, needs: Mapping[str, str] | None = None, refit: int = 0) -> str:
        """Adds a cell that needs what holds its values."""
        where = {"layer": self.layer, "checkpoint": self.checkpoint, "network": self.network}
        return plan.add(kind, {**self.needs, **(needs or {})}, refit=refit, **where)


@dataclass(frozen=True)
class Sources:
    """All that may be measured of a study.

    Attributes:
        data: Needs of what takes the data alone.
        layers: Latents, then layers by network and checkpoint.
        networks: Name -> needs of what takes a network under study too; "" is the first of those of other seeds.
    """

    data: Mapping[str, str]
    layers: Sequence[Source] = ()
    networks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


class Measurement:
    """A kind of number of a study.

    Attributes:
        kind: As in results.csv.
        name: Short.
        meaning: What it is, and which way it errs.
        head: Over its column of the page; default: the name.
        setting: What the setting is called that it is taken with, before its size; "" where there is none.
        fall: What its fall from a peak is called, and what that means; None where no fall is measured.
        unit, bound: Of its estimates.
        charts: Those that it has.
        beside: Whether it is about what was drawn, or about the fits themselves: they may have a table of their own.
        fitted: Whether it comes from fits that are independent of each other, each of which has a number of its own.
        counted: What its n counts.
        drawn: Its unit, where it is about samples of pictured images: these have one fit.
        ceiling: What the logarithm of is the most that it can be: the candidates of a batch, or the classes.
        asked: The word under `measure` that asks for it; "" for what comes with the others.
        with_fits: Whether it takes densities.
        of_network: Whether it is a number of the network itself, which has no refits.
        computed: Whether nothing is fitted for it, whatever it is of: its errors and tests are over images alone.
        across: What it is compared across, image by image; of studies of inversion.
        cells: The kinds of cells that it adds to a plan.
        family: The family of studies that it is of.
        test: Its comparisons are one test with those of equal terms that share this word; default: its kind.
    """

    kind: ClassVar[str]
    name: ClassVar[str]
    meaning: ClassVar[str]
    head: ClassVar[str] = ""
    setting: ClassVar[str] = ""
    fall: ClassVar[tuple[str, str] | None] = None
    unit: ClassVar[Unit] = "nats"
    bound: ClassVar[Bound | None] = None
    charts: ClassVar[tuple[Chart, ...]] = ()
    beside: ClassVar[bool] = False
    fitted: ClassVar[bool] = False
    counted: ClassVar[str] = "images"
    drawn: ClassVar[str] = ""
    ceiling: ClassVar[Literal["candidates", "classes"] | None] = None
    asked: ClassVar[str] = ""
    with_fits: ClassVar[bool] = False
    of_network: ClassVar[bool] = False
    computed: ClassVar[bool] = False
    across: ClassVar[frozenset[Literal["layers", "checkpoints"]]] = frozenset()
    cells: ClassVar[tuple[type[Kind], ...]] = ()
    family: ClassVar[str] = "inversion"
    test: ClassVar[str] = ""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        if unsaid := [each for each in ("kind", "name", "meaning") if not hasattr(cls, each)]:
            raise TypeError(f"{cls.__name__} is abstract: it does not say its {' and '.join(unsaid)}")
        return super().__new__(cls)

    @property
    def unfitted(self) -> bool:
        """Whether no fit is behind its numbers, so that they have no refits."""
        return self.of_network or self.computed

    # --- before a run ---

    def check_study(self, spec: Any) -> None:
        """Raises UsageError where it is asked for and such a study cannot have it, whatever its data are."""

    def check(self, spec: Any, data: Any, model: Any) -> None:
        """Raises UsageError where it is asked for and cannot be had of these data and this network."""

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        """Adds the cells that it needs to a plan, where it is asked for; those that others have added are there."""

    # --- after it ---

    def scores(self, run: Any, place: Place) -> Scores:
        """Refit -> what a number is the mean of, (n,), an entry for each example; empty where there is none yet."""
        return {}

    def refits(self, run: Any, place: Place) -> list[int]:
        """The refits that are there."""
        return list(self.scores(run, place))

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        """The number of these refits together: the mean of their scores, if nothing else is said."""
        own = self.terms(run, place, refits)
        assert own is not None
        groups = run.groups_of("evaluation", own.shape[1])
        mean, n = crossed_mean(own, groups=groups), count(own, groups)
        stderr = mean.stderr if n > 1 else None
        fits = len(refits) if self.fitted else 0 if self.unfitted else 1
        return Estimate(
            mean.value, stderr, self.unit, self.kind, self.bound, n, fits, dof=mean.dof,
            flags=self.flags(run, place, refits),
        )  # fmt: skip

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray | None:
        """What the number of these refits is the mean of, (R, n); None where it is no such mean."""
        scores = self.scores(run, place)
        return np.stack([scores[refit] for refit in refits]) if scores else None

    def over_networks(self, run: Any, place: Place) -> Number | None:
        """The mean over networks of other seeds; its error is over networks, refits and examples."""
        found: list[Estimate] = []
        tables: list[np.ndarray] = []
        known = [(each, refits) for each in run.runs if (refits := self.refits(each, place))]
        shared = set.intersection(*(set(refits) for _, refits in known)) if known else set()
        for each, there in known:
            # Where no refit is there of all, each network's own are one.
            refits = [refit for refit in there if refit in shared or not shared]
            if (estimate := self.estimate(each, place, refits)) is not None:
                terms = self.terms(each, place, refits)
                own = np.array([[estimate.value]]) if terms is None else terms
                found.append(self.as_read(each, place, estimate))
                tables.append(own if shared else own.mean(0, keepdims=True))
        if len(found) < 2:
            return None
        table = np.stack(tables)
        groups = run.groups_of("evaluation", table.shape[2]) if self.counted == "images" else None
        mean = mean_over_networks(table, groups=groups)
        flags = in_networks([each.flags for each in found])
        own = {"refits": min(each.refits for each in found), "networks": len(found), "flags": flags}
        own |= {"read_through": "; ".join(in_networks([filter(None, [each.read_through]) for each in found]))}
        return Number(place, ALL, replace(found[0], value=mean.value, stderr=mean.stderr, dof=mean.dof, **own))

    def flags(self, run: Any, place: Place, refits: Sequence[int]) -> tuple[str, ...]:
        """What must be said of the fits behind a number."""
        return ()

    def as_read(self, run: Any, place: Place, estimate: Estimate) -> Estimate:
        """A number of one network with what it was read with, and what that means for it."""
        return estimate

    def numbers(self, run: Any, place: Place) -> Iterator[Number]:
        """Yields the number of all refits at a place, then those of single ones, where there are several."""
        refits = self.refits(run, place)
        if not refits:
            return
        groups = [(ALL, refits)]
        if self.fitted and len(refits) > 1:
            groups += [(str(refit), [refit]) for refit in refits]
        for label, own in groups:
            if (estimate := self.estimate(run, place, own)) is not None:
                yield Number(place, label, self.as_read(run, place, estimate))

    def absent(self, run: Any) -> str:
        """Why it is not given, where it was asked for and cannot be had; else nothing."""
        return ""

    def tables(self, run: Any) -> dict[str, list[Row]]:
        """Tables of its own beside the results: name -> rows."""
        return {}

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        """Comparisons of one of its numbers with what is known."""
        return iter(())

    # --- comparisons ---

    def reader(self, run: Any, place: Place) -> str:
        """The other layer with whose density a layer's numbers are read; "" where they are read with its own."""
        return ""

    def one_density(self, run: Any, first: Place, second: Place) -> bool:
        """Whether two layers are read with one density, so that their numbers are the same."""
        return False

    def barred(self, run: Any, first: Place, second: Place) -> str:
        """Why nothing may be claimed of the difference of two layers, or ""."""
        return ""

    def amiss(self, run: Any, place: Place, refits: tuple[int, ...]) -> tuple[str, ...]:
        """What must stand beside a change that it is behind."""
        return ()

    def falls(self, run: Any) -> Iterator[Compared]:
        """What it falls by from its peak to the end of training."""
        return iter(())


def is_of(place: Place, *kinds: Literal["input", "layer", "network"]) -> bool:
    """Whether a place is p(x), a layer (or a latent), or the network as a whole."""
    return {INPUT: "input", NETWORK: "network"}.get(place.layer, "layer") in kinds
