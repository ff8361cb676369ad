"""What I(x;h) cannot exceed, given the values of h that were seen and the mass that others may have.

With B saying whether h is among D values, and p the probability that it is not,
I(x;h) ≤ H(B) + (1 − p) log D + p · H(x | h not among them), since h is one of D where it is among them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge
from scipy import special

from infoplane.arguments import check_argument
from infoplane.checks import as_numpy, check_whole
from infoplane.errors import UsageError

#: most that is counted of units, bits, values and examples: what no memory holds
MOST_COUNTED = 2**63 - 1


@dataclass(frozen=True)
class Seen:
    """Which values of a layer occurred.

    Attributes:
        values: D, the number of distinct ones.
        tested: Independent examples of a half of all that were compared with the other half.
        unseen: How many of them have a value that does not occur in that other half.

    Raises:
        UsageError: These are no such counts.
    """

    values: int
    tested: int
    unseen: int

    def __post_init__(self) -> None:
        check_whole("values", self.values, least=1, most=MOST_COUNTED)
        check_whole("examples", self.tested, least=0, most=MOST_COUNTED)
        check_whole("unseen examples", self.unseen, least=0, most=self.tested)

    @property
    def mass(self) -> float:
        """The upper 95 % confidence limit of the probability of all values that were never seen.

        Good and Turing's question, answered by a half of the sample: given the values in the first half, the number of
        new ones in the second is binomial, whatever the distribution, so that Clopper & Pearson's (1934) limit holds
        for the mass outside the first half, which is at least that outside both. Of n examples without a new value it
        is 6/n; the deviation bound of McAllester & Schapire (2000, theorem 9) for all n at once, 4.6 √(log 60 / n),
        is above ½ up to n = 340.
        """
        if self.unseen == self.tested:
            return 1.0
        return float(special.betaincinv(self.unseen + 1, self.tested - self.unseen, 0.95))

    def ceiling(self, most: float) -> float:
        """Returns what I(x;h) cannot exceed, nats, if the mass is no larger than its limit.

        H_b(p) + (1 − p) log D + p · most, with log 2 for H_b beyond p = ½; it grows with p.

        Args:
            most: What H(x) cannot exceed, nats: C·H·W·log levels. No ceiling is above it.

        Raises:
            UsageError: `most` is no number, 0 or more.
        """
        check_argument("the most that H(x) can be", most, Annotated[float, Ge(0)])
        p = self.mass
        choice = math.log(2) if p >= 0.5 else -(p * math.log(p) + (1 - p) * math.log1p(-p))
        return min(most, choice + (1 - p) * math.log(self.values) + p * most)


def seen_values(parts: Iterable[np.ndarray], groups: np.ndarray | None = None) -> Seen:
    """Returns how many values occurred in rows (n, …) of all parts together, and how many of a half were new.

    0 and −0 are one value. Rows are compared by a 64-bit hash: their bytes would fill memory twice.

    Args:
        groups: (n,) whole numbers: examples of one group, copies of an image, are not independent and stay together.

    Raises:
        UsageError: There are no rows, or not as many as groups.
    """
    return seen_hashes(np.concatenate([np.zeros(0, np.int64), *map(hashes_of, parts)]), groups)


def hashes_of(rows: np.ndarray) -> np.ndarray:
    """Returns a hash of each row (n, …), int64 (n,): the same for the same values, in this process."""
    array = as_numpy(rows, what="activations", widen=True)
    if array.ndim < 1 or array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        received = f"{array.dtype} of shape {array.shape}"
        raise UsageError("there are no values to count", received=received, legal="finite real numbers (n, …)")
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    zero = flat.dtype.type(0)
    return np.fromiter((hash((row + zero).tobytes()) for row in flat), np.int64, len(flat))


def seen_hashes(hashes: np.ndarray, groups: np.ndarray | None = None) -> Seen:
    """Returns what `seen_values` does, of rows of which there are hashes (n,)."""
    hashes = as_numpy(hashes, what="hashes")
    if hashes.ndim != 1 or hashes.dtype.kind not in "iu":
        raise UsageError(
            "there are no values to count", received=f"{hashes.dtype} of shape {hashes.shape}", legal="(n,)"
        )
    groups = None if groups is None else as_numpy(groups, what="groups")
    if groups is not None and (groups.ndim != 1 or groups.dtype.kind not in "iu"):
        received = f"groups {groups.dtype} of shape {groups.shape}"
        raise UsageError("there are no values to count", received=received, legal="a whole number for each row")
    if not len(hashes) or (groups is not None and len(groups) != len(hashes)):
        received = f"{len(hashes)} rows" + ("" if groups is None else f", {len(groups)} groups")
        raise UsageError("there are no values to count", received=received, legal="rows, each of one group")
    _, group = np.unique(np.arange(len(hashes)) if groups is None else groups, return_inverse=True)
    count = int(group.max()) + 1
    # Halved at random, so that no order of the examples matters, and always in the same way.
    second = np.zeros(count, dtype=bool)
    second[np.random.default_rng(0).permutation(count)[: count // 2]] = True
    new = ~np.isin(hashes, hashes[~second[group.ravel()]]) & second[group.ravel()]
    unseen = len(np.unique(group.ravel()[new]))
    return Seen(len(np.unique(hashes)), count // 2, unseen)


def states_ceiling(units: int, bits: int) -> float:
    """Returns the log of the number of states of a layer of so many units, in numbers of so many bits each, nats.

    Raises:
        UsageError: These are no counts.
    """
    units = check_whole("units", units, least=1, most=MOST_COUNTED)
    bits = check_whole("bits", bits, least=1, most=MOST_COUNTED)
    return units * bits * math.log(2)
