"""What is known exactly of generated data."""

from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np

from infoplane import data
from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.information import contrastive_terms
from infoplane.measurements.fits import batches_of
from infoplane.measurements.quantity import Quantity
from infoplane.measurements.task import Task

EXCESS = Quantity(
    "excess",
    "Excess over the true density",
    "What q needs per image beyond what the true density needs, which is known here. Zero is perfect; an image by "
    "image difference, so it can be slightly negative by chance.",
    beside=True,
    fitted=True,
)


class Truth(Kind):
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
