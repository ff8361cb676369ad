"""The contrastive bound: how much better q explains an image from its own layer than from those of others."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from infoplane.engine.store import Stored
from infoplane.errors import plural
from infoplane.estimate import Estimate
from infoplane.information import contrastive_bound, crossed_mean, one_of_each
from infoplane.information.contrastive import LEAST_BATCHES, LEAST_IMAGES, lowered_words
from infoplane.measurements.base import Row, is_of
from infoplane.measurements.densities import OfDensities
from infoplane.measurements.numbers import Number, Place
from infoplane.measurements.truth import beside_truth, compared, known_of, where_of


class Contrastive(OfDensities):
    """The bound over batches of candidates."""

    kind: ClassVar = "contrastive"
    name: ClassVar = "Contrastive bound"
    meaning: ClassVar = (
        "How much better q explains an image from its own h than from a mixture over K of them. In expectation a lower "
        "bound on I(x;h) that can never exceed log K: close to that ceiling it is saturated, and says only “at least "
        "this much”. Its error is taken over batches."
    )
    charts: ClassVar = ("rows",)
    counted: ClassVar = "batches"
    ceiling: ClassVar = "candidates"
    asked: ClassVar = "contrastive"

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        own = self._scored(run, place, refits)
        if not own or is_of(place, "input") or self.kind in run.once("left_out"):
            return None
        candidates = next(iter(own.values())).values["candidates"]
        found = contrastive_bound(self.terms(run, place, refits), candidates)
        flags = (*_lowered(run, candidates), *self.flags(run, place, [*own]))
        return replace(found, flags=(*found.flags, *flags))

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray:
        return np.stack([stored.array("contrastive") for stored in self._scored(run, place, refits).values()])

    def _scored(self, run: Any, place: Place, refits: list[int]) -> dict[int, Stored]:
        """Those of the fits for which batches were scored."""
        fits = run.fits(place.layer, place.checkpoint)
        return {refit: stored for refit, stored in fits if refit in refits and "contrastive" in stored.names()}

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        """What it bounds, and what the true density gives on the same draws."""
        if (known := known_of(run, number, "information")) is not None:
            where, truth, name = where_of(number), run.cell("truth"), f"contrastive:{number.place.layer}"
            yield compared(where, number.estimate, known)
            if name in truth.names():
                yield beside_truth(where, number.estimate, crossed_mean(truth.array(name)))

    def absent(self, run: Any) -> str:
        data = run.cell("data")
        if self.asked not in run.spec.measure or data is None:
            return ""
        distinct, images = _distinct(run, data)
        if distinct < LEAST_IMAGES:
            copies = f" ({images:,} with those that belong together)" if distinct < images else ""
            least = f"{LEAST_IMAGES} are needed for {LEAST_BATCHES} batches, without which its error is not known"
            return f"{plural(distinct, 'evaluation image')}{copies}: {least}"
        return ""


def _distinct(run: Any, data: Any) -> tuple[int, int]:
    """How many groups the evaluation images are of, and how many images there are."""
    images = len(data.array("evaluation"))
    return len(one_of_each(run.groups, images)), images


def _lowered(run: Any, candidates: int) -> tuple[str, ...]:
    """What must be said of a bound with fewer candidates, or of fewer images, than one would think."""
    data, asked = run.cell("data"), run.spec.contrastive.candidates
    if data is None:
        return ()
    distinct, images = _distinct(run, data)
    flags = ()
    if candidates < asked:
        flags += (lowered_words(candidates, asked, distinct),)
    if distinct < images:
        flags += (f"of one image of each of {plural(distinct, 'group')}, not of all {images:,} images",)
    return flags


CONTRASTIVE = Contrastive()
