"""A linear probe for layers too wide for memory: features come a few rows at a time and are never held in float64."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from infoplane.arguments import check_argument
from infoplane.checks import as_numpy, check_labels, check_whole
from infoplane.errors import UsageError
from infoplane.information.class_prior import ClassPrior
from infoplane.torch_state import own_state

#: inverse strengths of the L2 penalty to choose from, strong to weak; with thousands of features strong ones matter
STRENGTHS = tuple(10.0**power for power in range(-7, 5))
#: share of the uniform distribution in every q(y|h), so that none is 0 by rounding
TRACE = 1e-6
#: rows that are in work at a time
ROWS = 1024
#: steps of L-BFGS between two looks at the held-out loss, and looks per strength
STEPS, LOOKS = 10, 20
#: looks without improvement after which a strength ends, and strengths in a row, at whose end the held-out loss was so
#: many times the best, after which the path ends
STALE_LOOKS, STALE_STRENGTHS, OVERFITTED = 2, 2, 1.01
#: a fit has converged where no component of the gradient of the mean loss is larger, or the mean loss falls by less, in
#: nats, between two looks: products in float32 carry no further
GRADIENT, PROGRESS = 1e-6, 1e-7


class Features(Protocol):
    """Rows (n, d) that can be asked for by slice: an array, a tensor, or `Rows`."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor | np.ndarray: ...


@dataclass(frozen=True)
class Rows:
    """Features that are computed, or read, when they are asked for.

    Attributes:
        count: n.
        of: From a slice of the examples to their features (b, d), on any device.
    """

    count: int
    of: Callable[[slice], Tensor | np.ndarray]

    def __post_init__(self) -> None:
        check_whole("number of rows", self.count, least=1)
        check_argument("of", self.of, Callable)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, part: slice) -> Tensor | np.ndarray:
        return self.of(part)


class Probe(ABC):
    """q(y|h) ∝ exp(w_y·h + b_y), mixed with the classes' shares.

    Attributes:
        width: d of the features that it was fitted on.
        prior: What it is mixed with, if anything.
    """

    width: int
    prior: ClassPrior | None

    @abstractmethod
    def _table(self, features: Features) -> np.ndarray:
        """The probabilities before they are mixed, (n, classes), or UsageError of features that are not finite."""

    def probabilities(self, features: Features) -> np.ndarray:
        """(n, d) -> (n, classes), none of them 0.

        Raises:
            UsageError: Features are not finite numbers of the width that the probe was fitted on.
        """
        found = check_features(features, "features")[1]
        if found != self.width:
            raise UsageError("features do not fit the probe", received=f"(n, {found})", legal=f"(n, {self.width})")
        table = self._table(features)
        mixed = table if self.prior is None else self.prior.mix(table)
        return (1 - TRACE) * mixed + TRACE / mixed.shape[1]

    def log_probs(self, features: Features, labels: np.ndarray) -> np.ndarray:
        """log q(y|h) in nats: (n,) float64.

        Raises:
            UsageError: As `probabilities`, or there is not one class number for each row.
        """
        table = self.probabilities(features)
        labels = check_labels(labels, len(table), table.shape[1], of="row")
        return np.log(table[np.arange(len(labels)), labels])


class WideProbe(Probe):
    """The probe with these weights, (d + 1, classes) float64, whose last row holds the biases."""

    def __init__(self, weights: Tensor, prior: ClassPrior | None = None) -> None:
        self.weights, self.prior, self.width = weights, prior, len(weights) - 1

    def _table(self, features: Features) -> np.ndarray:
        table = torch.cat([_log_softmax(chunk, self.weights).exp().cpu() for _, chunk in _chunks(features)]).numpy()
        if not np.isfinite(table).all():  # whatever is not finite among the features makes it so
            raise _not_finite("a probability that is no number")
        return table


@own_state()
def fit_wide_probe(
    features: Features, labels: np.ndarray, held_features: Features, held_labels: np.ndarray, *, classes: int
) -> WideProbe:
    """Returns the multinomial logistic regression, among those on a path of penalties, that did best on held-out pairs.

    Minimises C·Σ −log q(y|h) + ½|w|² by L-BFGS, as scikit-learn does (biases are not penalised), for falling penalties
    1/C, each from the solution of the one before. Every few steps the held-out loss is looked at; the weights that
    were best at any look are kept, so the search also stops early within a penalty. They are then mixed with the
    classes' shares by what held-out pairs say: see `ClassPrior`. Memory: a chunk of rows, and 20 times the weights.
    Each step is one pass over the features, so the held-out pairs decide, and no cross-validation. Arguments are those
    of `fit_probe`.
    """
    best, best_loss = None, np.inf
    last, in_vain = None, 0
    for strength in STRENGTHS:
        idle, loss = 0, np.inf
        for weights in descend_penalised(features, labels, classes, strength, start=last):
            last, loss = weights, mean_loss(held_features, held_labels, weights)
            if loss < best_loss:
                best, best_loss, idle = weights, loss, 0
            else:
                idle += 1
            if idle == STALE_LOOKS:
                break
        in_vain = in_vain + 1 if loss > OVERFITTED * best_loss else 0
        if in_vain == STALE_STRENGTHS:
            break  # weaker penalties only overfit more
    if best is None:  # the first look at finite features is better than infinity
        raise _not_finite("a loss that is no number")
    prior = ClassPrior.of(labels, classes)
    return WideProbe(best, prior.weighted(WideProbe(best).log_probs(held_features, held_labels), held_labels))


