"""One door to all data sets, and what it says to those who miss it."""

import numpy as np
import pytest

import infoplane.data
from infoplane.data import Truth, available, load, load_digits


def test_available_names():
    assert available() == ["digits", "truth"]
    for name in available():
        assert load(name).name == name


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits as reference

    expected = reference()
    digits = load_digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    assert digits.images.dtype == np.uint8
    assert np.array_equal(digits.images[:, 0], expected.images)
    assert digits.labels is not None
    assert np.array_equal(digits.labels, expected.target)
    assert (digits.levels, digits.classes, digits.images.max()) == (17, 10, 16)


def test_options_reach_the_loader():
    expected = Truth(0.7).sample(30, seed=5)
    for dataset in (
        load("truth", noise=0.7, n=30, seed=5),
        load({"name": "truth", "noise": 0.7, "n": 30, "seed": 5}),
        load({"name": "truth", "noise": 0.2, "n": 30}, noise=0.7, seed=5),
    ):
        assert np.array_equal(dataset.images, expected.images)


def test_names_go_before_paths(tmp_path, monkeypatch):
    np.savez(tmp_path / "mine.npz", x=np.ones((3, 4, 4), np.uint8))
    (tmp_path / "digits").mkdir()
    monkeypatch.chdir(tmp_path)
    assert load("digits").name == "digits"
    assert load("mine.npz").shape == (1, 4, 4)
    assert load(tmp_path / "mine.npz").name == "mine"


def test_home_is_expanded(tmp_path, monkeypatch):
    np.save(tmp_path / "a.npy", np.ones((3, 4, 4), np.uint8))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(load("~/a.npy")) == 3


def test_a_new_format_is_one_entry(tmp_path, monkeypatch):
    def load_odd(path, *, levels=256):
        return infoplane.data.Dataset(path.name, np.zeros((2, 1, 2, 2), np.uint8), levels=levels)

    monkeypatch.setitem(infoplane.data.BY_SUFFIX, ".tar.gz", load_odd)
    monkeypatch.setitem(infoplane.data.NAMED.own, "odd", lambda: load_odd(tmp_path))
    (tmp_path / "a.TAR.gz").write_bytes(b"")
    assert load(tmp_path / "a.TAR.gz", levels=7).levels == 7
    assert "odd" in available()
    assert len(load("odd")) == 2


def test_unknown_names(refuses):
    with refuses("unknown data set", "'digit'", "digits, truth", "did you mean 'digits'"):
        load("digit")
    with refuses("unknown data set", "'qqqq'", "digits, truth", ".npz or .npy"):
        load("qqqq")
    for odd in ("", "a\0b", "x" * 5000):
        with refuses("unknown data set", "digits, truth"):
            load(odd)


def test_missing_paths(tmp_path, refuses):
    for missing in (tmp_path / "absent", "absent.npz", "some/folder", "~nobody-of-this-name/x"):
        with refuses("no such file or folder", str(missing), ".npz or .npy", "digits, truth"):
            load(missing)


def test_files_of_unknown_format(tmp_path, refuses):
    (tmp_path / "a.csv").write_text("1,2")
    with refuses("cannot tell how to read", "a.csv", ".npz or .npy"):
        load(tmp_path / "a.csv")


def test_options_that_are_none(tmp_path, refuses):
    with refuses("unknown option of data set 'truth'", "'nois'", "noise, n, seed", "did you mean 'noise'"):
        load("truth", nois=0.7)
    with refuses("unknown option of data set 'digits'", "'n'", "legal: subset, subset_seed, downsample"):
        load("digits", n=3)
    np.save(tmp_path / "a.npy", np.ones((3, 4, 4), np.uint8))
    with refuses("unknown option of file", "'level'", "levels"):
        load(tmp_path / "a.npy", level=3)


def test_specs_that_are_none(refuses):
    with refuses("cannot tell which data set", "int", "name of a data set or a path"):
        load(3)  # type: ignore[arg-type]
    with refuses("a data set needs its name", "{noise, n}", "{name: digits"):
        load({"noise": 0.7, "n": 3})


@pytest.mark.parametrize(
    ("option", "legal"),
    [({"noise": 0}, "0 < noise <= 1"), ({"n": 1}, "2 or more"), ({"n": 2.5}, "whole"), ({"seed": -1}, "0 or more")],
)
def test_options_out_of_range(refuses, option, legal):
    with refuses(repr(next(iter(option.values()))), legal):
        load("truth", **option)
