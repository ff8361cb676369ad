"""The three-way split that keeps every number honest: encoding, decoding, evaluation."""

import dataclasses
import math

import numpy as np

from infoplane.arguments import check_argument
from infoplane.checks import check_indices, check_whole
from infoplane.data.copies import group_images
from infoplane.data.dataset import PARTS, Dataset, check_groups
from infoplane.errors import UsageError


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Which examples serve which purpose.

    Attributes:
        encoding: Indices, int64 `(n,)`, of the examples that train the network under study; empty where that
            network comes trained, as in `infoplane.measure`.
        decoding: Indices of the examples that train the densities; see `hold_out` for its early-stopping part.
        evaluation: Indices of the examples that are touched once, for the number.

    Raises:
        UsageError: If an example serves twice, or something is not an array of indices.
    """

    encoding: np.ndarray
    decoding: np.ndarray
    evaluation: np.ndarray

    def __post_init__(self) -> None:
        for part in PARTS:
            object.__setattr__(self, part, check_indices(part, getattr(self, part)))
        everything = np.concatenate([getattr(self, part) for part in PARTS])
        twice = len(everything) - len(np.unique(everything))
        if twice:
            raise UsageError(
                "the parts of a split overlap",
                received=f"{twice} repeated indices",
                legal="each example in at most one of encoding, decoding, evaluation, once",
            )

    def __repr__(self) -> str:
        return f"Split({', '.join(f'{part}: {len(getattr(self, part))}' for part in PARTS)})"


def split(
    dataset: Dataset,
    *,
    encoding: int | None,
    decoding: int | None,
    evaluation: int | None,
    seed: int,
    groups: np.ndarray | None = None,
) -> Split:
    """Returns a random split with the sizes asked for; the same arguments give the same split.

    Images that belong together (equal ones, and the data set's `groups`) are in one part, except where official parts
    hold them apart. Sizes are exact where each image stands alone; else they are as near as the groups allow.

    Where there are labels, every part holds each class in the data's proportion: where each image stands alone, fewer
    than one example off in the evaluation part, two in decoding, three in encoding. Every example is equally likely
    to be chosen, and the order within a part is random. Where the data set has pools, each part is drawn from its own.

    Args:
        dataset: What to split.
        encoding: Number of examples, or None (for at most one part of each pool) for all that the others leave.
        decoding: The same for the decoding part.
        evaluation: The same for the evaluation part.
        seed: Of the random choice, 0 or more.
        groups: As `group_images(dataset)` has them, where that is known already.

    Raises:
        UsageError: If the sizes or the groups do not fit the data set, or too many images belong together.

    Examples:
        >>> split(load("truth", n=100), encoding=0, decoding=80, evaluation=None, seed=0)
        Split(encoding: 0, decoding: 80, evaluation: 20)
    """
    check_argument("dataset", dataset, Dataset)
    sizes = {"encoding": encoding, "decoding": decoding, "evaluation": evaluation}
    sources = [(names, pool, _resolve(names, len(pool), sizes)) for names, pool in dataset.sources()]
    rng = np.random.default_rng(check_whole("seed", seed, least=0))
    together = group_images(dataset) if groups is None else check_groups(groups, len(dataset))
    parts: dict[str, np.ndarray] = {}
    for names, pool, counts in sources:
        labels = None if dataset.labels is None else dataset.labels[pool]
        parts |= _draw(pool, labels, together[pool], names, counts, rng)
        for part in names:
            # A single group has no spread, and cannot be divided for early stopping.
            if len(np.unique(together[parts[part]])) < min(2, counts[part]):
                alone = len(np.unique(together[pool]))
                if alone == 1 and (dataset.images[pool] == dataset.images[pool[0]]).all():
                    received, legal = f"{len(pool):,} of them", "images that differ"
                    raise UsageError("all images are identical", received=received, legal=legal)
                raise UsageError(
                    f"too few images that stand alone for the {part} part",
                    received=f"{len(pool):,} images in {alone:,} group{'s' * (alone > 1)}",
                    legal="2 or more for each part: what belongs together stays in one part",
                    mend="take more distinct images",
                )
    return Split(**parts)


def draw_stratified(strata: np.ndarray, size: int, seed: int) -> np.ndarray:
    """Returns `size` random positions out of `len(strata)`, each stratum in its proportion, in ascending order.

    Args:
        strata: Whole numbers `(n,)`.
        size: At most n; fewer than one example of each stratum off.
        seed: Of the random choice, 0 or more.
    """
    # A stream of its own, as in `hold_out`.
    rng = np.random.default_rng([check_whole("seed", seed, least=0), 2])
    alone = np.arange(len(strata))
    chosen = _draw(alone, strata, alone, ("chosen",), {"chosen": size}, rng)
    return np.sort(chosen["chosen"])


def _draw(
    pool: np.ndarray,
    labels: np.ndarray | None,
    groups: np.ndarray,
    names: tuple[str, ...],
    sizes: dict[str, int],
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Returns the parts `names`, of these sizes, drawn from a pool by class without replacement, groups whole."""
    starts, members = _members(groups)
    labels = np.zeros(len(starts)) if labels is None else labels[starts]
    classes = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    weights = np.array([len(each) for each in members], dtype=np.int64)
    parts, left = {}, len(pool)
    # What groups make of the sizes of the other parts is made up for by the last, if all is to be used.
    whole = (
        next((part for part in names if sizes[part]), None) if sum(sizes[part] for part in names) == len(pool) else None
    )
    # Evaluation first: it is rounded once, the later parts inherit the rounding of those before.
    for part in reversed(names):
        shares = _shares([int(weights[some].sum()) for some in classes], min(sizes[part], left), rng)
        taken, over = [], 0
        # Twice where groups left something to fill up, which another class may then do.
        for share in (shares, [0] * len(classes)):
            for at, some in enumerate(classes):
                chosen = np.ones(len(some), bool) if part == whole else _fill(weights[some], share[at] - over)
                over += int(weights[some][chosen].sum()) - share[at]
                taken += [members[group] for group in some[chosen]]
                classes[at] = some[~chosen]
            if over >= 0:
                break
        found = np.concatenate(taken) if taken else np.zeros(0, int)
        left -= len(found)
        # Not sorted by class: the contrastive bound makes batches of neighbours.
        parts[part] = pool[rng.permutation(found)]
    return parts


def _members(groups: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """Returns the position of each group's first member, ascending, and the positions of all of its members."""
    order = np.argsort(groups, kind="stable")
    ends = np.flatnonzero(np.diff(groups[order])) + 1
    found = sorted(np.split(order, ends), key=lambda each: each[0]) if len(groups) else []
    return np.array([each[0] for each in found], dtype=np.int64), found


def _fill(weights: np.ndarray, size: int) -> np.ndarray:
    """Returns which of these groups to take, in their order, so that their weights add up to about `size`, `(G,)`.

    Each that still fits is taken; then the lightest of the others, if that comes nearer to `size`.
    """
    chosen, left = np.zeros(len(weights), bool), size
    if len(weights) and weights.max() == 1:
        chosen[: max(size, 0)] = True
        return chosen
    for at, weight in enumerate(weights):
        if weight <= left:
            chosen[at], left = True, left - weight
    others = np.flatnonzero(~chosen)
    if left > 0 and len(others):
        lightest = others[np.argmin(weights[others])]
        if weights[lightest] - left < left:
            chosen[lightest] = True
    return chosen


def hold_out(
    indices: np.ndarray, fraction: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Returns `(kept, held)`: `indices` parted at random, `held` being the share that decides early stopping.

    Args:
        indices: int64 `(n,)`, n >= 2, no two of them the same, as a rule `Split.decoding`.
        fraction: Share to hold out, between 0 and 1; rounded to a whole number of examples, at least one on each
            side, and to whole groups.
        seed: Of the random choice, 0 or more.
        groups: A whole number or a name for each of the indices, `(n,)`; those with the same one are on one side.
            None where each stands alone.

    Raises:
        UsageError: If `fraction` is not strictly between 0 and 1, there are fewer than 2 indices or groups, an index
            is there twice, or there is not one group for each.
    """
    indices = check_indices("indices", indices)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.number) or not 0 < fraction < 1:
        raise UsageError("the held-out fraction cannot be used", received=repr(fraction), legal="0 < fraction < 1")
    count = len(indices)
    if count < 2:
        raise UsageError("too few examples to hold some out", received=count, legal="2 or more")
    if twice := count - len(np.unique(indices)):
        received, legal = f"{twice} repeated indices", "each example once: else it may be on both sides"
        raise UsageError("indices cannot be used", received=received, legal=legal)
    _, members = _members(np.arange(count) if groups is None else check_groups(groups, count, "the indices"))
    if len(members) < 2:
        received, legal = f"{count} examples that all belong together", "2 groups or more, each of them on one side"
        raise UsageError("too few examples to hold some out", received=received, legal=legal)
    held = min(max(math.floor(fraction * count + 0.5), 1), count - 1)
    # A stream of its own, so that `split` and `hold_out` may share a seed.
    order = np.random.default_rng([check_whole("seed", seed, least=0), 1]).permutation(len(members))
    weights = np.array([len(members[group]) for group in order])
    chosen = _fill(weights, held)
    if chosen.all() or not chosen.any():  # one group outweighs all others
        chosen[:] = weights < weights.max()
        chosen[0] |= not chosen.any()
    sides = [np.concatenate([members[group] for group in order[side]]) for side in (~chosen, chosen)]
    return indices[sides[0]], indices[sides[1]]


def _resolve(names: tuple[str, ...], total: int, wanted: dict[str, int | None]) -> dict[str, int]:
    """Returns the sizes of the parts of a pool, None replaced by what the others leave, or raises `UsageError`."""
    sizes = {part: wanted[part] for part in names}
    known = {part: check_whole(f"size of {part}", n, least=0) for part, n in sizes.items() if n is not None}
    rest = total - sum(known.values())
    open_parts = [part for part in sizes if part not in known]
    received = ", ".join(f"{part}={size}" for part, size in wanted.items())
    whole = len(names) == len(wanted)
    if len(open_parts) > 1:
        legal = "at most one None" if whole else f"at most one None among {', '.join(names)}"
        raise UsageError("only one part of a split can be the rest", received=received, legal=legal)
    if rest < 0 or (open_parts and rest == 0):
        left = f", and at least one for {open_parts[0]}" if open_parts else ""
        pool = "in all" if whole else f"for {' and '.join(names)}: these are drawn from an official part of their own"
        raise UsageError(
            f"the split is larger than the data set{'' if whole else ' allows'}",
            received=received,
            legal=f"at most {total} examples {pool}{left}",
            mend="ask for fewer or load more data",
        )
    return known | dict.fromkeys(open_parts, rest)


def _shares(counts: list[int], size: int, rng: np.random.Generator) -> list[int]:
    """Returns how many to take of each class: `size` in all, each share `size · count / total` rounded up or down.

    The ends of the classes' intervals on a line are rounded with one random offset (systematic sampling), in whole
    numbers throughout: the sum is exact and each share is right on average, so that a class too small for one
    example is not left out for certain.
    """
    total = sum(counts)
    if total == 0:
        return [0] * len(counts)
    ends = (np.cumsum(counts) * size + rng.integers(total)) // total
    return np.diff(ends, prepend=0).tolist()
