"""infoplane layers MODEL --input CxHxW, or --data"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from infoplane import data
from infoplane.capture import default_transform, list_layers
from infoplane.capture.inputs import model_input
from infoplane.cli.references import resolve, resolve_model
from infoplane.errors import UsageError


def layers(reference: str, shape: str | None, source: str | None, transform: str | None) -> int:
    """Prints the layers that fire, in order, with shape and module class.

    Args:
        shape: Of one input; with a transform, of one image.
        source: Instead: data whose first images are the inputs.
        transform: Reference of a function from uint8 images to the model's input.
    """
    if (shape is None) == (source is None):
        received = "neither" if shape is None else "both"
        mend = "--input 3x32x32, or --data with what infoplane measure is to be given"
        raise UsageError("either --input or --data", received=received, legal="one of them", mend=mend)
    model = resolve_model(reference)
    own = None if transform is None else resolve(transform, "transform")
    example = _noise(shape, own) if shape is not None else _first(str(source), own)
    found = list_layers(model, example)
    rows = [("layer", "shape", "module", "")]
    for info in found:
        note = "" if info.problem is None else f"cannot be measured: {info.problem}"
        rows.append((info.name, "×".join(map(str, info.shape)) or "scalar", info.module, note))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip())
    return 0


def _noise(shape: str, transform: Callable[[Tensor], Any] | None) -> Any:
    """Two inputs of that shape, or what becomes of two images of that shape."""
    if not re.fullmatch(r"[1-9]\d*([x×,][1-9]\d*)*", shape):
        raise UsageError("cannot read --input", received=repr(shape), legal="sizes joined by x, e.g. 3x32x32")
    sizes = [int(size) for size in re.split(r"[x×,]", shape)]
    try:
        example = torch.rand(2, *sizes)
    except RuntimeError as error:
        raise UsageError("--input does not fit into memory", received=shape) from error
    return example if transform is None else model_input(transform, (255 * example).round().to(torch.uint8))


def _first(source: str, transform: Callable[[Tensor], Any] | None) -> Any:
    """What becomes of the first two images of a data set."""
    dataset = data.load(source)
    transform = default_transform(dataset.levels) if transform is None else transform
    return model_input(transform, torch.from_numpy(dataset.images[:2]))
