"""A thing measured from stored cells alone, in one file: the mean norm of a layer's activations."""

from typing import ClassVar

import numpy as np

from infoplane.measurements.base import Measurement, is_of


class MeanNorm(Measurement):
    """E ‖h‖₂ over the evaluation images."""

    kind: ClassVar = "norm"
    name: ClassVar = "Mean norm"
    meaning: ClassVar = "The mean Euclidean norm of the layer's activations: no information, and no bound."
    unit: ClassVar = "activation"
    charts: ClassVar = ("rows", "tracks")
    asked: ClassVar = "norm"
    computed: ClassVar = True
    across: ClassVar = frozenset({"checkpoints"})

    def scores(self, run, place):
        capture = run.cell("capture", checkpoint=place.checkpoint) if is_of(place, "layer") else None
        if capture is None or f"evaluation:{place.layer}" not in capture.names():
            return {}
        h = capture.array(f"evaluation:{place.layer}")
        return {1: np.linalg.norm(h.reshape(len(h), -1), axis=1)}


#: the line that a package's entry point names
MEAN_NORM = MeanNorm()
