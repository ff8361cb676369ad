"""Measure one's own network: `measure(model, images, labels, layers=[…])`."""

import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from infoplane import data
from infoplane.budget import Forecast, Pace, by_updates, check_least, check_memory, parse_budget, time_updates, within
from infoplane.capture import activations
from infoplane.checks import check_whole
from infoplane.data.dataset import PARTS
from infoplane.errors import CellError
from infoplane.information.label import Prior
from infoplane.inversion import FitSettings
from infoplane.profile.inputs import (
    dataset_of,
    distinct,
    fire,
    kinds_of,
    look_up,
    prior_of,
    say_notes,
    suggest_density,
    transform_of,
)
from infoplane.profile.origin import origin_of
from infoplane.profile.profile import Profile
from infoplane.report.build import build
from infoplane.study.calibration import stored, typical
from infoplane.study.cells import split_data
from infoplane.study.cost import Costs, keeping_words
from infoplane.study.execute import carry_out
from infoplane.study.keeping import kept_layers
from infoplane.study.load import read_study
from infoplane.study.origin import Origin
from infoplane.study.plan import PLAN_FILE, Plan, make_plan
from infoplane.study.run import STUDY_FILE, check_place, default_workers, device_name, one_thread, pick_device
from infoplane.study.spec import NEED_DENSITIES, DataSpec, Measure, StudySpec
from infoplane.study.task import Live
from infoplane.study.watch import Watcher
from infoplane.subjects.given import load_states
from infoplane.torch_state import for_caller, own_state

DEFAULT_REFITS = 3
#: a measurement that takes so many times its budget says so
LATE = 1.25
#: the fields of a study that a time budget decides
BOUGHT = ("density", "fit", "reconstruction", "contrastive", "samples", "measure", "note", "asked")


