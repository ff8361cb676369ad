"""A data set refuses what it is not, and says so."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from infoplane.checks import check_whole
from infoplane.data import Dataset, check_images, check_labels


@pytest.fixture
def images() -> np.ndarray:
    return np.arange(3 * 2 * 4 * 5, dtype=np.uint8).reshape(3, 2, 4, 5)


def test_keeps_what_it_is_given(images):
    latents = {"position": [[0.5, 1], [2, 3], [4, 5]]}
    dataset = Dataset("toy", images, [2, 0, 1], levels=130, latents=latents)
    assert np.array_equal(dataset.images, images)
    assert dataset.labels is not None
    assert dataset.labels.dtype == np.int64
    assert dataset.labels.tolist() == [2, 0, 1]
    assert (len(dataset), dataset.shape, dataset.levels, dataset.classes) == (3, (2, 4, 5), 130, 3)
    assert dataset.latents["position"].dtype == np.float32
    assert dataset.latents["position"].tolist() == [[0.5, 1], [2, 3], [4, 5]]
    assert repr(dataset) == "Dataset('toy': 3 images 2×4×5, 130 levels, 3 classes, latents position)"


def test_defaults(images):
    dataset = Dataset("toy", images)
    assert (dataset.labels, dataset.classes, dataset.levels, dataset.latents) == (None, None, 256, {})
    assert "no labels" in repr(dataset)


def test_is_frozen(images):
    with pytest.raises(dataclasses.FrozenInstanceError):
        Dataset("toy", images).levels = 3  # type: ignore[misc]


def test_result_is_contiguous_and_equal_for_torch_and_numpy(images):
    torch = pytest.importorskip("torch")
    transposed = images.transpose(0, 1, 3, 2)
    for given in (transposed, torch.from_numpy(images).permute(0, 1, 3, 2)):
        checked = check_images(given, 256)
        assert checked.flags.c_contiguous
        assert checked.dtype == np.uint8
        assert np.array_equal(checked, transposed)
    labels = check_labels(torch.tensor([1, 0, 1], dtype=torch.int32), 3)
    assert labels.dtype == np.int64
    assert labels.tolist() == [1, 0, 1]


def test_subset_takes_rows_in_order_and_keeps_the_classes(images):
    dataset = Dataset("toy", images, [2, 0, 1], latents={"a": np.eye(3)})
    part = dataset.subset(np.array([1, 2]))
    assert part.labels is not None
    assert part.labels.tolist() == [0, 1]
    assert part.classes == 3  # the largest label is gone, the classes are not
    assert np.array_equal(part.images, images[[1, 2]])
    assert part.latents["a"].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_subset_refuses(images, refuses):
    dataset = Dataset("toy", images)
    with refuses("'toy'", "0 to 3; legal: whole numbers of shape (n,), 0 to 2"):
        dataset.subset(np.array([0, 3]))
    with refuses("cannot be used", "-1 to 0"):
        dataset.subset(np.array([0, -1]))
    with refuses("cannot be used", "bool", "whole numbers"):
        dataset.subset(np.array([True, False, True]))
    with refuses("too few", "legal: 2 or more"):
        dataset.subset(np.array([1]))


def test_values_beyond_the_levels(images, refuses):
    with refuses("images of data set 'toy'", "119 with levels=100", "0 to 99", "levels=120"):
        Dataset("toy", images, levels=100)
    assert len(check_images(images, 120)) == 3


def test_labels_that_do_not_fit(images, refuses):
    with refuses("labels of data set 'toy'", "shape (2,)", "(3,), one label per image"):
        Dataset("toy", images, [0, 1])
    with refuses("labels", "shape (3, 1)"):
        Dataset("toy", images, [[0], [1], [2]])
    with refuses("not whole numbers", "float64", "int64"):
        Dataset("toy", images, [0.0, 1.0, 2.0])
    with refuses("outside the classes", "-1 to 2", "0 to 65535"):
        Dataset("toy", images, [0, -1, 2])
    with refuses("outside the classes", "0 to 2", "0 to 1"):
        Dataset("toy", images, [0, 1, 2], classes=2)
    with refuses("classes", "0", "from 1 to 65536"):
        Dataset("toy", images, [0, 0, 0], classes=0)


def test_latents_that_do_not_fit(images, refuses):
    for bad in (np.zeros(3), np.zeros((2, 1)), np.zeros((3, 0)), np.array([["a"], ["b"], ["c"]])):
        with refuses("latent 'z' of data set 'toy'", "(3, d)"):
            Dataset("toy", images, latents={"z": bad})
    with refuses("latent 'z'", "NaN", "finite"):
        Dataset("toy", images, latents={"z": np.array([[0.0], [np.nan], [1.0]])})


def test_whole_numbers():
    assert check_whole("n", np.int64(3), least=0) == 3
    assert type(check_whole("n", np.uint8(3), least=0)) is int


def test_the_room_imports_no_heavy_library():
    code = "import sys, infoplane.data; print(sorted({'torch', 'sklearn', 'scipy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_control_characters_in_names_are_written_out(images):
    dataset = Dataset("a\x1b[2J", images, [0, 1, 1], class_names=("c\x9b1m", "x\udc80"), notes=("in b\nc",))
    assert (dataset.name, dataset.class_names) == ("a\\x1b[2J", ("c\\x9b1m", "x\\udc80"))
    assert dataset.notes == ("in b\\nc",)


@pytest.mark.parametrize("field", ["name", "class_names", "notes", "pools", "latents"])
@pytest.mark.parametrize("wrong", [3, 1.5, True, len, b"ab", np.zeros(2), [1, 2], [None], {3: 4}, {"a"}], ids=repr)
def test_what_is_no_text_or_mapping_is_refused(field, wrong, refuses):
    with refuses(field.replace("_", " ")):
        Dataset(**{"name": "some", "images": np.zeros((2, 1, 2, 2), np.uint8), "classes": 2, field: wrong})


@pytest.mark.parametrize("field", ["class_names", "notes"])
def test_a_text_is_no_list_of_letters(field, refuses):
    images = np.zeros((2, 1, 2, 2), np.uint8)
    with refuses(field.replace("_", " "), "'ab'", "a list, each a text"):
        Dataset(**{"name": "some", "images": images, "classes": 2, field: "ab"})
    for given in (["a", "b"], ("a", "b"), np.array(["a", "b"])):
        assert getattr(Dataset(**{"name": "some", "images": images, "classes": 2, field: given}), field) == ("a", "b")
