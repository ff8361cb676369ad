"""What a reader of labels q(y|h) is mixed with, so that it is never surer than it has shown it may be."""

from dataclasses import dataclass, replace
from types import EllipsisType

import numpy as np
from scipy import optimize


@dataclass(frozen=True)
class ClassPrior:
    """(1 − w) q(y|h) + w p(y), with p(y) of classes that the reader never saw added to its q.

    A reader gives a class that it was not trained on nothing, or almost: one example of it would cost 16 nats and more.
    Here it costs about log 2n.

    Attributes:
        shares: p(y) = (n_y + ½) / (n + C/2) of n labels, (C,) (Krichevsky & Trofimov 1981). Of many classes most may
            never occur: those that did not have at most (n₁ + 1) / (n + 1) together, where n₁ classes occurred once,
            which is Robbins' (1968) n₁ / (n + 1) with one to spare.
        seen: Which classes occur among them, (C,).
        weight: w.
    """

    shares: np.ndarray
    seen: np.ndarray
    weight: float = 0.0

    @classmethod
    def of(cls, labels: np.ndarray, classes: int) -> "ClassPrior":
        """Returns the prior of labels (n,) that a reader was trained on, which as yet has no weight."""
        counts = np.bincount(labels, minlength=classes)
        shares, seen = (counts + 0.5) / (len(labels) + classes / 2), counts > 0
        unseen, most = float(shares[~seen].sum()), float((counts == 1).sum() + 1) / (len(labels) + 1)
        if unseen > most:
            shares = np.where(seen, shares * (1 - most) / (1 - unseen), shares * most / unseen)
        return cls(shares, seen)

    def weighted(self, log_probs: np.ndarray, labels: np.ndarray) -> "ClassPrior":
        """Returns the prior with the weight that makes pairs (m,) on which the reader was not trained likeliest.

        As if there had been one more pair that only the reader explains, and one that only p(y) does: so w is about
        1/m where the reader was right m times of m, and never 0. The log-probabilities are the reader's alone.
        """
        reader, prior = replace(self, weight=0.0).mix(np.exp(log_probs), labels), self.shares[labels]

        def slope(w: float) -> float:
            return float(((prior - reader) / ((1 - w) * reader + w * prior)).sum()) + 1 / w - 1 / (1 - w)

        return replace(self, weight=optimize.root_scalar(slope, bracket=(1e-12, 1 - 1e-12), method="brentq").root)

    def mix(self, probabilities: np.ndarray, at: np.ndarray | EllipsisType = ...) -> np.ndarray:
        """Returns the mixture of q(y|h): of all classes (n, C), or (n,) of the labels (n,) that `at` names."""
        shares = self.shares[at]
        missing = np.where(self.seen[at], 0.0, shares)
        known = 1 - self.shares[~self.seen].sum()
        return (1 - self.weight) * (known * probabilities + missing) + self.weight * shares
