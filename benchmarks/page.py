"""How long the tables and the page of a run take, and how much memory, against the number of checkpoints.

    python benchmarks/page.py [--checkpoints 150] [--layers 3]

The run is made up: its cells hold numbers of the right shapes, so that nothing has to be trained. Each call of the
report runs in a process of its own, whose peak of memory is its own.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from infoplane.engine.store import Result, Store
from infoplane.inversion import Curve, FitSettings
from infoplane.measurements.dataset import DataSpec
from infoplane.report.build import build_page
from infoplane.study.folder import make_folder, prepare
from infoplane.study.origin import Origin
from infoplane.study.plan import Cell, make_plan
from infoplane.study.spec import StudySpec

SHAPE, LEVELS, CLASSES = (1, 16, 16), 256, 10
DECODING, EVALUATION, HELD_OUT, PICTURED, EACH = 800, 400, 80, 6, 8


def study(checkpoints: int, layers: int) -> StudySpec:
    """A measurement of one's own network at so many checkpoints."""
    return StudySpec(
        name="measure",
        title=f"{layers} layers at {checkpoints} checkpoints",
        data=DataSpec(name="made up", encoding=0, decoding=DECODING, evaluation=EVALUATION),
        given=tuple(str(10 * index) for index in range(checkpoints - 1)),
        layers=tuple(f"layer{index}" for index in range(1, layers + 1)),
        fit=FitSettings(updates=600, refits=3),
        measure=("nce", "usable", "contrastive", "mse", "samples", "label"),
    ).resolve()


def result(cell: Cell, rng: np.random.Generator, shapes: dict[str, list[int]]) -> Result:
    """What such a cell could leave behind."""
    curve = Curve(
        updates=list(range(60, 601, 60)),
        train=list(rng.normal(300, 1, 10)),
        heldout=list(np.linspace(360, 302, 10)),
        heldout_ema=list(np.linspace(340, 300, 10)),
        gradient=list(rng.normal(3, 0.1, 10)),
        best_update=600,
        best="ema",
    )
    if cell.kind == "data":
        images = rng.integers(0, LEVELS, (DECODING + EVALUATION, *SHAPE), dtype=np.uint8)
        index = np.arange(len(images))
        arrays = {"images": images, "labels": index % CLASSES, "encoding": index[:0]}
        arrays |= {"decoding": index[:DECODING], "evaluation": index[DECODING:], "groups": index}
        return Result({"name": "made up", "levels": LEVELS, "classes": CLASSES, "shape": list(SHAPE)}, arrays)
    if cell.kind == "capture":
        values = {
            "on_the_fly": [],
            "shapes": shapes,
            "seen": {},
            "states": dict.fromkeys(shapes, 1e6),
            "checkpoint": cell.params["checkpoint"],
        }
        return Result(values, {"correct": (rng.random(EVALUATION) < 0.9).astype(np.uint8)})
    if cell.kind == "density":
        values = {"curve": asdict(curve), "context": None, "train_nats": 300.0, "heldout_nats": 301.0}
        values |= {"heldout_n": HELD_OUT, "parameters": 1000, "candidates": 16}
        arrays = {"log_probs": rng.normal(-300, 20, EVALUATION), "groups:heldout": np.arange(HELD_OUT)}
        arrays["log_probs:heldout"] = rng.normal(-301, 20, HELD_OUT)
        if cell.params["contrastive"] is not None:
            arrays["contrastive"] = rng.normal(2, 0.1, 16)
        return Result(values, arrays)
    if cell.kind == "mse":
        arrays = {"errors": rng.random(EVALUATION), "reconstructions": np.zeros((PICTURED, *SHAPE), np.uint8)}
        return Result({"curve": asdict(curve)}, arrays)
    if cell.kind == "samples":
        count = 1 if cell.params["layer"] is None else PICTURED
        return Result(arrays={"samples": rng.integers(0, LEVELS, (count, EACH, *SHAPE), dtype=np.uint8)})
    if cell.kind == "judge":
        return Result({"classifier": True}, {"correct": (rng.random(PICTURED * EACH) < 0.5).astype(np.uint8)})
    return Result({"labels": True}, {"log_probs": np.log(rng.random(EVALUATION))})


def make(folder: Path, checkpoints: int, layers: int) -> None:
    """Writes the made-up run."""
    spec = study(checkpoints, layers)
    origin = Origin("made up")
    plan = make_plan(spec, origin)
    make_folder(folder)
    prepare(folder, spec, plan, origin)
    store, rng = Store(folder / "cells"), np.random.default_rng(0)
    shapes = {layer: [8, 4, 4] for layer in spec.layers}
    for cell in plan.cells.values():
        store.save(cell, result(cell, rng, shapes))


def main() -> None:
    """Makes the run, or writes the report of one that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--checkpoints", type=int, default=150)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--report", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--profile", action="store_true", help="say where the time of the first report goes")
    asked = parser.parse_args()
    if asked.report is not None:
        before = time.process_time()
        build_page(asked.report)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(f"{time.process_time() - before:.1f} s of one core, {peak} MB at most")
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        make(folder, asked.checkpoints, asked.layers)
        report = [__file__, "--report", str(folder)]
        for words in ("first report", "again, nothing changed"):
            profiler = ["-m", "cProfile", "-s", "cumtime"] if asked.profile else []
            done = subprocess.run([sys.executable, *profiler, *report], stdout=subprocess.PIPE, text=True, check=True)
            print(f"{asked.checkpoints} checkpoints, {words}: {done.stdout.strip()[: None if asked.profile else 200]}")
            if asked.profile:
                return
        files = list((folder / "figures").iterdir())
        size = sum(path.stat().st_size for path in files) / 1e6
        page = (folder / "report.html").stat().st_size / 1e6
        print(f"page {page:.1f} MB, figures {size:.1f} MB in {len(files)} files")


if __name__ == "__main__":
    main()
