"""Which axes of a layer are channels, rows, columns or tokens: decided from evidence, and said to be a guess without.

The evidence, strongest first:

1. which axes follow the input's height and width in a run at another size;
2. the module that made the layer: a `Conv2d` puts channels first, a `Linear` or `LayerNorm` features last;
3. another layer of the same shape, or with positions of the same grid, about which 1 or 2 spoke;
4. for tokens: k leading ones, and a grid of a map of the same pass or of the image's proportions, that prove it:
   changing a quarter of the image changes that quarter of the tokens most, and more so than if the other tokens lay
   elsewhere. What one layer proves holds for all of so many tokens, but where so many are features too: then a layer of
   the same module has to; and where the order may be random: then each layer. Else only what is declared is believed.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence

from infoplane.capture.layout import Reading, check_pattern, vector
from infoplane.capture.tokens import LEAST_TOKENS, Changes, Evidence, Grid, Shape, Tokens, changed_axes, channel_axis
from infoplane.errors import UsageError, unknown


def decide(
    layers: Sequence[Evidence], image: Grid | None, changes: Changes, told: Mapping[str, str]
) -> dict[str, Reading]:
    """Returns how each layer is read.

    Args:
        layers: In the order in which they fire.
        image: Rows and columns of the image that the network sees; None if it sees none.
        changes: Asked at most once, about whatever may be tokens.
        told: Layer -> what the user says of it, as `check_pattern` takes it.

    Raises:
        UsageError: What the user says of a layer is impossible.
    """
    by_name = {layer.name: layer for layer in layers}
    for name, pattern in told.items():
        if name not in by_name:
            raise unknown("layer in read_as", name, list(by_name))
        check_pattern(name, pattern)
    # How many tokens there are in layers of tokens by features.
    pairs = (layer.shape for layer in layers if len(layer.shape) == 2 and channel_axis(layer) == 1)
    counted = {shape[0] for shape in pairs if shape[0] >= LEAST_TOKENS}
    found: dict[str, Reading] = {}
    for layer in layers:
        if sum(size > 1 for size in layer.shape) <= 1:
            found[layer.name] = vector(layer.shape)
        elif (at := _map_axes(layer, image, counted)) is not None:
            found[layer.name] = _map(layer.shape, at)
    found |= _like(layers, found, counted)
    grids = {reading.grid for reading in found.values() if len(reading.at) == 2}
    for layer in layers:
        if layer.name not in found and (at := _on_a_grid(layer.shape, grids, counted)) is not None:
            found[layer.name] = _map(layer.shape, at)
    tokens = Tokens(image, grids, layers)
    tokens.settle([layer for layer in layers if layer.name not in found], changes)
    for layer in layers:
        if layer.name not in found:
            found[layer.name] = tokens.read(layer) or _by_convention(layer.shape, image)
    return found | {name: _as_told(by_name[name], pattern, image, tokens) for name, pattern in told.items()}


def _map(shape: Shape, at: tuple[int, int], **options: bool) -> Reading:
    if shape[at[0]] * shape[at[1]] == 1:
        return vector(shape, **options)
    return Reading(shape, at, (shape[at[0]], shape[at[1]]), **options)


def _map_axes(layer: Evidence, image: Grid | None, counted: Collection[int]) -> tuple[int, int] | None:
    """The axes of rows and columns by how the layer scales, or else by the module that made it."""
    if len(layer.shape) < 2 or (len(layer.shape) == 2 and layer.wider is None):
        return None  # what grows with the height alone may be a sequence of rows
    rows, columns = (changed_axes(layer, other) for other in (layer.taller, layer.wider))
    if rows or columns:
        # An axis that follows height and width alike counts tokens.
        if len(own := [axis for axis in rows if axis not in columns]) == 1:
            beside = [axis for axis in columns if axis not in rows] if layer.wider is not None else [own[0] + 1]
            if len(beside) == 1 and beside[0] < len(layer.shape):
                return own[0], beside[0]
        return None
    channels = channel_axis(layer)
    if len(layer.shape) != 3 or channels is None:
        return None
    if channels == 0:
        return 1, 2
    # Features last are those of a map, of the tokens of each head, or of what one token attends to another.
    of_a_map = _in_proportion(layer.shape[:2], image) and not _attends(layer.shape, (0, 1), counted)
    return (0, 1) if of_a_map else None


def _like(layers: Sequence[Evidence], found: Mapping[str, Reading], counted: Collection[int]) -> dict[str, Reading]:
    """The layers that nothing speaks of, read as those of the same shape are, where these agree."""
    known = defaultdict(set)
    for reading in found.values():
        if len(reading.at) != 2 or not _attends(reading.shape, (reading.at[0], reading.at[1]), counted):
            known[reading.shape].add(reading)
    like = {
        layer.name: next(iter(known[layer.shape]))
        for layer in layers
        if layer.name not in found and len(known[layer.shape]) == 1
    }
    # As many channels as rows and columns: another order of the axes has that shape too.
    cubes = {name for name, reading in like.items() if len(reading.shape) > 2 and len(set(reading.shape)) == 1}
    return {name: dataclasses.replace(own, guess=own.guess or name in cubes) for name, own in like.items()}


def _on_a_grid(shape: Shape, grids: Iterable[Grid], counted: Collection[int]) -> tuple[int, int] | None:
    """The neighbouring axes that are as large as a known grid; channels first or last only, and not both."""
    fitting = [at for at in ((1, 2), (0, 1)) if len(shape) == 3 and (shape[at[0]], shape[at[1]]) in grids]
    return fitting[0] if len(fitting) == 1 and not _attends(shape, fitting[0], counted) else None


def _attends(shape: Shape, at: tuple[int, int], counted: Collection[int]) -> bool:
    """Whether two axes are as many as there are tokens, both: what each of them attends to each, not a map."""
    return shape[at[0]] == shape[at[1]] and shape[at[0]] in counted


def _in_proportion(grid: Sequence[int], image: Grid | None) -> bool:
    """Whether a grid divides the image into equal squares, or into so nearly equal ones as convolutions make."""
    rows, columns = grid
    if image is None or rows * columns <= 1:
        return False
    # A grid comes of strides: as long as the image's sides, in steps, give or take the borders.
    side = max(image[0] / rows, image[1] / columns)
    return rows <= image[0] and columns <= image[1] and abs(rows - image[0] / side) < 1 > abs(columns - image[1] / side)


def _by_convention(shape: Shape, image: Grid | None) -> Reading:
    """What the sizes alone let expect: torch puts channels first. A guess, and so called."""
    if len(shape) == 3:
        for at in ((1, 2), (0, 1)):
            if _in_proportion((shape[at[0]], shape[at[1]]), image):
                return _map(shape, at, guess=True)
    return vector(shape, guess=len(shape) > 2 or min(shape) >= LEAST_TOKENS)


def _as_told(layer: Evidence, pattern: str, image: Grid | None, tokens: Tokens) -> Reading:
    """The reading that a pattern describes."""
    letters, _, leading = pattern.partition("+")
    if pattern == "vector":
        return vector(layer.shape, told=True)
    if len(letters) != len(layer.shape):
        received = f"{pattern!r}, of {len(letters)} axes, where the layer is {'×'.join(map(str, layer.shape))}"
        raise UsageError(f"cannot read layer {layer.name!r} so", received=received, legal="a letter for each axis")
    if "h" in letters:
        return _map(layer.shape, (letters.index("h"), letters.index("w")), told=True)
    axis = letters.index("n")
    count = layer.shape[axis]
    if leading:
        rest = count - int(leading)
        one = Tokens(image, [grid for grid in tokens.grids if math.prod(grid) == rest], [])
        fitting = one.fitting(rest) if rest > 0 else None
        fitting = None if fitting is None or fitting[0] else (int(leading), fitting[1])
    else:
        fitting = tokens.fitting(count)
    if fitting is None:
        raise UsageError(
            f"the tokens of layer {layer.name!r} fill no grid of the image's proportions",
            received=f"{count} tokens, {leading or 'any number of'} leading",
            legal="a grid and so many leading tokens before it, such as nc+1",
            mend="read it as vector",
        )
    return Reading(layer.shape, (axis,), fitting[1], fitting[0], told=True)
