"""Nats against seconds: what a density q(x), or q(x|h), reaches in a given time, as a curve.

    python benchmarks/density.py [--data digits mnist mnist28 cifar10_exact_subset cifar32] [--layers input fc3 …]
                                 [--seconds 15 30 60] [--densities pixelcnn window …] [--public FOLDER]
                                 [--device cpu|cuda] [--out FILE]

Every number is a fit of its own, whose learning rate has fallen to 0 when its time is over: a few updates are timed,
then their number is set. On a processor it is CPU seconds of one thread, on a GPU the clock. Everything counts that a
fit does, held-out scoring too; preparing the data does not. Data and networks are those of the studies `digits` and
`nash-layers` at a laptop's scale. Losses are nats per image of the decoding images held out for early stopping, so that
a default may be chosen by this table; differences are paired by image. One seed, one fit: errors are over images alone.

--public names a folder with a PixelCNN++ in PyTorch that has `model.PixelCNN` and `utils.discretized_mix_logistic_loss`
(and `…_1d`), such as a clone of github.com/pclucas14/pixel-cnn-pp. Its size and optimiser are those of its own script.
"""

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch import Tensor, nn

from amortise import SETS, Problem, prepare
from infoplane import data, densities
from infoplane.inversion import FitSettings, NegativeLogProb, Pairs, Standardiser, fit, fit_density, losses_of
from infoplane.measurements.candidates import pixelcnn
from tables import add_options, deliver, where

INPUT = "input"
#: updates by which the time of one is found out
TIMED = 12
#: share of the decoding images that are held out, the most of them, and how often they are looked at
HELD_OUT, MOST, EVALUATIONS = 0.05, 500, 2


@dataclass(frozen=True)
class Candidate:
    """A density, and how it is trained.

    Attributes:
        kind: A key of the registry, or "public".
        options: Of the density.
        fit: Fields of `FitSettings`.
    """

    kind: str
    options: dict[str, Any]
    fit: dict[str, Any]


def candidates(problem: Problem, shape: tuple[int, int, int]) -> dict[str, Candidate]:
    """What is compared: a PixelCNN++ of a laptop's size, and what is put together from parts."""
    study = dict(problem.density)
    suited = densities.Autoregressive.suited(shape)
    parts = {
        "window": {},
        "window, 8 pixels": {"pixels": 8},
        "window, two layers": {"depth": 2},
        "window, far boxes": {"far": (4, 8)},
        "window, biases": {"form": "biases"},
        "window, softmax": {"base": "none", "head": "softmax"},
        "window, absolute logistics": {"base": "none", "head": "logistic"},
        "transformer": {"trunk": "transformer", "width": 128, "depth": 2},
    }
    found = {"pixelcnn": Candidate(study.pop("kind"), study, problem.fit)}
    reading = dict(pixelcnn(shape, problem.levels).density)  # trained in the same steps
    found["pixelcnn, x̂(h)"] = Candidate(reading.pop("kind"), reading, problem.fit)
    found |= {name: Candidate("autoregressive", options, suited) for name, options in parts.items()}
    slow = {**suited, "batch": 16}
    found["transformer"] = Candidate("autoregressive", parts["transformer"], slow)
    streams = {key: study[key] for key in ("filters", "residual_layers", "scales", "dropout")}
    own = {"trunk": "pixelcnn", **streams}
    found["pixelcnn, base and relative head"] = Candidate("autoregressive", own, problem.fit)
    return found


class Public(nn.Module):
    """A public PixelCNN++ as a loss: from a folder that is named, at its published size."""

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        super().__init__()
        sys.path.insert(0, str(folder))
        # It sends what it computes to a GPU by this name wherever it runs.
        if not torch.cuda.is_available():
            Tensor.cuda = lambda self, *_, **__: self  # pyright: ignore[reportAttributeAccessIssue]
        import model  # pyright: ignore[reportMissingImports]
        import utils  # pyright: ignore[reportMissingImports]

        channels = shape[0]
        # Its script's numbers: five layers, 160 filters, ten logistics.
        self.network = model.PixelCNN(nr_resnet=5, nr_filters=160, nr_logistic_mix=10, input_channels=channels)
        colour, grey = utils.discretized_mix_logistic_loss, utils.discretized_mix_logistic_loss_1d
        self.loss = colour if channels == 3 else grey

    def forward(self, images: Tensor, context: Tensor | None) -> Tensor:
        """−log q of each image, as far as its own loss gives it: the mean over the batch, for each."""
        scaled = images.float() / 127.5 - 1
        if not self.training:  # one by one, since it sums over the batch
            return torch.stack([self._summed(each[None]) for each in scaled])
        return (self._summed(scaled) / len(images)).expand(len(images))

    def _summed(self, scaled: Tensor) -> Tensor:
        self.network.init_padding = None  # which it keeps for one size of batch
        return self.loss(scaled, self.network(scaled))


def clock(device: torch.device) -> Callable[[], float]:
    """What tells the time: on a processor the CPU seconds of this process."""
    if device.type == "cpu":
        return time.process_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


