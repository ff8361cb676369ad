"""Which layers are functions of which: found by holding one layer's output while the image changes."""

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.dependence import ROWS, dependence
from infoplane.capture.hooks import Key, unwrap
from infoplane.capture.pytrees import Inputs, map_tensors, rows_of
from infoplane.capture.runs import Runs, length, rolled, scale_of
from infoplane.capture.taps import dry_run
from infoplane.errors import unknown
from infoplane.torch_state import own_state

#: a layer whose units all change less than this share of their size from image to image does not change
VARIES = 1e-4
#: a smaller change than this share of a unit's size may be rounding, since a held output lies otherwise in memory
CLEAR = 1e-2


@checked
@own_state()
def functions_of(
    model: nn.Module, layers: Sequence[str], example: Inputs, *, unsure: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Returns, of each layer, those of the layers before it that it is a function of.

    The model is run on other images with one layer's output held at what it was for the first ones. If every unit of a
    later layer is then what it was for the first ones, on every pair of images, it sees the image through the held
    layer only. Of every unit as much is asked as two equal runs agree: exactly the same on a processor, and on a GPU
    four times what these differ by. Each image of the example is paired with the next, and with 1.7 x + .1 of that,
    where the model takes it: a path that fewer images open than one in `len(example)` may be missed. Nothing is claimed
    of layers that are random or depend on their batch, that did not change from image to image, or where the model did
    not run so.

    Args:
        model: Any module.
        layers: Names as in `list_layers`.
        example: Model inputs of two different images or more.
        unsure: Layers known to be random or to depend on their batch; default: looked for, by `dependence`.
    """
    model = unwrap(model)
    known = dry_run(model, example)
    names = [info.name for _, info in known]
    for layer in layers:
        if layer not in names:
            raise unknown("layer", layer, names)
    taps = [(key, info) for key, info in known if info.name in layers and info.problem is None]
    found: dict[str, list[str]] = {info.name: [] for _, info in taps}
    left_out = dependence(model, example, taps=taps) if unsure is None else unsure
    runs = Runs(model, [(key, info) for key, info in taps if info.name not in left_out])
    one = rows_of(example, max(ROWS, length(example)))
    two = rolled(one)
    first = runs.kept(one, 0)
    sizes = {key: scale_of(h) for key, h in first.items() if h.numel()}
    varies = {key for key, gap in runs.gaps(two, 0, first).items() if bool((gap > VARIES * sizes[key]).any())}
    order = list(runs.infos)
    for position, key in enumerate(order):
        later = {each: first[each] for each in order[position + 1 :] if each in varies}
        if not later or (value := runs.output(one, key)) is None:
            continue
        gaps = runs.gaps(two, 0, later, hold=(key, value))
        # Far from what it was, in whichever unit: decided. All others are looked at to the last bit.
        near = {each: first[each] for each, gap in gaps.items() if not bool((gap > CLEAR * sizes[each]).any())}
        for each in _equal(runs, one, two, near, (key, value)):
            found[runs.infos[each].name].append(runs.infos[key].name)
    return found


def _equal(runs: Runs, one: Inputs, two: Inputs, near: dict[Key, Tensor], hold: tuple[Key, Tensor]) -> list[Key]:
    """The layers that are what they were with the same output held, but for what two equal runs differ by."""
    if not near:
        return []
    own = {key: h for key, h in runs.kept(one, 0, hold).items() if key in near}
    far = map_tensors(lambda x: 1.7 * x + 0.1 if x.is_floating_point() else x, two)
    rounding, gaps, beyond = (runs.gaps(images, 0, own, hold=hold) for images in (one, two, far))
    return [
        key
        for key in near
        if key in gaps and key in rounding
        if not any(bool((each[key] > 4 * rounding[key]).any()) for each in (gaps, beyond) if key in each)
    ]
