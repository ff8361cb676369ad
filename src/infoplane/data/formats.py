"""The formats of official files, and which of them is in a folder or file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from infoplane.data.affnist import find_affnist, load_affnist
from infoplane.data.cifar import count_cifar, find_cifar, load_cifar
from infoplane.data.cinic10 import find_cinic10, load_cinic10, outline_cinic10
from infoplane.data.dataset import Dataset
from infoplane.data.idx import count_idx, find_idx, load_idx
from infoplane.data.outlining import Outline
from infoplane.data.svhn import find_svhn, load_svhn
from infoplane.data.szt import find_szt, load_szt


@dataclasses.dataclass(frozen=True)
class Format:
    """A way in which data sets are distributed.

    Attributes:
        name: What messages call it.
        find: From a path to the files of this format at it, none where there are none; cheap, and never fails.
        load: From the same path, and options, to the data set.
        count: From the same path to the number of images in each part, where headers or sizes of files tell it
            (no pixel is read), else None; never fails.
        outline: As `load`, but without the pixels, where that is much quicker; else None.
    """

    name: str
    find: Callable[[Path], list[Path]]
    load: Callable[..., Dataset]
    count: Callable[[Path], list[int] | None] = lambda _: None
    outline: Callable[..., Outline] | None = None


PARTED = Format("{train,valid,test}/CLASS/*.png", find_cinic10, load_cinic10, outline=outline_cinic10)
#: what the catalogue calls a format -> it; in the order in which they are tried
BY_NAME = {
    "idx": Format("IDX files", find_idx, load_idx, count_idx),
    "cifar": Format("CIFAR-10 batches", find_cifar, load_cifar, count_cifar),
    "svhn": Format("SVHN .mat files", find_svhn, load_svhn),
    "affnist": Format("affNIST batches", find_affnist, load_affnist),
    "szt": Format("var_u.mat", find_szt, load_szt),
    "parts": PARTED,
}


def recognise(path: Path) -> Format | None:
    """Returns the format of the official files at a path, or None."""
    return next((form for form in BY_NAME.values() if form.find(path)), None)
