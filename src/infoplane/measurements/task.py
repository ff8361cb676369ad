"""What a cell sees when it runs: its parameters, the stored results that it needs, and what is made of them."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoplane import data, subjects
from infoplane.capture import Reading, Tap, default_transform, model_input, seeded
from infoplane.capture.inputs import quoted
from infoplane.capture.pytrees import own_batch
from infoplane.capture.recording import in_single
from infoplane.data.space import Images
from infoplane.data.split import PARTS
from infoplane.engine.store import Stored
from infoplane.engine.worker import Environment
from infoplane.inversion import Pairs, Standardiser
from infoplane.subjects.given import holding

#: the checkpoint of the finished network
END = "end"

Transform = Callable[[Tensor], Any]


@dataclass(frozen=True)
class Live:
    """A network that exists only in the calling process.

    Attributes:
        transform: From uint8 images to its input.
        states: Checkpoint -> its weights there; as it is, it is the last one.
        readings: Layer -> how it is read, the same at every checkpoint.
        notes: Layer -> what must stand beside its numbers; those that have something.
        random: Layers that are drawn anew in every run.
        weights: Those that it is looked at with, where they are not its own.
    """

    model: nn.Module
    transform: Transform
    states: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    readings: Mapping[str, Reading] = field(default_factory=dict)
    notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    random: frozenset[str] = frozenset()
    weights: Mapping[str, Tensor] | None = None

    def inputs(self, images: np.ndarray | Tensor) -> Any:
        """The network's inputs for a few images, always the same ones; the images are left as they are."""
        with seeded(0):
            return model_input(self.transform, own_batch(images))

    def tap(self, layers: list[str], device: torch.device | str) -> Tap:
        """From images to the activations of layers."""
        return Tap(self.model, layers, transform=quoted(self.transform), device=device)

    def at(self, checkpoint: str) -> "Live":
        """The network at a checkpoint."""
        return replace(self, weights=self.states.get(checkpoint))

    def in_place(self) -> AbstractContextManager[None]:
        """While active, the network has the weights of its checkpoint, and afterwards its own again.

        Not a copy of it, which not every model has: one with a lock, or with tensors that it keeps.
        """
        return nullcontext() if self.weights is None else holding(self.model, self.weights)


