"""What an example is: its checks, its counts and its words. Nothing else says what arrays of images look like.

Another kind of example, such as sequences of tokens or vectors, is another `Space` beside `Images`.
"""

import abc
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge, Le

from infoplane.checks import as_numpy, check_whole, holds_integers, type_and_shape
from infoplane.errors import UsageError
from infoplane.estimate import NATS_PER_BIT

#: fewest and most values that a pixel can take: one byte holds it
FEWEST_LEVELS, MOST_LEVELS = 2, 256
#: how many values a pixel can take
Levels = Annotated[int, Ge(FEWEST_LEVELS), Le(MOST_LEVELS)]

#: what numpy and torch call the type of the images' values
BYTES = ("uint8", "torch.uint8")

#: How many channels an image may have that is told from its shape: grey, grey with alpha, colours, colours with alpha.
CHANNELS = (1, 2, 3, 4)


class Space(abc.ABC):
    """What any kind of example offers."""

    #: values that each of the dimensions of an example can take
    levels: int

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, as arrays and densities have it."""

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What the examples are, e.g. "images of 32×32 pixels with 256 levels, 3 channels"."""

    @property
    def size(self) -> str:
        """The shape in words, e.g. "1×8×8"."""
        return "×".join(map(str, self.shape))

    @property
    def dimensions(self) -> int:
        """How many values make an example."""
        return math.prod(self.shape)

    @property
    def nats(self) -> float:
        """Entropy of examples all of which are equally likely, in nats: none has more."""
        return self.dimensions * math.log(self.levels)

    @property
    def per_bit(self) -> float:
        """Nats of an example in one bit per dimension."""
        return self.dimensions * NATS_PER_BIT

    def values(self) -> dict[str, Any]:
        """What a data cell keeps of the space."""
        return {"levels": self.levels, "shape": list(self.shape)}

    def check(self, examples: Any, *, whose: str, rows: int | None = None) -> None:
        """Raises UsageError unless a tensor `(B, *shape)` is of whole numbers and of this shape.

        Args:
            whose: What messages call the model that takes them.
            rows: B, where that is known.
        """
        fits = bool(examples.ndim) and tuple(examples.shape[1:]) == self.shape and rows in (None, len(examples))
        if not holds_integers(examples) or not fits:
            legal = f"integer levels ({', '.join(map(str, ('B' if rows is None else rows, *self.shape)))})"
            raise UsageError(f"images do not fit the {whose}", received=type_and_shape(examples), legal=legal)


@dataclasses.dataclass(frozen=True)
class Images(Space):
    """Images of whole grey values, `(C, H, W)` each; stored as uint8 `(N, C, H, W)`.

    Attributes:
        channels, height, width: C, H (rows) and W (columns).
        levels: Number of values a pixel can take, 2 to 256: 0 … levels − 1.

    Raises:
        UsageError: There are no such images.

    Examples:
        >>> digits = Images(1, 8, 8, 17)
        >>> print(digits.words, round(digits.nats, 1))
        images of 8×8 pixels with 17 levels 181.3
    """

    channels: int
    height: int
    width: int
    levels: int

    def __post_init__(self) -> None:
        if min(self.shape) < 1:
            raise UsageError("bad image shape", received=self.shape, legal="(channels, rows, columns), each at least 1")
        object.__setattr__(self, "levels", check_levels(self.levels))

    @classmethod
    def of(cls, shape: Sequence[int], levels: int) -> "Images":
        """Returns the images of a shape `(C, H, W)`."""
        channels, height, width = shape
        return cls(channels, height, width, levels)

    @classmethod
    def of_values(cls, values: Mapping[str, Any]) -> "Images":
        """Returns the space that a data cell's values tell of."""
        return cls.of(values["shape"], values["levels"])

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @property
    def words(self) -> str:
        colour = "" if self.channels == 1 else f", {self.channels} channels"
        return f"images of {self.height}×{self.width} pixels with {self.levels} levels{colour}"

    def blank(self, n: int) -> np.ndarray:
        """Returns n images of zeros, uint8 `(n, C, H, W)`."""
        return np.zeros((n, *self.shape), np.uint8)

    def check_array(self, images: Any) -> np.ndarray:
        """Returns images from outside as `check_images` does; UsageError also where they are of another shape."""
        array = check_images(images, self.levels, least=1)
        if array.shape[1:] != self.shape:
            raise UsageError("images of another shape", received=array.shape[1:], legal=self.shape)
        return array

    def check_first_rows(self, images: Any, count: int) -> None:
        """Raises UsageError unless a tensor `(count or 1, C, r, W)` holds the first rows of images, none to all."""
        legal = f"integer levels ({count} or 1, {self.channels}, 0 to {self.height}, {self.width})"
        fits = images.ndim == 4 and (images.shape[1], images.shape[3]) == (self.channels, self.width)
        if not holds_integers(images) or not fits or images.shape[2] > self.height or len(images) not in (1, count):
            raise UsageError("the rows to keep do not fit the samples", received=type_and_shape(images), legal=legal)
        check_range(images, self.levels, "the rows to keep hold other levels")


