"""What each kind of cell of a study of inversion costs, counted for its shapes; and times in words."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from infoplane import densities
from infoplane.information import contrastive_batches
from infoplane.inversion import Reconstructor, SquaredError
from infoplane.inversion.fit import EVALUATION_BATCH
from infoplane.study import keeping
from infoplane.study.candidates import AUTO, CANDIDATES, is_open, offer, settled
from infoplane.study.counting import Drawing, Work, count_memory, count_scoring, count_step
from infoplane.study.machine import TYPICAL
from infoplane.subjects.forward import Staged, tail

#: seconds of a cell apart from its passes: reading, splitting, writing
FIXED = 0.1
#: seconds that a worker process takes to start
START_UP = 4.0
#: bytes that a process holds before it computes anything
BASE_MEMORY = 0.4e9
#: images in a batch in which a network under study is evaluated
SUBJECT_BATCH = 512
#: classes of a label that is read from a layer: what they cost does not show
CLASSES = 10
#: bytes of a weight or an activation, and of a score
WEIGHT, SCORE = 4, 8
#: kinds of cells that read a layer's activations
READERS = ("density", "samples", "mse", "probe", "forward")
#: numbers written for every unit and example of a layer that a cell reads: checked, loaded, standardised
READ = 20
#: most rows and columns of an image on which as little as possible is counted at once
FEW = 32
#: how often a linear probe's fits read the activations, over all strengths of its penalty
PROBE_READS = 800

#: What was counted of densities and inverters, by all that it depends on: counting takes a second for each, and many
#: plans of one process ask for the same.
_COUNTED: dict[Hashable, Any] = {}


class Costs:
    """What each kind of cell costs, for one study's shapes.

    Args:
        shape: (C, H, W) of an image.
        levels: Number of values of a pixel.
        sizes: Part of the split -> number of examples.
        contexts: Layer -> shape of its activation, as densities see it.
        subject: Builds the network under study, or None.
        alike: Whether what passes through a density or an inverter is counted at the widest layer only, and taken to be
            as much at all others: counting takes a second for each.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        sizes: Mapping[str, int],
        contexts: Mapping[str, tuple[int, ...]],
        subject: Callable[[], nn.Module] | None = None,
        *,
        alike: bool = False,
    ) -> None:
        widest = max(contexts.values(), key=math.prod, default=())
        self._passes = dict.fromkeys(contexts, widest) if alike else contexts
        self.shape, self.levels, self.sizes, self.contexts = shape, levels, sizes, contexts
        self.subject = subject
        self._counted: dict[Hashable, Any] = {}

    def of(self, kind: str, params: Mapping[str, Any]) -> Work:
        """Returns the work of a cell; where the data choose its density, with the dearest that they may choose."""
        return max((self._work(kind, each) for each in self.ways(params)), key=TYPICAL.seconds)

    def ways(self, params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Returns the settings that a cell may have once the data have chosen its density, else its own."""
        if not is_open(params):
            return [params]
        kinds = [params["candidate"]] if "candidate" in params else [*CANDIDATES]
        return [settled(params, offer(kind, self.shape, self.levels)) for kind in kinds]

    def _offers(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The candidates, where the data choose a density; else that density by itself, without a batch."""
        if spec["kind"] != AUTO:
            return [{"density": spec, "batch": None, "pace": 1.0}]
        return [offer(kind, self.shape, self.levels) for kind in CANDIDATES]

    def _dearest(self, spec: Mapping[str, Any], work: Callable[[Mapping[str, Any]], Work]) -> Work:
        """The work of the density that needs the most of it, of those that the data may choose."""
        return max((work(each["density"]) for each in self._offers(spec)), key=TYPICAL.seconds)

    def _work(self, kind: str, params: Mapping[str, Any]) -> Work:
        costs = {
            "candidate": self._candidate,
            "density": self._density,
            "trunk": self._trunk,
            "samples": self._samples,
            "mse": self._mse,
            "subject": self._subject,
            "probe": self._probe,
            "forward": self._forward,
            "own": self._own,
            "capture": self._capture,
        }
        work = costs[kind](params) if kind in costs else Work()
        return work + self._reading(params.get("layer")) if kind in READERS else work

    def size(self, kind: str, params: Mapping[str, Any]) -> float:
        """Returns about how many bytes a cell stores: its arrays and weights."""
        return max(self._size(kind, each) for each in self.ways(params))

    def _size(self, kind: str, params: Mapping[str, Any]) -> float:
        evaluation, pixels = self.sizes["evaluation"], math.prod(self.shape)
        if kind == "data":
            # The images, their labels and where they are in the split.
            return (pixels + 16.0) * sum(self.sizes.values())
        if kind == "subject":
            return WEIGHT * self._subject_weights() * len(params["subject"]["train"]["checkpoints"])
        if kind == "capture":
            read = self.sizes["decoding"] + evaluation
            read += min(params["encoding"], self.sizes["encoding"])
            shapes = {layer: self.contexts[layer] for layer in params["layers"]}
            return sum(keeping.kept_layers(shapes, read, params["checkpoints"]).values()) / params["checkpoints"]
        if kind == "density":
            scored = evaluation + self._followed(params, ("encoding", "decoding"))
            return WEIGHT * self._weights(params["density"], params["layer"]) + SCORE * scored
        if kind == "candidate":
            return SCORE * params["fit"]["held_out"] * self.sizes[params["fit_on"]]
        if kind == "trunk":
            return WEIGHT * sum(self._weights(place["density"], place["layer"]) for place in params["places"])
        if kind == "samples":
            return float(pixels * params["each"] * (1 if params["layer"] is None else params["images"]))
        return float(SCORE * evaluation) if kind in ("probe", "forward", "own", "mse") else 0.0

    def _weights(self, spec: Mapping[str, Any], layer: str | None) -> int:
        context = None if layer is None else self.contexts[layer]

        def counted() -> int:
            return sum(p.numel() for p in self._built(spec, context, *self.shape[1:]).parameters())

        return self._of_density(spec, ("weights", context), counted)

    def _subject_weights(self) -> int:
        if self.subject is None:
            return 0
        with torch.device("meta"):
            return sum(p.numel() for p in self.subject().parameters())

    def scoring(self, spec: Mapping[str, Any], layer: str | None) -> Work:
        """Returns the work of a density's log-probability of one image, among many."""
        return self._dearest(spec, lambda density: self._counted_passes(density, layer, None))

    def least(self, spec: Mapping[str, Any]) -> tuple[Work, Work]:
        """Returns at least the work for one image of an unconditional density's training step, and of scoring; at once.

        It is counted on an image of a few pixels, with data, and grows evenly with their number: tensors without data
        take seconds to count on. Where the data choose the density, it is that of the first candidate.
        """
        spec = self._offers(spec)[0]["density"]

        def counted() -> tuple[Work, Work]:
            rows, columns = (min(size, FEW) for size in self.shape[1:])
            with torch.random.fork_rng([]), torch.enable_grad():
                density = self._built(spec, None, rows, columns, device="cpu")
                image = torch.zeros(1, self.shape[0], rows, columns, dtype=torch.uint8)

                def loss(n: int) -> Tensor:
                    return loss_of(density, image.expand(n, -1, -1, -1), None)

                found = count_step(density, loss, 1), count_scoring(density, loss, 1)
            whole = self._built(spec, None, *self.shape[1:])
            grown = whole.looked_at / density.looked_at, math.prod(self.shape[1:]) / (rows * columns)
            # How often an operation is called is shared by all images of a batch.
            step, scoring = (
                replace(work, operations=0).times(1, more) for work, more in zip(found, grown, strict=True)
            )
            return step, scoring

        return self._of_density(spec, ("least",), counted)

    def step(self, spec: Mapping[str, Any], layer: str | None, batch: int) -> Work:
        """Returns the work of one training step of a density on a batch; on its own where the data choose the density,
        and of as many steps as take the time of one of the first candidate's."""
        works = [
            self._counted_passes(each["density"], layer, each["batch"] or batch).times(each["pace"])
            for each in self._offers(spec)
        ]
        return max(works, key=TYPICAL.seconds)

    def seen(self, spec: Mapping[str, Any], batch: int) -> float:
        """Returns how many images' worth of pixels a training step looks at, the fewest of those that the data may
        choose, for which updates count as for the first candidate's."""

        def looked_at(each: Mapping[str, Any]) -> float:
            density = self._built(each["density"], None, *self.shape[1:])
            share = density.looked_at / math.prod(self.shape[1:])
            return (each["batch"] or batch) * share * each["pace"]

        return min(map(looked_at, self._offers(spec)))

    def memory(self, spec: Mapping[str, Any], layer: str | None, batch: int) -> float:
        """Returns about how many bytes one training step of a density on a batch holds."""
        context = None if layer is None else self._passes[layer]

        def counted(spec: Mapping[str, Any], batch: int) -> float:
            density = self._built(spec, context, *self.shape[1:])
            return count_memory(density, self._loss(density, context), batch)

        def held(spec: Mapping[str, Any], batch: int) -> float:
            return self._of_density(spec, ("memory", context, batch), lambda: counted(spec, batch))

        return max(held(each["density"], each["batch"] or batch) for each in self._offers(spec))

    def drawing(self, spec: Mapping[str, Any], images: int) -> Work:
        """Returns the work of drawing so many images at once from an unconditional density."""

        def work(spec: Mapping[str, Any]) -> Work:
            drawing = self._of_density(
                spec, ("drawing",), lambda: Drawing.of(lambda rows, columns: self._built(spec, None, rows, columns))
            )
            return drawing.work(*self.shape[1:], images)

        return self._dearest(spec, work)

    def _candidate(self, params: Mapping[str, Any]) -> Work:
        held = params["fit"]["held_out"] * self.sizes[params["fit_on"]]
        return self._training({**params, "layer": None}) + self.scoring(params["density"], None).times(held)

    def _density(self, params: Mapping[str, Any]) -> Work:
        training = self._training(params) if params["fit"]["updates"] else Work()
        # The evaluation part, and as many of the training images as are held out, twice: with and without them.
        scored = 2 * params["fit"]["held_out"] * self.sizes[params["fit_on"]] + self.sizes["evaluation"]
        scored += self._followed(params, ("encoding", "decoding"))
        if params["contrastive"] is not None:
            sizes = contrastive_batches(self.sizes["evaluation"], **params["contrastive"])
            scored += 0 if sizes is None else sizes.candidates**2 * sizes.count
        return training + self.scoring(params["density"], params["layer"]).times(scored)

    def _trunk(self, params: Mapping[str, Any]) -> Work:
        places = [{**place, "fit": params["fit"], "fit_on": params["fit_on"]} for place in params["places"]]
        return sum((self._training(place) + self._reading(place["layer"]) for place in places), Work())

    def _training(self, params: Mapping[str, Any]) -> Work:
        """The work of a fit's steps and of its evaluations: at the start, and of raw and averaged weights."""
        fit, spec, layer = params["fit"], params["density"], params["layer"]
        scored = fit["held_out"] * self.sizes[params["fit_on"]] * (2 * fit["evaluations"] + 1)
        scored += self._followed(params, tuple(self.sizes)) * fit["evaluations"]
        return self.step(spec, layer, fit["batch"]).times(fit["updates"]) + self.scoring(spec, layer).times(scored)

    def _followed(self, params: Mapping[str, Any], parts: Sequence[str]) -> int:
        """The number of images in these parts of the split on which a density's loss is followed."""
        if params.get("losses") is None:
            return 0
        return sum(min(params["losses"]["images"], self.sizes[part]) for part in parts)

    def _samples(self, params: Mapping[str, Any]) -> Work:
        spec, layer = params["density"], params["layer"]
        images = params["each"] if layer is None else params["images"] * params["each"]
        work = self.drawing(spec, images)
        if layer is not None:
            # What the context adds is the same for all pixels and computed once.
            work += (self.scoring(spec, layer) - self.scoring(spec, None)).times(images)
        return work

    def _mse(self, params: Mapping[str, Any]) -> Work:
        context, fit = self._passes[params["layer"]], params["fit"]

        def both() -> tuple[Work, Work]:
            with torch.device("meta"):
                model = Reconstructor(self.shape, context)
            squared = SquaredError(model, self.levels)

            def loss(n: int) -> Tensor:
                return squared(self._images(n), self._context(context, n))

            return count_scoring(model, loss, EVALUATION_BATCH), count_step(model, loss, fit["batch"])

        image, step = _once(_COUNTED, ("mse", self.shape, self.levels, context, fit["batch"]), both)
        scored = fit["held_out"] * self.sizes[params["fit_on"]] * 2 * fit["evaluations"] + self.sizes["evaluation"]
        return step.times(fit["updates"]) + image.times(scored)

    def _subject(self, params: Mapping[str, Any]) -> Work:
        train = params["subject"]["train"]
        held = train["held_out"] * self.sizes["encoding"]
        if "epochs" in train:
            steps = train["epochs"] * (self.sizes["encoding"] - held) / train["batch"]
            evaluations = train["epochs"] + 1
        else:
            steps, evaluations = train["updates"], train["updates"] / train["evaluate_every"]
        step, image = self._subject_passes(train["batch"]), self._subject_passes()
        return step.times(steps) + image.times(evaluations * held)

    def _forward(self, params: Mapping[str, Any]) -> Work:
        layer, fit = params["layer"], params["fit"]
        shape = self.contexts[layer]

        def both() -> tuple[Work, Work]:
            assert self.subject is not None
            with torch.device("meta"):
                network = self.subject()
                assert isinstance(network, Staged)
                rest = tail(network.classifier(CLASSES), layer)

            def loss(n: int) -> Tensor:
                return rest(self._context(shape, n)).float().sum()

            return count_scoring(rest, loss, SUBJECT_BATCH), count_step(rest, loss, fit["batch"])

        example, step = _once(self._counted, ("forward", layer, fit["batch"]), both)
        held = params["held_out"] * self.sizes["decoding"]
        steps = fit["epochs"] * (self.sizes["decoding"] - held) / fit["batch"]
        scored = self.sizes["evaluation"] + (fit["epochs"] + 2) * held
        return step.times(steps) + example.times(scored)

    def _own(self, params: Mapping[str, Any]) -> Work:
        return self._subject_passes().times(self.sizes["evaluation"])

    def _capture(self, params: Mapping[str, Any]) -> Work:
        examples = self.sizes["decoding"] + self.sizes["evaluation"] + params["encoding"]
        return sum((self._reading(layer) for layer in params["layers"]), self._subject_passes().times(examples))

    def _subject_passes(self, batch: int | None = None) -> Work:
        """The work of one training step of the network under study on a batch, or of one image."""
        subject = self.subject
        if subject is None:
            return Work()

        def counted() -> Work:
            with torch.device("meta"):
                model = subject()

            def loss(n: int) -> Tensor:
                return model(self._images(n).float()).float().sum()

            return count_scoring(model, loss, SUBJECT_BATCH) if batch is None else count_step(model, loss, batch)

        return _once(self._counted, ("subject", batch), counted)

    def _reading(self, layer: str | None) -> Work:
        features = 0 if layer is None else math.prod(self.contexts[layer])
        return Work(written=READ * features * self.sizes["decoding"])

    def _probe(self, params: Mapping[str, Any]) -> Work:
        features = math.prod(self.contexts[params["layer"]])
        return Work(written=PROBE_READS * features * self.sizes["decoding"])

    def _counted_passes(self, spec: Mapping[str, Any], layer: str | None, batch: int | None) -> Work:
        context = None if layer is None else self._passes[layer]

        def counted() -> Work:
            density = self._built(spec, context, *self.shape[1:])
            loss = self._loss(density, context)
            return count_scoring(density, loss, EVALUATION_BATCH) if batch is None else count_step(density, loss, batch)

        return self._of_density(spec, ("density", context, batch), counted)

    def _loss(self, density: densities.Density, context: tuple[int, ...] | None) -> Callable[[int], Tensor]:
        """The loss of so many images of no data."""
        return lambda n: loss_of(density, self._images(n), None if context is None else self._context(context, n))

    def _of_density(self, spec: Mapping[str, Any], key: tuple[Hashable, ...], make: Callable[[], Any]) -> Any:
        """What is counted of a density of these images: the same in every study, so once in a process."""
        kind = densities.REGISTRY[spec["kind"]]
        return _once(_COUNTED, (kind, repr(sorted(spec.items())), self.shape, self.levels, *key), make)

    def _built(
        self,
        spec: Mapping[str, Any],
        context: tuple[int, ...] | None,
        rows: int,
        columns: int,
        *,
        device: str = "meta",
    ) -> densities.Density:
        options = dict(spec)
        kind = options.pop("kind")
        shape = (self.shape[0], rows, columns)
        return densities.build(kind, shape, self.levels, context, options, device=device)

    def _images(self, n: int) -> Tensor:
        return torch.zeros(n, *self.shape, dtype=torch.uint8, device="meta")

    def _context(self, shape: tuple[int, ...], n: int) -> Tensor:
        return torch.zeros(n, *shape, device="meta")


def loss_of(density: densities.Density, images: Tensor, context: Tensor | None) -> Tensor:
    """Returns what a training step differentiates, or scoring computes, whichever the density is about to do: (B,)."""
    if not density.training:
        return -density.log_prob(images, context)
    guide = None if context is None else torch.zeros(images.shape, device=images.device)
    return density.training_loss(images, context, guide)


def _once(counted: dict[Hashable, Any], key: Hashable, make: Callable[[], Any]) -> Any:
    if key not in counted:
        counted[key] = make()
    return counted[key]


def spoken_size(size: float) -> str:
    """Returns a number of bytes as one would say it."""
    for unit, many in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= many:
            return f"{size / many:.3g} {unit}"
    return f"{size / 1e3:.0f} kB"


def keeping_words(kept: Mapping[str, int], layers: Sequence[str]) -> str:
    """Returns what is said beforehand of the layers whose activations are kept, with their bytes, and of the others."""
    others = [layer for layer in layers if layer not in kept]
    said = f"activations of {len(kept)} of {len(layers)} layers are kept: about {spoken_size(sum(kept.values()))}"
    if not others:
        return said
    most = spoken_size(keeping.CACHE_BYTES)
    return f"{said} of {most} that they may take; computed anew for every batch: {', '.join(others)}"


def words(seconds: float) -> str:
    """Returns a time as one would say it."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 99.95:
        return f"{hours:.1f} h"
    # Two digits are more than a forecast knows.
    rounded = round(hours, 1 - math.floor(math.log10(hours)))
    return f"{rounded:,.0f} h ({hours / 24:.0f} days)"
