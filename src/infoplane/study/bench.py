"""How fast this machine is: found from small pieces of what studies do, and kept in the user's cache, for it only."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, fields, replace
from importlib import metadata, resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from infoplane import densities
from infoplane.data import catalogue
from infoplane.engine.devices import device_name, one_thread, processor_name
from infoplane.files import read_text, write_whole
from infoplane.information.gaussian_mixture import GaussianMixture
from infoplane.inversion import FitSettings, Pairs, fit_density, log_probs
from infoplane.measurements.cost import Costs
from infoplane.measurements.counting import TYPICAL, Machine, Work
from infoplane.measurements.noisy_information import MADE, QUERY
from infoplane.study.meaning import code_of

#: seconds for which a job is repeated: where speeds are found in passing, by a quick measurement, by a whole one
PASSING, QUICK, WHOLE = 0.05, 0.3, 0.4
#: centres of a reference mixture, and queries
CENTRES, QUERIES = 100_000, 4_000
#: a guess at a GPU: it is told what to do about as fast, and does far more at once
TYPICAL_GPU = replace(TYPICAL, per_operation=1e-5, per_flop=5e-14, per_written=4e-12)
#: what is counted and timed, and what that is chosen by name
_TIMED = (__name__, "infoplane.densities.pixelcnn", "infoplane.measurements.noisy_information:Propagation")


@dataclass(frozen=True)
class Job:
    """A small piece of what studies do.

    Attributes:
        what: What is done, e.g. "training".
        on: On what, e.g. "14×14×1, 16 filters, 2 layers, batch 16".
        unit, amount: What is counted, and how many of them it has.
        make: Device -> what does it once, and its work.
        memory: GiB that it needs.
    """

    what: str
    on: str
    unit: str
    amount: int
    make: Callable[[torch.device], tuple[Callable[[], object], Work]]
    memory: float = 0.5

    def time(self, device: torch.device, patience: float) -> "Timing":
        """Returns how long it takes, as a worker process would have it; it is repeated for about `patience` seconds."""
        start = time.perf_counter()
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            run, work = self.make(device)
            seconds = max(_repeated(run, device, patience), 1e-9)
        return Timing(self, seconds, time.perf_counter() - start, work)


class Timing(NamedTuple):
    """How long a job took: `seconds` to do it once, on a processor its own, so that neighbours do not count, and `took`
    seconds of the wall clock to find that out; and the work that it is."""

    job: Job
    seconds: float
    took: float
    work: Work


#: unconditional densities of square grey images, as studies have them: of a laptop's size, a wide one, and that of the
#: papers on MNIST; (rows, levels, filters, residual layers, scales)
SMALL, MIDDLE, WIDE, LARGE = (8, 17, 8, 1, 1), (14, 256, 16, 2, 2), (8, 256, 64, 2, 1), (28, 256, 64, 3, 3)


def of_density(what: str, density: tuple[int, int, int, int, int], batch: int, updates: int = 1) -> Job:
    """Returns the job of training a density for so many updates, of scoring a batch with it, or of sampling one."""
    rows, levels, filters, layers, scales = density
    options = {"filters": filters, "residual_layers": layers, "scales": scales, "dropout": 0.2}
    options["weight_norm"] = density is LARGE
    spec, shape = {"kind": "pixelcnn", **options}, (1, rows, rows)

    def make(device: torch.device) -> tuple[Callable[[], object], Work]:
        costs = Costs(shape, levels, {"decoding": batch}, {})
        model = densities.build("pixelcnn", shape, levels, None, options).to(device).eval()
        # Noise: what an image shows makes no difference.
        generator = torch.Generator().manual_seed(0)
        pairs = Pairs(torch.randint(levels, (batch, *shape), generator=generator).to(torch.uint8), device=device)
        if what == "sampling":
            drawing = torch.Generator(device).manual_seed(0)
            return lambda: model.sample(n=batch, generator=drawing), costs.drawing(spec, batch)
        if what == "scoring":
            return lambda: log_probs(model, pairs), costs.scoring(spec, None).times(batch)
        # Compiling would take longer than there is patience; a study that compiles is faster than what this finds.
        fit = FitSettings(updates=updates, batch=batch, evaluations=1, held_out=1 / batch, compile=False)
        held, work = pairs.subset(torch.arange(1)), costs.training(spec, None, fit.model_dump(), "decoding")
        return lambda: fit_density(model, pairs, held, fit, seed=0), work

    on = f"{rows}×{rows}×1, {filters} filters, {layers} layer{'s' if layers > 1 else ''}, batch {batch}"
    return Job(what, on, "images", batch * updates, make, 0.5 + 0.09 * batch * (density is LARGE))


def propagation(d: int, beta: float) -> Job:
    """Returns the job of making a mixture of centres as saturated tanh units leave them, and of querying it."""

    def make(device: torch.device) -> tuple[Callable[[], object], Work]:
        generator = torch.Generator().manual_seed(0)
        centres = torch.tanh(5 * torch.randn(CENTRES, d, generator=generator, dtype=torch.float64))
        chosen = torch.randint(CENTRES, (QUERIES,), generator=generator)
        queries = centres[chosen] + beta * torch.randn(QUERIES, d, generator=generator, dtype=torch.float64)
        centres, queries = centres.to(device), queries.to(device)
        _, visits, _ = GaussianMixture(centres, beta).blocks.probe(queries[:: QUERIES // 200])
        work = Work(visits=MADE * CENTRES + QUERIES * (QUERY + visits))
        return lambda: GaussianMixture(centres, beta).log_density(queries), work

    return Job("sample propagation", f"d = {d}, β = {beta:g}, {CENTRES:,} centres", "queries", QUERIES, make)


def jobs(*, quick: bool = False) -> list[Job]:
    """Returns what is timed; unless quick, also the density of the papers' size."""
    found: list[Any] = [("training", SMALL, 4, 16)]
    found += [("training", *each) for each in ((MIDDLE, 16, 4), (WIDE, 16, 4), (LARGE, 16, 2))]
    found += [("scoring", *each) for each in ((MIDDLE, 128), (LARGE, 16))]
    found += [("sampling", *each) for each in ((SMALL, 4), (MIDDLE, 64), (LARGE, 16))]
    of_densities = [of_density(*each) for each in found if not (quick and LARGE in each)]
    return [*of_densities, propagation(3, 0.005), propagation(10, 0.1)]


