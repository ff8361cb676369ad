"""What images are: counts against enumeration, checks of arrays and tensors, and what a cell keeps of them."""

import itertools
import math

import numpy as np
import pytest
import torch

from infoplane.data import Images, Space, check_images
from infoplane.data.space import check_range, check_stack

TINY = Images(2, 1, 3, 3)


@pytest.fixture
def images() -> np.ndarray:
    return np.arange(3 * 2 * 4 * 5, dtype=np.uint8).reshape(3, 2, 4, 5)


def test_counts_are_those_of_all_images_of_a_tiny_space():
    every = list(itertools.product(range(3), repeat=2 * 1 * 3))
    assert TINY.dimensions == len(every[0])
    assert math.isclose(TINY.nats, math.log(len(every)))  # the entropy of a uniform choice of one of them
    assert math.isclose(TINY.per_bit, math.log(2 ** len(every[0])))
    assert math.isclose(Images(1, 2, 2, 2).per_bit, Images(1, 2, 2, 2).nats)  # of two levels a bit is all there is


def test_words_and_sizes():
    assert Images(1, 8, 6, 17).words == "images of 8×6 pixels with 17 levels"
    assert Images(3, 32, 32, 256).words == "images of 32×32 pixels with 256 levels, 3 channels"
    assert (TINY.shape, TINY.size) == ((2, 1, 3), "2×1×3")
    assert TINY.blank(4).shape == (4, 2, 1, 3)
    assert check_images(TINY.blank(4), 3).tolist() == TINY.blank(4).tolist()


def test_a_cell_keeps_the_space():
    assert isinstance(TINY, Space)
    assert TINY.values() == {"levels": 3, "shape": [2, 1, 3]}
    assert Images.of_values({**TINY.values(), "name": "toy"}) == TINY == Images.of((2, 1, 3), np.int64(3))


@pytest.mark.parametrize("shape", [(0, 1, 1), (1, 0, 1), (1, 1, -1)])
def test_no_pixels_are_no_image(shape, refuses):
    with refuses("bad image shape", str(shape), "each at least 1"):
        Images(*shape, 2)


@pytest.mark.parametrize("levels", [1, 257, 2.0, True])
def test_no_images_of_other_levels(levels, refuses):
    with refuses("levels", repr(levels), "from 2 to 256"):
        Images(1, 1, 1, levels)


def test_arrays_from_outside(images, refuses):
    space = Images(2, 4, 5, 120)
    assert space.check_array(torch.from_numpy(images)).tolist() == images.tolist()
    with refuses("another shape", "(2, 4, 4)", "(2, 4, 5)"):
        space.check_array(images[..., 1:])
    with refuses("beyond their levels", "119 with levels=119"):
        Images(2, 4, 5, 119).check_array(images)


def test_tensors_for_a_model(refuses):
    good = torch.from_numpy(TINY.blank(4))
    for dtype in (torch.uint8, torch.int8, torch.int64):
        TINY.check(good.to(dtype), whose="density")
    TINY.check(good, whose="density", rows=4)
    with refuses("do not fit the density", "float32 (4, 2, 1, 3)", "integer levels (B, 2, 1, 3)"):
        TINY.check(good.float(), whose="density")
    for bad in (good[0], good[:, :1], good.transpose(2, 3), good.flatten(1), torch.tensor(1)):
        with refuses("do not fit the density", "(B, 2, 1, 3)"):
            TINY.check(bad, whose="density")
    with refuses("do not fit the reconstruction", "integer levels (3, 2, 1, 3)"):
        TINY.check(good, whose="reconstruction", rows=3)


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor])
def test_levels_that_there_are(make, refuses):
    for values in ([0, 2, 1], [[]]):
        check_range(make(np.array(values, np.int64)), 3, "other levels")
    check_range(make(np.array([255, 0], np.uint8)), 256, "other levels")
    for values, received in (([0, 3], "0 … 3"), ([-1, 2], "-1 … 2")):
        with refuses("other levels", received, "0 … 2", "fix them"):
            check_range(make(np.array(values, np.int8)), 3, "other levels", mend="fix them")
    with refuses("other levels", "0 … 3"):
        check_range(make(np.array([1, 3], np.uint8)), 3, "other levels")


