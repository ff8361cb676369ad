"""The sets that come as MATLAB files: SVHN, affNIST, SZT."""

import io
import struct
import zipfile
import zlib

import numpy as np
import pytest
from scipy.io import savemat

import official_files
from infoplane.data import load
from infoplane.data.matlab import read_mat


def mat(**variables: object) -> bytes:
    stream = io.BytesIO()
    savemat(stream, variables, do_compression=True)
    return stream.getvalue()


# ---- SVHN ----


@pytest.mark.parametrize("compress", [True, False])
def test_svhn(tmp_path, compress):
    content = official_files.write_svhn(tmp_path / "set", compress=compress)
    dataset = load(tmp_path / "set")
    assert np.array_equal(dataset.images, np.concatenate([content["train"], content["test"]]))
    assert dataset.labels is not None
    assert np.array_equal(dataset.labels, [*content["train_labels"], *content["test_labels"]])
    assert 0 in dataset.labels  # stored as 10
    assert dataset.name == "svhn (12 + 6 images)"
    assert dataset.class_names == tuple("0123456789")
    assert dataset.pools is not None
    assert dataset.pools["encoding"].tolist() == dataset.pools["decoding"].tolist() == [*range(12)]
    assert dataset.pools["evaluation"].tolist() == [*range(12, 18)]


def test_svhn_with_one_image_in_a_part(tmp_path):
    content = official_files.write_svhn(tmp_path, test=1)
    pixels = content["test"].transpose(2, 3, 1, 0)[..., 0]
    (tmp_path / "test_32x32.mat").write_bytes(mat(X=pixels, y=np.array([[10]], np.uint8)))
    dataset = load(tmp_path)
    assert np.array_equal(dataset.images[12:], content["test"])


X, Y = official_files.images(4, 32, 32, 3).transpose(1, 2, 3, 0), np.array([[1], [2], [9], [10]])
GOOD = mat(X=X, y=Y)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (GOOD[:-5], ("cut short",)),
        (GOOD[:131], ("131 bytes", "whole variables")),
        (GOOD[:60], ("starts with", "MATLAB 5")),
        (b"", ("starts with b''",)),
        (GOOD[:300] + bytes(40) + GOOD[340:], ("damaged",)),
        (b"MATLAB 7.3 MAT-file" + bytes(200), ("MATLAB 7.3", "-v7")),
        (b"\x89PNG" + GOOD[4:], ("starts with",)),
        (GOOD[:128] + struct.pack("<II", 15, 2**31) + GOOD[136:], ("as many as it claims, 2,147,483,648",)),
        (GOOD[:128] + struct.pack("<II", 99, 16) + bytes(16), ("element of type 99",)),
        (mat(images=X, y=Y), ("variables X and y",)),
        (mat(X=X), ("variables X and y",)),
        (mat(X=X.astype(float), y=Y), ("X: float64", "uint8")),
        (mat(X=X.transpose(3, 0, 1, 2), y=Y), ("(4, 32, 32, 3)", "(32, 32, 3, n)")),
        (mat(X=X, y=Y[:3]), ("3 labels", "4, one per image")),
        (mat(X=X, y=Y + 1), ("labels 2 to 11", "1 to 10")),
        (mat(X=X, y=Y - 1), ("labels 0 to 9", "1 to 10")),
        (mat(X=X, y=Y + 0.5), ("fractions",)),
        (mat(X=X, y=Y * np.nan), ("fractions",)),
        (mat(X=X, y="four"), ("whole numbers",)),
        (mat(X={"a": 1}, y=Y), ("X: ",)),
    ],
)
def test_svhn_one_line_each(tmp_path, refuses, content, says):
    official_files.write_svhn(tmp_path)
    (tmp_path / "train_32x32.mat").write_bytes(content)
    with refuses(str(tmp_path / "train_32x32.mat"), *says):
        load(tmp_path)


def test_svhn_needs_both_files(tmp_path, refuses):
    official_files.write_svhn(tmp_path)
    (tmp_path / "test_32x32.mat").unlink()
    with refuses("no test_32x32.mat", str(tmp_path)):
        load(tmp_path)


def element(claim: int, content: bytes) -> bytes:
    """A .mat file with one compressed variable that claims so many bytes."""
    packed = zlib.compress(struct.pack("<II", 14, claim) + content, 9)
    return GOOD[:128] + struct.pack("<II", 15, len(packed)) + packed


def test_variables_hold_what_they_claim(refuses):
    for claim, content, says in (
        (100, bytes(50), "50 bytes"),
        (100, bytes(50 << 20), "more than 100 bytes"),
        (2**32 - 1, bytes(1000), "claims 4,294,967,295"),
    ):
        with refuses("cannot use a.mat", says):
            read_mat("a.mat", element(claim, content), ("X",))


# ---- affNIST ----


