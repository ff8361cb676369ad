"""What can be asked of every data set: fewer examples, smaller images."""

import dataclasses

import numpy as np

from infoplane.checks import check_whole
from infoplane.data.dataset import Dataset
from infoplane.data.split import draw_stratified
from infoplane.errors import UsageError

#: the options of `apply`, in the order in which they are applied
OPTIONS = ("subset", "subset_seed", "downsample")


def apply(dataset: Dataset, *, subset: int | None = None, subset_seed: int = 0, downsample: int = 1) -> Dataset:
    """Returns a data set with fewer examples or smaller images, and a name that says so.

    Args:
        dataset: What to take them from.
        subset: Number of examples in all; each pool and each class keeps its share, the order stays. None for all.
        subset_seed: Of the choice; of its own, so that a study with several seeds keeps to one subset.
        downsample: Side of the squares of pixels that become one, see `shrink`; 1 leaves the images as they are.

    Raises:
        UsageError: There are not so many examples, or the images cannot be parted into such squares.
    """
    total, seed = len(dataset), check_whole("subset_seed", subset_seed, least=0)
    if subset is not None and check_whole(f"subset of {dataset.name}", subset, least=2, most=total) < total:
        chosen = draw_stratified(_strata(dataset), subset, seed)
        dataset = dataclasses.replace(dataset.subset(chosen), name=_note(dataset.name, f"{subset:,} of {total:,}"))
    factor = check_whole("downsample", downsample, least=1)
    if factor > 1:
        dataset = dataclasses.replace(
            dataset, name=downsampled(dataset.name, factor), images=shrink(dataset.images, factor)
        )
    return dataset


def downsampled(name: str, factor: int) -> str:
    """Returns the name of a data set whose images were made smaller."""
    return _note(name, f"downsampled {factor}×")


def shrunk_size(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Returns rows and columns of images whose squares of `factor` × `factor` pixels become one.

    Raises:
        UsageError: One of them is not a multiple.
    """
    height, width = size
    if height % factor or width % factor:
        raise UsageError(
            f"images cannot be downsampled {factor}×",
            received=f"{height}×{width} pixels",
            legal=f"height and width that are multiples of {factor}",
        )
    return height // factor, width // factor


def shrink(images: np.ndarray, factor: int) -> np.ndarray:
    """Returns images whose pixels are the means of squares of `factor` × `factor`, rounded half up.

    Args:
        images: uint8 `(N, C, H, W)`.
        factor: Of which height and width are multiples.

    Returns: uint8 `(N, C, H / factor, W / factor)`.

    Raises:
        UsageError: Height or width is not a multiple.
    """
    rows, columns = shrunk_size((images.shape[2], images.shape[3]), factor)
    area = factor * factor
    # 255 · area and half of the area must fit.
    total = np.zeros((*images.shape[:2], rows, columns), np.uint16 if factor <= 16 else np.uint32)
    for row in range(factor):
        for column in range(factor):
            total += images[:, :, row::factor, column::factor]
    return ((total + area // 2) // area).astype(np.uint8)


def _strata(dataset: Dataset) -> np.ndarray:
    """Returns a number per example, the same for those of one class that may serve the same purposes."""
    classes = dataset.classes or 1
    strata = np.zeros(len(dataset), np.int64) if dataset.labels is None else dataset.labels.copy()
    if dataset.pools is not None:
        strata += classes * (1 + len(dataset.sources()))  # examples in no pool
        for number, (_, pool) in enumerate(dataset.sources()):
            strata[pool] += classes * (number - len(dataset.sources()))
    return strata


def _note(name: str, note: str) -> str:
    """Returns a name with a note in brackets, after those that are there."""
    return f"{name[:-1]}; {note})" if name.endswith(")") else f"{name} ({note})"
