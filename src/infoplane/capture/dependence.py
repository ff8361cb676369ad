"""What activations depend on beside their image: found by running the network on the same images again."""

import dataclasses
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.runs import Runs, length, rolled, rounding_of, scale_of, values_of
from infoplane.capture.taps import Inputs, LayerInfo, _dry_run, _Key, _map, _rows, _unwrap
from infoplane.torch_state import own_state

#: rows of the batches that are tried, and of those of large images (more values than this)
ROWS, FEW_ROWS, LARGE = 8, 4, 2**15
#: a change of a unit by more than this share of its size is one
SHARE = 1e-4
#: draws that are compared: of layers before which random numbers are drawn, of the others, and at least; and the
#: seconds after which no more are made
DRAWS, FEW_DRAWS, LEAST_DRAWS = 100, 12, 2
SECONDS, FEW_SECONDS = 1.0, 0.2
#: draws of a random layer by which it is found whether its units take values again
REPEATS = 6


class DependenceWarning(UserWarning):
    """An activation that is not decided by its image alone."""


@dataclasses.dataclass(frozen=True)
class Dependence:
    """What an activation depends on beside its image.

    Attributes:
        companions: Whether it changes with the other images of its batch.
        random: Whether it changes from run to run.
        repeats: Whether some unit of a random one takes a value again, which noise with a density does not.
        place: Whether it changes with the image's place in the batch, or with how many images are in it.
    """

    companions: bool = False
    random: bool = False
    repeats: bool = False
    place: bool = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What must stand beside every number of such a layer."""
        found = []
        if self.companions:
            found.append("depends on the other images of its batch: in other batches the numbers are others")
        elif self.place:
            found.append("depends on its place in the batch, or on the batch's size: in others the numbers are others")
        if self.random and self.repeats:
            found.append(
                "is random, drawn anew for every fit: without a density on every unit, I(x;h) may still be H(x)"
            )
        elif self.random:
            text = "is random, drawn anew for every fit: unless its noise has a density on every unit, as dropout's has"
            found.append(f"{text} not, I(x;h) may still be H(x)")
        return tuple(found)


@checked
@own_state()
def dependence(
    model: nn.Module,
    example: Inputs,
    layers: Sequence[str] | None = None,
    taps: Sequence[tuple[_Key, LayerInfo]] | None = None,
    rows: int | None = None,
) -> dict[str, Dependence]:
    """Returns what the layers' activations depend on beside their image; only those that do so.

    The first image is run among other companions, and a batch at other places, in a larger batch, and with differing
    randomness (torch's, numpy's and Python's), as many times as there is time for: 100 where random numbers are drawn
    before a layer fires, 12 where not. Noise that changes a share p of the batches is missed with probability
    (1 − p)^draws, noise that changes each row on its own with probability (1 − p)^(rows · draws): of p = 5 %, .6 % and
    nothing. A change counts by the unit: where it is more than 10⁻⁴ of the unit's size and more than what a change of
    the inputs by as much makes of it; of draws, every change counts. Flags, buffers, hooks and random state are left as
    they were found.

    Args:
        model: Any module.
        example: Model inputs of any batch size from one.
        layers: Those looked at; default: all.
        taps: What fires, where that is known already.
        rows: Rows of the batches; default: eight, four of large images.
    """
    model = _unwrap(model)
    taps = _dry_run(model, example) if taps is None else taps
    runs = Runs(model, [tap for tap in taps if layers is None or tap[1].name in layers])
    many = _rows(example, rows or (ROWS if values_of(example) <= LARGE else FEW_ROWS))
    first = {key: h for key, h in runs.kept(many, 0).items() if h.numel()}
    tolerance = _Tolerance(runs, many, first)
    drawn = _random(runs, many, first, tolerance)
    among = [_rows(_rows(example, 1), length(many)), _louder(many)]
    companions = {
        key
        for other in among
        for key, gap in runs.gaps(other, 0, {key: h[:1] for key, h in first.items()}, lambda h: h[:1]).items()
        if tolerance.exceeded(key, gap)
    }
    larger = _rows(many, length(many) + 3)
    settled = {key: h for key, h in first.items() if key not in drawn | companions}
    place = {
        key
        for found in (
            runs.gaps(rolled(many), 0, settled, lambda h: h.roll(-1, 0)),
            runs.gaps(larger, 0, settled, lambda h: h[: length(many)]),
        )
        for key, gap in found.items()
        if tolerance.exceeded(key, gap)
    }
    repeats = _repeated(runs, many, drawn) if drawn else set()
    return {
        runs.infos[key].name: Dependence(key in companions, key in drawn, key in repeats, key in place)
        for key in first
        if key in drawn | companions | place
    }


class _Tolerance:
    """Which changes of a unit are more than rounding."""

    def __init__(self, runs: Runs, many: Inputs, first: Mapping[_Key, Tensor]) -> None:
        self.rounding = rounding_of(runs)
        self.share = max(SHARE, 16 * self.rounding)
        # Both ways: a unit so near a threshold that rounding could take it over is taken over by one of them.
        swings = [runs.gaps(_nudged(many, sign * self.share), 0, first) for sign in (1, -1)]
        self.scales = {}
        for key, h in first.items():
            swing = torch.stack([each[key] for each in swings if key in each] or [h.new_zeros(h.shape[1])]).amax(0)
            self.scales[key] = scale_of(h, swing / self.share)
        #: what changes between equal runs: noise from a source that has no seed, or a GPU's rounding
        self.again = runs.gaps(many, 0, first)

    def exceeded(self, key: _Key, gap: Tensor) -> bool:
        """Whether some unit changed by more than rounding in a batch of another make-up could."""
        return self._above(gap, self.share * self.scales[key], key)

    def unseeded(self, key: _Key) -> bool:
        """Whether some unit changed between equal runs."""
        return key in self.again and bool((self.again[key] > 4 * self.rounding * self.scales[key]).any())

    def drawn(self, key: _Key, gap: Tensor, seeded: bool) -> bool:
        """Whether some unit changed with the seed; every change counts where seeds matter and equal runs are equal."""
        if seeded and key in self.again and not bool(self.again[key].any()):
            return bool(gap.any())
        return self._above(gap, 4 * self.rounding * self.scales[key], key)

    def _above(self, gap: Tensor, least: Tensor, key: _Key) -> bool:
        return bool((gap > (torch.maximum(least, 4 * self.again[key]) if key in self.again else least)).any())


def _random(runs: Runs, many: Inputs, first: Mapping[_Key, Tensor], tolerance: _Tolerance) -> set[_Key]:
    """The layers that change from draw to draw, in whichever row."""
    found = {key for key in first if tolerance.unseeded(key)}
    drawing = runs.drawing(many)
    start = time.monotonic()
    for seed in range(1, DRAWS + 1):
        spent = time.monotonic() - start
        few = seed <= LEAST_DRAWS or (seed <= FEW_DRAWS and spent < FEW_SECONDS)
        more = seed <= LEAST_DRAWS or spent < SECONDS
        left = {key: h for key, h in first.items() if key not in found and (few or (more and key in drawing))}
        if not left:
            break
        gaps = runs.gaps(many, seed, left)
        found |= {key for key, gap in gaps.items() if tolerance.drawn(key, gap, key in drawing)}
    return found


def _repeated(runs: Runs, many: Inputs, drawn: set[_Key]) -> set[_Key]:
    """The random layers in which some unit of the first row takes a value twice."""
    draws: dict[_Key, list[Tensor]] = {key: [] for key in drawn}
    for seed in range(REPEATS):
        runs.visit(many, seed, lambda key, h: draws[key].append(h[0].clone()) if key in draws else None)
    found = set()
    for key, values in draws.items():
        ordered = torch.stack(values).sort(0).values
        if bool((ordered[1:] == ordered[:-1]).any()):
            found.add(key)
    return found


def _nudged(batch: Inputs, share: float) -> Inputs:
    """The batch with every value changed by so small a share, up or down at random."""

    def change(x: Tensor) -> Tensor:
        if not x.is_floating_point():
            return x
        signs = torch.randint(0, 2, x.shape, generator=torch.Generator().manual_seed(0)).mul(2).sub(1)
        return x * (1 + share * signs.to(x))

    return _map(change, batch)


def _louder(batch: Inputs) -> Inputs:
    """The batch with companions of the first row that are far from it, though it may be all the example there is."""
    size = length(batch)

    def change(x: Tensor) -> Tensor:
        floating = x.is_floating_point() and x.ndim and len(x) == size
        return torch.cat([x[:1], 1.7 * x[1:].flip(-1) + 0.1]) if floating else x

    return _map(change, batch)
