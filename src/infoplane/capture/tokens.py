"""Which axis of a layer counts tokens, and which grid these fill: shown by what a changed part of the image changes."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from infoplane.capture.layout import Reading

#: most tokens before those of the grid: class and distillation tokens, registers
MOST_LEADING = 16
#: fewest tokens of which a grid could have been meant
LEAST_TOKENS = 4
#: so many layers with one number of tokens are looked at for one that shows where these lie
MOST_ASKED = 16
#: a changed quarter of the image must change its own tokens so many times more than those of any other quarter
LOCAL = 2.0
#: so many of the tokens must change most with their own quarter, and at most so many more if the others lay elsewhere
MOSTLY, BY_CHANCE = 0.8, 0.02

Grid = tuple[int, int]
Shape = tuple[int, ...]
Fitting = tuple[int, Grid]  # leading tokens, and the grid of the others
Place = tuple[str, int]  # layer, axis that may count tokens

#: from places to the sum of squared changes of every token (4, n) where one quarter of the image changes: top left,
#: top right, bottom left, bottom right; None where that cannot be seen
Changes = Callable[[Sequence[Place]], Mapping[Place, Tensor] | None]


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


class Tokens:
    """What is known of tokens: number of tokens -> (leading ones, grid), or None where they fill none."""

    def __init__(self, image: Grid | None, grids: Iterable[Grid], layers: Sequence[Evidence]) -> None:
        self.image, self.grids = image, set(grids)
        self.declared = [layer.leading for layer in layers if layer.leading is not None]
        #: shape -> where the modules that made such layers put their features
        self.channels: dict[Shape, set[int]] = defaultdict(set)
        #: numbers of features; not those of a `Linear`, which may mix tokens that are turned over
        self.features: set[int] = set()
        #: those of a `Linear`
        self.mixed: set[int] = set()
        for layer in layers:
            if (axis := channel_axis(layer)) is not None:
                self.channels[layer.shape].add(axis)
                if len(layer.shape) > 1:
                    (self.mixed if isinstance(layer.module, nn.Linear) else self.features).add(layer.shape[axis])
        self.counts: dict[int, Fitting | None] = {}
        self.proved: dict[Place, Fitting] = {}
        #: number of tokens -> the modules within which some layer proves where they lie
        self.within: dict[int, set[tuple[str, ...]]] = {}
        self.containers = {_path(layer.name)[:-1] for layer in layers}
        #: the modules that mix tokens without turning them over
        self.attending = [
            _path(layer.name)
            for layer in layers
            if any(word in type(layer.module).__name__.lower() for word in ("attention", "attn"))
        ]
        self.guesses: set[int] = set()

    def settle(self, layers: Sequence[Evidence], changes: Changes) -> None:
        """Finds out which numbers of tokens are k leading ones and a grid."""
        asked: dict[int, list[Place]] = defaultdict(list)
        for layer in layers:
            for axis in self._axes(layer):
                if next(self._all(layer.shape[axis]), None) is not None:
                    asked[layer.shape[axis]].append((layer.name, axis))
        for layer in layers:
            for axis in self._axes(layer):
                if (count := layer.shape[axis]) in asked:
                    own = [(layer.name, other) for other in self._as_well(layer, axis)]
                    asked[count] += [place for place in own if place not in asked[count]]
        if not asked:
            return
        seen = changes([place for places in asked.values() for place in places])
        for count, places in asked.items():
            fitting = list(dict.fromkeys(self._all(count)))
            if seen is None:
                self.counts[count] = fitting[0]
                self.guesses.add(count)
                continue
            found = {place: own for place in places if place in seen and (own := _proved(seen[place], fitting))}
            # The first layers are the most local ones, but for what attention adds to them.
            first = (found[place] for place in places[:MOST_ASKED] if place in found)
            self.counts[count] = next(first, None) or next((own for own in fitting if own[0] in self.declared), None)
            self.proved |= found
            # A module that mixes tokens turned over holds none that lie as the image does; one that attends does.
            self.within[count] = {_path(name)[:size] for name, _ in found for size in range(len(_path(name)))}

    def read(self, layer: Evidence) -> Reading | None:
        """The layer as tokens on a grid, as a vector where it holds tokens without one, or None."""
        for axis in [*self._axes(layer), *self._transposed(layer)]:
            count, others = layer.shape[axis], self._as_well(layer, axis)
            for place in [(layer.name, each) for each in (axis, *others) if others]:
                if (own := self.proved.get(place)) is not None:
                    return Reading(layer.shape, (place[1],), own[1], own[0])
            fitting = self.counts.get(count)
            if count not in self.guesses and (
                layer.random or (count in self.features and not self._beside(layer, count))
            ):
                fitting = self.proved.get((layer.name, axis))
            if fitting is not None:
                leading, grid = fitting
                return Reading(layer.shape, (axis,), grid, leading, count in self.guesses or bool(others))
        return None

    def _as_well(self, layer: Evidence, axis: int) -> list[int]:
        """The axes that could be the tokens as well: as long, where so many are features too, and nothing decides.

        What one token attends to another has two such axes, either of which may be taken: there so many are no
        features. That of a layer norm is the last one; a `Linear` may mix features, or tokens that are turned over,
        but hardly beside a module that attends, which mixes tokens as they lie.
        """
        count = layer.shape[axis]
        if count not in self.features | self.mixed or type(layer.module) in (nn.LayerNorm, nn.RMSNorm):
            return []
        if changed_axes(layer, layer.taller) or changed_axes(layer, layer.wider):
            return []
        if not isinstance(layer.module, nn.Linear) and channel_axis(layer) is not None:
            return []
        path = _path(layer.name)[:-1]
        if any(each[: len(path)] == path or path[: len(each)] == each for each in self.attending):
            return []
        return [each for each, size in enumerate(layer.shape) if size == count and each != axis]

    def _beside(self, layer: Evidence, count: int) -> bool:
        """Whether some layer within the same module, or within this one, proves where so many tokens lie."""
        path = _path(layer.name)
        return (path if path in self.containers else path[:-1]) in self.within.get(count, set())

    def _transposed(self, layer: Evidence) -> list[int]:
        """The last axis of a layer that is another one's tokens, turned over so that a module may mix them."""
        turned = layer.shape[::-1]
        tokens = len(turned) == 2 and turned != layer.shape and turned in self.channels and turned[0] in self.counts
        return [1] if tokens else []

    def fitting(self, count: int) -> Fitting | None:
        """Leading tokens and grid of so many tokens, known or possible; no undeclared leading ones if only possible."""
        possible = (each for each in self._possible(count) if each[0] in (0, *self.declared))
        return self.counts.get(count) or next(self._known(count), None) or next(possible, None)

    def _axes(self, layer: Evidence) -> list[int]:
        """The axes that may count tokens, likeliest first."""
        last = len(layer.shape) - 1
        followed = [axis for axis in changed_axes(layer, layer.taller) if axis in changed_axes(layer, layer.wider)]
        if followed:
            return followed[:1]
        channels = channel_axis(layer)
        if channels is None and len(shared := self.channels[layer.shape]) == 1:
            channels = next(iter(shared))
        if channels is not None:
            return [axis for axis in range(last, -1, -1) if axis != channels][:1]
        return list(range(last + 1)) if last == 1 else list(range(1, last + 1))

    def _all(self, count: int) -> Iterator[Fitting]:
        """All that so many tokens could be, likeliest first."""
        yield from self._known(count)
        yield from self._possible(count)

    def _known(self, count: int) -> Iterator[Fitting]:
        """k leading ones and the grid of a map of this pass, k as declared or else the least first."""
        for leading in self._leading(count):
            for grid in sorted(self.grids):
                if math.prod(grid) == count - leading:
                    yield leading, grid

    def _possible(self, count: int) -> Iterator[Fitting]:
        """k leading ones and a grid of the image's proportions, k as declared or else the least first."""
        if self.image is None:
            return
        for leading in self._leading(count):
            rows = round(math.sqrt((count - leading) * self.image[0] / self.image[1]))
            grid = (rows, (count - leading) // max(rows, 1))
            if math.prod(grid) == count - leading and self.image[0] * grid[1] == self.image[1] * grid[0]:
                yield leading, grid

    def _leading(self, count: int) -> Iterator[int]:
        """What may lie before a grid: that is larger than it, and holds two by two tokens at least."""
        most = min(MOST_LEADING, count // 2, count - LEAST_TOKENS)
        yield from dict.fromkeys(k for k in [*self.declared, *range(most + 1)] if k <= most)


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


def _path(layer: str) -> tuple[str, ...]:
    """The names of the modules down to the one that made a layer; that of the network's own output is empty."""
    path = layer.partition("#")[0].partition("[")[0]
    return () if path in ("output", "<output>") else tuple(path.split("."))


def _proved(changes: Tensor, possible: Sequence[Fitting]) -> Fitting | None:
    """The leading tokens and grid that the changes of the tokens (4, n) show best, if any."""
    shares = {each: _placed(changes, *each) for each in possible if _is_local(changes, *each)}
    best = max(shares, key=lambda each: shares[each], default=None)
    return best if best is not None and shares[best] > 0 else None


def _placed(changes: Tensor, leading: int, grid: Grid) -> float:
    """The share of the grid's tokens that change most with their own quarter of the image.

    Zero if those are too few, or more if the other tokens lie behind the grid, on both of its sides, or within it.
    """
    most = changes.amax(0)
    winner = torch.where((changes == most).sum(0) == 1, changes.argmax(0), -1)
    sides = [torch.full((size,), -1) for size in grid]
    for side, size in zip(sides, grid, strict=True):
        side[: size // 2], side[size - size // 2 :] = 0, 1
    counted = ((sides[0] >= 0)[:, None] & (sides[1] >= 0)).flatten()
    own = (2 * sides[0][:, None] + sides[1]).flatten()
    # Right tokens where the grid starts at each place; the others then lie before and behind it.
    right = torch.stack([(winner[start : start + len(own)] == own) & counted for start in range(leading + 1)]).double()
    # The others lie in front of the grid's token s: those before it are where they are without others.
    split = right[0].cumsum(0) + right[-1].sum() - right[-1].cumsum(0)
    share, elsewhere = (float(x) / int(counted.sum()) for x in (right[-1].sum(), max(right.sum(1).max(), split.max())))
    return share if share >= MOSTLY and elsewhere <= share + BY_CHANCE else 0.0


def _is_local(changes: Tensor, leading: int, grid: Grid) -> bool:
    """Whether each changed quarter of the image changed its own quarter of the tokens by far the most."""
    tokens = changes[:, leading:].unflatten(1, grid)
    rows, columns = grid[0] // 2, grid[1] // 2
    if rows * columns == 0:
        return False
    halves, parts = (tokens[:, :rows], tokens[:, -rows:]), (slice(columns), slice(-columns, None))
    quarters = torch.stack([half[..., part].mean((1, 2)) for half in halves for part in parts])
    others = quarters.masked_fill(torch.eye(4, dtype=torch.bool), -math.inf).amax(0)
    return bool((quarters.diagonal() > LOCAL * others).all())