def speeds(timings: Sequence[Timing]) -> Machine:
    """Returns the speeds that explain some timings best; those of which none of them says anything are 0."""
    if not timings:
        return Machine()
    # Relative errors count, so that the small jobs are as well fitted as the large ones.
    rows = np.array([[n / each.seconds for n in astuple(each.work)] for each in timings])
    scale = rows.max(0)
    scale[scale == 0] = 1.0
    return Machine(*(nnls(rows / scale, np.ones(len(rows)))[0] / scale).tolist())


def _repeated(run: Callable[[], object], device: torch.device, patience: float) -> float:
    """The seconds that one run takes: the least of those for which there is patience, the first left out.

    The least, not the mean: neighbours take from a processor's caches too, and come and go. On a processor this
    thread's own time counts, on a GPU the wall clock's.
    """

    def now() -> float:
        if device.type != "cuda":
            return time.thread_time()
        torch.cuda.synchronize(device)
        return time.perf_counter()

    found: list[float] = []
    while len(found) < 2 or sum(found) < patience:
        start = now()
        run()
        found.append(now() - start)
        if found[0] >= patience:
            return found[0]
    return min(found[1:])


class Calibration(NamedTuple):
    """A machine's speeds, and in words where they come from."""

    machine: Machine
    source: str


def place(device: torch.device) -> Path:
    """Returns the file in which a device's speeds are kept, in the folder into which data sets are downloaded."""
    name = f"{processor_name()} {os.cpu_count()} {device_name(device)}"
    return catalogue.cache() / f"speeds-{hashlib.sha256(name.encode()).hexdigest()[:12]}.json"


def this_machine(device: torch.device) -> dict[str, Any]:
    """Returns what speeds depend on: processor, device, and versions."""
    code = code_of(Path(str(resources.files("infoplane")))).meaning(_TIMED)
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "device": device_name(device),
        "infoplane": f"{metadata.version('infoplane')} {code}",
        "torch": metadata.version("torch"),
    }


def keep(device: torch.device, machine: Machine, *, quick: bool) -> Path:
    """Keeps speeds for later; returns the file, or raises OSError where it cannot be written."""
    path = place(device)
    path.parent.mkdir(parents=True, exist_ok=True)
    source = f"infoplane bench{' --quick' * quick} measured this machine, {time.strftime('%Y-%m-%d %H:%M')}"
    content = {"machine": this_machine(device), "source": source, "seconds": asdict(machine)}
    write_whole(path, json.dumps(content, indent=1))
    return path


def stored(device: torch.device) -> Calibration | None:
    """Returns what `infoplane bench` found here, or None where it has not run, on another machine or version, or where
    its file cannot be read."""
    with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
        content = json.loads(read_text(place(device)))
        found = {field.name: float(content["seconds"][field.name]) for field in fields(Machine)}
        usable = all(0 <= speed < 1 for speed in found.values()) and found["per_operation"] + found["per_flop"] > 0
        if usable and content["machine"] == this_machine(device):
            return Calibration(Machine(**found), f"as {content['source']}")
    return None


def fresh(device: torch.device) -> Calibration:
    """Returns the speeds that a few small jobs have just now, as a worker process would have them (some seconds)."""
    with one_thread(device.type == "cpu"):
        # What is small says of a GPU only how fast it is told what to do.
        machine = speeds([job.time(device, PASSING) for job in jobs(quick=device.type == "cpu")])
    return Calibration(machine, "from a few small jobs timed just now; infoplane bench measures better, and keeps it")


def typical(device: torch.device | None = None) -> Calibration:
    """Returns speeds that nobody measured here; of a CPU where no device is named."""
    if device is not None and device.type == "cuda":
        return Calibration(TYPICAL_GPU, "a guess: no GPU was timed for it; infoplane bench measures this one")
    return Calibration(TYPICAL, "if this machine is like many; infoplane bench measures it")
