"""Densities small enough to enumerate, and every image they range over."""

import itertools

import torch
from torch import Tensor, nn

from infoplane.densities import PixelCNN

LIKELIHOODS = ("categorical", "logistic_mixture")


def build(shape, levels, *, seed=0, scale=None, dtype=torch.float32, **options) -> PixelCNN:
    """Returns a small model in evaluation mode; with `scale`, every parameter is drawn anew from N(0, scale²)."""
    torch.manual_seed(seed)
    chosen = {"filters": 4, "residual_layers": 1, "scales": 2, "mixtures": 3, "dropout": 0.5} | options
    model = PixelCNN(shape, levels, **chosen).to(dtype).eval()
    return model if scale is None else scramble(model, scale, seed=seed + 1)


def scramble(model, scale: float, *, seed: int):
    """Draws every parameter from N(0, scale²)."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(scale * drawn)
    return model


def every_image(shape, levels: int) -> Tensor:
    """Returns all `levels ** size` images in counting order: uint8 (n, C, H, W)."""
    size = shape[0] * shape[1] * shape[2]
    grid = torch.tensor(list(itertools.product(range(levels), repeat=size)), dtype=torch.uint8)
    return grid.view(-1, *shape)


def number_of(images: Tensor, levels: int) -> Tensor:
    """Returns the place of each image in `every_image`: (n,)."""
    flat = images.flatten(1).long()
    powers = levels ** torch.arange(flat.shape[1] - 1, -1, -1)
    return (flat * powers).sum(1)


def random_images(shape, levels: int, n: int, *, seed: int = 0) -> Tensor:
    """Returns n images of independent uniform pixels."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, levels, (n, *shape), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def table(model: PixelCNN, context: Tensor | None = None) -> Tensor:
    """Returns the probability of every image under one context (no batch dimension) or none: float64 (n,)."""
    images = every_image(model.shape, model.levels)
    contexts = None if context is None else context.expand(len(images), *context.shape)
    return model.log_prob(images, contexts).double().exp()


def layers_of(model: nn.Module, kind: type) -> list:
    """Returns the sub-modules of a type, in the order in which they were registered."""
    return [module for module in model.modules() if isinstance(module, kind)]
