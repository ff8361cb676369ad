"""Samples have the probabilities that log_prob gives, image by image."""

import numpy as np
import pytest
import torch
from scipy import stats
from tiny_densities import LIKELIHOODS, build, number_of, random_images, table


def agree(images, probabilities, levels) -> float:
    """Returns the p-value of a chi-square test of the images' frequencies, rare images pooled."""
    counts = np.bincount(number_of(images, levels).numpy(), minlength=len(probabilities))
    expected = probabilities.numpy() / float(probabilities.sum()) * len(images)
    order = np.argsort(-expected)
    counts, expected = counts[order], expected[order]
    common = max(1, int((expected >= 5).sum()))
    pooled = np.append(expected[:common], expected[common:].sum())
    seen = np.append(counts[:common], counts[common:].sum())
    if pooled[-1] < 5:  # too rare even together: into the rarest of the common ones
        pooled[-2] += pooled[-1]
        seen[-2] += seen[-1]
        pooled, seen = pooled[:-1], seen[:-1]
    assert len(pooled) > 10
    return float(stats.chisquare(seen, pooled).pvalue)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize(("shape", "levels"), [((1, 1, 2), 4), ((1, 2, 2), 3), ((3, 1, 2), 2), ((3, 2, 1), 3)])
def test_frequencies_are_probabilities(shape, levels, likelihood):
    model = build(shape, levels, scale=0.5, likelihood=likelihood)
    probabilities = table(model)
    images = model.sample(n=20_000, generator=torch.Generator().manual_seed(0))
    assert images.dtype == torch.uint8
    assert images.shape == (20_000, *shape)
    assert images.max() < levels
    assert agree(images, probabilities, levels) > 1e-3
    # The test can fail: another model's probabilities are not these.
    other = table(build(shape, levels, seed=7, scale=0.5, likelihood=likelihood))
    assert agree(images, other, levels) < 1e-6


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("context", [(3,), (2, 2, 2)])
def test_each_row_of_the_context_gives_its_own_samples(context, likelihood):
    model = build((1, 2, 2), 3, scale=0.5, likelihood=likelihood, context=context)
    two = 2 * torch.randn(2, *context, generator=torch.Generator().manual_seed(0))
    rows = torch.arange(20_000) % 2  # interleaved, so that a mix-up of rows is seen
    images = model.sample(two[rows], generator=torch.Generator().manual_seed(0))
    assert images.shape == (20_000, 1, 2, 2)
    for k in range(2):
        mine, others = table(model, two[k]), table(model, two[1 - k])
        assert agree(images[rows == k], mine, 3) > 1e-3
        assert agree(images[rows == k], others, 3) < 1e-6


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_larger_models_sample_within_their_levels(likelihood):
    model = build((3, 5, 7), 256, scale=1.0, scales=3, likelihood=likelihood)
    images = model.sample(n=3, generator=torch.Generator().manual_seed(0))
    assert images.shape == (3, 3, 5, 7)
    assert images.dtype == torch.uint8
    assert len(images.unique()) > 1
    assert torch.isfinite(model.log_prob(images)).all()


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_generator_decides_and_the_global_state_stays(likelihood):
    model = build((1, 3, 3), 4, scale=0.5, likelihood=likelihood)
    before = torch.get_rng_state()
    first, again, other = (model.sample(n=20, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    free = model.sample(n=20)
    torch.manual_seed(4)
    assert torch.equal(model.sample(n=20), free)


def test_how_many():
    model = build((1, 2, 2), 3)
    assert model.sample().shape == (1, 1, 2, 2)
    assert model.sample(n=5).shape == (5, 1, 2, 2)
    model = build((1, 2, 2), 3, context=(4,))
    assert model.sample(torch.randn(6, 4)).shape == (6, 1, 2, 2)
    assert model.sample(torch.randn(1, 4), n=3).shape == (3, 1, 2, 2)
    assert model.sample(torch.randn(3, 4), n=3).shape == (3, 1, 2, 2)


def test_dropout_is_off_while_sampling_and_the_mode_stays():
    model = build((1, 3, 3), 4, scale=0.5, dropout=0.9)
    quiet = model.sample(n=50, generator=torch.Generator().manual_seed(0))
    assert not model.training
    model.train()
    assert torch.equal(model.sample(n=50, generator=torch.Generator().manual_seed(0)), quiet)
    assert model.training
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


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


def test_sampling_tells_its_progress():
    model, seen = build((1, 3, 5), 3), []
    generator = torch.Generator().manual_seed(0)
    drawn = model.sample(n=2, generator=generator, progress=lambda *told: seen.append(told))
    assert seen == [(5, 15), (10, 15), (15, 15)]
    assert torch.equal(drawn, model.sample(n=2, generator=torch.Generator().manual_seed(0)))


def test_fewer_than_no_samples_are_refused(refuses):
    with refuses("bad number of samples", "-1", "0 or more"):
        build((1, 2, 2), 3).sample(n=-1)
    assert build((1, 2, 2), 3).sample(n=0).shape == (0, 1, 2, 2)
