"""Measure one's own network: `measure(model, images, labels, layers=[…])`."""

import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from infoplane.budget.preparing import Preparing
from infoplane.capture.inputs import check_transform
from infoplane.checks import check_whole
from infoplane.engine.devices import pick_device
from infoplane.engine.watch import Watcher
from infoplane.errors import CellError, UsageError, plural
from infoplane.information.label import Prior
from infoplane.measurements.task import Live
from infoplane.profile.inputs import (
    DENSITIES,
    check_labels_differ,
    dataset_of,
    density_of,
    distinct,
    folder_of,
    kinds_of,
    prior_of,
    readings_given,
    transform_of,
    watching,
)
from infoplane.profile.profile import Profile
from infoplane.profile.request import Request, is_run, prepared, ways_out
from infoplane.report.build import build_page
from infoplane.study.execute import carry_out, workers_of
from infoplane.study.folder import check_place
from infoplane.torch_state import for_caller, own_state

DEFAULT_REFITS = 3
#: as studies have them
MOST_SEED, MOST_REFITS = 2**31, 1000
#: a measurement that takes so many times its budget says so
LATE = 1.25


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
    density: str = DENSITIES[0],
    watchers: Iterable[Watcher] = (),
) -> Profile:
    """Measures what each layer of a network keeps of its input and of the label.

    The images should not be among those that trained the network. They are split at random: four fifths train the
    densities (decoding), one fifth gives the numbers (evaluation).

    Args:
        model: Any module; it is left as it was found.
        images: uint8 (N, C, H, W), numpy or torch, N ≥ 40; or a `Dataset`, which brings its labels, levels, groups
            and notes along, and of which only the official test images are taken where it has any.
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
        density: What is fitted: "pixelcnn", a small PixelCNN++; or "auto", that or the window density, whichever does
            better on held-out images in a short fit of each; for images larger than 64×64 in colour it is "pixelcnn".
        watchers: Who is told what happens, beside `events.jsonl`: see `infoplane.engine.watch`.

    Raises:
        UsageError: Images, labels, layers, checkpoints, kinds, prior, density, budget or device cannot be used, or the
            budget is far too short for them.
        CellError: A part of the measurement failed.
    """
    begun = time.monotonic()
    if out is not None:
        check_place(folder_of(out))
    watchers = watching(watchers)
    dataset = dataset_of(images, labels, levels, groups)
    wanted, where = kinds_of(kinds, dataset.labels is not None), pick_device(device)
    check_labels_differ(dataset, wanted, quiet)
    density_of(density, dataset.shape, dataset.levels)
    if transform is not None:
        check_transform(transform)
    if name is not None and not isinstance(name, str):
        raise UsageError("name cannot be used", received=f"{name!r:.60}", legal="words: the title of the run")
    request = Request(
        dataset,
        Live(model, transform_of(model, dataset) if transform is None else for_caller(transform)),
        distinct(layers, model),
        wanted,
        seed=check_whole("seed", seed, least=0, most=MOST_SEED),
        refits=check_whole("number of refits", refits, least=1, most=MOST_REFITS),
        device=where,
        workers=workers_of(workers, where),
        read_as=readings_given(read_as),
        prior=prior_of(prior, dataset),
        density=density,
        title=name or f"What each layer of {type(model).__name__} keeps",
        out=None if out is None else Path(out),
        quiet=quiet,
    )
    preparing = Preparing(budget, ways_out(len(request.layers) * (1 + len(checkpoints or {}))), begun=begun)
    # A run that was begun goes on with what its budget bought then, however long it takes to come to that.
    limited = nullcontext() if is_run(request.out) else preparing.limited()
    with _interruption(out):
        with limited:
            ready = prepared(request, checkpoints or {}, preparing)
        temporary = None if out is not None else tempfile.mkdtemp(prefix="infoplane-")
        folder = Path(temporary or str(out))
        outcome = carry_out(
            ready.spec,
            folder,
            ready.loaded,
            ready.origin,
            device=request.device,
            workers=ready.forecast.workers,
            quiet=quiet,
            watchers=watchers,
            live=ready.live,
            on_the_fly=ready.on_the_fly,
            foretell=None if quiet else ready.foretell,
            pace=ready.pace,
        )
    took, seconds = preparing.spent, preparing.seconds
    if not quiet and seconds is not None and took > LATE * seconds:
        slower = "the machine was slower than the first updates let expect"
        print(f"took {took:.0f} s, budget {seconds:.0f} s: {slower}", file=sys.stderr)
    profile = Profile(folder, ready.live, request.device, quiet=quiet)
    if temporary is not None:
        weakref.finalize(profile, shutil.rmtree, temporary, ignore_errors=True)
    if out is not None:
        with _interruption(out):
            build_page(folder)
    if outcome.failed:
        cell, message = next(iter(outcome.failed.items()))
        raise CellError(f"{plural(len(outcome.failed), 'part')} of the measurement failed, first {cell}: {message}")
    return profile


@contextmanager
def _interruption(out: str | Path | None) -> Iterator[None]:
    """While active, Ctrl-C says what becomes of what was computed."""
    try:
        yield
    except KeyboardInterrupt:
        if out is None:
            message = "nothing is kept, since the folder was a temporary one: with out=… the same call would go on"
        else:
            message = f"what was computed is kept in {out}: the same call goes on from there"
        raise KeyboardInterrupt(message) from None
