"""Discrete images with what is known about them, and the checks that every input passes through."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from infoplane.arguments import check_argument
from infoplane.checks import MOST_CLASSES, as_numpy, check_classes, check_indices, check_labels
from infoplane.data.space import MOST_LEVELS, Images, check_images
from infoplane.errors import UsageError, plural, printable

#: The purposes that an example can serve, see `Split`.
PARTS = ("encoding", "decoding", "evaluation")


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Images on a grid of levels, with labels and known latents where there are any.

    Attributes:
        name: What reports call the data set; here and in other texts control characters are written out, as "\\x1b".
        images: uint8 `(N, C, H, W)`, C-contiguous, every value below `levels`; N >= 2.
        labels: int64 `(N,)` in `0 … classes − 1`, or None.
        levels: Number of values a pixel can take, 2 to 256 (17 for the digits set).
        classes: Number of classes, at most 65,536; the largest label plus one where it is not given.
        latents: Extra arrays `(N, d)`, float32, one row per example, whose information about the image is known
            (e.g. the template and the shift of the `truth` generator).
        pools: Which examples may serve which purpose, where the data set's authors parted it: "encoding",
            "decoding" and "evaluation" -> int64 indices in ascending order. Two purposes may share a pool (the
            official training part serves encoding and decoding), or else have none of their examples in common.
            None where any example may serve any purpose.
        class_names: What the classes are called, one name per class, or None.
        groups: A number for every example, int64 `(N,)`, shared by those that must not be parted (frames of one
            scene, augmentations of one image), or None where each stands alone. Whole numbers or names of any kind
            may be passed. Equal images need none: see `group_images`.
        notes: What was dropped, converted or guessed when the data were read, a sentence with its count each.

    Raises:
        UsageError: If an array has the wrong type, shape, length or values, or what should be texts are none.

    Examples:
        >>> Dataset("tiny", np.zeros((2, 1, 4, 4), np.uint8), np.array([0, 1]), levels=2)
        Dataset('tiny': 2 images 1×4×4, 2 levels, 2 classes)
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None = None
    levels: int = MOST_LEVELS
    classes: int | None = None
    latents: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    pools: Mapping[str, np.ndarray] | None = None
    class_names: tuple[str, ...] | None = None
    groups: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_argument("name", self.name, str)
        name = printable(self.name)
        owner = f"data set {name!r}"
        images = check_images(self.images, self.levels, what=f"images of {owner}")
        if self.classes is not None:
            check_classes(self.classes, what=f"classes of {owner}")
        labels, classes = self.labels, self.classes
        if labels is not None:
            labels = check_labels(labels, len(images), classes or MOST_CLASSES, what=f"labels of {owner}")
            classes = int(labels.max()) + 1 if classes is None else classes
        check_argument(f"latents of {owner}", self.latents, Mapping[str, Any])
        check_argument(f"pools of {owner}", self.pools, Mapping[str, Any] | None)
        latents = {
            key: _check_latent(f"latent {key!r} of {owner}", value, len(images)) for key, value in self.latents.items()
        }
        pools = None if self.pools is None else _check_pools(owner, self.pools, len(images))
        names = None if self.class_names is None else _check_texts(f"class names of {owner}", self.class_names)
        if names is not None and len(names) != classes:
            raise UsageError(f"class names of {owner} do not match", received=len(names), legal=f"{classes} names")
        # The class is frozen for its users; only here are checked arrays put in the place of what was passed.
        checked = {"images": images, "labels": labels, "classes": classes, "latents": latents, "pools": pools}
        checked |= {"class_names": names, "notes": _check_texts(f"notes of {owner}", self.notes), "name": name}
        checked["groups"] = None if self.groups is None else check_groups(self.groups, len(images), owner)
        for field, value in checked.items():
            object.__setattr__(self, field, value)

    def __len__(self) -> int:
        """Number of examples N."""
        return len(self.images)

    def __repr__(self) -> str:
        classes = "no labels" if self.labels is None else plural(self.classes or 0, "class", "classes")
        latents = f", latents {', '.join(self.latents)}" if self.latents else ""
        images = f"{plural(len(self), 'image')} {self.space.size}, {self.levels} levels"
        return f"Dataset({self.name!r}: {images}, {classes}{latents})"

    @property
    def space(self) -> Images:
        """What one image is."""
        return Images.of(self.images.shape[1:], self.levels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)` of one image."""
        return self.space.shape

    def subset(self, indices: np.ndarray) -> "Dataset":
        """Returns the data set of the examples at `indices`, in that order; levels and classes stay.

        Args:
            indices: Integers `(n,)`, n >= 2, e.g. a part of a `Split`.

        Raises:
            UsageError: If an index is not that of an example, or fewer than 2 are given.
        """
        where = check_indices(f"indices of a subset of {self.name!r}", indices, len(self))
        return dataclasses.replace(
            self,
            images=self.images[where],
            labels=None if self.labels is None else self.labels[where],
            latents={key: value[where] for key, value in self.latents.items()},
            pools=self.pools and {part: np.flatnonzero(np.isin(where, pool)) for part, pool in self.pools.items()},
            groups=None if self.groups is None else self.groups[where],
        )

    def sources(self) -> list[tuple[tuple[str, ...], np.ndarray]]:
        """Returns the distinct pools, each as the parts that draw from it and its indices `(n,)`.

        Without `pools` it is one, of all examples, from which all parts draw.
        """
        if self.pools is None:
            return [(PARTS, np.arange(len(self)))]
        found: list[tuple[tuple[str, ...], np.ndarray]] = []
        for part in PARTS:
            pool = self.pools[part]
            same = next((i for i, (_, other) in enumerate(found) if np.array_equal(pool, other)), None)
            if same is None:
                found.append(((part,), pool))
            else:
                found[same] = ((*found[same][0], part), pool)
        return found


