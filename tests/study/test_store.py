"""A cell's folder is there whole or not at all, and damage to it does not pass for a result."""

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from infoplane.engine.cell import Cell
from infoplane.engine.store import Result, Store
from infoplane.errors import CellError


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path / "cells")


def a_cell(name: str) -> Cell:
    return Cell("cell", {}, {}, name)


def a_result() -> Result:
    weights = {"net": {"b": torch.arange(6.0).view(2, 3), "a": torch.ones(2, dtype=torch.int64)}}
    arrays = {"x": np.arange(12, dtype=np.uint8).reshape(3, 4)[:, ::2], "n": np.array([1.5, np.pi])}
    return Result({"b": 1, "a": [None, "ü", 0.1]}, arrays, weights)


def test_what_is_saved_is_loaded(store):
    store.save(a_cell("cell-1"), a_result())
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
    store.save(a_cell("cell"), Result({"a": 1}))
    assert store.load("cell").names() == []
    assert sorted(path.name for path in (store.folder / "cell").iterdir()) == [
        "cell.json",
        "checksums.json",
        "result.json",
    ]


def test_each_file_is_checked_once_before_its_first_use(store, monkeypatch):
    store.save(a_cell("cell"), a_result())
    hashed: list[str] = []

    def counted(path) -> str:
        hashed.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr("infoplane.engine.store.checksum", counted)
    loaded = store.load("cell")
    assert hashed == ["cell.json"]
    for _ in range(2):
        loaded.check()
        assert loaded.cell == a_cell("cell")
        assert loaded.array("n")[0] == 1.5
        assert loaded.values["b"] == 1
        assert len(loaded.weights("net")) == 2
    assert sorted(hashed) == ["arrays.safetensors", "cell.json", "net.weights.safetensors", "result.json"]
    (store.folder / "cell" / "result.json").unlink()
    with pytest.raises(CellError, match="damaged"):
        loaded.check()


def test_nothing_is_pickled(store):
    store.save(a_cell("cell"), a_result())
    names = {path.name for path in (store.folder / "cell").iterdir()}
    assert names == {"cell.json", "result.json", "arrays.safetensors", "net.weights.safetensors", "checksums.json"}


def test_the_same_result_leaves_the_same_bytes(store):
    for cell in ("one", "two"):
        store.save(a_cell(cell), a_result())
    for name in ("result.json", "arrays.safetensors", "net.weights.safetensors"):  # the others hold the cell's name
        assert (store.folder / "one" / name).read_bytes() == (store.folder / "two" / name).read_bytes()


@pytest.mark.parametrize(
    "name", ["result.json", "cell.json", "arrays.safetensors", "net.weights.safetensors", "checksums.json"]
)
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone"])
def test_damage_is_one_line_that_names_the_file(store, name, damage):
    store.save(a_cell("cell"), a_result())
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
    store.save(a_cell("cell"), Result(arrays={"x": np.zeros(40, np.uint8)}))
    path = store.folder / "cell" / "arrays.safetensors"
    content = path.read_bytes()
    for index in range(0, len(content), 7):
        path.write_bytes(content[:index] + bytes([content[index] ^ 0x80]) + content[index + 1 :])
        with pytest.raises(CellError, match="damaged"):
            store.load("cell").array("x")


def test_a_result_that_cannot_be_written_leaves_nothing(store):
    store.save(a_cell("cell"), Result({"a": 1}))
    for broken, error in (
        (Result({"a": object()}), TypeError),
        (Result(arrays={"a": np.ones(2)}, weights={"net": {"a": "no tensor"}}), AttributeError),  # pyright: ignore
    ):
        for cell in ("other", "cell"):
            with pytest.raises(error):
                store.save(a_cell(cell), broken)
    assert [path.name for path in store.folder.iterdir()] == ["cell"]
    assert store.load("cell").values == {"a": 1}


def test_a_cell_cut_off_while_it_was_written_is_not_there(store):
    store.save(a_cell("cell"), a_result())
    (store.folder / "cell").rename(store.folder / ".cell-abc")
    (store.folder / ".cell-abc" / "checksums.json").unlink()
    assert not store.has("cell")


