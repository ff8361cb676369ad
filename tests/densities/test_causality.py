"""Nearly all that comes before a pixel in raster order is seen."""

import torch

from infoplane.densities import PixelCNN


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
