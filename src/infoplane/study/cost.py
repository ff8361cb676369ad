"""What a study will cost: arithmetic counted exactly, and the time that it takes on this machine.

The time of one pass through a network is modelled as

    seconds = a · operations + b · floating-point operations + c · numbers written,

with a, b, c ≥ 0 found by timing a few small networks here (`Machine.calibrate`). Counting is done on tensors without
data, so that a study of the papers' size costs nothing to ask about.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from infoplane import densities
from infoplane.inversion import Reconstructor, SquaredError

#: seconds of a cell apart from its passes: reading, splitting, writing
FIXED = 0.5
#: seconds that a worker process takes to start
START_UP = 4.0


@dataclass(frozen=True)
class Work:
    """How much there is to compute.

    Attributes:
        operations: Calls of a tensor operation.
        flops: Floating-point operations of matrix products and convolutions.
        written: Numbers written by all operations.
    """

    operations: float = 0.0
    flops: float = 0.0
    written: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(self.operations + other.operations, self.flops + other.flops, self.written + other.written)

    def times(self, passes: float, size: float = 1.0) -> "Work":
        """So many passes, each over `size` times as many examples as were counted."""
        return Work(passes * self.operations, passes * size * self.flops, passes * size * self.written)


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations, self.written = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        self.written += sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out


def count(run: Callable[[], Any]) -> Work:
    """Returns what `run` computes."""
    with FlopCounterMode(display=False) as flops, _Counter() as counter:
        run()
    return Work(counter.operations, flops.get_total_flops(), counter.written)


@dataclass(frozen=True)
class Machine:
    """How long work takes here, in seconds per unit of each kind of `Work`; one thread on a CPU."""

    per_operation: float
    per_flop: float
    per_written: float

    def seconds(self, work: Work) -> float:
        """Returns the time that this much work takes."""
        return self.per_operation * work.operations + self.per_flop * work.flops + self.per_written * work.written

    @classmethod
    def calibrate(cls, device: torch.device) -> "Machine":
        """Returns this machine's speed, from training steps of four small densities (about three seconds)."""
        sizes = [((1, 8, 8), 8, 4), ((1, 8, 8), 32, 32), ((1, 16, 16), 64, 8), ((1, 20, 20), 16, 32)]
        rows, seconds = [], []
        for shape, filters, batch in sizes:
            options = {"filters": filters, "residual_layers": 1, "scales": 2, "weight_norm": False, "dropout": 0.2}
            density = densities.build("pixelcnn", shape, 16, None, options).to(device).train()
            images = torch.zeros(batch, *shape, dtype=torch.uint8, device=device)
            step = partial(_step, density.parameters, lambda d=density, x=images: -d.log_prob(x).mean())
            work = count(step)
            taken = min(_timed(step, device) for _ in range(3))
            # Relative errors count, so that the small networks are as well fitted as the large ones.
            rows.append([work.operations / taken, work.flops / taken, work.written / taken])
            seconds.append(1.0)
        scale = np.abs(rows).max(0)
        found, _ = nnls(np.array(rows) / scale, np.array(seconds))
        return cls(*(found / scale).tolist())


def _timed(step: Callable[[], Any], device: torch.device) -> float:
    # On a processor its own time counts, not that of neighbours who come and go; on a GPU it is the wall clock's.
    clock = time.perf_counter if device.type == "cuda" else time.thread_time
    start = clock()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return clock() - start


def _step(parameters: Callable[[], Any], loss: Callable[[], Tensor]) -> None:
    """One training step; a few passes over the weights stand for the optimiser and the running average."""
    loss().backward()
    with torch.no_grad():
        for parameter in parameters():
            if parameter.grad is not None:
                parameter.grad.mul(0.9).add(1.0).sqrt()
                parameter.grad = None


