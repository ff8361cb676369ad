"""Which activations a study keeps: those of the narrowest layers, as far as there is room for all checkpoints."""

import math
from collections.abc import Mapping, Sequence

from infoplane.errors import spoken_size

#: bytes that the kept activations of all layers and checkpoints of a study may take together, in its folder
CACHE_BYTES = 8 * 1024**3
#: bytes of a kept value
VALUE = 4


def kept_layers(
    shapes: Mapping[str, Sequence[int]], examples: int, checkpoints: int = 1, *, most: int | None = None
) -> dict[str, int]:
    """Returns the layers whose activations are kept, with their bytes at all checkpoints; the others are computed anew.

    Narrow layers come first: they cost least to keep, and as much as any to compute.

    Args:
        shapes: Layer -> shape of one activation.
        examples: Images of which activations are wanted.
        checkpoints: At how many checkpoints they are wanted.
        most: Bytes that there is room for; default: `CACHE_BYTES`.
    """
    left = CACHE_BYTES if most is None else most
    found: dict[str, int] = {}
    sizes = {layer: VALUE * examples * checkpoints * math.prod(shape) for layer, shape in shapes.items()}
    for layer in sorted(shapes, key=lambda layer: sizes[layer]):
        if sizes[layer] > left:
            break
        found[layer], left = sizes[layer], left - sizes[layer]
    return {layer: found[layer] for layer in shapes if layer in found}


def keeping_words(kept: Mapping[str, int], layers: Sequence[str]) -> str:
    """Returns what is said beforehand of the layers whose activations are kept, with their bytes, and of the others."""
    others = [layer for layer in layers if layer not in kept]
    said = f"activations of {len(kept)} of {len(layers)} layers are kept: about {spoken_size(sum(kept.values()))}"
    if not others:
        return said
    most = spoken_size(CACHE_BYTES)
    return f"{said} of {most} that they may take; computed anew for every batch: {', '.join(others)}"
