"""What a data set holds, without its pixels: how many images of which shape, their labels, and who may use them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infoplane.checks import check_whole
from infoplane.data.copies import group_images
from infoplane.data.dataset import Dataset
from infoplane.data.options import apply, downsampled, shrunk_size
from infoplane.data.pictures import look
from infoplane.data.space import Images


@dataclasses.dataclass(frozen=True)
class Outline:
    """A data set of which no more was read than tells how many images it has, and of which shape.

    Attributes:
        dataset: The data set, each of its images a single blank pixel; or the whole of it, where that is read at once.
        size: Rows and columns of an image; None where they are those of the data set.
    """

    dataset: Dataset
    size: tuple[int, int] | None = None

    @property
    def space(self) -> Images:
        """What one image is."""
        own = self.dataset.space
        return own if self.size is None else Images(own.channels, *self.size, own.levels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of one image."""
        return self.space.shape

    @property
    def groups(self) -> np.ndarray:
        """As `group_images` has them, but that of pictures which were not read none is taken for another's copy."""
        if self.size is None:
            return group_images(self.dataset)
        return np.arange(len(self.dataset)) if self.dataset.groups is None else self.dataset.groups

    def applied(self, options: Mapping[str, Any]) -> "Outline":
        """Returns the outline with fewer examples or smaller images, see `options.apply`."""
        if self.size is None:
            return Outline(apply(self.dataset, **options))
        factor = check_whole("downsample", options.get("downsample", 1), least=1)
        dataset = apply(self.dataset, **{**options, "downsample": 1})
        if factor > 1:
            dataset = dataclasses.replace(dataset, name=downsampled(dataset.name, factor))
        return Outline(dataset, shrunk_size(self.size, factor))


class Blank:
    """In the place of `decode`: of the first pictures only the headers are read, of all others nothing.

    Grey pictures become coloured where there is one that is: so these are read up to the first that is not grey.
    """

    def __init__(self) -> None:
        self.size: tuple[int, int] | None = None
        self.grey = True

    def __call__(self, source: Path | Callable[[], bytes], name: object, alpha: str | None) -> np.ndarray:
        """Returns one blank pixel, uint8 (1, 1, 1) or (1, 1, 3).

        Args:
            source: The picture's file, or a function that returns its content.
            name: What error messages call it.
            alpha: As `decode` has it.
        """
        if self.grey:
            (width, height), self.grey = look(source if isinstance(source, Path) else source(), name, alpha)
            self.size = self.size or (height, width)
        return np.zeros((1, 1, 1 if self.grey else 3), np.uint8)

    def of(self, files: Sequence[Path], alpha: str | None) -> np.ndarray:
        """Returns blank pixels for so many pictures, uint8 (N, 1 or 3, 1, 1); arguments as those of a call."""
        channels = [self(file, file, alpha).shape[2] for file in files]
        return np.zeros((len(files), max(channels), 1, 1), np.uint8)
