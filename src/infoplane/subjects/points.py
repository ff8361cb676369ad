"""Inputs that are points, not images: all values of X of a small problem, equally likely, with their classes.

Source: Goldfeld et al. 2018, sections 4, 5, 8 and 9.2; Shwartz-Ziv and Tishby 2017.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from infoplane.data import load
from infoplane.errors import UsageError
from infoplane.registry import Registry

Share = Annotated[float, Gt(0), Lt(1)]


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """All inputs of a problem and which of them a network is trained on.

    Attributes:
        name: What reports call the problem.
        inputs: (N, d) float64, all values of X, equally likely.
        labels: (N,) int64, the class of each, counted from 0.
        targets: (classes,) float64, what a network that is trained by squared error is to answer for each class.
        training, test: int64 indices, equal inputs among the same ones; `test` may be empty where a network is trained
            on all there is.
    """

    name: str
    inputs: np.ndarray
    labels: np.ndarray
    targets: np.ndarray
    training: np.ndarray
    test: np.ndarray

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.targets)


def neuron(seed: int = 0) -> Points:
    """{-3, -1, 1} against {3}, labelled -1 and 1 (Goldfeld et al. 2018, section 4)."""
    return _all_for_training("neuron", [[-3.0], [-1.0], [1.0], [3.0]], [0, 0, 0, 1], [-1.0, 1.0])


def pair(seed: int = 0) -> Points:
    """{1, 2, 3, 4} against {5, 6, 7, 8}, labelled 0 and 1/4 (Goldfeld et al. 2018, section 8)."""
    return _all_for_training("pair", [[float(x)] for x in range(1, 9)], [0] * 4 + [1] * 4, [0.0, 0.25])


def szt(seed: int = 0, *, path: str = "szt", test: Share = 0.2) -> Points:
    """All 4,096 inputs of 12 bits (Shwartz-Ziv and Tishby 2017), split at random for training and test.

    Args:
        path: What `infoplane.data.load` takes: the data set's name, or where its file is.
        test: Share that no network is trained on.

    Raises:
        UsageError: The file is missing or damaged.
    """
    dataset = load(path)
    if dataset.labels is None or dataset.classes is None:
        raise UsageError("the inputs have no labels", received=path, legal="the file var_u.mat as published")
    inputs = dataset.images.reshape(len(dataset), -1).astype(np.float64)
    return _split("szt", inputs, dataset.labels, dataset.classes, test, seed)


def spiral(
    seed: int = 0,
    *,
    inputs: Annotated[int, Ge(4), Le(10**6)] = 1000,
    turns: Annotated[float, Gt(0)] = 1.25,
    jitter: Annotated[float, Ge(0)] = 0.02,
    test: Share = 0.2,
) -> Points:
    """Two classes on the arms of a spiral in the plane, radius up to 1 (Goldfeld et al. 2018, Fig. 11).

    The figure gives no numbers: arm c at angle φ has radius φ / (2π turns) and is turned by πc.

    Args:
        inputs: How many, half of them on either arm.
        turns: How often an arm goes round.
        jitter: Standard deviation of what is added to both coordinates.
        test: Share that no network is trained on.

    Raises:
        UsageError: There are fewer than four inputs, or a size is not positive and finite.
    """
    if inputs < 4 or inputs % 2:
        raise UsageError("spiral inputs must come in pairs", received=inputs, legal="an even number from 4 on")
    if not (0 < turns < math.inf and 0 <= jitter < math.inf):
        raise UsageError("turns and jitter must be positive", received=f"turns={turns}, jitter={jitter}")
    generator = np.random.default_rng([seed, 11])
    half = inputs // 2
    labels = np.repeat([0, 1], half)
    radius = np.sqrt(np.tile((np.arange(half) + 0.5) / half, 2))
    angle = 2 * math.pi * turns * radius + math.pi * labels
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    points += jitter * generator.standard_normal(points.shape)
    return _split("spiral", points, labels.astype(np.int64), 2, test, seed)


#: name of a problem -> function of a seed and options
POINTS: Registry[Callable[..., Points]] = Registry(
    "problem of noisy networks",
    "infoplane.problems",
    {"neuron": neuron, "pair": pair, "szt": szt, "spiral": spiral},
    fits=callable,
    legal="a function of a seed that returns infoplane.subjects.Points",
)


def _all_for_training(name: str, inputs: list[list[float]], labels: list[int], targets: list[float]) -> Points:
    everything = np.arange(len(inputs))
    return Points(name, np.array(inputs), np.array(labels), np.array(targets), everything, everything[:0])


def _split(name: str, inputs: np.ndarray, labels: np.ndarray, classes: int, test: float, seed: int) -> Points:
    if not 0 < test < 1:
        raise UsageError("the test share must lie between 0 and 1", received=test)
    # An input that is there several times is on one side of the split.
    first = equal_inputs(inputs)
    distinct, sizes = np.unique(first, return_counts=True)
    if len(distinct) < 2:
        raise UsageError("too few inputs to test on some of them", received="one, again and again", legal="2 or more")
    order = np.random.default_rng([seed, 12]).permutation(len(distinct))
    reached = np.cumsum(sizes[order])[:-1]
    held = distinct[order[: 1 + int(np.abs(reached - test * len(inputs)).argmin())]]
    chosen = np.isin(first, held)
    targets = np.linspace(-1.0, 1.0, classes)
    return Points(name, inputs, labels, targets, np.flatnonzero(~chosen), np.flatnonzero(chosen))


def equal_inputs(inputs: np.ndarray) -> np.ndarray:
    """Returns for every input (N, d) the index of the first that equals it, int64 (N,); 0 and −0 are equal."""
    _, first, of = np.unique(inputs + 0.0, axis=0, return_index=True, return_inverse=True)
    return first[of.ravel()]
