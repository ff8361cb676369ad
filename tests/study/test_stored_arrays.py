"""Arrays in files: the same bytes as safetensors' own, and no copy of what is read."""

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from infoplane.engine import arrays
from infoplane.engine.arrays import TYPES, ArrayFile, ArrayWriter, write_arrays

RNG = np.random.default_rng(0)
EVERY = {f"{word} {dtype}": RNG.integers(0, 2, (3, 5)).astype(dtype) for dtype in TYPES.values() for word in "ba"}
EVERY |= {"none": np.zeros((0, 4), np.float32), "one": np.array(2.5), 'ü:"\n': np.arange(7, dtype=np.int64)}


def outlines(content):
    return {name: (array.dtype, array.shape) for name, array in content.items()}


def test_the_file_is_safetensors_own_byte_for_byte(tmp_path):
    save_file(EVERY, tmp_path / "theirs")
    write_arrays(tmp_path / "whole", EVERY)
    with ArrayWriter(tmp_path / "rows", outlines(EVERY)) as file:
        for part in (slice(0, 1), slice(1, 1), slice(1, None)):  # all arrays in turn, from one row to the next
            for name, array in EVERY.items():
                if array.ndim:
                    file.append(name, array[part])
        file.append("one", EVERY["one"])
    theirs = (tmp_path / "theirs").read_bytes()
    assert (tmp_path / "whole").read_bytes() == theirs
    assert (tmp_path / "rows").read_bytes() == theirs


@pytest.mark.parametrize("least", [0, 2**20])
def test_what_is_read_is_what_was_written(tmp_path, monkeypatch, least):
    monkeypatch.setattr(arrays, "MAPPED", least or 1)
    write_arrays(tmp_path / "a", EVERY)
    file, theirs = ArrayFile(tmp_path / "a"), load_file(tmp_path / "a")
    assert set(file.names()) == set(EVERY) == set(theirs)
    for name, array in EVERY.items():
        found = file.read(name)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)
        assert np.array_equal(found, array)
        assert np.array_equal(found, theirs[name])
    # What is read may be written to, and is nobody else's.
    file.read("a <f4")[:] = 7
    assert np.array_equal(file.read("a <f4"), EVERY["a <f4"])
    assert np.array_equal(load_file(tmp_path / "a")["a <f4"], EVERY["a <f4"])


def test_rows_that_do_not_fit_and_rows_that_are_missing(tmp_path):
    with (
        pytest.raises(ValueError, match=r"rows of shape \(2, 3\) do not fit"),
        ArrayWriter(tmp_path / "a", {"x": (np.dtype("f4"), (3, 2))}) as file,
    ):
        file.append("x", np.zeros((2, 3)))
    with ArrayWriter(tmp_path / "a", {"x": (np.dtype("f4"), (3, 2))}) as file:
        file.append("x", np.zeros((2, 2)))
        with pytest.raises(ValueError, match=r"rows of shape \(2, 2\) do not fit"):
            file.append("x", np.zeros((2, 2)))
        file.append("x", np.zeros((1, 2)))
    with (
        pytest.raises(ValueError, match="too few rows of x"),
        ArrayWriter(tmp_path / "a", {"x": (np.dtype("f4"), (3, 2))}) as file,
    ):
        file.append("x", np.zeros((2, 2)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        (2**62).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"[]",
        (90).to_bytes(8, "little") + b'{"x":{"dtype":"F32","shape":[1000],"data_offsets":[0,4000]}}'.ljust(90),
        (90).to_bytes(8, "little") + b'{"x":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}'.ljust(90) + b"1234",
        (90).to_bytes(8, "little") + b'{"x":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'.ljust(90) + b"1234",
    ],
)
def test_what_is_no_such_file_says_so(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        ArrayFile(tmp_path / "a")
