"""What each kind of cell of a study of inversion costs, counted for its shapes; and times in words."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from infoplane import densities
from infoplane.engine.kind import Kind
from infoplane.inversion import Reconstructor, SquaredError
from infoplane.inversion.fit import EVALUATION_BATCH
from infoplane.measurements import keeping
from infoplane.measurements.candidates import AUTO, CANDIDATES, as_chosen, is_open, offer
from infoplane.measurements.counting import Drawing, Work, count_memory, count_scoring, count_step
from infoplane.measurements.machine import TYPICAL
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
        network: Builds the network under study, or None.
        alike: Whether what passes through a density or an inverter is counted at the widest layer only, and taken to be
            as much at all others: counting takes a second for each.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        sizes: Mapping[str, int],
        contexts: Mapping[str, tuple[int, ...]],
        network: Callable[[], nn.Module] | None = None,
        *,
        alike: bool = False,
    ) -> None:
        widest = max(contexts.values(), key=math.prod, default=())
        self._passes = dict.fromkeys(contexts, widest) if alike else contexts
        self.shape, self.levels, self.sizes, self.contexts = shape, levels, sizes, contexts
        self.network = network
        self._counted: dict[Hashable, Any] = {}

    def of(self, kind: Kind) -> Work:
        """Returns the work of a cell; where the data choose its density, with the dearest that they may choose."""
        return max((way.work(self) or Work() for way in self.ways(kind)), key=TYPICAL.seconds)

    def size(self, kind: Kind) -> float:
        """Returns about how many bytes a cell stores: its arrays and weights."""
        return max(way.size(self) for way in self.ways(kind))

    def ways(self, kind: Kind) -> list[Kind]:
        """Returns the settings that a cell may have once the data have chosen its density, else its own."""
        if not is_open(kind):
            return [kind]
        own = getattr(kind, "candidate", None)
        return [as_chosen(kind, offer(each, self.shape, self.levels)) for each in ([own] if own else CANDIDATES)]

    def _offers(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The candidates, where the data choose a density; else that density by itself, without a batch."""
        if spec["kind"] != AUTO:
            return [{"density": spec, "batch": None, "pace": 1.0}]
        return [offer(kind, self.shape, self.levels) for kind in CANDIDATES]

    def _dearest(self, spec: Mapping[str, Any], work: Callable[[Mapping[str, Any]], Work]) -> Work:
        """The work of the density that needs the most of it, of those that the data may choose."""
        return max((work(each["density"]) for each in self._offers(spec)), key=TYPICAL.seconds)

    def weights(self, spec: Mapping[str, Any], layer: str | None) -> int:
        """Returns how many weights a density has."""
        context = None if layer is None else self.contexts[layer]

        def counted() -> int:
            return sum(p.numel() for p in self._built(spec, context, *self.shape[1:]).parameters())

        return self._of_density(spec, ("weights", context), counted)

    def subject_weights(self) -> int:
        """Returns how many weights the network under study has."""
        if self.network is None:
            return 0
        with torch.device("meta"):
            return sum(p.numel() for p in self.network().parameters())

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

    def training(
        self, spec: Mapping[str, Any], layer: str | None, fit: Mapping[str, Any], part: str, watched: int | None = None
    ) -> Work:
        """Returns the work of a fit's steps and of its evaluations: at the start, and of raw and averaged weights.

        Args:
            fit: Fields of `FitSettings`.
            part: What it is trained on.
            watched: On how many images of each part its loss is followed; None where it is not.
        """
        scored = fit["held_out"] * self.sizes[part] * (2 * fit["evaluations"] + 1)
        scored += self.followed(watched, tuple(self.sizes)) * fit["evaluations"]
        return self.step(spec, layer, fit["batch"]).times(fit["updates"]) + self.scoring(spec, layer).times(scored)

    def followed(self, images: int | None, parts: Sequence[str]) -> int:
        """Returns the number of images in these parts of the split on which a density's loss is followed."""
        return 0 if images is None else sum(min(images, self.sizes[part]) for part in parts)

    def reconstructor(self, layer: str, batch: int) -> tuple[Work, Work]:
        """Returns the work of the MSE inverter's score of one image, and of a training step on a batch."""
        context = self._passes[layer]

        def both() -> tuple[Work, Work]:
            with torch.device("meta"):
                model = Reconstructor(self.shape, context)
            squared = SquaredError(model, self.levels)

            def loss(n: int) -> Tensor:
                return squared(self._images(n), self._context(context, n))

            return count_scoring(model, loss, EVALUATION_BATCH), count_step(model, loss, batch)

        return _once(_COUNTED, ("mse", self.shape, self.levels, context, batch), both)

    def rest(self, layer: str, batch: int) -> tuple[Work, Work]:
        """Returns the work of what follows a layer: of one example, and of a training step on a batch."""
        shape = self.contexts[layer]

        def both() -> tuple[Work, Work]:
            assert self.network is not None
            with torch.device("meta"):
                network = self.network()
                assert isinstance(network, Staged)
                rest = tail(network.classifier(CLASSES), layer)

            def loss(n: int) -> Tensor:
                return rest(self._context(shape, n)).float().sum()

            return count_scoring(rest, loss, SUBJECT_BATCH), count_step(rest, loss, batch)

        return _once(self._counted, ("forward", layer, batch), both)

    def subject(self, batch: int | None = None) -> Work:
        """Returns the work of one training step of the network under study on a batch, or of one image."""
        network = self.network
        if network is None:
            return Work()

        def counted() -> Work:
            with torch.device("meta"):
                model = network()

            def loss(n: int) -> Tensor:
                return model(self._images(n).float()).float().sum()

            return count_scoring(model, loss, SUBJECT_BATCH) if batch is None else count_step(model, loss, batch)

        return _once(self._counted, ("subject", batch), counted)

    def reading(self, layer: str | None, times: float = READ) -> Work:
        """Returns the work of going through a layer's activations of the decoding part so many times."""
        features = 0 if layer is None else math.prod(self.contexts[layer])
        return Work(written=times * features * self.sizes["decoding"])

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
