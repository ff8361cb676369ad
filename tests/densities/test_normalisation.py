"""Σ_x q(x|h) = 1: every image of a tiny space is scored, and the probabilities are added up."""

import pytest
import torch
from tiny_densities import LIKELIHOODS, build, every_image, random_images, table

CONTEXTS = {
    "none": {},
    "vector": {"context": (5,)},
    "map, larger, resize": {"context": (2, 5, 3), "conditioning": "resize"},
    "map, larger, learned": {"context": (2, 5, 3), "conditioning": "learned"},
    "map, smaller, resize": {"context": (2, 1, 1), "conditioning": "resize"},
    "map, smaller, learned": {"context": (2, 1, 1), "conditioning": "learned"},
}


def draw_context(model, seed=3):
    """Returns a strong random context of the model's shape, or None."""
    generator = torch.Generator().manual_seed(seed)
    return None if model.context is None else 3 * torch.randn(model.context, generator=generator)


def assert_normalised(model, tolerance=1e-5):
    probabilities = table(model, draw_context(model))
    assert torch.isfinite(probabilities).all()
    assert abs(float(probabilities.sum()) - 1) < tolerance
    return probabilities


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 2), 4), ((3, 2, 2), 2)])
def test_probabilities_of_all_images_sum_to_one(shape, levels, context, likelihood):
    for seed, scale in enumerate((0.1, 0.5, 3.0)):
        model = build(shape, levels, seed=seed, scale=scale, likelihood=likelihood, **CONTEXTS[context])
        probabilities = assert_normalised(model)
        # The test is no test where q is uniform.
        assert probabilities.max() > 1.02 * probabilities.min()
    assert_normalised(model.double(), 1e-10)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize(("shape", "levels"), [((1, 2, 2), 4), ((3, 2, 2), 2)])
def test_normalised_after_initialisation_on_data(shape, levels, context, likelihood):
    model = build(shape, levels, likelihood=likelihood, **CONTEXTS[context])
    model.initialise(random_images(shape, levels, 32))
    assert_normalised(model)
    assert_normalised(model.double(), 1e-10)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("shape", [(1, 1, 2), (1, 3, 1), (1, 1, 3), (1, 1, 5), (1, 2, 3), (2, 3, 1)])
def test_odd_and_thin_images(shape, likelihood):
    for scale in (None, 0.5):
        model = build(shape, 3, scale=scale, scales=3, likelihood=likelihood)
        if scale is None:
            model.initialise(random_images(shape, 3, 32))
        assert_normalised(model)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("levels", [2, 17, 256])
def test_any_number_of_levels(levels, likelihood):
    for scale in (0.1, 1.0, 3.0):
        model = build((1, 1, 1), levels, scale=scale, scales=3, likelihood=likelihood)
        assert_normalised(model)
        assert_normalised(model.double(), 1e-10)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("options", [{"weight_norm": False}, {"residual_layers": 2, "scales": 1}, {"mixtures": 1}])
def test_other_options_leave_it_normalised(options, likelihood):
    assert_normalised(build((1, 2, 2), 3, scale=0.5, likelihood=likelihood, **options))


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_half_precision_weights_give_float32_log_probabilities(likelihood):
    # In bfloat16 a log-probability has 3 digits; the sum over 256 images would miss 1 by far more than 1e-5.
    model = build((1, 2, 2), 4, scale=0.5, dtype=torch.bfloat16, likelihood=likelihood)
    assert model.log_prob(every_image((1, 2, 2), 4)).dtype == torch.float32
    assert_normalised(model)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_log_prob_is_the_sum_of_its_map(likelihood):
    model = build((2, 3, 2), 3, scale=0.5, dtype=torch.float64, likelihood=likelihood)
    images = random_images((2, 3, 2), 3, 7)
    pixels = model.log_prob_map(images)
    assert pixels.shape == (7, 3, 2)
    assert model.log_prob(images).shape == (7,)
    assert model.log_prob(images).dtype == torch.float64
    torch.testing.assert_close(model.log_prob(images), pixels.sum((1, 2)), rtol=1e-14, atol=0)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_any_integer_type_scores_the_same(dtype, likelihood):
    model = build((2, 3, 2), 3, scale=0.5, likelihood=likelihood)
    images = random_images((2, 3, 2), 3, 4)
    assert torch.equal(model.log_prob(images.to(dtype)), model.log_prob(images))
