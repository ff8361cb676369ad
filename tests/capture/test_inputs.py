"""A user's transform gets a batch of its own, whatever it does to it."""

import warnings
from collections import OrderedDict
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

import infoplane
import tiny_study
import toy_networks
from infoplane.capture import Tap, activations, capture, model_input
from infoplane.capture.pytrees import own_batch
from infoplane.errors import UsageError

IMAGES, LABELS = tiny_study.images_and_labels()


class Two(NamedTuple):
    first: Any
    second: int


def masked(x):
    """In place: the left columns become black."""
    x[..., :2] = 0
    return x.float() / 2


def as_masked(x):
    """The same numbers, with nothing written to."""
    return torch.cat([torch.zeros_like(x[..., :2]), x[..., 2:]], -1).float() / 2


KINDS = {
    "array": lambda tmp: IMAGES.copy(),
    "tensor": lambda tmp: torch.from_numpy(IMAGES.copy()),
    "read-only": lambda tmp: _locked(IMAGES.copy()),
    "mapped": lambda tmp: _mapped(tmp),
    "turned": lambda tmp: IMAGES[:, :, ::-1],
}


def _locked(images):
    images.flags.writeable = False
    return images


def _mapped(tmp):
    np.save(tmp / "images.npy", IMAGES)
    return np.load(tmp / "images.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", [masked, lambda x: x.mul_(0).float()], ids=["written", "multiplied"])
def test_no_transform_changes_the_callers_images(kind, transform, tmp_path):
    images = KINDS[kind](tmp_path)
    before = np.asarray(images).copy()
    model = toy_networks.build()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # torch's, of arrays that are not writable
        if kind == "tensor":
            model_input(transform, images[:3])
        activations(model, ["conv"], images, transform=transform, batch_size=64)
        for size in (1, 5):
            Tap(model, ["conv"], transform=transform)(images[:size])
            list(capture(model, ["conv"], [images[:size]], transform=transform))
    assert np.array_equal(np.asarray(images), before)


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize(("kind", "kept"), [("tensor", False), ("mapped", True)])
def test_a_measurement_is_of_the_callers_images_though_the_transform_writes(kind, kept, tmp_path, monkeypatch):
    if not kept:  # contexts are then made from the very batches that are inferred
        monkeypatch.setattr("infoplane.measurements.inputs.CACHE_BYTES", 0)
    images = KINDS[kind](tmp_path)
    options = {**tiny_study.QUICK, "kinds": ["nce"]}
    model, before = toy_networks.build(), np.asarray(images).copy()
    found = [
        infoplane.measure(model, images, LABELS, layers=["conv"], transform=transform, out=tmp_path / name, **options)
        for name, transform in {"written": masked, "copied": as_masked}.items()
    ]
    assert np.array_equal(np.asarray(images), before)
    data = found[0]._results.cell("data")
    assert data is not None
    assert np.array_equal(data.array("images"), before)  # what is inferred is the image, not what was made of it
    assert found[0].frame.equals(found[1].frame)


def test_a_network_that_writes_to_its_input_changes_nothing_either():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(IMAGES[0].size, 3))
    images = torch.from_numpy(IMAGES.copy())
    before = images.clone()
    kept = images.float() - 1
    activations(model, ["2"], images, transform=lambda x: kept[: len(x)])
    assert torch.equal(kept, before.float() - 1)
    assert torch.equal(images, before)


def test_a_batch_of_its_own_keeps_its_kind():
    x = torch.ones(2)
    for batch in ([x, 3], (x, 3), Two(x, 3), {"first": x}, OrderedDict(first=x)):
        found = own_batch(batch)
        assert type(found) is type(batch)
        (found["first"] if isinstance(batch, dict) else found[0]).zero_()
        assert bool(x.all())


def test_a_transform_is_never_given_one_image_alone():
    sizes = []

    def transform(x):
        sizes.append(len(x))
        return x.float()

    tap = Tap(toy_networks.build(), ["conv"], transform=transform)
    assert len(tap(torch.from_numpy(IMAGES[:1]))["conv"]) == 1
    assert sizes == [2]


def test_what_a_transform_raises_is_one_line():
    with pytest.raises(UsageError, match=r"the transform fails on these images.*ZeroDivisionError"):
        model_input(lambda _: 1 / 0, torch.from_numpy(IMAGES[:2]))
