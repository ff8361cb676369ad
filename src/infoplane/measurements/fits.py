"""Fitting q(x|h): a density of one layer, several of them together, and the choice of one by the data."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from infoplane import densities
from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.errors import FitError
from infoplane.information import contrastive_batches, contrastive_terms, count, crossed_mean, one_of_each
from infoplane.inversion import (
    Curve,
    FitSettings,
    cross_log_probs,
    fit_density,
    fit_shared,
    log_probs,
    trunk_of,
)
from infoplane.measurements.candidates import CANDIDATES, Fitted, as_chosen, offer
from infoplane.measurements.cost import SCORE, WEIGHT, Costs
from infoplane.measurements.counting import Work
from infoplane.measurements.task import Task

#: added to the seed of a fit that goes on from another one
SECOND = 500_000_000


class OfLayer(Kind):
    """What reads a layer, or a latent.

    Attributes:
        layer: Its name; None for nothing at all.
        read_as: How its axes are read, where that is not left to the program.
        activations: A hash of its activations, of a network that exists in the calling process.
    """

    layer: str | None
    read_as: str = ""
    activations: str = ""

    def size(self, costs: Costs) -> float:
        # A score for each evaluation image.
        return float(SCORE * costs.sizes["evaluation"])


class CandidateCell(Kind):
    """A short fit of p(x), scored on the images that are held out for early stopping; on no other ones.

    A fit that fails has lost, which is said in `failed`, and stops nothing.

    Attributes:
        candidate: A key of `CANDIDATES`.
        fit_on: The part whose images it is trained on.
    """

    kind: ClassVar[str] = "candidate"

    candidate: str
    density: dict[str, Any]
    fit: dict[str, Any]
    fit_on: str
    seed: int

    def run(self, task: Task) -> Result:
        found = offer(self.candidate, task.space.shape, task.space.levels)
        own = as_chosen(self, found, task.environment.device.type)
        fit = FitSettings.model_validate(own.fit)
        pairs, held = task.fitting_pairs(None, self.fit_on, fit.held_out, self.seed)
        density = build_density(task, own.density, None, self.seed)
        values = {**found, "updates": fit.updates}
        try:
            curve = fit_density(density, pairs, held, fit, seed=self.seed, progress=task.environment.progress)
        except FitError as error:
            return Result({**values, "failed": str(error)})
        return Result({**values, "curve": asdict(curve)}, {"log_probs": log_probs(density, held).numpy()})

    def work(self, costs: Costs) -> Work:
        held = self.fit["held_out"] * costs.sizes[self.fit_on]
        return costs.training(self.density, None, self.fit, self.fit_on) + costs.scoring(self.density, None).times(held)

    def size(self, costs: Costs) -> float:
        return SCORE * self.fit["held_out"] * costs.sizes[self.fit_on]


class Choice(Kind):
    """The candidate with the lowest loss on held-out images, the same for all layers and refits."""

    kind: ClassVar[str] = "choice"
    library: ClassVar[str] = "numpy"

    fit_on: str
    held_out: float
    seed: int

    def run(self, task: Task) -> Result:
        groups = task.held_out_groups(self.fit_on, self.held_out, self.seed)
        tried = {name: task.needs[name] for name in CANDIDATES if name in task.needs}
        failed = {name: each.values["failed"] for name, each in tried.items() if "failed" in each.values}
        fitted = {name: stored for name, stored in tried.items() if name not in failed}
        if not fitted:
            why = "; ".join(f"{name}: {message}" for name, message in failed.items())
            raise FitError("no density can be trained on these images", received=why, mend="name one in density.kind")
        found = choose({name: -stored.array("log_probs") for name, stored in fitted.items()}, groups)
        for name, stored in fitted.items():
            found["losses"][name]["updates"] = stored.values["updates"]
        own = fitted[found["chosen"]].values
        chosen = {key: own[key] for key in ("density", "batch", "learning_rate", "pace")}
        return Result({**found, "failed": failed, **chosen})


class TrunkCell(Kind):
    """The densities of all layers and checkpoints that differ only in their contexts, and their twin, together.

    Attributes:
        places: Of each: `layer`, `density`, and the need that is its `capture`, beside what `OfLayer` has.
    """

    kind: ClassVar[str] = "trunk"
    joint: ClassVar[str] = "places"

    places: tuple[dict[str, Any], ...]
    fit: dict[str, Any]
    fit_on: str
    seed: int

    def run(self, task: Task) -> Result:
        own = decided(self, task)
        settings = FitSettings.model_validate(own.fit)
        models, kept, held = {}, {}, {}
        for position, place in enumerate(own.places):
            # A layer has the same name at every checkpoint.
            name = str(position)
            at = task.at(place["capture"]) if "capture" in place else task
            kept[name], held[name] = at.fitting_pairs(place["layer"], self.fit_on, settings.held_out, self.seed)
            models[name] = build_density(task, place["density"], kept[name].context_shape, self.seed)
        curve = fit_shared(models, kept, held, settings, seed=self.seed, progress=task.environment.progress)
        trunk = set(trunk_of(models["0"]))
        weights = {"trunk": models["0"].state_dict()}
        for name, density in models.items():
            weights[f"place{name}"] = {key: value for key, value in density.state_dict().items() if key not in trunk}
        return Result({"curves": [asdict(own) for own in curve.places.values()]}, weights=weights)

    def work(self, costs: Costs) -> Work:
        places = ((place["density"], place["layer"]) for place in self.places)
        each = (costs.training(spec, layer, self.fit, self.fit_on) + costs.reading(layer) for spec, layer in places)
        return sum(each, Work())

    def size(self, costs: Costs) -> float:
        return WEIGHT * sum(costs.density(place["density"], place["layer"]).weights for place in self.places)


class DensityCell(OfLayer):
    """q(x|h) of one layer, or its null-context twin, and what it gives the evaluation part.

    Attributes:
        contrastive: Sizes of the contrastive bound's batches; None where it is not asked for.
        losses: `images`: on how many of each part its loss is followed; None where it is not.
        place: Its place in the trunk that it starts from, where it does.
    """

    kind: ClassVar[str] = "density"
    compared: ClassVar[bool] = True
    timed: ClassVar[bool] = True

    density: dict[str, Any]
    fit: dict[str, Any]
    fit_on: str
    seed: int
    contrastive: dict[str, int] | None
    losses: dict[str, int] | None
    place: int | None = None

    @property
    def _followed(self) -> int | None:
        return None if self.losses is None else self.losses["images"]

    def run(self, task: Task) -> Result:
        own, layer, seed = decided(self, task), self.layer, self.seed
        held_out = own.fit["held_out"]
        pairs, held = task.fitting_pairs(layer, self.fit_on, held_out, seed)
        followed = task.followed(layer, self._followed)
        density = build_density(task, own.density, pairs.context_shape, seed)
        start, curve = None, Curve()
        if self.place is not None:
            trunk = task.needs["trunk"]
            start = {**trunk.weights("trunk"), **trunk.weights(f"place{self.place}")}
            curve = Curve(**trunk.values["curves"][self.place])
            density.load_state_dict(start)
        elif "start" in task.needs:
            start = task.needs["start"].weights("density")
        if own.fit["updates"]:
            settings = FitSettings.model_validate(own.fit)
            # Other batches than those that the trunk or the base has just seen.
            at, progress = seed + SECOND if start is not None else seed, task.environment.progress
            rest = fit_density(
                density, pairs, held, settings, seed=at, start=start, watched=followed, progress=progress
            )
            curve = curve.then(rest)
        evaluation = task.pairs(layer, "evaluation")
        scores, unseen = log_probs(density, evaluation), log_probs(density, held)
        groups = task.held_out_groups(self.fit_on, held_out, seed)
        some = pairs.subset(np.arange(min(len(pairs), len(held))))
        values = {
            "curve": asdict(curve),
            "context": pairs.context_shape,
            "train_nats": -float(log_probs(density, some).mean()),
            "heldout_nats": -float(unseen.mean()),
            "heldout_n": len(np.unique(groups)),
            "parameters": sum(p.numel() for p in density.parameters()),
        }
        arrays = {"log_probs": scores.numpy(), "log_probs:heldout": unseen.numpy(), "groups:heldout": groups}
        for part, some in followed.items():
            if part != "evaluation":
                arrays[f"log_probs:{part}"] = log_probs(density, some).numpy()
        if self.contrastive is not None and (batches := batches_of(task, self.contrastive)):
            arrays["contrastive"] = np.zeros(len(batches))
            for number, batch in enumerate(batches):
                images = evaluation.subset(batch)
                contexts = images.context_of(slice(None))
                assert contexts is not None
                crossed = cross_log_probs(density, images, contexts)
                arrays["contrastive"][number] = contrastive_terms(crossed.numpy()).mean()
            values["candidates"] = len(batches[0])
        return Result(values, arrays, {"density": density.state_dict()})

    def work(self, costs: Costs) -> Work:
        found = costs.reading(self.layer)
        if self.fit["updates"]:
            found += costs.training(self.density, self.layer, self.fit, self.fit_on, self._followed)
        # The evaluation part, and as many of the training images as are held out, twice: with and without them.
        scored = 2 * self.fit["held_out"] * costs.sizes[self.fit_on] + costs.sizes["evaluation"]
        scored += costs.followed(self._followed, ("encoding", "decoding"))
        if self.contrastive is not None:
            sizes = contrastive_batches(costs.sizes["evaluation"], **self.contrastive)
            scored += 0 if sizes is None else sizes.candidates**2 * sizes.count
        return found + costs.scoring(self.density, self.layer).times(scored)

    def size(self, costs: Costs) -> float:
        scored = costs.sizes["evaluation"] + costs.followed(self._followed, ("encoding", "decoding"))
        return WEIGHT * costs.density(self.density, self.layer).weights + SCORE * scored


def decided(kind: Fitted, task: Task) -> Fitted:
    """Returns a cell's settings with the density that was chosen and the fit that suits it, where the data choose."""
    if "choice" not in task.needs:
        return kind
    return as_chosen(kind, task.needs["choice"].values, task.environment.device.type)


