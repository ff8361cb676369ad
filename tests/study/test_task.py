"""What a cell sees: contexts are standardised with what their own capture holds."""

from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from infoplane.capture import vector
from infoplane.engine.worker import Environment
from infoplane.measurements.task import Task

RNG = np.random.default_rng(0)
ACTIVATIONS = {"first": RNG.normal(3.0, 2.0, (50, 4)), "second": RNG.normal(-1.0, 0.5, (50, 4))}


@dataclass
class Held:
    """A stored result in memory, which counts how often its arrays are read."""

    arrays: dict
    values: dict = field(default_factory=dict)
    reads: list = field(default_factory=list)

    def array(self, name):
        self.reads.append(name)
        return self.arrays[name]

    def names(self):
        return set(self.arrays)


@pytest.fixture
def task():
    data = Held(
        {"images": np.zeros((50, 1, 2, 2), np.uint8), "decoding": np.arange(50), "groups": np.arange(50)}, {"levels": 2}
    )
    values = {"on_the_fly": [], "read_as": {"h": vector((4,)).to_json()}}
    captures = {name: Held({"decoding:h": found.astype(np.float32)}, values) for name, found in ACTIVATIONS.items()}
    needs = {"data": data, **captures, "capture": captures["first"]}
    return Task(needs, Environment(torch.device("cpu"), lambda *_: None))


@pytest.mark.parametrize("order", [("first", "second"), ("second", "first")])
def test_every_capture_has_its_own_standardiser(task, order):
    for name in order:
        _, context = task.at(name).pairs("h", "decoding").batch(slice(0, 50))
        np.testing.assert_allclose(context.mean(0), 0, atol=1e-5)
        # The standardiser bends only what lies several standard deviations out.
        np.testing.assert_allclose(context.std(0, correction=0), 1, rtol=0.05)


def test_a_standardiser_is_found_once(task):
    one = task.standardiser("h")
    reads = len(task.needs["capture"].reads)
    assert task.standardiser("h") is one
    assert len(task.needs["capture"].reads) == reads
