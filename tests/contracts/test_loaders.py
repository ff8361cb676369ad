"""What everything that loads data keeps to: an entry of the registry, a suffix or a format brings these tests."""

import importlib
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

import official_files
from infoplane.data import BY_SUFFIX, NAMED, archive, formats, load, loaders, outline, split
from infoplane.data.dataset import PARTS
from infoplane.errors import UsageError
from plugin_site import visible


def write_affnist(folder: Path) -> None:
    folder.mkdir()
    for name in ("training_and_validation_batches", "test_batches"):
        made = official_files.affnist_batch(official_files.images(8, 40, 40), official_files.labels(8))
        with zipfile.ZipFile(folder / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr(f"{name}/1.mat", made)


def write_archive(folder: Path) -> None:
    folder.mkdir()
    content = {name: official_files.png(pixels) for name, pixels in official_files.parted(1).items()}
    official_files.tar(folder / "pictures.tar.gz", content)


def write_arrays(folder: Path, suffix: str) -> Path:
    folder.mkdir()
    x, y = official_files.images(12, 1, 4, 6) % 5, official_files.labels(12, 3)
    save, what = (np.savez, {"x": x, "y": y, "levels": 5}) if suffix == ".npz" else (np.save, {"arr": x})
    save(folder / f"a{suffix}", **what)
    return folder / f"a{suffix}"


def write_bits(folder: Path) -> None:
    folder.mkdir()
    bits = (np.arange(40)[:, None] >> np.arange(12) & 1).astype(np.uint8)
    savemat(folder / "var_u.mat", {"F": bits, "y": bits[:, :1]})


def write_folder(folder: Path) -> None:
    for name, pixels in official_files.parted(3).items():
        file = folder / Path(name).parent.name / f"{name.replace('/', '-')}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(official_files.png(pixels))


TRIALS = 60

#: official files, each way in which they may lie
WRITERS = {
    "idx": lambda folder: official_files.write_idx(folder, packed=False),
    "idx.gz": official_files.write_idx,
    "cifar-binary": lambda folder: official_files.write_cifar(folder, python=False),
    "cifar-python": lambda folder: official_files.write_cifar(folder, python=True),
    "svhn": lambda folder: official_files.write_svhn(folder),
    "svhn-plain": lambda folder: official_files.write_svhn(folder, compress=False),
    "affnist": write_affnist,
    "archive": write_archive,
    "parted": lambda folder: official_files.write_parted(folder, official_files.parted(1)),
    "szt": write_bits,
}
#: data sets that are made, with options that make them small; any other one is taken as it is
OPTIONS = {"truth": {"n": 60}, "digits": {"subset": 90}}
with visible():
    SOURCES = [*(name for name, _ in NAMED.items()), *BY_SUFFIX, "folder", *WRITERS]
EVERY = pytest.mark.parametrize("kind", SOURCES)


def source(kind, folder: Path) -> dict:
    """What is to be loaded, written into a folder where it is a file."""
    if kind in NAMED:
        return {"name": kind, **OPTIONS.get(kind, {})}
    if kind in BY_SUFFIX:
        return {"name": str(write_arrays(folder, kind))}
    (write_folder if kind == "folder" else WRITERS[kind])(folder)
    return {"name": str(folder)}


def test_every_format_is_written_here(tmp_path):
    found = {kind: tmp_path / kind for kind in WRITERS}
    for kind, folder in found.items():
        WRITERS[kind](folder)
    assert {formats.recognise(folder) for folder in found.values()} == set(formats.BY_NAME.values())


@EVERY
def test_a_data_set_is_whole_and_the_same_each_time(tmp_path, kind):
    spec = source(kind, tmp_path / "data")
    found, again = load(spec), load(spec)
    images, n = found.images, len(found)
    assert (images.dtype, images.ndim, images.flags.c_contiguous) == (np.uint8, 4, True)
    assert 2 <= found.levels <= 256
    assert int(images.max()) < found.levels
    assert images.tobytes() == again.images.tobytes()
    assert found.space.shape == found.shape == images.shape[1:]
    if found.labels is None:
        assert found.classes is None
        assert again.labels is None
    else:
        assert (found.labels.dtype, found.labels.shape) == (np.int64, (n,))
        assert 0 <= found.labels.min() <= found.labels.max() < found.classes
        assert found.labels.tobytes() == again.labels.tobytes()
    assert found.class_names is None or len(found.class_names) == found.classes
    assert all(latent.shape[0] == n and np.isfinite(latent).all() for latent in found.latents.values())
    pools = [pool for _, pool in found.sources()]
    assert sorted(part for names, _ in found.sources() for part in names) == sorted(PARTS)
    assert len(np.unique(np.concatenate(pools))) == sum(map(len, pools)) <= n
    assert all(note == " ".join(note.split()) for note in found.notes)
    for loader in loaders(spec["name"])[:1]:
        module, _, name = loader.partition(":")
        assert callable(getattr(importlib.import_module(module), name))
    assert loaders(spec["name"])


@EVERY
def test_its_outline_says_what_it_holds(tmp_path, kind):
    spec = source(kind, tmp_path / "data")
    found, outlined = load(spec), outline(spec)
    assert (len(outlined.dataset), outlined.space) == (len(found), found.space)
    assert np.array_equal(outlined.dataset.labels, found.labels)
    assert outlined.dataset.name == found.name
    assert [names for names, _ in outlined.dataset.sources()] == [names for names, _ in found.sources()]


@EVERY
def test_its_split_and_subsets_are_drawn_by_their_seed(tmp_path, kind):
    spec = source(kind, tmp_path / "data")
    found = load(spec)
    sizes = {part: max(2, len(pool) // 4) for names, pool in found.sources() for part in names}
    first, again = (split(found, **sizes, seed=1) for _ in range(2))
    served = dict.fromkeys(PARTS, np.zeros(0))
    for names, pool in found.sources():
        served |= dict.fromkeys(names, pool)
    for part in PARTS:
        assert np.array_equal(getattr(first, part), getattr(again, part))
        assert set(getattr(first, part)) <= set(served[part])
    n = max(len(found) // 2, 2)
    some = load({**spec, "subset": n})
    assert len(some) == n
    assert some.images.tobytes() == load({**spec, "subset": n}).images.tobytes()
    assert (some.levels, some.classes) == (found.levels, found.classes)


@EVERY
def test_options_that_there_are_not_are_refused_in_one_line(tmp_path, kind, refuses):
    spec = source(kind, tmp_path / "data")
    with refuses("unknown option", "'no_such_option'", "subset, subset_seed, downsample"):
        load({**spec, "no_such_option": 1})
    with refuses("subset", "1", "from 2 to"):
        load({**spec, "subset": 1})
    height, width = load(spec).shape[1:]
    with refuses("cannot be downsampled", f"{height}×{width}"):
        load({**spec, "downsample": 7 if height % 7 or width % 7 else 11})


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
