"""The data, and how they are split."""

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Le
from pydantic import Field

from infoplane import data
from infoplane.data.split import PARTS
from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.errors import UsageError
from infoplane.measurements.cost import Costs
from infoplane.measurements.task import Task
from infoplane.settings import Settings


class DataSpec(Settings):
    """Which data, and how many examples serve which purpose.

    Attributes:
        name: Data set or path, as `infoplane.data.load` takes it.
        encoding, decoding, evaluation: Sizes of the three parts; null for the rest: at most once where all draw from
            the same examples, once for each of the official parts where the data set has them.
        subset: Use only so many examples, chosen by class at random, the same ones for every seed; null for all.
        downsample: Average squares of so many pixels a side into one; 1 leaves the images as they are.
        options: What that data set's loader accepts.
    """

    name: str
    subset: Annotated[int, Ge(8), Le(10**9)] | None = None
    downsample: Annotated[int, Ge(1), Le(10**4)] = 1
    encoding: Annotated[int, Ge(0), Le(10**9)] | None = None
    decoding: Annotated[int, Ge(2), Le(10**9)] | None = None
    evaluation: Annotated[int, Ge(2), Le(10**9)] | None = None
    options: dict[str, Any] = Field(default_factory=dict)

    def load(self) -> data.Dataset:
        """Returns the data set, whose notes are still to be said.

        Raises:
            UsageError: It cannot be had, or does not take these options.
        """
        return data.load(self._asked(), quiet=True, at="data.options.")

    def outline(self) -> data.Outline:
        """Returns what the data set holds, without its pixels; errors as those of `load`."""
        return data.outline(self._asked(), at="data.options.")

    def _asked(self) -> dict[str, Any]:
        shared = {"subset": self.subset} if self.subset is not None else {}
        shared |= {"downsample": self.downsample} if self.downsample > 1 else {}
        if "name" in self.options:  # which is no option, and would be another data set
            raise UsageError("unknown option data.options.name", received="'name'", mend="set data.name")
        return {"name": self.name, **self.options, **shared}


class Data(Kind):
    """The data, split three ways.

    Attributes:
        data: What is asked for.
        fingerprint: A hash of the data, whose file may change while its name stays.
    """

    kind: ClassVar[str] = "data"
    library: ClassVar[str] = "numpy"

    data: dict[str, Any]
    seed: int
    fingerprint: str = ""

    def run(self, task: Task) -> Result:
        return load_data(DataSpec.model_validate(self.data), self.seed)

    def size(self, costs: Costs) -> float:
        # The images, their labels and where they are in the split.
        return (math.prod(costs.shape) + 16.0) * sum(costs.sizes.values())


def load_data(spec: DataSpec, seed: int, study: str = "the study") -> Result:
    """The data set that a study asks for, with its split, as a cell's result; or UsageError."""
    dataset = spec.load()
    return split_data(dataset, sizes_of(spec, dataset, study), seed)


def sizes_of(spec: DataSpec, dataset: data.Dataset, study: str) -> dict[str, int | None]:
    """The sizes of the parts that a study, as messages call it, asks for, or UsageError where too many are left out."""
    sizes = {part: getattr(spec, part) for part in PARTS}
    for names, _ in dataset.sources():
        missing = [f"data.{part}" for part in names if sizes[part] is None]
        if len(missing) > 1:
            raise UsageError(
                f"{study}: sizes of the split are missing",
                received=", ".join(f"{key}: null" for key in missing),
                legal="data.encoding, data.decoding and data.evaluation: at least two must be given, or, where the "
                "data set has official parts, all but one of those that draw from the same; null is all that is left",
                mend=f"give {' and '.join(missing[1:])} a number of images, in the file or with --set",
            )
    return sizes


def split_data(dataset: data.Dataset, sizes: Mapping[str, int | None], seed: int) -> Result:
    """A data set with its split into parts of these sizes, as a cell's result; or UsageError where it has no such."""
    groups = data.group_images(dataset)
    found = parted(dataset, sizes, seed, groups, dataset.space)
    parts = {part: found.arrays[part] for part in PARTS}
    notes = [*data.describe(dataset, groups, parts, sizes), *dataset.notes]
    arrays = {**found.arrays, "images": dataset.images, "groups": groups}
    return Result({**found.values, "notes": notes}, arrays)


def parted(
    dataset: data.Dataset, sizes: Mapping[str, int | None], seed: int, groups: np.ndarray, space: data.Images
) -> Result:
    """The same without images, which may be others than the data set has: of this space, with these groups (N,)."""
    split = data.split(dataset, **{part: sizes[part] for part in PARTS}, seed=seed, groups=groups)
    arrays = {part: getattr(split, part) for part in PARTS}
    arrays |= {f"latent:{name}": latent for name, latent in dataset.latents.items()}
    arrays |= {} if dataset.labels is None else {"labels": dataset.labels}
    classes = dataset.classes if dataset.labels is not None else None
    return Result({"name": dataset.name, "classes": classes, **space.values()}, arrays)
