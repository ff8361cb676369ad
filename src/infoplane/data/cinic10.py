"""Folders of images in official parts, as CINIC-10 has them: `{train,valid,test}/CLASS/*.png`, unpacked or not.

Source: L. N. Darlow et al., "CINIC-10 is not ImageNet or CIFAR-10", 2018.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from infoplane.data import archive
from infoplane.data.dataset import Dataset
from infoplane.data.files import join, listing, read_all
from infoplane.data.folder import (
    check_not_mixed,
    class_images,
    contents,
    group_names,
    ignore_folders,
    ignored_notes,
    numbered_notes,
)
from infoplane.data.outlining import Blank, Outline
from infoplane.data.partnames import PARTS_CALLED, read_as_classes
from infoplane.data.pictures import SUFFIXES, check_alpha, decode, notes_of
from infoplane.errors import UsageError

#: images of each of its parts
PUBLISHED = 90_000

_NAME = re.compile(rf"(?:.*/)?({'|'.join(PARTS_CALLED)})/([^/.][^/]*)/([^/.][^/]*)", re.IGNORECASE)
_LEGAL = (
    "{train,valid,test}/CLASS/*.png (or another kind of image; one part may be missing), or all parts without class "
    "folders; a folder or its .tar.gz"
)

#: of one picture; CINIC-10's have 3 KB
_MOST_MEMBER = 16 << 20


@dataclass
class _Found:
    """The pictures of all parts, decoded; part, class ("" where there are none) and file name are each one's key."""

    keys: list[tuple[str, str, str]] = field(default_factory=list)
    pixels: list[np.ndarray] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)


def find_cinic10(path: Path) -> list[Path]:
    """Returns the folders of the parts, or the archive that holds them: the path or one file in it."""
    if path.is_file():
        return [path] if archive.is_archive(path) and archive.holds(path, _is_image, damaged=True) else []
    entries = listing(path)
    folders = [entry for entry in entries if entry.is_dir() and entry.name.lower() in PARTS_CALLED]
    others = [entry for entry in entries if entry.is_dir() and entry not in folders]
    # Classes of pictures may happen to be called train and test: where there are others, `load_folder` asks.
    if len({PARTS_CALLED[folder.name.lower()] for folder in folders}) > 1 and not any(
        entry.suffix.lower() in SUFFIXES for folder in others for entry in listing(folder)
    ):
        return folders
    # Where there is nothing else, a damaged archive is to be told of; else it may just lie about.
    alone = not any(entry.is_dir() or entry.suffix.lower() in SUFFIXES for entry in entries)
    archives = (entry for entry in entries if archive.is_archive(entry) and entry.is_file())
    return [entry for entry in archives if archive.holds(entry, _is_image, damaged=alone)][:1]


def load_cinic10(path: str | os.PathLike[str], *, alpha: str | None = None, groups: str | None = None) -> Dataset:
    """Returns the images of all parts, named after the folder or archive; label k is the k-th class by name.

    A name with "cinic" in it says so where these cannot be CINIC-10's, of which each part has 90,000.

    Encoding draws from `train`, decoding from `valid` (from `train` where there is none), evaluation from `test` (from
    `valid` where there is none). Parts may be called by other usual names (training, val, dev, testing, …), and may all
    be without class folders, and so without labels. Within a part the order is that of classes and of file names.
    Images are RGB unless all are greyscale, and are read as `load_folder` reads them.

    Args:
        path: The folder, an archive (.tar.gz, .tgz, .tar, .zip), or a folder with one such archive in it. Nothing
            is unpacked to disk.
        alpha: As `load_folder` has it.
        groups: As `load_folder` has it, of paths such as "train/CLASS/NAME.png".

    Raises:
        UsageError: A part or class is missing, images differ in size, an image or the archive is damaged, or the
            archive holds what it should not.
    """
    return _load(Path(path), alpha, groups)


def outline_cinic10(path: str | os.PathLike[str], *, alpha: str | None = None, groups: str | None = None) -> Outline:
    """Returns what `load_cinic10` would, without the pixels: names are listed and the first header is read.

    What is wrong with a picture is found only by loading it.

    Raises:
        UsageError: As `load_cinic10`, as far as names tell.
    """
    blank = Blank()
    return Outline(_load(Path(path), alpha, groups, blank), blank.size)


