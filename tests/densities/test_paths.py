"""A density is one on every path that this machine has: eager, in half precision, compiled, and on a GPU."""

import shutil
import sysconfig
from pathlib import Path

import pytest
import torch

from infoplane.inversion import FitSettings
from infoplane.inversion.fast import compiled, laid_out
from infoplane.inversion.precision import autocast
from tiny_densities import LIKELIHOODS, build, every_image, random_images

# The compiler's own modules warn of each other when they are imported.
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")

HEADERS = Path(sysconfig.get_paths()["include"], "Python.h")
NO_COMPILER = pytest.mark.skipif(
    shutil.which("g++") is None or not HEADERS.is_file(), reason="no C++ compiler, or no headers, for torch.compile"
)
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
PATHS = [
    pytest.param("cpu", "float32", False, id="eager"),
    pytest.param("cpu", "bfloat16", False, id="bfloat16"),
    # Compiling takes half a minute each time, however small the model.
    pytest.param("cpu", "float32", True, id="compiled", marks=[NO_COMPILER, pytest.mark.slow]),
    pytest.param("cuda", "float32", False, id="gpu", marks=NO_GPU),
    pytest.param("cuda", "bfloat16", True, id="gpu, bfloat16, compiled", marks=NO_GPU),
]
#: relative to the largest value: what is rounded on the way
ROUNDED = {"float32": 1e-4, "bfloat16": 0.05}


class Way:
    """A function of images and context as one path computes it."""

    def __init__(self, function, device, precision, compile):
        self.device, self.settings = torch.device(device), FitSettings(precision=precision)
        self.function = compiled(function) if compile else function

    def __call__(self, images, context=None):
        """The result, on the processor."""
        context = None if context is None else context.to(self.device)
        with autocast(self.settings, self.device):
            return self.function(images.to(self.device), context).cpu()


def log_probs(model, *path):
    """log q of images as a path computes it."""
    device = torch.device(path[0])
    model = laid_out(model.to(device), device)
    return Way(lambda images, context: model.log_prob(images, context), *path)


@pytest.mark.parametrize(("device", "precision", "compile"), PATHS)
@pytest.mark.parametrize("likelihood", LIKELIHOODS)
@torch.no_grad()
def test_probabilities_sum_to_one_and_are_those_of_the_plain_path(likelihood, device, precision, compile):
    context = torch.randn(5, generator=torch.Generator().manual_seed(3)).expand(256, 5)
    images = every_image((1, 2, 2), 4)
    model = build((1, 2, 2), 4, scale=0.5, likelihood=likelihood, context=(5,))
    plain = model.log_prob(images, context)
    found = log_probs(model, device, precision, compile)(images, context)
    assert float(found.double().exp().sum()) == pytest.approx(1, abs=1e-5)
    assert found.dtype == torch.float32
    assert (found - plain).abs().max() < ROUNDED[precision] * plain.abs().max()
    # The test is no test where q is uniform.
    assert plain.max() > plain.min() + 1


@pytest.mark.parametrize(("device", "precision", "compile"), PATHS)
@torch.no_grad()
def test_no_pixel_changes_anything_before_it(device, precision, compile):
    model = build((1, 5, 6), 4, scale=0.4, context=(3, 2, 2), scales=1, filters=2)
    model = laid_out(model.to(device), torch.device(device))
    path = Way(lambda images, context: model.log_prob_map(images, context), device, precision, compile)
    image = random_images(model.shape, 4, 1)
    images = image.repeat(31, 1, 1, 1)
    flat = images[1:].view(30, 30)  # copy k has another pixel k
    flat[torch.arange(30), torch.arange(30)] = 3 - flat[torch.arange(30), torch.arange(30)]
    context = torch.randn(1, 3, 2, 2, generator=torch.Generator().manual_seed(1)).expand(31, 3, 2, 2)
    pixels = path(images, context).flatten(1)
    change = (pixels[1:] - pixels[:1]).abs()
    places = torch.arange(30)
    assert change[places < places[:, None]].max() < 1e-5
    assert change[places, places].min() > 1e-3


@pytest.mark.parametrize(("device", "precision", "compile"), PATHS[1:])
def test_gradients_are_those_of_the_plain_path(device, precision, compile):
    images, found = random_images((1, 5, 5), 4, 16), []
    for path in (("cpu", "float32", False), (device, precision, compile)):
        model = build((1, 5, 5), 4, scale=0.3, context=(2,), dropout=0.0).train()
        context = torch.randn(16, 2, generator=torch.Generator().manual_seed(1))
        (-log_probs(model, *path)(images, context).mean()).backward()
        found.append(torch.cat([p.grad.cpu().flatten() for p in model.parameters() if p.grad is not None]))
    assert found[0].norm() > 0.1
    assert (found[1] - found[0]).norm() < ROUNDED[precision] * found[0].norm()