class Costs:
    """What each kind of cell costs, for one study's shapes.

    Args:
        shape: (C, H, W) of an image.
        levels: Number of values of a pixel.
        sizes: Part of the split -> number of examples.
        contexts: Layer -> shape of its activation, as densities see it.
        subject: Builds the network under study, or None.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        levels: int,
        sizes: Mapping[str, int],
        contexts: Mapping[str, tuple[int, ...]],
        subject: Callable[[], nn.Module] | None = None,
    ) -> None:
        self.shape, self.levels, self.sizes, self.contexts = shape, levels, sizes, contexts
        self.subject = subject
        self._passes: dict[Any, tuple[Work, Work]] = {}

    def of(self, kind: str, params: Mapping[str, Any]) -> Work:
        """Returns the work of a cell."""
        cost = {"density": self._density, "samples": self._samples, "mse": self._mse, "subject": self._subject}
        return cost[kind](params) if kind in cost else Work()

    def _density(self, params: Mapping[str, Any]) -> Work:
        forward, step = self._density_passes(params)
        fit = params["fit"]
        held = fit["held_out"] * self.sizes["decoding"]
        scored = held * (2 * fit["evaluations"] + 2) + self.sizes["evaluation"]
        if params["contrastive"] is not None:
            k = min(params["contrastive"]["candidates"], max(2, self.sizes["evaluation"] // 4))
            scored += k * k * min(params["contrastive"]["batches"], self.sizes["evaluation"] // k)
        return step.times(fit["updates"], fit["batch"]) + forward.times(scored / 128, 128)

    def _samples(self, params: Mapping[str, Any]) -> Work:
        forward, _ = self._density_passes(params)
        images = params["each"] if params["layer"] is None else params["images"] * params["each"]
        pixels = self.shape[1] * self.shape[2]
        # Rows below the current pixel are left out: half of the picture on average.
        return Work(
            pixels * forward.operations, 0.5 * pixels * images * forward.flops, 0.5 * pixels * images * forward.written
        )

    def _mse(self, params: Mapping[str, Any]) -> Work:
        context, fit = self.contexts[params["layer"]], params["fit"]
        key = ("mse", context)
        if key not in self._passes:
            with torch.device("meta"):
                model = Reconstructor(self.shape, context)
            loss = SquaredError(model, self.levels)
            self._passes[key] = self._both(model, lambda: loss(self._images(), self._context(context)))
        forward, step = self._passes[key]
        scored = fit["held_out"] * self.sizes["decoding"] * 2 * fit["evaluations"] + self.sizes["evaluation"]
        return step.times(fit["updates"], fit["batch"]) + forward.times(scored / 128, 128)

    def _subject(self, params: Mapping[str, Any]) -> Work:
        if self.subject is None:
            return Work()
        train = params["subject"]["train"]
        with torch.device("meta"):
            model = self.subject()
        forward, step = self._both(model, lambda: model(self._images().float()).float().sum())
        evaluations = train["updates"] / train["evaluate_every"]
        held = train["held_out"] * self.sizes["encoding"]
        return step.times(train["updates"], train["batch"]) + forward.times(evaluations * held / 512, 512)

    def _density_passes(self, params: Mapping[str, Any]) -> tuple[Work, Work]:
        """The work of scoring one image, and of one training step on one image."""
        context = None if params["layer"] is None else self.contexts[params["layer"]]
        options = dict(params["density"])
        kind = options.pop("kind")
        key = (kind, context, repr(sorted(options.items())))
        if key not in self._passes:
            with torch.device("meta"):
                density = densities.build(kind, self.shape, self.levels, context, options)
            h = None if context is None else self._context(context)
            self._passes[key] = self._both(density, lambda: -density.log_prob(self._images(), h).mean())
        return self._passes[key]

    def _both(self, model: nn.Module, loss: Callable[[], Tensor]) -> tuple[Work, Work]:
        model.eval()
        with torch.no_grad():
            forward = count(loss)
        model.train()
        return forward, count(lambda: _step(model.parameters, lambda: loss().mean()))

    def _images(self) -> Tensor:
        return torch.zeros(1, *self.shape, dtype=torch.uint8, device="meta")

    def _context(self, shape: tuple[int, ...]) -> Tensor:
        return torch.zeros(1, *shape, device="meta")


def words(seconds: float) -> str:
    """Returns a time as one would say it."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    if hours < 99.95:
        return f"{hours:.1f} h"
    # Two digits are more than a forecast knows.
    rounded = round(hours, 1 - math.floor(math.log10(hours)))
    return f"{rounded:,.0f} h ({hours / 24:.0f} days)"
