"""What is known of a layer's axes before they are read: from runs at other sizes, and from the module that made it."""

import dataclasses

from torch import nn

Grid = tuple[int, int]
Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is known of one layer.

    Attributes:
        shape: For one example.
        module: What made it.
        taller, wider: Its shape where the image has another height, or width; None where that could not be seen.
        leading: Leading tokens that the model declares, as `num_prefix_tokens` does.
        random: Whether it is drawn anew in every run, perhaps in another order.
    """

    name: str
    shape: Shape
    module: nn.Module
    taller: Shape | None = None
    wider: Shape | None = None
    leading: int | None = None
    random: bool = False


def changed_axes(layer: Evidence, other: Shape | None) -> list[int]:
    """The axes that are of another size there."""
    if other is None or len(other) != len(layer.shape):
        return []
    return [axis for axis, sizes in enumerate(zip(layer.shape, other, strict=True)) if sizes[0] != sizes[1]]


def channel_axis(layer: Evidence) -> int | None:
    """Where the module that made the layer puts its features, or None where it does not say."""
    shape, module, last = layer.shape, layer.module, len(layer.shape) - 1
    kind = type(module).__name__
    if isinstance(module, nn.Linear | nn.Embedding):
        return last
    if "norm" in kind.lower():
        # Whatever its name and base: its weights are as many as there are features.
        width = getattr(module, "normalized_shape", None) or getattr(getattr(module, "weight", None), "shape", ())
        fitting = [axis for axis in (0, last) if tuple(width) == (shape[axis],)]
        return fitting[0] if len(set(fitting)) == 1 else None
    return 0 if f"{last}d" in kind else None