def check_levels(levels: Any, *, what: str = "levels") -> int:
    """Returns a number of levels as an int, or raises UsageError."""
    return check_whole(what, levels, least=FEWEST_LEVELS, most=MOST_LEVELS)


def check_range(images: Any, levels: int, message: str = "levels are out of range", *, mend: str | None = None) -> None:
    """Raises UsageError with this message unless whole numbers, an array or a tensor, are of these levels."""
    in_bytes = str(images.dtype) in BYTES
    if 0 in images.shape or (in_bytes and levels == MOST_LEVELS):
        return
    low, high = 0 if in_bytes else int(images.min()), int(images.max())
    if low < 0 or high >= levels:
        raise UsageError(message, received=f"{low} … {high}", legal=f"0 … {levels - 1}", mend=mend)


def check_stack(images: Any, *, exact: bool, least: int = 0) -> None:
    """Raises UsageError unless an array or tensor is of rank 4 and of whole numbers, of whatever shape and levels.

    Args:
        exact: Whether they must be uint8.
        least: Fewest images that will do.
    """
    whole = str(images.dtype) in BYTES if exact else holds_integers(images)
    if images.ndim != 4 or not whole or len(images) < least:
        enough = f" with N >= {least}" if least else ""
        raise UsageError(
            "cannot use these images", received=type_and_shape(images), legal=f"uint8 (N, C, H, W){enough}"
        )


def check_images(images: Any, levels: int, *, what: str = "images", least: int = 2) -> np.ndarray:
    """Returns `images` as a C-contiguous uint8 array `(N, C, H, W)`, or says why it cannot.

    Nothing is rescaled or rounded: a density of discrete pixels needs the caller's own grid of levels.

    Args:
        images: numpy array or torch tensor, uint8, `(N, C, H, W)`.
        levels: Number of values a pixel can take; each must lie in `0 … levels − 1`.
        what: What error messages call the images.
        least: Fewest images that make sense here.

    Raises:
        UsageError: If they are not uint8, not of rank 4, channels last, empty, too few, or beyond `levels`.
    """
    levels = check_levels(levels)
    array = as_numpy(images, what=what)
    legal = f"uint8 of shape (N, C, H, W), values 0 to {levels - 1}"
    if array.ndim != 4:
        mend = "add the channel axis: images[:, None]" if array.ndim == 3 else None
        other = "" if array.dtype == np.uint8 else f"{array.dtype} of "
        raise UsageError(f"{what} have the wrong rank", received=f"{other}shape {array.shape}", legal=legal, mend=mend)
    if array.dtype != np.uint8:
        raise UsageError(f"{what} are not uint8", received=array.dtype, legal=legal, mend=_to_bytes(array, levels))
    if len(array) < least:
        raise UsageError(f"{what} are too few", received=len(array), legal=f"{least} or more")
    if 0 in array.shape[1:]:
        raise UsageError(f"{what} have no pixels", received=f"shape {array.shape}", legal=legal)
    # They could be meant, but in practice they are (N, H, W, C), and every later number would be wrong in silence.
    if array.shape[1] not in CHANNELS and array.shape[3] in CHANNELS:
        mend = "channels come before height and width: images.transpose(0, 3, 1, 2)"
        raise UsageError(f"{what} look channels-last", received=f"shape {array.shape}", legal=legal, mend=mend)
    if levels < MOST_LEVELS and (top := int(array.max(initial=0))) >= levels:
        raise UsageError(
            f"{what} hold values beyond their levels",
            received=f"a largest value of {top} with levels={levels}",
            legal=f"0 to {levels - 1}",
            mend=f"pass levels={top + 1} or more, or re-quantise the images",
        )
    return np.ascontiguousarray(array)


def _to_bytes(images: np.ndarray, levels: int) -> str:
    """Returns how images of another type become uint8 without one of their values being changed in silence."""
    if images.dtype.kind == "b":
        return "booleans become images.astype('uint8'), with levels=2"
    if images.dtype.kind not in "iuf" or not images.size:
        return "give whole numbers from 0 on as uint8"
    low, high = images.min(), images.max()
    if not np.isfinite([low, high]).all():
        return "there are NaN or infinite values: mend these first"
    whole = images.dtype.kind != "f" or bool((images == np.rint(images)).all())
    if whole and low >= 0 and high < MOST_LEVELS and (high > 1 or images.dtype.kind != "f"):
        return f"all values are whole, {low:g} to {high:g}: images.astype('uint8') keeps them as they are"
    if low < 0:
        return f"values go from {low:g} to {high:g}: undo what they were normalised by, so that they start at 0"
    if high <= 1:
        return f"images scaled to [0, 1] become (images * {levels - 1}).round().astype('uint8')"
    if whole:
        step = -(-(int(high) + 1) // MOST_LEVELS)
        return (
            f"values go up to {int(high):,}, and astype('uint8') would wrap them: choose what becomes of the finer "
            f"levels, e.g. (images // {step}).astype('uint8')"
        )
    return f"values go from {low:g} to {high:g}: scale them to whole numbers from 0 to {levels - 1}, then to uint8"
