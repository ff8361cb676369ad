"""Folders of images in official parts, as CINIC-10 has them: `{train,valid,test}/CLASS/*.png`, unpacked or not.

Source: L. N. Darlow et al., "CINIC-10 is not ImageNet or CIFAR-10", 2018.
"""

import io
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from infoplane.data import archive
from infoplane.data.dataset import Dataset
from infoplane.data.files import join, listing, read_all
from infoplane.data.folder import SUFFIXES, decode
from infoplane.errors import UsageError

SHAPE = (3, 32, 32)
#: images of each of its parts
PUBLISHED = 90_000

_PARTS = {"train": "train", "valid": "valid", "val": "valid", "test": "test"}
_NAME = re.compile(r"(?:.*/)?(train|valid|val|test)/([^/.][^/]*)/([^/.][^/]*)")
_LEGAL = "{train,valid,test}/CLASS/*.png (also jpg, jpeg, bmp; valid may be missing), a folder or its .tar.gz"

#: of one picture; CINIC-10's have 3 KB
_MOST_MEMBER = 16 << 20


def find_cinic10(path: Path) -> list[Path]:
    """Returns the folders of the parts, or the archive that holds them: the path or one file in it."""
    if path.is_file():
        return [path] if archive.is_archive(path) and archive.holds(path, _is_image, damaged=True) else []
    folders = [path / name for name in _PARTS if (path / name).is_dir()]
    # Classes of pictures that happen to be called train and test have no folders in them.
    if {"train", "test"} <= {folder.name for folder in folders}:
        return folders if any(entry.is_dir() for entry in listing(path / "train")) else []
    entries = listing(path)
    # Where there is nothing else, a damaged archive is to be told of; else it may just lie about.
    alone = not any(entry.is_dir() or entry.suffix.lower() in SUFFIXES for entry in entries)
    archives = (entry for entry in entries if archive.is_archive(entry) and entry.is_file())
    return [entry for entry in archives if archive.holds(entry, _is_image, damaged=alone)][:1]


def load_cinic10(path: str | os.PathLike[str]) -> Dataset:
    """Returns the images of all parts, named after the folder or archive; label k is the k-th class by name.

    A name with "cinic" in it says so where these cannot be CINIC-10's, of which each part has 90,000.

    Encoding draws from `train`, decoding from `valid` (from `train` where there is none), evaluation from `test`.
    Within a part the order is that of classes and of file names. Images are RGB unless all are greyscale.

    Args:
        path: The folder, an archive (.tar.gz, .tgz, .tar, .zip), or a folder with one such archive in it. Nothing
            is unpacked to disk.

    Raises:
        UsageError: A part or class is missing, images differ in size, an image or the archive is damaged, or the
            archive holds what it should not.
    """
    path = Path(path)
    pixels: list[np.ndarray] = []
    keys: list[tuple[str, str, str]] = []
    size: tuple[int, int] | None = None
    all_grey = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow only warns of pictures too large to be one
        for key, name, content in _images(path):
            image, grey = decode(io.BytesIO(content), name, size)
            size, all_grey = (image.shape[1], image.shape[0]), all_grey and grey
            keys.append(key)
            pixels.append(image)
    classes = sorted({key[1] for key in keys})
    _check_complete(path, {key[:2] for key in keys}, classes)
    order = sorted(range(len(keys)), key=keys.__getitem__)
    parts = []
    for part in ("train", "valid", "test"):
        chosen = [index for index in order if keys[index][0] == part]
        if chosen:
            images = np.stack([pixels[index] for index in chosen]).transpose(0, 3, 1, 2)
            labels = np.array([classes.index(keys[index][1]) for index in chosen])
            parts.append((part, images[:, :1] if all_grey else images, labels))
    name = path.resolve().name
    for suffix in archive.SUFFIXES:
        name = name.removesuffix(suffix)
    # The layout is CINIC-10's; what lies in it need not be, whatever it is called.
    if "cinic" in name.lower() and ([len(images) for _, images, _ in parts] != [PUBLISHED] * 3):
        name += " (not CINIC-10)"
    return join(name, parts, classes=len(classes), class_names=classes)


def _images(path: Path) -> Iterator[tuple[tuple[str, str, str], str, bytes]]:
    """Yields (part, class, file name), what to call the file, and its content."""
    for source in find_cinic10(path):
        if source.is_file():
            for name, content in archive.read(source, _is_image, _MOST_MEMBER):
                yield _key(name), f"{name} in {source}", content
            continue
        for folder in listing(source):
            for file in listing(folder) if folder.is_dir() else ():
                if file.suffix.lower() in SUFFIXES and file.is_file():
                    yield (_PARTS[source.name], folder.name, file.name), str(file), read_all(file, _MOST_MEMBER)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and _NAME.fullmatch(name) is not None


def _key(name: str) -> tuple[str, str, str]:
    """Returns part, class and file name of an image in an archive."""
    part, label, file = name.split("/")[-3:]
    return _PARTS[part], label, file


def _check_complete(path: Path, present: set[tuple[str, str]], classes: list[str]) -> None:
    """Raises `UsageError` unless every part has every class: a class without examples would go unnoticed."""
    parts = sorted({part for part, _ in present} | {"train", "test"})
    lacking = [f"{part}/{label}" for part in parts for label in classes if (part, label) not in present]
    if not classes or lacking:
        received = f"no images in {', '.join(lacking[:3])}" if lacking else "no images"
        raise UsageError(f"cannot use {path}", received=received, legal=_LEGAL)