class Problems:
    """Images and contexts of a data set, split once."""

    def __init__(self, name: str, folder: str, device: torch.device) -> None:
        self.problem, self.folder, self.device = prepare(name, folder, ("end",)), folder, device
        self.images = torch.from_numpy(np.load(f"{folder}/images.npy"))
        kept, held = data.hold_out(np.arange(len(self.images)), min(HELD_OUT, MOST / len(self.images)), 0)
        self.parts = (torch.from_numpy(kept), torch.from_numpy(held))

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.images.shape[1:])  # pyright: ignore[reportReturnType]

    def pairs(self, layer: str) -> tuple[Pairs, Pairs]:
        """What is trained on, and what is held out."""
        context, standardise = None, None
        if layer != INPUT:
            context = torch.from_numpy(np.load(f"{self.folder}/{layer}@end.npy"))
            standardise = Standardiser.of([context[self.parts[0]]])
        pairs = Pairs(self.images, context, standardise=standardise, device=self.device)
        return pairs.subset(self.parts[0]), pairs.subset(self.parts[1])

    def fitted(
        self, candidate: Candidate, layer: str, seconds: float, public: Path | None
    ) -> tuple[np.ndarray, int, float]:
        """Trains for so many seconds; returns held-out losses (n,), the updates made and the seconds taken."""
        pairs, held = self.pairs(layer)
        now = clock(self.device)
        settings = {**candidate.fit, "minutes": None, "patience": None, "evaluations": EVALUATIONS}

        def of(updates: int, evaluations: int) -> tuple[nn.Module, Any, FitSettings]:
            chosen = FitSettings.model_validate({**settings, "updates": updates, "evaluations": evaluations})
            if candidate.kind == "public":
                assert public is not None
                torch.manual_seed(0)
                model = Public(public, self.shape).to(self.device)
                return model, model, chosen
            options = copy.deepcopy(candidate.options)
            model = densities.build(
                candidate.kind, self.shape, self.problem.levels, pairs.context_shape, options, seed=0
            ).to(self.device)
            return model, NegativeLogProb(model), chosen

        def train(updates: int, evaluations: int) -> tuple[nn.Module, Any, float, list[float]]:
            """Trains; returns the model, its loss, the time of all, and when each update was made."""
            model, loss, chosen = of(updates, evaluations)
            made: list[float] = []
            begin = now()
            options = {"seed": 0, "progress": lambda *_: made.append(now())}
            if isinstance(model, densities.Density):
                fit_density(model, pairs, held, chosen, **options)
            else:
                fit(model, loss, pairs, held, chosen, **options)
            return model, loss, now() - begin, made

        # Also what is loaded and laid out when it is first used.
        model, loss, took, _ = train(1, 1)
        if took > seconds:  # one update takes longer than there is
            return losses_of(model, loss, held).numpy(), 1, took
        few = train(1, 1)[2]
        # Of the updates alone: held-out images take longer to score than a few updates to make.
        made = train(1 + TIMED, 1)[3][:TIMED]
        each = (made[-1] - made[0]) / (len(made) - 1)
        # The looks beside that of a fit of one update: of raw and averaged weights.
        begin = now()
        losses_of(*of(1, 1)[:2], held)
        look = 2 * (now() - begin)
        updates = max(1, int((seconds - few - look * (EVALUATIONS - 1)) / each))
        model, loss, took, _ = train(updates, EVALUATIONS)
        return losses_of(model, loss, held).numpy(), updates, took


def main() -> None:
    """Trains the densities and prints a table for each data set and layer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=list(SETS), default=list(SETS))
    parser.add_argument("--layers", nargs="+", default=[INPUT], help="input for p(x), or names of layers")
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0, 30.0, 60.0])
    parser.add_argument("--densities", nargs="+", default=["pixelcnn", "window"])
    parser.add_argument("--public", type=Path, help="folder of a public PixelCNN++")
    parser.add_argument("--device", default="cpu")
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    lines: list[str] = []
    for name in options.data:
        with tempfile.TemporaryDirectory() as folder:
            lines += _table(Problems(name, folder, device), name, options)
    lines.append(where(device))
    deliver(f"density on {device.type}", lines, options)


def _table(problems: Problems, name: str, options: argparse.Namespace) -> list[str]:
    known = candidates(problems.problem, problems.shape)
    if options.public is not None:
        # Adam at 2e-4, its rate times .999995 each step, 64 images.
        fitting = {"batch": 64, "learning_rate": 2e-4, "betas": (0.9, 0.999), "warmup": 0, "schedule": "exponential"}
        known["public"] = Candidate("public", {}, {**fitting, "decay": 0.999995, "ema": 0.0, "guard": 1e9})
    wanted = [*options.densities, *(["public"] if options.public is not None else [])]
    if unknown := [density for density in wanted if density not in known]:
        raise SystemExit(f"no density is called {', '.join(unknown)}; there are {', '.join(known)}")
    size = int(np.prod(problems.shape))
    lines = [f"**{name}**, {' × '.join(map(str, problems.shape))}, {problems.problem.levels} levels", ""]
    lines += ["| | | " + " | ".join(f"{seconds:g} s" for seconds in options.seconds) + " |"]
    lines += ["|" + " --- |" * (2 + len(options.seconds))]
    for layer in options.layers:
        first: dict[float, np.ndarray] = {}
        for density in wanted if layer == INPUT else [each for each in wanted if each != "public"]:
            cells = []
            for seconds in track(options.seconds, description=f"{name} {layer} {density}", transient=True):
                losses, updates, took = problems.fitted(known[density], layer, seconds, options.public)
                cells.append(f"{losses.mean():.1f} ({losses.mean() / size / np.log(2):.2f} bits/dim)")
                if seconds in first:
                    difference = losses - first[seconds]
                    error = difference.std(ddof=1) / len(difference) ** 0.5
                    cells[-1] += f", {difference.mean():+.1f} ± {error:.1f}"
                first.setdefault(seconds, losses)
                cells[-1] += f"; {updates:,} updates in {took:.0f} s"
            lines.append(f"| {layer} | {density} | {' | '.join(cells)} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
