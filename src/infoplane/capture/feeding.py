"""What a transform's output for an image depends on beside that image."""

import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoplane.capture.dependence import FEW_DRAWS, ROWS, SHARE, Dependence
from infoplane.capture.generators import seeded
from infoplane.capture.inputs import quoted
from infoplane.capture.pytrees import leaves, own_batch
from infoplane.errors import UsageError


def dependence_of_transform(transform: Callable[[Tensor], Any], images: np.ndarray | Tensor) -> Dependence:
    """Returns what the model's input for an image depends on beside it, found by making it again.

    From other seeds (torch's, numpy's and Python's), among black and among bright companions, and at other places of
    the batch. Nothing is said of how a random one is distributed.
    """
    some = own_batch(images[:ROWS])
    run = quoted(transform)

    def made(batch: Tensor, seed: int = 0) -> list[Tensor]:
        with seeded(seed):
            return [x.detach() for _, x in leaves(run(batch.clone())) if x.ndim]

    first = made(some)
    random = any(not _same(first, made(some, seed), 0.0) for seed in range(FEW_DRAWS))
    if random and not _same(first, made(some), 0.0):  # no seed is known of: what else changes it cannot be told
        return Dependence(random=True, repeats=True)
    companions = place = False
    # Of images that it need not take, nothing is said.
    with suppress(UsageError):
        companions = _sees_companions(made, some)
    with suppress(UsageError):
        if not companions and not random:
            moved = [x.roll(-1, 0) for x in made(some.roll(1, 0))]
            here, there = ([x for x in tensors if len(x) == len(some)] for tensors in (first, moved))
            place = not _same(here, there, SHARE)
    return Dependence(companions=companions, random=random, repeats=random, place=place)


def _sees_companions(made: Callable[[Tensor], list[Tensor]], some: Tensor) -> bool:
    """Whether what is made of a row changes with the other rows."""
    bright = int(some.max())
    # Also without their darkest and brightest values, behind which those of companions might not show.
    for images in (some, some // 2, some.clamp(min=bright // 2)):
        whole = made(images)
        for half, value in itertools.product((0, 1), (0, bright)):
            other = images.clone()
            other[1 - half :: 2] = value
            found = made(other)
            as_many = [len(x) for x in whole] == [len(x) for x in found]
            if not as_many or not _same([x[half::2] for x in whole], [x[half::2] for x in found], SHARE):
                return True
    return False


def _same(first: list[Tensor], second: list[Tensor], share: float) -> bool:
    """Whether tensors are equal, or differ by no more than this share of how large they are."""
    if [x.shape for x in first] != [x.shape for x in second]:
        return False
    for x, y in zip(first, second, strict=True):
        if not x.numel() or torch.equal(x, y):
            continue
        one, two = x.double().nan_to_num(), y.double().nan_to_num()
        if bool(((one - two).abs().amax() > share * one.abs().amax()).any()):
            return False
    return True
