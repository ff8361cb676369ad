"""Measure one's own network: `measure(model, images, labels, layers=[…])` and the profile it returns."""

import dataclasses
import hashlib
import math
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from infoplane import data, densities
from infoplane.budget import Forecast, Pace, by_updates, check_memory, parse_budget, time_updates, within
from infoplane.capture import Tap, activations, as_taken, default_transform, list_layers, seeded
from infoplane.capture.inputs import model_input
from infoplane.checks import check_whole
from infoplane.data.dataset import PARTS
from infoplane.errors import CellError, UsageError, unknown
from infoplane.estimate import KINDS, Estimate
from infoplane.files import TEMPORARY
from infoplane.inversion import FitSettings
from infoplane.report.build import build, load_run, writing
from infoplane.report.text import table
from infoplane.study.calibration import stored, typical
from infoplane.study.cells import CACHE_BYTES, LOOKED_AT, split_data
from infoplane.study.cost import Costs
from infoplane.study.execute import carry_out
from infoplane.study.load import read_study
from infoplane.study.lock import LOCK_FILE
from infoplane.study.plan import INPUT, Plan, make_plan
from infoplane.study.progress import Display
from infoplane.study.results import Results
from infoplane.study.run import STUDY_FILE, default_workers, device_name, one_thread, pick_device, prepare
from infoplane.study.spec import DataSpec, DensitySpec, Measure, StudySpec
from infoplane.study.store import Stored
from infoplane.study.task import Environment, Live, Task
from infoplane.study.watch import Watcher
from infoplane.subjects.given import load_states
from infoplane.torch_state import for_caller, own_state

