"""infoplane layers MODEL --input CxHxW, or --data"""

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from infoplane import data
from infoplane.capture import as_taken, default_transform, list_layers, model_input
from infoplane.capture.pytrees import own_batch
from infoplane.cli import print_rows
from infoplane.cli.references import patterns, resolve, resolve_model
from infoplane.errors import UsageError


def layers(reference: str, shape: str | None, source: str | None, transform: str | None, read_as: list[str]) -> int:
    """Prints the layers that fire, in order, with shape and module class, and how each would be read.

    Args:
        shape: Of one input; with a transform, of one image.
        source: Instead: data whose first images are the inputs.
        transform: Reference of a function from uint8 images to the model's input.
        read_as: layer=axes, where that should not be left to the program.
    """
    if (shape is None) == (source is None):
        received = "neither" if shape is None else "both"
        mend = "--input 3x32x32, or --data with what infoplane measure is to be given"
        raise UsageError("either --input or --data", received=received, legal="one of them", mend=mend)
    model = resolve_model(reference)
    own = None if transform is None else resolve(transform, "transform")
    example, image = _noise(shape, own) if shape is not None else _first(str(source), own)
    if own is None:
        example = as_taken(model, example)
    try:
        found = list_layers(model, example, read_as=patterns(read_as), image=image)
    except UsageError as error:
        if shape is None or "does not run on these inputs" not in str(error):
            raise
        what = "one image" if own is not None else "one input"
        mend = f"--input is the shape of {what} without the batch, e.g. 3x32x32 for images, 28 for vectors of 28 values"
        raise UsageError(str(error), mend=f"with --input {shape}; {mend}") from error
    rows = [("layer", "shape", "module", "read as")]
    for info in found:
        note = (
            f"cannot be measured: {info.problem}"
            if info.reading is None
            else "; ".join([info.reading.words, *info.notes])
        )
        rows.append((info.name, "×".join(map(str, info.shape)) or "scalar", info.module, note))
    print_rows(rows)
    return 0


def _noise(shape: str, transform: Callable[[Tensor], Any] | None) -> tuple[Any, tuple[int, int] | None]:
    """Two inputs of that shape, or what becomes of two images of that shape; rows and columns of the images."""
    if not re.fullmatch(r"[1-9]\d*([x×,][1-9]\d*)*", shape):
        raise UsageError("cannot read --input", received=repr(shape), legal="sizes joined by x, e.g. 3x32x32")
    sizes = [int(size) for size in re.split(r"[x×,]", shape)]
    try:
        example = torch.rand(2, *sizes)
    except RuntimeError as error:
        raise UsageError("--input does not fit into memory", received=shape) from error
    if transform is None:
        return example, None
    images = (255 * example).round().to(torch.uint8)
    return model_input(transform, images), (sizes[-2], sizes[-1]) if len(sizes) == 3 else None


def _first(source: str, transform: Callable[[Tensor], Any] | None) -> tuple[Any, tuple[int, int]]:
    """What becomes of the first two images of a data set; their rows and columns."""
    dataset = data.load(source)
    transform = default_transform(dataset.levels) if transform is None else transform
    return model_input(transform, own_batch(dataset.images[:2])), dataset.shape[1:]
