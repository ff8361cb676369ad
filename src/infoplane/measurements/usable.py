"""Usable information: what q saves by seeing a layer, against a twin that saw nothing."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from infoplane.estimate import OF_TWIN, Estimate
from infoplane.information import usable_information
from infoplane.measurements.base import Row, is_of
from infoplane.measurements.densities import OfDensities
from infoplane.measurements.numbers import Number, Place
from infoplane.measurements.truth import compared, known_of, where_of


class Usable(OfDensities):
    """CE(x) − CE(x|h) (Xu et al. 2020)."""

    kind: ClassVar = "usable"
    name: ClassVar = "Usable information"
    meaning: ClassVar = (
        "CE(x) − CE(x|h): what q saves by seeing h, against a twin with the same training that saw zeros instead. Not "
        "a bound: it is a difference of two upper bounds (predictive V-information, Xu et al. 2020) and can exceed "
        "the true information."
    )
    said: ClassVar = "usable"
    bounds: ClassVar = "usable information bounds nothing"
    charts: ClassVar = ("rows", "tracks", "right")
    asked: ClassVar = "usable"

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        layer, checkpoint, *_ = place
        if self.asked not in run.spec.measure or is_of(place, "input"):
            return None
        twin = run.twins[layer]
        paired = [refit for refit in run.common((layer, checkpoint), (twin, "")) if refit in refits]
        if not paired:
            return None
        found = usable_information(
            run.log_probs(layer, paired, checkpoint),
            run.log_probs(twin, paired),
            ceiling=run.ceiling(layer, checkpoint),
            groups=run.groups,
        )
        of_twin = tuple(OF_TWIN + flag for flag in self.flags(run, Place(twin), paired))
        return replace(found, flags=(*found.flags, *self.flags(run, place, paired), *of_twin))

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray | None:
        layer, checkpoint, *_ = place
        paired = [refit for refit in run.common((layer, checkpoint), (run.twins[layer], "")) if refit in refits]
        return run.log_probs(layer, paired, checkpoint) - run.log_probs(run.twins[layer], paired)

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        if (known := known_of(run, number, "information")) is not None:
            yield compared(where_of(number), number.estimate, known)


USABLE = Usable()
