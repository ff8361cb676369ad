"""Names, folders, aliases, roots: what is found where, and what is said where nothing is."""

from pathlib import Path

import numpy as np
import pytest

import official_files
from infoplane.data import load
from infoplane.data.catalogue import ENTRIES
from infoplane.errors import UsageError


@pytest.fixture
def places(tmp_path, monkeypatch) -> tuple[Path, Path]:
    """The folder of INFOPLANE_DATA and that of the user's cache."""
    named, cache = tmp_path / "named", tmp_path / "cache"
    named.mkdir()
    monkeypatch.setenv("INFOPLANE_DATA", str(named))
    monkeypatch.setattr("infoplane.data.catalogue.cache", lambda: cache)
    return named, cache


@pytest.mark.parametrize("folder", ["mnist", "MNIST", "MNIST/raw", "mnist/raw"])
def test_the_folders_of_a_name(places, folder):
    official_files.write_idx(places[0] / folder)
    for dataset in (load("mnist"), load(places[0] / folder)):
        assert dataset.name == "mnist (30 + 10 images)"
        assert dataset.class_names == tuple("0123456789")


def test_a_folder_beside_others_in_one_called_mnist_is_not_mnist(places):
    official_files.write_idx(places[0] / "mnist" / "letters")
    assert load(places[0] / "mnist" / "letters").name == "letters"


def test_what_is_downloaded_is_what_is_looked_for(places):
    """By their names alone: the files of every address are those that the data set's format finds."""
    for entry in ENTRIES:
        folder = places[1] / entry.name
        folder.mkdir(parents=True)
        for remote in entry.remotes:
            (folder / remote.name).write_bytes(b"")
        assert {path.name for path in entry.format.find(folder)} == {remote.name for remote in entry.remotes}
        assert entry.remotes


def test_the_cache_comes_second(places):
    named, cache = places
    official_files.write_idx(cache / "fashion_mnist", train=20)
    assert load("fashion_mnist").name == "fashion_mnist (20 + 10 images)"
    official_files.write_idx(named / "fashion_mnist", train=25)
    assert load("fashion_mnist").name == "fashion_mnist (25 + 10 images)"


def test_without_the_variable_only_the_cache(places, monkeypatch, refuses):
    named, cache = places
    official_files.write_idx(named / "mnist")
    monkeypatch.delenv("INFOPLANE_DATA")
    with refuses(
        "no files of data set 'mnist'", str(cache / "mnist"), "INFOPLANE_DATA set", "infoplane data --download mn"
    ):
        load("mnist")
    official_files.write_idx(cache / "mnist")
    assert len(load("mnist")) == 40


def test_missing_files(places, refuses):
    named, cache = places
    for name in ("mnist", "svhn", "affnist", "cinic10", "szt", "cifar10"):
        words = str(named / name), str(cache / name), f"infoplane data --download {name}"
        with refuses(f"no files of data set '{name}'", *words):
            load(name)
    with refuses("no files of data set 'cifar10'"):
        load("cifar10_exact_subset")
    (named / "mnist").mkdir()
    (named / "mnist" / "notes.txt").write_text("nothing yet")
    with refuses("no files of data set 'mnist'"):
        load("mnist")
    official_files.write_idx(named / "svhn")
    with refuses("no files of data set 'svhn'"):  # but of another
        load("svhn")


def test_what_is_here_in_the_same_layout_is_named(places, refuses):
    named, cache = places
    official_files.write_parted(named / "my_photos", official_files.parted())
    official_files.write_idx(cache / "fashion-mnist")
    official_files.write_idx(named / "digits_of_mine")
    (named / "notes").mkdir()
    with refuses(
        "no files of data set 'cinic10'", "take my_photos, which is here in the same layout", "data.name=my_photos"
    ):
        load("cinic10")
    with refuses("no files of data set 'mnist'", "take digits_of_mine or fashion_mnist, which is here"):
        load("mnist")
    for name in ("digits_of_mine", "fashion_mnist", "my_photos"):
        assert len(load(name)) > 1
    with pytest.raises(UsageError) as caught:
        load("svhn")
    assert "the same layout" not in str(caught.value)


def test_a_subset_by_its_own_name_and_in_place_of_the_whole(places):
    named, cache = places
    official_files.write_cifar(named / "cifar10_exact_subset", python=False, per_batch=2)
    assert load("cifar10").name == load("cifar10_exact_subset").name == "cifar10 (10 + 2 images)"
    official_files.write_cifar(cache / "cifar10", python=False, per_batch=3)
    assert load("cifar10").name == "cifar10 (15 + 3 images)"
    assert load("cifar10_exact_subset").name == "cifar10 (10 + 2 images)"


def test_any_folder_of_official_files_by_its_name(places, monkeypatch, refuses):
    named, _ = places
    official_files.write_parted(named / "zoo", official_files.parted())
    assert load("zoo").name == "zoo"
    (named / "plain").mkdir()
    with refuses("unknown data set", "'plain'"):
        load("plain")
    monkeypatch.setenv("INFOPLANE_DATA", "")
    with refuses("unknown data set", "'zoo'"):
        load("zoo")


def test_the_layout_of_cinic10_is_not_cinic10(places, refuses):
    named, _ = places
    official_files.write_parted(named / "layout", official_files.parted())
    with refuses("no files of data set 'cinic10'"):
        load("cinic10")
    official_files.write_parted(named / "cinic10", official_files.parted())
    assert load("cinic10").name == "cinic10 (6 + 6 + 6 images)"


def test_the_name_of_the_whole(places, monkeypatch):
    """Only what has the official counts and shape has the official name."""
    import dataclasses

    from infoplane.data import catalogue

    official_files.write_idx(places[0] / "mnist")
    counted = dataclasses.replace(catalogue.BY_NAME["mnist"], counts={"train": 30, "test": 10})
    entries = [counted, dataclasses.replace(counted, shape=(1, 4, 6))]
    for entry, name in zip(entries, ("mnist (30 + 10 images)", "mnist")):
        monkeypatch.setattr(catalogue, "ENTRIES", (entry,))
        monkeypatch.setitem(catalogue.BY_NAME, "mnist", entry)
        assert load("mnist").name == name


def test_options_of_official_sets(places, refuses):
    official_files.write_idx(places[0] / "mnist")
    small = load("mnist", subset=20, downsample=2)
    assert small.name == "mnist (30 + 10 images; 20 of 40; downsampled 2×)"
    assert small.shape == (1, 2, 3)
    assert small.pools is not None
    assert [len(small.pools[part]) for part in ("encoding", "decoding", "evaluation")] == [15, 15, 5]
    with refuses("unknown option of IDX files", "'class'", "classes, class_names, subset", "did you mean 'classes'"):
        load("mnist", **{"class": 3})


def test_class_names_of_folders(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        for k in range(2):
            (tmp_path / name / f"{k}.png").write_bytes(official_files.png(np.full((4, 4), 9, np.uint8)))
    assert load(tmp_path).class_names == ("a", "b")
