"""Nothing sees what comes after it in raster order, and nearly all that comes before it is seen."""

import pytest
import torch
from tiny_densities import LIKELIHOODS, build, random_images

from infoplane.densities import PixelCNN

#: what vector instructions may do to the last digit of a float64, and what a real dependence exceeds
NOISE, REAL = 1e-13, 1e-9


def perturbed(image, levels: int):
    """Returns, for every element of an image (C, H, W), a copy in which it alone is another level: (CHW, C, H, W)."""
    copies = image.expand(image.numel(), *image.shape).clone()
    flat = copies.view(len(copies), -1)
    every = torch.arange(len(copies))
    flat[every, every] = (flat[every, every] + 1 + every % (levels - 1)).remainder(levels).to(flat.dtype)
    assert (flat != image.flatten()).sum() == len(copies)
    assert flat.max() < levels
    return copies


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("scales", [1, 2, 3])
@pytest.mark.parametrize("size", [(5, 7), (8, 8)])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_no_pixel_changes_anything_before_it(channels, size, scales, likelihood):
    rows, columns = size
    model = build((channels, *size), 5, scale=0.4, dtype=torch.float64, scales=scales, likelihood=likelihood)
    image = random_images(model.shape, 5, 1)[0]
    images = torch.cat((image[None], perturbed(image, 5)))
    place = torch.arange(rows * columns).repeat(channels)  # raster number of the pixel that copy k changes
    positions = torch.arange(rows * columns)

    features = model.features(images).flatten(2)
    moved = (features[1:] - features[:1]).abs().amax(1)  # (copies, positions)
    # Not its own features either: the likelihood is to be computed from what comes strictly before.
    assert moved[positions <= place[:, None]].max() < NOISE
    pixels = model.log_prob_map(images).flatten(1)
    change = (pixels[1:] - pixels[:1]).abs()
    assert change[positions < place[:, None]].max() < NOISE

    # The test can fail: the pixel itself changes, and so does its neighbour to the right and some pixel below.
    assert change[torch.arange(len(place)), place].min() > REAL
    has_right = place % columns < columns - 1
    assert change[has_right, place[has_right] + 1].min() > REAL
    has_below = place < (rows - 1) * columns
    below = positions >= (place[:, None] // columns + 1) * columns
    assert (change * below).amax(1)[has_below].min() > REAL


@torch.no_grad()
def test_a_context_does_not_break_causality():
    for context, conditioning in (
        ((4,), "resize"),
        ((2, 3, 9), "resize"),
        ((2, 9, 9), "learned"),
        ((2, 3, 3), "vector"),
    ):
        model = build((1, 5, 6), 4, scale=0.4, dtype=torch.float64, context=context, conditioning=conditioning)
        image = random_images(model.shape, 4, 1)[0]
        images = torch.cat((image[None], perturbed(image, 4)))
        shared = torch.randn(1, *context, dtype=torch.float64).expand(len(images), *context)
        pixels = model.log_prob_map(images, shared).flatten(1)
        place, positions = torch.arange(30), torch.arange(30)
        change = (pixels[1:] - pixels[:1]).abs()
        assert change[positions < place[:, None]].max() < NOISE
        assert change[torch.arange(30), place].min() > REAL


def seen(model, positions):
    """Returns which pixels the features at each raster position depend on, by gradients: bool (positions, H·W)."""
    _, rows, columns = model.shape
    generator = torch.Generator().manual_seed(0)
    one = torch.rand(1, 1, rows, columns, generator=generator, dtype=torch.float64) * (model.levels - 1)
    images = one.repeat(len(positions), 1, 1, 1).requires_grad_()  # features() takes real values as they are
    features = model.features(images).flatten(2)
    features[torch.arange(len(positions)), :, positions].abs().sum().backward()
    assert images.grad is not None
    return images.grad.flatten(1) != 0


def test_receptive_field_covers_the_causal_context():
    torch.manual_seed(0)
    model = PixelCNN((1, 28, 28), 256, filters=2, residual_layers=3, scales=3).double().eval()
    # Every third pixel: each column and, in each column, rows of every kind.
    named = {"centre": 14 * 28 + 14, "last of row 26": 26 * 28 + 27, "last of row 27": 27 * 28 + 27}
    pixels = torch.tensor(sorted({*range(0, 28 * 28, 3), *named.values()}))
    covered = context = 0
    shares = {}
    for chunk in pixels.split(98):
        field = seen(model, chunk)
        before = torch.arange(28 * 28) < chunk[:, None]
        assert not (field & ~before).any()
        covered += int((field & before).sum())
        context += int(before.sum())
        shares |= {int(p): float(n) / max(1, int(p)) for p, n in zip(chunk, field.sum(1))}
    assert context == pixels.sum()
    assert covered / context >= 0.99
    # A centre pixel sees all. An odd row's last pixel misses the far left of its own row, which only the finest scale
    # could bring: 13 of 783.
    assert shares[named["centre"]] == 1
    assert shares[named["last of row 26"]] == 1
    assert shares[named["last of row 27"]] >= 0.98


def test_a_shallow_model_covers_less():
    # So that the figure above is no property of the measurement.
    model = PixelCNN((1, 28, 28), 256, filters=2, residual_layers=1, scales=1).double().eval()
    assert seen(model, torch.tensor([783])).sum() < 200
