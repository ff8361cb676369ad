"""Whitened inputs against numpy's covariances, and a layer that takes them folded against one that does not."""

import numpy as np
import pytest
import torch
from torch import nn

from infoplane.densities import Autoregressive
from infoplane.densities.whitening import DAMPING, Whitening
from infoplane.densities.window import Places
from infoplane.densities.window_trunk import WindowTrunk


def correlated(n=4000, seed=0):
    """Six inputs that share most of what they are: what they share varies 150 times more than what tells them apart."""
    generator = torch.Generator().manual_seed(seed)
    own, shared = torch.randn(n, 6, generator=generator), torch.randn(n, 1, generator=generator)
    return 3 + 5 * shared + own


def test_the_covariance_becomes_that_of_a_damped_identity():
    x = correlated()
    whitening = Whitening(6)
    whitening.fit(x)
    found = np.cov(whitening(x).double().numpy(), rowvar=False, ddof=0)
    values, vectors = np.linalg.eigh(np.cov(x.double().numpy(), rowvar=False, ddof=0))
    expected = (vectors * (values / (values + DAMPING * values.mean()))) @ vectors.T
    assert np.abs(found - expected).max() < 1e-3
    # It is no empty statement: as they are, any two inputs are correlated by more than .9.
    assert np.corrcoef(x.numpy(), rowvar=False).min() > 0.9
    assert np.abs(found - np.eye(6)).max() < 0.05


def test_what_is_white_stays_as_it_is_but_for_its_size():
    x = torch.randn(20_000, 4, generator=torch.Generator().manual_seed(1)) * 7
    whitening = Whitening(4)
    whitening.fit(x)
    # The sample's own covariances are within 5 / √n of the identity.
    assert torch.allclose(whitening(x), (x - x.mean(0)) / 7, atol=0.2)


@pytest.mark.parametrize("x", [torch.full((50, 3), 2.0), torch.zeros(50, 3)])
def test_inputs_that_are_all_alike_stay_finite(x):
    whitening = Whitening(3)
    whitening.fit(x)
    assert whitening(x + 1).isfinite().all()


def test_a_folded_layer_is_the_same_layer():
    torch.manual_seed(0)
    x, whitening, layer = correlated().double(), Whitening(6).double(), nn.Linear(6, 5).double()
    whitening.fit(x)
    weight, bias = whitening.folded(layer)
    assert torch.allclose(torch.addmm(bias, x, weight), layer(whitening(x)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8)])
def test_a_density_of_windows_with_a_base_begins_with_white_inputs(shape):
    """Of images whose pixels are much alike. Beyond the edge a window repeats pixels: those directions do not vary."""
    generator = torch.Generator().manual_seed(0)
    smooth = torch.randn(60, shape[0], 8, 8, generator=generator).cumsum(2).cumsum(3)
    images = (120 + 6 * smooth + 3 * torch.randn(60, *shape, generator=generator)).clamp(0, 255).to(torch.uint8)
    density = Autoregressive(shape, base="linear")
    assert isinstance(density.trunk, WindowTrunk)
    assert density.trunk.whitening is not None
    every = Places.every(60, 64, images.device)
    with torch.no_grad():
        density.initialise(images)
        before = density.trunk.inputs(images, every, density._based(images, every))
        after = density.trunk.whitening(before)

    def variances(x):
        """Of the principal directions, from the smallest."""
        return torch.linalg.eigvalsh(torch.cov(x.double().T)).clamp_min(0)

    known = variances(before)
    assert known[-1] / known[len(known) // 2] > 100
    expected = known / (known + DAMPING * known.mean())
    assert torch.allclose(variances(after), expected, atol=0.01)
