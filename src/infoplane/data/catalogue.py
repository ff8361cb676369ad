"""The data sets that infoplane knows by name: where their files are looked for, what is published about them."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infoplane.data import affnist, cifar, cinic10, formats, svhn, szt
from infoplane.data.dataset import Dataset
from infoplane.data.files import listing
from infoplane.data.formats import Format
from infoplane.data.space import MOST_LEVELS, Images
from infoplane.errors import UsageError

#: the environment variable that names a folder of data sets
VARIABLE = "INFOPLANE_DATA"


@dataclasses.dataclass(frozen=True)
class Remote:
    """A file at a public address.

    Attributes:
        url: The address.
        checksum: "md5:…" or "sha256:…" as published, or None where nothing is.
    """

    url: str
    checksum: str | None = None

    @property
    def name(self) -> str:
        """What the file is called on disk."""
        return self.url.rpartition("/")[2]


@dataclasses.dataclass(frozen=True)
class Entry:
    """A data set of the catalogue.

    Attributes:
        name: Its name.
        format: How its files are read.
        shape: `(C, H, W)` of an image.
        counts: Official part -> number of images, in the order in which the loader has them.
        licence: What its authors say of its use, in a few words.
        classes: Number of classes.
        levels: Number of values a pixel can take.
        folders: Names of the folders in which its files are looked for, the preferred one first.
        remotes: Where its files can be had; none where no address is known.
        contents: File name (without .gz) -> "md5:…" or "sha256:…" of its unpacked content, as published.
        options: What its loader is always given.
    """

    name: str
    format: Format
    shape: tuple[int, int, int]
    counts: Mapping[str, int]
    licence: str
    classes: int = 10
    levels: int = MOST_LEVELS
    folders: tuple[str, ...] = ()
    remotes: tuple[Remote, ...] = ()
    contents: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def space(self) -> Images:
        """What one image is."""
        return Images.of(self.shape, self.levels)


_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def _idx(base: str, packed: tuple[str, ...], unpacked: tuple[str, ...]) -> dict[str, Any]:
    """Returns addresses and checksums of a set of IDX files."""
    remotes = (Remote(f"{base}/{file}.gz", f"md5:{md5}") for file, md5 in zip(_IDX_FILES, packed))
    return {
        "remotes": tuple(remotes),
        "contents": {file: f"sha256:{digest}" for file, digest in zip(_IDX_FILES, unpacked)},
    }


_AFFNIST = "https://www.cs.toronto.edu/~tijmen/affNIST/32x/transformed"
_SZT = "sha256:0ba9551878a855396a8de0cbaae620788ede1e7b1eb2b8373bbe017d5ea02036"

ENTRIES = (
    Entry(
        "mnist",
        formats.IDX,
        (1, 28, 28),
        {"train": 60_000, "test": 10_000},
        "CC BY-SA 3.0",
        folders=("mnist", "MNIST", "mnist/raw", "MNIST/raw"),
        options={"classes": 10, "class_names": tuple("0123456789")},
        **_idx(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            (
                "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
                "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
                "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
                "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            ),
        ),
    ),
    Entry(
        "fashion_mnist",
        formats.IDX,
        (1, 28, 28),
        {"train": 60_000, "test": 10_000},
        "MIT",
        folders=("fashion_mnist", "fashion-mnist", "FashionMNIST", "FashionMNIST/raw"),
        options={
            "classes": 10,
            "class_names": (
                "T-shirt/top",
                "Trouser",
                "Pullover",
                "Dress",
                "Coat",
                "Sandal",
                "Shirt",
                "Sneaker",
                "Bag",
                "Ankle boot",
            ),
        },
        **_idx(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            (
                "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
                "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
                "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
                "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            ),
        ),
    ),
    Entry(
        "cifar10",
        formats.CIFAR,
        cifar.SHAPE,
        {"train": 50_000, "test": 10_000},
        "none stated",
        folders=(
            "cifar10",
            "cifar-10",
            "CIFAR10",
            "CIFAR-10",
            "cifar-10-batches-bin",
            "cifar-10-batches-py",
            "cifar10_exact_subset",
        ),
        remotes=(
            Remote("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),
        ),
        contents={
            "cifar-10-binary.tar.gz": "md5:c32a1d4ab5d03f1284b67883e8d87530",
            "cifar-10-python.tar.gz": "md5:c58f30108f718f92721af3b95e74349a",
            "data_batch_1": "md5:c99cafc152244af753f735de768cd75f",
            "data_batch_2": "md5:d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "md5:54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "md5:634d18415352ddfa80567beed471001a",
            "data_batch_5": "md5:482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "md5:40351d587109b95175f43aff81a1287e",
        },
    ),
    Entry(
        "svhn",
        formats.SVHN,
        svhn.SHAPE,
        {"train": 73_257, "test": 26_032},
        "non-commercial use only",
        folders=("svhn", "SVHN"),
        remotes=(
            Remote("http://ufldl.stanford.edu/housenumbers/train_32x32.mat", "md5:e26dedcc434d2e4c54c9b2d4a06d8373"),
            Remote("http://ufldl.stanford.edu/housenumbers/test_32x32.mat", "md5:eb5a983be6a315427106f1b164d9cef3"),
        ),
        contents={
            "train_32x32.mat": "md5:e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "md5:eb5a983be6a315427106f1b164d9cef3",
        },
    ),
    Entry(
        "affnist",
        formats.AFFNIST,
        affnist.SHAPE,
        {"train": 60_000, "test": 10_000},  # of one batch out of 32
        "none stated",
        folders=("affnist", "affNIST", "affnist/transformed", "affNIST/transformed"),
        remotes=(
            Remote(f"{_AFFNIST}/training_and_validation_batches.zip"),
            Remote(f"{_AFFNIST}/test_batches.zip"),
        ),
    ),
    Entry(
        "cinic10",
        formats.PARTED,
        cinic10.SHAPE,
        {"train": 90_000, "valid": 90_000, "test": 90_000},
        "CC BY 4.0",
        folders=("cinic10", "CINIC-10", "cinic-10"),
        remotes=(
            Remote(
                "https://datashare.ed.ac.uk/bitstream/handle/10283/3192/CINIC-10.tar.gz",
                "md5:6ee4d0c996905fe93221de577967a372",
            ),
        ),
        contents={"CINIC-10.tar.gz": "md5:6ee4d0c996905fe93221de577967a372"},
    ),
    Entry(
        "szt",
        formats.SZT,
        szt.SHAPE,
        {"all": 4096},
        "none stated",
        classes=2,
        levels=2,
        folders=("szt", "SZT"),
        remotes=(Remote("https://raw.githubusercontent.com/ravidziv/IDNNs/master/data/var_u.mat", _SZT),),
        contents={"var_u.mat": _SZT},
    ),
)

BY_NAME = {entry.name: entry for entry in ENTRIES}

#: folder name -> the data set whose folder may be called that
BY_FOLDER = {Path(folder).parts[0]: entry for entry in ENTRIES for folder in (entry.name, *entry.folders)}


def roots() -> list[Path]:
    """Returns where data sets are looked for: `$INFOPLANE_DATA` if it is set, then the user's cache."""
    named = os.environ.get(VARIABLE, "")
    return [*([Path(named).expanduser()] if named else []), cache()]


