"""From a budget of time to the sizes of a measurement."""

import re
import time
from typing import Any

import torch

from infoplane import data, densities
from infoplane.capture import activations
from infoplane.errors import UsageError
from infoplane.information.contrastive import LEAST_BATCHES, LEAST_CANDIDATES
from infoplane.inversion import NegativeLogProb, Pairs, seconds_per_update
from infoplane.study.run import one_thread
from infoplane.study.spec import StudySpec
from infoplane.study.task import Live

#: share of a time budget that goes to updates; the rest is for scoring, reconstructions, samples and the page
TRAINING_SHARE = 0.7
#: samples that are drawn at once to see how long that takes
DRAWN = 8
#: rows of these samples
ROWS = 4
#: fewest updates of a fit, whatever the budget
LEAST_UPDATES = 50
#: passes over the decoding images after which more time is not used: early stopping has long decided
MOST_EPOCHS = 60


def parse_budget(budget: str | int) -> tuple[float | None, int | None]:
    """Returns (seconds, None) for a time like "10m", (None, updates) for a number of updates."""
    legal = "a time such as 90s, 10m or 2h, or a whole number of updates per fit"
    if isinstance(budget, str) and budget.strip().isdecimal():
        budget = int(budget)
    if isinstance(budget, int) and not isinstance(budget, bool) and budget >= 1:
        return None, budget
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h)\s*", budget) if isinstance(budget, str) else None
    if match is None or float(match[1]) <= 0:
        raise UsageError("cannot read the budget", received=repr(budget), legal=legal)
    return float(match[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[match[2]], None


def within(
    spec: StudySpec,
    budget: str | int,
    dataset: data.Dataset,
    parts: data.Split,
    live: Live,
    workers: int,
    device: torch.device,
) -> StudySpec:
    """Returns the study with sizes that fit the budget, after timing a few updates of the widest layer's density."""
    seconds, updates = parse_budget(budget)
    if seconds is None:
        assert updates is not None
        return spec.model_copy(update={"fit": spec.fit.model_copy(update={"updates": updates})})
    with one_thread(device.type == "cpu"):
        per_update, per_image, per_drawing = _time(spec, dataset, parts, live, device)
    share = seconds * workers
    places, refits = len(spec.layers) * len(spec.checkpoints), spec.fit.refits
    per_fit = TRAINING_SHARE * share / ((places + 1) * refits)
    contrastive = _contrastive(spec, len(parts.evaluation), 0.1 * share / (per_image * places * refits))
    # Pictures come last in a budget, but without any the numbers cannot be judged: two images, four samples at least.
    drawn = DRAWN * max(1.0, 0.15 * share / (per_drawing * (places + 1)))
    samples = spec.samples.model_copy(
        update={"images": int(max(2, min(8, drawn // 8))), "each": int(max(4, min(8, drawn // 2)))}
    )
    # Early stopping may take a quarter of a fit's time: on few held-out images, seldom, where time is short.
    held = min(spec.fit.held_out * len(parts.decoding), 400)
    evaluations = int(max(3, min(10, 0.25 * per_fit / (2 * held * per_image))))
    scoring = per_image * (len(parts.evaluation) + held * (2 * evaluations + 1))
    longest = max(300, MOST_EPOCHS * len(parts.decoding) // spec.fit.batch)
    affordable = (per_fit - scoring) / per_update
    # Two digits: the clock's noise should not show in the settings.
    updates = int(float(f"{max(LEAST_UPDATES, min(affordable, longest)):.2g}"))
    fit: dict[str, Any] = {
        # The base is a fourth of a fit, once per refit: it takes its time from all of them.
        "updates": max(LEAST_UPDATES, int(updates * (places + 1) / (places + 1.25))),
        "evaluations": evaluations,
        "held_out": round(held / len(parts.decoding), 4),
    }
    reconstruction = spec.reconstruction.model_copy(update={"updates": max(LEAST_UPDATES, min(600, updates))})
    note = f"A budget of {budget} bought {fit['updates']} updates per fit"
    if affordable < LEAST_UPDATES:
        least = (per_update * LEAST_UPDATES + scoring) * (places + 1) * refits / TRAINING_SHARE / workers
        note += f", the fewest that make sense; it would take about {least / 60:.0f} minutes"
    note += (
        f", and {samples.each} samples for each of {samples.images} images. With more time the densities fit better."
    )
    return spec.model_copy(
        update={
            "note": note,
            "fit": spec.fit.model_copy(update=fit),
            "contrastive": contrastive,
            "samples": samples,
            "reconstruction": reconstruction,
        }
    )


def _contrastive(spec: StudySpec, n: int, scores: float) -> Any:
    """The contrastive sizes that need at most `scores` evaluations of the density per fit."""
    candidates = LEAST_CANDIDATES
    for k in (8, 16, 32, 64):
        if LEAST_BATCHES * k <= n and LEAST_BATCHES * k * k <= scores:
            candidates = k
    batches = int(max(LEAST_BATCHES, min(16, n // candidates, scores // candidates**2)))
    return spec.contrastive.model_copy(update={"candidates": candidates, "batches": batches})


def _time(
    spec: StudySpec, dataset: data.Dataset, parts: data.Split, live: Live, device: torch.device
) -> tuple[float, float, float]:
    """Seconds per update, per scored image, and to draw a few samples at once."""
    images = torch.from_numpy(dataset.images[parts.decoding[: max(4 * spec.fit.batch, 32)]])
    found = activations(live.model, list(spec.layers), images, transform=live.transform, warn=False)
    views = {layer: live.readings[layer](h) for layer, h in found.items()}
    widest = max(views.values(), key=lambda h: h[0].numel())
    context, options = tuple(widest.shape[1:]), spec.density.model_extra or {}
    density = densities.build(spec.density.kind, dataset.shape, dataset.levels, context, options)
    density.to(device)
    pairs = Pairs(images, widest, device=device)
    update, evaluation = seconds_per_update(spec.fit, density, NegativeLogProb(density), pairs, pairs)
    # A few rows are enough: each row takes as long as the others.
    rows = min(dataset.shape[1], ROWS)
    low = densities.build(spec.density.kind, (dataset.shape[0], rows, dataset.shape[2]), dataset.levels, None, options)
    begin = time.perf_counter()
    low.to(device).sample(n=DRAWN, generator=torch.Generator(device).manual_seed(0))
    drawing = (time.perf_counter() - begin) * dataset.shape[1] / rows
    return update, evaluation / (2 * len(pairs)), drawing
