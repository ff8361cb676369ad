"""The formats of official files, and which of them is in a folder or file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from infoplane.data.cifar import find_cifar, load_cifar
from infoplane.data.dataset import Dataset
from infoplane.data.idx import find_idx, load_idx


@dataclasses.dataclass(frozen=True)
class Format:
    """A way in which data sets are distributed.

    Attributes:
        name: What messages call it.
        find: From a path to the files of this format at it, none where there are none; cheap, and never fails.
        load: From the same path, and options, to the data set.
    """

    name: str
    find: Callable[[Path], list[Path]]
    load: Callable[..., Dataset]


IDX = Format("IDX files", find_idx, load_idx)
CIFAR = Format("CIFAR-10 batches", find_cifar, load_cifar)

#: in the order in which they are tried
FORMATS = (IDX, CIFAR)


def recognise(path: Path) -> Format | None:
    """Returns the format of the official files at a path, or None."""
    return next((form for form in FORMATS if form.find(path)), None)
