"""What is measured beside the data: the network under study, and its activations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from infoplane import data, subjects
from infoplane.capture import (
    LayerInfo,
    at_once,
    default_transform,
    dependence,
    fired,
    functions_of,
    list_layers,
    recorded,
)
from infoplane.capture.feeding import dependence_of_transform
from infoplane.capture.recording import in_single
from infoplane.engine.arrays import ArrayWriter
from infoplane.engine.kind import Kind
from infoplane.engine.store import ARRAYS_FILE, Result
from infoplane.engine.worker import Progress
from infoplane.errors import UsageError, plural, spoken_size
from infoplane.estimate import Estimate
from infoplane.information import accuracy, hashes_of, seen_hashes, states_ceiling
from infoplane.measurements.base import Measurement, Scores, is_of
from infoplane.measurements.cost import WEIGHT, Costs
from infoplane.measurements.counting import Work
from infoplane.measurements.numbers import Place
from infoplane.measurements.task import Live, Task, build_subject

#: images by which it is found out what a layer depends on
LOOKED_AT = 8
#: images that are paired to find out which layers are functions of which
PAIRED = 32
#: bytes that the kept activations of all layers and checkpoints of a study may take together, in its folder
CACHE_BYTES = 8 * 1024**3


class Subject(Kind):
    """The network under study, trained on the encoding part.

    Attributes:
        subject: Its kind, how it is trained, and what its constructor takes.
    """

    kind: ClassVar[str] = "subject"
    keeps: ClassVar[tuple[str, ...]] = ("subject.train.checkpoints",)

    subject: dict[str, Any]
    seed: int

    def run(self, task: Task) -> Result:
        spec = dict(self.subject)
        train, kind = spec.pop("train"), spec.pop("kind")
        seed, device = self.seed, task.environment.device
        settings, objective = subjects.settings_of(kind).model_validate(train), subjects.objective_of(kind)
        encoding = task.split("encoding")
        kept, held = encoding, encoding[:0]
        if settings.held_out:
            kept, held = data.hold_out(encoding, settings.held_out, seed, task.groups(encoding))
        if objective == "cross-entropy" and not task.data.values["classes"]:
            raise UsageError(
                "a classifier needs labels", received=f"data set {task.data.values['name']!r} without labels"
            )
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            model = build_subject(kind, spec, task.data.values).to(device)
        images, looked_at = task.images(kept).to(device), task.images(held).to(device)
        of = (task.labels(index) for index in (kept, held))
        labels, known = (None if each is None else torch.as_tensor(each).to(device) for each in of)
        progress = task.environment.progress
        common = {"transform": default_transform(task.space.levels), "seed": seed}
        values: dict[str, Any] = {"kind": kind, "options": spec}
        if isinstance(settings, subjects.EpochSettings):
            told = progress if objective == "cross-entropy" else without_nats(progress)
            network = subjects.train_epochs(
                model, images, labels, looked_at, known, settings, objective=objective, progress=told, **common
            )
            values |= {"epochs": network.epochs, "curves": network.curves, "objective": objective}
            return Result(values, weights=network.states)
        assert labels is not None
        assert known is not None
        trained = subjects.train_classifier(
            model, images, labels, looked_at, known, settings=settings, progress=progress, **common
        )
        values |= {"updates": trained.updates, "best_update": trained.best_update}
        values["validation_accuracy"] = trained.validation_accuracy
        return Result(values, weights=trained.states)

    def work(self, costs: Costs) -> Work:
        train = self.subject["train"]
        held = train["held_out"] * costs.sizes["encoding"]
        if "epochs" in train:
            steps = train["epochs"] * (costs.sizes["encoding"] - held) / train["batch"]
            evaluations = train["epochs"] + 1
        else:
            steps, evaluations = train["updates"], train["updates"] / train["evaluate_every"]
        return costs.subject.step(train["batch"]).times(steps) + costs.subject.image.times(evaluations * held)

    def size(self, costs: Costs) -> float:
        return WEIGHT * costs.subject.weights * len(self.subject["train"]["checkpoints"])


def without_nats(progress: Progress) -> Progress:
    """Returns a progress whose third figure, the display's nats, is left out: what is reported is something else."""
    return lambda done, total, _: progress(done, total, None)