def build_density(task: Task, spec: Mapping[str, Any], context: tuple[int, ...] | None, seed: int) -> densities.Density:
    """The density with its initial weights: those of the twin where both have the same seed."""
    options = dict(spec)
    kind = options.pop("kind")
    density = densities.build(kind, task.space.shape, task.space.levels, context, options, seed=seed)
    return density.to(task.environment.device)


def batches_of(task: Task, contrastive: Mapping[str, int]) -> list[np.ndarray]:
    """The places in the evaluation part (K,) of the images of each contrastive batch, no two of one group; none where
    there are too few images."""
    index = task.split("evaluation")
    chosen = one_of_each(task.groups(index), len(index))
    sizes = contrastive_batches(len(chosen), **contrastive)
    return [] if sizes is None else list(chosen[: sizes.candidates * sizes.count].reshape(-1, sizes.candidates))


def choose(losses: Mapping[str, np.ndarray], groups: np.ndarray) -> dict[str, Any]:
    """Returns the candidate of the lowest mean loss, and by how much it is the lowest; the first one in doubt.

    Args:
        losses: Candidate -> its loss on each of the same images (n,), nats.
        groups: (n,) group of each of these: copies of one image are one.

    Returns: `chosen`; `losses`: candidate -> its mean `nats` and `stderr`; `difference` from the nearest of the others,
        which needs so many nats more, with its paired `stderr`, and `other`, its name, all three None where there is no
        other; `n` groups.
    """
    means = {name: crossed_mean(each, groups=groups) for name, each in losses.items()}
    first, *_ = order = sorted(losses, key=lambda name: means[name].value)
    usual = next(iter(losses))
    if first != usual:
        ahead = crossed_mean(losses[usual] - losses[first], groups=groups)
        first = first if ahead.value > ahead.stderr else usual
    other = next((name for name in order if name != first), None)
    apart = None if other is None else crossed_mean(losses[other] - losses[first], groups=groups)
    return {
        "chosen": first,
        "losses": {name: {"nats": mean.value, "stderr": mean.stderr} for name, mean in means.items()},
        "difference": None if apart is None else apart.value,
        "stderr": None if apart is None else apart.stderr,
        "other": other,
        "n": count(losses[first], groups),
    }
