"""infoplane layers MODEL --input CxHxW"""

import re

import torch

from infoplane.capture import list_layers
from infoplane.cli.references import resolve_model
from infoplane.errors import UsageError


def layers(reference: str, shape: str) -> int:
    """Prints the layers that fire, in order, with shape and module class."""
    if not re.fullmatch(r"[1-9]\d*([x×,][1-9]\d*)*", shape):
        raise UsageError("cannot read --input", received=repr(shape), legal="sizes joined by x, e.g. 3x32x32")
    sizes = [int(size) for size in re.split(r"[x×,]", shape)]
    model = resolve_model(reference)
    try:
        example = torch.rand(2, *sizes)
    except RuntimeError as error:
        raise UsageError("--input does not fit into memory", received=shape) from error
    found = list_layers(model, example)
    rows = [("layer", "shape", "module", "")]
    for info in found:
        note = "" if info.problem is None else f"cannot be measured: {info.problem}"
        rows.append((info.name, "×".join(map(str, info.shape)) or "scalar", info.module, note))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip())
    return 0