@own_state()
def measure(
    model: nn.Module,
    images: Any,
    labels: Any = None,
    *,
    layers: Sequence[str],
    checkpoints: Mapping[str, Any] | None = None,
    budget: str | int = "10m",
    kinds: Sequence[str] | None = None,
    levels: int | None = None,
    groups: Any = None,
    transform: Callable[[Tensor], Any] | None = None,
    read_as: Mapping[str, str] | None = None,
    seed: int = 0,
    refits: int = DEFAULT_REFITS,
    device: str = "auto",
    workers: int | None = None,
    quiet: bool = False,
    out: str | Path | None = None,
    name: str | None = None,
    prior: Prior | None = None,
    watchers: Iterable[Watcher] = (),
) -> Profile:
    """Measures what each layer of a network keeps of its input and of the label.

    The images should not be among those that trained the network. They are split at random: four fifths train the
    densities (decoding), one fifth gives the numbers (evaluation).

    Args:
        model: Any module; it is left as it was found.
        images: uint8 (N, C, H, W), numpy or torch, N ≥ 40; or a `Dataset`, which brings its labels, levels, groups
            and notes along.
        labels: Whole numbers (N,), or None.
        layers: Names as `infoplane layers` lists them; reported in depth order.
        checkpoints: Earlier states of the network, in training order: name (as a rule a count of updates or epochs) ->
            state dict, or a file of one. The layers are measured at each of them, and at the model as it is.
        budget: Time for everything, e.g. "90s", "10m", "2h"; or an int, the number of updates of each fit. Time
            depends on what else the machine does; with a number of updates the same seed gives the same bytes.
        kinds: What is measured, of "nce", "usable", "contrastive", "label", "mse" and "samples"; default: all of them.
        levels: Number of values that a pixel can take; default: those of the data set, or 256.
        groups: Whole numbers or names (N,), the same for images that must not be parted: frames of one scene,
            augmentations or near-copies of one image. Equal images are found, and need none.
        transform: From uint8 images (B, C, H, W), a torch tensor, to the model's input; default: float32 in [0, 1].
        read_as: Layer -> how its axes are read, where that should not be left to the program: a letter for each, c
            channels, h rows, w columns, n tokens (+k: k leading ones), such as "hwc" or "nc+1"; or "vector".
        seed: Decides everything random.
        refits: Independent fits per layer; with fewer than 3 the errors do not cover training well.
        device: "auto", "cpu" or "cuda".
        workers: Worker processes; default: one per core, none on a GPU.
        quiet: Show no progress.
        out: The run's folder; default: a temporary one, which `Profile.report` copies.
        name: What the page calls the network.
        prior: The classes' true probabilities where they are known, one for each class, or "uniform": H(y) of label
            information is then exact. Default: H(y) of the evaluation labels, which errs low by about (C − 1)/2n.
        watchers: Who is told what happens, beside `events.jsonl`: see `infoplane.study.watch`.

    Raises:
        UsageError: Images, labels, layers, checkpoints, kinds, prior, budget or device cannot be used, or the budget is
            far too short for them.
        CellError: A part of the measurement failed.
    """
    begun = time.monotonic()
    if out is not None:
        check_place(Path(out))
    dataset = dataset_of(images, labels, levels, groups)
    levels, wanted = dataset.levels, kinds_of(kinds, dataset.labels is not None)
    seed = check_whole("seed", seed, least=0)
    refits = check_whole("number of refits", refits, least=1)
    where = pick_device(device)
    live = Live(model, transform_of(model, dataset) if transform is None else for_caller(transform))
    count = default_workers(where) if workers is None else check_whole("number of workers", workers, least=0)
    seconds, updates = parse_budget(budget)
    layers, read_as = distinct(layers), dict(read_as or {})
    example = fire(live, dataset, layers, read_as)
    if seconds is not None and not _is_run(out):
        # Before the network is looked at more closely, which takes its time where images are large.
        _check_least(dataset, wanted, str(budget), len(layers) * (1 + len(checkpoints or {})), count, where)
    live = look_up(live, example, dataset, layers, read_as)
    layers = list(live.readings)
    if not quiet:
        say_notes(live)
    live = replace(live, states=load_states(model, checkpoints, quiet=quiet) if checkpoints else {})
    shapes = {layer: live.readings[layer].shape for layer in layers if layer not in live.random}
    kept = kept_layers(shapes, len(dataset), len(live.states) + 1)
    if on_the_fly := len(kept) < len(layers):
        count = 0  # the network exists in this process only
    evaluation = _evaluation(len(dataset))
    spec = StudySpec(
        name="measure",
        title=name or f"What each layer of {type(model).__name__} keeps",
        data=DataSpec(name=dataset.name, encoding=0, decoding=len(dataset) - evaluation, evaluation=evaluation),
        given=tuple(live.states),
        layers=tuple(layers),
        read_as=read_as,
        density=suggest_density(dataset.shape, levels),
        fit=FitSettings(refits=refits),
        measure=wanted,
        prior=prior_of(prior, dataset),
        seed=seed,
    ).resolve()
    sizes = {"encoding": 0, "decoding": spec.data.decoding, "evaluation": evaluation}
    loaded = split_data(dataset, sizes, seed)
    data.say(loaded.values["notes"])
    contexts = {layer: reading.context for layer, reading in live.readings.items()}
    there = {part: len(loaded.arrays[part]) for part in PARTS}
    costs = Costs(dataset.shape, levels, there, contexts, alike=True)
    wished, count = count, check_memory(spec, costs, count, where)
    if count < wished and not quiet:
        print(f"{count} of {wished} worker processes, for which there is memory", file=sys.stderr)
    origin = origin_of(dataset, live, layers)
    known, pace = _begun(out, origin), None
    # A run that was begun goes on with what its budget bought then, and with what was left out later.
    if known is not None and seconds is not None and _asked(known)[1] == spec.measure:
        spec = spec.model_copy(update={name: getattr(known, name) for name in BOUGHT})
        if refits != _asked(known)[0]:  # it grows, or is looked at in part
            asked = None if spec.asked is None else spec.asked.model_copy(update={"refits": refits})
            spec = spec.model_copy(update={"fit": spec.fit.model_copy(update={"refits": refits}), "asked": asked})
    else:
        if updates is not None:
            spec = by_updates(spec, updates)
        else:
            forecast = Forecast(
                costs,
                (stored(where) or typical(where)).machine,
                count,
                per_image=_seconds_per_image(dataset, live, layers),
                on_the_fly=on_the_fly,
                plan=lambda study: make_plan(study, origin, device_name(where)),
            )
            spec, pace = _paced(spec, str(budget), forecast, where, begun, quiet)
        if 2 * int(dataset.images.max()) < levels:
            warning = f"No pixel is above {dataset.images.max()}, of levels 0 to {levels - 1}: are there fewer levels?"
            spec = spec.model_copy(update={"note": " ".join([warning, spec.note or ""]).strip()})
            if pace is not None:
                pace.spec = spec
    if not quiet:
        print(*filter(None, (keeping_words(kept, layers), spec.note)), sep="\n", file=sys.stderr)
    temporary = None if out is not None else tempfile.mkdtemp(prefix="infoplane-")
    folder = Path(temporary or str(out))
    try:
        outcome = carry_out(
            spec,
            folder,
            loaded,
            origin,
            device=where,
            workers=count,
            quiet=quiet,
            watchers=watchers,
            live=live,
            on_the_fly=on_the_fly,
            pace=pace,
        )
    except KeyboardInterrupt:
        if out is None:
            message = "nothing is kept, since the folder was a temporary one: with out=… the same call would go on"
        else:
            message = f"what was computed is kept in {out}: the same call goes on from there"
        raise KeyboardInterrupt(message) from None
    took = time.monotonic() - begun
    if not quiet and seconds is not None and took > LATE * seconds:
        slower = "the machine was slower than the first updates let expect"
        print(f"took {took:.0f} s, budget {seconds:.0f} s: {slower}", file=sys.stderr)
    profile = Profile(folder, live, where, quiet=quiet)
    if temporary is not None:
        weakref.finalize(profile, shutil.rmtree, temporary, ignore_errors=True)
    if out is not None:
        build(folder)
    if outcome.failed:
        cell, message = next(iter(outcome.failed.items()))
        raise CellError(f"{len(outcome.failed)} parts of the measurement failed, first {cell}: {message}")
    return profile


