"""What this machine can do now: how fast it trains a density, and how many of them its memory holds."""

import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from infoplane import densities
from infoplane.engine.devices import free_memory
from infoplane.errors import UsageError, spoken_size
from infoplane.inversion.precision import autocast
from infoplane.measurements.candidates import AUTO, CANDIDATES, offer
from infoplane.measurements.cost import Costs
from infoplane.measurements.counting import Machine, Passes, density_loss
from infoplane.study.spec import StudySpec

#: bytes that a process holds before it computes anything
BASE_MEMORY = 0.4e9


def trained_as(density: Mapping[str, Any], costs: Costs, batch: int) -> tuple[dict[str, Any], int]:
    """A density and the batch that it is trained with; where the data choose it the first candidate, which stands for
    all: their updates take as long."""
    if density["kind"] != AUTO:
        return dict(density), batch
    first = offer(next(iter(CANDIDATES)), costs.shape, costs.levels)
    return dict(first["density"]), first["batch"]


def crowding(workers: int) -> float:
    """Returns how much slower each of so many processes is than one alone, beside what else the machine does."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    others = max(0.0, os.getloadavg()[0] - 1) if hasattr(os, "getloadavg") else 0.0
    return max(1.0, (others + workers) / cores) / max(1.0, (others + 1) / cores)


def time_updates(
    spec: StudySpec, costs: Costs, machine: Machine, device: torch.device, seconds: float, clock: Callable[[], float]
) -> float:
    """Returns how many times slower this machine is than `machine`, from a few training steps in about so many seconds.

    On few and small images where whole ones would take too long: how the time grows with their size is counted.
    """
    if not spec.needs_densities:
        return 1.0
    layer = max(spec.layers, key=lambda name: math.prod(costs.contexts[name]), default=None)
    channels, rows, columns = costs.shape
    density, batch = trained_as(spec.density.model_dump(mode="json"), costs, spec.fit.batch)
    contexts = {} if layer is None else {layer: costs.contexts[layer]}

    def expected() -> float:
        smaller = Costs((channels, rows, columns), costs.levels, {}, contexts)
        return machine.seconds(smaller.step(density, layer, batch, spec.fit.precision))

    # The first step warms up, the others are timed.
    while (step := expected()) > seconds / 4 and (batch > 1 or max(rows, columns) > 8):
        if batch > 1:
            batch = max(1, min(batch // 2, int(batch * seconds / 4 / step)))
        else:
            rows, columns = (max(8, round(size / math.sqrt(4 * step / seconds) * 0.9)) for size in (rows, columns))
    context = contexts.get(str(layer))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        model = densities.build(density.pop("kind"), (channels, rows, columns), costs.levels, context, density)
        model.to(device)
        images = torch.randint(costs.levels, (batch, channels, rows, columns), device=device).to(torch.uint8)
        given = None if context is None else torch.randn(batch, *context, device=device)
        optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)

        def train() -> None:
            optimiser.zero_grad(set_to_none=True)
            with autocast(spec.fit, device, wide=model.wide):
                loss = density_loss(model, images, given).mean()
            loss.backward()
            optimiser.step()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        took: list[float] = []
        while not took or (sum(took) + took[-1] < seconds and len(took) < 8):
            start = clock()
            train()
            took.append(clock() - start)
    # Wall-clock time, and the mean: neighbours are part of how fast the machine is now.
    rest = took[1:] or took
    return min(100.0, max(0.01, sum(rest) / len(rest) / step))


def check_memory(spec: StudySpec, costs: Costs, workers: int, device: torch.device) -> int:
    """Returns how many worker processes there is memory for, of those that are wanted.

    Raises:
        UsageError: There is not enough for one.
    """
    if not spec.needs_densities:
        return workers
    layer = max(spec.layers, key=lambda name: math.prod(costs.contexts[name]), default=None)
    offers = costs.offers(spec.density.model_dump(mode="json"))
    passes = [(costs.density(each["density"], layer), each["batch"] or spec.fit.batch) for each in offers]
    need = BASE_MEMORY + max(memory_of(own, batch) for own, batch in passes)
    free = free_memory(device) * 2**30
    if need > free:
        raise UsageError(
            "not enough memory to train a density of such images",
            received=f"{math.prod(costs.shape):,} values an image, {spoken_size(need)}",
            legal=f"{spoken_size(free)} are free",
            mend="smaller images, which transform enlarges to what the network takes",
        )
    return min(workers, max(1, int(free // need))) if workers else 0


def memory_of(passes: Passes, batch: int) -> float:
    """Returns about how many bytes one training step on a batch holds.

    What is saved for the backward pass, and the weights six times: as they are, their gradients, two moments, their
    average and the best so far.
    """
    passes.model.train()
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = passes.losses(batch).mean()
    parameters = list(passes.model.parameters())
    own = {parameter.untyped_storage()._cdata for parameter in parameters}
    found = sum(storage.nbytes() for key, storage in saved.items() if key not in own)
    del held
    return float(found + 6 * sum(parameter.numel() * parameter.element_size() for parameter in parameters))
