"""From a run's folder to its tables and page."""

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from infoplane.errors import UsageError
from infoplane.files import TEMPORARY
from infoplane.report.contents import Curve, Layer, LayerPictures, ReportContents
from infoplane.report.page import write
from infoplane.study.plan import INPUT, PLAN_FILE, Plan
from infoplane.study.results import Results, write_table
from infoplane.study.run import STUDY_FILE, unwritable
from infoplane.study.spec import StudySpec, read_study
from infoplane.study.store import Store, is_full, room_for
from infoplane.study.watch import EVENTS_FILE


def load_run(folder: Path) -> Results:
    """Returns the results of the run in a folder.

    Raises:
        UsageError: The folder holds no run.
    """
    if folder.is_file():
        raise UsageError("a run's folder is wanted", received=f"{folder}, which is a file", mend="give its folder")
    if not (folder / STUDY_FILE).is_file() or not (folder / "cells" / PLAN_FILE).is_file():
        raise UsageError("no run in this folder", received=folder, legal="the --out folder of a run or measure")
    spec = read_study(folder / STUDY_FILE)
    return Results(spec, Plan.load(folder), Store(folder / "cells"))


def build(folder: Path) -> Path:
    """Writes the tables, figures/ and report.html of a run, finished or not; returns the page.

    The tables, as CSV and Parquet: results, differences, and truths where something is known.

    Raises:
        UsageError: The folder holds no run, or cannot be written.
        CellError: The disk is full.
    """
    results = load_run(folder)
    contents = contents_of(results, folder)
    with writing(folder):
        _sweep(folder)
        results.write(folder)
        for name, rows in (("differences", contents.differences), ("truths", contents.truth)):
            if rows:
                write_table(pl.DataFrame([dict(row) for row in rows], infer_schema_length=None), folder, name)
        return write(contents, folder)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns whatever keeps tables and pages from being written into one line.

    Raises:
        CellError: The disk is full.
        UsageError: Something is in the way, or may not be written.
    """
    with room_for(folder):
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise
            raise unwritable(Path(error.filename2 or error.filename or folder), error) from error


def _sweep(folder: Path) -> None:
    """Removes the half-written files of a report that was killed; one that is still at it writes its file again."""
    for place in (folder, folder / "figures"):
        for left in place.glob(f"{TEMPORARY}*"):
            if left.is_file():
                left.unlink(missing_ok=True)


def contents_of(results: Results, folder: Path) -> ReportContents:
    """Gathers what the page shows."""
    spec = results.spec
    data = results.cell("data")
    inputs = None
    if data is not None:
        inputs = data.array("images")[data.array("evaluation")[: spec.samples.images]]
    null = results.cell("samples", INPUT)
    events = list(_events(folder))
    begun = next((event for event in reversed(events) if event["event"] == "begin"), {})
    totals = [event for event in events if event["event"] == "run"]
    curves = list(_curves(results))
    candidates = [s.values.get("candidates") for place in results.places for _, s in results.fits(*place)]
    failed = {name: failure for name in results.plan.cells if (failure := results.store.failure(name)) is not None}
    return ReportContents(
        title=spec.title,
        description=_description(spec, results),
        note=spec.note,
        levels=data.values["levels"] if data is not None else 256,
        inputs=inputs,
        layers=[_layer(results, name, pictured=data is not None) for name in results.layers],
        checkpoints=results.checkpoints,
        null_samples=None if null is None or data is None else null.array("samples")[0],
        rows=results.rows(),
        differences=results.differences(),
        curves=curves,
        truth=results.truths(),
        settings=spec.to_yaml(),
        seeds=_seeds(spec),
        versions=begun.get("versions", {}),
        times=_times(events),
        machine=begun.get("machine", ""),
        total_seconds=sum(event["seconds"] for event in totals) or None,
        peak_memory_mb=max((event["peak_mb"] for event in totals), default=None),
        failures=[(name, *failure) for name, failure in failed.items()],
        missing=list(_missing(results, failed)),
        parts=len(results.plan.cells),
        going=next((event["event"] for event in reversed(events) if event["event"] in ("begin", "run")), "") == "begin",
        sanity=list(_sanity(results)),
        candidates=next((k for k in candidates if k is not None), None),
        classes=data.values["classes"] if data is not None else None,
    )


def _description(spec: StudySpec, results: Results) -> str:
    data = results.cell("data")
    if data is None:
        gone = "What was stored of the images is damaged, and without them no picture can be shown."
        return gone if results.plan.name("data") in results.damaged() else "No part of this run has finished yet."
    sizes = {part: len(data.array(part)) for part in ("encoding", "decoding", "evaluation")}
    channels, rows, columns = data.values["shape"]
    colour = "" if channels == 1 else f", {channels} channels"
    images = f"images of {rows}×{columns} pixels with {data.values['levels']} levels{colour} ({data.values['name']})"
    if spec.subject is None:
        return (
            f"Densities q(x|h) were trained on {sizes['decoding']} {images}; the numbers come from "
            f"{sizes['evaluation']} others, which no density has seen. Whether the network was trained on any of them "
            "is not known here."
        )
    return (
        f"A {spec.subject.kind} was trained on {sizes['encoding']} {images}, densities q(x|h) on {sizes['decoding']} "
        f"others. The numbers come from {sizes['evaluation']} more, on which nothing was trained or chosen."
    )


def _seeds(spec: StudySpec) -> str:
    refits = spec.fit.refits
    return f"study seed {spec.seed}; fits from seeds {1000 * spec.seed + 1} to {1000 * spec.seed + refits}"


def _layer(results: Results, name: str, *, pictured: bool) -> Layer:
    drawn = {}
    for checkpoint in [point for layer, point in results.places if layer == name and pictured]:
        samples = results.cell("samples", name, checkpoint=checkpoint)
        mse = results.cell("mse", name, checkpoint=checkpoint)
        pictures = LayerPictures(
            None if mse is None else mse.array("reconstructions"),
            None if samples is None else samples.array("samples"),
        )
        if mse is not None or samples is not None:
            drawn[checkpoint] = pictures
    return Layer(name, name, shape_of(results, name), drawn, latent=name in results.spec.latents)


#: kind of cell -> what the reader calls it
_PARTS = {
    "subject": "network under study",
    "capture": "activations",
    "density": "density",
    "mse": "reconstructions",
    "judge": "network's reading of the samples",
    "truth": "known truth",
}


def _missing(results: Results, failed: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields what was planned and is neither whole nor failed, in words, and why as far as that is known."""
    plan, store = results.plan, results.store
    stuck, damaged = set(failed), set(results.damaged())
    for (kind, layer, refit, checkpoint), name in plan.roles.items():
        if name in failed or (store.has(name) and name not in damaged):
            continue
        # What a part needs comes before it in the plan.
        waits = not stuck.isdisjoint(plan.cells[name].needs.values())
        stuck |= {name} if waits else set()
        words = _PARTS.get(kind, kind) + (f" of {'p(x)' if layer == INPUT else layer}" if layer else "")
        at = f" at checkpoint {checkpoint}" if checkpoint and len(results.checkpoints) > 1 else ""
        again = f", refit {refit}" if refit else ""
        why = "damaged" if name in damaged else "needs a part that failed" if waits else "not computed yet"
        yield f"{words}{at}{again}", why


