"""What is known exactly of generated data, and what was measured beside it."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, ClassVar, Literal

import numpy as np

from infoplane import data
from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.estimate import Estimate, confidence
from infoplane.information import Mean, contrastive_terms
from infoplane.measurements.base import Draft, Measurement, Row, Scores, Sources
from infoplane.measurements.densities import OfDensities
from infoplane.measurements.fits import batches_of
from infoplane.measurements.numbers import ALL, INPUT, Number, Place
from infoplane.measurements.task import Task

#: confidence of the intervals outside which something known to be impossible is not put down to chance: that of three
#: standard errors where these are known
IMPOSSIBLE = 0.9973
#: draws of the generator from which entropies are
DRAWS = 100_000


class TruthCell(Kind):
    """True log-probabilities of the evaluation part, and information.

    Attributes:
        options: Of the generator.
        contrastive: Sizes of the contrastive bound's batches.
        draws: Of the generator, from which entropies are.
    """

    kind: ClassVar[str] = "truth"
    library: ClassVar[str] = "numpy"

    options: dict[str, Any]
    contrastive: dict[str, int]
    draws: int

    def run(self, task: Task) -> Result:
        truth = data.Truth(self.options.get("noise", 0.2))
        images = task.data.array("images")[task.split("evaluation")]
        arrays: dict[str, np.ndarray] = {"log_probs:input": truth.log_prob(images)}
        entropy = {"input": asdict(truth.entropy(self.draws, seed=7))}
        values: dict[str, Any] = {"entropy": entropy, "information": {}}
        batches = batches_of(task, self.contrastive)
        for latent in ("template", "shift"):
            chosen = task.data.array(f"latent:{latent}")[task.split("evaluation")].argmax(1)
            under_each = truth.log_prob_under_each(images, latent)
            arrays[f"log_probs:{latent}"] = under_each[np.arange(len(images)), chosen]
            if batches:
                scores = [contrastive_terms(under_each[batch][:, chosen[batch]]).mean() for batch in batches]
                arrays[f"contrastive:{latent}"] = np.array(scores)
            values["information"][latent] = asdict(truth.information(latent, self.draws, seed=7))
            values["entropy"][latent] = asdict(truth.conditional_entropy(latent, self.draws, seed=7))
        return Result(values, arrays)


class Excess(OfDensities):
    """What q needs beyond what the true density needs."""

    kind: ClassVar = "excess"
    name: ClassVar = "Excess over the true density"
    meaning: ClassVar = (
        "What q needs per image beyond what the true density needs, which is known here. Zero is perfect; an image by "
        "image difference, so it can be slightly negative by chance."
    )
    beside: ClassVar = True
    cells: ClassVar = (TruthCell,)

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        if spec.data.name == "truth":
            study = spec.model_dump(mode="json")
            plan.add(
                TruthCell(options=study["data"]["options"], contrastive=study["contrastive"], draws=DRAWS), sources.data
            )

    def scores(self, run: Any, place: Place) -> Scores:
        truth, name = run.cell("truth"), f"log_probs:{place.layer}"
        if truth is None or name not in truth.names():
            return {}
        true = truth.array(name)
        return {refit: true - own for refit, own in run.scores(place.layer, place.checkpoint).items()}

    refits = Measurement.refits  # of those that there is a truth for

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        if (known := known_of(run, number, "entropy")) is not None:
            yield exceeding(where_of(number), number.estimate, known)


EXCESS = Excess()


# --- beside what is known ---


def known_of(
    run: Any, number: Number, what: Literal["entropy", "information"], layer: str | None = None
) -> Estimate | None:
    """What is known of a number's layer, or of another one; None where nothing is, or the number is not compared."""
    truth, (place, refit, _) = run.cell("truth"), number
    if truth is None or refit != ALL or place.checkpoint not in ("", run.checkpoints[-1]):
        return None
    found = truth.values[what].get(place.layer if layer is None else layer)
    return None if found is None else Estimate.of(found)


def where_of(number: Number) -> str:
    """The name of a number's layer."""
    return "p(x)" if number.place.layer == INPUT else number.place.layer


def compared(where: str, estimate: Estimate, truth: Estimate) -> Row:
    """One line of the comparison with what is known: does a bound hold, how far off is what bounds nothing?"""
    gap = estimate.value - truth.value
    far = confidence(IMPOSSIBLE, estimate.dof) * math.hypot(estimate.stderr or 0.0, truth.stderr or 0.0)
    if estimate.bound == "lower":
        verdict = "holds" if gap <= far else "violated"
    elif estimate.bound == "upper":
        verdict = "holds" if gap >= -far else "violated"
    else:
        verdict = f"off by {gap:+.2f} nats"
    return line(where, estimate, truth.value, truth.stderr, verdict)


def exceeding(where: str, estimate: Estimate, entropy: Estimate) -> Row:
    """Paired with the true density on the same images: it cannot be negative but by chance."""
    possible = estimate.value >= -confidence(IMPOSSIBLE, estimate.dof) * (estimate.stderr or 0.0)
    share = f"{100 * estimate.value / entropy.value:.2f} % of the entropy"
    return line(where, estimate, 0.0, None, share if possible else f"impossible: {share}")


def beside_truth(where: str, estimate: Estimate, true: Mean) -> Row:
    """The contrastive bound beside the one that the true density gives on the same draws."""
    share = f"{100 * (estimate.value / true.value - 1):+.2f} % of the true density's"
    return line(f"{where}, true density's", estimate, true.value, true.stderr, share)


def line(where: str, estimate: Estimate, truth: float, truth_stderr: float | None, verdict: str) -> Row:
    return {
        "name": f"{estimate.meaning} at {where}",
        "truth": truth,
        "truth_stderr": truth_stderr,
        "measured": estimate.value,
        "stderr": estimate.stderr,
        "direction": estimate.direction,
        "verdict": verdict,
    }
