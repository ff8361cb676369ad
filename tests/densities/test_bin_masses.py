"""The mass of a logistic on each level's bin, against scipy in float64 and against the sum that it must have."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from infoplane.densities import log_bin_mass

LEVELS = (2, 3, 17, 256)
LOG_SCALES = (-7.0, -6.3, -5.0, -3.0, -1.0, 0.0, 1.0, 3.0, 5.0)
MEANS = (-50.0, -7.0, -1.5, -1.0, -0.53, 0.0, 1 / 255, 0.71, 1.0, 1.2, 9.0, 50.0)


def masses(levels, dtype, *, requires_grad=False):
    """Returns log-masses (L, cases) with the means and log-scales (cases,) they belong to."""
    mean, log_scale = torch.tensor(list(itertools.product(MEANS, LOG_SCALES)), dtype=dtype).unbind(1)
    mean.requires_grad_(requires_grad)
    log_scale.requires_grad_(requires_grad)
    return log_bin_mass(torch.arange(levels)[:, None], mean, log_scale, levels), mean, log_scale


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
def test_masses_sum_to_one(levels, dtype, tolerance):
    log_mass, _, _ = masses(levels, dtype)
    assert log_mass.dtype == dtype
    assert torch.isfinite(log_mass).all()
    assert (log_mass <= 0).all()
    assert (log_mass.double().exp().sum(0) - 1).abs().max() < tolerance


@pytest.mark.parametrize("levels", LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_finite_everywhere(levels, dtype):
    log_mass, mean, log_scale = masses(levels, dtype, requires_grad=True)
    for row in log_mass:  # level by level: an infinity must not hide behind another level's
        by_mean, by_scale = torch.autograd.grad(row.sum(), (mean, log_scale), retain_graph=True)
        assert torch.isfinite(by_mean).all()
        assert torch.isfinite(by_scale).all()


def slow_log_masses(levels: int, mean: float, log_scale: float) -> np.ndarray:
    """log P(bin k) for k = 0 … L − 1, from scipy's distribution functions on the side where they do not cancel."""
    grid = np.linspace(-1, 1, levels)
    edges = (grid[:-1] + grid[1:]) / 2
    scale = np.exp(log_scale)
    below, above = stats.logistic.logcdf(edges, mean, scale), stats.logistic.logsf(edges, mean, scale)
    right = edges[:-1] > mean
    more = np.where(right, above[:-1], below[1:])
    less = np.where(right, above[1:], below[:-1])
    interior = more + np.log1p(-np.exp(less - more))
    return np.concatenate([below[:1], interior, above[-1:]])


@pytest.mark.parametrize("levels", LEVELS)
def test_masses_are_those_of_scipy(levels):
    log_mass, mean, log_scale = masses(levels, torch.float64)
    expected = np.stack([slow_log_masses(levels, m, s) for m, s in zip(mean.tolist(), log_scale.tolist())], axis=1)
    # The argument (end − μ)/s of a steep tail is 5e4 long, so its last digit is worth 1e-11; bins of width Δ at scale s
    # cost scipy's difference a relative 1e-16 · s/Δ.
    np.testing.assert_allclose(log_mass.numpy(), expected, rtol=1e-12, atol=1e-9)


def test_the_definition_by_hand():
    # μ = 0, s = 1, three levels: bins (−∞, −½], (−½, ½], (½, ∞).
    half = 1 / (1 + np.exp(0.5))
    zero = torch.zeros(3, dtype=torch.float64)
    got = log_bin_mass(torch.arange(3), zero, zero, 3).exp()
    np.testing.assert_allclose(got.numpy(), [half, 1 - 2 * half, half], rtol=1e-14)


@pytest.mark.parametrize("levels", [17, 256])
def test_float32_is_near_float64_where_there_is_mass(levels):
    single, _, _ = masses(levels, torch.float32)
    double, mean, _ = masses(levels, torch.float64)
    weighty = (double > -20) & (mean.abs() <= 1.5)
    assert weighty.sum() > 100
    # At s = e^−7 a mean near 1 is rounded by 6e-8 / s = 7e-5, so the logs differ by as much.
    assert (single.double() - double)[weighty].abs().max() < 5e-4
