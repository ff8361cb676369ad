"""What activations depend on beside their image, and which layers are functions of which: found by running."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.capture.taps import (
    Inputs,
    LayerInfo,
    _dry_run,
    _forward,
    _Key,
    _leaves,
    _map,
    _rows,
    _unwrap,
    seeded,
)
from infoplane.torch_state import own_state

#: rows of the batches that are tried
ROWS = 4
#: a change of more than this share of a layer's size is one
SHARE = 1e-4
#: draws of a random layer by which its noise is looked at
DRAWS = 6


class DependenceWarning(UserWarning):
    """An activation that is not decided by its image alone."""


@dataclasses.dataclass(frozen=True)
class Dependence:
    """What an activation depends on beside its image.

    Attributes:
        companions: Whether it changes with the other images of its batch.
        random: Whether it changes from run to run.
        repeats: Whether some unit of a random one takes a value again, which noise with a density does not.
    """

    companions: bool = False
    random: bool = False
    repeats: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What must stand beside every number of such a layer."""
        found = []
        if self.companions:
            found.append("depends on the other images of its batch: in other batches the numbers are others")
        if self.random and self.repeats:
            found.append(
                "is random, drawn anew for every fit: without a density on every unit, I(x;h) may still be H(x)"
            )
        elif self.random:
            text = "is random, drawn anew for every fit: unless its noise has a density on every unit, as dropout's has"
            found.append(f"{text} not, I(x;h) may still be H(x)")
        return tuple(found)


@own_state()
def dependence(
    model: nn.Module,
    example: Inputs,
    layers: Sequence[str] | None = None,
    taps: Sequence[tuple[_Key, LayerInfo]] | None = None,
) -> dict[str, Dependence]:
    """Returns what the layers' activations depend on beside their image; only those that do so.

    The same first image is run among other companions, and twice with differing randomness (torch's, numpy's and
    Python's). Flags, buffers, hooks and random state are left as they were found.

    Args:
        model: Any module.
        example: Model inputs of any batch size from one.
        layers: Those looked at; default: all.
        taps: What fires, where that is known already.
    """
    model = _unwrap(model)
    taps = _dry_run(model, example) if taps is None else taps
    runs = _Runs(model, [tap for tap in taps if layers is None or tap[1].name in layers])
    many = _rows(example, ROWS)
    first, again, other = (runs(many, seed) for seed in (0, 0, 1))
    among = [runs(other, 0) for other in (_rows(_first(example), ROWS), _louder(many))]
    found = {}
    for key in runs.infos:
        if not all(key in each for each in (first, again, other)):
            continue
        size = SHARE * _size(first[key])
        # What changes from run to run with the same seed is noise of another source, or a GPU's rounding.
        rounding = _gap(first[key], again[key])
        is_random = rounding > size or _gap(first[key], other[key]) > 4 * rounding
        gaps = [_gap(first[key], each[key]) for each in among if key in each]
        companions = max(gaps, default=0.0) > max(size, 4 * rounding)
        if is_random or companions:
            found[key] = Dependence(companions, is_random)
    drawn = [key for key, each in found.items() if each.random]
    if drawn:
        more = [first, other, *(runs(many, seed) for seed in range(2, DRAWS))]
        for key in drawn:
            draws = torch.stack([each[key][0] for each in more if key in each]).sort(0).values
            repeats = bool((draws[1:] == draws[:-1]).any())
            found[key] = dataclasses.replace(found[key], repeats=repeats)
    return {runs.infos[key].name: each for key, each in found.items()}


