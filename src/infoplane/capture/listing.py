"""The layers of a network and how each is read: a few short runs, after which the model is as it was."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.dependence import Dependence, dependence
from infoplane.capture.generators import RandomStream
from infoplane.capture.hooks import Key, hookable, run_with_hooks, unwrap
from infoplane.capture.layout import Reading
from infoplane.capture.pytrees import Inputs, leaves, map_tensors, rows_of
from infoplane.capture.reading import decide
from infoplane.capture.taps import LayerInfo, dequantised, dry_run
from infoplane.capture.tokens import Evidence, Grid, Place, Shape
from infoplane.errors import unknown
from infoplane.torch_state import own_state

#: sides from which the other size is half of the input's: runs are quick, and networks still have room
LARGE = 64


@checked
@own_state()
def list_layers(
    model: nn.Module, example: Inputs, *, read_as: Mapping[str, str] | None = None, image: Grid | None = None
) -> list[LayerInfo]:
    """Returns the taps that fire when the model runs, in the order in which they fire, and how each is read.

    The model runs on two rows of the example and on three; the batch dimension of a tap is the one that follows. It
    also runs on inputs of another height and width, as far as it can, to see which axes follow, and on the first row
    among other companions and with other randomness, to see what else activations depend on. Flags, buffers, hooks
    and random state are left as they were found.

    Args:
        model: Any module; a compiled one is run uncompiled.
        example: Model inputs of any batch size from one; batch dimension first.
        read_as: Layer -> how its axes are to be read, a letter for each: c channels, h rows, w columns, n tokens (with
            +k for k leading ones), or "vector".
        image: Rows and columns of the images, for a model whose input is none; default: those of its input.

    Raises:
        UsageError: If the model cannot be hooked, or does not run on the example; if a layer cannot be read so.

    Examples:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 3))
        >>> for layer in list_layers(model, torch.zeros(2, 1, 4, 4))[:2]:
        ...     print(layer.name, layer.shape, layer.reading.words)
        0 (2, 2, 2) map 2×2×2, channels first
        1 (8,) vector of 8
    """
    model = unwrap(model)
    fired = dry_run(model, example)
    runs = _Runs(model, example, fired)
    taller, wider = runs.resized(0), runs.resized(1)
    modules = hookable(model)
    declared = next(
        (count for each in modules.values() if isinstance(count := getattr(each, "num_prefix_tokens", None), int)), None
    )
    beside = dependence(model, example, taps=fired)
    random = {name for name, own in beside.items() if own.random}
    evidence = [
        Evidence(info.name, info.shape, modules[key[0]], taller.get(key), wider.get(key), declared, info.name in random)
        for key, info in fired
        if info.problem is None
    ]
    readings = decide(evidence, runs.size or image, runs.changes, read_as or {})
    return [
        dataclasses.replace(info, reading=readings.get(info.name), notes=own.notes, random=own.random)
        for _, info in fired
        for own in [beside.get(info.name, Dependence())]
    ]


@checked
@own_state()
def fired(model: nn.Module, example: Inputs) -> list[LayerInfo]:
    """Returns the taps that fire, as `list_layers` does, but without how they are read: from two short runs only."""
    return [info for _, info in dry_run(unwrap(model), example)]


@checked
def readings_of(
    model: nn.Module,
    layers: Sequence[str],
    example: Inputs,
    *,
    read_as: Mapping[str, str] | None = None,
    image: Grid | None = None,
) -> dict[str, Reading]:
    """Returns how these layers are read; see `list_layers`. One that cannot be captured is left out."""
    found = {info.name: info.reading for info in list_layers(model, example, read_as=read_as, image=image)}
    for layer in layers:
        if layer not in found:
            raise unknown("layer", layer, found)
    return {layer: reading for layer in layers if (reading := found.get(layer)) is not None}


class _Runs:
    """Runs of a model on other images than the example's."""

    def __init__(self, model: nn.Module, example: Inputs, fired: Sequence[tuple[Key, LayerInfo]]) -> None:
        self.model, self.example = model, example
        self.infos = {key: info for key, info in fired if info.problem is None}
        self.keys = {info.name: key for key, info in self.infos.items()}
        images = [each for _, each in leaves(example) if each.ndim == 4 and each.is_floating_point()]
        self.image = images[0] if images else None
        colours_last = self.image is not None and self.image.shape[3] <= 4 < self.image.shape[1]
        self.at = (1, 2) if colours_last else (2, 3)

    @property
    def size(self) -> Grid | None:
        """Rows and columns of the image that the model sees."""
        return None if self.image is None else (self.image.shape[self.at[0]], self.image.shape[self.at[1]])

    def resized(self, side: int) -> dict[Key, Shape]:
        """Shapes of the taps where the images have another height (0) or width (1), as far as the model comes."""
        if self.image is None:
            return {}
        axis, size = self.at[side], self.image.shape[self.at[side]]
        half, double = (lambda x: x.narrow(axis, 0, size // 2)), (lambda x: torch.cat([x, x], axis))
        found: dict[Key, Shape] = {}
        for change in (half, double) if size >= LARGE else (double,):
            seen: dict[Key, Shape] = {}
            if self._run(rows_of(self._replaced(change), 2), lambda key, h, seen=seen: seen.update({key: h.shape})):
                found = seen
                break
            # The layers before the one that would not take it have told what they can.
            found = max(found, seen, key=len)
        own = {key: info.batch_dim for key, info in self.infos.items() if key in found}
        return {key: (*found[key][:dim], *found[key][dim + 1 :]) for key, dim in own.items()}

    def changes(self, places: Sequence[Place]) -> Mapping[Place, Tensor] | None:
        """Returns the squared changes of tokens (4, n) where one quarter of the image changes, see `Changes`."""
        if self.image is None:
            return None
        low, high = self.image.aminmax()
        draws = torch.rand(self.image.shape[1:], generator=torch.Generator().manual_seed(0))
        noise = low.cpu() + (high - low if high > low else torch.ones_like(low)).cpu() * draws

        def five(x: Tensor) -> Tensor:
            rows = x[:1].repeat(5, *[1] * (x.ndim - 1))
            halves = [(slice(size // 2), slice(size - size // 2, None)) for size in self.size or ()]
            for row, (i, j) in enumerate([(0, 0), (0, 1), (1, 0), (1, 1)], start=1):
                quarter = [slice(None)] * 3
                quarter[self.at[0] - 1], quarter[self.at[1] - 1] = halves[0][i], halves[1][j]
                rows[(row, *quarter)] = noise[tuple(quarter)].to(x)
            return rows

        found: dict[Place, Tensor] = {}
        asked = defaultdict(list)
        for name, axis in places:
            asked[self.keys[name]].append((name, axis))

        def visit(key: Key, h: Tensor) -> None:
            if key in asked and h.shape[dim := self.infos[key].batch_dim] == 5:
                h = dequantised(h.detach()).float().movedim(dim, 0)
                squared = (h[1:] - h[:1]).square()
                for name, axis in asked[key]:
                    found[name, axis] = squared.movedim(axis + 1, 1).flatten(2).sum(2).cpu()

        self._run(rows_of(self._replaced(five), 5), visit)
        return found

    def _replaced(self, change: Callable[[Tensor], Tensor]) -> Inputs:
        """The example with another image; whatever else has a batch dimension keeps its rows."""
        return map_tensors(lambda x: change(x) if x is self.image else x, self.example)

    def _run(self, inputs: Inputs, visit: Callable[[Key, Tensor], None]) -> bool:
        """Runs the model; returns whether it took the inputs."""
        try:
            with RandomStream():
                run_with_hooks(self.model, inputs, {path for path, _, _ in self.infos}, visit)
        except Exception:
            # The user's code, on inputs that it need not take: what it showed before is what there is to see.
            return False
        return True