DEFAULT_REFITS = 3
#: fewest images from which anything can be said
LEAST_IMAGES = 40
#: a measurement that takes so many times its budget says so
LATE = 1.25
#: the fields of a study that a time budget decides
BOUGHT = ("density", "fit", "reconstruction", "contrastive", "samples", "measure", "note", "asked")
#: what can be measured of one's own network, as `kinds` names it; nce first, as in the table
MEASURABLE: tuple[Measure, ...] = ("nce", "usable", "contrastive", "label", "mse", "samples")
#: most classes a label may come from
MOST_CLASSES = 65_536


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
    watchers: Iterable[Watcher] = (),
) -> "Profile":
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
        watchers: Who is told what happens, beside `events.jsonl`: see `infoplane.study.watch`.

    Raises:
        UsageError: Images, labels, layers, checkpoints, kinds, budget or device cannot be used, or the budget is
            far too short for them.
        CellError: A part of the measurement failed.
    """
    begun = time.monotonic()
    dataset = _dataset(images, labels, levels, groups)
    levels, wanted = dataset.levels, _kinds(kinds, dataset.labels is not None)
    seed = check_whole("seed", seed, least=0)
    refits = check_whole("number of refits", refits, least=1)
    where = pick_device(device)
    live = Live(model, _default(model, dataset) if transform is None else for_caller(transform))
    live, on_the_fly = _check_layers(live, dataset, _distinct(layers), dict(read_as or {}))
    layers = list(live.readings)
    if not quiet:
        _say(live)
    live = replace(live, states=load_states(model, checkpoints, quiet=quiet) if checkpoints else {})
    count = default_workers(where) if workers is None else check_whole("number of workers", workers, least=0)
    if on_the_fly:
        count = 0  # the network exists in this process only
    evaluation = max(8, min(5000, round(0.2 * len(dataset))))
    spec = StudySpec(
        name="measure",
        title=name or f"What each layer of {type(model).__name__} keeps",
        data=DataSpec(name=dataset.name, encoding=0, decoding=len(dataset) - evaluation, evaluation=evaluation),
        given=tuple(live.states),
        layers=tuple(layers),
        read_as=dict(read_as or {}),
        density=suggest_density(dataset.shape, levels),
        fit=FitSettings(refits=refits),
        measure=wanted,
        seed=seed,
    ).resolve()
    sizes = {"encoding": 0, "decoding": spec.data.decoding, "evaluation": evaluation}
    loaded = split_data(dataset, sizes, seed)
    data.say(loaded.values["notes"])
    seconds, updates = parse_budget(budget)
    contexts = {layer: reading.context for layer, reading in live.readings.items()}
    there = {part: len(loaded.arrays[part]) for part in PARTS}
    costs = Costs(dataset.shape, levels, there, contexts, alike=True)
    wished, count = count, check_memory(spec, costs, count, where)
    if count < wished and not quiet:
        print(f"{count} of {wished} worker processes, for which there is memory", file=sys.stderr)
    fingerprint = _fingerprint(dataset, live, layers)
    known, pace = _begun(out, fingerprint), None
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
                plan=lambda study: make_plan(study, fingerprint, device_name(where)),
            )
            spec, pace = _paced(spec, str(budget), forecast, where, begun, quiet)
        if 2 * int(dataset.images.max()) < levels:
            warning = f"No pixel is above {dataset.images.max()}, of levels 0 to {levels - 1}: are there fewer levels?"
            spec = spec.model_copy(update={"note": " ".join([warning, spec.note or ""]).strip()})
            if pace is not None:
                pace.spec = spec
    if not quiet and spec.note is not None:
        print(spec.note, file=sys.stderr)
    temporary = None if out is not None else tempfile.mkdtemp(prefix="infoplane-")
    folder = Path(temporary or str(out))
    try:
        outcome = carry_out(
            spec,
            folder,
            loaded,
            fingerprint,
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


class Profile:
    """What a measurement found. `print(profile)` shows the table.

    Attributes:
        folder: The run's folder.
    """

    def __init__(self, folder: Path, live: Live, device: torch.device, *, quiet: bool = False) -> None:
        self.folder, self._live, self._device, self._quiet = folder, live, device, quiet

    @property
    def _results(self) -> Results:
        return cast(Results, load_run(self.folder))

    def __str__(self) -> str:
        return table(self._results)

    @property
    def layers(self) -> list[str]:
        """The measured layers, in depth order."""
        return self._results.layers

    def __getitem__(self, layer: str) -> dict[str, Estimate]:
        """The estimates of one layer by kind, all refits together; at the last checkpoint.

        Raises:
            UsageError: The layer was not measured; the mapping itself raises it for a kind that was not.
        """
        results = self._results
        self._check(results, layer)
        found = {e.kind: e for name, _, refit, e in results.estimates() if (name, refit) == (layer, "all")}
        return _ByKind(found, results.left_out())

    @property
    def frame(self) -> pl.DataFrame:
        """The tidy table: one row per estimate."""
        with writing(self.folder):
            self._results.write(self.folder)
        return pl.read_parquet(self.folder / "results.parquet")

    @own_state()
    def sample(
        self, layer: str, images: Any, n: int = 8, *, seed: int = 0, temperature: float = 1.0, rows: int = 0
    ) -> Tensor:
        """Draws images that q(x|h), h being the layer's activation for each image, takes for possible.

        Args:
            layer: One of the measured layers.
            images: uint8 (B, C, H, W).
            n: Samples per image.
            seed: Of the draws.
            temperature: Below 1 sharpens, above 1 flattens the distribution of every pixel; 1 draws from q itself.
            rows: So many first rows are those of the images; only the others are drawn.

        Returns: uint8 (B, n, C, H, W), from the first refit's density.
        """
        seed = check_whole("seed", seed, least=0)
        density, contexts = self._inverse(layer, images, seed)
        n = check_whole("number of samples", n, least=1)
        if check_whole("number of rows to keep", rows, least=0) > density.shape[1]:
            raise UsageError("the images have fewer rows to keep", received=rows, legal=f"0 … {density.shape[1]}")
        kept = torch.from_numpy(self._images(images)[:, :, :rows]).repeat_interleave(n, 0) if rows else None
        generator = torch.Generator(self._device).manual_seed(seed)
        contexts_n = contexts.repeat_interleave(n, 0)
        with Display({"drawing samples-": 1.0}, quiet=self._quiet) as display:
            display.start("drawing samples-")
            drawn = density.sample(
                contexts_n,
                generator=generator,
                temperature=temperature,
                keep=kept,
                progress=lambda done, total: display.progress("drawing samples-", done, total, None),
            )
        return drawn.unflatten(0, (len(contexts), n)).cpu()

    @own_state()
    @torch.no_grad()
    def log_prob(self, layer: str, candidates: Any, *, given: Any) -> Tensor:
        """Scores every candidate under the layer's activation for every given image.

        Args:
            layer: One of the measured layers.
            candidates: uint8 (M, C, H, W).
            given: uint8 (B, C, H, W).

        Returns: log q(candidate_j | h(given_i)) in nats, float64 (B, M), from the first refit's density.
        """
        density, contexts = self._inverse(layer, given)
        scored = torch.from_numpy(self._images(candidates)).to(self._device)
        rows = [
            torch.cat(
                [
                    density.log_prob(part, context.expand(len(part), *context.shape[1:])).double()
                    for part in scored.split(256)
                ]
            )
            for context in contexts.split(1)
        ]
        return torch.stack(rows).cpu()

    @own_state()
    def report(self, folder: str | Path) -> Path:
        """Writes the whole run's folder, page and tables included, and returns the page.

        Raises:
            UsageError: The folder holds something else, or cannot be written.
            CellError: The disk is full.
        """
        folder = Path(folder)
        if folder.resolve() != self.folder.resolve():
            fingerprint = Plan.fingerprint(self.folder)
            prepare(folder, self._results.spec, self._results.plan, fingerprint)

            def copy(source: str, target: str) -> None:
                with writing(folder):  # copytree itself would gather what went wrong, without its reason
                    shutil.copy2(source, target)

            left_out = shutil.ignore_patterns(LOCK_FILE, f"{TEMPORARY}*")
            with writing(folder):
                shutil.copytree(self.folder, folder, dirs_exist_ok=True, ignore=left_out, copy_function=copy)
        return build(folder)

    def _inverse(self, layer: str, images: Any, seed: int = 0) -> tuple[densities.Density, Tensor]:
        """The first refit's density and the standardised contexts of these images."""
        results = self._results
        self._check(results, layer)
        stored, capture, loaded = (results.cell("density", layer, 1), results.cell("capture"), results.cell("data"))
        if stored is None or capture is None or loaded is None:
            raise CellError("this layer's density was not fitted", received=repr(layer), mend="see the report")
        spec = results.spec.density
        shape, context = tuple(loaded.values["shape"]), tuple(stored.values["context"])
        density = densities.build(spec.kind, shape, loaded.values["levels"], context, spec.model_extra or {})
        density.load_state_dict(stored.weights("density"))
        found = self._activations(layer, self._images(images), capture, loaded, seed)
        environment = Environment(self._device, lambda *_: None, self._live)
        task = Task({}, {"data": loaded, "capture": capture}, environment)
        contexts = task.standardiser(layer)(task.reading(layer)(found).to(self._device))
        return density.to(self._device).eval(), contexts

    def _activations(self, layer: str, images: np.ndarray, capture: Stored, loaded: Stored, seed: int) -> Tensor:
        """Activations (B, …): those that were measured, where others could be others and these are known."""
        notes = capture.values.get("notes", {}).get(layer, [])
        if notes and (known := _measured(layer, images, capture, loaded)) is not None:
            return known
        if notes and not self._quiet:
            print(
                f"layer {layer!r} {notes[0].partition(':')[0]}: its activations were drawn anew here", file=sys.stderr
            )
        model, transform = self._live.model, self._live.transform
        with seeded(seed):
            return activations(model, [layer], torch.from_numpy(images), transform=transform, warn=False)[layer]

    def _images(self, images: Any) -> np.ndarray:
        loaded = self._results.cell("data")
        assert loaded is not None
        checked = data.check_images(images, loaded.values["levels"], least=1)
        if list(checked.shape[1:]) != loaded.values["shape"]:
            raise UsageError("images of another shape", received=checked.shape[1:], legal=loaded.values["shape"])
        return checked

    def _check(self, results: Results, layer: str) -> None:
        if layer not in results.layers:
            raise unknown("measured layer", layer, results.layers)


