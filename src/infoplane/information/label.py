"""Information about the label: I(y;h) ≥ H(y) − CE(y|h), with a linear probe for q(y|h)."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from infoplane.estimate import Estimate
from infoplane.information.crossed import crossed_mean

#: inverse strengths of the probe's L2 penalty to choose from
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


def fit_probe(
    features: np.ndarray, labels: np.ndarray, held_features: np.ndarray, held_labels: np.ndarray, *, classes: int
) -> "LinearProbe":
    """Returns the multinomial logistic regression whose penalty did best on the held-out pairs.

    Args:
        features: (n, d), standardised; held_features (m, d) likewise.
        labels: (n,) whole numbers 0 … classes − 1; held_labels (m,) likewise.
    """
    candidates = [LinearProbe(features, labels, classes, strength) for strength in STRENGTHS]
    return min(candidates, key=lambda probe: -probe.log_probs(held_features, held_labels).mean())


class LinearProbe:
    """q(y|h) ∝ exp(w_y·h + b_y), trained on the decoding split."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> None:
        self.classes = classes
        self.model = LogisticRegression(C=strength, max_iter=200)
        with warnings.catch_warnings():
            # An unconverged probe is a weaker probe: its bound is still a bound.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(features, labels)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """(n, d) -> (n, classes). Mixed with a trace of the uniform, so that a class never trained on has no −∞."""
        table = np.zeros((len(features), self.classes))
        table[:, self.model.classes_] = self.model.predict_proba(features)
        return (1 - 1e-6) * table + 1e-6 / self.classes

    def log_probs(self, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """log q(y|h) in nats: (n,)."""
        return np.log(self.probabilities(features)[np.arange(len(labels)), labels])


def label_information(log_probs: np.ndarray, labels: np.ndarray, *, classes: int) -> Estimate:
    """Returns H(y) − CE(y|h) in nats, a lower bound on I(y;h) (Darlow & Storkey 2018, eq. 3).

    H(y) is the plug-in entropy of these labels, which errs low on average by about (classes − 1)/2n, so the bound keeps
    its direction.

    Args:
        log_probs: log q(y|h) on held-out pairs, (n,) or (R, n).
        labels: (n,).
    """
    frequency = np.bincount(labels, minlength=classes) / len(labels)
    surprise = -np.log(frequency[labels])  # its mean is the plug-in entropy
    terms = np.atleast_2d(log_probs) + surprise
    mean = crossed_mean(terms)
    return Estimate(mean.value, mean.stderr, "nats", "label", "lower", n=len(labels), refits=len(terms), dof=mean.dof)


def accuracy(correct: np.ndarray) -> Estimate:
    """Returns the share of correct answers (n,) of the network under study, with its binomial standard error."""
    correct = np.asarray(correct, dtype=np.float64)
    share = float(correct.mean())
    stderr = float(np.sqrt(share * (1 - share) / len(correct)))
    return Estimate(share, stderr, "fraction", "accuracy", None, n=len(correct), refits=0)