def _load(path: Path, alpha: str | None, groups: str | None, blank: Blank | None = None) -> Dataset:
    check_alpha(alpha)
    found = _read(path, alpha, blank)
    classes = sorted({key[1] for key in found.keys})
    _check_complete(path, {key[:2] for key in found.keys}, classes)
    labelled = classes != [""]
    named = classes if labelled else None
    order = sorted(range(len(found.keys)), key=found.keys.__getitem__)
    grey = all(pixels.shape[2] == 1 for pixels in found.pixels)
    if count := 0 if grey else sum(pixels.shape[2] == 1 for pixels in found.pixels):
        found.done["are grey: they became RGB, as others are"] = count
    parts, names = [], []
    for part in ("train", "valid", "test"):
        chosen = [index for index in order if found.keys[index][0] == part]
        if chosen:
            images = np.empty((len(chosen), 1 if grey else 3, *found.pixels[chosen[0]].shape[:2]), np.uint8)
            for place, index in enumerate(chosen):
                images[place] = found.pixels[index].transpose(2, 0, 1)
            numbers = [classes.index(found.keys[index][1]) for index in chosen]
            parts.append((part, images, np.array(numbers) if labelled else None))
            names += ["/".join(filter(None, found.keys[index])) for index in chosen]
    name = path.resolve().name
    for suffix in archive.SUFFIXES:
        name = name.removesuffix(suffix)
    # The layout is CINIC-10's; what lies in it need not be, whatever it is called.
    if "cinic" in name.lower() and ([len(images) for _, images, _ in parts] != [PUBLISHED] * 3):
        name += " (not CINIC-10)"
    notes = []
    if [len(images) for _, images, _ in parts] != [PUBLISHED] * 3:  # of CINIC-10 itself nobody needs to be told
        there = f"{', '.join(part for part, _, _ in parts)}{'' if labelled else '; their images have no labels'}"
        notes.append(f"read as official parts, not as classes: {there}")
    notes += [*ignored_notes(found.ignored), *notes_of(found.done, len(names))]
    return join(
        name,
        parts,
        classes=len(classes) if labelled else None,
        class_names=named,
        groups=None if groups is None else group_names(names, groups),
        notes=[*notes, *numbered_notes(named), *read_as_classes(named)],
    )


def _read(path: Path, alpha: str | None, blank: Blank | None) -> _Found:
    """Returns all pictures, of one size."""
    found, size = _Found(), None
    for key, name, source in _images(path, found.ignored):
        pixels = decode(source(), name, found.done, alpha) if blank is None else blank(source, name, alpha)
        if size not in (None, pixels.shape[:2]):
            raise UsageError(
                f"{name} differs in size from the images before it",
                received=f"{pixels.shape[1]}×{pixels.shape[0]} pixels (width × height)",
                legal=f"{size[1]}×{size[0]}",
                mend="resize or crop all to one size",
            )
        size = pixels.shape[:2]
        found.keys.append(key)
        found.pixels.append(pixels)
    return found


def _images(path: Path, ignored: Counter[str]) -> Iterator[tuple[tuple[str, str, str], str, Callable[[], bytes]]]:
    """Yields (part, class, file name), what to call the file, and what returns its content; counts what is ignored."""
    sources = find_cinic10(path)
    roots: dict[str, str] = {}
    for source in sources:
        if source.is_file():
            for name, content in archive.walk(source, _is_image, _MOST_MEMBER):
                if content is not None:
                    part, label, file = name.split("/")[-3:]
                    key = PARTS_CALLED[part.lower()], label, file
                    _check_one(source, key[0], name.rsplit("/", 2)[0], roots)
                    yield key, f"{name} in {source}", partial(bytes, content)
                else:
                    ignored[_ignored_kind(name)] += 1
            continue
        part = PARTS_CALLED[source.name.lower()]
        _check_one(path, part, source.name, roots)
        flat, folders = contents(source, ignored)
        filled = [folder for folder in folders if any(contents(folder, Counter()))]
        check_not_mixed(source, flat, filled, _LEGAL)
        for file in flat:
            yield (part, "", file.name), str(file), partial(read_all, file, _MOST_MEMBER)
        for folder in filled:
            for file in class_images(folder, ignored):
                yield (part, folder.name, file.name), str(file), partial(read_all, file, _MOST_MEMBER)
        ignored["folder without images"] += len(folders) - len(filled)
    if sources and sources[0].is_dir():
        loose, others = contents(path, ignored)
        ignored["image beside the parts"] += len(loose)
        ignore_folders([folder for folder in others if folder not in sources], "beside the parts", ignored)


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES) and not _is_hidden(name) and _NAME.fullmatch(name) is not None


def _is_hidden(name: str) -> bool:
    """Whether a file in an archive, or a folder above it, is hidden, or is what macOS adds to archives."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _ignored_kind(name: str) -> str:
    """Returns what a file in an archive that is not read is counted as."""
    if _is_hidden(name):
        return "hidden"
    suffix = Path(name).suffix.lower()
    return "image elsewhere than in PART/CLASS" if suffix in SUFFIXES else suffix or "file without an ending"


def _check_one(path: Path, part: str, folder: str, roots: dict[str, str]) -> None:
    """Notes the folder of a part; raises `UsageError` where the part has another one: which is it?"""
    if (other := roots.setdefault(part, folder)) != folder:
        received = f"{other} and {folder}, both of which are called like {part}"
        mend = "move one of them elsewhere, or merge them"
        raise UsageError(f"cannot use {path}", received=received, legal=_LEGAL, mend=mend)


def _check_complete(path: Path, present: set[tuple[str, str]], classes: list[str]) -> None:
    """Raises `UsageError` unless every part has every class: a class without examples would go unnoticed."""
    parts = sorted({part for part, _ in present})
    lacking = [f"{part}/{label}" for part in parts for label in classes if (part, label) not in present]
    if "" in classes and len(classes) > 1:
        bare = next(part for part, label in sorted(present) if label == "")
        received, mend = f"no class folders in {bare}", "a part without labels cannot be used: give the path of another"
        raise UsageError(f"cannot use {path}", received=received, legal=_LEGAL, mend=mend)
    if not classes or len(parts) < 2 or lacking:
        received = f"no images in {', '.join(lacking[:3])}" if lacking else "no images"
        if classes and not lacking:
            received = f"images in {' and '.join(parts)} alone"
        raise UsageError(f"cannot use {path}", received=received, legal=_LEGAL)
