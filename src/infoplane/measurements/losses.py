"""What is said of the fits themselves: their gap, and their losses on each part of the split."""

from typing import Any, ClassVar

import numpy as np

from infoplane.data import Images
from infoplane.data.split import PARTS
from infoplane.estimate import Estimate
from infoplane.information import count, crossed_mean
from infoplane.measurements.base import Row
from infoplane.measurements.densities import OfDensities
from infoplane.measurements.numbers import INPUT, Place


class Gap(OfDensities):
    """How much better a density knows its training images than others."""

    kind: ClassVar = "generalisation-gap"
    name: ClassVar = "Train/held-out gap"
    meaning: ClassVar = (
        "How much worse q does on held-out images than on those it was trained on. The larger, the looser are all "
        "numbers that q gives."
    )
    beside: ClassVar = True
    counted: ClassVar = "held-out images"

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray | None:
        return None

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        fitted = [stored.values for refit, stored in run.fits(place.layer, place.checkpoint) if refit in refits]
        gaps = [values["heldout_nats"] - values["train_nats"] for values in fitted]
        held = min(values["heldout_n"] for values in fitted)  # of each fit: an image may be held out of several
        mean = crossed_mean(np.array(gaps))
        stderr = mean.stderr if len(gaps) > 1 else None
        return Estimate(
            mean.value, stderr, kind=self.kind, n=held, refits=len(gaps), dof=mean.dof,
            flags=self.flags(run, place, refits),
        )  # fmt: skip


class Losses(OfDensities):
    """A table of each density's loss on the parts of the split, where it was followed; no number by itself."""

    kind: ClassVar = "losses"
    name: ClassVar = "Losses on each part"
    meaning: ClassVar = "The cross-entropy of a density on images of each part of the split."
    asked: ClassVar = "losses"

    def refits(self, run: Any, place: Place) -> list[int]:
        return []

    def tables(self, run: Any) -> dict[str, list[Row]]:
        """Per layer and checkpoint, nats on each part; bits per dimension are those of the evaluation part."""
        data = run.cell("data")
        if self.asked not in run.spec.measure or data is None:
            return {}
        found = []
        for layer, checkpoint in ((INPUT, ""), *run.places):
            stored = [fit for _, fit in run.fits(layer, checkpoint)]
            row: Row = {"layer": layer, "checkpoint": checkpoint, "refits": len(stored)}
            row |= {"read_through": run.through(layer, checkpoint)}
            for part in PARTS if stored else ():
                name = "log_probs" if part == "evaluation" else f"log_probs:{part}"
                scores = [fit.array(name) for fit in stored if name in fit.names()]
                if scores:
                    own = run.groups_of(part, len(scores[0]))
                    mean = crossed_mean(-np.stack(scores), groups=own)
                    row |= {part: mean.value, f"{part}_stderr": mean.stderr, f"{part}_n": count(scores[0], own)}
            if "evaluation" in row:
                per_bit = Images.of_values(data.values).per_bit
                row["bits_per_dimension"] = row["evaluation"] / per_bit
                row["bits_per_dimension_stderr"] = row["evaluation_stderr"] / per_bit
                found.append(row)
        return {"losses": found}


GAP, LOSSES = Gap(), Losses()