def shape_of(results: Results, layer: str) -> tuple[int, ...]:
    """The shape of a layer's activation for one example."""
    capture, data = results.cell("capture"), results.cell("data")
    if capture is not None and layer in capture.values["shapes"]:
        return tuple(capture.values["shapes"][layer])
    if data is not None and f"latent:{layer}" in data.names():
        return tuple(data.array(f"latent:{layer}").shape[1:])
    return ()


def _curves(results: Results) -> Iterator[Curve]:
    for layer, checkpoint in ((INPUT, ""), *results.places):
        for refit, stored in results.fits(layer, checkpoint):
            curve: dict[str, Any] = stored.values["curve"]
            yield Curve(
                layer,
                refit,
                *(np.array(curve[key]) for key in ("updates", "train", "heldout", "heldout_ema")),
                best_update=curve["best_update"],
                best=curve["best"],
                checkpoint=checkpoint,
            )


def _events(folder: Path) -> Iterator[dict[str, Any]]:
    path = folder / EVENTS_FILE
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # damaged, or the last line of a run that was cut off
        if isinstance(event, dict) and _is_whole(event):
            yield event


#: kind of event -> what the report reads of it
_FIELDS: dict[str, dict[str, Any]] = {
    "begin": {"machine": str, "versions": dict},
    "done": {"cell": str, "seconds": int | float},
    "run": {"seconds": int | float, "peak_mb": int | float},
}


def _is_whole(event: dict[str, Any]) -> bool:
    """Whether an event that can be read is one that was written."""
    fields = _FIELDS.get(str(event.get("event")), {})
    values = [event.get(key) for key in fields]
    sound = all(isinstance(value, kind) for value, kind in zip(values, fields.values(), strict=True))
    return bool(fields) and sound and all(math.isfinite(value) for value in values if isinstance(value, int | float))


def _times(events: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Seconds by kind of cell, summed over the worker processes."""
    sums: dict[str, float] = defaultdict(float)
    for event in events:
        if event["event"] == "done":
            sums[event["cell"].partition("-")[0]] += event["seconds"]
    words = {"density": "densities", "mse": "reconstructions", "subject": "network under study"}
    return [(words.get(kind, kind), seconds) for kind, seconds in sums.items()]


def _sanity(results: Results) -> Iterator[str]:
    """Sentences that help to judge how far the numbers can be trusted."""
    for layer, checkpoint in ((INPUT, ""), *results.places):
        fits = results.fits(layer, checkpoint)
        if not fits:
            continue
        name = "p(x)" if layer == INPUT else layer
        if checkpoint and len(results.checkpoints) > 1:
            name += f" at checkpoint {checkpoint}"
        train = np.mean([s.values["train_nats"] for _, s in fits])
        held = np.mean([s.values["heldout_nats"] for _, s in fits])
        guarded = sum(s.values["curve"]["guarded"] for _, s in fits)
        best = ", ".join(str(s.values["curve"]["best_update"]) for _, s in fits)
        note = f"; {guarded} gradients were shortened" if guarded else ""
        yield (
            f"{name}: {train:.2f} nats per image on its training data, {held:.2f} on held-out decoding data "
            f"(best weights after {best} updates{note})."
        )
