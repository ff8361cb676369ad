"""Whatever happens to an official file, it is read or refused in one line that names it: never a traceback."""

import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import official_files
from infoplane.data import archive, load
from infoplane.errors import UsageError


def write_affnist(folder: Path) -> None:
    folder.mkdir()
    for name in ("training_and_validation_batches", "test_batches"):
        made = official_files.affnist_batch(official_files.images(2, 40, 40), official_files.labels(2))
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(f"{name}/1.mat", made)


def write_archive(folder: Path) -> None:
    folder.mkdir()
    content = {name: official_files.png(pixels) for name, pixels in official_files.parted(1).items()}
    official_files.tar(folder / "pictures.tar.gz", content)


TRIALS = 60

WRITERS = {
    "idx": lambda folder: official_files.write_idx(folder, packed=False),
    "idx.gz": official_files.write_idx,
    "cifar-binary": lambda folder: official_files.write_cifar(folder, python=False, per_batch=1),
    "cifar-python": lambda folder: official_files.write_cifar(folder, python=True, per_batch=1),
    "svhn": lambda folder: official_files.write_svhn(folder, 2, 2),
    "svhn-plain": lambda folder: official_files.write_svhn(folder, 2, 2, compress=False),
    "affnist": write_affnist,
    "archive": write_archive,
    "parted": lambda folder: official_files.write_parted(folder, official_files.parted(1)),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_damage_is_read_or_refused(tmp_path, kind):
    folder = tmp_path / kind
    WRITERS[kind](folder)
    load(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    rng = np.random.default_rng(sum(map(ord, kind)))
    messages = []
    for trial in range(TRIALS):
        file = files[rng.integers(len(files))]
        good = file.read_bytes()
        # Most of the meaning is at the start of a file.
        where = int(rng.integers(len(good) if trial % 2 else min(len(good), 200)))
        width = int(rng.integers(1, 9))
        damaged = good[:where] + rng.bytes(width) + good[where + width :] if trial % 3 else good[:where]
        file.write_bytes(damaged)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                load(folder)
        except UsageError as error:
            messages.append(str(error))
        finally:
            file.write_bytes(good)
    assert len(messages) >= 15  # the damage was real
    for message in messages:
        assert "\n" not in message
        assert str(folder) in message


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_damaged_zip_however_it_is_packed(tmp_path, packing):
    content, rng = np.random.default_rng(0).bytes(3000), np.random.default_rng(1)
    path, messages = tmp_path / "a.zip", []
    with zipfile.ZipFile(path, "w", packing) as made:
        made.writestr("a", content)
    good = path.read_bytes()
    for _ in range(TRIALS):
        where = int(rng.integers(len(good)))
        path.write_bytes(good[:where] + rng.bytes(8) + good[where + 8 :])
        try:
            assert dict(archive.read(path, lambda _: True, 1 << 20)) == {"a": content}
        except UsageError as error:
            messages.append(str(error))
    assert len(messages) > TRIALS / 2
    assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_link_to_nowhere(tmp_path, refuses, kind):
    folder = tmp_path / kind
    WRITERS[kind](folder)
    file = min(path for path in folder.rglob("*") if path.is_file())
    file.unlink()
    file.symlink_to(tmp_path / "gone")
    with refuses(str(folder)):
        load(folder)