def check_groups(groups: Any, count: int, owner: str = "the images") -> np.ndarray:
    """Returns groups as int64 `(count,)`, numbered in the order of what they were called, or says why it cannot.

    Args:
        groups: Whole numbers or names, `(count,)`; examples of one group have the same.
        count: Number of images that they belong to.
        owner: What error messages call the images' owner.

    Raises:
        UsageError: If they are neither whole numbers nor names, or of another length than `count`.
    """
    array = as_numpy(groups, what=f"groups of {owner}")
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    if array.dtype.kind not in "iubUS" or array.shape != (count,):
        raise UsageError(
            f"groups of {owner} cannot be used",
            received=f"{array.dtype} of shape {array.shape}",
            legal=f"whole numbers or names of shape ({count},), the same for examples that must not be parted",
        )
    return np.unique(array, return_inverse=True)[1].astype(np.int64).reshape(count)


def _check_texts(what: str, texts: Any) -> tuple[str, ...]:
    """Returns texts with whatever is none in them written out, or raises `UsageError`."""
    array = as_numpy(texts, what=what) if hasattr(texts, "tolist") else None
    found = texts if array is None else array.tolist()
    check_argument(what, found, Sequence[str])
    return tuple(map(printable, found))


def _check_pools(owner: str, pools: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
    """Returns the pools as ascending int64 indices, or raises `UsageError`."""
    if set(pools) != set(PARTS):
        raise UsageError(f"pools of {owner} have the wrong names", received=", ".join(pools), legal=", ".join(PARTS))
    checked: dict[str, np.ndarray] = {}
    for part in PARTS:
        pool = np.unique(check_indices(f"pool of {part} of {owner}", pools[part], count))
        for other, examples in checked.items():
            shared = len(np.intersect1d(pool, examples, assume_unique=True))
            if shared and not np.array_equal(pool, examples):
                raise UsageError(
                    f"pools of {owner} overlap",
                    received=f"{shared} examples both in {other} and in {part}",
                    legal="two pools are the same or have nothing in common",
                )
        checked[part] = pool
    return checked


def _check_latent(what: str, values: Any, count: int) -> np.ndarray:
    """Returns a latent as C-contiguous float32 `(count, d)`, or raises `UsageError`."""
    array = as_numpy(values, what=what)
    legal = f"finite numbers of shape ({count}, d)"
    if array.dtype.kind not in "biuf" or array.ndim != 2 or len(array) != count or array.shape[1] == 0:
        raise UsageError(f"{what} has the wrong form", received=f"{array.dtype} of shape {array.shape}", legal=legal)
    array = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(array).all():
        raise UsageError(f"{what} is not finite", received="NaN or infinity", legal=legal)
    return array
