"""A thing measured with a cell of its own: the participation ratio of a layer's covariance."""

from typing import ClassVar

import numpy as np

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.estimate import Estimate
from infoplane.measurements.base import Measurement, is_of


class Spectrum(Kind):
    """Eigenvalues of the covariance of a layer's activations on the evaluation part, the largest first."""

    kind: ClassVar[str] = "spectrum"
    library: ClassVar[str] = "numpy"

    layer: str

    def run(self, task):
        h = task.needs["capture"].array(f"evaluation:{self.layer}")
        h = h.reshape(len(h), -1).astype(np.float64)
        return Result({"n": len(h)}, {"eigenvalues": np.linalg.eigvalsh(np.cov(h.T))[::-1].copy()})


class Rank(Measurement):
    """(Σλ)² / Σλ², the effective number of directions in which activations vary."""

    kind: ClassVar = "rank"
    name: ClassVar = "Participation ratio"
    meaning: ClassVar = "The effective number of directions in which a layer's activations vary: no information."
    unit: ClassVar = "activation"
    charts: ClassVar = ("rows",)
    asked: ClassVar = "rank"
    computed: ClassVar = True
    cells: ClassVar = (Spectrum,)

    def plan(self, plan, spec, sources):
        for place in sources.layers:
            if "capture" in place.needs:
                place.add(plan, Spectrum(layer=place.layer))

    def refits(self, run, place):
        found = run.cell("spectrum", place.layer, 0, place.checkpoint) if is_of(place, "layer") else None
        return [] if found is None else [1]

    def estimate(self, run, place, refits):
        stored = run.cell("spectrum", place.layer, 0, place.checkpoint)
        values = stored.array("eigenvalues")
        return Estimate(
            float(values.sum() ** 2 / (values**2).sum()), None, self.unit, self.kind, n=stored.values["n"], refits=0
        )


RANK = Rank()
