"""What is shown of a layer: reconstructions of least squared error, samples, and what the network says of these."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
import torch

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.estimate import Estimate
from infoplane.information import sample_variance, variances, whole_variance
from infoplane.inversion import FitSettings, Reconstructor, SquaredError, fit, losses_of
from infoplane.measurements.base import Draft, Measurement, Scores, Source, Sources, is_of
from infoplane.measurements.cost import Costs, reconstructor_of
from infoplane.measurements.counting import Work
from infoplane.measurements.densities import STILL_FELL, still_falling
from infoplane.measurements.fits import OfLayer, build_density, decided
from infoplane.measurements.inputs import ACCURACY, answers, without_nats
from infoplane.measurements.numbers import INPUT, Place
from infoplane.measurements.task import END, Task


class Mse(OfLayer):
    """The MSE inverter at one layer: it reconstructs the pictured images, and its errors on the evaluation part.

    Attributes:
        images: How many are pictured.
    """

    kind: ClassVar[str] = "mse"
    timed: ClassVar[bool] = True

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
        inverter, fit = reconstructor_of(costs.shape, costs.levels, costs.counted_at(self.layer)), self.fit
        scored = fit["held_out"] * costs.sizes[self.fit_on] * 2 * fit["evaluations"] + costs.sizes["evaluation"]
        return (
            inverter.step(fit["batch"]).times(fit["updates"]) + inverter.image.times(scored) + costs.reading(self.layer)
        )


class Samples(OfLayer):
    """Images drawn from q(x|h) for the pictured evaluation images, or from the twin.

    Attributes:
        images: How many are pictured.
        each: Samples of each.
    """

    kind: ClassVar[str] = "samples"
    timed: ClassVar[bool] = True
    shown: ClassVar[str] = "samples"

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
        return costs.drawing(self.density, self._drawn) + costs.reading(self.layer)

    def size(self, costs: Costs) -> float:
        return float(math.prod(costs.shape) * self._drawn)


class Judge(Kind):
    """What the network under study makes of the samples."""

    kind: ClassVar[str] = "judge"
    live: ClassVar[bool] = True

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


class Reconstruction(Measurement):
    """The error of the reconstruction of least squared error."""

    kind: ClassVar = "mse"
    name: ClassVar = "Reconstruction error"
    meaning: ClassVar = (
        "Squared error of a network trained to redraw the image from h. Neither information nor a bound: its pictures "
        "are averages of all the images that h allows."
    )
    head: ClassVar = "MSE"
    unit: ClassVar = "squared error"
    beside: ClassVar = True
    asked: ClassVar = "mse"
    cells: ClassVar = (Mse,)

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        fit = spec.model_dump(mode="json")["reconstruction"]
        for place in sources.layers:
            own = {"fit_on": spec.fit_on, "images": spec.samples.images, "seed": spec.seed}
            place.add(plan, Mse(fit=fit, **own, **place.layer_fields))

    def scores(self, run: Any, place: Place) -> Scores:
        stored = run.cell("mse", place.layer, 0, place.checkpoint) if is_of(place, "layer") else None
        return {} if stored is None else {1: stored.array("errors")}

    def flags(self, run: Any, place: Place, refits: Sequence[int]) -> tuple[str, ...]:
        stored = run.cell("mse", place.layer, 0, place.checkpoint)
        return (STILL_FELL,) if still_falling(stored.values["curve"]) else ()


class OfSamples(Measurement):
    """What is drawn is of the first refit. Samples for one image share its activation: the image is the unit."""

    beside: ClassVar = True
    asked: ClassVar = "samples"
    cells: ClassVar = (Samples, Judge)
    with_fits: ClassVar = True
    across: ClassVar = frozenset({"checkpoints"})

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        if plan.name("samples", INPUT) is not None:
            return
        study = spec.model_dump(mode="json")
        for place in (Source(INPUT, "", sources.data), *sources.layers):
            choice = plan.name("choice")
            density = plan.name("density", place.layer, 1, place.checkpoint, place.network)
            assert density is not None
            shape = spec.density_of(place.layer).model_dump(mode="json")
            needed = {"density": density} if choice is None else {"density": density, "choice": choice}
            drawn = Samples(**study["samples"], density=shape, seed=spec.seed, **place.layer_fields)
            samples = place.add(plan, drawn, needed)
            # The finished network judges all samples, whichever checkpoint they come from.
            network = sources.networks[place.network]
            capture = plan.name("capture", checkpoint=END, network=place.network)
            judging = {**network, "capture": capture} if capture is not None else network
            if place.layer != INPUT and len(judging) > 1:
                place.add(plan, Judge(layer=place.layer), {**judging, "samples": samples})


class SampleAccuracy(OfSamples):
    """How often the network reads in a sample the label of its image."""

    kind: ClassVar = "sample-accuracy"
    name: ClassVar = "Accuracy on samples"
    meaning: ClassVar = (
        "How often the network under study gives a sample from q(x|h) the label of the image that h came from. Its n "
        "counts images; samples of one image share its h. Not a bound."
    )
    unit: ClassVar = "fraction"
    drawn: ClassVar = "fraction"

    def scores(self, run: Any, place: Place) -> Scores:
        judge = run.cell("judge", place.layer, 0, place.checkpoint) if is_of(place, "layer") else None
        if judge is None or not judge.values["classifier"]:
            return {}
        return {1: judge.array("correct").reshape(-1, run.spec.samples.each).mean(1)}

    def flags(self, run: Any, place: Place, refits: Sequence[int]) -> tuple[str, ...]:
        """What a network that is no classifier says of samples means no more."""
        judge = ACCURACY.estimate(run, Place(checkpoint=place.checkpoint or run.checkpoints[-1]), [0])
        return () if judge is None else judge.flags


class SampleVariance(OfSamples):
    """The variance among the samples of one image."""

    kind: ClassVar = "sample-variance"
    name: ClassVar = "Variance among samples"
    meaning: ClassVar = (
        "Of a pixel, over the images that q draws for one h, on the scale of the reconstruction error: were q the true "
        "density, no reconstruction could do better. Not a bound. For p(x) it is over images drawn from nothing."
    )
    unit: ClassVar = "squared error"
    charts: ClassVar = ("tracks",)
    drawn: ClassVar = "squared error"

    def scores(self, run: Any, place: Place) -> Scores:
        drawn, data = samples_at(run, place), run.cell("data")
        return {} if drawn is None or data is None else {1: variances(drawn, data.values["levels"])}

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        drawn, levels = samples_at(run, place), run.cell("data").values["levels"]
        assert drawn is not None
        if is_of(place, "input"):
            return whole_variance(drawn[0], levels)
        return sample_variance(drawn, levels, groups=run.groups_of("evaluation", len(drawn)))


def samples_at(run: Any, place: Place) -> np.ndarray | None:
    """The samples (P, S, C, H, W) of a layer, or of p(x) with P = 1; None where there is one of each image."""
    stored = None if is_of(place, "network") else run.cell("samples", place.layer, 0, place.checkpoint)
    samples = None if stored is None else stored.array("samples")
    return None if samples is None or samples.shape[1] < 2 else samples


MSE, SAMPLE_ACCURACY, SAMPLE_VARIANCE = Reconstruction(), SampleAccuracy(), SampleVariance()
