"""IDX files: what was written is what is read; what is wrong with one is said in one line that names it."""

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

import official_files
from infoplane.data import load
from infoplane.data.files import DEFLATE_RATIO


@pytest.mark.parametrize("packed", [True, False])
def test_parts_in_order(tmp_path, packed):
    content = official_files.write_idx(tmp_path / "digits", packed=packed)
    dataset = load(tmp_path / "digits")
    expected = np.concatenate([content["train-images-idx3-ubyte"], content["t10k-images-idx3-ubyte"]])
    assert np.array_equal(dataset.images[:, 0], expected)
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [*range(10)] * 4
    assert (dataset.name, dataset.shape, dataset.levels, dataset.classes) == ("digits", (1, 4, 6), 256, 10)
    assert dataset.pools is not None
    assert dataset.pools["encoding"].tolist() == dataset.pools["decoding"].tolist() == [*range(30)]
    assert dataset.pools["evaluation"].tolist() == [*range(30, 40)]


def test_names_that_some_unpackers_make(tmp_path):
    official_files.write_idx(tmp_path, packed=False)
    for file in list(tmp_path.iterdir()):
        file.rename(tmp_path / file.name.replace("-idx", ".idx"))
    assert len(load(tmp_path)) == 40


def test_unpacked_goes_before_packed(tmp_path):
    official_files.write_idx(tmp_path, packed=True)
    other = official_files.images(30, 4, 6, seed=9)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(official_files.idx(other))
    assert np.array_equal(load(tmp_path).images[:30, 0], other)


def test_more_classes_are_an_option(tmp_path, refuses):
    official_files.write_idx(tmp_path)
    letters = official_files.labels(30, 26)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(official_files.idx(letters)))
    with refuses("train-labels-idx1-ubyte.gz", "labels 0 to 25", "0 to 9"):
        load(tmp_path)
    assert load(tmp_path, classes=26).classes == 26


def broken(name: str, raw: bytes):
    """What replaces a file, packed like the others."""
    return lambda folder: (folder / f"{name}.gz").write_bytes(gzip.compress(raw))


IMAGES = official_files.idx(official_files.images(30, 4, 6))
LABELS = official_files.idx(official_files.labels(30))
TRAIN, TEST = "train-images-idx3-ubyte", "t10k-images-idx3-ubyte"
TRAIN_LABELS = "train-labels-idx1-ubyte"
HUGE = struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (broken(TRAIN, IMAGES[:-1]), (TRAIN, "719 bytes", "720")),
        (broken(TRAIN, IMAGES + b"\0"), (TRAIN, "more than 720 bytes")),
        (broken(TRAIN, IMAGES[:10]), (TRAIN, "10 bytes", "cut short")),
        (broken(TRAIN, b""), (TRAIN, "(nothing)")),
        (broken(TRAIN, b"\x89PNG" + IMAGES[4:]), (TRAIN, "89504e47", "00000803")),
        (broken(TRAIN, LABELS), (TRAIN, "labels", "00000803, that of images", "swapped")),
        (broken(TRAIN_LABELS, IMAGES), (TRAIN_LABELS, "images", "swapped")),
        (broken(TRAIN, official_files.idx(official_files.images(29, 4, 6))), (TRAIN_LABELS, "30 labels", "29")),
        (broken(TRAIN_LABELS, LABELS[:-1] + b"\x0a"), (TRAIN_LABELS, "labels 0 to 10", "0 to 9")),
        (broken(TEST, official_files.idx(official_files.images(10, 6, 4))), (TEST, "6×4", "4×6")),
        (broken(TRAIN, HUGE), (TRAIN, "claims 79,228,", "at most")),
        (broken(TRAIN, struct.pack(">HBBIII", 0, 8, 3, 10**6, 28, 28)), (TRAIN, "784,000,000", "cut short")),
        (broken(TRAIN, struct.pack(">HBBIII", 0, 8, 3, 0, 28, 28)), (TRAIN, "0×28×28")),
        (lambda folder: (folder / f"{TRAIN}.gz").unlink(), ("no train-images file", "t10k")),
        (lambda folder: (folder / f"{TRAIN}.gz").write_bytes(gzip.compress(IMAGES)[:-9]), (TRAIN, "damaged")),
        (lambda folder: (folder / f"{TRAIN}.gz").write_bytes(gzip.compress(IMAGES)[:40]), (TRAIN, "damaged")),
        (lambda folder: (folder / f"{TRAIN}.gz").write_bytes(b"\x1f\x8b" + bytes(50)), (TRAIN, "damaged")),
    ],
)
def test_one_line_each(tmp_path, refuses, make, says):
    folder = tmp_path / "set"
    official_files.write_idx(folder)
    make(folder)
    with refuses(str(folder), *says):
        load(folder)


