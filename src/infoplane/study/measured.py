"""The stored cells of a study of inversion by role: scores, readings, samples, and what layers are read as."""

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from infoplane.data import Images
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store, Stored
from infoplane.estimate import Estimate
from infoplane.information import (
    Seen,
    label_information,
    seen_values,
    variances,
)
from infoplane.study.plan import twin_of
from infoplane.study.readers import HeldOut, Reader, choose, functions_by_layer
from infoplane.study.readings import ReadAs
from infoplane.study.run_results import RunResults
from infoplane.study.spec import StudySpec

#: kind of label information -> the cells that it comes from
READERS = {"label": "probe", "forward": "forward", "own": "own"}
#: what is said of a layer that tells no image from another
CONSTANT = "activations do not vary over images"
#: scores of so many fits are kept
LAST = 32
#: kinds of numbers about the samples of one fit -> their unit
DRAWN = {"sample-variance": "squared error", "sample-accuracy": "fraction"}


class Measured(RunResults[StudySpec]):
    """What the cells of a study of inversion hold so far."""

    def __init__(self, spec: StudySpec, plan: Plan, store: Store) -> None:
        super().__init__(spec, plan, store)
        self.layers = [*spec.latents, *spec.layers]
        self.checkpoints = spec.checkpoints
        self._fits: dict[tuple[str, str | None], list[tuple[int, Stored]]] = {}
        self._latents: dict[str, Seen] = {}
        self._readers: dict[tuple[str, str | None], Reader] = {}
        # The scores that were read last: those of a fit are asked for by itself, with others and against its twin.
        self._scores = lru_cache(maxsize=LAST)(lambda stored: stored.array("log_probs"))

    @property
    def places(self) -> list[tuple[str, str]]:
        """(layer, checkpoint) of everything that is measured: latents, which belong to none, then by checkpoint."""
        latents = [(latent, "") for latent in self.spec.latents]
        return latents + [(layer, checkpoint) for checkpoint in self.checkpoints for layer in self.spec.layers]

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The groups (n,) of the evaluation images where some of them belong together, else None."""
        return self.groups_of("evaluation")

    def groups_of(self, part: str, first: int | None = None) -> np.ndarray | None:
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

    @property
    def choice(self) -> Mapping[str, Any] | None:
        """What `run_choice` found where the data choose the density; None where they do not, or have not yet."""
        stored = self.cell("choice")
        return None if stored is None else stored.values

    @property
    def density_options(self) -> dict[str, Any]:
        """The kind of the density and its options: those that were chosen where the data choose them."""
        return dict(self.spec.density.model_dump(mode="json") if self.choice is None else self.choice["density"])

    @cached_property
    def twins(self) -> dict[str, str]:
        """Layer -> the p(x) of its density, found once for all checkpoints."""
        return {layer: twin_of(self.spec, layer) for layer in self.layers}

    def reader(self, layer: str, checkpoint: str | None = None) -> Reader:
        """With whose density the numbers of a layer are read at a checkpoint: see `infoplane.study.readers`."""
        if (key := (layer, checkpoint)) in self._readers:
            return self._readers[key]
        capture = self.cell("capture", checkpoint=checkpoint) if layer in self.spec.layers else None
        if self.spec.readers == "own" or capture is None:
            return Reader(layer)
        later = functions_by_layer(capture.values.get("function_of", {})).get(layer, [])
        # Usable information is against the twin of a layer's family, and of no other.
        names = [layer, *(name for name in later if name in self.twins and self.twins[name] == self.twins[layer])]
        fits = {name: self.own_fits(name, checkpoint) for name in names}
        # Versions before there were any readers kept no more of these losses than their mean.
        kept = {name: own for name, own in fits.items() if all("groups:heldout" in each.names() for _, each in own)}
        found = Reader(layer)
        if layer in kept:
            means = {name: {at: each.values["heldout_nats"] for at, each in own} for name, own in kept.items()}
            found = choose(layer, means, lambda name: {refit: _held_out(each) for refit, each in kept[name]})
        if all(len(own) == self.spec.fit.refits for own in fits.values()):  # there will be no more
            self._readers[key] = found
        return found

    def through(self, layer: str, checkpoint: str | None = None) -> str:
        """The later layer that a layer's numbers are read through; "" where they are read with its own density."""
        reader = self.reader(layer, checkpoint).layer
        return "" if reader == layer else reader

    def fits(self, layer: str, checkpoint: str | None = None) -> list[tuple[int, Stored]]:
        """The finished densities that the numbers of a layer are read with, by refit."""
        own, reader = self.own_fits(layer, checkpoint), self.reader(layer, checkpoint).layer
        if reader == layer:
            return own
        refits = {refit for refit, _ in own}
        return [(refit, stored) for refit, stored in self.own_fits(reader, checkpoint) if refit in refits]

    def own_fits(self, layer: str, checkpoint: str | None = None) -> list[tuple[int, Stored]]:
        """The finished densities of a layer itself, by refit."""
        if (key := (layer, checkpoint)) in self._fits:
            return self._fits[key]
        refits = range(1, self.spec.fit.refits + 1)
        found = ((refit, self.cell("density", layer, refit, checkpoint)) for refit in refits)
        fits = [(refit, stored) for refit, stored in found if stored is not None]
        if len(fits) == len(refits):  # there will be no more
            self._fits[key] = fits
        return fits

    def log_probs(self, layer: str, refits: list[int] | None = None, checkpoint: str | None = None) -> np.ndarray:
        """Log-probabilities of the evaluation part, (R, n), of these refits or of all finished ones."""
        fits = self.fits(layer, checkpoint)
        rows = [self._scores(stored) for refit, stored in fits if refits is None or refit in refits]
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
        """What I(x;h) cannot exceed, nats, nor that of the layer it is read through."""
        layers = (layer, self.through(layer, checkpoint) or layer)
        known = [most for each in layers if (most := self._ceiling(each, checkpoint)) is not None]
        return min(known, default=None)

    def _ceiling(self, layer: str, checkpoint: str | None = None) -> float | None:
        """See `Seen`, the states that the layer can be in, and those of the image."""
        capture, data = self.cell("capture", checkpoint=checkpoint), self.cell("data")
        if data is None:
            return None
        most = Images.of_values(data.values).nats
        if capture is not None and layer in capture.values["states"]:
            most = min(most, capture.values["states"][layer])
        seen = self._seen(layer, checkpoint)
        return most if seen is None else min(most, seen.ceiling(most))

    def _seen(self, layer: str, checkpoint: str | None = None) -> Seen | None:
        """Which values of a layer or latent occurred; None where they were not kept."""
        data = self.cell("data")
        if data is not None and f"latent:{layer}" in data.names():
            if layer not in self._latents:
                groups = data.array("groups") if "groups" in data.names() else None
                self._latents[layer] = seen_values([data.array(f"latent:{layer}")], groups)
            return self._latents[layer]
        capture = self.cell("capture", checkpoint=checkpoint) if layer in self.spec.layers else None
        seen = None if capture is None else capture.values.get("seen", {}).get(layer)
        return None if seen is None else Seen(**seen)

    def read_as(self, layer: str, checkpoint: str | None = None) -> ReadAs:
        """How a layer is read, see `Reading.to_json`; None where that is not known, or it is no layer of a network."""
        capture = self.cell("capture", checkpoint=checkpoint) if layer in self.spec.layers else None
        return None if capture is None else capture.values.get("read_as", {}).get(layer)

    def notes(self, layer: str, checkpoint: str) -> tuple[str, ...]:
        """What must stand beside every number of a layer."""
        capture = self.cell("capture", checkpoint=checkpoint) if layer in self.spec.layers else None
        own = () if capture is None else tuple(capture.values.get("notes", {}).get(layer, ()))
        seen = self._seen(layer, checkpoint)
        return own if seen is None or seen.values > 1 else (*own, CONSTANT)

    def functions(self, layer: str) -> tuple[str, ...]:
        """The measured layers that a layer was found to be a function of, at the last checkpoint."""
        capture = self.cell("capture") if layer in self.spec.layers else None
        return () if capture is None else tuple(capture.values.get("function_of", {}).get(layer, ()))

    def of_labels(self, kind: str, layer: str, checkpoint: str) -> Iterator[Estimate]:
        scores, data = self.readings(kind, layer, checkpoint), self.cell("data")
        if scores and data is not None:
            labels = data.array("labels")[data.array("evaluation")]
            options = {"classes": self._classes(data), "groups": self.groups, "prior": self.spec.prior}
            yield label_information(np.stack([*scores.values()]), labels, kind=kind, **options)

    def _classes(self, data: Stored) -> int:
        """How many classes there are: there may be more than those that occur."""
        return len(self.spec.prior) if isinstance(self.spec.prior, tuple) else data.values["classes"]

    def scores(self, kind: str, layer: str, at: str) -> dict[int, np.ndarray]:
        """Refit -> what a number of this kind is the mean of: an entry for each example."""
        if kind in READERS:
            return self.readings(kind, layer, at)
        if kind == "nce":
            return {refit: self._scores(stored) for refit, stored in self.fits(layer, at)}
        # What was drawn is of the first refit. Samples for one image share its activation: the image is the unit.
        if kind == "sample-variance":
            drawn, data = self.drawn(layer, at), self.cell("data")
            return {} if drawn is None or data is None else {1: variances(drawn, Images.of_values(data.values).levels)}
        judge = self.cell("judge", layer, 0, at)
        if judge is None or not judge.values["classifier"]:
            return {}
        return {1: judge.array("correct").reshape(-1, self.spec.samples.each).mean(1)}

    def drawn(self, layer: str, checkpoint: str) -> np.ndarray | None:
        """The samples (P, S, C, H, W) of a layer, or of p(x) with P = 1; None where there is one of each image."""
        stored = self.cell("samples", layer, 0, checkpoint)
        samples = None if stored is None else stored.array("samples")
        return None if samples is None or samples.shape[1] < 2 else samples


def _held_out(stored: Stored) -> HeldOut:
    """The losses of a fit on the images held out of it."""
    return HeldOut(-stored.array("log_probs:heldout"), stored.array("groups:heldout"))
