"""The MSE inverter: any context to any image size, its loss, its grid, and that it learns E[x|h]."""

import numpy as np
import pytest
import torch

from infoplane.inversion import FitSettings, Pairs, Reconstructor, SquaredError, fit


@pytest.mark.parametrize("context", [(1,), (10,), (3, 1, 1), (3, 2, 5), (2, 8, 8), (2, 30, 17)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 2), (1, 8, 8), (3, 7, 10), (2, 28, 28)])
def test_any_context_gives_any_image(shape, context):
    torch.manual_seed(0)
    model = Reconstructor(shape, context, filters=4)
    images = model(torch.randn(3, *context))
    assert images.shape == (3, *shape)
    assert torch.isfinite(images).all()
    images.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_squared_error_is_per_pixel_on_the_unit_scale():
    torch.manual_seed(0)
    model = Reconstructor((2, 3, 4), (5,), filters=4)
    generator = np.random.default_rng(0)
    images, context = generator.integers(0, 17, (6, 2, 3, 4), dtype=np.uint8), torch.randn(6, 5)
    got = SquaredError(model, 17)(torch.from_numpy(images), context)
    made = model(context).detach().numpy().astype(np.float64)
    expected = [np.mean((made[b] - images[b] / 16.0) ** 2) for b in range(6)]
    np.testing.assert_allclose(got.detach().numpy(), expected, rtol=1e-5)


def test_reconstructions_lie_on_the_grid():
    torch.manual_seed(0)
    model = Reconstructor((1, 4, 4), (5,), filters=4)
    context = 3000 * torch.randn(8, 5)
    made = model.reconstruct(context, 17)
    assert made.dtype == torch.uint8
    expected = np.rint(np.clip(model(context).detach().numpy(), 0, 1) * 16)
    assert np.array_equal(made.numpy(), expected)
    assert made.min() == 0  # so large a context leaves the scale, and is clipped
    assert made.max() == 16


def test_it_learns_the_conditional_mean():
    # Given h, x is one of two images, 3 to 1: the least squared error is at their weighted mean.
    images = torch.zeros(80, 1, 2, 2, dtype=torch.uint8)
    h = torch.arange(80) % 2
    often = torch.arange(80) % 8 < 6
    images[(h == 0) & often, :, 0] = 4
    images[(h == 1) & often, :, :, 1] = 4
    context = (2.0 * h - 1)[:, None]
    torch.manual_seed(0)
    model = Reconstructor((1, 2, 2), (1,), filters=16)
    pairs = Pairs(images, context)
    loss = SquaredError(model, 5)
    settings = FitSettings(updates=300, evaluations=3, batch=16, learning_rate=5e-3, weight_decay=0.0)
    curve = fit(model, loss, pairs, pairs, settings, seed=0)
    with torch.no_grad():
        zero, one = model(torch.tensor([[-1.0], [1.0]]))[:, 0]
    torch.testing.assert_close(zero, torch.tensor([[0.75, 0.75], [0.0, 0.0]]), rtol=0, atol=0.05)
    torch.testing.assert_close(one, torch.tensor([[0.0, 0.75], [0.0, 0.75]]), rtol=0, atol=0.05)
    assert curve.best_loss == pytest.approx(0.5 * 0.75 * 0.25, abs=0.003)  # the variance that h leaves
