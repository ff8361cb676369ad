"""What a density refuses, in one line each."""

import pytest
import torch
from tiny_densities import LIKELIHOODS, build, random_images

from infoplane.densities import PixelCNN


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_images_that_do_not_fit(likelihood, refuses):
    model = build((1, 3, 4), 5, likelihood=likelihood)
    good = random_images((1, 3, 4), 5, 2)
    assert torch.isfinite(model.log_prob(good)).all()
    for call in (model.log_prob, model.initialise):
        with refuses("images", "float32 (2, 1, 3, 4)", "integer levels (B, 1, 3, 4)"):
            call(good.float())
        with refuses("images", "(2, 1, 4, 3)", "(B, 1, 3, 4)"):
            call(good.transpose(2, 3))
        with refuses("images", "(1, 3, 4)"):
            call(good[0])
        with refuses("levels", "0 … 5", "0 … 4"):
            call(torch.full_like(good, 5).index_fill_(2, torch.tensor([0]), 0))
        with refuses("levels", "-1", "0 … 4"):
            call(torch.full_like(good, -1, dtype=torch.int16))


def test_contexts_that_do_not_fit(refuses):
    images = random_images((1, 3, 4), 5, 2)
    plain, vector, spatial = (build((1, 3, 4), 5, context=c) for c in (None, (6,), (2, 3, 3)))
    with refuses("unconditional", "(2, 6)"):
        plain.log_prob(images, torch.zeros(2, 6))
    with refuses("unconditional"):
        plain.sample(torch.zeros(2, 6))
    with refuses("context", "none", "(B, 6)"):
        vector.log_prob(images)
    with refuses("context", "none"):
        vector.sample(n=2)
    with refuses("context", "(2, 5)", "(B, 6)"):
        vector.log_prob(images, torch.zeros(2, 5))
    with refuses("context", "(2, 6)", "(B, 2, 3, 3)"):
        spatial.log_prob(images, torch.zeros(2, 6))
    with refuses("length", "2 and 3"):
        vector.log_prob(images, torch.zeros(3, 6))
    with refuses("n differs", "3 and 2"):
        vector.sample(torch.zeros(2, 6), n=3)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": (3, 4)}, ("shape cannot be used", "(3, 4)", "a list of 3")),
        ({"shape": (1, 0, 4)}, ("image shape", "(1, 0, 4)")),
        ({"levels": 1}, ("levels", "1", "from 2 to 256")),
        ({"levels": 257}, ("levels", "257", "from 2 to 256")),
        ({"context": (2, 3)}, ("context", "(2, 3)")),
        ({"context": (0,)}, ("context", "(0,)")),
        ({"likelihood": "gaussian"}, ("likelihood", "'gaussian'", "categorical, logistic_mixture")),
        ({"conditioning": "magic"}, ("conditioning", "'magic'", "resize, learned, vector")),
        ({"filters": 0}, ("filters", "0")),
        ({"residual_layers": 0}, ("residual_layers", "0")),
        ({"scales": 0}, ("scales", "0")),
        ({"likelihood": "logistic_mixture", "mixtures": 0}, ("mixtures", "0")),
        ({"dropout": 1.5}, ("dropout", "1.5")),
        ({"context_dropout": -0.1}, ("context_dropout", "-0.1")),
    ],
)
def test_settings_that_do_not_make_sense(arguments, words, refuses):
    with refuses(*words):
        PixelCNN(**{"shape": (1, 4, 4), "levels": 4, "filters": 2, "residual_layers": 1, "scales": 1} | arguments)