def _measured(layer: str, images: np.ndarray, capture: Stored, loaded: Stored) -> Tensor | None:
    """The stored activations of images that were all measured, or None."""
    rows: dict[bytes, np.ndarray] = {}
    for part in ("decoding", "evaluation"):
        if f"{part}:{layer}" in capture.names():
            recorded = capture.array(f"{part}:{layer}")
            measured = loaded.array("images")[loaded.array(part)[: len(recorded)]]
            rows |= {image.tobytes(): h for image, h in zip(measured, recorded, strict=True)}
    found = [rows.get(image.tobytes()) for image in images]
    return None if any(h is None for h in found) else torch.from_numpy(np.stack(found))  # pyright: ignore


class _ByKind(dict[str, Estimate]):
    """Estimates by kind; one that is not there is an error that says why, or lists those that are."""

    def __init__(self, found: Mapping[str, Estimate], left_out: Mapping[str, str]) -> None:
        super().__init__(found)
        self._left_out = left_out

    def __missing__(self, kind: str) -> Estimate:
        if kind in self._left_out:
            mend = "measure on more images"
            raise UsageError(f"there is no {KINDS[kind]}", received=self._left_out[kind], mend=mend)
        raise unknown("kind of estimate", kind, self)


def suggest_density(shape: tuple[int, int, int], levels: int) -> DensitySpec:
    """Returns a density that learns fast on images of this shape: small, with as many scales as the size asks for."""
    size = max(shape[1:])
    options = {
        "filters": 32,
        "residual_layers": 2,
        "scales": 1 if size <= 12 else 2 if size <= 20 else 3,
        # Few updates cannot teach a softmax that neighbouring levels are alike; many levels or colours need to know.
        "likelihood": "categorical" if shape[0] == 1 and levels <= 32 else "logistic_mixture",
        "mixtures": 5,
        "dropout": 0.2,
        "weight_norm": False,
    }
    return DensitySpec.model_validate({"kind": "pixelcnn", **options})


