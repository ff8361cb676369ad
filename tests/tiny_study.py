"""A study so small that all of it runs in about a second, and the command line called in this process."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from infoplane.cli import main
from infoplane.engine.plan import Plan
from infoplane.study.load import load_study
from infoplane.study.spec import StudySpec

LEVELS = 3
LAYERS = ("conv1", "logits")
#: a measurement of such images that takes about a second
QUICK = {"budget": 3, "levels": 3, "refits": 1, "workers": 0, "density": "pixelcnn", "quiet": True}
#: what lies in the folder of every finished run
RUN_FILES = {
    "report.html",
    "results.csv",
    "results.parquet",
    "study.yaml",
    "events.jsonl",
    "figures",
    "figures.json",
    "cells",
}

STUDY = """
title: Tiny
data: {{name: {data}, encoding: 40, decoding: 80, evaluation: 40}}
subject:
  kind: nash-cnn
  filters: [2, 3]
  hidden: 5
  kernel: 3
  padding: 1
  dropout: 0.1
  train: {{updates: 4, batch: 8}}
layers: [conv1, logits]
density: {{kind: pixelcnn, filters: 4, residual_layers: 1, scales: 1, dropout: 0.1}}
fit: {{updates: 3, batch: 4, evaluations: 2, refits: 2, warm_start: none}}
reconstruction: {{updates: 3, batch: 4, evaluations: 1}}
contrastive: {{candidates: 4, batches: 3}}
samples: {{images: 2, each: 2}}
"""


def images_and_labels(n: int = 160, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns uint8 images (n, 1, 4, 4) of 3 levels, the darker the higher their label, and labels 0 to 2."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    images = rng.binomial(2, 0.2 + 0.25 * labels[:, None, None, None], (n, 1, 4, 4)).astype(np.uint8)
    return images, labels


def write_study(folder: Path, text: str = STUDY, name: str = "tiny") -> Path:
    """Writes the data and the study into a folder and returns the study's path."""
    images, labels = images_and_labels()
    np.savez(folder / "tiny.npz", images=images, labels=labels, levels=LEVELS)
    path = folder / f"{name}.yaml"
    path.write_text(text.format(data=folder / "tiny.npz"))
    return path


def tiny(folder: Path, **changes) -> StudySpec:
    """Returns the tiny study; in the names of changed fields, two underscores stand for a dot."""
    return load_study(str(write_study(folder)), {key.replace("__", "."): value for key, value in changes.items()})


def known_truth() -> StudySpec:
    """Returns the study `known-truth` without its network, cut to what a test can wait for."""
    changes = {
        "subject": None,
        "layers": [],
        "data": {
            "name": "truth",
            "encoding": 0,
            "decoding": 100,
            "evaluation": 60,
            "options": {"n": 160, "noise": 0.7, "seed": 1},
        },
        "density.width": 8,
        "fit.updates": 3,
        "fit.base_updates": 3,
        "fit.batch": 16,
        "fit.refits": 2,
        "measure": ["nce", "usable", "contrastive", "label"],
        "contrastive": {"candidates": 10, "batches": 10},
    }
    return load_study("known-truth", changes)


def role(plan: Plan, kind: str, layer: str = "", refit: int = 0) -> str:
    """Returns the name of a cell: that of the finished network where it depends on the network's checkpoint."""
    return next(name for point in ("end", "") if (name := plan.name(kind, layer, refit, point)) is not None)


@dataclass
class Said:
    """What a command did: its exit code and what it printed."""

    code: int
    out: str
    err: str


def command(capsys, *words) -> Said:
    """Calls the command line in this process."""
    capsys.readouterr()
    code = 0
    try:
        main([str(word) for word in words])
    except SystemExit as stop:
        code = stop.code
    printed = capsys.readouterr()
    return Said(code, printed.out, printed.err)


def events(folder: Path, kind: str | None = None) -> list[dict]:
    """Returns a run's events, or those of one kind."""
    found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event for event in found if kind is None or event["event"] == kind]


def contents(folder: Path) -> dict[str, bytes]:
    """Returns every file below a folder with its bytes, but for the lock, which holds a process number."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def kind_of(cell: str) -> str:
    """Returns the kind in a cell's name."""
    return cell.partition("-")[0]
