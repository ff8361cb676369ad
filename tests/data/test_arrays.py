"""Arrays written by numpy come back as data sets, whatever the usual names and layouts."""

import io
import os
import zipfile

import numpy as np
import pytest

from infoplane.data import load, load_arrays


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (5, 3, 6, 7), dtype=np.uint8)


@pytest.mark.parametrize(("x", "y"), [("images", "labels"), ("x", "y"), ("X", "y"), ("X", "Y")])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_round_trip(tmp_path, images, x, y, save):
    labels = np.array([0, 4, 2, 2, 1], dtype=np.int16)
    save(tmp_path / "mine.npz", **{x: images, y: labels})
    dataset = load_arrays(tmp_path / "mine.npz")
    assert np.array_equal(dataset.images, images)
    assert dataset.labels is not None
    assert np.array_equal(dataset.labels, labels)
    assert (dataset.name, dataset.levels, dataset.classes) == ("mine", 256, 5)


def test_labels_and_levels_are_optional(tmp_path, images):
    np.savez(tmp_path / "a.npz", images=images // 16, levels=16)
    dataset = load_arrays(tmp_path / "a.npz")
    assert (dataset.labels, dataset.classes, dataset.levels) == (None, None, 16)
    assert load(tmp_path / "a.npz", levels=20).levels == 20  # what the caller says goes first


def test_npy_holds_images_alone(tmp_path, images):
    np.save(tmp_path / "a.npy", images)
    dataset = load(str(tmp_path / "a.npy"))
    assert np.array_equal(dataset.images, images)
    assert dataset.labels is None


def test_channel_axis(tmp_path, images):
    def through(array: np.ndarray) -> np.ndarray:
        np.save(tmp_path / "a.npy", array)
        return load_arrays(tmp_path / "a.npy").images

    grey = images[:, 0]
    assert np.array_equal(through(grey), images[:, :1])
    assert np.array_equal(through(grey[..., None]), images[:, :1])
    assert np.array_equal(through(np.stack([images[:, c] for c in range(3)], axis=-1)), images)
    # More channels than colours have: height and width are equal.
    many = np.random.default_rng(1).integers(0, 256, (5, 10, 8, 8), dtype=np.uint8)
    assert np.array_equal(through(many), many)
    assert np.array_equal(through(many.transpose(0, 2, 3, 1)), many)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_channels_of_any_kind_of_colour_are_told_from_height_and_width(tmp_path, channels):
    images = np.random.default_rng(1).integers(0, 256, (5, channels, 6, 7), dtype=np.uint8)
    for stored, said in ((images, False), (images.transpose(0, 2, 3, 1), True)):
        np.savez(tmp_path / "a.npz", images=stored)
        dataset = load_arrays(tmp_path / "a.npz")
        assert np.array_equal(dataset.images, images)
        assert any("channels-last" in note for note in dataset.notes) == said


@pytest.mark.parametrize("shape", [(5, 3, 3, 3), (5, 1, 6, 1), (5, 4, 6, 3), (5, 8, 8, 8), (5, 6, 7, 8)])
def test_what_can_be_either_axis_is_asked_about(tmp_path, refuses, shape):
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=images)
    with refuses("can be understood in two ways", str(shape), "channels='first'", "--options channels=last"):
        load(tmp_path / "a.npz")
    if shape[3] < 5 or shape[1] < 5 or shape == (5, 6, 7, 8):
        assert np.array_equal(load(tmp_path / "a.npz", channels="first").images, images)
    with refuses("unknown place of the channels", "'lst'", "'last'"):
        load(tmp_path / "a.npz", channels="lst")


def test_channels_last_where_that_is_said(tmp_path):
    images = np.random.default_rng(1).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", images)
    assert np.array_equal(load(tmp_path / "a.npy", channels="last").images, images.transpose(0, 3, 1, 2))


