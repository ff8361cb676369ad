"""Runs of a network from a seed, compared unit by unit: what dependence and functions are found by."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.capture.generators import RandomStream, seeded
from infoplane.capture.hooks import Key, run_with_hooks
from infoplane.capture.pytrees import Inputs, leaves, map_tensors
from infoplane.capture.taps import LayerInfo, dequantised

Hold = tuple[Key, Tensor]  # a tap, and the tensor that it is to be


class Runs:
    """Runs of a model, each from its own seed; of all but a first one no activations are kept, only gaps to it."""

    def __init__(self, model: nn.Module, taps: Sequence[tuple[Key, LayerInfo]]) -> None:
        self.model = model
        self.infos = {key: info for key, info in taps if info.problem is None}
        self.paths = {path for path, _, _ in self.infos}

    def visit(self, inputs: Inputs, seed: int, visit: Callable[[Key, Tensor], None], hold: Hold | None = None) -> bool:
        """Shows activations (B, units) as they are made; returns whether the model ran to its end.

        They are views of the model's own memory, which the next module may write to.
        """

        def look(key: Key, tensor: Tensor) -> None:
            if key in self.infos:
                h = dequantised(tensor.detach()).movedim(self.infos[key].batch_dim, 0)
                h = h if h.dtype == torch.float64 else h.float()
                visit(key, h.flatten(1) if h.ndim > 1 else h[:, None])

        def held(path: str, call: int, output: Any) -> Any:
            return None if hold is None or (path, call) != hold[0][:2] else _replaced(output, hold[0][2], hold[1])

        try:
            with seeded(seed):
                run_with_hooks(self.model, inputs, self.paths, look, held if hold is not None else None)
        except Exception:
            # The caller's code, perhaps on what it need not take: of what did not come nothing is said.
            return False
        return True

    def kept(self, inputs: Inputs, seed: int, hold: Hold | None = None) -> dict[Key, Tensor]:
        """Returns copies of the activations, (B, units)."""
        found: dict[Key, Tensor] = {}
        self.visit(inputs, seed, lambda key, h: found.update({key: h.clone()}), hold)
        return found

    def gaps(
        self,
        inputs: Inputs,
        seed: int,
        against: Mapping[Key, Tensor],
        rows: Callable[[Tensor], Tensor] = lambda h: h,
        hold: Hold | None = None,
    ) -> dict[Key, Tensor]:
        """Returns each unit's largest change over the rows, (units,); with a hold only if the model runs to its end.

        Compared are activations `against` (rows, units), with the `rows` of what is there now, (B, units).
        """
        found: dict[Key, Tensor] = {}

        def visit(key: Key, h: Tensor) -> None:
            if key in against:
                h = rows(h)
                own = against[key][: len(h)]
                if h.shape == own.shape and h.numel():
                    found[key] = _largest_change(h, own)

        ended = self.visit(inputs, seed, visit, hold)
        return found if ended or hold is None else {}

    def first(self, inputs: Inputs) -> tuple[dict[Key, Tensor], set[Key]]:
        """Returns copies of the activations of seed 0, (B, units), and the taps before which random numbers are drawn.

        Torch's, numpy's or Python's; all taps, if the model did not come to its end.
        """
        found: dict[Key, Tensor] = {}
        drawing: set[Key] = set()
        with seeded(0):
            start = RandomStream.read()

        def visit(key: Key, h: Tensor) -> None:
            found[key] = h.clone()
            if drawing or RandomStream.moved(start):
                drawing.add(key)

        return found, drawing if self.visit(inputs, 0, visit) else set(self.infos)

    def output(self, inputs: Inputs, wanted: Key) -> Tensor | None:
        """The tensor of one tap, as the model made it."""
        found: dict[Key, Tensor] = {}
        with seeded(0):
            run_with_hooks(self.model, inputs, {wanted[0]}, lambda key, h: found.update({key: h.detach().clone()}))
        return found.get(wanted)


def _largest_change(h: Tensor, own: Tensor) -> Tensor:
    """Each unit's largest change over the rows, (units,); of infinite values that are equal there is none."""
    if torch.equal(h, own):  # as a rule, and far quicker
        return h.new_zeros(h.shape[1])
    change = (h - own).abs_()
    found = change.amax(0)
    return change.nan_to_num_(nan=0.0).amax(0) if bool(found.isnan().any()) else found


def scale_of(h: Tensor, swing: Tensor | float = 0.0) -> Tensor:
    """Returns how large each unit is, (units,): its root mean square over the rows, or `swing` where that is more.

    Never less than that of a small unit of the layer (the tenth percentile of those that are not zero), so that what
    is zero on these rows, as most units after a ReLU, is not taken for exact. Not the whole layer's size, behind which
    one large unit would hide all others.
    """
    size = h.nan_to_num(0.0, 0.0, 0.0).square().mean(0).sqrt()
    size = torch.maximum(size, torch.as_tensor(swing).to(size).expand_as(size))
    above = size[size > 0]
    return size.clamp(min=float(above.kthvalue(1 + len(above) // 10).values)) if len(above) else size


def rounding_of(runs: Runs) -> float:
    """Returns how much a single rounding changes a value, relatively, in the coarsest type that the model computes in.

    On a GPU convolutions may round their inputs to ten bits (TF32), whatever the type.
    """
    kinds = {info.dtype for info in runs.infos.values() if info.dtype.is_floating_point}
    tensors = [*runs.model.parameters(), *runs.model.buffers()]
    kinds |= {x.dtype for x in tensors if x.is_floating_point() and x.dtype.itemsize > 1}
    coarse = max((torch.finfo(kind).eps for kind in kinds), default=torch.finfo(torch.float32).eps)
    return max(coarse, 2.0**-10) if any(x.device.type == "cuda" for x in tensors) else coarse


def length(inputs: Inputs) -> int:
    """How many rows a batch has."""
    return next((len(tensor) for _, tensor in leaves(inputs) if tensor.ndim), 1)


def values_of(inputs: Inputs) -> int:
    """Returns how many values one row of the inputs has, in the largest of their tensors."""
    return max((x.numel() // max(1, length(inputs)) for _, x in leaves(inputs)), default=1)


def rolled(inputs: Inputs) -> Inputs:
    """Returns the batch with every row one place further, the last one first."""
    rows = length(inputs)
    return map_tensors(lambda x: x.roll(1, 0) if x.ndim and len(x) == rows else x, inputs)


def _replaced(output: Any, selector: str, tensor: Tensor) -> Any:
    """Returns a module's output with the tensor at a selector replaced."""
    if not selector:
        return tensor.clone()
    key, rest = selector[1:].split("]", 1)
    if isinstance(output, Mapping):
        changed = {k: _replaced(v, rest, tensor) if str(k) == key else v for k, v in output.items()}
        try:
            return type(output)(changed)  # pyright: ignore[reportCallIssue]
        except TypeError:
            return type(output)(**changed)
    if isinstance(output, tuple | list):
        items = [_replaced(v, rest, tensor) if str(i) == key else v for i, v in enumerate(output)]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)  # pyright: ignore
    return dataclasses.replace(output, **{key: _replaced(getattr(output, key), rest, tensor)})
