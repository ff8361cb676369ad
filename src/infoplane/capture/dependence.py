"""What activations depend on beside their image: found by running the network on the same images again."""

import dataclasses
import functools
import itertools
import math
import time
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.hooks import Key, unwrap
from infoplane.capture.pytrees import Inputs, map_tensors, rows_of
from infoplane.capture.runs import Runs, length, rolled, rounding_of, scale_of, values_of
from infoplane.capture.taps import LayerInfo, dry_run
from infoplane.torch_state import own_state

#: rows of the batches that are tried, and fewer where an image, or all layers of it together, have more values
ROWS, FEW_ROWS, LARGE, MANY_UNITS = 8, 4, 2**15, 2**20
#: a change of a unit by more than this share of its size is one
SHARE = 1e-4
#: draws that are compared: of layers before which random numbers are drawn, of the others, and at least; and the
#: seconds after which no more are made
DRAWS, FEW_DRAWS, LEAST_DRAWS = 100, 12, 2
SECONDS, FEW_SECONDS = 1.0, 0.2


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
        if self.random:
            unless = "without" if self.repeats else "unless its noise has"
            density = "a density on every unit" + ("" if self.repeats else ", as dropout's has not")
            found.append(f"is random, drawn anew for every fit: {unless} {density}, I(x;h) may still be H(x)")
        return tuple(found)


@checked
@own_state()
def dependence(
    model: nn.Module,
    example: Inputs,
    layers: Sequence[str] | None = None,
    taps: Sequence[tuple[Key, LayerInfo]] | None = None,
    rows: int | None = None,
) -> dict[str, Dependence]:
    """Returns what the layers' activations depend on beside their image; only those that do so.

    Either half of a batch is run among louder and among quieter companions, at other places and in a larger batch, and
    the batch with differing randomness (torch's, numpy's and Python's), as often as there is time for: 100 times where
    random numbers are drawn before a layer fires, 12 where not. Noise that changes a share p of the batches is missed
    with probability (1 − p)^draws, noise that changes each row on its own with probability (1 − p)^(rows · draws): of
    p = 5 %, .6 % and nothing. A change counts by the unit: where it is more than 10⁻⁴ of the unit's size and more than
    what a change of the inputs by as much makes of it; of draws, every change counts. Flags, buffers, hooks and random
    state are left as they were found.

    Args:
        model: Any module.
        example: Model inputs of any batch size from one.
        layers: Those looked at; default: all.
        taps: What fires, where that is known already.
        rows: Rows of the batches; default: eight, four of large images and networks.
    """
    model = unwrap(model)
    taps = dry_run(model, example) if taps is None else taps
    runs = Runs(model, [tap for tap in taps if layers is None or tap[1].name in layers])
    units = sum(math.prod(info.shape) for info in runs.infos.values())
    few = values_of(example) > LARGE or units > MANY_UNITS
    many = rows_of(example, rows or (FEW_ROWS if few else ROWS))
    kept, drawing = runs.first(many)
    first = {key: h for key, h in kept.items() if h.numel()}
    tolerance = _Tolerance(runs, many, first)
    drawn = _random(runs, many, first, drawing, tolerance)
    # All at once: only what then changes is looked at again for what it was that changed it.
    changed = {key: h for key, h in first.items() if key in drawn}
    still = {key: h for key, h in first.items() if key not in drawn}
    for half, louder in itertools.product((0, 1), (True, False)):
        other = rolled(_among(many, half, louder))
        other = other if louder else rows_of(other, length(many) + 3)
        left = {key: h for key, h in still.items() if key not in changed}
        changed |= {key: still[key] for key in _differ(runs, other, left, half, tolerance, moved=True)}
    companions: set[Key] = set()
    for half, louder in itertools.product((0, 1), (True, False) if changed else ()):
        left = {key: h for key, h in changed.items() if key not in companions}
        companions |= _differ(runs, _among(many, half, louder), left, half, tolerance)
    place = {key for key in changed if key not in companions and key not in drawn}
    repeats = _repeated(runs, many, drawn) if drawn else set()
    return {
        runs.infos[key].name: Dependence(key in companions, key in drawn, key in repeats, key in place)
        for key in first
        if key in drawn | companions | place
    }


def _differ(
    runs: Runs, other: Inputs, first: Mapping[Key, Tensor], half: int, tolerance: "_Tolerance", *, moved: bool = False
) -> set[Key]:
    """The layers of which some row that was kept in another batch, or moved one on, is not what it was in the first."""
    size = max((len(h) for h in first.values()), default=0)
    if not size:
        return set()
    gaps = runs.gaps(
        other,
        0,
        {key: h[half::2] for key, h in first.items()},
        lambda h: (h[:size].roll(-1, 0) if moved else h[:size])[half::2],
    )
    return {key for key, gap in gaps.items() if tolerance.exceeded(key, gap)}


