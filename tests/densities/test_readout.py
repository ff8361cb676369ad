"""x̂(h): a ridge regression as another library solves it, on others than those that it predicts."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from infoplane.densities import Autoregressive
from infoplane.densities.autoregressive import folds_of
from infoplane.densities.readout import Readout, largest, predicted

LEVELS = 17


def examples(shape, context, n, *, seed=0):
    """Images that depend on their contexts, and these, standardised."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.randn(n, *context, generator=generator, dtype=torch.float64)
    mixed = h.flatten(1) @ torch.randn(h[0].numel(), int(np.prod(shape)), generator=generator, dtype=torch.float64)
    noisy = mixed + torch.randn(mixed.shape, generator=generator, dtype=torch.float64)
    images = (noisy / noisy.std() * 3 + 8).round().clamp(0, LEVELS - 1).to(torch.uint8).view(n, *shape)
    return images, h


def batches_of(images, h, size=37):
    return lambda: ((rows, images[rows], h[rows]) for rows in torch.arange(len(images)).split(size))


def test_folds_part_groups_whole_and_evenly():
    groups = torch.randint(40, (400,), generator=torch.Generator().manual_seed(0))
    folds = folds_of(groups, 3)
    for group in groups.unique():
        assert len(folds[groups == group].unique()) == 1
    per_fold = [len(groups[folds == fold].unique()) for fold in range(5)]
    assert max(per_fold) - min(per_fold) <= 1
    assert torch.equal(folds, folds_of(groups, 3))
    assert not torch.equal(folds, folds_of(groups, 4))


@pytest.mark.parametrize("context", [(6,), (2, 2, 3)])
def test_the_solution_is_the_ridge_regression_of_another_library(context):
    shape = (2, 3, 4)
    images, h = examples(shape, context, 200)
    folds = folds_of(torch.arange(200), 0)
    readout = Readout(shape, LEVELS, context).double()
    assert not readout.local
    solutions = readout.fit(batches_of(images, h), folds)
    x = h.flatten(1).numpy()
    y = (images.double() * (2 / (LEVELS - 1)) - 1).flatten(1).numpy()

    def by_sklearn(rows, strength):
        # Their penalty is a sum, ours is relative to the variance of the inputs.
        alpha = strength * np.square(x[rows] - x[rows].mean(0)).sum(0).mean()
        return Ridge(alpha=alpha, tol=1e-12, solver="cholesky").fit(x[rows], y[rows])

    own = folds.numpy() == 0
    strengths = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 30.0, 1000.0)

    def error(strength):
        return np.square(by_sklearn(~own, strength).predict(x[own]) - y[own]).sum()

    best = min(strengths, key=error)
    for factor in (3**0.5, 3**0.25):
        best = min((best, best / factor, best * factor), key=error)
    every = np.ones(200, dtype=bool)
    own = [(weight, offset, folds.numpy() != k) for k, (weight, offset) in enumerate(zip(*solutions, strict=True))]
    for weight, offset, rows in [(readout.weight, readout.offset, every), *own]:
        theirs = by_sklearn(rows, best)
        assert np.abs(weight.numpy() - theirs.coef_.T).max() < 1e-6
        # What is added back is the mean of the images that it was solved on.
        assert np.abs(y[rows].mean(0) - offset[0].numpy() - theirs.intercept_).max() < 1e-6
    assert np.abs(readout.mean.flatten().numpy() - y.mean(0)).max() < 1e-12
    told = (readout(h) + readout.mean).flatten(1).numpy()
    assert np.abs(told - by_sklearn(every, best).predict(x)).max() < 1e-6
    parts = [(by_sklearn(folds.numpy() != k, best), folds.numpy() == k) for k in range(5)]
    # By how much each fold is missed, counted from the mean of the others.
    missed = [theirs.predict(x[rows]) - y[~rows].mean(0) - (y[rows] - y.mean(0)) for theirs, rows in parts]
    assert np.abs(np.square(np.concatenate(missed)).mean(0) - readout.left.flatten().numpy()).max() < 1e-6
    assert np.abs(np.square(y - y.mean(0)).mean(0) - readout.spread.flatten().numpy()).max() < 1e-9


