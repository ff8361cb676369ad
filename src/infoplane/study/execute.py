"""Check a study, then run it: the one way from a spec to a folder of stored cells."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch

from infoplane import data
from infoplane.capture import Tap, default_transform
from infoplane.errors import UsageError
from infoplane.study.cells import build_subject, data_result
from infoplane.study.plan import make_plan
from infoplane.study.run import Outcome, default_workers, pick_device, prepare, run_cells
from infoplane.study.spec import StudySpec
from infoplane.study.store import Result, Store


def execute(
    spec: StudySpec, folder: Path, *, device: str = "auto", workers: int | None = None, quiet: bool = False
) -> Outcome:
    """Runs a study into a folder; whatever is there already is not computed again.

    Everything that can be wrong with the study itself is found before the folder is made.

    Raises:
        UsageError: The data, the layers, the device or the folder cannot be used.
    """
    where = pick_device(device)
    loaded = check(spec)
    fingerprint = _fingerprint(loaded)
    plan = make_plan(spec, fingerprint)
    prepare(folder, spec, plan, fingerprint)
    store, name = Store(folder / "cells"), plan.name("data")
    assert name is not None
    if not store.has(name):
        store.save(name, loaded)
    count = default_workers(where) if workers is None else workers
    return run_cells(folder, plan.cells.values(), device=where, workers=count, quiet=quiet)


def check(spec: StudySpec) -> Result:
    """Loads and splits the data, builds the network and looks its layers up; returns the data cell's result.

    Raises:
        UsageError: One of these cannot be done.
    """
    dataset = data.load(spec.data.name, **spec.data.options)
    sizes = {part: getattr(spec.data, part) for part in ("encoding", "decoding", "evaluation")}
    parts = data.split(dataset, **sizes, seed=spec.seed)
    for part in ("decoding", "evaluation"):
        if len(getattr(parts, part)) < 4:
            raise UsageError(f"data.{part} is too small", received=len(getattr(parts, part)), legal="at least 4 images")
    for latent in spec.latents:
        if latent not in dataset.latents:
            raise UsageError("unknown latent", received=repr(latent), legal=", ".join(dataset.latents) or "none here")
    result = data_result(dataset, parts)
    if spec.subject is not None:
        if len(parts.encoding) < 2:
            raise UsageError("no images to train the network on", received=f"data.encoding {len(parts.encoding)}")
        if "end" not in spec.subject.train.checkpoints:
            received = list(spec.subject.train.checkpoints)
            raise UsageError("subject.train.checkpoints lacks the trained network", received=received, mend="add end")
        options = dict(spec.subject.model_extra or {})
        with torch.random.fork_rng([]):
            model = build_subject(spec.subject.kind, options, result.values)
            images = torch.from_numpy(np.zeros((2, *dataset.shape), np.uint8))
            Tap(model, spec.layers)(default_transform(dataset.levels)(images))
    return result


def _fingerprint(loaded: Result) -> str:
    """A hash of the data: what is in a file may change while its name in the study does not."""
    digest = hashlib.sha256(json.dumps(loaded.values, sort_keys=True).encode())
    for name, array in sorted(loaded.arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:16]
