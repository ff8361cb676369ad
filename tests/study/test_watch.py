"""Watchers: TensorBoard's files read back, and one of our own."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import tiny_study
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.engine.watch import Watcher
from infoplane.study import tensorboard as watch
from infoplane.study.execute import execute
from infoplane.study.tensorboard import TensorBoard, sample_grid
from tiny_study import events


class Recorder(Watcher):
    """Keeps what it is told."""

    def __init__(self):
        self.told, self.ended = [], 0

    def event(self, event):
        self.told.append(dict(event))

    def end(self):
        self.ended += 1


def test_a_watcher_is_told_what_the_log_is_told_and_that_the_run_has_ended(tmp_path):
    recorder = Recorder()
    execute(tiny_study.tiny(tmp_path), tmp_path / "run", workers=0, quiet=True, watchers=[recorder])
    logged = [
        {key: value for key, value in event.items() if key not in ("time", "elapsed")}
        for event in events(tmp_path / "run")
    ]
    assert json.loads(json.dumps(recorder.told)) == logged
    assert {event["event"] for event in recorder.told} == {"begin", "start", "progress", "done", "run"}
    assert recorder.ended == 1


def test_what_a_watcher_raises_ends_the_run_and_all_watchers(tmp_path):
    class Failing(Recorder):
        def event(self, event):
            raise ArithmeticError("enough")

    first, last = Recorder(), Failing()
    with pytest.raises(ArithmeticError, match="enough"):
        execute(tiny_study.tiny(tmp_path), tmp_path / "run", workers=1, quiet=True, watchers=[first, last])
    assert (first.ended, last.ended) == (1, 1)


def test_tensorboard_holds_the_curves_and_the_samples(tmp_path):
    folder = tmp_path / "run"
    execute(tiny_study.tiny(tmp_path), folder, workers=0, quiet=True, watchers=[TensorBoard()])
    read = EventAccumulator(str(folder / "tensorboard"), size_guidance={"images": 0, "scalars": 0}).Reload()
    plan, store = Plan.load(folder), Store(folder / "cells")
    for cell in plan.cells.values():
        if cell.kind == "density":
            curve = store.load(cell.name).values["curve"]
            for key, name in (("train", "training"), ("heldout", "held-out"), ("heldout_ema", "held-out, averaged")):
                found = read.Scalars(f"{cell.label}/{name}")
                assert [event.step for event in found] == curve["updates"]
                assert [event.value for event in found] == pytest.approx(curve[key], rel=1e-6)
    grids = set(read.Tags()["images"])
    assert grids == {f"{cell.label}/grid" for cell in plan.cells.values() if cell.kind == "samples"}
    # Two images in rows, each with two samples beside it, every tile with a frame of one pixel.
    (image,) = read.Images("samples-conv1/grid")
    assert (image.height, image.width) == (2 * 5, 3 * 5)


def test_tensorboard_that_is_not_installed_is_one_line(monkeypatch, refuses):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with refuses("TensorBoard is not installed", "infoplane[tensorboard]"):
        TensorBoard()


def test_a_grid_shows_every_picture_at_its_place():
    rng = np.random.default_rng(0)
    samples, images = (rng.integers(0, 4, shape, dtype=np.uint8) for shape in ((2, 3, 1, 4, 5), (2, 1, 4, 5)))
    grid = sample_grid(samples, images, 4)
    assert (grid.shape, grid.dtype) == ((1, 2 * 5, 4 * 6), np.uint8)
    for row in range(2):
        for column in range(4):
            expected = images[row] if column == 0 else samples[row, column - 1]
            shown = grid[:, 5 * row : 5 * row + 4, 6 * column : 6 * column + 5]
            assert np.array_equal(shown, expected * 85)  # 255 / 3
    assert watch.sample_grid(samples, None, 4).shape == (1, 10, 18)