def test_the_first_writer_wins_and_equal_content_is_success(store):
    assert store.save(a_cell("cell"), a_result())
    before = {path.name: (path.stat().st_ino, path.read_bytes()) for path in (store.folder / "cell").iterdir()}
    assert store.save(a_cell("cell"), a_result())
    assert not store.save(a_cell("cell"), Result({"new": True}))
    after = {path.name: (path.stat().st_ino, path.read_bytes()) for path in (store.folder / "cell").iterdir()}
    assert after == before  # the very same files
    assert [path.name for path in store.folder.iterdir()] == ["cell"]


def test_what_is_no_finished_cell_does_not_stand_in_the_way(store):
    (store.folder / "cell" / "deep").mkdir(parents=True)
    (store.folder / "cell" / "arrays.safetensors").write_bytes(b"x")
    assert store.save(a_cell("cell"), Result({"a": 1}))
    assert store.load("cell").values == {"a": 1}
    assert not (store.folder / "cell" / "deep").exists()
    assert [path.name for path in store.folder.iterdir()] == ["cell"]


def saved_by_many(store: Store, results: list[Result], readers: int, rounds: int) -> tuple[list[bool], list[Any]]:
    """Saves one cell from many threads while others read it; returns what savers were told and what readers saw."""
    told: list[bool] = []
    seen: list[Any] = []
    gate, done = threading.Barrier(len(results) + readers), threading.Event()

    def write(result: Result) -> None:
        gate.wait()
        told.extend(store.save(a_cell("cell"), result) for _ in range(rounds))

    def read() -> None:
        gate.wait()
        for _ in iter(done.is_set, True):
            if store.has("cell"):
                loaded = store.load("cell")
                loaded.check()
                seen.append((loaded.values["writer"], int(loaded.array("x")[0]), int(loaded.weights("net")["a"][0])))

    with ThreadPoolExecutor(len(results) + readers) as pool:
        reading = [pool.submit(read) for _ in range(readers)]
        try:
            for writing in [pool.submit(write, result) for result in results]:
                writing.result()
        finally:
            done.set()
        for each in reading:
            each.result()
    return told, seen


def by(writer: int) -> Result:
    weights = {"net": {"a": torch.full((50,), writer)}}
    return Result({"writer": writer}, {"x": np.full(1000, writer)}, weights)


def test_many_writers_of_equal_content_all_succeed(store):
    told, seen = saved_by_many(store, [by(7) for _ in range(6)], readers=4, rounds=10)
    assert told == [True] * 60
    assert set(seen) == {(7, 7, 7)}
    assert [path.name for path in store.folder.iterdir()] == ["cell"]


def test_of_many_writers_of_different_content_one_wins_for_good(store):
    told, seen = saved_by_many(store, [by(writer) for writer in range(6)], readers=4, rounds=10)
    assert sum(told) == 10  # the winner's, each time it saves
    assert len(set(seen)) == 1
    assert len(set(seen.pop())) == 1


def test_a_cell_that_was_finished_meanwhile_is_not_moved(store, monkeypatch):
    """A writer that found something in the way looks again before it takes it away: another may have been faster."""
    store.save(a_cell("cell"), a_result())
    moved = []
    monkeypatch.setattr(os, "rename", lambda *paths: moved.append(paths))
    store._clear("cell")
    assert moved == []
    assert store.has("cell")


def test_many_writers_replace_what_is_no_cell_once(store):
    for _ in range(10):
        (store.folder / "cell").mkdir(parents=True)
        (store.folder / "cell" / "arrays.safetensors").write_bytes(b"x")
        told, _ = saved_by_many(store, [by(writer) for writer in range(4)], readers=0, rounds=1)
        assert any(told)
        assert store.load("cell").values["writer"] in range(4)
        store.remove("cell")


WRITER = """
import sys
from pathlib import Path
import numpy as np
from infoplane.engine.cell import Cell
from infoplane.engine.store import Result, Store
store = Store(Path(sys.argv[1]))
sys.stdin.readline()
for round in range(25):
    assert store.save(Cell("cell", {}, {}, f"cell{round}"), Result({"round": round}, {"x": np.arange(100)}))
    store.load(f"cell{round}").check()
"""


