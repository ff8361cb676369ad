"""Which images belong together: equal ones, and those of one group; what must be said of them."""

import hashlib
from collections.abc import Mapping

import numpy as np

from infoplane.arguments import check_argument
from infoplane.data.dataset import PARTS, Dataset
from infoplane.errors import agreed, plural

_DIGEST_BYTES = 16


def group_images(dataset: Dataset) -> np.ndarray:
    """Returns a number for every image, int64 `(N,)`: the index of the first image that belongs with it.

    Equal images belong together, and so do those of one of the data set's `groups`; where A belongs with B and B with
    C, all three do. Where nothing is shared, the numbers are 0 … N − 1.

    Raises:
        UsageError: It is no data set.

    Examples:
        >>> images = np.array([0, 1, 0, 2, 1], np.uint8).reshape(5, 1, 1, 1)
        >>> group_images(Dataset("copies", images))
        array([0, 1, 0, 3, 1])
    """
    check_argument("dataset", dataset, Dataset)
    equal = _equal(dataset.images)
    if dataset.groups is None:
        return equal
    # The least number of each group, then of each set of equal images, until nothing changes.
    found, links = np.arange(len(dataset)), (equal, dataset.groups)
    while True:
        before = found
        for link in links:
            least = np.full(int(link.max()) + 1, len(found))
            np.minimum.at(least, link, found)
            found = least[link]
        if np.array_equal(before, found):
            return found


def _equal(images: np.ndarray) -> np.ndarray:
    """Returns for every image the index of the first that equals it, by digests of their bytes, `(N,)`."""
    first: dict[bytes, int] = {}
    digests = (hashlib.blake2b(image, digest_size=_DIGEST_BYTES).digest() for image in images)
    return np.fromiter((first.setdefault(digest, i) for i, digest in enumerate(digests)), np.int64, len(images))


def describe(
    dataset: Dataset, groups: np.ndarray, parts: Mapping[str, np.ndarray], wanted: Mapping[str, int | None]
) -> list[str]:
    """Returns what must be said of images that belong together, a sentence with its count each.

    Args:
        dataset: The data.
        groups: As `group_images` has them.
        parts: Part of a split -> its indices.
        wanted: Part -> how many images were asked for; None for the rest.
    """
    found = []
    equal = groups if dataset.groups is None else _equal(dataset.images)
    distinct, total = len(np.unique(equal)), len(dataset)
    parted = dataset.pools is not None
    if distinct < total:
        kept = "" if parted else "; copies are kept in one part of the split"
        copied = total - distinct
        of = "are copies of others" if copied > 1 else "is a copy of another"
        apart = agreed(distinct, "are distinct")
        found.append(f"{copied:,} of {total:,} images {of}: {distinct:,} {apart}{kept}")
    if dataset.groups is not None:
        count = len(np.unique(groups))
        kept = "" if parted else ", and each group is in one part of the split"
        found.append(f"{total:,} images belong to {plural(count, 'group')}: the groups are what is counted{kept}")
    if dataset.labels is not None and distinct < total:
        other = int((dataset.labels != dataset.labels[equal]).sum())
        if other:
            found.append(
                f"{other:,} of the copies {agreed(other, 'have')} another label than the first image that they equal"
            )
    sizes = [
        f"{plural(len(parts[part]), f'{part} image')} for {size:,}"
        for part, size in wanted.items()
        if size is not None and size != len(parts[part])
    ]
    if sizes:
        found.append(f"so that what belongs together stays together, the split has {', '.join(sizes)}")
    shared = "of the same group as" if dataset.groups is not None else "copies of"
    for at, part in enumerate(PARTS):
        for later in PARTS[at + 1 :]:
            count = int(np.isin(groups[parts[later]], groups[parts[part]]).sum())
            if count:
                of = f"{count:,} of {plural(len(parts[later]), f'{later} image')}"
                said = agreed(count, f"are {shared} {part} images in the official parts: they are")
                found.append(f"{of} {said} no unseen {'image' if count == 1 else 'images'}")
    return found
