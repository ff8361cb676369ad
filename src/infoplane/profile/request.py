"""What `measure` is asked for, and all that is decided of it before its first part begins."""

import hashlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from infoplane import data
from infoplane.budget.capacity import check_memory, time_updates
from infoplane.budget.pace import Pace
from infoplane.budget.preparing import Preparing
from infoplane.budget.sizes import Forecast, by_updates, check_least, least_seconds, within
from infoplane.capture import activations, seeded
from infoplane.capture.pytrees import own_batch
from infoplane.capture.recording import in_single
from infoplane.data.dataset import PARTS
from infoplane.engine.cell import Cell
from infoplane.engine.devices import device_name, one_thread
from infoplane.engine.plan import PLAN_FILE, Plan
from infoplane.engine.store import Result
from infoplane.errors import in_words, spoken_list
from infoplane.inversion import FitSettings
from infoplane.measurements.cost import Costs
from infoplane.measurements.counting import Machine
from infoplane.measurements.dataset import split_data
from infoplane.measurements.inputs import keeping_words, kept_layers
from infoplane.measurements.task import END, Live
from infoplane.profile.inputs import density_of, fire, look_up, said_of_mode
from infoplane.study.bench import stored, typical
from infoplane.study.execute import foretold
from infoplane.study.folder import STUDY_FILE, on_machine, origin_in
from infoplane.study.load import read_study
from infoplane.study.origin import Origin
from infoplane.study.plan import make_plan
from infoplane.study.spec import DataSpec, Measure, StudySpec, needs_densities
from infoplane.subjects.given import load_states

#: seconds that a measurement takes at least, of which it is said beforehand how long it takes
WORTH_SAYING = 5.0
#: the fields of a study that a time budget decides
BOUGHT = ("density", "fit", "reconstruction", "contrastive", "samples", "measure", "note", "asked")


@dataclass(frozen=True)
class Request:
    """What `measure` was asked for, checked as far as that can be done without running the network."""

    dataset: data.Dataset
    live: Live
    layers: list[str]
    wanted: tuple[Measure, ...]
    seed: int
    refits: int
    device: torch.device
    workers: int
    read_as: dict[str, str]
    prior: Any
    density: str
    title: str
    out: Path | None
    quiet: bool


@dataclass(frozen=True)
class Ready:
    """A measurement that can begin.

    Attributes:
        forecast: How long it takes; with a number of updates on a machine of which nothing was timed.
        on_the_fly: Layers whose activations are not kept.
        pace: What keeps it near its time, where that is what its budget is.
    """

    spec: StudySpec
    loaded: Result
    origin: Origin
    live: Live
    forecast: Forecast
    on_the_fly: tuple[str, ...]
    pace: Pace | None
    device: torch.device

    def foretell(self, plan: Plan, waiting: Sequence[Cell]) -> dict[str, float]:
        """Says how long what is left will take, unless that is hardly longer than counting it, or was said with what a
        budget bought; cell -> seconds."""
        if self.pace is not None:
            return {cell.name: self.pace.forecast.seconds(cell) for cell in waiting}
        places = len(self.spec.layers) * len(self.spec.checkpoints)
        least = self.forecast.per_image * sum(self.forecast.costs.sizes.values())
        if self.spec.needs_densities:
            fit = self.spec.fit
            least += least_seconds(self.spec.density, places, self.forecast, fit, fit.updates * fit.refits)
        if least < WORTH_SAYING:
            return {}

        def expected(machine: Machine) -> dict[str, float]:
            known = replace(self.forecast, machine=machine)
            return {cell.name: known.seconds(cell) for cell in plan.cells.values()}

        return foretold(expected, waiting, self.device, self.forecast.workers)