def _paced(
    spec: StudySpec, budget: str, forecast: Forecast, device: torch.device, begun: float, quiet: bool
) -> tuple[StudySpec, Pace]:
    """The study with what a time budget buys, and what keeps it near that time.

    Args:
        begun: When the time began, by `time.monotonic`.
    """
    seconds, _ = parse_budget(budget)
    assert seconds is not None

    def timed(share: float) -> float:
        if not quiet:
            print("timing a few updates, to see what fits into the budget", file=sys.stderr)
        with one_thread(device.type == "cpu"):
            return time_updates(spec, forecast.costs, forecast.machine, device, share, time.perf_counter)

    advice = _ways_out(len(spec.layers) * len(spec.checkpoints))
    spec, known = within(spec, budget, forecast, timed, spent=time.monotonic() - begun, ways_out=advice)
    return spec, Pace(spec, known, begun + seconds - time.monotonic(), quiet=quiet)


def _check_least(
    dataset: data.Dataset, wanted: tuple[Measure, ...], budget: str, places: int, workers: int, device: torch.device
) -> None:
    """Raises UsageError where the budget is too short for even the least that could be measured."""
    if NEED_DENSITIES.isdisjoint(wanted):
        return
    evaluation = _evaluation(len(dataset))
    sizes = {"decoding": len(dataset) - evaluation, "evaluation": evaluation}
    costs = Costs(dataset.shape, dataset.levels, sizes, {})
    density, machine = suggest_density(dataset.shape, dataset.levels), (stored(device) or typical(device)).machine
    check_least(budget, density, places, Forecast(costs, machine, workers), ways_out=_ways_out(places))


def _evaluation(images: int) -> int:
    """How many of the images give the numbers."""
    return max(8, min(5000, round(0.2 * images)))


def _ways_out(places: int) -> str:
    """What makes a measurement shorter, as advice."""
    ways = ["fewer layers" if places > 1 else "", "fewer refits (refits=1)"]
    ways += ["fewer or smaller images (transform can enlarge them to what the network takes)"]
    return ", ".join(way for way in ways if way)


def _seconds_per_image(dataset: data.Dataset, live: Live, layers: list[str]) -> float:
    """The time that the network takes for one image, from eight."""
    start = time.perf_counter()
    images = torch.from_numpy(dataset.images[:8])
    activations(live.model, layers[:1], images, transform=live.transform, warn=False)
    return (time.perf_counter() - start) / 8


def _asked(spec: StudySpec) -> tuple[Any, ...]:
    """What was asked for, whatever became of it."""
    return (spec.fit.refits, spec.measure) if spec.asked is None else (spec.asked.refits, spec.asked.measure)


def _is_run(out: str | Path | None) -> bool:
    """Whether a run was begun in the folder."""
    return out is not None and (Path(out) / STUDY_FILE).is_file() and (Path(out) / "cells" / PLAN_FILE).is_file()


def _begun(out: str | Path | None, origin: Origin) -> StudySpec | None:
    """The study of a run that was begun in this folder on the same data and network, or None."""
    if out is None or not _is_run(out) or origin.differs(Plan.origin(Path(out))) is not None:
        return None
    return cast(StudySpec, read_study(Path(out) / STUDY_FILE))
