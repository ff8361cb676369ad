"""Information about the label: I(y;h) ≥ H(y) − CE(y|h), with a linear probe or any other q(y|h)."""

import warnings

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from infoplane.checks import check_labels, check_log_probs, check_numbers, check_whole
from infoplane.errors import UsageError
from infoplane.estimate import Estimate
from infoplane.information.crossed import count, crossed_mean
from infoplane.information.wide_probe import Features, WideProbe, fit_wide_probe
from infoplane.torch_state import own_state

#: features that take more than this in float64 are not given to scikit-learn
WIDE_BYTES = 512 * 1024**2

#: inverse strengths of the probe's L2 penalty to choose from
STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


@own_state()
def fit_probe(
    features: Features, labels: np.ndarray, held_features: Features, held_labels: np.ndarray, *, classes: int
) -> "LinearProbe | WideProbe":
    """Returns the multinomial logistic regression whose penalty did best on the held-out pairs.

    Features that would fill memory in float64 (`WIDE_BYTES`), such as the 16,384 units of a ResNet's h1 on tens of
    thousands of images, are fitted a chunk of rows at a time: see `fit_wide_probe`.

    Args:
        features: (n, d), standardised; held_features (m, d) likewise. Arrays, tensors, or `Rows` that are computed
            as they are asked for.
        labels: (n,) whole numbers 0 … classes − 1; held_labels (m,) likewise.
    """
    width = np.shape(features[slice(0, 1)])[1]
    if 8 * len(features) * width > WIDE_BYTES:
        return fit_wide_probe(features, labels, held_features, held_labels, classes=classes)
    arrays = _array(features), _array(held_features)
    candidates = [LinearProbe(arrays[0], labels, classes, strength) for strength in STRENGTHS]
    return min(candidates, key=lambda probe: -probe.log_probs(arrays[1], held_labels).mean())


def _array(features: Features) -> np.ndarray:
    """All rows, in the type that they have."""
    if isinstance(features, np.ndarray):
        return features
    return torch.as_tensor(features[slice(0, len(features))]).cpu().numpy()


class LinearProbe:
    """q(y|h) ∝ exp(w_y·h + b_y), trained on the decoding split."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, classes: int, strength: float) -> None:
        self.classes = classes
        self.model = LogisticRegression(C=strength, max_iter=200)
        with warnings.catch_warnings():
            # An unconverged probe is a weaker probe: its bound is still a bound.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self.model.fit(features, labels)

    def probabilities(self, features: Features) -> np.ndarray:
        """(n, d) -> (n, classes). Mixed with a trace of the uniform, so that a class never trained on has no −∞."""
        table = np.zeros((len(features), self.classes))
        table[:, self.model.classes_] = self.model.predict_proba(_array(features))
        return (1 - 1e-6) * table + 1e-6 / self.classes

    def log_probs(self, features: Features, labels: np.ndarray) -> np.ndarray:
        """log q(y|h) in nats: (n,)."""
        return np.log(self.probabilities(features)[np.arange(len(labels)), labels])


def label_information(
    log_probs: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    kind: str = "label",
    groups: np.ndarray | None = None,
) -> Estimate:
    """Returns H(y) − CE(y|h) in nats, a lower bound on I(y;h) (Darlow & Storkey 2018, eq. 3).

    H(y) is the plug-in entropy of these labels, which errs low on average by about (classes − 1)/2n, so the bound keeps
    its direction.

    Args:
        log_probs: log q(y|h) on held-out pairs, (n,) or (R, n).
        labels: (n,).
        kind: What q(y|h) is: "label" a linear probe, "forward" the rest of the network trained anew, "own" the network
            itself.
        groups: (n,) of examples that belong together: errors are over groups, and groups are what is counted.

    Raises:
        UsageError: The log-probabilities are not finite or above 0, or there is not one class number for each.
    """
    log_probs, classes = check_log_probs(log_probs, discrete=True), check_whole("classes", classes, least=1)
    labels = check_labels(labels, log_probs.shape[1], classes, of="log-probability")
    frequency = np.bincount(labels, minlength=classes) / len(labels)
    surprise = -np.log(frequency[labels])  # its mean is the plug-in entropy
    terms = log_probs + surprise
    mean = crossed_mean(terms, groups=groups)
    # A bound still, but one that says nothing: zero is known without any reader.
    flags = ("below 0: the reader is overconfident and does worse than guessing",) * (mean.value < -2 * mean.stderr)
    n = count(terms, groups)
    return Estimate(mean.value, mean.stderr, "nats", kind, "lower", n=n, refits=len(terms), dof=mean.dof, flags=flags)


def accuracy(correct: np.ndarray, *, groups: np.ndarray | None = None) -> Estimate:
    """Returns the share of correct answers (n,) of the network under study, with its binomial standard error.

    Where examples belong together, `groups` (n,), the error is over groups, and groups are what is counted.

    Raises:
        UsageError: They are not n times yes or no.
    """
    correct = check_numbers(correct, what="answers")
    if correct.ndim != 1 or not np.isin(correct, (0, 1)).all():
        received = f"shape {correct.shape}, {correct.min():g} … {correct.max():g}"
        raise UsageError("answers are neither right nor wrong", received=received, legal="(n,), each 0 or 1")
    share = float(correct.mean())
    stderr = float(np.sqrt(share * (1 - share) / len(correct)))
    if groups is not None:
        stderr = crossed_mean(correct, groups=groups).stderr
    return Estimate(share, stderr, "fraction", "accuracy", None, n=count(correct, groups), refits=0)
