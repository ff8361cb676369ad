"""The stored cells of a study of inversion by role: scores, what layers are read as and with, and what bounds them."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np

from infoplane.data import Images
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store, Stored
from infoplane.errors import in_networks
from infoplane.information import Seen, seen_values
from infoplane.measurements.densities import ReadAs, twin_of
from infoplane.measurements.numbers import INPUT, NETWORK, Number, Place
from infoplane.measurements.readers import HeldOut, LayerReader, choose_reader, functions_by_layer
from infoplane.measurements.run import Run

#: what is said of a layer that tells no image from another
CONSTANT = "activations do not vary over images"
#: scores of so many fits are kept
LAST = 32


class Layers(Run):
    """What the cells of a study of inversion hold so far, of the first network where there are several.

    Args:
        network: Which one instead.
    """

    def __init__(self, spec: Any, plan: Plan, store: Store, network: str = "") -> None:
        super().__init__(spec, plan, store)
        self.network = network
        self.layers = [*spec.latents, *spec.layers]
        self.checkpoints = spec.checkpoints
        self._fits: dict[tuple[str, str | None], list[tuple[int, Stored]]] = {}
        self._latents: dict[str, Seen] = {}
        self._readers: dict[tuple[str, str | None], LayerReader] = {}
        #: (layer, checkpoint, refits) -> what must be said of these densities
        self.said: dict[tuple[str, str, tuple[int, ...]], tuple[str, ...]] = {}
        # The scores that were read last: those of a fit are asked for by itself, with others and against its twin.
        self._scores = lru_cache(maxsize=LAST)(lambda stored: stored.array("log_probs"))

    @property
    def places(self) -> list[tuple[str, str]]:
        """(layer, checkpoint) of everything that is measured: latents, which belong to none, then by checkpoint."""
        latents = [(latent, "") for latent in self.spec.latents]
        return latents + [(layer, checkpoint) for checkpoint in self.checkpoints for layer in self.spec.layers]

    @cached_property
    def runs(self) -> list[Self]:
        """The same of each network under study."""
        return [self, *(self._beside(self.spec, network) for network in self.spec.networks[1:])]

    @cached_property
    def with_own_readers(self) -> Self:
        """The same where every layer is read with its own density."""
        return self._beside(self.spec.model_copy(update={"readers": "own"}), self.network)

    def _beside(self, spec: Any, network: str) -> Self:
        """The same of another network or study, with the cells that are loaded already."""
        other = type(self)(spec, self.plan, self.store, network)
        other._loaded = self._loaded
        return other

    @property
    def order(self) -> tuple[str, ...]:
        return self.checkpoints

    @property
    def spots(self) -> list[Place]:
        """p(x), latents, then by checkpoint the network itself and its layers."""
        found = [Place(INPUT), *(Place(latent) for latent in self.spec.latents)]
        for checkpoint in self.checkpoints if self.spec.layers else ():
            found += [Place(layer, checkpoint) for layer in (NETWORK, *self.spec.layers)]
        return found

    def noted(self, number: Number) -> Number:
        """What activations depend on beside their image is a flag of every number of such a layer."""
        layer, checkpoint, network, _ = number.place
        runs = [self.runs[int(network) - 1]] if network else self.runs
        notes = in_networks([each.notes(layer, checkpoint) for each in runs])
        estimate = number.estimate
        return number._replace(estimate=replace(estimate, flags=(*estimate.flags, *notes))) if notes else number

    @cached_property
    def groups(self) -> np.ndarray | None:
        """The groups (n,) of the evaluation images where some of them belong together, else None."""
        return self.groups_of("evaluation")

    def groups_of(self, part: str, first: int | None = None) -> np.ndarray | None:
        data = self.cell("data")
        if data is None:
            return None
        found = data.array("groups")[data.array(part)[:first]]
        return found if len(np.unique(found)) < len(found) else None

    def cell(self, kind: str, layer: str = "", refit: int = 0, checkpoint: str | None = None) -> Stored | None:
        """The stored result in that role, or None where it is missing or damaged.

        Args:
            checkpoint: Of the network; default: the last one, where the role has any.
        """
        points = (self.checkpoints[-1], "") if checkpoint is None else (checkpoint,)
        # What is filed under no network is of all of them.
        roles = ((point, network) for network in dict.fromkeys((self.network, "")) for point in points)
        names = (self.plan.name(kind, layer, refit, *role) for role in roles)
        return self.stored(next((name for name in names if name is not None), None))

    @property
    def choice(self) -> Mapping[str, Any] | None:
        """What was found where the data choose the density; None where they do not, or have not yet."""
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

    def reader(self, layer: str, checkpoint: str | None = None) -> LayerReader:
        """With whose density the numbers of a layer are read at a checkpoint: see `infoplane.measurements.readers`."""
        if (key := (layer, checkpoint)) in self._readers:
            return self._readers[key]
        capture = self.cell("capture", checkpoint=checkpoint) if layer in self.spec.layers else None
        if self.spec.readers == "own" or capture is None:
            return LayerReader(layer)
        later = functions_by_layer(capture.values.get("function_of", {})).get(layer, [])
        # Usable information is against the twin of a layer's family, and of no other.
        names = [layer, *(name for name in later if name in self.twins and self.twins[name] == self.twins[layer])]
        fits = {name: self.own_fits(name, checkpoint) for name in names}
        means = {name: {at: each.values["heldout_nats"] for at, each in own} for name, own in fits.items()}
        found = choose_reader(layer, means, lambda name: {refit: _held_out(each) for refit, each in fits[name]})
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

    def scores(self, layer: str, checkpoint: str) -> dict[int, np.ndarray]:
        """Refit -> log-probabilities of the evaluation part (n,)."""
        return {refit: self._scores(stored) for refit, stored in self.fits(layer, checkpoint)}

    def log_probs(self, layer: str, refits: list[int] | None = None, checkpoint: str | None = None) -> np.ndarray:
        """Log-probabilities of the evaluation part, (R, n), of these refits or of all finished ones."""
        fits = self.fits(layer, checkpoint)
        rows = [self._scores(stored) for refit, stored in fits if refits is None or refit in refits]
        return np.stack(rows) if rows else np.zeros((0, 0))

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
                self._latents[layer] = seen_values([data.array(f"latent:{layer}")], data.array("groups"))
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


def _held_out(stored: Stored) -> HeldOut:
    """The losses of a fit on the images held out of it."""
    return HeldOut(-stored.array("log_probs:heldout"), stored.array("groups:heldout"))
