"""CIFAR-10's batches, both versions, and pickles that would do more than hold data."""

import pickle
import struct

import numpy as np
import pytest

import official_files
from infoplane.data import load
from infoplane.data.pickles import read_pickle
from infoplane.errors import UsageError


@pytest.mark.parametrize("python", [False, True])
def test_batches_in_order(tmp_path, python):
    pixels, classes = official_files.write_cifar(tmp_path / "any", python=python)
    dataset = load(tmp_path / "any")
    assert np.array_equal(dataset.images, pixels)
    assert dataset.labels is not None
    assert np.array_equal(dataset.labels, classes)
    assert dataset.name == "cifar10 (20 + 4 images)"  # a subset is never called the whole
    assert (dataset.classes, dataset.class_names) == (10, official_files.CIFAR_CLASSES)
    assert dataset.pools is not None
    assert dataset.pools["evaluation"].tolist() == [20, 21, 22, 23]
    assert dataset.pools["encoding"].tolist() == dataset.pools["decoding"].tolist() == [*range(20)]


@pytest.mark.parametrize(("python", "archive"), [(False, "cifar-10-binary.tar.gz"), (True, "cifar-10-python.tar.gz")])
def test_the_archive_as_it_is_distributed(tmp_path, python, archive):
    inner = "cifar-10-batches-py" if python else "cifar-10-batches-bin"
    pixels, _ = official_files.write_cifar(tmp_path / inner, python=python)
    assert np.array_equal(load(tmp_path).images, pixels)  # unpacked into the folder
    members = {f"{inner}/{file.name}": file.read_bytes() for file in (tmp_path / inner).iterdir()}
    packed = tmp_path / "packed"
    packed.mkdir()
    official_files.tar(packed / archive, {**members, f"{inner}/readme.html": b"read me"})
    for path in (packed, packed / archive):
        assert np.array_equal(load(path).images, pixels)
    (packed / archive).rename(packed / "renamed.tgz")
    assert np.array_equal(load(packed / "renamed.tgz").images, pixels)


def test_binary_goes_before_python(tmp_path):
    pixels, _ = official_files.write_cifar(tmp_path, python=False)
    (tmp_path / "data_batch_1").write_bytes(b"no pickle")
    assert np.array_equal(load(tmp_path).images, pixels)


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (b"", ("0 bytes", "3,073")),
        (bytes(3072), ("3,072 bytes", "0 records", "cut short")),
        (bytes(3073 * 2 - 1), ("1 records and 3,072 bytes",)),
        (b"\x0a" + bytes(3072), ("labels 10 to 10", "0 to 9")),
    ],
)
def test_binary_one_line_each(tmp_path, refuses, raw, says):
    official_files.write_cifar(tmp_path, python=False)
    (tmp_path / "data_batch_3.bin").write_bytes(raw)
    with refuses(str(tmp_path / "data_batch_3.bin"), *says):
        load(tmp_path)


def test_missing_parts(tmp_path, refuses):
    official_files.write_cifar(tmp_path, python=False)
    (tmp_path / "test_batch.bin").unlink()
    with refuses("no test batch", str(tmp_path), "data_batch_1"):
        load(tmp_path)


PIXELS, CLASSES = official_files.images(3, 3, 32, 32), official_files.labels(3)
GOOD = official_files.cifar_python(PIXELS, CLASSES)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[:-1], ("damaged",)),
        (GOOD[:2000], ("damaged",)),
        (b"", ("damaged",)),
        (b"no pickle", ("received",)),
        (GOOD.replace(b"U\x02u1", b"U\x02f8"), ("ValueError", "f8", "not of bytes")),
        (GOOD.replace(b"U\x02u1", b"U\x02O8"), ("O8", "not of bytes")),
        (GOOD.replace(b"M\x00\x0c\x86", b"M\x00\x0d\x86"), ("ValueError", "reshape")),
        (GOOD.replace(b"M\x03\x00M\x00\x0c\x86", b"J\xff\xff\xff\x7fM\x00\x0c\x86"), ("ValueError",)),
        (GOOD.replace(b"U\x04data", b"U\x04dada"), ("none under 'data'",)),
        (GOOD.replace(b"U\x06labels", b"U\x06lapels"), ("no list of class numbers",)),
        (official_files.cifar_python(PIXELS, np.array([0, 1])), ("2 labels", "3, one per image")),
        (official_files.cifar_python(PIXELS, np.array([0, 1, 11])), ("labels 0 to 11", "0 to 9")),
        (official_files.cifar_python(PIXELS[:, :2], CLASSES), ("reshape",)),
        (pickle.dumps({"data": PIXELS.reshape(3, -1).astype(float), "labels": [0, 1, 2]}, 2), ("not of bytes",)),
        (pickle.dumps([1, 2]), ("none under 'data'",)),
        (pickle.dumps({"data": PIXELS[:, 0, :2], "labels": [0, 1, 2]}, 2), ("shape (3, 2, 32)",)),
        (pickle.dumps({"data": PIXELS.reshape(3, -1), "labels": [0, 1, "cat"]}, 2), ("no list of class numbers",)),
        (pickle.dumps({"data": PIXELS.reshape(3, -1), "labels": [0, 1, True]}, 2), ("no list of class numbers",)),
        (pickle.dumps({"data": 1.5, "labels": []}, 2), ("instruction BINFLOAT", "nothing in it was run")),
        (b"\x80\x02}r\xff\xff\xff\x7f.", ("2147483647 memory slots", "nothing in it was run")),
    ],
)
def test_python_one_line_each(tmp_path, refuses, content, says):
    official_files.write_cifar(tmp_path, python=True)
    (tmp_path / "data_batch_2").write_bytes(content)
    with refuses(str(tmp_path / "data_batch_2"), *says):
        load(tmp_path)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_carries_code_runs_nothing(tmp_path, refuses, protocol):
    trace = tmp_path / "it-ran"
    folder = tmp_path / "set"
    official_files.write_cifar(folder, python=True)
    attack = official_files.cifar_with_code(trace, protocol)
    (folder / "data_batch_1").write_bytes(attack)
    with refuses(str(folder / "data_batch_1"), "nothing in it was run"):
        load(folder)
    assert not trace.exists()
    pickle.loads(attack)["extra"].close()  # the file is a real attack: loaded by pickle itself it does run
    assert trace.exists()


