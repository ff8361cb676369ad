"""The three-way split that keeps every number honest: encoding, decoding, evaluation."""

import dataclasses
import math

import numpy as np

from infoplane.data.dataset import Dataset, as_numpy, check_whole
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
            object.__setattr__(self, part, _check_indices(part, getattr(self, part)))
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


PARTS = tuple(field.name for field in dataclasses.fields(Split))


def split(dataset: Dataset, *, encoding: int | None, decoding: int | None, evaluation: int | None, seed: int) -> Split:
    """Returns a random split with exactly the sizes asked for; the same arguments give the same split.

    Where there are labels, every part holds each class in the data's proportion: fewer than one example off in the
    evaluation part, two in decoding, three in encoding. Every example is equally likely to be chosen, and the order
    within a part is random.

    Args:
        dataset: What to split.
        encoding: Number of examples, or None (for at most one part) for all that the others leave.
        decoding: The same for the decoding part.
        evaluation: The same for the evaluation part.
        seed: Of the random choice, 0 or more.

    Raises:
        UsageError: If the sizes do not fit the data set.
    """
    sizes = _resolve(len(dataset), {"encoding": encoding, "decoding": decoding, "evaluation": evaluation})
    rng = np.random.default_rng(check_whole("seed", seed, least=0))
    labels = np.zeros(len(dataset)) if dataset.labels is None else dataset.labels
    pools = [rng.permutation(np.flatnonzero(labels == label)) for label in np.unique(labels)]
    parts = {}
    # Evaluation first: it is rounded once, the later parts inherit the rounding of those before.
    for part in reversed(PARTS):
        taken = _shares([len(pool) for pool in pools], sizes[part], rng)
        chosen = np.concatenate([pool[:count] for pool, count in zip(pools, taken)])
        pools = [pool[count:] for pool, count in zip(pools, taken)]
        # Not sorted by class: the contrastive bound makes batches of neighbours.
        parts[part] = rng.permutation(chosen)
    return Split(**parts)


def hold_out(indices: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `(kept, held)`: `indices` parted at random, `held` being the share that decides early stopping.

    Args:
        indices: int64 `(n,)`, n >= 2, as a rule `Split.decoding`.
        fraction: Share to hold out, between 0 and 1; rounded to a whole number of examples, at least one on each
            side.
        seed: Of the random choice, 0 or more.

    Raises:
        UsageError: If `fraction` is not strictly between 0 and 1, or there are fewer than 2 indices.
    """
    indices = _check_indices("indices", indices)
    if isinstance(fraction, bool) or not isinstance(fraction, int | float | np.number) or not 0 < fraction < 1:
        raise UsageError("the held-out fraction cannot be used", received=repr(fraction), legal="0 < fraction < 1")
    count = len(indices)
    if count < 2:
        raise UsageError("too few examples to hold some out", received=count, legal="2 or more")
    held = min(max(math.floor(fraction * count + 0.5), 1), count - 1)
    # A stream of its own, so that `split` and `hold_out` may share a seed.
    order = np.random.default_rng([check_whole("seed", seed, least=0), 1]).permutation(count)
    return indices[order[held:]], indices[order[:held]]


def _resolve(total: int, sizes: dict[str, int | None]) -> dict[str, int]:
    """Returns the sizes with None replaced by what the others leave, or raises `UsageError`."""
    known = {part: check_whole(f"size of {part}", n, least=0) for part, n in sizes.items() if n is not None}
    rest = total - sum(known.values())
    open_parts = [part for part in sizes if part not in known]
    received = ", ".join(f"{part}={size}" for part, size in sizes.items())
    if len(open_parts) > 1:
        raise UsageError("only one part of a split can be the rest", received=received, legal="at most one None")
    if rest < 0 or (open_parts and rest == 0):
        left = f", and at least one for {open_parts[0]}" if open_parts else ""
        raise UsageError(
            "the split is larger than the data set",
            received=received,
            legal=f"at most {total} examples in all{left}",
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


def _check_indices(what: str, indices: np.ndarray) -> np.ndarray:
    """Returns indices as int64 `(n,)`, or raises `UsageError`."""
    array = as_numpy(indices, what=what)
    if array.size == 0 and array.ndim == 1:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.min() < 0:
        raise UsageError(
            f"{what} cannot be used",
            received=f"{array.dtype} of shape {array.shape}",
            legal="whole numbers >= 0 of shape (n,)",
        )
    return array.astype(np.int64)
