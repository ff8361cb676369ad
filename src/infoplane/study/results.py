"""From the stored cells of a study of inversion to its results."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from infoplane.claims import Hypothesis
from infoplane.data.split import PARTS
from infoplane.estimate import NATS_PER_BIT, Estimate, confidence
from infoplane.information import (
    Mean,
    Seen,
    accuracy,
    compression,
    contrastive_bound,
    count,
    cross_entropy,
    crossed_mean,
    label_information,
    negative_cross_entropy,
    one_of_each,
    sample_variance,
    seen_values,
    usable_information,
    variances,
    whole_variance,
)
from infoplane.information.contrastive import LEAST_BATCHES, LEAST_IMAGES
from infoplane.information.falls import FALL_WORDS
from infoplane.information.label import FAILS
from infoplane.study.comparisons import Compared, Scores, change, common, layers_apart, numbers, one_test, settled
from infoplane.study.plan import INPUT, Plan, twin_of
from infoplane.study.readings import ReadAs, barred, flags_of
from infoplane.study.run_results import RunResults, tidy
from infoplane.study.spec import StudySpec
from infoplane.study.store import Store, Stored

#: kind of label information -> the cells that it comes from
READERS = {"label": "probe", "forward": "forward", "own": "own"}
#: kinds of numbers about the samples of one fit -> their unit
DRAWN = {"sample-variance": "squared error", "sample-accuracy": "fraction"}
#: a last stretch of training that lowered the held-out loss by this share of it is pointed out
FALLING = 0.005
#: the words of that
STILL_FELL = "the held-out loss still fell at the end: more updates would help"
#: confidence of the intervals outside which something known to be impossible is not put down to chance: that of three
#: standard errors where these are known
IMPOSSIBLE = 0.9973
#: a held-out loss this much above the training loss (share of it) is pointed out
OVERFIT = 0.1


class Results(RunResults[StudySpec]):
    """What a study of inversion has measured so far."""

    def __init__(self, spec: StudySpec, plan: Plan, store: Store) -> None:
        super().__init__(spec, plan, store)
        self.layers = [*spec.latents, *spec.layers]
        self.checkpoints = spec.checkpoints

    @property
    def places(self) -> list[tuple[str, str]]:
        """(layer, checkpoint) of everything that is measured: latents, which belong to none, then by checkpoint."""
        latents = [(latent, "") for latent in self.spec.latents]
        return latents + [(layer, checkpoint) for checkpoint in self.checkpoints for layer in self.spec.layers]

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The groups (n,) of the evaluation images where some of them belong together, else None."""
        return self._groups_of("evaluation")

    def _groups_of(self, part: str, first: int | None = None) -> np.ndarray | None:
        """The same of the first images of a part of the split."""
        data = self.cell("data")
        if data is None or "groups" not in data.names():  # of a run from before there were any
            return None
        found = data.array("groups")[data.array(part)[:first]]
        return found if len(np.unique(found)) < len(found) else None

    def cell(self, kind: str, layer: str = "", refit: int = 0, checkpoint: str | None = None) -> Stored | None:
        """The stored result in that role, or None where it is missing or damaged.

        Args:
            checkpoint: Of the network; default: the last one, where the role has any.
        """
        points = (self.checkpoints[-1], "") if checkpoint is None else (checkpoint,)
        names = (self.plan.name(kind, layer, refit, point) for point in points)
        name = next((name for name in names if name is not None), None)
        return self.stored(name)

    def fits(self, layer: str, checkpoint: str | None = None) -> list[tuple[int, Stored]]:
        """The finished densities of a layer, by refit."""
        found = ((r, self.cell("density", layer, r, checkpoint)) for r in range(1, self.spec.fit.refits + 1))
        return [(refit, stored) for refit, stored in found if stored is not None]

    def log_probs(self, layer: str, refits: list[int] | None = None, checkpoint: str | None = None) -> np.ndarray:
        """Log-probabilities of the evaluation part, (R, n), of these refits or of all finished ones."""
        fits = self.fits(layer, checkpoint)
        rows = [s.array("log_probs") for refit, s in fits if refits is None or refit in refits]
        return np.stack(rows) if rows else np.zeros((0, 0))

    def readings(self, kind: str, layer: str, checkpoint: str) -> dict[int, np.ndarray]:
        """Refit -> log-probabilities (n,) of the evaluation labels by "label", "forward" or "own" (of no layer)."""
        cell, refits = READERS[kind], range(1, self.spec.forward.refits + 1) if kind == "forward" else (0,)
        found = ((refit, self.cell(cell, layer, refit, checkpoint)) for refit in refits)
        read = ((refit, each) for refit, each in found if each is not None and each.values.get("labels", True))
        return {refit: each.array("log_probs") for refit, each in read}

    def common(self, *places: tuple[str, str | None]) -> list[int]:
        """The refits that are finished at all these (layer, checkpoint): only these can be paired."""
        sets = [{refit for refit, _ in self.fits(layer, checkpoint)} for layer, checkpoint in places]
        return sorted(set.intersection(*sets))

    def ceiling(self, layer: str, checkpoint: str | None = None) -> float | None:
        """What I(x;h) cannot exceed, nats: see `Seen`, the states that the layer can be in, and those of the image."""
        capture, data = self.cell("capture", checkpoint=checkpoint), self.cell("data")
        if data is None:
            return None
        most = math.prod(data.values["shape"]) * math.log(data.values["levels"])
        if f"latent:{layer}" in data.names():
            groups = data.array("groups") if "groups" in data.names() else None
            return seen_values([data.array(f"latent:{layer}")], groups).ceiling(most)
        if capture is None:
            return most
        seen = capture.values["seen"].get(layer)
        certain = min(most, capture.values["states"][layer])
        return certain if seen is None else min(certain, Seen(**seen).ceiling(most))

    def read_as(self, layer: str, checkpoint: str | None = None) -> ReadAs:
        """How a layer is read, see `Reading.to_json`; None where that is not known, or it is no layer of a network."""
        capture = self.cell("capture", checkpoint=checkpoint) if layer in self.spec.layers else None
        return None if capture is None else capture.values.get("read_as", {}).get(layer)

    def estimates(self) -> Iterator[tuple[str, str, str, Estimate]]:
        """Yields (layer, checkpoint, refit, estimate) in the order of the table.

        What activations depend on beside their image is a flag of every number of such a layer.
        """
        for layer, checkpoint, label, estimate in self._estimates():
            notes = self.notes(layer, checkpoint)
            yield layer, checkpoint, label, replace(estimate, flags=(*estimate.flags, *notes)) if notes else estimate

    def notes(self, layer: str, checkpoint: str) -> tuple[str, ...]:
        """What must stand beside every number of a layer."""
        capture = self.cell("capture", checkpoint=checkpoint) if layer in self.spec.layers else None
        return () if capture is None else tuple(capture.values.get("notes", {}).get(layer, ()))

    def functions(self, layer: str) -> tuple[str, ...]:
        """The measured layers that a layer was found to be a function of, at the last checkpoint."""
        capture = self.cell("capture") if layer in self.spec.layers else None
        return () if capture is None else tuple(capture.values.get("function_of", {}).get(layer, ()))

    def _estimates(self) -> Iterator[tuple[str, str, str, Estimate]]:
        for place in ((INPUT, ""), *self.places):
            layer, checkpoint = place
            if self.spec.layers and place in [(self.spec.layers[0], point) for point in self.checkpoints]:
                capture = self.cell("capture", checkpoint=checkpoint)
                if capture is not None and "correct" in capture.names():
                    yield "", checkpoint, "all", accuracy(capture.array("correct"), groups=self.groups)
                for estimate in self._of_labels("own", "", checkpoint):
                    yield "", checkpoint, "all", replace(estimate, refits=0)
            for refits, label in self._groups(layer, checkpoint):
                for estimate in self._of_fits(layer, checkpoint, refits):
                    read = flags_of(estimate.kind, self.read_as(layer, checkpoint))
                    yield *place, label, replace(estimate, flags=(*estimate.flags, *read))
            if layer != INPUT:
                yield from ((*place, "all", estimate) for estimate in self._of_layer(layer, checkpoint))
            drawn, data = self._drawn(layer, checkpoint), self.cell("data")
            if drawn is not None and data is not None:
                levels, groups = data.values["levels"], self._groups_of("evaluation", len(drawn))
                whole = layer == INPUT
                found = whole_variance(drawn[0], levels) if whole else sample_variance(drawn, levels, groups=groups)
                yield (*place, "all", found)

    def _groups(self, layer: str, checkpoint: str) -> Iterator[tuple[list[int], str]]:
        refits = [refit for refit, _ in self.fits(layer, checkpoint)]
        if refits:
            yield refits, "all"
        if len(refits) > 1:
            yield from (([refit], str(refit)) for refit in refits)

    def _of_fits(self, layer: str, checkpoint: str, refits: list[int]) -> Iterator[Estimate]:
        fits = [(refit, stored) for refit, stored in self.fits(layer, checkpoint) if refit in refits]
        scores = self.log_probs(layer, refits, checkpoint)
        measure = self.spec.measure
        yield replace(cross_entropy(scores, groups=self.groups), flags=self._unlearnt(scores))
        unread = _unread([stored for _, stored in fits]) + self._unlearnt(scores)
        if layer != INPUT:
            if "nce" in measure:
                yield replace(negative_cross_entropy(scores, groups=self.groups), flags=unread)
            twin = twin_of(self.spec, layer)
            paired = [refit for refit in self.common((layer, checkpoint), (twin, "")) if refit in refits]
            if "usable" in measure and paired:
                usable = usable_information(
                    self.log_probs(layer, paired, checkpoint),
                    self.log_probs(twin, paired),
                    ceiling=self.ceiling(layer, checkpoint),
                    groups=self.groups,
                )
                own = _unread([stored for refit, stored in fits if refit in paired]) + self._unlearnt(scores)
                yield replace(usable, flags=(*usable.flags, *own))
            contrast = [stored for _, stored in fits if "contrastive" in stored.names()]
            if contrast and "contrastive" not in self.left_out():
                batches = np.stack([stored.array("contrastive") for stored in contrast])
                candidates = contrast[0].values["candidates"]
                bound = contrastive_bound(batches, candidates)
                yield replace(bound, flags=(*bound.flags, *self._lowered(candidates), *_unread(contrast)))
        fitted = [stored.values for _, stored in fits]
        gaps = [values["heldout_nats"] - values["train_nats"] for values in fitted]
        held = sum(values["heldout_n"] for values in fitted)
        flags = _flags([stored for _, stored in fits])
        mean = crossed_mean(np.array(gaps))
        stderr = mean.stderr if len(gaps) > 1 else None
        yield Estimate(
            mean.value, stderr, kind="generalisation-gap", n=held, refits=len(gaps), dof=mean.dof, flags=flags
        )
        truth = self.cell("truth")
        if truth is not None and f"log_probs:{layer}" in truth.names():
            excess = crossed_mean(truth.array(f"log_probs:{layer}") - scores, groups=self.groups)
            n = count(scores, self.groups)
            yield Estimate(excess.value, excess.stderr, kind="excess", n=n, refits=len(refits), dof=excess.dof)

    def left_out(self) -> dict[str, str]:
        """Returns kind of number -> why it is not given, of those that were asked for and cannot be had."""
        data = self.cell("data")
        if "contrastive" not in self.spec.measure or data is None:
            return {}
        distinct, images = self._distinct(data)
        if distinct < LEAST_IMAGES:
            copies = f" ({images:,} with those that belong together)" if distinct < images else ""
            least = f"{LEAST_IMAGES} are needed for {LEAST_BATCHES} batches, without which its error is not known"
            return {"contrastive": f"{distinct:,} evaluation images{copies}: {least}"}
        fits = (stored for place in self.places for _, stored in self.fits(*place))
        first = next((stored for stored in fits if "contrastive" in stored.names()), None)
        batches = LEAST_BATCHES if first is None else len(first.array("contrastive"))
        if batches < LEAST_BATCHES:
            return {"contrastive": f"{batches} batches, by an earlier version: its error needs {LEAST_BATCHES}"}
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
            flags += (f"K = {candidates}, not {asked}: {distinct:,} images make {LEAST_BATCHES} batches of so many",)
        if distinct < images:
            flags += (f"of one image of each of {distinct:,} groups, not of all {images:,} images",)
        return flags

    def _unlearnt(self, scores: np.ndarray) -> tuple[str, ...]:
        """What must be said of a density that does no better than one that was never trained could."""
        data = self.cell("data")
        if data is None:
            return ()
        even = math.prod(data.values["shape"]) * math.log(data.values["levels"])
        text = f"worse than guessing all values of all pixels evenly ({even:,.1f} nats): q has learnt too little"
        return (text,) if -scores.mean() > even else ()

    def _of_layer(self, layer: str, checkpoint: str) -> Iterator[Estimate]:
        for kind in ("label", "forward"):
            yield from self._of_labels(kind, layer, checkpoint)
        mse = self.cell("mse", layer, 0, checkpoint)
        if mse is not None:
            mean = crossed_mean(mse.array("errors"), groups=self.groups)
            n = count(mse.array("errors"), self.groups)
            flags = (STILL_FELL,) if _still_falling(mse.values["curve"]) else ()
            yield Estimate(mean.value, mean.stderr, "squared error", "mse", n=n, dof=mean.dof, flags=flags)
        per_image = self._scores("sample-accuracy", layer, checkpoint).get(1)
        if per_image is not None:
            groups = self._groups_of("evaluation", len(per_image))
            mean, n = crossed_mean(per_image, groups=groups), count(per_image, groups)
            stderr = mean.stderr if n > 1 else None
            yield Estimate(mean.value, stderr, "fraction", "sample-accuracy", n=n, dof=mean.dof)

    def _drawn(self, layer: str, checkpoint: str) -> np.ndarray | None:
        """The samples (P, S, C, H, W) of a layer, or of p(x) with P = 1; None where there is one of each image."""
        stored = self.cell("samples", layer, 0, checkpoint)
        samples = None if stored is None else stored.array("samples")
        return None if samples is None or samples.shape[1] < 2 else samples

    def _of_labels(self, kind: str, layer: str, checkpoint: str) -> Iterator[Estimate]:
        scores, data = self.readings(kind, layer, checkpoint), self.cell("data")
        if scores and data is not None:
            labels = data.array("labels")[data.array("evaluation")]
            classes, groups = data.values["classes"], self.groups
            yield label_information(np.stack([*scores.values()]), labels, classes=classes, kind=kind, groups=groups)

    def rows(self) -> list[dict[str, Any]]:
        """Returns one tidy row per estimate; keys as `COLUMNS`."""
        return [tidy(self.spec, *found) for found in self.estimates()]

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
                "differences": [*self._differences()],
                "changes": [*self._changes()],
                "compression": [*self._falls()],
            }
        )

    def _differences(self) -> Iterator[Compared]:
        for kind in ("nce", "forward", "label"):
            curves = {layer: self._curve(kind, layer) for layer in self.spec.layers}
            for checkpoint in self.checkpoints:
                layers = [layer for layer, curve in curves.items() if curve[checkpoint]]
                pairs = [*pairwise(layers), *([(layers[0], layers[-1])] if len(layers) > 2 else [])]
                for first, second in pairs:
                    found = layers_apart(curves[first], curves[second], checkpoint, self._groups_for(curves[first]))
                    if found is not None:
                        own, tested, refits = found
                        where = {"first": first, "second": second, "checkpoint": checkpoint, "refits": refits}
                        read = [self.read_as(layer, checkpoint) for layer in (first, second)]
                        bar = barred(first, read[0], second, read[1])
                        yield Compared(
                            where | numbers(own, tested) | {"kind": kind},
                            # What is positive is given up on the way.
                            Hypothesis(-own.value, tested.p_value, refits, one_test(kind, own), barred=bar),
                        )

    def _changes(self) -> Iterator[Compared]:
        points = [*pairwise(self.checkpoints), *((at, self.checkpoints[-1]) for at in self.checkpoints[:-2])]
        for kind in ("nce", *READERS, *DRAWN):
            if kind == "nce" and kind not in self.spec.measure:
                continue
            for layer in self.spec.layers if kind != "own" else ("",):
                curve = self._curve(kind, layer)
                groups = self._groups_for(curve)
                for first, last in points:
                    found = change(curve, first, last, groups)
                    if found is not None:
                        yield self._change(kind, layer, first, last, *found)

    def _change(self, kind: str, layer: str, first: str, last: str, own: Mean, tested: Mean, refits: int) -> Compared:
        """One change and what is tested in it."""
        flags, bar = (), ""
        if kind == "nce":
            flags = self._unread(layer, (first, last), common(*(self._scores(kind, layer, at) for at in (first, last))))
        elif kind in READERS:
            sides = [self._of_labels(kind, layer, at) for at in (first, last)]
            failed = [[flag for each in side for flag in each.flags] for side in sides]
            flags = tuple(dict.fromkeys(flag for side in failed for flag in side))
            # What falls then is the reader, not what there is to be read.
            fails = any(flag.startswith(FAILS) for flag in failed[1])
            bar = "the reader fails: no claim" if fails and own.value < 0 else ""
        # The network itself is what is asked about by "own": it has no refits.
        fits = 0 if kind == "own" else refits
        where = {"layer": layer, "kind": kind, "first": first, "last": last, "unit": DRAWN.get(kind, "nats")}
        return Compared(
            where | numbers(own, tested) | {"refits": fits, "flags": "; ".join(flags)},
            Hypothesis(own.value, tested.p_value, fits or None, one_test(kind, own), barred=bar, training=True),
        )

    def _falls(self) -> Iterator[Compared]:
        for layer in self.spec.layers:
            points = [point for point in self.checkpoints if self.fits(layer, point)]
            refits = self.common(*((layer, point) for point in points)) if points else []
            # Without the end there is no fall to it.
            if len(points) < 2 or points[-1] != self.checkpoints[-1] or not refits:
                continue
            fits = [dict(self.fits(layer, point)) for point in points]
            held = np.array([[-own[refit].values["heldout_nats"] for refit in refits] for own in fits])
            scores = np.stack([self.log_probs(layer, refits, point) for point in points])
            fall = compression(held, scores, seed=self.spec.seed, groups=self.groups)
            both = dict.fromkeys(flag for at in (fall.peak, -1) for flag in _flags(list(fits[at].values())))
            where = {"layer": layer, "peak": points[fall.peak], "end": points[-1], "flags": "; ".join(both)}
            yield Compared(
                where | {key: value for key, value in vars(fall).items() if key != "peak"}, fall.hypothesis, FALL_WORDS
            )

    def _curve(self, kind: str, layer: str) -> dict[str, Scores]:
        """Checkpoint -> `_scores`; empty where there are too few examples for an error."""
        found = {at: self._scores(kind, layer, at) for at in self.checkpoints}
        # One image alone has no error.
        return {at: own if all(len(each) > 1 for each in own.values()) else {} for at, own in found.items()}

    def _groups_for(self, curve: dict[str, Scores]) -> np.ndarray | None:
        """The groups of the examples that these numbers have a term for."""
        sizes = (len(each) for scores in curve.values() for each in scores.values())
        return self._groups_of("evaluation", next(sizes, 0))

    def _scores(self, kind: str, layer: str, at: str) -> dict[int, np.ndarray]:
        """Refit -> what a number of this kind is the mean of: an entry for each example."""
        if kind in READERS:
            return self.readings(kind, layer, at)
        if kind == "nce":
            return {refit: stored.array("log_probs") for refit, stored in self.fits(layer, at)}
        # What was drawn is of the first refit. Samples for one image share its activation: the image is the unit.
        if kind == "sample-variance":
            drawn, data = self._drawn(layer, at), self.cell("data")
            return {} if drawn is None or data is None else {1: variances(drawn, data.values["levels"])}
        judge = self.cell("judge", layer, 0, at)
        if judge is None or not judge.values["classifier"]:
            return {}
        return {1: judge.array("correct").reshape(-1, self.spec.samples.each).mean(1)}

    def _unread(self, layer: str, points: tuple[str, str], refits: list[int]) -> tuple[str, ...]:
        """What must be said of densities of these checkpoints that make no use of the layer."""
        flags = [_unread([stored for refit, stored in self.fits(layer, at) if refit in refits]) for at in points]
        return tuple(dict.fromkeys(flag for each in flags for flag in each))

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
            for part in PARTS if stored else ():
                name = "log_probs" if part == "evaluation" else f"log_probs:{part}"
                scores = [fit.array(name) for fit in stored if name in fit.names()]
                if scores:
                    own = self._groups_of(part, len(scores[0]))
                    mean = crossed_mean(-np.stack(scores), groups=own)
                    row |= {part: mean.value, f"{part}_stderr": mean.stderr, f"{part}_n": count(scores[0], own)}
            if "evaluation" in row:
                per_bit = math.prod(data.values["shape"]) * NATS_PER_BIT
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
        truth = self.cell("truth")
        if truth is None:
            return None
        information = {layer: Estimate.of(values) for layer, values in truth.values["information"].items()}
        entropy = {layer: Estimate.of(values) for layer, values in truth.values["entropy"].items()}
        found = []
        for layer, checkpoint, refit, estimate in self.estimates():
            if refit != "all" or checkpoint not in ("", self.checkpoints[-1]):
                continue
            where = "p(x)" if layer == INPUT else layer
            if estimate.kind == "cross-entropy" and layer in entropy:
                found.append(_compare(where, estimate, entropy[layer]))
            elif estimate.kind == "excess":
                found.append(_excess(where, estimate, entropy[layer]))
            elif estimate.kind in ("usable", "contrastive") and layer in information:
                found.append(_compare(where, estimate, information[layer]))
                if estimate.kind == "contrastive" and f"contrastive:{layer}" in truth.names():
                    found.append(_beside(where, estimate, crossed_mean(truth.array(f"contrastive:{layer}"))))
            elif estimate.kind == "label":
                # No function of x can know more about the template than x does.
                found.append(_compare(f"{where} (at most I(x; template))", estimate, information["template"]))
        return found