class _Tolerance:
    """Which changes of a unit are more than rounding."""

    def __init__(self, runs: Runs, many: Inputs, first: Mapping[Key, Tensor]) -> None:
        self.runs, self.many, self.first = runs, many, first
        self.rounding = rounding_of(runs)
        self.share = max(SHARE, 16 * self.rounding)
        self.scales = {key: scale_of(h) for key, h in first.items()}
        #: what changes between equal runs: noise from a source that has no seed, or a GPU's rounding
        self.again = runs.gaps(many, 0, first)

    @functools.cached_property
    def swung(self) -> dict[Key, Tensor]:
        """How large each unit is, with what a small change of the inputs makes of it; looked at where it matters."""
        # Both ways: a unit so near a threshold that rounding could take it over is taken over by one of them.
        swings = [self.runs.gaps(_nudged(self.many, sign * self.share), 0, self.first) for sign in (1, -1)]
        found = {}
        for key, h in self.first.items():
            swing = torch.stack([each[key] for each in swings if key in each] or [h.new_zeros(h.shape[1])]).amax(0)
            found[key] = scale_of(h, swing / self.share)
        return found

    def exceeded(self, key: Key, gap: Tensor) -> bool:
        """Whether some unit changed by more than rounding in a batch of another make-up could."""
        return self._above(gap, self.share, key, self.again)

    def unseeded(self, key: Key) -> bool:
        """Whether some unit changed between equal runs."""
        return key in self.again and self._above(self.again[key], 4 * self.rounding, key, {})

    def drawn(self, key: Key, gap: Tensor, seeded: bool) -> bool:
        """Whether some unit changed with the seed; every change counts where seeds matter and equal runs are equal."""
        if seeded and key in self.again and not bool(self.again[key].any()):
            return bool(gap.any())
        return self._above(gap, 4 * self.rounding, key, self.again)

    def _above(self, gap: Tensor, share: float, key: Key, again: Mapping[Key, Tensor]) -> bool:
        """Whether some unit changed by more than a share of its size, and by more than equal runs differ."""
        least = 4 * again[key] if key in again else gap.new_zeros(())
        some = bool((gap > torch.maximum(share * self.scales[key], least)).any())
        return some and bool((gap > torch.maximum(share * self.swung[key], least)).any())


def _random(
    runs: Runs, many: Inputs, first: Mapping[Key, Tensor], drawing: set[Key], tolerance: _Tolerance
) -> set[Key]:
    """The layers that change from draw to draw, in whichever row."""
    found = {key for key in first if tolerance.unseeded(key)}
    start = time.monotonic()
    for seed in range(1, DRAWS + 1):
        spent = time.monotonic() - start
        # Where no random numbers are drawn that a seed is known of, two equal runs were as good as one more draw.
        few = seed < LEAST_DRAWS or (seed <= FEW_DRAWS and spent < FEW_SECONDS)
        more = seed <= LEAST_DRAWS or spent < SECONDS
        left = {key: h for key, h in first.items() if key not in found and (few or (more and key in drawing))}
        if not left:
            break
        gaps = runs.gaps(many, seed, left)
        found |= {key for key, gap in gaps.items() if tolerance.drawn(key, gap, key in drawing)}
    return found


def _repeated(runs: Runs, many: Inputs, drawn: set[Key]) -> set[Key]:
    """The random layers in which some unit of the first row takes a value twice."""
    draws: dict[Key, list[Tensor]] = {key: [] for key in drawn}
    for seed in range(6):
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

    return map_tensors(change, batch)


def _among(batch: Inputs, half: int, louder: bool) -> Inputs:
    """The batch with every other row kept, from row `half` on, among companions that are far from what was there."""
    size = length(batch)

    def change(x: Tensor) -> Tensor:
        if not x.ndim or len(x) != size:
            return x
        others = x[1 - half :: 2]
        kept = x[half::2]
        source = kept[torch.arange(len(others), device=x.device) % len(kept)] if len(kept) else others
        if x.is_floating_point() and x.ndim > 1:
            source = (1.7 * source.flip(-1) + 0.1) if louder else 0.1 * source.flip(-1)
            if louder:
                source[1::2] *= -1  # what sees the batch by its largest, or middle, values: on either side
        found = x.clone()
        found[1 - half :: 2] = source
        return found

    return map_tensors(change, batch)