@own_state()
def functions_of(model: nn.Module, layers: Sequence[str], example: Inputs) -> dict[str, list[str]]:
    """Returns, of each layer, those of the layers before it that it is a function of.

    The model is run on other images with one layer's output held at what it was for the first ones. If a later layer
    is then what it was for the first ones, on every pair of images, it sees the image through the held layer only.
    Nothing is claimed of layers that are random or depend on their batch, that did not change from image to image, or
    where the model did not run so.

    Args:
        model: Any module.
        layers: Names as in `list_layers`.
        example: Model inputs of two different images or more.
    """
    model = _unwrap(model)
    taps = [(key, info) for key, info in _dry_run(model, example) if info.name in layers and info.problem is None]
    unsure = dependence(model, example, taps=taps)
    runs = _Runs(model, [(key, info) for key, info in taps if info.name not in unsure])
    found: dict[str, list[str]] = {info.name: [] for _, info in taps}
    one = _rows(example, max(ROWS, _length(example)))
    two = _map(lambda x: x.roll(1, 0) if x.ndim and len(x) == _length(one) else x, one)
    first, second = runs(one, 0), runs(two, 0)
    order = list(runs.infos)
    for position, key in enumerate(order):
        held = runs(two, 0, hold=(key, runs.output(one, key))) if order[position + 1 :] else {}
        for later in order[position + 1 :]:
            if later not in held or later not in first or later not in second:
                continue
            size = SHARE * _size(first[later])
            varies, differs = ((first[later] - each[later]).abs().max() > size for each in (second, held))
            if varies and not differs:
                found[runs.infos[later].name].append(runs.infos[key].name)
    return found


class _Runs:
    """Runs of a model, each from its own seed."""

    def __init__(self, model: nn.Module, taps: Sequence[tuple[_Key, LayerInfo]]) -> None:
        self.model = model
        self.infos = {key: info for key, info in taps if info.problem is None}
        self.paths = {path for path, _, _ in self.infos}

    def __call__(self, inputs: Inputs, seed: int, hold: tuple[_Key, Tensor | None] | None = None) -> dict[_Key, Tensor]:
        """Returns activations (B, units), float64 on the CPU; where the model does not run to its end, what it showed.

        Args:
            hold: A tap, and the tensor that it is to be.
        """
        found: dict[_Key, Tensor] = {}

        def visit(key: _Key, tensor: Tensor) -> None:
            if key in self.infos:
                h = tensor.detach().movedim(self.infos[key].batch_dim, 0)
                h = torch.view_as_real(h) if h.is_complex() else h
                found[key] = h.flatten(1).double().cpu() if h.ndim > 1 else h[:, None].double().cpu()

        def held(path: str, call: int, output: Any) -> Any:
            if hold is None or (path, call) != hold[0][:2] or hold[1] is None:
                return None
            return _replaced(output, hold[0][2], hold[1])

        try:
            with seeded(seed):
                _forward(self.model, inputs, self.paths, visit, held if hold is not None else None)
        except Exception:
            # The caller's code, perhaps on what it need not take: of what did not come nothing is said.
            return {} if hold is not None else found
        return found

    def output(self, inputs: Inputs, wanted: _Key) -> Tensor | None:
        """The tensor of one tap, as the model made it."""
        found: list[Tensor] = []

        def visit(key: _Key, tensor: Tensor) -> None:
            if key == wanted:
                found.append(tensor.detach().clone())

        with seeded(0):
            _forward(self.model, inputs, {wanted[0]}, visit)
        return found[0] if found else None


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


def _length(inputs: Inputs) -> int:
    return next((len(tensor) for _, tensor in _leaves(inputs) if tensor.ndim), 1)


def _first(example: Inputs) -> Inputs:
    """The example's first row."""
    return _rows(example, 1)


def _louder(batch: Inputs) -> Inputs:
    """The batch with companions of the first row that are far from it, though it may be all the example there is."""

    def change(x: Tensor) -> Tensor:
        floating = x.is_floating_point() and x.ndim and len(x) == ROWS
        return torch.cat([x[:1], 1.7 * x[1:].flip(-1) + 0.1]) if floating else x

    return _map(change, batch)


def _gap(one: Tensor, other: Tensor) -> float:
    """The largest change of the first row, whose image is the same in all runs."""
    return float((one[0] - other[0]).abs().max()) if one.numel() else 0.0


def _size(h: Tensor) -> float:
    return float(h.square().mean().sqrt()) if h.numel() else 0.0
