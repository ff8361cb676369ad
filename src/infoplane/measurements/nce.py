"""The cross-entropy of q(x|h), its negative (NCE), and what q saves against a twin that saw nothing."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from infoplane.errors import in_networks
from infoplane.estimate import OF_TWIN, Estimate
from infoplane.information import compression, cross_entropy, usable_information
from infoplane.information.falls import FALL_WORDS
from infoplane.measurements.across import networks_apart
from infoplane.measurements.base import Row, Scores, is_of
from infoplane.measurements.compared import Compared, of_networks, readers_of, without
from infoplane.measurements.densities import OfDensities, flags_of_fits
from infoplane.measurements.numbers import Number, Place
from infoplane.measurements.truth import compared, known_of, where_of


class CrossEntropy(OfDensities):
    """CE(x|h), and CE(x) of the twins."""

    kind: ClassVar = "cross-entropy"
    name: ClassVar = "Cross-entropy CE(x|h)"
    meaning: ClassVar = (
        "What q needs to write down a held-out image when it is shown h: an upper bound on H(x|h), in expectation. The "
        "lower, the more of the image h fixes."
    )

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        found = cross_entropy(run.log_probs(place.layer, refits, place.checkpoint), groups=run.groups)
        return replace(found, flags=self.flags(run, place, refits))

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray | None:
        return -run.log_probs(place.layer, refits, place.checkpoint)

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        if number.estimate.bound == "upper" and (known := known_of(run, number, "entropy")) is not None:
            yield compared(where_of(number), number.estimate, known)


class Nce(CrossEntropy):
    """−CE(x|h) (Nash, Kushman & Williams 2019, eq. 9), its differences, and its fall from the peak to the end."""

    kind: ClassVar = "nce"
    name: ClassVar = "Negative cross-entropy (NCE)"
    meaning: ClassVar = (
        "How well the density q, shown a layer h, foresees held-out images: the mean of log q(x|h). In expectation a "
        "lower bound on I(x;h) up to the constant H(x), which is the same for every layer of one data set; so its "
        "level says nothing and only comparisons on the same images do. A difference of two of them bounds nothing: "
        "it is the difference in what q could use."
    )
    head: ClassVar = "NCE"
    charts: ClassVar = ("rows", "tracks", "right")
    asked: ClassVar = "nce"
    across: ClassVar = frozenset({"layers", "checkpoints"})
    test: ClassVar = "fits"  # usable information against one twin differs by the same terms

    def scores(self, run: Any, place: Place) -> Scores:
        return run.scores(place.layer, place.checkpoint)

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        if self.asked not in run.spec.measure or is_of(place, "input"):
            return None
        # The same number with the other sign, and so with the same error: see `negative_cross_entropy`.
        found = super().estimate(run, place, refits)
        return found and replace(found, value=-found.value, kind="nce", bound="lower")

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray | None:
        return run.log_probs(place.layer, refits, place.checkpoint)

    def falls(self, run: Any) -> Iterator[Compared]:
        """How far the NCE of each layer falls from its peak to the end, over refits or, if there are any, networks."""
        several = len(run.runs) > 1
        for layer in run.spec.layers:
            points = [point for point in run.checkpoints if all(each.fits(layer, point) for each in run.runs)]
            shared = [each.common(*((layer, point) for point in points)) if points else [] for each in run.runs]
            # Without the end there is no fall to it.
            if len(points) < 2 or points[-1] != run.checkpoints[-1] or not all(shared):
                continue
            tables = [_curves(each, layer, points, refits) for each, refits in zip(run.runs, shared, strict=True)]
            held, scores = (
                np.stack([each.mean(1) for each in side], axis=1) if several else side[0]
                for side in zip(*tables, strict=True)
            )
            fall = compression(held, scores, seed=run.spec.seed, groups=run.groups)
            fits = [[[fit for _, fit in each.fits(layer, points[at])] for at in (fall.peak, -1)] for each in run.runs]
            flags = in_networks([[flag for own in ends for flag in flags_of_fits(own)] for ends in fits])
            peak, end = (Place(layer, points[at]) for at in (fall.peak, -1))
            where = {"layer": layer, "peak": peak.checkpoint, "end": end.checkpoint, "flags": "; ".join(flags)}
            where |= readers_of(run, self, peak=peak, end=end)
            where |= {key: value for key, value in vars(fall).items() if key != "peak"}
            hypothesis, words = fall.hypothesis, FALL_WORDS
            if several:
                where |= {"refits": min(map(len, shared)), "networks": len(run.runs)}
                hypothesis, words = of_networks(hypothesis), {verdict: without(own) for verdict, own in words.items()}
                # What fits of one seed share over networks is no part of the curves' own spread.
                apart = networks_apart(run, self, peak, end, run.groups)
                if apart is not None and hypothesis.p is not None:
                    where |= {"stderr": apart[0].stderr, "paired": apart[0].p_value}
                    hypothesis = replace(hypothesis, p=max(hypothesis.p, apart[0].p_value))
            yield Compared(where, hypothesis, words)


def _curves(run: Any, layer: str, points: list[str], refits: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """What q foresees of held-out images on average, (C, R), and of each evaluation image, (C, R, n)."""
    fits = [dict(run.fits(layer, point)) for point in points]
    held = np.array([[-own[refit].values["heldout_nats"] for refit in refits] for own in fits])
    return held, np.stack([run.log_probs(layer, refits, point) for point in points])


class Usable(OfDensities):
    """CE(x) − CE(x|h) (Xu et al. 2020)."""

    kind: ClassVar = "usable"
    name: ClassVar = "Usable information"
    meaning: ClassVar = (
        "CE(x) − CE(x|h): what q saves by seeing h, against a twin with the same training that saw zeros instead. Not "
        "a bound: it is a difference of two upper bounds (predictive V-information, Xu et al. 2020) and can exceed "
        "the true information."
    )
    charts: ClassVar = ("rows", "tracks", "right")
    asked: ClassVar = "usable"

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        layer, checkpoint, *_ = place
        if self.asked not in run.spec.measure or is_of(place, "input"):
            return None
        twin, paired = run.twins[layer], self._paired(run, place, refits)
        if not paired:
            return None
        own, other = run.log_probs(layer, paired, checkpoint), run.log_probs(twin, paired)
        found = usable_information(own, other, ceiling=run.ceiling(layer, checkpoint), groups=run.groups)
        of_twin = tuple(OF_TWIN + flag for flag in self.flags(run, Place(twin), paired))
        return replace(found, flags=(*found.flags, *self.flags(run, place, paired), *of_twin))

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray | None:
        twin, paired = run.twins[place.layer], self._paired(run, place, refits)
        return run.log_probs(place.layer, paired, place.checkpoint) - run.log_probs(twin, paired)

    def _paired(self, run: Any, place: Place, refits: list[int]) -> list[int]:
        """Those of which the twin is there too."""
        shared = run.common((place.layer, place.checkpoint), (run.twins[place.layer], ""))
        return [refit for refit in shared if refit in refits]

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        if (known := known_of(run, number, "information")) is not None:
            yield compared(where_of(number), number.estimate, known)


CROSS_ENTROPY, NCE, USABLE = CrossEntropy(), Nce(), Usable()