def test_groups_and_what_is_not_used(tmp_path, images, refuses):
    np.savez(tmp_path / "a.npz", images=images, groups=[1, 1, 2, 2, 2], patient=list("abbca"), x=images[:2], other=1)
    dataset = load(tmp_path / "a.npz", quiet=True)
    assert dataset.groups.tolist() == [0, 0, 1, 1, 1]
    assert dataset.notes == ("3 arrays of a.npz were not used: patient, x, other",)
    assert load(tmp_path / "a.npz", groups="patient").groups.tolist() == [0, 1, 1, 2, 0]
    with refuses("unknown array of groups", "'patients'", "did you mean 'patient'"):
        load(tmp_path / "a.npz", groups="patients")
    np.savez(tmp_path / "a.npz", images=images, groups=[1, 1])
    with refuses("groups of", "a.npz cannot be used", "(5,)"):
        load(tmp_path / "a.npz")


def test_a_bomb_is_not_unpacked(tmp_path, refuses):
    path = tmp_path / "bomb.npz"
    header = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    claim = b"{'descr': '|u1', 'fortran_order': False, 'shape': (200, 1, 1000, 1000), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made, made.open("images.npy", "w") as member:
        member.write(header + claim)
        for _ in range(200):
            member.write(bytes(10**6))
    assert path.stat().st_size < 10**6
    with refuses("bytes that unpack to", "at most"):
        load(path)
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("images.npy", header + claim + bytes(100))
    with refuses("a header that claims 200,000,000 bytes"):
        load(path)


def test_a_name_twice_is_refused(tmp_path, images, refuses):
    stream = io.BytesIO()
    np.save(stream, images)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("images.npy", stream.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            made.writestr("images.npy", stream.getvalue())
    with refuses("two arrays called 'images'"):
        load(path)


def test_a_pipe_is_not_waited_for(tmp_path, refuses):
    for name in ("a.npz", "train-images-idx3-ubyte"):
        os.mkfifo(tmp_path / name)
    with refuses("a folder, pipe or device", "a regular file"):
        load_arrays(tmp_path / "a.npz")
    with refuses(str(tmp_path)):
        load(tmp_path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_what_numpy_wrote(tmp_path, images, order):
    np.savez(tmp_path / "a.npz", images=np.asarray(images, order=order), labels=np.arange(5)[::-1])
    dataset = load(tmp_path / "a.npz")
    assert np.array_equal(dataset.images, images)
    assert dataset.images.flags.writeable
    assert dataset.labels.tolist() == [4, 3, 2, 1, 0]


def test_a_file_read_as_channels_last_is_said_to_be(tmp_path, images, capsys):
    np.savez(tmp_path / "a.npz", images=images)
    load(str(tmp_path / "a.npz"))
    assert capsys.readouterr().err == ""
    np.savez(tmp_path / "a.npz", images=images[:, :3].transpose(0, 2, 3, 1))
    load(str(tmp_path / "a.npz"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "channels-last" in line
    assert "a.npz" in line
    assert "×".join(map(str, (3, *images.shape[2:]))) in line


def test_missing_images_names_what_is_there(tmp_path, images, refuses):
    np.savez(tmp_path / "a.npz", pixels=images, y=[0] * 5)
    with refuses("no images", "a.npz", "arrays pixels, y", "images or x or X"):
        load_arrays(tmp_path / "a.npz")


def test_wrong_contents(tmp_path, images, refuses):
    path = tmp_path / "a.npz"
    np.savez(path, images=images / 255.0)
    with refuses(str(path), "not uint8", "float64", "uint8 of shape"):
        load_arrays(path)
    np.savez(path, images=images[0, 0])
    with refuses(str(path), "wrong rank", "(6, 7)"):
        load_arrays(path)
    np.savez(path, images=images, labels=np.zeros(4, int))
    with refuses(f"labels in {path}", "(4,)", "(5,)"):
        load_arrays(path)
    np.savez(path, images=images, labels=np.zeros(5))
    with refuses(f"labels in {path}", "float64"):
        load_arrays(path)
    np.savez(path, images=images, levels=300)
    with refuses(f"levels in {path}", "300", "2 to 256"):
        load_arrays(path)
    np.savez(path, images=images, levels=[[2, 3], [4, 5]])
    with refuses(f"levels in {path}", "2 to 256"):
        load_arrays(path)
    np.savez(path, images=images, levels=16)
    with refuses(f"images in {path}", "beyond their levels", "0 to 15"):
        load_arrays(path)


def test_unreadable_files(tmp_path, images, refuses):
    path = tmp_path / "a.npz"
    with refuses("no such file", str(path), ".npz or .npy"):
        load_arrays(path)
    path.write_bytes(b"")
    with refuses("cannot read", str(path)):
        load_arrays(path)
    path.write_bytes(b"PK\x03\x04 not a zip at all")
    with refuses("cannot read", "BadZipFile"):
        load_arrays(path)
    path.write_text("some\ntext")
    with refuses("cannot read", "without pickled objects"):
        load_arrays(path)
    np.save(tmp_path / "cut.npy", images)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-50])
    with refuses("cannot read", "cut.npy"):
        load_arrays(tmp_path / "cut.npy")
    header = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little")
    claim = b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 1, 1000, 1000), }"
    (tmp_path / "huge.npy").write_bytes(header + claim.ljust(117) + b"\n" + bytes(100))
    with refuses("cannot read", "huge.npy"):
        load_arrays(tmp_path / "huge.npy")
    (tmp_path / "open.npy").write_bytes(header + b"{'descr': '|u1', (".ljust(117) + b"\n")
    with refuses("cannot read", "open.npy"):
        load_arrays(tmp_path / "open.npy")
    (tmp_path / "dir.npz").mkdir()
    with refuses("cannot read", "dir.npz"):
        load_arrays(tmp_path / "dir.npz")


