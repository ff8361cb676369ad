"""A few reference jobs that say how fast this machine is: densities trained, scored and drawn from, and mixtures."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from infoplane import densities
from infoplane.information.gaussian_mixture import GaussianMixture
from infoplane.inversion import FitSettings, NegativeLogProb, Pairs, fit, losses_of
from infoplane.measurements.cost import Costs
from infoplane.measurements.counting import QUERY, Work
from infoplane.measurements.machine import Machine, Timing
from infoplane.measurements.noisy import descent_step, descent_work

#: seconds for which a job is repeated: where speeds are found in passing, by a quick measurement, by a whole one
PASSING, QUICK, WHOLE = 0.05, 0.3, 0.4
#: centres of a reference mixture, and queries
CENTRES, QUERIES = 100_000, 4_000
#: what is said to be done where log-probabilities are taken
SCORING = "scoring"
#: most updates of a fit that is timed: it is broken off long before
_MANY = 10**6


@dataclass(frozen=True)
class Job:
    """Something to be timed.

    Attributes:
        what, on, unit, amount: As in `Timing`.
        run: (device, patience) -> seconds that one job takes, and its work.
        quick: Whether it is among those from which the speeds can be found in a few seconds.
        memory: GiB that it needs.
    """

    what: str
    on: str
    unit: str
    amount: int
    run: Callable[[torch.device, float], tuple[float, Work]]
    quick: bool = True
    memory: float = 0.5

    def time(self, device: torch.device, patience: float) -> Timing:
        """Returns how long it takes; it is repeated for about `patience` seconds."""
        start = time.perf_counter()
        seconds, work = self.run(device, patience)
        took = time.perf_counter() - start
        return Timing(self.what, self.on, self.unit, self.amount, max(seconds, 1e-9), took, work)


@dataclass(frozen=True)
class Reference:
    """An unconditional density of square grey images."""

    size: int
    filters: int
    layers: int
    scales: int
    levels: int = 256
    weight_norm: bool = False
    costs: Costs = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "costs", Costs((1, self.size, self.size), self.levels, {}, {}))

    def __str__(self) -> str:
        return f"{self.size}×{self.size}×1, {self.filters} filters, {self.layers} layer{'s' if self.layers > 1 else ''}"

    @property
    def spec(self) -> dict[str, Any]:
        """The density as a study has it."""
        names = {"filters": self.filters, "residual_layers": self.layers, "scales": self.scales}
        return {"kind": "pixelcnn", **names, "weight_norm": self.weight_norm, "dropout": 0.2}

    def build(self, device: torch.device) -> densities.Density:
        """The density with its initial weights."""
        options = self.spec
        return densities.build(options.pop("kind"), self.costs.shape, self.levels, None, options).to(device)

    def images(self, n: int) -> Tensor:
        """Noise: what an image shows makes no difference."""
        generator = torch.Generator().manual_seed(0)
        return torch.randint(self.levels, (n, *self.costs.shape), generator=generator).to(torch.uint8)


#: densities of the size of a laptop's studies, a wide one, and that of the papers on MNIST
TINY, SMALL, MIDDLE = Reference(8, 8, 1, 1, 17), Reference(8, 16, 2, 1, 17), Reference(14, 16, 2, 2)
WIDE, LARGE = Reference(8, 64, 2, 1), Reference(28, 64, 3, 3, weight_norm=True)


def jobs(*, quick: bool = False) -> list[Job]:
    """Returns what is timed; unless quick, also the density of the papers' size."""
    found = [_training(*each) for each in ((TINY, 4), (SMALL, 8), (MIDDLE, 16), (WIDE, 16), (LARGE, 16), (LARGE, 64))]
    found += [_scoring(*each) for each in ((SMALL, 128), (MIDDLE, 128), (LARGE, 16))]
    found += [
        _sampling(*each)
        for each in ((TINY, 4), (SMALL, 64), (MIDDLE, 16), (MIDDLE, 64), (WIDE, 16), (LARGE, 16), (LARGE, 64))
    ]
    found.append(_descending(256))
    found += [_mixing(3, 0.005), _querying(3, 0.005), _mixing(10, 0.1), _querying(10, 0.1)]
    return [job for job in found if job.quick or not quick]


def timed(
    device: torch.device, wanted: Iterable[Job], patience: float, skipped: Callable[[Job], None] | None = None
) -> Iterator[Timing]:
    """Yields the timings of jobs, as a worker process would have them.

    Args:
        skipped: Told of jobs for which there is not enough memory.
    """
    free = free_memory(device)
    for job in wanted:
        if job.memory > free:
            if skipped is not None:
                skipped(job)
            continue
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield job.time(device, patience)


def speeds(timings: Iterable[Timing]) -> Machine:
    """Returns the speeds that explain some timings best.

    Scoring is left out: an operation without gradients takes less time than one of training, which is most of what
    there is to do.
    """
    return Machine.fitted([timing for timing in timings if timing.what != SCORING])


def calibrate(device: torch.device) -> Machine:
    """Returns this machine's speeds, from a few small jobs (about three seconds)."""
    # What is small says of a GPU only how fast it is told what to do.
    return speeds(timed(device, jobs(quick=device.type == "cpu"), PASSING))


class _Enough(Exception):
    pass


