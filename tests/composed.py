"""Densities put together from parts, small enough to enumerate: every combination that there is."""

import itertools

import torch

from infoplane.densities import Autoregressive, Density
from tiny_densities import scramble

BASES, TRUNKS, HEADS = ("none", "linear"), ("window", "pixelcnn", "transformer"), ("softmax", "logistic", "relative")
FORMS = ("biases", "decoded", "both")
#: all that can be combined; a relative head needs something that it is relative to
PARTS = [parts for parts in itertools.product(BASES, TRUNKS, HEADS) if parts[::2] != ("none", "relative")]
#: no context, a vector, a map that is coarser than the image, and one that is finer
CONTEXTS: dict[str, tuple[int, ...] | None] = {"none": None, "vector": (5,), "coarse": (2, 1, 2), "fine": (2, 5, 3)}


def names(parts: tuple[str, ...]) -> str:
    """What a combination is called in a test's name."""
    return " ".join(parts)


def compose(shape, levels, parts, context=None, *, form="decoded", seed=0, scale=0.5, **options) -> Autoregressive:
    """Returns a small density in evaluation mode, float64, all of whose parameters and readouts are random."""
    base, trunk, head = parts
    small = {"width": 16, "depth": 1, "heads": 2, "filters": 4, "residual_layers": 1, "scales": 2, "hidden": 4}
    small |= {"mixtures": 3, "far": (2,), "dropout": 0.0, "whole": True} | options
    torch.manual_seed(seed)
    model = Autoregressive(shape, levels, context, base=base, trunk=trunk, head=head, form=form, **small)
    return randomise(model.double().eval(), scale, seed=seed)


def randomise(model: Density, scale: float, *, seed: int = 0) -> Density:
    """Begins a density, float64, on random images, and draws all of its parameters and readouts at random."""
    generator = torch.Generator().manual_seed(seed + 2)
    model.initialise(torch.randint(model.levels, (64, *model.shape), generator=generator, dtype=torch.uint8))
    scramble(model, scale, seed=seed + 1)
    for name, buffer in model.named_buffers():
        if "readout" in name:
            buffer.copy_(torch.randn(buffer.shape, generator=generator, dtype=torch.float64))
    return model


def contexts_of(model: Density, n: int, *, seed: int = 3):
    """Returns n strong random contexts of a model's shape, or None."""
    generator = torch.Generator().manual_seed(seed)
    shape = model.context
    return None if shape is None else 2 * torch.randn(n, *shape, generator=generator, dtype=torch.float64)
