"""What reads the label: a linear probe, what follows a layer trained anew, and the network itself."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from infoplane import subjects
from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.information import Rows, fit_probe
from infoplane.inversion import Pairs
from infoplane.measurements.cost import PROBE_READS, SCORE, Costs
from infoplane.measurements.counting import Work
from infoplane.measurements.fits import OfLayer
from infoplane.measurements.quantity import Quantity
from infoplane.measurements.task import Task

LABEL = Quantity(
    "label",
    "Label information",
    "H(y) − CE(y|h) of a probe, on held-out images: a lower bound on I(y;h), in expectation.",
    said="label",
    lower="label information",
    charts=("rows", "tracks", "up"),
    ceiling="classes",
)

FORWARD = Quantity(
    "forward",
    "Label information, read by the rest",
    "H(y) − CE(y|h) of the rest of the network: everything up to the layer is frozen, what follows gets new weights "
    "and is trained anew on images that the frozen part has not seen (Darlow and Storkey 2018). In expectation a "
    "lower bound on I(y;h).",
    said="by the rest",
    lower="that by the rest",
    charts=("rows", "tracks", "up"),
)

OWN = Quantity(
    "own",
    "Label information of the network itself",
    "H(y) − CE(y|x) of the network’s own answers, as it was trained: a lower bound on the information about the label"
    " in each of its layers. An overconfident network falls below 0.",
)


class Probe(OfLayer):
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

    def size(self, costs: Costs) -> float:
        return float(SCORE * costs.sizes["evaluation"])


def _features(pairs: Pairs, units: Callable[[Tensor], Tensor]) -> Rows:
    """The standardised contexts as vectors, computed as they are asked for."""

    def of(part: slice) -> Tensor:
        context = pairs.context_of(part)
        assert context is not None
        return units(context)

    return Rows(len(pairs), of)


class Forward(OfLayer):
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

        found = subjects.decode_labels(
            live.model,
            layer,
            examples("decoding"),
            examples("evaluation"),
            subjects.EpochSettings.model_validate(self.fit),
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
        assert self.layer is not None
        rest = costs.rest(self.layer)
        held = self.held_out * costs.sizes["decoding"]
        steps = self.fit["epochs"] * (costs.sizes["decoding"] - held) / self.fit["batch"]
        scored = costs.sizes["evaluation"] + (self.fit["epochs"] + 2) * held
        return rest.step(self.fit["batch"]).times(steps) + rest.image.times(scored) + costs.reading(self.layer)

    def size(self, costs: Costs) -> float:
        return float(SCORE * costs.sizes["evaluation"])


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
