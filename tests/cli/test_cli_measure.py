"""`infoplane measure` on data whose authors parted them."""

import numpy as np

import official_files
from infoplane import data
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.profile import LEAST_IMAGES
from infoplane.profile.inputs import dataset_of


def test_of_official_parts_only_the_test_images_are_measured_on(home, call):
    content = official_files.write_idx(home / "mnist", train=90, test=LEAST_IMAGES + 10)
    options = ["--layers", "output", "--budget", 2, "--refits", 1, "--density", "pixelcnn", "--workers", 0, "--quiet"]
    said = call("measure", "mine:Constant", "--data", "./mnist", "--out", "out", *options)
    assert said.code == 0, said.err
    stored = Store(home / "out" / "cells").load(Plan.load(home / "out").name("data"))
    assert np.array_equal(stored.array("images")[:, 0], content["t10k-images-idx3-ubyte"])
    assert len(stored.array("decoding")) + len(stored.array("evaluation")) == LEAST_IMAGES + 10


def test_it_says_so(home, call):
    official_files.write_idx(home / "mnist", train=90, test=LEAST_IMAGES)
    options = ["--layers", "output", "--budget", 2, "--refits", 1, "--density", "pixelcnn", "--workers", 0]
    said = call("measure", "mine:Constant", "--data", "./mnist", "--out", "out", *options)
    assert said.code == 0, said.err
    assert f"measuring on the {LEAST_IMAGES} official test images of mnist" in said.err


def test_python_takes_the_same_images(tmp_path):
    """Whatever the sizes of the parts: 80 to 20 is the one split that would fit in both."""
    for train, test in ((60, 70), (100, LEAST_IMAGES), (160, LEAST_IMAGES)):
        content = official_files.write_idx(tmp_path / f"mnist{train}", train=train, test=test)
        whole = data.load(tmp_path / f"mnist{train}")
        taken = dataset_of(whole, None, None, np.arange(len(whole)) // 2)
        assert np.array_equal(taken.images[:, 0], content["t10k-images-idx3-ubyte"])
        assert np.array_equal(taken.labels, content["t10k-labels-idx1-ubyte"])
        assert taken.pools is None
        assert len(np.unique(taken.groups)) == test // 2
        assert f"measuring on the {test} official test images of mnist" in taken.notes[-1]