class Capture(Kind):
    """The layers' activations on the decoding and evaluation parts, and the classifier's right answers.

    Attributes:
        encoding: Also those of so many images of the encoding part, on which a density's loss is followed.
        checkpoints: With how many checkpoints the room for activations is shared.
        read_as: Layer -> how its axes are read, where that is not left to the program.
        fingerprint, weights, activations: Hashes of the data, and of a network that exists in the calling process: of
            its weights, and of each layer's activations.
    """

    kind: ClassVar[str] = "capture"
    live: ClassVar[bool] = True
    keeps: ClassVar[tuple[str, ...]] = ("layers", "encoding", "checkpoints", "activations", "read_as")

    layers: tuple[str, ...]
    checkpoint: str
    encoding: int
    checkpoints: int
    read_as: dict[str, str]
    seed: int
    fingerprint: str = ""
    weights: str = ""
    activations: dict[str, str] = Field(default_factory=dict)

    def run(self, task: Task) -> Result:
        live = task.live(self.checkpoint)
        with live.in_place():
            return self._captured(task, live)

    def work(self, costs: Costs) -> Work:
        examples = costs.sizes["decoding"] + costs.sizes["evaluation"] + self.encoding
        return sum((costs.reading(layer) for layer in self.layers), costs.subject.image.times(examples))

    def size(self, costs: Costs) -> float:
        return sum(self.kept(costs).values()) / self.checkpoints

    def kept(self, costs: Costs) -> dict[str, int]:
        """Returns the layers whose activations are kept, with their bytes at all checkpoints."""
        read = costs.sizes["decoding"] + costs.sizes["evaluation"] + min(self.encoding, costs.sizes["encoding"])
        return kept_layers({layer: costs.contexts[layer] for layer in self.layers}, read, self.checkpoints)

    def _captured(self, task: Task, live: Live) -> Result:
        layers = list(self.layers)
        example = live.inputs(task.images(task.split("decoding")[:LOOKED_AT]))
        known = bool(live.readings)
        image = (task.space.height, task.space.width)
        listed = (
            fired(live.model, example) if known else list_layers(live.model, example, read_as=self.read_as, image=image)
        )
        sizes = {info.name: info for info in listed}
        readings = live.readings or {name: info.reading for name, info in sizes.items() if info.reading is not None}
        if known:
            notes, drawn = live.notes, live.random
        else:
            few = task.images(task.split("decoding")[: at_once(example)])
            notes, drawn = look_closer(live, few, [sizes[layer] for layer in layers])
        parts = {part: task.split(part) for part in ("decoding", "evaluation")}
        if self.encoding:
            parts["encoding"] = task.split("encoding")[: self.encoding]
        # What is random is drawn anew for every batch of every fit, from the fit's own seed.
        keepable = {layer: sizes[layer].shape for layer in layers if layer not in drawn}
        cached = list(kept_layers(keepable, sum(map(len, parts.values())), self.checkpoints))
        on_the_fly = [layer for layer in layers if layer not in cached]
        values = {"on_the_fly": on_the_fly, "seen": {}, "states": {}, "checkpoint": self.checkpoint}
        values["shapes"] = {layer: list(sizes[layer].shape) for layer in layers}
        values["read_as"] = {layer: readings[layer].to_json() for layer in layers if layer in readings}
        values["notes"] = {layer: list(notes[layer]) for layer in layers if layer in notes}
        paired = live.inputs(task.images(task.split("decoding")[: min(PAIRED, at_once(example))]))
        values["function_of"] = functions_of(live.model, layers, paired, unsure=[*notes])
        for layer in layers:
            # Activations are measured in float32, whatever finer type they were computed in.
            bits = min(32, sizes[layer].bits)
            values["states"][layer] = states_ceiling(math.prod(sizes[layer].shape), bits)
        labels, arrays = task.labels(task.split("evaluation")), {}
        given = answers(task, live, task.images(task.split("evaluation"))) if labels is not None else None
        if isinstance(given, int):
            values["outputs"] = given
        elif given is not None and labels is not None:
            classes = task.data.values["classes"]
            shares = [np.bincount(each, minlength=classes) / len(given) for each in (given, labels)]
            values["chance"] = float(shares[0] @ shares[1])
            arrays["correct"] = (given == labels).astype(np.uint8)
        if not cached:
            return Result(values, arrays)
        outlines = {
            f"{part}:{layer}": (np.dtype(np.float32), (len(index), *sizes[layer].shape))
            for part, index in parts.items()
            for layer in cached
        }
        outlines |= {name: (array.dtype, array.shape) for name, array in arrays.items()}
        assert task.environment.scratch is not None
        path = task.environment.scratch / ARRAYS_FILE
        with ArrayWriter(path, outlines) as file:
            for name, array in arrays.items():
                file.append(name, array)
            hashes = _record(task, live, cached, parts, at_once(example), file)
        groups = task.groups(np.concatenate([parts["decoding"], parts["evaluation"]]))
        values["seen"] = {layer: asdict(seen_hashes(hashes[layer], groups)) for layer in cached}
        return Result(values, file=path)


def kept_layers(
    shapes: Mapping[str, Sequence[int]], examples: int, checkpoints: int = 1, *, most: int | None = None
) -> dict[str, int]:
    """Returns the layers whose activations are kept, with their bytes at all checkpoints; the others are computed anew.

    Narrow layers come first: they cost least to keep, and as much as any to compute.

    Args:
        shapes: Layer -> shape of one activation.
        examples: Images of which activations are wanted.
        checkpoints: At how many checkpoints they are wanted.
        most: Bytes that there is room for; default: `CACHE_BYTES`.
    """
    left = CACHE_BYTES if most is None else most
    found: dict[str, int] = {}
    sizes = {layer: WEIGHT * examples * checkpoints * math.prod(shape) for layer, shape in shapes.items()}
    for layer in sorted(shapes, key=lambda layer: sizes[layer]):
        if sizes[layer] > left:
            break
        found[layer], left = sizes[layer], left - sizes[layer]
    return {layer: found[layer] for layer in shapes if layer in found}