@dataclass(frozen=True)
class Task:
    """One cell about to run: what it needs, and where it runs."""

    needs: Mapping[str, Stored]
    environment: Environment
    #: layer -> what standardises its contexts, found once
    _standardisers: dict[str, Standardiser] = field(default_factory=dict, init=False, repr=False)

    # --- the data ---

    @property
    def data(self) -> Stored:
        return self.needs["data"]

    @property
    def space(self) -> Images:
        return Images.of_values(self.data.values)

    def images(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(self.data.array("images")[index])

    def groups(self, index: np.ndarray) -> np.ndarray | None:
        """The group of each of these images, where it is known which of them are copies."""
        return self.data.array("groups")[index] if "groups" in self.data.names() else None

    def labels(self, index: np.ndarray) -> np.ndarray | None:
        return self.data.array("labels")[index] if self.data.values["classes"] else None

    def split(self, part: str) -> np.ndarray:
        return self.data.array(part)

    def at(self, capture: str) -> "Task":
        """The task with one of several captures as the one that contexts come from."""
        return replace(self, needs={**self.needs, "capture": self.needs[capture]})

    # --- the network under study ---

    def live(self, checkpoint: str = END) -> Live:
        if self.environment.live is not None:
            return self.environment.live.at(checkpoint)
        subject = self.needs["subject"]
        with torch.random.fork_rng([]):  # initial weights that the stored ones replace
            model = build_subject(subject.values["kind"], subject.values["options"], self.data.values)
        model.load_state_dict(subject.weights(checkpoint))
        return Live(model.to(self.environment.device).eval(), default_transform(self.space.levels))

    # --- contexts ---

    def pairs(self, layer: str | None, part: str, first: int | None = None) -> Pairs:
        """The images of one part of the split, or its first ones, with their contexts at a layer.

        These are standardised on the decoding part.
        """
        index = torch.from_numpy(self.split(part)[:first])
        images = torch.from_numpy(self.data.array("images"))
        device = self.environment.device
        known = self.groups(index.numpy())
        groups = None if known is None else torch.from_numpy(known)
        if layer is None:
            return Pairs(images, rows=index, groups=groups, device=device)
        standardise, view = self.standardiser(layer), None
        if self._is_latent(layer):
            context: Any = torch.from_numpy(self.data.array(f"latent:{layer}"))[index]
        elif layer in self.needs["capture"].values["on_the_fly"]:
            context = self._on_the_fly(layer)
        else:
            context, view = self._cached(layer, part, first), self.reading(layer).spread
        return Pairs(images, context, rows=index, view=view, standardise=standardise, groups=groups, device=device)

    def reading(self, layer: str) -> Reading:
        """How a layer's axes are read."""
        return Reading.from_json(self.needs["capture"].values["read_as"][layer])

    def units(self, layer: str) -> Callable[[Tensor], Tensor]:
        """From contexts at a layer to vectors (B, d) that hold every unit once."""
        return (lambda context: context.flatten(1)) if self._is_latent(layer) else self.reading(layer).units

    def standardiser(self, layer: str) -> Standardiser:
        """What standardises a layer's contexts, from the decoding part."""
        if layer in self._standardisers:
            return self._standardisers[layer]
        if self._is_latent(layer):
            contexts: Any = [torch.from_numpy(self.data.array(f"latent:{layer}"))[self.split("decoding")]]
        elif layer not in self.needs["capture"].values["on_the_fly"]:
            contexts = self.reading(layer).batches(self._cached(layer, "decoding"))
        else:
            sample = self.images(self.split("decoding")[:2048]).to(self.environment.device)
            parts = sample.split(min(256, self.reading(layer).rows_in_work))
            contexts = map(self._on_the_fly(layer), parts)
        return self._standardisers.setdefault(layer, Standardiser.of(contexts))

    def _is_latent(self, layer: str) -> bool:
        return f"latent:{layer}" in self.data.names()

    def _cached(self, layer: str, part: str, first: int | None = None) -> Tensor:
        recorded = torch.from_numpy(self.needs["capture"].array(f"{part}:{layer}")[:first])
        return self.reading(layer).condense(recorded)

    def _on_the_fly(self, layer: str) -> Callable[[Tensor], Tensor]:
        live = self.live(self.needs["capture"].values["checkpoint"])
        tap, reading = live.tap([layer], self.environment.device), self.reading(layer)

        def of(batch: Tensor) -> Tensor:
            with live.in_place():
                return reading(in_single(layer, tap(batch.cpu())[layer]))

        return of

    def followed(self, layer: str | None, images: int | None) -> dict[str, Pairs]:
        """The first pairs of every part of the split, on which a density's loss is followed; none for None."""
        if images is None:
            return {}
        return {part: self.pairs(layer, part, images) for part in PARTS if len(self.split(part))}

    def fitting_pairs(self, layer: str | None, part: str, held_out: float, seed: int) -> tuple[Pairs, Pairs]:
        """The part that densities are trained on, without and with only the examples held out for early stopping."""
        kept, held = self.parted(part, held_out, seed)
        pairs = self.pairs(layer, part)
        return pairs.subset(kept), pairs.subset(held)

    def held_out_groups(self, part: str, held_out: float, seed: int) -> np.ndarray:
        """The group of each image that is held out for early stopping: those that belong together have the same."""
        held, groups = self.parted(part, held_out, seed)[1], self.groups(self.split(part))
        return held if groups is None else groups[held]

    def parted(self, part: str, held_out: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The places, in a part, of what is trained on and of what is held out for early stopping."""
        index = self.split(part)
        return data.hold_out(np.arange(len(index)), held_out, seed, self.groups(index))


def build_subject(kind: str, options: Mapping[str, Any], values: Mapping[str, Any]) -> nn.Module:
    """The network under study with its initial weights, from the caller's random state."""
    return subjects.REGISTRY[kind](Images.of_values(values).shape, values["classes"], **options)
