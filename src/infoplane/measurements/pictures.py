"""What is shown of a layer: reconstructions of least squared error, samples, and what the network says of these."""

import math
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.inversion import FitSettings, Reconstructor, SquaredError, fit, losses_of
from infoplane.measurements.cost import SCORE, Costs
from infoplane.measurements.counting import Work
from infoplane.measurements.fits import OfLayer, build_density, decided
from infoplane.measurements.inputs import answers, without_nats
from infoplane.measurements.quantity import Quantity
from infoplane.measurements.task import Task

MSE = Quantity(
    "mse",
    "Reconstruction error",
    "Squared error of a network trained to redraw the image from h. Neither information nor a bound: its pictures are"
    " averages of all the images that h allows.",
    head="MSE",
    said="MSE",
    beside=True,
)

SAMPLE_VARIANCE = Quantity(
    "sample-variance",
    "Variance among samples",
    "Of a pixel, over the images that q draws for one h, on the scale of the reconstruction error: were q the true "
    "density, no reconstruction could do better. Not a bound. For p(x) it is over images drawn from nothing.",
    charts=("tracks",),
    beside=True,
    drawn="squared error",
)

SAMPLE_ACCURACY = Quantity(
    "sample-accuracy",
    "Accuracy on samples",
    "How often the network under study gives a sample from q(x|h) the label of the image that h came from. Its n "
    "counts images; samples of one image share its h. Not a bound.",
    beside=True,
    drawn="fraction",
)


class Mse(OfLayer):
    """The MSE inverter at one layer: it reconstructs the pictured images, and its errors on the evaluation part.

    Attributes:
        images: How many are pictured.
    """

    kind: ClassVar[str] = "mse"

    fit: dict[str, Any]
    fit_on: str
    images: int
    seed: int

    def run(self, task: Task) -> Result:
        settings = FitSettings.model_validate(self.fit)
        pairs, held = task.fitting_pairs(self.layer, self.fit_on, settings.held_out, self.seed)
        context_shape = pairs.context_shape
        assert context_shape is not None
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed)
            model = Reconstructor(task.space.shape, context_shape)
        model.to(task.environment.device)
        loss = SquaredError(model, task.space.levels)
        progress = without_nats(task.environment.progress)
        curve = fit(model, loss, pairs, held, settings, seed=self.seed, progress=progress)
        evaluation = task.pairs(self.layer, "evaluation")
        _, context = evaluation.batch(slice(0, self.images))
        assert context is not None
        arrays = {
            "errors": losses_of(model, loss, evaluation).numpy(),
            "reconstructions": model.reconstruct(context, task.space.levels).cpu().numpy(),
        }
        return Result({"curve": asdict(curve)}, arrays, {"reconstructor": model.state_dict()})

    def work(self, costs: Costs) -> Work:
        assert self.layer is not None
        image, step = costs.reconstructor(self.layer, self.fit["batch"])
        scored = self.fit["held_out"] * costs.sizes[self.fit_on] * 2 * self.fit["evaluations"]
        scored += costs.sizes["evaluation"]
        return step.times(self.fit["updates"]) + image.times(scored) + costs.reading(self.layer)

    def size(self, costs: Costs) -> float:
        return float(SCORE * costs.sizes["evaluation"])


class Samples(OfLayer):
    """Images drawn from q(x|h) for the pictured evaluation images, or from the twin.

    Attributes:
        images: How many are pictured.
        each: Samples of each.
    """

    kind: ClassVar[str] = "samples"

    density: dict[str, Any]
    images: int
    each: int
    seed: int

    def run(self, task: Task) -> Result:
        own, device = decided(self, task), task.environment.device
        fitted = task.needs["density"]
        context_shape = fitted.values["context"]
        density = build_density(task, own.density, None if context_shape is None else tuple(context_shape), 0)
        density.load_state_dict(fitted.weights("density"))
        generator = torch.Generator(device).manual_seed(self.seed)

        def progress(done: int, total: int) -> None:
            task.environment.progress(done, total, None)

        if self.layer is None:
            drawn = density.sample(n=self.each, generator=generator, progress=progress)[None]
        else:
            _, context = task.pairs(self.layer, "evaluation").batch(slice(0, self.images))
            assert context is not None
            drawn = density.sample(context.repeat_interleave(self.each, 0), generator=generator, progress=progress)
            drawn = drawn.unflatten(0, (len(context), self.each))
        return Result(arrays={"samples": drawn.cpu().numpy()})

    @property
    def _drawn(self) -> int:
        return self.each * (1 if self.layer is None else self.images)

    def work(self, costs: Costs) -> Work:
        found = costs.drawing(self.density, self._drawn) + costs.reading(self.layer)
        if self.layer is not None:
            # What the context adds is the same for all pixels and computed once.
            context = costs.scoring(self.density, self.layer) - costs.scoring(self.density, None)
            found += context.times(self._drawn)
        return found

    def size(self, costs: Costs) -> float:
        return float(math.prod(costs.shape) * self._drawn)


class Judge(Kind):
    """What the network under study makes of the samples."""

    kind: ClassVar[str] = "judge"

    layer: str

    def run(self, task: Task) -> Result:
        samples = task.needs["samples"].array("samples")
        labels = task.labels(task.split("evaluation")[: len(samples)])
        if labels is None:
            return Result({"classifier": False})
        flat = torch.from_numpy(samples).flatten(0, 1)
        given = answers(task, task.live(), flat)
        if not isinstance(given, np.ndarray):
            return Result({"classifier": False})
        return Result({"classifier": True}, {"correct": (given == labels.repeat(samples.shape[1])).astype(np.uint8)})