def _training(reference: Reference, batch: int) -> Job:
    def run(device: torch.device, patience: float) -> tuple[float, Work]:
        density = reference.build(device)
        pairs = Pairs(reference.images(batch), device=device)
        now = _clock(device)
        begun: list[float] = []
        ended: list[float] = []
        steps = 0

        def loss(images: Tensor, context: Tensor | None) -> Tensor:
            if density.training and not begun:
                begun.append(now())
            return -density.log_prob(images, context)

        def progress(done: int, total: int, _: float | None) -> None:
            nonlocal steps
            over = done > 1 and time.perf_counter() - started[0] >= patience
            # A GPU is asked for the time at the ends only, so that it can work ahead.
            if done == 1 or over or device.type == "cpu":
                ended.append(now())
            if done == 1:
                started.append(time.perf_counter())
                # It has to warm up; where it takes so long that this does not matter, it is all.
                over = ended[0] - begun[0] >= patience
            if over:
                steps = done
                raise _Enough

        started: list[float] = []
        # Compiling would take longer than there is patience; a study that compiles is faster than what this finds.
        settings = FitSettings(updates=_MANY, batch=batch, evaluations=1, compile=False)
        with suppress(_Enough):
            fit(density, loss, pairs, pairs.subset(torch.arange(1)), settings, seed=0, progress=progress)
        work = reference.costs.step(reference.spec, None, batch)
        if steps == 1:
            return ended[0] - begun[0], work
        if device.type == "cpu":
            return min(later - earlier for earlier, later in pairwise(ended)), work
        return (ended[-1] - ended[0]) / (steps - 1), work

    memory = 0.5 + 0.09 * batch if reference is LARGE else 0.5
    return Job("training", f"{reference}, batch {batch}", "images", batch, run, reference is not LARGE, memory)


def _scoring(reference: Reference, batch: int) -> Job:
    def run(device: torch.device, patience: float) -> tuple[float, Work]:
        density = reference.build(device)
        pairs, loss = Pairs(reference.images(batch), device=device), NegativeLogProb(density)
        seconds = _repeated(lambda: losses_of(density, loss, pairs), device, patience)
        return seconds, reference.costs.scoring(reference.spec, None).times(batch)

    return Job(SCORING, f"{reference}, batch {batch}", "images", batch, run, reference is not LARGE, 1.0)


def _sampling(reference: Reference, batch: int) -> Job:
    def run(device: torch.device, patience: float) -> tuple[float, Work]:
        density = reference.build(device).eval()
        generator = torch.Generator(device).manual_seed(0)
        seconds = _repeated(lambda: density.sample(n=batch, generator=generator), device, patience)
        return seconds, reference.costs.drawing(reference.spec, batch)

    return Job("sampling", f"{reference}, batch {batch}", "images", batch, run, reference is not LARGE)


def _descending(batch: int) -> Job:
    """The network that Goldfeld et al. 2018 took from Shwartz-Ziv & Tishby 2017; always on a CPU."""
    network = {"widths": (10, 7, 5, 4, 3), "activation": "tanh", "beta": 0.005}
    train = {"loss": "cross-entropy", "orthonormal": 0.0}

    def run(device: torch.device, patience: float) -> tuple[float, Work]:
        step = descent_step(network, train, 12, 2, batch)
        seconds = _repeated(step, torch.device("cpu"), patience)
        return seconds, descent_work(step)

    return Job("training", f"dense 12-10-7-5-4-3-2 with noise, batch {batch}", "updates", 1, run)


def _mixture(d: int, beta: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Centres as saturated tanh units leave them, and queries from their mixture."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tanh(5 * torch.randn(CENTRES, d, generator=generator, dtype=torch.float64))
    chosen = torch.randint(CENTRES, (QUERIES,), generator=generator)
    queries = centres[chosen] + beta * torch.randn(QUERIES, d, generator=generator, dtype=torch.float64)
    return centres.to(device), queries.to(device)


def _named(d: int, beta: float) -> str:
    return f"d = {d}, β = {beta:g}, saturated, {CENTRES:,} centres"


def _mixing(d: int, beta: float) -> Job:
    def run(device: torch.device, patience: float) -> tuple[float, Work]:
        centres, _ = _mixture(d, beta, device)
        return _repeated(lambda: GaussianMixture(centres, beta).blocks, device, patience), Work(centres=CENTRES)

    return Job("making a mixture", _named(d, beta), "centres", CENTRES, run)


def _querying(d: int, beta: float) -> Job:
    def run(device: torch.device, patience: float) -> tuple[float, Work]:
        centres, queries = _mixture(d, beta, device)
        mixture = GaussianMixture(centres, beta)
        seconds = _repeated(lambda: mixture.log_density(queries), device, patience)
        _, visits, _ = mixture.blocks.probe(queries[:: QUERIES // 200])
        return seconds, Work(visits=QUERIES * (QUERY + visits))

    return Job("sample propagation", _named(d, beta), "queries", QUERIES, run)


def _repeated(run: Callable[[], object], device: torch.device, patience: float) -> float:
    """The seconds that one run takes: the least of those for which there is patience, the first left out.

    The least, not the mean: neighbours take from a processor's caches too, and come and go.
    """
    now, found = _clock(device), []
    while len(found) < 2 or sum(found) < patience:
        start = now()
        run()
        found.append(now() - start)
        if found[0] >= patience:
            return found[0]
    return min(found[1:])


def _clock(device: torch.device) -> Callable[[], float]:
    """On a processor this thread's own time, not that of neighbours who come and go; on a GPU the wall clock's."""
    if device.type != "cuda":
        return time.thread_time

    def now() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return now


def free_memory(device: torch.device) -> float:
    """Returns how much memory is free on a device, GiB; infinity where that cannot be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) / 2**20
    return float("inf")