def check_features(features: Features, what: str) -> tuple[int, int]:
    """Returns n and d of features (n, d), of which one row is looked at, or raises UsageError."""
    legal = "(n, d) real numbers, n ≥ 1"
    try:
        n = len(features)
        row = as_numpy(features[slice(0, 1)], what=what, widen=True)
    except TypeError as error:
        raise UsageError(f"{what} are no rows", received=type(features).__name__, legal=legal) from error
    if row.ndim != 2 or not row.size or row.dtype.kind not in "biuf":
        received = f"{n} rows, the first {row.dtype} of shape {row.shape[1:]}"
        raise UsageError(f"{what} are no rows", received=received, legal=legal)
    return n, row.shape[1]


def _not_finite(received: str) -> UsageError:
    return UsageError("features are not finite", received=received, legal="finite numbers")


def descend_penalised(
    features: Features, labels: np.ndarray, classes: int, strength: float, *, start: Tensor | None = None
) -> Iterator[Tensor]:
    """Yields the weights (d + 1, classes) after every few steps of L-BFGS, until they have converged.

    Args:
        strength: C of C·Σ −log q(y|h) + ½|w|².
        start: Weights to begin with; zeros where there are none.
    """
    if start is None:
        _, first = next(_chunks(features))
        start = torch.zeros(first.shape[1] + 1, classes, dtype=torch.float64, device=first.device)
    weights = start.clone().requires_grad_()
    pull = torch.full_like(start, 1 / (strength * len(labels)))
    pull[-1] = 0
    optimiser = torch.optim.LBFGS(
        [weights], max_iter=STEPS, tolerance_grad=GRADIENT, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        loss, weights.grad = _loss_and_gradient(features, labels, weights.detach())
        weights.grad += pull * weights.detach()
        return loss + float((pull * weights.detach().square()).sum()) / 2

    before = math.inf
    for _ in range(LOOKS):
        now = float(optimiser.step(closure))  # that of the weights it began with  # pyright: ignore
        yield weights.detach().clone()
        if before - now < PROGRESS or weights.grad is None or float(weights.grad.abs().max()) <= GRADIENT:
            break
        before = now


def mean_loss(features: Features, labels: np.ndarray, weights: Tensor) -> float:
    """Returns the mean of −log q(y|h), nats."""
    target = torch.as_tensor(labels)
    total = 0.0
    for part, chunk in _chunks(features):
        total -= float(_log_softmax(chunk, weights).gather(1, target[part, None].to(chunk.device)).sum())
    return total / len(labels)


def _loss_and_gradient(features: Features, labels: np.ndarray, weights: Tensor) -> tuple[float, Tensor]:
    """The mean of −log q(y|h), and its gradient, summed in float64 over products in the features' own type."""
    target = torch.as_tensor(labels)
    loss, gradient = torch.zeros((), dtype=torch.float64, device=weights.device), torch.zeros_like(weights)
    for part, chunk in _chunks(features):
        log_q, y = _log_softmax(chunk, weights), target[part, None].to(chunk.device)
        loss -= log_q.gather(1, y).sum()
        error = log_q.exp().scatter_add_(1, y, -torch.ones_like(y, dtype=log_q.dtype))
        gradient[:-1] += chunk.T @ error.to(chunk.dtype)
        gradient[-1] += error.sum(0)
    return float(loss) / len(labels), gradient / len(labels)


def _log_softmax(chunk: Tensor, weights: Tensor) -> Tensor:
    """log q of all classes, float64 (b, classes)."""
    weights = weights.to(chunk.device)
    return ((chunk @ weights[:-1].to(chunk.dtype)).double() + weights[-1]).log_softmax(1)


def _chunks(features: Features) -> Iterator[tuple[slice, Tensor]]:
    """Yields the rows a few at a time, with where they are."""
    for start in range(0, len(features), ROWS):
        part = slice(start, start + ROWS)
        chunk = features[part]
        if isinstance(chunk, np.ndarray) and not chunk.flags.writeable:
            chunk = chunk.copy()  # torch takes no read-only memory, such as a mapped file's
        chunk = torch.as_tensor(chunk)
        if chunk.dtype not in (torch.float32, torch.float64):  # weights would be rounded to its type
            chunk = chunk.float() if chunk.is_floating_point() else chunk.double()
        yield part, chunk
