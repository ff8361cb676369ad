"""A cell's folder is there whole or not at all, and damage to it does not pass for a result."""

import hashlib
import json

import numpy as np
import pytest
import torch

from infoplane.errors import CellError
from infoplane.study.store import Result, Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cells")


def a_result() -> Result:
    weights = {"net": {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(2, dtype=torch.int64)}}
    arrays = {"x": np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2], "n": np.array([1.5, np.pi])}
    return Result({"b": 1, "a": [None, "ü", 0.1]}, arrays, weights)


def test_what_is_saved_is_loaded(store):
    store.save("cell-1", a_result())
    assert store.has("cell-1")
    assert not store.has("cell-2")
    loaded, result = store.load("cell-1"), a_result()
    assert loaded.values == result.values
    assert sorted(loaded.names()) == ["n", "x"]
    for name, array in result.arrays.items():
        assert loaded.array(name).dtype == array.dtype
        assert np.array_equal(loaded.array(name), array)
    weights = loaded.weights("net")
    assert {name: tensor.dtype for name, tensor in weights.items()} == {"a": torch.int64, "b": torch.float32}
    assert torch.equal(weights["b"], torch.arange(6.0).view(2, 3))


def test_a_result_may_hold_values_alone(store):
    store.save("cell", Result({"a": 1}))
    assert store.load("cell").names() == []
    assert sorted(path.name for path in (store.folder / "cell").iterdir()) == ["checksums.json", "result.json"]


def test_nothing_is_pickled(store):
    store.save("cell", a_result())
    names = {path.name for path in (store.folder / "cell").iterdir()}
    assert names == {"result.json", "arrays.safetensors", "net.weights.safetensors", "checksums.json"}


def test_the_same_result_leaves_the_same_bytes(store):
    for cell in ("one", "two"):
        store.save(cell, a_result())
    for path in (store.folder / "one").iterdir():
        assert path.read_bytes() == (store.folder / "two" / path.name).read_bytes()


@pytest.mark.parametrize("name", ["result.json", "arrays.safetensors", "net.weights.safetensors", "checksums.json"])
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_one_line_that_names_the_file(store, name, damage):
    store.save("cell", a_result())
    path = store.folder / "cell" / name
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.unlink()

    def read_all():
        loaded = store.load("cell")
        _ = loaded.values
        for array in loaded.names():
            loaded.array(array)
        loaded.weights("net")

    with pytest.raises(CellError) as caught:
        read_all()
    message = str(caught.value)
    assert "damaged" in message
    assert "run the same command again" in message
    assert "\n" not in message
    # A damaged list of checksums accuses the files that it lists.
    assert (str(path) if name != "checksums.json" else str(path.parent)) in message


def test_every_byte_of_the_arrays_is_covered(store):
    store.save("cell", Result(arrays={"x": np.zeros(40, np.uint8)}))
    path = store.folder / "cell" / "arrays.safetensors"
    content = path.read_bytes()
    for index in range(0, len(content), 7):
        path.write_bytes(content[:index] + bytes([content[index] ^ 0x80]) + content[index + 1 :])
        with pytest.raises(CellError, match="damaged"):
            store.load("cell").array("x")


def test_a_result_that_cannot_be_written_leaves_nothing(store):
    store.save("cell", Result({"a": 1}))
    for broken, error in (
        (Result({"a": object()}), TypeError),
        (Result(arrays={"a": np.ones(2)}, weights={"net": {"a": "no tensor"}}), AttributeError),  # pyright: ignore
    ):
        for cell in ("other", "cell"):
            with pytest.raises(error):
                store.save(cell, broken)
    assert [path.name for path in store.folder.iterdir()] == ["cell"]
    assert store.load("cell").values == {"a": 1}


def test_a_cell_cut_off_while_it_was_written_is_not_there(store):
    store.save("cell", a_result())
    (store.folder / "cell").rename(store.folder / ".cell-abc")
    (store.folder / ".cell-abc" / "checksums.json").unlink()
    assert not store.has("cell")


def test_saving_again_replaces_the_whole_folder(store):
    store.save("cell", a_result())
    store.save("cell", Result({"new": True}))
    assert store.load("cell").values == {"new": True}
    assert not (store.folder / "cell" / "arrays.safetensors").exists()


def test_a_failure_is_kept_until_the_cell_succeeds(store):
    assert store.failure("cell") is None
    store.save_failure("cell", "it broke", "Traceback …\n  line 2\n")
    assert (store.folder / "cell.failed.txt").is_file()
    assert store.failure("cell") == ("it broke", "Traceback …\n  line 2\n")
    assert not store.has("cell")
    store.save("cell", Result())
    assert store.failure("cell") is None


def test_a_finished_cell_has_not_failed(store):
    # As a run leaves it that is killed between storing a cell and removing the traceback of its earlier failure.
    store.save("a", Result({}))
    store.save_failure("a", "broken", "Traceback …")
    assert store.failure("a") is None


def test_checksums_are_sha256(store):
    store.save("cell", a_result())
    sums = json.loads((store.folder / "cell" / "checksums.json").read_text())
    for name, digest in sums.items():
        assert hashlib.sha256((store.folder / "cell" / name).read_bytes()).hexdigest() == digest