def cache() -> Path:
    """Returns the folder into which data sets are downloaded."""
    import pooch  # brings an HTTP client along, so only when asked for

    return Path(pooch.os_cache("infoplane"))


def locate(name: str) -> tuple[Path, Format] | None:
    """Returns the folder of a data set, and the format of what is in it, or None where there is none.

    A name of the catalogue is looked for under all of its folders' names; any other name is that of a folder.
    """
    entry = BY_NAME.get(name)
    folders = (name,) if entry is None else entry.folders
    # The whole of a set in the cache goes before a subset of it elsewhere.
    for path in (root / folder for folder in folders for root in roots()):
        form = formats.recognise(path) if path.is_dir() else None
        if form is not None and (entry is None or form is entry.format):
            return path, form
    return None


def stand_ins(entry: Entry) -> list[str]:
    """Returns names of other data sets that are here in the layout of this one, as `load` takes them.

    Whoever can use this one can use them: they are read alike, though they may have other images, and fewer.
    """
    found: dict[str, None] = {}
    for folder in (folder for root in roots() for folder in listing(root)):
        if not folder.is_dir() or formats.recognise(folder) is not entry.format:
            continue
        other = entry_of(folder, entry.format)
        name = folder.name if other is None else other.name
        # A folder may be called like another data set, which then hides it.
        if other is not entry and (place := locate(name)) is not None and place[0] == folder:
            found[name] = None
    return list(found)


def missing(entry: Entry) -> UsageError:
    """Returns the error for a data set whose files are nowhere."""
    mend = f"infoplane data --download {entry.name}, or put its files into {roots()[0] / entry.folders[0]}"
    if not entry.remotes:
        mend = f"no public address is known: put its files into {roots()[0] / entry.folders[0]}"
    if others := stand_ins(entry):
        mend += f"; or take {' or '.join(others)}, which is here in the same layout (--set data.name={others[0]})"
    looked = " or ".join(str(root / entry.folders[0]) for root in roots())
    return UsageError(
        f"no files of data set {entry.name!r} in {looked}",
        legal=f"a folder with {entry.format.name}" + ("" if os.environ.get(VARIABLE) else f", or {VARIABLE} set"),
        mend=mend,
    )


def entry_of(path: Path, form: Format) -> Entry | None:
    """Returns the data set of the catalogue to which files of a format at a path belong, or None.

    Formats that one data set has to itself tell by themselves; IDX files and folders of images are what their
    folder is called.
    """
    same = [entry for entry in ENTRIES if entry.format is form]
    if len(same) == 1 and form is not formats.PARTED:
        return same[0]
    parts = path.resolve().parts
    names = {parts[-1], "/".join(parts[-2:])}
    return next((entry for entry in same if names & {entry.name, *entry.folders}), None)


def titled(dataset: Dataset, entry: Entry, shape: tuple[int, int, int]) -> Dataset:
    """Returns the data set under the catalogue's name; where it is not the whole of it, its counts are in the name.

    Args:
        shape: Of an image, whatever stands for it in the data set.
    """
    counts = [len(pool) for _, pool in dataset.sources()]
    name = entry.name
    if counts != list(entry.counts.values()) or shape != entry.shape:
        name = f"{entry.name} ({' + '.join(f'{count:,}' for count in counts)} images)"
    return dataclasses.replace(dataset, name=name)