def write_affnist(folder, batches: int = 11) -> dict[str, np.ndarray]:
    """Writes batches 1 to n of 3 + 2 images each; returns the images by part and batch."""
    content = {}
    for part, name, n in (("train", "training_and_validation_batches", 3), ("test", "test_batches", 2)):
        (folder / name).mkdir(parents=True)
        for batch in range(1, batches + 1):
            pixels = official_files.images(n, 40, 40, seed=100 * n + batch)
            content[f"{part}{batch}"] = pixels
            made = official_files.affnist_batch(pixels, official_files.labels(n))
            (folder / name / f"{batch}.mat").write_bytes(made)
    return content


def test_affnist(tmp_path):
    content = write_affnist(tmp_path / "a")
    dataset = load(tmp_path / "a")
    assert np.array_equal(dataset.images[:, 0], np.concatenate([content["train1"], content["test1"]]))
    assert dataset.labels is not None
    assert dataset.labels.tolist() == [0, 1, 2, 0, 1]
    assert (dataset.name, dataset.shape) == ("affnist (3 + 2 images)", (1, 40, 40))
    assert dataset.pools is not None
    assert dataset.pools["evaluation"].tolist() == [3, 4]
    more = load(tmp_path / "a", batches=10)  # in the order of numbers: 2.mat before 10.mat
    expected = [content[f"{part}{batch}"] for part in ("train", "test") for batch in range(1, 11)]
    assert np.array_equal(more.images[:, 0], np.concatenate(expected))


def test_affnist_zipped_as_it_is_distributed(tmp_path):
    write_affnist(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for name in ("training_and_validation_batches", "test_batches"):
        with zipfile.ZipFile(tmp_path / "b" / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for file in (tmp_path / "a" / name).iterdir():
                archive.write(file, f"{name}/{file.name}")
    for batches in (1, 10):
        unpacked, packed = (load(tmp_path / folder, batches=batches) for folder in "ab")
        assert np.array_equal(unpacked.images, packed.images)
        assert np.array_equal(unpacked.labels, packed.labels)


def test_affnist_in_single_files(tmp_path):
    pixels, digits = official_files.images(4, 40, 40), official_files.labels(4)
    for name in ("training_and_validation.mat", "test.mat"):
        (tmp_path / name).write_bytes(official_files.affnist_batch(pixels, digits))
    assert np.array_equal(load(tmp_path).images[:, 0], np.concatenate([pixels, pixels]))


def test_affnist_one_line_each(tmp_path, refuses):
    write_affnist(tmp_path, batches=2)
    file = tmp_path / "test_batches" / "1.mat"
    good = file.read_bytes()
    with refuses("training_and_validation_batches", "2 batches", "3 or more"):
        load(tmp_path, batches=3)
    with refuses("batches", "33", "1 to 32"):
        load(tmp_path, batches=33)
    pixels, digits = official_files.images(4, 40, 40), official_files.labels(4)
    for content, says in (
        (good[:-3], "cut short"),
        (b"MATLAB", "starts with"),
        (mat(affNISTdata=np.zeros(3)), "fields none"),
        (mat(affNISTdata={"image": pixels}), "fields image"),
        (official_files.affnist_batch(pixels, digits[:3]), "3 labels"),
        (mat(affNISTdata={"image": pixels, "label_int": digits[None]}), "(4, 40, 40)"),
        (mat(affNISTdata={"image": pixels.reshape(4, -1).T, "label_int": digits[None] + 7}), "labels 7 to 10"),
        (mat(other=1), "variables affNISTdata"),
    ):
        file.write_bytes(content)
        with refuses(str(file), says):
            load(tmp_path)
    file.unlink()
    (tmp_path / "test_batches" / "2.mat").unlink()
    with refuses("test_batches", "0 batches"):
        load(tmp_path)
    (tmp_path / "test_batches").rmdir()
    with refuses("no test part", str(tmp_path)):
        load(tmp_path)


# ---- SZT ----


def test_szt_one_line_each(tmp_path, refuses):
    file = tmp_path / "var_u.mat"
    bits = np.random.default_rng(0).integers(0, 2, (20, 12))
    y = bits[:, :1].T.astype(float)
    file.write_bytes(mat(F=bits, y=y))
    dataset = load(file)
    assert np.array_equal(dataset.images[:, 0, 0], bits)
    assert (dataset.name, dataset.shape, dataset.levels, dataset.classes) == ("szt (20 images)", (1, 1, 12), 2, 2)
    assert dataset.pools is None
    for content, says in (
        (mat(F=bits + 1, y=y), "zeros and ones"),
        (mat(F=bits[:, :11], y=y), "(20, 11)"),
        (mat(F=bits, y=y[:, 1:]), "19 labels"),
        (mat(F=bits, y=y + 1), "labels 1 to 2"),
        (mat(F=bits), "variables F and y"),
        (file.read_bytes()[:150], "cut short"),
    ):
        file.write_bytes(content)
        with refuses(str(file), says):
            load(tmp_path)