def prepared(request: Request, checkpoints: Mapping[str, Any], preparing: Preparing) -> Ready:
    """Looks at the network, decides on sizes, and splits the data."""
    dataset, layers, quiet, where = request.dataset, request.layers, request.quiet, request.device
    example = fire(request.live, dataset, layers, request.read_as)
    if preparing.seconds is not None and not is_run(request.out):
        # Before the network is looked at more closely, which takes its time where images are large.
        _check_least(request, preparing, len(layers) * (1 + len(checkpoints)))
    live = look_up(request.live, example, dataset, layers, request.read_as)
    layers = list(live.readings)
    for layer, notes in live.notes.items() if not quiet else ():
        for note in notes:  # on what it depends beside its images
            print(f"layer {layer!r} {note}", file=sys.stderr)
    live = replace(live, states=load_states(live.model, checkpoints, quiet=quiet) if checkpoints else {})
    shapes = {layer: live.readings[layer].shape for layer in layers if layer not in live.random}
    kept = kept_layers(shapes, len(dataset), len(live.states) + 1)
    on_the_fly = tuple(layer for layer in layers if layer not in kept)
    evaluation = _evaluation(len(dataset))
    spec = StudySpec(
        name="measure",
        title=request.title,
        data=DataSpec(name=dataset.name, encoding=0, decoding=len(dataset) - evaluation, evaluation=evaluation),
        given=tuple(live.states),
        layers=tuple(layers),
        read_as=request.read_as,
        density=density_of(request.density, dataset.shape, dataset.levels),
        fit=FitSettings(refits=request.refits),
        measure=request.wanted,
        prior=request.prior,
        seed=request.seed,
    ).resolve()
    spec = cast(StudySpec, on_machine(spec, request.out, where))
    sizes = {"encoding": 0, "decoding": spec.data.decoding, "evaluation": evaluation}
    loaded = split_data(dataset, sizes, request.seed)
    data.say(loaded.values["notes"])
    contexts = {layer: reading.context for layer, reading in live.readings.items()}
    there = {part: len(loaded.arrays[part]) for part in PARTS}
    costs = Costs(dataset.shape, dataset.levels, there, contexts, alike=True)
    count = check_memory(spec, costs, request.workers, where)
    if count < request.workers and not quiet:
        print(f"{count} of {request.workers} worker processes, for which there is memory", file=sys.stderr)
    origin = live_origin(dataset, live, layers)
    start = time.perf_counter()
    activations(live.model, layers[:1], dataset.images[:8], transform=live.transform, warn=False)
    per_image = (time.perf_counter() - start) / 8
    forecast = Forecast(
        costs,
        (stored(where) or typical(where)).machine,
        count,
        per_image=per_image,
        on_the_fly=on_the_fly,
        plan=lambda study: make_plan(study, origin, device_name(where)),
    )
    known, pace = _begun(request.out, origin), None
    # A run that was begun goes on with what its budget bought then, and with what was left out later.
    same = known is not None and known.density.kind == spec.density.kind and _first_asked(known)[1] == spec.measure
    if known is not None and preparing.seconds is not None and same:
        spec = spec.model_copy(update={name: getattr(known, name) for name in BOUGHT})
        if request.refits != _first_asked(known)[0]:  # it grows, or is looked at in part
            other = None if spec.asked is None else spec.asked.model_copy(update={"refits": request.refits})
            spec = spec.model_copy(
                update={"fit": spec.fit.model_copy(update={"refits": request.refits}), "asked": other}
            )
    else:
        if preparing.updates is not None:
            spec = by_updates(spec, preparing.updates)
        else:
            spec, pace = _paced(spec, preparing, forecast, where, quiet)
        said = [*filter(None, [said_of_mode(live.model)])]
        if 2 * int(dataset.images.max()) < dataset.levels:
            top = dataset.levels - 1
            warning = f"No pixel is above {dataset.images.max()}, of levels 0 to {top}: are there fewer levels?"
            said.append(warning)
        if said:
            spec = spec.model_copy(update={"note": " ".join(filter(None, [*said, spec.note]))})
            if pace is not None:
                pace.spec = spec
    if not quiet:
        alone = None
        if on_the_fly and count:
            named = spoken_list([in_words(layer) for layer in on_the_fly])
            alone = f"what is fitted on {named} runs one by one in this process, where the network is"
        print(*filter(None, (keeping_words(kept, layers), alone, spec.note)), sep="\n", file=sys.stderr)
    return Ready(spec, loaded, origin, live, forecast, on_the_fly, pace, where)