class Trap:
    """Would leave a mark if it were ever unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("key", ["images", "labels"])
def test_pickles_are_never_loaded(tmp_path, images, refuses, key):
    arrays = {"images": images} | {key: np.array([Trap()] * 5, dtype=object)}
    np.savez(tmp_path / "a.npz", allow_pickle=True, **arrays)
    with refuses("cannot read", "allow_pickle=False", "without pickled objects"):
        load_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("shape", [(64, 64, 3), (48, 64, 4), (64, 48, 1), (3, 32, 32), (2, 30, 40)])
def test_a_single_image_is_not_many_grey_ones(tmp_path, refuses, shape):
    np.savez(tmp_path / "a.npz", images=np.zeros(shape, np.uint8))
    with refuses("may be a single image of several channels", f"shape {shape}", "images[:, None]"):
        load(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", images=np.zeros(shape, np.uint8)[:, None])
    assert len(load(tmp_path / "a.npz", channels="first", quiet=True)) == shape[0]


def test_small_grey_images_are_grey(tmp_path):
    for shape in ((9, 4, 4), (9, 2, 3), (9, 8, 8), (2, 3, 3)):
        np.savez(tmp_path / "a.npz", images=np.zeros(shape, np.uint8))
        assert load(tmp_path / "a.npz").images.shape == (shape[0], 1, *shape[1:])


def test_classes_without_an_image_are_said(tmp_path, images):
    def notes(labels, **options):
        np.savez(tmp_path / "a.npz", images=images, labels=labels)
        return load(tmp_path / "a.npz", **options).notes

    assert notes([0, 1, 2, 1, 0]) == ()
    assert notes([1, 2, 3, 1, 2]) == (
        "3 of 4 classes occur: labels go from 1 to 3; if they count from 1, subtract 1, or there is a class 0 without "
        "an image",
    )
    (codes,) = notes([5, 905, 5, 5, 905])
    assert codes.startswith("2 of 906 classes occur: labels go from 5 to 905; if they are codes, numpy.unique")
    assert notes([0, 1, 3, 4, 4]) == ("4 of 5 classes occur: labels go from 0 to 4",)
