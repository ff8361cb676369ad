"""Whether a measurement keeps to its budget: the seconds that were asked for, and those it took with its start.

    python benchmarks/budgets.py [--only NAME …]

Each line is a process of its own, whose start and imports count. A line either ends or is refused before anything is
trained. The CIFAR images are those of the data set `cifar10_exact_subset`, where it is at hand, else noise.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from infoplane.budget.preparing import parse_budget
from infoplane.data import load
from infoplane.errors import UsageError
from infoplane.profile import measure


@dataclass(frozen=True)
class Case:
    """A measurement with a budget.

    Attributes:
        budget: As the user gives it.
        images: How many.
        side: Of the images, pixels; those of 32 are CIFAR's.
        layers: How many layers.
        refits: How many fits.
    """

    budget: str | int
    images: int
    side: int
    layers: int
    refits: int


CASES = {
    "cifar": Case("2m", 1000, 32, 3, 3),
    "cifar, one refit": Case("4m", 1000, 32, 3, 1),
    "64": Case("1m", 200, 64, 1, 3),
    "224": Case("1m", 200, 224, 3, 3),
    "small": Case("30s", 400, 8, 2, 3),
    "small, three updates": Case(3, 400, 8, 2, 3),
}


def network(side: int) -> nn.Module:
    """Three convolutions with strides and a classifier; layers "0", "2", "4" and the output."""
    steps: list[nn.Module] = []
    for given, width in ((3, 16), (16, 32), (32, 32)):
        steps += [nn.Conv2d(given, width, 3, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*steps, nn.AdaptiveAvgPool2d(max(1, min(4, side // 8))), nn.Flatten(), nn.LazyLinear(10))


def pictures(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """The images and labels of a case."""
    if case.side == 32:
        try:
            dataset = load("cifar10_exact_subset")
        except UsageError:
            print("no CIFAR here: noise in its place", file=sys.stderr)
        else:
            chosen = np.random.default_rng(0).permutation(len(dataset))[: case.images]
            assert dataset.labels is not None
            return dataset.images[chosen], dataset.labels[chosen]
    rng = np.random.default_rng(0)
    shape = (case.images, 3, case.side, case.side)
    return rng.integers(0, 256, shape, dtype=np.uint8), np.arange(case.images) % 10


def once(case: Case) -> None:
    """Carries a case out; prints how it ended."""
    torch.manual_seed(0)
    images, labels = pictures(case)
    model = network(case.side)
    model(torch.zeros(2, *images.shape[1:]))
    layers = ["0", "2", "4"][: case.layers]
    options = {"layers": layers, "budget": case.budget, "refits": case.refits, "quiet": True}
    try:
        measure(model, images, labels, **options)
        print("done")
    except UsageError as error:
        print(f"refused: {error}")


def main() -> None:
    """Prints a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--once", choices=CASES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once is not None:
        once(CASES[asked.once])
        return
    for name in asked.only:
        case = CASES[name]
        busy, start = os.getloadavg()[0], time.monotonic()
        done = subprocess.run([sys.executable, __file__, "--once", name], stdout=subprocess.PIPE, text=True, check=True)
        took, (seconds, _) = time.monotonic() - start, parse_budget(case.budget)
        ratio = "" if seconds is None else f", {took / seconds:.2f} of the budget"
        what = f"{case.images} images {case.side}×{case.side}, {case.layers} layers, {case.refits} refits"
        print(f"{name} ({what}, {case.budget}): {took:.0f} s{ratio}, load {busy:.1f} before: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
