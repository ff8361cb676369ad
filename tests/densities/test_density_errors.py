"""Options of PixelCNN++ that are refused, in one line each."""

import pytest

from infoplane.densities import PixelCNN


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
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
