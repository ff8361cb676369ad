"""Information about the label: I(y;h) ≥ H(y) − CE(y|h), with a linear probe or any other q(y|h)."""

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from annotated_types import Ge, Le
from scipy import special

from infoplane.arguments import check_argument
from infoplane.checks import as_numpy, check_classes, check_labels, check_log_probs, check_numbers
from infoplane.errors import UsageError
from infoplane.estimate import NO_CLASSIFIER, Estimate
from infoplane.information.class_prior import ClassPrior
from infoplane.information.crossed import check_parted, count, crossed_mean
from infoplane.information.wide_probe import STRENGTHS, Features, Probe, check_features, fit_wide_probe
from infoplane.torch_state import own_state

if TYPE_CHECKING:
    from sklearn.linear_model import LogisticRegression

#: how the flag of a reader begins that knows less than nothing
FAILS = "below 0"
#: what reads a label from a layer: a linear probe, the rest of the network trained anew, or the network itself
Reader = Literal["label", "forward", "own"]
#: classes' probabilities as they are given: one for each class, or all alike
Prior = Sequence[float] | np.ndarray | Literal["uniform"]
#: features that take more than this in float64 are not given to scikit-learn
WIDE_BYTES = 512 * 1024**2

#: parts of a cross-validation, and entries of features beyond which the held-out part alone decides
FOLDS, VALIDATED = 5, 2**22


@own_state()
def fit_probe(
    features: Features,
    labels: np.ndarray,
    held_features: Features,
    held_labels: np.ndarray,
    *,
    classes: int,
    groups: np.ndarray | None = None,
) -> Probe:
    """Returns the multinomial logistic regression with the penalty that did best on pairs it was not fitted on.

    The penalty is chosen by cross-validation over all pairs, held-out ones included; where that would take long
    (`VALIDATED`), by the held-out pairs. The probe is then fitted on all pairs, and mixed with the classes' shares by
    what was seen in validation: see `ClassPrior`. Features that would fill memory in float64 (`WIDE_BYTES`), such as
    the 16,384 units of a ResNet's h1 on tens of thousands of images, are fitted a chunk of rows at a time: see
    `fit_wide_probe`.

    Args:
        features: (n, d), standardised; held_features (m, d) likewise. Arrays, tensors, or `Rows` that are computed
            as they are asked for.
        labels: (n,) whole numbers 0 … classes − 1; held_labels (m,) likewise.
        groups: (n + m,) whole numbers: pairs of one group, copies of an image, stay in one part.

    Raises:
        UsageError: Features are not finite numbers (n, d), or there is not one class number for each.
    """
    classes = check_classes(classes)
    shapes = [check_features(each, what) for each, what in ((features, "features"), (held_features, "held features"))]
    if shapes[0][1] != shapes[1][1]:
        raise UsageError("features and held features differ in width", received=f"{shapes[0][1]} and {shapes[1][1]}")
    count, width = shapes[0][0] + shapes[1][0], shapes[0][1]
    labels = check_labels(labels, shapes[0][0], classes, of="row")
    held_labels = check_labels(held_labels, shapes[1][0], classes, what="held labels", of="row")
    if 8 * count * width > WIDE_BYTES:
        return fit_wide_probe(features, labels, held_features, held_labels, classes=classes)
    x = np.concatenate([_array(features), _array(held_features)])
    check_numbers(x, what="features", kinds="f")
    y = np.concatenate([labels, held_labels])
    groups = np.arange(count) if groups is None else check_labels(groups, count, None, what="groups", of="row")
    if count * width <= VALIDATED:
        parts = _folds(y, groups)
    else:
        parts = np.where(np.arange(count) >= len(labels), 0, -1)  # one part is predicted, from the rest
    tested = parts >= 0
    log_probs = np.zeros((len(STRENGTHS), count))
    for part in np.unique(parts[tested]):
        new, model = parts == part, None
        for row, strength in zip(log_probs, STRENGTHS, strict=True):  # each is found from the one before
            probe = LinearProbe(x[~new], y[~new], classes, strength, model)
            row[new], model = probe.log_probs(x[new], y[new]), probe.model
    best = int(log_probs[:, tested].mean(1).argmax())
    probe = LinearProbe(x, y, classes, STRENGTHS[best])
    probe.prior = probe.prior.weighted(log_probs[best, tested], y[tested])
    return probe