def keeping_words(kept: Mapping[str, int], layers: Sequence[str]) -> str:
    """Returns what is said beforehand of the layers whose activations are kept, with their bytes, and of the others."""
    others = [layer for layer in layers if layer not in kept]
    said = f"activations of {len(kept)} of {len(layers)} layers are kept: about {spoken_size(sum(kept.values()))}"
    if not others:
        return said
    most = spoken_size(CACHE_BYTES)
    return f"{said} of {most} that they may take; computed anew for every batch: {', '.join(others)}"


def look_closer(
    live: Live, images: np.ndarray | Tensor, layers: Sequence[LayerInfo]
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """Returns what must be said of layers that depend on more than their images, and those that are random.

    They are tried again in a batch as large as those that are captured, for what the few images by which they were
    looked up do not show.
    """
    closer = dependence(live.model, live.inputs(images), [info.name for info in layers], rows=max(2, len(images)))
    notes = {name: own.notes for name, own in closer.items()} | {info.name: info.notes for info in layers if info.notes}
    random = {name for name, own in closer.items() if own.random} | {info.name for info in layers if info.random}
    fed = dependence_of_transform(live.transform, images)
    for info in layers:
        said = [note for note in fed.notes if note not in notes.get(info.name, ())]
        if said:
            notes[info.name] = (*notes.get(info.name, ()), *(f"{note} (in the transform)" for note in said))
    return notes, frozenset(random | ({info.name for info in layers} if fed.random else set()))


def _record(
    task: Task, live: Live, layers: list[str], parts: Mapping[str, np.ndarray], batch: int, file: ArrayWriter
) -> dict[str, np.ndarray]:
    """Writes the activations of all parts in one pass over the images.

    Returns: Layer -> hashes of its values on the decoding and evaluation parts.
    """
    chunks = [(part, index[i : i + batch]) for part, index in parts.items() for i in range(0, len(index), batch)]
    hashes: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    images = (task.images(chunk) for _, chunk in chunks)
    found = recorded(live.model, layers, images, transform=live.transform)
    for done, ((part, _), activations) in enumerate(zip(chunks, found, strict=True), start=1):
        for layer, h in activations.items():
            rows = in_single(layer, h).numpy()
            file.append(f"{part}:{layer}", rows)
            if part != "encoding":
                hashes[layer].append(hashes_of(rows))
        task.environment.progress(done, len(chunks), None)
    return {layer: np.concatenate(each) for layer, each in hashes.items()}


def answers(task: Task, live: Live, images: Tensor) -> np.ndarray | int | None:
    """The class that the network gives each image, (n,); where its outputs are not one for each class, their number.

    None where it ends in no vector.
    """
    inputs = live.inputs(images[:2])
    taps, batch = fired(live.model, inputs), at_once(inputs)
    root = "<output>" if "output" in dict(live.model.named_children()) else "output"
    # Tapped like any layer, so that the network is left as it was found, whatever it does.
    scores = next((tap for tap in taps if tap.name in (root, f"{root}[logits]")), None)
    if scores is None or scores.problem or len(scores.shape) != 1:
        return None
    if scores.shape[0] != task.data.values["classes"]:
        return scores.shape[0]
    tap = live.tap([scores.name], "cpu")
    chunks = [tap(images[i : i + batch])[scores.name] for i in range(0, len(images), batch)]
    return torch.cat(chunks).argmax(1).numpy()


class Accuracy(Measurement):
    """The share of evaluation images that the network classifies as labelled, where it classifies them."""

    kind: ClassVar = "accuracy"
    name: ClassVar = "Accuracy of the network"
    meaning: ClassVar = "Share of evaluation images that the network under study puts in the right class."
    unit: ClassVar = "fraction"
    of_network: ClassVar = True

    def scores(self, run: Any, place: Place) -> Scores:
        capture = run.cell("capture", checkpoint=place.checkpoint) if is_of(place, "network") else None
        return {} if capture is None or "correct" not in capture.names() else {0: capture.array("correct")}

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        scores = self.scores(run, place)
        if not scores:
            return None
        chance = run.cell("capture", checkpoint=place.checkpoint).values.get("chance")
        return accuracy(scores[0], groups=run.groups, chance=chance)

    def absent(self, run: Any) -> str:
        """Why there is none, where the network ends in numbers that are no answers."""
        capture, data = run.cell("capture") if run.spec.layers else None, run.cell("data")
        if capture is None or data is None or "outputs" not in capture.values:
            return ""
        named = plural(data.values["classes"], "class", "classes")
        return f"the network ends in {plural(capture.values['outputs'], 'number')}, the labels name {named}"


ACCURACY = Accuracy()