def _dataset(images: Any, labels: Any, levels: int | None, groups: Any) -> data.Dataset:
    if isinstance(images, data.Dataset):
        if labels is not None:
            raise UsageError("labels beside a data set", received="labels=…", mend="leave them out, or replace its own")
        own = images.groups if groups is None else groups
        dataset = dataclasses.replace(images, levels=images.levels if levels is None else levels, groups=own)
        data.check_images(dataset.images, dataset.levels, least=LEAST_IMAGES)
        return dataset
    levels = 256 if levels is None else levels
    checked = data.check_images(images, levels, least=LEAST_IMAGES)
    if labels is not None:
        labels = data.check_labels(labels, len(checked), MOST_CLASSES)
    return data.Dataset("your images", checked, labels, levels, groups=groups)


def _distinct(layers: Sequence[str]) -> list[str]:
    if isinstance(layers, str) or not layers or not all(isinstance(layer, str) for layer in layers):
        raise UsageError(
            "layers must be a list of names", received=repr(layers), legal='for example ["layer2", "avgpool"]'
        )
    if len(set(layers)) < len(layers):
        raise UsageError("layers must be distinct", received=", ".join(layers))
    # "input" is what p(x) is called in every table.
    return [f"<{INPUT}>" if layer == INPUT else layer for layer in layers]


def _default(model: nn.Module, dataset: data.Dataset) -> Callable[[Tensor], Any]:
    """The default transform; in the type of the model's weights where the model takes no other."""
    plain = default_transform(dataset.levels)
    if not isinstance(model, nn.Module):
        return plain
    example = plain(torch.from_numpy(dataset.images[:2]))
    taken = cast(Tensor, as_taken(model, example)).dtype
    return plain if taken == example.dtype else lambda x: plain(x).to(taken)


def _say(live: Live) -> None:
    """Says what layers depend on beside their images."""
    for layer, notes in live.notes.items():
        for note in notes:
            print(f"layer {layer!r} {note}", file=sys.stderr)