def test_swapped_parts(tmp_path, refuses):
    official_files.write_idx(tmp_path)
    a, b = tmp_path / f"{TRAIN_LABELS}.gz", tmp_path / "t10k-labels-idx1-ubyte.gz"
    shutil.move(a, tmp_path / "x")
    shutil.move(b, a)
    shutil.move(tmp_path / "x", b)
    with refuses(TRAIN_LABELS, "10 labels", "30", "do not belong together"):
        load(tmp_path)


def test_a_bomb_is_not_unpacked(tmp_path, refuses):
    """200 MB of zeros behind a header that claims 720 bytes: no more than these are unpacked."""
    import tracemalloc

    official_files.write_idx(tmp_path)
    bomb = gzip.compress(IMAGES + bytes(200 << 20), 9)
    (tmp_path / f"{TRAIN}.gz").write_bytes(bomb)
    tracemalloc.start()
    with refuses(TRAIN, "more than 720 bytes"):
        load(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 << 20


def test_a_claim_is_not_allocated(tmp_path, refuses):
    """A header that claims what the file cannot hold, packed or not, is refused before anything is read for it."""
    folder = tmp_path / "raw"
    official_files.write_idx(folder, packed=False)
    head = struct.pack(">HBBIII", 0, 8, 3, 2_000_000, 28, 28)
    (folder / TRAIN).write_bytes(head + bytes(720))
    with refuses(TRAIN, "736 bytes", "1,568,000,000", "cut short"):
        load(folder)
    assert len(gzip.compress(bytes(10**6), 9)) * DEFLATE_RATIO > 10**6  # the ratio allows what gzip can do


def test_a_folder_in_place_of_a_file(tmp_path, refuses):
    official_files.write_idx(tmp_path, packed=False)
    (tmp_path / TRAIN).unlink()
    (tmp_path / TRAIN).mkdir()
    with refuses(TRAIN):
        load(Path(tmp_path))


def put(folder, prefix: str, images: np.ndarray, labels: np.ndarray, *, test: str = "test") -> None:
    """Writes the four files, packed, straight from the format's definition."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", test):
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
            (folder / f"{prefix}{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


def test_emnist_as_it_is_published(tmp_path, refuses, capsys):
    images = np.random.default_rng(0).integers(0, 256, (52, 6, 5), dtype=np.uint8)
    letters = (np.arange(52) % 26 + 1).astype(np.uint8)
    put(tmp_path / "gzip", "emnist-letters-", images, letters)
    dataset = load(tmp_path / "gzip")
    assert (dataset.name, dataset.classes) == ("emnist-letters", 26)
    assert np.array_equal(dataset.images[:52, 0], images)
    assert dataset.labels.tolist() == 2 * [(i % 26) for i in range(52)]
    said = capsys.readouterr().err
    assert "labels 1 to 26 were taken as classes 0 to 25" in said
    assert "rows and columns exchanged" in said
    put(tmp_path / "gzip", "emnist-digits-", images, letters % 10)
    with refuses("several sets of IDX files", "emnist-digits, emnist-letters", "files=emnist-digits"):
        load(tmp_path / "gzip")
    assert load(tmp_path / "gzip", files="emnist-digits").labels[:12].tolist() == [*range(1, 10), 0, 1, 2]
    with refuses("unknown set of IDX files", "did you mean 'emnist-letters'"):
        load(tmp_path / "gzip", files="emnist-letter")


def test_labels_from_one_are_shifted_only_where_they_must_be(tmp_path, refuses):
    images = np.random.default_rng(0).integers(0, 256, (52, 6, 5), dtype=np.uint8)
    letters = (np.arange(52) % 26 + 1).astype(np.uint8)
    put(tmp_path / "own", "", images, letters, test="t10k")
    shifted = load(tmp_path / "own", classes=26, quiet=True)
    assert (shifted.labels.min(), shifted.labels.max()) == (0, 25)
    assert shifted.notes == ("labels 1 to 26 were taken as classes 0 to 25",)
    kept = load(tmp_path / "own", classes=27)
    said = "26 of 27 classes occur: labels go from 1 to 26; if they count from 1, subtract 1, or there is a class 0"
    assert (kept.labels.min(), kept.labels.max()) == (1, 26)
    assert kept.notes[0].startswith(said)
    with refuses("labels 1 to 26", "labels 0 to 9", "--options classes=26"):
        load(tmp_path / "own")
    # Digits without a zero among them: nothing says that they were counted from one.
    put(tmp_path / "few", "", images, letters % 9 + 1, test="t10k")
    few = load(tmp_path / "few")
    assert few.labels.min() == 1
    assert few.notes[0].startswith("9 of 10 classes occur: labels go from 1 to 9")
    # EMNIST's letters are published so: a subset of them counts from one as well.
    put(tmp_path / "some", "emnist-letters-", images, letters % 20 + 1)
    some = load(tmp_path / "some")
    assert (some.labels.min(), some.labels.max(), some.classes) == (0, 19, 26)
    assert some.notes[0] == "labels 1 to 26 were taken as classes 0 to 25"