def call(module: str, name: str, *arguments: str) -> bytes:
    """A pickle of protocol 2 that calls something with strings, whatever else it holds."""
    given = b"(" + b"".join(b"X" + struct.pack("<I", len(text)) + text.encode() for text in arguments) + b"t"
    return b"\x80\x02" + f"c{module}\n{name}\n".encode() + given + b"R."


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (call("os", "system", "true"), "os.system"),
        (call("builtins", "eval", "1"), "builtins.eval"),
        (call("numpy", "load", "x.npy"), "numpy.load"),
        (call("numpy.core.multiarray", "scalar", "x"), "numpy.core.multiarray.scalar"),
        (call("numpy", "dtype.__class__", "x"), "numpy.dtype.__class__"),
        (call("_codecs", "decode", "x"), "_codecs.decode"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.", "os.system"),  # by STACK_GLOBAL
        (b"(S'true'\nios\nsystem\n.", "instruction INST"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "instruction NEWOBJ"),
        (b"\x80\x02\x82\x01.", "instruction EXT1"),
        (b"Pname\n.", "instruction PERSID"),
        (b"\x80\x02cnumpy\nndarray\nN}X\x01\x00\x00\x00aK\x01s\x86b.", "a change of _Name.a"),  # sets an attribute
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.", "text in 'rot13'"),
    ],
)
def test_what_else_a_pickle_may_not_do(refuses, content, says):
    with refuses("cannot use batch", says):
        read_pickle("batch", content)


#: a tuple of two, both of which are a tuple of two, …: as text, or hashed, it takes 2^24 steps
NESTED = b")" + b"q\x00h\x00\x86" * 24


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\x80\x02cnumpy\ndtype\n" + NESTED + b"\x85R.", "an array of type tuple"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00a" + NESTED + b"\x86R.", "text in tuple"),
        (b"\x80\x02}" + NESTED + b"K\x01s.", "a tuple as the key"),
        (b"\x80\x02}(K\x01K\x01" + NESTED + b"K\x01u.", "a tuple as the key"),
        (b"(" + NESTED + b"K\x01d.", "a tuple as the key"),
        (b"\x80\x02cos\n" + b"x" * 100_000 + b"\n.", "os.xxx"),
        (b"\x80\x02cnumpy\ndtype\nX\xa0\x86\x01\x00" + b"x" * 100_000 + b"\x85R.", "an array of type 'xxx"),
    ],
)
def test_a_pickle_does_not_make_a_message_or_a_mapping_endless(content, says):
    with pytest.raises(UsageError, match=says) as caught:
        read_pickle("batch", content)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_as_later_versions_write_them(protocol):
    for array in (official_files.images(2, 5), np.asfortranarray(official_files.images(3, 4))):
        found = read_pickle("batch", pickle.dumps({"data": array, "labels": [1, 2]}, protocol))
        assert np.array_equal(found["data"], array)
        assert found["labels"] == [1, 2]


def test_python_2s_file_is_what_pickle_itself_reads():
    """The hand-written file is a true one: Python's own unpickler and numpy read the same from it."""
    expected = pickle.loads(GOOD, encoding="bytes")
    found = read_pickle("batch", GOOD)
    assert list(found) == list(expected)
    assert np.array_equal(found[b"data"], expected[b"data"])
    assert found[b"data"].dtype == np.uint8
    assert found[b"labels"] == expected[b"labels"]