def _check_layers(
    live: Live, dataset: data.Dataset, layers: list[str], read_as: Mapping[str, str]
) -> tuple[Live, bool]:
    """Looks the layers up; returns the network with what it tells of them, in depth order.

    Also whether one has to be computed on the fly: it is too large to be cached, or random.
    """
    if not isinstance(live.model, nn.Module):
        raise UsageError("not a model", received=type(live.model).__name__, legal="a torch.nn.Module")
    example = model_input(live.transform, torch.from_numpy(dataset.images[:LOOKED_AT]))
    Tap(live.model, layers)(example)
    for layer in read_as:
        if layer not in layers:
            raise unknown("layer in read_as", layer, layers)
    found = list_layers(live.model, example, read_as=read_as, image=dataset.shape[1:])
    # Steps from one layer to the next are spoken of as losses: that needs the order in which they are computed.
    readings = {info.name: info.reading for info in found if info.name in layers and info.reading is not None}
    notes = {info.name: info.notes for info in found if info.name in readings and info.notes}
    drawn = frozenset(info.name for info in found if info.name in readings and info.random)
    large = any(4 * len(dataset) * math.prod(each.shape) > CACHE_BYTES for each in readings.values())
    return replace(live, readings=readings, notes=notes, random=drawn), large or bool(drawn)


def _kinds(kinds: Sequence[str] | None, labelled: bool) -> tuple[Measure, ...]:
    """What is measured, in the table's order."""
    legal: list[Measure] = [kind for kind in MEASURABLE if labelled or kind != "label"]
    if kinds is None:
        return tuple(legal)
    if isinstance(kinds, str) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise UsageError("kinds must be a list of names", received=repr(kinds), legal=", ".join(MEASURABLE))
    for kind in kinds:
        if kind == "label" and not labelled:
            raise UsageError("there are no labels to read", received="kinds with label", mend="pass labels=")
        if kind not in legal:
            raise unknown("kind to measure", kind, legal)
    return tuple(kind for kind in legal if kind in kinds)


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

    ways = ["fewer layers" if len(spec.layers) * len(spec.checkpoints) > 1 else "", "fewer refits (refits=1)"]
    ways += ["fewer or smaller images (transform can enlarge them to what the network takes)"]
    advice = ", ".join(way for way in ways if way)
    spec, known = within(spec, budget, forecast, timed, spent=time.monotonic() - begun, ways_out=advice)
    return spec, Pace(spec, known, begun + seconds - time.monotonic(), quiet=quiet)


def _seconds_per_image(dataset: data.Dataset, live: Live, layers: list[str]) -> float:
    """The time that the network takes for one image, from eight."""
    start = time.perf_counter()
    activations(live.model, layers[:1], torch.from_numpy(dataset.images[:8]), transform=live.transform)
    return (time.perf_counter() - start) / 8


def _asked(spec: StudySpec) -> tuple[Any, ...]:
    """What was asked for, whatever became of it."""
    return (spec.fit.refits, spec.measure) if spec.asked is None else (spec.asked.refits, spec.asked.measure)


def _begun(out: str | Path | None, fingerprint: str) -> StudySpec | None:
    """The study of a run that was begun in this folder on the same data and network, or None."""
    if out is None or not (Path(out) / STUDY_FILE).is_file() or Plan.fingerprint(Path(out)) != fingerprint:
        return None
    return cast(StudySpec, read_study(Path(out) / STUDY_FILE))


def _fingerprint(dataset: data.Dataset, live: Live, layers: list[str]) -> str:
    """A hash of images, labels, weights and activations: a folder's results are taken up again only for the same ones.

    Weights alone do not tell networks apart whose code or transform has changed. Activations enter with three digits,
    since more may depend on the number of threads.
    """
    digest = hashlib.sha256(dataset.images.tobytes() + str((dataset.images.shape, dataset.levels)).encode())
    if dataset.labels is not None:
        digest.update(dataset.labels.tobytes())
    if dataset.groups is not None:
        digest.update(dataset.groups.tobytes())
    with seeded(0):
        found = activations(
            live.model, layers, torch.from_numpy(dataset.images[:16]), transform=live.transform, warn=False
        )
    for name, activation in found.items():
        sizes = activation.double().flatten(1).abs().mean(1)
        digest.update(f"{name} {[f'{size:.3g}' for size in sizes.tolist()]}".encode())
    for at, state in {"": live.model.state_dict(), **live.states}.items():
        digest.update(at.encode())
        for name, tensor in sorted(state.items()):
            if isinstance(tensor, Tensor):
                digest.update(
                    name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
                )
    return digest.hexdigest()[:16]
