"""What large images and activations take in memory: they are hashed, written, read and parted where they lie."""

import tracemalloc

import numpy as np
import torch
from torch import nn

from infoplane import data
from infoplane.engine.cell import Cell
from infoplane.engine.store import Store
from infoplane.engine.worker import Environment
from infoplane.inversion import Pairs
from infoplane.measurements.dataset import split_data
from infoplane.measurements.inputs import Capture
from infoplane.measurements.task import Live, Task
from infoplane.profile.request import live_origin

IMAGES = np.random.default_rng(0).integers(0, 256, (3000, 1, 48, 48), dtype=np.uint8)  # 7 MB
CAPTURE = {"layers": ["0"], "checkpoint": "end", "checkpoints": 1, "encoding": 0, "read_as": {}, "seed": 0}


def cell(kind, params=None):
    return Cell.named(kind, params or {}, {}, code="c", arithmetic="a")


def peak_of(run) -> float:
    """The most memory that numpy and Python took beside what was there, in sizes of the images."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1] / IMAGES.nbytes
    finally:
        tracemalloc.stop()


def test_images_are_not_copied_on_their_way_through_a_run(tmp_path):
    store, live = Store(tmp_path / "cells"), Live(nn.Sequential(nn.Flatten()), lambda x: x.float() / 255)
    named, sizes = cell("data"), {"encoding": 0, "decoding": 2500, "evaluation": 500}
    dataset = data.Dataset("noise", IMAGES)

    def stored():
        store.save(named, split_data(dataset, sizes, 0))

    assert peak_of(lambda: live_origin(dataset, live, ["0"])) < 0.2
    assert peak_of(stored) < 0.3
    found = {}

    def read():
        found["task"] = Task({"data": store.load(named.name)}, Environment(torch.device("cpu"), lambda *_: None))
        found["pairs"] = found["task"].pairs(None, "decoding").subset(np.arange(2000))
        for start in range(0, 2000, 256):
            found["pairs"].batch(slice(start, start + 256))

    assert peak_of(read) < 0.3
    decoding = store.load(named.name).array("decoding")
    assert np.array_equal(found["pairs"].batch(slice(1990, 2000))[0].numpy(), IMAGES[decoding[1990:2000]])


def test_activations_of_all_images_are_never_in_memory_at_once(tmp_path):
    # The layer's activations are four times as large as the images.
    store, named = Store(tmp_path / "cells"), cell("data")
    sizes = {"encoding": 0, "decoding": 2500, "evaluation": 500}
    store.save(named, split_data(data.Dataset("noise", IMAGES), sizes, 0))
    live, done = Live(nn.Sequential(nn.Flatten()), lambda x: x.float() / 255), []
    capture = cell("capture", CAPTURE)

    def captured():
        with store.scratch(capture.name) as scratch:
            environment = Environment(torch.device("cpu"), lambda *_: done.append(1), live, scratch)
            store.save(capture, Capture(**CAPTURE).run(Task({"data": store.load(named.name)}, environment)))

    assert peak_of(captured) < 1.0
    assert len(done) > 10
    loaded, kept = store.load(named.name), store.load(capture.name)
    for part in ("decoding", "evaluation"):
        expected = IMAGES[loaded.array(part)].reshape(-1, 48 * 48).astype(np.float32) / np.float32(255)
        assert np.array_equal(kept.array(f"{part}:0"), expected)


def test_parts_of_pairs_are_the_same_images_and_contexts():
    images, context = torch.from_numpy(IMAGES), torch.randn(len(IMAGES), 3)
    rows = torch.randperm(len(IMAGES), generator=torch.Generator().manual_seed(0))
    pairs = Pairs(images, context[rows], rows=rows)
    part = pairs.subset(np.array([7, 3, 3, 2999])).subset(torch.tensor([True, False, True, True]))
    assert len(part) == 3
    assert part._all.data_ptr() == images.data_ptr()
    assert part.context.data_ptr() == pairs.context.data_ptr()
    expected = rows[[7, 3, 2999]]
    for found, wanted in zip(part.batch(slice(None)), (images[expected], context[expected]), strict=True):
        assert torch.equal(found, wanted)
    assert torch.equal(part.images, images[expected])
    assert part.image_shape == (1, 48, 48)
    assert torch.equal(part.batch(torch.tensor([2, 0]))[1], context[expected[[2, 0]]])