def test_many_processes_save_the_same_cells(store):
    command = [sys.executable, "-c", WRITER, str(store.folder)]
    writers = [subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for writer in writers:  # all at once, as far as that goes
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    assert [writer.communicate()[1] for writer in writers] == [""] * 3
    assert store.tidy() == []
    assert sorted(path.name for path in store.folder.iterdir()) == sorted(f"cell{round}" for round in range(25))


@pytest.mark.parametrize(("mask", "folder", "file"), [(0o022, 0o755, 0o644), (0o007, 0o770, 0o660)])
def test_cells_have_the_rights_that_the_umask_leaves(store, mask, folder, file):
    before = os.umask(mask)
    try:
        store.save(a_cell("cell"), a_result())
        store.save_failure("other", "broken", "Traceback …")
    finally:
        os.umask(before)
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in store.folder.rglob("*")}
    assert {path: folder if path.is_dir() else file for path in found} == found


def test_a_failure_is_kept_until_the_cell_succeeds(store):
    assert store.failure("cell") is None
    store.save_failure("cell", "it broke", "Traceback …\n  line 2\n")
    assert (store.folder / "cell.failed.txt").is_file()
    assert store.failure("cell") == ("it broke", "Traceback …\n  line 2\n")
    assert not store.has("cell")
    store.save(a_cell("cell"), Result())
    assert store.failure("cell") is None


def test_a_finished_cell_has_not_failed(store):
    # As a run leaves it that is killed between storing a cell and removing the traceback of its earlier failure.
    store.save(a_cell("a"), Result({}))
    store.save_failure("a", "broken", "Traceback …")
    assert store.failure("a") is None


def test_checksums_are_sha256(store):
    store.save(a_cell("cell"), a_result())
    sums = json.loads((store.folder / "cell" / "checksums.json").read_text())
    for name, digest in sums.items():
        assert hashlib.sha256((store.folder / "cell" / name).read_bytes()).hexdigest() == digest


def made(kind: str, seed: int, **needs: str) -> Cell:
    return Cell.named(kind, {"seed": seed}, needs, code="c", arithmetic="torch 2")


def test_a_cell_is_bound_to_its_name(store):
    one, two = made("density", 1), made("density", 2)
    for cell in (one, two):
        store.save(cell, by(cell.params["seed"]))
        assert store.load(cell.name).cell == cell
    for name, other in ((one.name, "x"), (two.name, one.name), ("x", two.name)):
        (store.folder / name).rename(store.folder / other)
    for cell in (one, two):
        with pytest.raises(CellError, match="another part"):
            store.load(cell.name)
    assert store.tidy() == sorted([one.name, two.name])
    assert not store.has(one.name)


@pytest.mark.parametrize("file", ["result.json", "arrays.safetensors", "cell.json", "checksums.json"])
def test_no_single_file_passes_for_another_cells(store, file):
    one, two = made("density", 1), made("density", 2)
    for cell in (one, two):
        store.save(cell, by(cell.params["seed"]))
    shutil.copy(store.folder / two.name / file, store.folder / one.name / file)
    with pytest.raises(CellError, match="damaged"):
        store.load(one.name).check()


@pytest.mark.parametrize("change", [{"kind": "mse"}, {"params": {"seed": 3}}, {"needs": {"data": "data-1"}}])
def test_a_cell_whose_settings_were_changed_is_not_that_cell(store, change):
    cell = made("density", 1)
    store.save(replace(cell, **change), Result())
    with pytest.raises(CellError, match="damaged"):
        store.load(cell.name)


def test_what_is_kept_is_in_a_cells_name_and_not_in_those_that_need_it():
    def captured(layers: list[str], seed: int = 0) -> Cell:
        params = {"layers": layers, "seed": seed}
        return Cell.named("capture", params, {}, keeps=("layers",), code="c", arithmetic="a")

    one, two, other = captured(["a"]), captured(["a", "b"]), captured(["a"], 1)
    assert one.name != two.name
    assert all(cell.sound for cell in (one, two, other))
    names = [made("density", 1, capture=cell.name).name for cell in (one, two, other)]
    assert names[0] == names[1] != names[2]