def _flags(fits: Sequence[Stored]) -> tuple[str, ...]:
    """What must be said of densities: that they know their training data too well, or were still getting better."""
    fitted = [stored.values for stored in fits]
    overfit = any(each["heldout_nats"] - each["train_nats"] > OVERFIT * each["train_nats"] for each in fitted)
    flags = ("q fits its training data better than held-out data: more data would help",) if overfit else ()
    return flags + ((STILL_FELL,) if any(_still_falling(each["curve"]) for each in fitted) else ()) + _unread(fits)


def _unread(fits: Sequence[Stored]) -> tuple[str, ...]:
    """What must be said of conditional densities that no update made better: they use nothing of their context."""
    lost = sum(
        stored.values.get("context") is not None and stored.values["curve"]["best_update"] == 0 for stored in fits
    )
    text = f"in {lost} of {len(fits)} fits no update helped on held-out images: q is as it started and ignores h"
    return (text,) if lost else ()


def _still_falling(curve: dict[str, Any]) -> bool:
    """Whether the last stretch between two evaluations lowered the held-out loss by more than a share of it."""
    best = np.fmin(curve["heldout"], curve["heldout_ema"])
    return len(best) > 1 and bool(best[-2] - best[-1] > FALLING * abs(best[-1]))


def _compare(where: str, estimate: Estimate, truth: Estimate) -> dict[str, Any]:
    """One line of the comparison with what is known: does a bound hold, how far off is what bounds nothing?"""
    gap = estimate.value - truth.value
    far = confidence(IMPOSSIBLE, estimate.dof) * math.hypot(estimate.stderr or 0.0, truth.stderr or 0.0)
    if estimate.bound == "lower":
        verdict = "holds" if gap <= far else "violated"
    elif estimate.bound == "upper":
        verdict = "holds" if gap >= -far else "violated"
    else:
        verdict = f"off by {gap:+.2f} nats"
    return _line(f"{estimate.meaning} at {where}", estimate, truth.value, truth.stderr, verdict)


def _excess(where: str, estimate: Estimate, entropy: Estimate) -> dict[str, Any]:
    """Paired with the true density on the same images: it cannot be negative but by chance."""
    possible = estimate.value >= -confidence(IMPOSSIBLE, estimate.dof) * (estimate.stderr or 0.0)
    share = f"{100 * estimate.value / entropy.value:.2f} % of the entropy"
    return _line(f"{estimate.meaning} at {where}", estimate, 0.0, None, share if possible else f"impossible: {share}")


def _beside(where: str, estimate: Estimate, true: Mean) -> dict[str, Any]:
    """The contrastive bound beside the one that the true density gives on the same draws."""
    share = f"{100 * (estimate.value / true.value - 1):+.2f} % of the true density's"
    return _line(f"{estimate.meaning} at {where}, true density's", estimate, true.value, true.stderr, share)


def _line(name: str, estimate: Estimate, truth: float, truth_stderr: float | None, verdict: str) -> dict[str, Any]:
    return {
        "name": name,
        "truth": truth,
        "truth_stderr": truth_stderr,
        "measured": estimate.value,
        "stderr": estimate.stderr,
        "direction": estimate.direction,
        "verdict": verdict,
    }
