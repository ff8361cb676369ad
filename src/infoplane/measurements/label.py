"""What reads the label: a linear probe, what follows a layer trained anew, and the network itself."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from infoplane import subjects
from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.errors import UsageError
from infoplane.estimate import Estimate
from infoplane.information import Rows, count, fit_probe, label_information
from infoplane.information.label import check_prior, falls_short, lacks
from infoplane.inversion import Pairs
from infoplane.measurements.base import Draft, Measurement, Row, Scores, Sources, is_of
from infoplane.measurements.cost import PROBE_READS, SCORE, Costs, rest_of
from infoplane.measurements.counting import Work
from infoplane.measurements.densities import barred_by_reading, seed_of
from infoplane.measurements.fits import OfLayer
from infoplane.measurements.numbers import ALL, Number, Place
from infoplane.measurements.task import Task
from infoplane.measurements.truth import compared, known_of, where_of

#: by what share of an error a number must be off that this is said
WORTH_SAYING = 0.1


class ProbeCell(OfLayer):
    """The linear probe at one layer, and what it gives the evaluation labels.

    Attributes:
        held_out: Share of the decoding part that its penalty is chosen on.
        fit_on: The part that it is fitted on.
    """

    kind: ClassVar[str] = "probe"
    library: ClassVar[str] = "scikit-learn"

    held_out: float
    fit_on: str
    seed: int

    def run(self, task: Task) -> Result:
        if not task.data.values["classes"]:
            return Result({"labels": False})
        assert self.layer is not None
        decoding = task.split(self.fit_on)
        kept, held = task.parted(self.fit_on, self.held_out, self.seed)
        pairs, units = task.pairs(self.layer, self.fit_on), task.units(self.layer)
        labels = task.labels(decoding)
        evaluation_labels = task.labels(task.split("evaluation"))
        assert labels is not None
        assert evaluation_labels is not None
        if len(np.unique(labels[kept])) < 2:
            return Result({"labels": False})
        probe = fit_probe(
            _features(pairs.subset(kept), units),
            labels[kept],
            _features(pairs.subset(held), units),
            labels[held],
            classes=task.data.values["classes"],
            groups=task.groups(decoding[np.concatenate([kept, held])]),
        )
        scores = probe.log_probs(_features(task.pairs(self.layer, "evaluation"), units), evaluation_labels)
        return Result({"labels": True}, {"log_probs": scores})

    def work(self, costs: Costs) -> Work:
        return costs.reading(self.layer, PROBE_READS) + costs.reading(self.layer)


def _features(pairs: Pairs, units: Callable[[Tensor], Tensor]) -> Rows:
    """The standardised contexts as vectors, computed as they are asked for."""

    def of(part: slice) -> Tensor:
        context = pairs.context_of(part)
        assert context is not None
        return units(context)

    return Rows(len(pairs), of)


class ForwardCell(OfLayer):
    """What follows a layer, trained anew on the decoding part to read the label, and what it gives the evaluation part.

    Attributes:
        fit: The schedule of the network itself.
        held_out: Share of the decoding part on which the epoch is chosen.
    """

    kind: ClassVar[str] = "forward"

    fit: dict[str, Any]
    held_out: float
    seed: int

    def run(self, task: Task) -> Result:
        layer = self.layer
        assert layer is not None
        if not task.data.values["classes"]:
            return Result({"labels": False})
        capture = task.needs["capture"]
        live = task.live(capture.values["checkpoint"])
        on_the_fly = layer in capture.values["on_the_fly"]

        def examples(part: str) -> tuple[Tensor, Tensor]:
            index = task.split(part)
            inputs = task.images(index) if on_the_fly else torch.from_numpy(capture.array(f"{part}:{layer}")).float()
            return inputs, torch.as_tensor(task.labels(index))

        settings = subjects.EpochSettings.model_validate(self.fit)
        found = subjects.decode_labels(
            *(live.model, layer, examples("decoding"), examples("evaluation"), settings),
            classes=task.data.values["classes"],
            seed=self.seed,
            transform=live.transform if on_the_fly else None,
            held_out=self.held_out,
            groups=task.groups(task.split("decoding")),
            progress=task.environment.progress,
        )
        values = {"labels": True, "curves": found.curves, "parameters": found.parameters}
        return Result(values, {"log_probs": found.log_probs.numpy(), "correct": found.correct.numpy().astype(np.uint8)})

    def work(self, costs: Costs) -> Work:
        assert costs.network is not None
        assert self.layer is not None
        rest = rest_of(costs.network, self.layer, costs.shape, costs.contexts[self.layer])
        held = self.held_out * costs.sizes["decoding"]
        steps = self.fit["epochs"] * (costs.sizes["decoding"] - held) / self.fit["batch"]
        scored = costs.sizes["evaluation"] + (self.fit["epochs"] + 2) * held
        return rest.step(self.fit["batch"]).times(steps) + rest.image.times(scored) + costs.reading(self.layer)


class Own(Kind):
    """What the classifier under study itself gives the labels of the evaluation part."""

    kind: ClassVar[str] = "own"

    checkpoint: str

    def run(self, task: Task) -> Result:
        index = task.split("evaluation")
        live, labels = task.live(self.checkpoint), torch.as_tensor(task.labels(index))
        scores = subjects.label_log_probs(live.model, task.images(index), labels, live.transform)
        return Result(arrays={"log_probs": scores.numpy()})

    def work(self, costs: Costs) -> Work:
        return costs.subject.image.times(costs.sizes["evaluation"])

    def size(self, costs: Costs) -> float:
        return float(SCORE * costs.sizes["evaluation"])


class OfLabels(Measurement):
    """H(y) − CE(y|h), in expectation a lower bound on I(y;h) (Darlow & Storkey 2018, eq. 3)."""

    #: the kind of cell that it is read from
    cell: ClassVar[str]

    def repeats(self, spec: Any) -> range:
        """The refits that there may be."""
        return range(1)

    def scores(self, run: Any, place: Place) -> Scores:
        """Refit -> log-probabilities (n,) of the evaluation labels."""
        if is_of(place, "network") != self.of_network or is_of(place, "input"):
            return {}
        cells = ((at, run.cell(self.cell, place.layer, at, place.checkpoint)) for at in self.repeats(run.spec))
        read = ((at, each) for at, each in cells if each is not None and each.values.get("labels", True))
        return {at: each.array("log_probs") for at, each in read}

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        own, prior = super().terms(run, place, refits), run.spec.prior
        if own is None or run.cell("data") is None:
            return None
        labels, classes = _labels(run)
        found = label_information(own, labels, classes=classes, kind=self.kind, groups=run.groups, prior=prior)
        return replace(found, refits=0) if self.of_network else found

    def terms(self, run: Any, place: Place, refits: list[int]) -> np.ndarray | None:
        """With the surprise of each label beside what the reader gives it, whose mean is H(y)."""
        own, prior, (labels, classes) = super().terms(run, place, refits), run.spec.prior, _labels(run)
        share = np.bincount(labels, minlength=classes) / len(labels)
        share = share if prior is None else check_prior(prior, labels, classes)
        return own if own is None else own - np.log(share[labels])

    def barred(self, run: Any, first: Place, second: Place) -> str:
        return barred_by_reading(run, (first.layer, second.layer), first.checkpoint)

    def amiss(self, run: Any, place: Place, refits: tuple[int, ...]) -> tuple[str, ...]:
        """What must be said of the readers."""
        return tuple(flag for number in self.numbers(run, place) for flag in number.estimate.flags)


def _labels(run: Any) -> tuple[np.ndarray, int]:
    """Those of the evaluation part, and how many classes there are, which may be more than occur."""
    data, prior = run.cell("data"), run.spec.prior
    classes = len(prior) if isinstance(prior, tuple) else data.values["classes"]
    return data.array("labels")[data.array("evaluation")], classes


class Label(OfLabels):
    """As a linear probe reads it."""

    kind: ClassVar = "label"
    name: ClassVar = "Label information"
    meaning: ClassVar = "H(y) − CE(y|h) of a probe, on held-out images: a lower bound on I(y;h), in expectation."
    charts: ClassVar = ("rows", "tracks", "up")
    ceiling: ClassVar = "classes"
    asked: ClassVar = "label"
    across: ClassVar = frozenset({"layers", "checkpoints"})
    cell: ClassVar = "probe"
    cells: ClassVar = (ProbeCell,)

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        for place in sources.layers:
            probe = ProbeCell(held_out=spec.fit.held_out, fit_on=spec.fit_on, seed=spec.seed, **place.layer_fields)
            place.add(plan, probe)

    def absent(self, run: Any) -> str:
        """Why there is none, where it was asked for and there are labels."""
        data = run.cell("data")
        if self.asked not in run.spec.measure or data is None or not data.values["classes"]:
            return ""
        probes = (run.cell("probe", layer, 0, checkpoint) for layer, checkpoint in run.places)
        if all(probe is None or probe.values["labels"] for probe in probes):
            return ""
        whose = "" if len(np.unique(data.array("labels"))) < 2 else " of the images that it would be learnt on"
        return f"all labels{whose} are the same"

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        """No function of x can know more about the template than x does."""
        if (known := known_of(run, number, "information", "template")) is not None:
            yield compared(f"{where_of(number)} (at most I(x; template))", number.estimate, known)


class ByTheRest(OfLabels):
    """As the rest of the network reads it, trained anew."""

    kind: ClassVar = "forward"
    name: ClassVar = "Label information, read by the rest"
    meaning: ClassVar = (
        "H(y) − CE(y|h) of the rest of the network: everything up to the layer is frozen, what follows gets new "
        "weights and is trained anew on images that the frozen part has not seen (Darlow and Storkey 2018). In "
        "expectation a lower bound on I(y;h)."
    )
    charts: ClassVar = ("rows", "tracks", "up")
    asked: ClassVar = "forward"
    across: ClassVar = frozenset({"layers", "checkpoints"})
    cell: ClassVar = "forward"
    cells: ClassVar = (ForwardCell,)

    def repeats(self, spec: Any) -> range:
        return range(1, spec.forward.refits + 1)

    def check_study(self, spec: Any) -> None:
        _check_network(spec, self.asked)
        if not isinstance(spec.subject.train, subjects.EpochSettings):
            by_epochs = (name for name in subjects.REGISTRY if subjects.settings_of(name) is subjects.EpochSettings)
            received, legal = spec.subject.kind, ", ".join(by_epochs)
            raise UsageError("the forward direction needs a network trained by epochs", received=received, legal=legal)

    def check(self, spec: Any, data: Result, model: Any) -> None:
        if not data.values["classes"]:
            mend, received = "leave forward out of measure", f"data set {data.values['name']!r}"
            raise UsageError("there are no labels to read", received=received, mend=mend)
        for layer in spec.layers:
            subjects.tail(model, layer)

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        if spec.subject is None:
            return
        # The schedule of the network itself; which weights of it were kept is another matter.
        fit = {**spec.subject.train.model_dump(mode="json"), "checkpoints": []}
        for place in sources.layers:
            asked = "capture" in place.needs and place.checkpoint in spec.forward_at
            for refit in self.repeats(spec) if asked else ():
                own = {"held_out": spec.forward.held_out, "seed": seed_of(spec.seed, refit)}
                place.add(plan, ForwardCell(fit=fit, **own, **place.layer_fields), refit=refit)


class ByItself(OfLabels):
    """What the network itself gives the labels."""

    kind: ClassVar = "own"
    name: ClassVar = "Label information of the network itself"
    meaning: ClassVar = (
        "H(y) − CE(y|x) of the network’s own answers, as it was trained: a lower bound on the information about the "
        "label in each of its layers. An overconfident network falls below 0."
    )
    asked: ClassVar = "own"
    of_network: ClassVar = True
    across: ClassVar = frozenset({"checkpoints"})
    cell: ClassVar = "own"
    cells: ClassVar = (Own,)

    def check_study(self, spec: Any) -> None:
        _check_network(spec, self.asked)
        if subjects.objective_of(spec.subject.kind) != "cross-entropy":
            received, mend = spec.subject.kind, "leave own out of measure"
            raise UsageError("a network that does not classify has no answers of its own", received=received, mend=mend)

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        for name, needs in sources.networks.items() if spec.subject is not None else ():
            for checkpoint in spec.checkpoints:
                plan.add(Own(checkpoint=checkpoint), needs, checkpoint=checkpoint, network=name)


def _check_network(spec: Any, asked: str) -> None:
    if spec.subject is None:
        received, mend = f"measure: {asked}", f"leave {asked} out of measure, or name a subject"
        raise UsageError("there is no network to read the label", received=received, mend=mend)


def label_entropy(run: Any, numbers: Sequence[Number]) -> str:
    """Which H(y) label information is from, where that is not plain or moves the numbers; else nothing."""
    data = run.cell("data")
    told = [each for _, refit, each in numbers if each.kind in (LABEL.kind, FORWARD.kind, OWN.kind) and refit == ALL]
    if data is None or not told:
        return ""
    if run.spec.prior is not None:
        given = "all classes alike" if run.spec.prior == "uniform" else "the classes' probabilities as given"
        return f"H(y) is that of {given}"
    labels, classes = _labels(run)
    n, short = count(labels, run.groups), falls_short(labels, classes, run.groups)
    if short < WORTH_SAYING * min(each.stderr or 0.0 for each in told):
        return ""
    most = f"{lacks(labels, classes):.2g}"
    at_most = "" if most == f"{short:.2g}" else f", at most {most},"
    return (
        f"label information is too small by about {short:.2g} nats{at_most} since its H(y) is counted from {n:,} "
        "evaluation labels; the classes' true probabilities (prior), where they are known, mend that"
    )


LABEL, FORWARD, OWN = Label(), ByTheRest(), ByItself()
