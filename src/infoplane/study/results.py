"""From the stored cells of a study of inversion to its results."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import polars as pl

from infoplane.data.space import Images
from infoplane.data.split import PARTS
from infoplane.engine.store import Stored
from infoplane.errors import plural
from infoplane.estimate import OF_TWIN, Estimate
from infoplane.information import (
    accuracy,
    contrastive_bound,
    count,
    cross_entropy,
    crossed_mean,
    one_of_each,
    sample_variance,
    usable_information,
    whole_variance,
)
from infoplane.information.contrastive import LEAST_BATCHES, LEAST_IMAGES, lowered_words
from infoplane.information.label import falls_short, lacks
from infoplane.measurements.numbers import ALL, INPUT, Number, Place
from infoplane.study.comparisons import settled
from infoplane.study.measured import READERS, Measured
from infoplane.study.readings import flags_of
from infoplane.study.run_results import COLUMNS
from infoplane.study.training_flags import STILL_FELL, flags_of_fits, still_falling
from infoplane.study.truths import truths
from infoplane.study.verdicts import checkpoint_changes, falls_from_peaks, layer_differences

#: size of the two-sided test by which a density does worse than an even guess, and what is put down to arithmetic
UNLEARNT, ROUNDING = 0.05, 1e-5
#: by what share of an error a number must be off that this is said
WORTH_SAYING = 0.1


class Results(Measured):
    """What a study of inversion has measured so far."""

    columns: ClassVar[Mapping[str, Any]] = {**COLUMNS, "read_through": pl.String}

    def estimates(self) -> Iterator[tuple[str, str, str, Estimate]]:
        """Yields (layer, checkpoint, refit, estimate) in the order of the table.

        What activations depend on beside their image is a flag of every number of such a layer.
        """
        for layer, checkpoint, label, estimate in self._estimates():
            notes = self.notes(layer, checkpoint)
            yield layer, checkpoint, label, replace(estimate, flags=(*estimate.flags, *notes)) if notes else estimate

    def _estimates(self) -> Iterator[tuple[str, str, str, Estimate]]:
        for place in ((INPUT, ""), *self.places):
            layer, checkpoint = place
            if self.spec.layers and place in [(self.spec.layers[0], point) for point in self.checkpoints]:
                right = self._accuracy(checkpoint)
                if right is not None:
                    yield "", checkpoint, "all", right
                for estimate in self.of_labels("own", "", checkpoint):
                    yield "", checkpoint, "all", replace(estimate, refits=0)
            for refits, label in self._groups(layer, checkpoint):
                through = self.through(layer, checkpoint)
                for estimate in self._of_fits(layer, checkpoint, refits):
                    read = flags_of(estimate.kind, self.read_as(through or layer, checkpoint))
                    yield *place, label, replace(estimate, flags=(*estimate.flags, *read), read_through=through)
            if layer != INPUT:
                yield from ((*place, "all", estimate) for estimate in self._of_layer(layer, checkpoint))
            drawn, data = self.drawn(layer, checkpoint), self.cell("data")
            if drawn is not None and data is not None:
                levels, groups = Images.of_values(data.values).levels, self.groups_of("evaluation", len(drawn))
                whole = layer == INPUT
                found = whole_variance(drawn[0], levels) if whole else sample_variance(drawn, levels, groups=groups)
                yield (*place, "all", found)

    def _accuracy(self, checkpoint: str) -> Estimate | None:
        """The share of evaluation images that the network classifies as labelled, where it classifies them."""
        capture = self.cell("capture", checkpoint=checkpoint)
        if capture is None or "correct" not in capture.names():
            return None
        return accuracy(capture.array("correct"), groups=self.groups, chance=capture.values.get("chance"))

    def _groups(self, layer: str, checkpoint: str) -> Iterator[tuple[list[int], str]]:
        refits = [refit for refit, _ in self.fits(layer, checkpoint)]
        if refits:
            yield refits, "all"
        if len(refits) > 1:
            yield from (([refit], str(refit)) for refit in refits)

    def _of_fits(self, layer: str, checkpoint: str, refits: list[int]) -> Iterator[Estimate]:
        fits = [(refit, stored) for refit, stored in self.fits(layer, checkpoint) if refit in refits]
        scores = self.log_probs(layer, refits, checkpoint)
        measure, flags = self.spec.measure, self._of_densities(layer, checkpoint, refits)
        cross = replace(cross_entropy(scores, groups=self.groups), flags=flags)
        yield cross
        if layer != INPUT:
            if "nce" in measure:
                # The same number with the other sign, and so with the same error: see `negative_cross_entropy`.
                yield replace(cross, value=-cross.value, kind="nce", bound="lower")
            twin = self.twins[layer]
            paired = [refit for refit in self.common((layer, checkpoint), (twin, "")) if refit in refits]
            if "usable" in measure and paired:
                usable = usable_information(
                    self.log_probs(layer, paired, checkpoint),
                    self.log_probs(twin, paired),
                    ceiling=self.ceiling(layer, checkpoint),
                    groups=self.groups,
                )
                own = self._of_densities(layer, checkpoint, paired)
                own += tuple(OF_TWIN + flag for flag in self._of_densities(twin, "", paired))
                yield replace(usable, flags=(*usable.flags, *own))
            contrast = {refit: stored for refit, stored in fits if "contrastive" in stored.names()}
            if contrast and "contrastive" not in self.once("left_out"):
                batches = np.stack([stored.array("contrastive") for stored in contrast.values()])
                candidates = next(iter(contrast.values())).values["candidates"]
                bound = contrastive_bound(batches, candidates)
                own = (*self._lowered(candidates), *self._of_densities(layer, checkpoint, [*contrast]))
                yield replace(bound, flags=(*bound.flags, *own))
        fitted = [stored.values for _, stored in fits]
        gaps = [values["heldout_nats"] - values["train_nats"] for values in fitted]
        held = min(values["heldout_n"] for values in fitted)  # of each fit: an image may be held out of several
        mean = crossed_mean(np.array(gaps))
        stderr = mean.stderr if len(gaps) > 1 else None
        yield Estimate(
            mean.value, stderr, kind="generalisation-gap", n=held, refits=len(gaps), dof=mean.dof, flags=flags
        )
        truth = self.cell("truth")
        if truth is not None and f"log_probs:{layer}" in truth.names():
            excess = crossed_mean(truth.array(f"log_probs:{layer}") - scores, groups=self.groups)
            n = count(scores, self.groups)
            yield Estimate(
                excess.value, excess.stderr, kind="excess", n=n, refits=len(refits), dof=excess.dof, flags=flags
            )

    def _of_densities(self, layer: str, checkpoint: str, refits: list[int]) -> tuple[str, ...]:
        """What must be said of the densities that a layer is read with, of these refits, and so of all they give."""
        fits = [stored for refit, stored in self.fits(layer, checkpoint) if refit in refits]
        return flags_of_fits(fits) + self._unlearnt(self.log_probs(layer, refits, checkpoint))

    def left_out(self) -> dict[str, str]:
        """Returns kind of number -> why it is not given, of those that were asked for and cannot be had."""
        return self._no_bound() | self._no_label() | self._no_accuracy()

    def _no_label(self) -> dict[str, str]:
        """Why there is no label information, where it was asked for and there are labels."""
        data = self.cell("data")
        if "label" not in self.spec.measure or data is None or not data.values["classes"]:
            return {}
        probes = (self.cell("probe", layer, 0, checkpoint) for layer, checkpoint in self.places)
        if all(probe is None or probe.values["labels"] for probe in probes):
            return {}
        whose = "" if len(np.unique(data.array("labels"))) < 2 else " of the images that it would be learnt on"
        return {"label": f"all labels{whose} are the same"}

    def _no_accuracy(self) -> dict[str, str]:
        """Why there is no accuracy, where the network ends in numbers that are no answers."""
        capture, data = self.cell("capture") if self.spec.layers else None, self.cell("data")
        if capture is None or data is None or "outputs" not in capture.values:
            return {}
        outputs, classes = capture.values["outputs"], data.values["classes"]
        named = plural(classes, "class", "classes")
        return {"accuracy": f"the network ends in {plural(outputs, 'number')}, the labels name {named}"}

    def _no_bound(self) -> dict[str, str]:
        """Why there is no contrastive bound, where one was asked for."""
        data = self.cell("data")
        if "contrastive" not in self.spec.measure or data is None:
            return {}
        distinct, images = self._distinct(data)
        if distinct < LEAST_IMAGES:
            copies = f" ({images:,} with those that belong together)" if distinct < images else ""
            least = f"{LEAST_IMAGES} are needed for {LEAST_BATCHES} batches, without which its error is not known"
            return {"contrastive": f"{plural(distinct, 'evaluation image')}{copies}: {least}"}
        fits = (stored for place in self.places for _, stored in self.fits(*place))
        first = next((stored for stored in fits if "contrastive" in stored.names()), None)
        batches = LEAST_BATCHES if first is None else len(first.array("contrastive"))
        if batches < LEAST_BATCHES:
            made = plural(batches, "batch", "batches")
            return {"contrastive": f"{made}, by an earlier version: its error needs {LEAST_BATCHES}"}
        return {}

    def _distinct(self, data: Stored) -> tuple[int, int]:
        """How many groups the evaluation images are of, and how many images there are."""
        images = len(data.array("evaluation"))
        return len(one_of_each(self.groups, images)), images

    def _lowered(self, candidates: int) -> tuple[str, ...]:
        """What must be said of a contrastive bound with fewer candidates, or of fewer images, than one would think."""
        data, asked = self.cell("data"), self.spec.contrastive.candidates
        if data is None:
            return ()
        distinct, images = self._distinct(data)
        flags = ()
        if candidates < asked:
            flags += (lowered_words(candidates, asked, distinct),)
        if distinct < images:
            flags += (f"of one image of each of {plural(distinct, 'group')}, not of all {images:,} images",)
        return flags

    def _unlearnt(self, scores: np.ndarray) -> tuple[str, ...]:
        """What must be said of a density that does worse than one that was never trained could.

        By its error over images and fits, two-sided at 5 %: of a density that does as well, 2.5 % are said to do worse.
        """
        data = self.cell("data")
        if data is None:
            return ()
        even = Images.of_values(data.values).nats
        # A density that is even has no spread, and differs from it by what its arithmetic rounds.
        if -scores.mean() - even <= ROUNDING * even:
            return ()
        if crossed_mean(-scores - even, groups=self.groups).p_value >= UNLEARNT:
            return ()
        return (f"worse than guessing all values of all pixels evenly ({even:,.1f} nats): q has learnt too little",)

    def _of_layer(self, layer: str, checkpoint: str) -> Iterator[Estimate]:
        for kind in ("label", "forward"):
            yield from self.of_labels(kind, layer, checkpoint)
        mse = self.cell("mse", layer, 0, checkpoint)
        if mse is not None:
            mean = crossed_mean(mse.array("errors"), groups=self.groups)
            n = count(mse.array("errors"), self.groups)
            flags = (STILL_FELL,) if still_falling(mse.values["curve"]) else ()
            yield Estimate(mean.value, mean.stderr, "squared error", "mse", n=n, dof=mean.dof, flags=flags)
        per_image = self.scores("sample-accuracy", layer, checkpoint).get(1)
        if per_image is not None:
            groups = self.groups_of("evaluation", len(per_image))
            mean, n = crossed_mean(per_image, groups=groups), count(per_image, groups)
            stderr = mean.stderr if n > 1 else None
            # What a network that is no classifier says of samples means no more.
            judge = self._accuracy(checkpoint or self.checkpoints[-1])
            flags = () if judge is None else judge.flags
            yield Estimate(mean.value, stderr, "fraction", "sample-accuracy", n=n, dof=mean.dof, flags=flags)

    def label_entropy(self) -> str:
        """Which H(y) label information is from, where that is not plain or moves the numbers; else nothing."""
        data = self.cell("data")
        told = [each for _, refit, each in self.numbers if each.kind in READERS and refit == ALL]
        if data is None or not told:
            return ""
        if self.spec.prior is not None:
            given = "all classes alike" if self.spec.prior == "uniform" else "the classes' probabilities as given"
            return f"H(y) is that of {given}"
        labels, classes = data.array("labels")[data.array("evaluation")], data.values["classes"]
        n, short = count(labels, self.groups), falls_short(labels, classes, self.groups)
        if short < WORTH_SAYING * min(each.stderr or 0.0 for each in told):
            return ""
        most = f"{lacks(labels, classes):.2g}"
        at_most = "" if most == f"{short:.2g}" else f", at most {most},"
        return (
            f"label information is too small by about {short:.2g} nats{at_most} since its H(y) is counted from {n:,} "
            "evaluation labels; the classes' true probabilities (prior), where they are known, mend that"
        )

    @property
    def order(self) -> Sequence[str]:
        return self.checkpoints

    def found(self) -> list[Number]:
        return [Number(Place(layer, at), refit, estimate) for layer, at, refit, estimate in self.estimates()]

    def row(self, number: Number) -> dict[str, Any]:
        return super().row(number) | {"read_through": number.estimate.read_through}

    def differences(self) -> list[dict[str, Any]]:
        """Returns the paired differences of neighbouring layers, and of the first and last, per checkpoint.

        In NCE, and in the two label informations, by the rest and by a probe.
        """
        return self._settled["differences"]

    def changes(self) -> list[dict[str, Any]]:
        """Returns what changes of each number from checkpoint to checkpoint, and from each to the last.

        Paired by example and, where there are any, by refit; positive where the number rises.
        """
        return self._settled["changes"]

    def falls(self) -> list[dict[str, Any]]:
        """Returns, per layer, how far its NCE falls from its peak to the end, and what chance would show."""
        return self._settled["compression"]

    @property
    def tests(self) -> int:
        """How many hypotheses the verdicts of the tables are corrected for."""
        return max((row["tests"] for rows in self._settled.values() for row in rows), default=0)

    @cached_property
    def _settled(self) -> dict[str, list[dict[str, Any]]]:
        """The three tables, with verdicts that are corrected for all that is tested in them."""
        return settled(
            {
                "differences": [*layer_differences(self)],
                "changes": [*checkpoint_changes(self)],
                "compression": [*falls_from_peaks(self)],
            }
        )

    def losses(self) -> list[dict[str, Any]]:
        """Returns, per layer and checkpoint, a density's loss in nats on each part of the split, where it was followed.

        Bits per dimension are those of the evaluation part.
        """
        data = self.cell("data")
        if "losses" not in self.spec.measure or data is None:
            return []
        found = []
        for layer, checkpoint in ((INPUT, ""), *self.places):
            stored = [fit for _, fit in self.fits(layer, checkpoint)]
            row: dict[str, Any] = {"layer": layer, "checkpoint": checkpoint, "refits": len(stored)}
            row |= {"read_through": self.through(layer, checkpoint)}
            for part in PARTS if stored else ():
                name = "log_probs" if part == "evaluation" else f"log_probs:{part}"
                scores = [fit.array(name) for fit in stored if name in fit.names()]
                if scores:
                    own = self.groups_of(part, len(scores[0]))
                    mean = crossed_mean(-np.stack(scores), groups=own)
                    row |= {part: mean.value, f"{part}_stderr": mean.stderr, f"{part}_n": count(scores[0], own)}
            if "evaluation" in row:
                per_bit = Images.of_values(data.values).per_bit
                row["bits_per_dimension"] = row["evaluation"] / per_bit
                row["bits_per_dimension_stderr"] = row["evaluation_stderr"] / per_bit
                found.append(row)
        return found

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Returns the tables that a run's folder holds beside its results: name -> rows, where there are any."""
        own = {"changes": self.once("changes"), "compression": self.once("falls"), "losses": self.once("losses")}
        return super().tables() | {name: rows for name, rows in own.items() if rows}

    def truths(self) -> list[dict[str, Any]] | None:
        """Returns what was measured beside what is known, or None where nothing is known."""
        return truths(self)
