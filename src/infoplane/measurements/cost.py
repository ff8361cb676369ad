"""What the kinds of cells of a study of inversion cost, counted for its shapes."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, cast

from torch import nn

from infoplane.engine.kind import Kind
from infoplane.inversion import Reconstructor, SquaredError
from infoplane.measurements.candidates import AUTO, CANDIDATES, as_chosen, has_wide_products, is_open, offer
from infoplane.measurements.counting import Passes, Prices, Shape, Work, drawing_of, mean, passes_of
from infoplane.subjects.forward import Staged, tail

#: classes of a label that is read from a layer: what they cost does not show
CLASSES = 10
#: bytes of a weight or an activation, and of a score
WEIGHT, SCORE = 4, 8
#: numbers written for every unit and example of a layer that a cell reads: checked, loaded, standardised
READ = 20
#: floating-point operations that take as long as one in bfloat16, in products that gain by it on a processor
HALF = 0.5
#: most rows and columns of an image on which drawing is counted; a pixel of any other takes as much
FEW = 12
#: how often a linear probe's fits read the activations, over all strengths of its penalty
PROBE_READS = 1500


@dataclass(frozen=True, eq=False)
class Costs(Prices):
    """What each kind of cell costs, for one study's shapes; the mean of those densities that the data may choose.

    Attributes:
        shape: (C, H, W) of an image.
        levels: Number of values of a pixel.
        sizes: Part of the split -> number of examples.
        contexts: Layer -> shape of its activation, as densities see it.
        network: Builds the network under study, or None.
        alike: Whether what passes through a density or an inverter is counted at the widest layer only, and taken to be
            as much at all others: counting takes a second for each.
    """

    shape: Shape
    levels: int
    sizes: Mapping[str, int]
    contexts: Mapping[str, tuple[int, ...]]
    network: Callable[[], nn.Module] | None = None
    alike: bool = False

    def counted_at(self, layer: str) -> tuple[int, ...]:
        """Returns the shape of a layer's activation, or that of the widest one."""
        return max(self.contexts.values(), key=math.prod) if self.alike else self.contexts[layer]

    def ways(self, kind: Kind) -> list[Kind]:
        if not is_open(kind):
            return [kind]
        own = getattr(kind, "candidate", None)
        return [as_chosen(kind, offer(each, self.shape, self.levels)) for each in ([own] if own else CANDIDATES)]

    def offers(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Returns the candidates, where the data choose a density; else that density by itself, without a batch."""
        if spec["kind"] != AUTO:
            return [{"density": spec, "batch": None, "pace": 1.0}]
        return [offer(kind, self.shape, self.levels) for kind in CANDIDATES]

    def density(self, spec: Mapping[str, Any], layer: str | None) -> Passes:
        """Returns what passes through a density take that sees a layer, or nothing."""
        return passes_of(spec, self.shape, self.levels, None if layer is None else self.counted_at(layer))

    def step(self, spec: Mapping[str, Any], layer: str | None, batch: int, precision: str | None = None) -> Work:
        """Returns the work of one training step of a density on a batch."""
        step = self.density(spec, layer).step(batch)
        return replace(step, flops=HALF * step.flops) if precision == "bfloat16" and has_wide_products(spec) else step

    def scoring(self, spec: Mapping[str, Any], layer: str | None) -> Work:
        """Returns the work of a density's log-probability of one image, among many."""
        return mean([self.density(each["density"], layer).image for each in self.offers(spec)])

    def drawing(self, spec: Mapping[str, Any], images: int) -> Work:
        """Returns the work of drawing so many images at once from a density, whose context adds next to nothing."""
        channels, rows, columns = self.shape
        few = channels, min(rows, FEW), min(columns, FEW)
        pixels = math.prod(self.shape) / math.prod(few)
        found = [passes_of(each["density"], few, self.levels, None) for each in self.offers(spec)]
        # Weights are read once for all images.
        one, two = (mean([drawing_of(each, n) for each in found]) for n in (1, 2))
        return one.times(pixels * (2 - images)) + two.times(pixels * (images - 1))

    def training(
        self, spec: Mapping[str, Any], layer: str | None, fit: Mapping[str, Any], part: str, watched: int | None = None
    ) -> Work:
        """Returns the work of a fit's steps and of its evaluations: at the start, and of raw and averaged weights.

        `fit` are fields of `FitSettings`; on so many images of each part its loss is `watched`, if it is.
        """
        scored = fit["held_out"] * self.sizes[part] * (2 * fit["evaluations"] + 1)
        scored += self.followed(watched, tuple(self.sizes)) * fit["evaluations"]
        step = self.step(spec, layer, fit["batch"], fit.get("precision"))
        return step.times(fit["updates"]) + self.scoring(spec, layer).times(scored)

    def followed(self, images: int | None, parts: Sequence[str]) -> int:
        """Returns the number of images in these parts of the split on which a density's loss is followed."""
        return 0 if images is None else sum(min(images, self.sizes[part]) for part in parts)

    @cached_property
    def subject(self) -> Passes:
        """What passes through the network under study take; next to nothing where it exists already."""
        return Passes(self.network or nn.Identity, lambda model, x, _: model(x.float()).float().sum(), self.shape, None)

    def reading(self, layer: str | None, times: float = READ) -> Work:
        """Returns the work of going through a layer's activations of the decoding part so many times."""
        features = 0 if layer is None else math.prod(self.contexts[layer])
        return Work(written=times * features * self.sizes["decoding"])


@cache
def reconstructor_of(shape: Shape, levels: int, context: tuple[int, ...]) -> Passes:
    """Returns what passes through the MSE inverter take."""
    return Passes(lambda: Reconstructor(shape, context), lambda m, x, h: SquaredError(m, levels)(x, h), shape, context)


@cache
def rest_of(network: Callable[[], nn.Module], layer: str, shape: Shape, context: tuple[int, ...]) -> Passes:
    """Returns what passes through what follows a layer of a network take."""

    def build() -> nn.Module:
        return tail(cast(Staged, network()).classifier(CLASSES), layer)

    return Passes(build, lambda rest, _, h: rest(h).float().sum(), shape, context)