@pytest.mark.parametrize("context", [(6,), (2, 2, 3), (8, 6, 6)])
def test_no_example_is_predicted_by_what_saw_it(context, monkeypatch):
    """Another image, or context, of one fold changes no solution that predicts it; and it does change the others."""
    monkeypatch.setattr("infoplane.densities.readout.MOST_UNITS", 64)
    shape = (1, 6, 6)
    images, h = examples(shape, context, 150)
    folds = folds_of(torch.arange(150), 0)
    changed, other = images.clone(), h.clone()
    some = folds == 2
    changed[some], other[some] = LEVELS - 1 - images[some], -h[some].flip(0)
    found = []
    for x, c in ((images, h), (changed, other)):
        readout = Readout(shape, LEVELS, context).double()
        # The strength is of all images, one number.
        monkeypatch.setattr("infoplane.densities.readout._strength", lambda *_: 0.1)
        found.append(readout.fit(batches_of(x, c), folds))
    assert Readout(shape, LEVELS, context).local == (context == (8, 6, 6))
    for k in range(5):
        same = all((one[k] - two[k]).abs().max() < 1e-9 for one, two in zip(*found, strict=True))
        assert same == (k == 2)


def test_a_local_readout_is_a_convolution_that_gives_the_pixels_below():
    """Of images that are a map, three times as fine: each 3×3 block is its cell times a pattern; that is found."""
    generator = torch.Generator().manual_seed(0)
    h = torch.randn(80, 24, 4, 5, generator=generator, dtype=torch.float64)
    pattern = torch.randn(24, 1, 3, 3, generator=generator, dtype=torch.float64)
    exact = torch.nn.functional.conv_transpose2d(h, pattern, stride=3)
    # Every place has its own mean, of the images and of the map.
    exact = exact + 10 * torch.randn(1, 1, 12, 15, generator=generator, dtype=torch.float64)
    h = h + torch.randn(1, 24, 4, 5, generator=generator, dtype=torch.float64)
    scaled = exact / exact.abs().max()
    images = ((scaled + 1) * 127.5).round().to(torch.uint8)
    readout = Readout((1, 12, 15), 256, (24, 4, 5)).double()
    readout.local = True
    readout.cell = (3, 3)
    readout.weight = torch.zeros(9 * 24, 9, dtype=torch.float64)
    readout.offset = torch.zeros(20, 9, dtype=torch.float64)
    readout.fit(batches_of(images, h), folds_of(torch.arange(80), 0))
    left = readout(h) + readout.mean - (images.double() / 127.5 - 1)
    assert float(left.square().mean().sqrt()) < 0.02
    assert float(readout(h).std()) > 0.1


@pytest.mark.parametrize("context", [(3, 5, 4), (4, 7, 7), (9, 13, 2), (5000,)])
def test_whatever_the_sizes_predictions_have_the_shape_of_images(context, monkeypatch):
    monkeypatch.setattr("infoplane.densities.readout.MOST_UNITS", 48)
    shape = (2, 7, 9)
    images, h = examples(shape, context, 60)
    readout = Readout(shape, LEVELS, context).double()
    solutions = readout.fit(batches_of(images, h), folds_of(torch.arange(60), 0))
    assert readout(h).shape == (60, *shape)
    assert predicted(readout, solutions, folds_of(torch.arange(60), 0), h).shape == (60, *shape)
    assert readout.weight.shape[0] <= max(48, 9 * context[0])
    assert largest(7 * 9 * 2) == 48


def test_contexts_that_are_drawn_anew_are_read_by_the_solution_of_their_fold():
    shape = (1, 4, 4)
    images, h = examples(shape, (5,), 100)
    model = Autoregressive(shape, LEVELS, (5,), width=8).double()
    folds = folds_of(torch.arange(100), 1)
    fixed = model.fit_readout(batches_of(images, h), folds, fixed=True)
    fresh = model.fit_readout(batches_of(images, h), folds, fixed=False)
    assert fixed is not None
    assert fresh is not None
    rows = torch.tensor([3, 99, 0, 41])
    torch.testing.assert_close(fixed.of(rows, h[rows]), fresh.of(rows, h[rows]))
    assert not torch.allclose(fresh.of(rows, h[rows]), fresh.of(rows, h[rows] + 1))
