"""Samples have the probabilities that log_prob gives, image by image."""

import pytest
import torch

from tiny_densities import LIKELIHOODS, build, random_images


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_larger_models_sample_within_their_levels(likelihood):
    model = build((3, 5, 7), 256, scale=1.0, scales=3, likelihood=likelihood)
    images = model.sample(n=3, generator=torch.Generator().manual_seed(0))
    assert images.shape == (3, 3, 5, 7)
    assert images.dtype == torch.uint8
    assert len(images.unique()) > 1
    assert torch.isfinite(model.log_prob(images)).all()


@pytest.mark.parametrize("context", [None, (3,), (2, 4, 5)], ids=["none", "vector", "map"])
@pytest.mark.parametrize("conditioning", ["resize", "learned", "vector"])
@pytest.mark.parametrize("scales", [1, 2, 3])
@pytest.mark.parametrize("size", [(7, 5), (5, 9), (6, 7)])
@torch.no_grad()
def test_the_upper_rows_of_an_image_have_the_features_that_they_have_in_the_whole(size, scales, conditioning, context):
    """Sampling leaves out the rows below the current one: what it draws from must be the same."""
    shape = (2, *size)
    options = {} if context is None else {"context": context, "conditioning": conditioning}
    model = build(shape, 4, scale=0.3, dtype=torch.float64, scales=scales, **options)
    images = random_images(shape, 4, 3)
    h = None if context is None else torch.randn(3, *context, dtype=torch.float64)
    whole = model.features(images, h)
    biases = model._biases(h)
    assert whole.std() > 1e-3
    for rows in range(1, size[0] + 1):
        upper = model.stream_features(images[:, :, :rows], biases)
        torch.testing.assert_close(upper, whole[:, :, :rows], rtol=1e-12, atol=1e-12)
    if h is not None:
        assert not torch.allclose(model.features(images, -h), whole, rtol=1e-6, atol=1e-6)
