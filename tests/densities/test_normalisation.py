"""Σ_x q(x|h) = 1: every image of a tiny space is scored, and the probabilities are added up."""

import pytest
import torch

from tiny_densities import LIKELIHOODS, build, every_image, table


def assert_normalised(model, tolerance=1e-5):
    probabilities = table(model)
    assert torch.isfinite(probabilities).all()
    assert abs(float(probabilities.sum()) - 1) < tolerance
    return probabilities


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