def _paced(
    spec: StudySpec, preparing: Preparing, forecast: Forecast, device: torch.device, quiet: bool
) -> tuple[StudySpec, Pace]:
    """The study with what a time budget buys, and what keeps it near that time."""
    assert preparing.seconds is not None

    def timed(share: float) -> float:
        if not quiet:
            print("timing a few updates, to see what fits into the budget", file=sys.stderr)
        with one_thread(device.type == "cpu"):
            return time_updates(spec, forecast.costs, forecast.machine, device, share, time.perf_counter)

    spec, known = within(spec, preparing, forecast, timed)
    return spec, Pace(spec, known, preparing.seconds - preparing.spent, quiet=quiet)


def _check_least(request: Request, preparing: Preparing, places: int) -> None:
    """Raises UsageError where the budget is too short for even the least that could be measured."""
    if not needs_densities(request.wanted):
        return
    dataset, evaluation = request.dataset, _evaluation(len(request.dataset))
    sizes = {"decoding": len(dataset) - evaluation, "evaluation": evaluation}
    costs = Costs(dataset.shape, dataset.levels, sizes, {})
    machine = (stored(request.device) or typical(request.device)).machine
    density = density_of(request.density, dataset.shape, dataset.levels)
    check_least(preparing, density, places, Forecast(costs, machine, request.workers))


def _evaluation(images: int) -> int:
    """How many of the images give the numbers."""
    return max(8, min(5000, round(0.2 * images)))


def ways_out(places: int) -> str:
    """What makes a measurement shorter, as advice."""
    ways = ["fewer layers" if places > 1 else "", "fewer refits (refits=1)"]
    ways += ["fewer or smaller images (transform can enlarge them to what the network takes)"]
    return ", ".join(way for way in ways if way)


def _first_asked(spec: StudySpec) -> tuple[Any, ...]:
    """What was asked for, whatever became of it."""
    return (spec.fit.refits, spec.measure) if spec.asked is None else (spec.asked.refits, spec.asked.measure)


def is_run(out: str | Path | None) -> bool:
    """Whether a run was begun in the folder."""
    return out is not None and (Path(out) / STUDY_FILE).is_file() and (Path(out) / "cells" / PLAN_FILE).is_file()


def _begun(out: str | Path | None, origin: Origin) -> StudySpec | None:
    """The study of a run that was begun in this folder on the same data and network, or None."""
    if out is None or not is_run(out) or origin.differs(origin_in(Path(out))) is not None:
        return None
    return cast(StudySpec, read_study(Path(out) / STUDY_FILE))


def live_origin(dataset: data.Dataset, live: Live, layers: list[str]) -> Origin:
    """Returns hashes of the data, of the weights at each checkpoint, and of the activations of each layer.

    A folder's results are taken up again only for the same ones. Weights alone do not tell networks apart whose code or
    transform has changed. Activations enter with three digits, since more may depend on the number of threads.
    """
    # Hashed where they lie: a copy of the images would be as large as they are.
    digest = hashlib.sha256(dataset.images.data)
    digest.update(str((dataset.images.shape, dataset.levels)).encode())
    for each in (dataset.labels, dataset.groups):
        if each is not None:
            digest.update(np.ascontiguousarray(each).data)
    with seeded(0):
        found = activations(live.model, layers, own_batch(dataset.images[:16]), transform=live.transform, warn=False)
    states = {END: live.model.state_dict(), **live.states}
    return Origin(
        digest.hexdigest()[:16],
        {name: _of_weights(state) for name, state in states.items()},
        {name: _of_sizes(in_single(name, h)) for name, h in found.items()},
    )


def _of_sizes(activation: Tensor) -> str:
    # A layer of one number per example has no axis of units.
    sizes = activation.double().reshape(len(activation), -1).abs().mean(1)
    return hashlib.sha256(f"{[f'{size:.3g}' for size in sizes.tolist()]}".encode()).hexdigest()[:16]


def _of_weights(state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        if isinstance(tensor, Tensor):
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