def test_stacks_of_any_shape(images, refuses):
    for stack in (images, torch.from_numpy(images)):
        check_stack(stack, exact=True, least=3)
        with refuses("cannot use these images", "(2, 4, 5)", "uint8 (N, C, H, W)"):
            check_stack(stack[0], exact=True)
        with refuses("cannot use these images", "N >= 4"):
            check_stack(stack, exact=True, least=4)
    wide = torch.from_numpy(images).long()
    check_stack(wide, exact=False)
    with refuses("cannot use these images", "int64 (3, 2, 4, 5)"):
        check_stack(wide, exact=True)
    with refuses("cannot use these images", "float32"):
        check_stack(wide.float(), exact=False)


def test_images_of_wrong_type(images, refuses):
    with refuses("not uint8", "float64", "values 0 to 16", "(images * 16).round()"):
        check_images(images / 255, 17)
    with refuses("not uint8", "int64", "astype('uint8')"):
        check_images(images.astype(np.int64), 256)
    with refuses("not uint8", "bool"):
        check_images(images > 3, 256)
    with refuses("no array", "list of uneven parts", "numpy array or torch tensor"):
        check_images([[1], [2, 3]], 256)


def test_tensors_of_wrong_type(refuses):
    with refuses("not uint8", "float32"):
        check_images(torch.zeros(2, 1, 4, 4), 256)
    with refuses("no array", "bfloat16"):
        check_images(torch.zeros(2, 1, 4, 4, dtype=torch.bfloat16), 256)


def test_images_of_wrong_shape(images, refuses):
    with refuses("wrong rank", "shape (3, 4, 5)", "(N, C, H, W)", "images[:, None]"):
        check_images(images[:, 0], 256)
    with refuses("wrong rank", "shape (4, 5)"):
        check_images(images[0, 0], 256)
    with refuses("too few", "received 1", "2 or more"):
        check_images(images[:1], 256)
    with refuses("no pixels", "(3, 2, 4, 0)"):
        check_images(images[..., :0], 256)
    with refuses("channels-last", "(2, 32, 32, 3)", "transpose(0, 3, 1, 2)"):
        check_images(np.zeros((2, 32, 32, 3), np.uint8), 256)
    assert len(check_images(images[:1], 256, least=1)) == 1


@pytest.mark.parametrize("levels", [1, 0, -4, 257, 2.0, "17", None, True])
def test_levels_that_are_none(images, refuses, levels):
    with refuses("levels", repr(levels), "from 2 to 256"):
        check_images(images, levels)


@pytest.mark.parametrize(
    ("images", "mend"),
    [
        (np.array([0, 4095], np.uint16), "(images // 16).astype('uint8')"),
        (np.array([0, 256], np.int64), "(images // 2).astype('uint8')"),
        (np.array([0, 65535], np.int32), "(images // 256).astype('uint8')"),
        (np.array([0, 255], np.uint16), "0 to 255: images.astype('uint8') keeps them"),
        (np.array([0, 1], np.int64), "0 to 1: images.astype('uint8') keeps them"),
        (np.array([False, True]), "levels=2"),
        (np.array([-3, 5]), "values go from -3 to 5"),
        (np.array([-2.1, 2.6]), "normalised"),
        (np.array([0.0, 0.5]), "(images * 255).round().astype('uint8')"),
        (np.array([0.0, 200.0]), "0 to 200: images.astype('uint8') keeps them"),
        (np.array([0.5, 200.25]), "scale them to whole numbers"),
        (np.array([0.5, np.nan]), "NaN"),
    ],
)
def test_how_images_become_bytes_changes_no_value_in_silence(refuses, images, mend):
    images = np.resize(images, (2, 1, 2, 2))
    with refuses("not uint8", str(images.dtype), mend) as error:
        check_images(images, 256)
    if "astype" in mend and "//" in mend:
        made = eval(mend, {"images": images})
        assert np.array_equal(np.unique(made), [0, images.max() // (images.max() // 256 + 1)])
        assert made.max() == int(images.max()) // int(mend.split("// ")[1].split(")")[0])
    del error


def test_images_with_channels_last_are_refused(refuses):
    for channels in (1, 2, 3, 4):
        with refuses("look channels-last", "transpose(0, 3, 1, 2)"):
            check_images(np.zeros((2, 8, 9, channels), np.uint8), 256)