def _folds(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Which part of a cross-validation each pair is in, every class spread over all of them: (n,)."""
    _, first, of = np.unique(groups, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    shuffled = np.random.default_rng(0).permutation(len(first))
    rank[shuffled[np.argsort(labels[first][shuffled], kind="stable")]] = np.arange(len(first))
    return rank[of.ravel()] % FOLDS


def _array(features: Features) -> np.ndarray:
    """All rows, in single or double precision as they are."""
    array = as_numpy(features[slice(0, len(features))], what="features", widen=True)
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)


class LinearProbe(Probe):
    """The probe trained on the decoding split, from a `model` of another strength if there is one."""

    prior: ClassPrior

    def __init__(
        self,
        features: np.ndarray,
        labels: np.ndarray,
        classes: int,
        strength: float,
        model: "LogisticRegression | None" = None,
    ) -> None:
        # Slow to import, and large: reports read what probes found and train none.
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        self.classes, self.prior, self.width = classes, ClassPrior.of(labels, classes), features.shape[1]
        self.model = LogisticRegression(max_iter=200, warm_start=True) if model is None else model
        self.model.set_params(C=strength)
        self.only = int(labels[0]) if self.prior.seen.sum() == 1 else None
        if self.only is not None:
            return  # of one class there is nothing to tell apart
        with warnings.catch_warnings():
            # An unconverged probe is a weaker probe: its bound is still a bound.
            warnings.simplefilter("ignore", ConvergenceWarning)
            # It asks whether many classes of few examples are numbers of something: here they are not.
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
            self.model.fit(features, labels)

    def _table(self, features: Features) -> np.ndarray:
        rows = _array(features)
        check_numbers(rows, what="features", kinds="f")
        table = np.zeros((len(rows), self.classes))
        if self.only is None:
            found = self.model.predict_proba(rows).astype(np.float64)
            table[:, self.model.classes_] = found / found.sum(1, keepdims=True)
        else:
            table[:, self.only] = 1.0
        return table


def check_prior(prior: Prior, labels: np.ndarray, classes: int) -> np.ndarray:
    """Returns the classes' probabilities, (classes,) float64, all alike for "uniform".

    Raises:
        UsageError: They are no probabilities of these classes, or that of a label that occurs is 0.
    """
    legal = f'"uniform", or ({classes},) numbers of sum 1, above 0 where labels occur'
    if isinstance(prior, str):
        if prior != "uniform":
            raise UsageError("no such class probabilities", received=repr(prior), legal=legal)
        return np.full(classes, 1 / classes)
    known = check_numbers(prior, what="class probabilities")
    fits = known.shape == (classes,) and known.min() >= 0 and abs(known.sum() - 1) <= 1e-6
    if not fits or (known[np.unique(labels)] == 0).any():
        received = f"shape {known.shape}, {known.min():g} … {known.max():g}, sum {known.sum():g}"
        raise UsageError("class probabilities do not fit the labels", received=received, legal=legal)
    return known


def falls_short(labels: np.ndarray, classes: int, groups: np.ndarray | None = None) -> float:
    """Returns by about how much the plug-in entropy of labels (n,) errs low, nats: (C − 1)/2n (Miller 1955).

    C are the classes that there may be by these labels: those that occur and f₁(f₁ − 1)/2(f₂ + 1) more, of which f₁
    occur once and f₂ twice (Chao 1984), but no more than `classes`. It is no more than what the entropy lacks of log
    `classes`, which no entropy exceeds. Of examples that belong together, `groups` (n,), one counts.
    """
    if groups is not None:
        labels = np.unique(np.stack([labels, groups]), axis=1)[0]
        n = len(np.unique(groups))
    else:
        n = len(labels)
    counts = np.bincount(labels, minlength=classes)
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    there = min(classes, int((counts > 0).sum()) + once * (once - 1) / (2 * (twice + 1)))
    return max(0.0, min((there - 1) / (2 * n), lacks(labels, classes)))


def lacks(labels: np.ndarray, classes: int) -> float:
    """Returns what the plug-in entropy of labels (n,) lacks of log `classes`, nats: it errs low by no more."""
    return math.log(classes) - float(special.entr(np.bincount(labels) / len(labels)).sum())


def label_information(
    log_probs: np.ndarray,
    labels: np.ndarray,
    *,
    classes: int,
    kind: str = "label",
    groups: np.ndarray | None = None,
    prior: Prior | None = None,
) -> Estimate:
    """Returns H(y) − CE(y|h) in nats, a lower bound on I(y;h) (Darlow & Storkey 2018, eq. 3).

    H(y) is the plug-in entropy of these labels, which errs low on average by about (classes − 1)/2n: the bound keeps
    its direction, but is short by so much, which the standard error does not cover, and a flag says where it is more
    than that. A corrected entropy would make no bound. Where the classes' probabilities are known, H(y) is exact.

    Args:
        log_probs: log q(y|h) on held-out pairs, (n,) or (R, n).
        labels: (n,).
        kind: What q(y|h) is: "label" a linear probe, "forward" the rest of the network trained anew, "own" the network
            itself.
        groups: (n,) of examples that belong together: errors are over groups, and groups are what is counted.
        prior: The classes' true probabilities, (classes,), or "uniform", as by a data set's design; None: unknown.

    Raises:
        UsageError: The log-probabilities are not finite or above 0, there is not one class number for each, or the
            prior is none of these classes.

    Examples:
        >>> sure = np.zeros(4)  # log q(y|h) of a reader that is always right
        >>> print(label_information(sure, np.array([0, 1, 0, 1]), classes=2))
        0.69 ± 0.00 nats (label information, lower bound, n = 4, single fit)
    """
    check_argument("kind", kind, Reader)
    log_probs, classes = check_log_probs(log_probs, over=1e-6), check_classes(classes)
    labels = check_labels(labels, log_probs.shape[1], classes, of="log-probability")
    frequency = np.bincount(labels, minlength=classes) / len(labels)
    if prior is not None:
        frequency = check_prior(prior, labels, classes)
    # Its mean is the plug-in entropy; with known probabilities, H(y) on average over labels.
    surprise = -np.log(frequency[labels])
    terms = log_probs + surprise
    mean = crossed_mean(terms, groups=groups)
    # A bound still, but one that says nothing: zero is known without any reader.
    flags = (f"{FAILS}: the reader is overconfident and does worse than guessing",) * (mean.value < -2 * mean.stderr)
    n = count(terms, groups)
    check_parted(n)
    short = 0.0 if prior is not None else falls_short(labels, classes, groups)
    if short > mean.stderr:
        flags += (f"H(y) of {n:,} labels errs low by about {short:.2g} nats, beyond the error",)
    return Estimate(mean.value, mean.stderr, "nats", kind, "lower", n=n, refits=len(terms), dof=mean.dof, flags=flags)


def accuracy(correct: np.ndarray, *, groups: np.ndarray | None = None, chance: float | None = None) -> Estimate:
    """Returns the share of correct answers (n,) of the network under study, with its binomial standard error.

    Where examples belong together, `groups` (n,), the error is over groups, and groups are what is counted.

    Args:
        chance: The share that would agree if answers had nothing to do with labels, Σ_c P(answer c) P(label c). Where
            no more do, by an exact one-sided binomial test at 5 %, a flag says that this is no classifier.

    Raises:
        UsageError: They are not n times yes or no, or `chance` is no share.

    Examples:
        >>> print(accuracy(np.array([1, 1, 1, 0])))
        0.75 [0.30, 0.95] (accuracy, n = 4)
    """
    if chance is not None:
        check_argument("the share that would agree by chance", chance, Annotated[float, Ge(0), Le(1)])
    correct = check_numbers(correct, what="answers")
    if correct.ndim != 1 or not np.isin(correct, (0, 1)).all():
        received = f"shape {correct.shape}, {correct.min():g} … {correct.max():g}"
        raise UsageError("answers are neither right nor wrong", received=received, legal="(n,), each 0 or 1")
    share = float(correct.mean())
    stderr = float(np.sqrt(share * (1 - share) / len(correct)))
    if groups is not None:
        stderr = crossed_mean(correct, groups=groups).stderr
    n, flags = count(correct, groups), ()
    # The probability that so many or more of n agree by chance.
    if chance is not None and special.bdtrc(round(share * n) - 1, n, min(1.0, chance)) >= 0.05:
        flags = (f"{NO_CLASSIFIER}: {share:.3g} of its answers agree with them, {chance:.3g} would by chance",)
    return Estimate(share, stderr, "fraction", "accuracy", None, n=n, refits=0, flags=flags)
