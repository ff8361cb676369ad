"""Folders of image files: one subfolder per class, or images alone."""

import os
import re
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from infoplane.data.archive import PACKED
from infoplane.data.dataset import Dataset
from infoplane.data.notes import counted
from infoplane.data.outlining import Blank, Outline
from infoplane.data.partnames import parts_among, read_as_classes
from infoplane.data.pictures import ENDINGS, SUFFIXES, check_alpha, decode, look, notes_of
from infoplane.errors import UsageError, agreed, plural

#: endings of files that may hold labels
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xml", ".parquet", ".xlsx", ".mat", ".npy", ".npz", ".pkl")
#: most folders that are looked into for what could be given instead
_LOOK = 1000
_LEGAL = f"DIR/CLASS/*.png or DIR/*.png (or another of {ENDINGS})"


def load_folder(path: str | os.PathLike[str], *, alpha: str | None = None, groups: str | None = None) -> Dataset:
    """Returns the images of a folder as a data set of 256 levels, named after the folder.

    `DIR/CLASS/*` gives labelled images: label k is the k-th subfolder in the order of their names (as text, so that
    "10" comes before "2"). `DIR/*` gives images without labels. Files are taken in the order of their names. Other
    files, folders inside class folders, dead links and names that start with a dot are ignored, and counted.

    Greyscale images have one channel, all others become RGB. Where a folder has both, grey ones become RGB with three
    equal channels. Images are turned as their EXIF orientation says; of several frames the first is read. All of this
    is counted in the data set's notes.

    Args:
        path: The folder.
        alpha: What to do with pixels that can be seen through: "white" or "black" lays images on that ground, "drop"
            takes the colours as stored, "only" reads the alpha channel as a grey image. None refuses such images; an
            alpha channel that is opaque throughout is dropped.
        groups: A regular expression, searched for in the path of each file from the folder on ("CLASS/NAME.png"). What
            its brackets match, or the whole of the match where it has none, is the name of the image's group: those of
            one group are never parted. It must find a name, of a letter or more, in every path.

    Raises:
        UsageError: If there are no images, their sizes differ, one cannot be read, or what the folder holds can be
            understood in several ways.
    """
    return _load(Path(path), alpha, groups)


def outline_folder(path: str | os.PathLike[str], *, alpha: str | None = None, groups: str | None = None) -> Outline:
    """Returns what `load_folder` would, without the pixels: names are listed and the first header is read.

    What is wrong with a picture is found only by loading it.

    Raises:
        UsageError: As `load_folder`, as far as names tell.
    """
    blank = Blank()
    return Outline(_load(Path(path), alpha, groups, blank), blank.size)


def _load(path: Path, alpha: str | None, groups: str | None, blank: Blank | None = None) -> Dataset:
    if not path.is_dir():
        raise UsageError("no such folder", received=path, legal=_LEGAL)
    check_alpha(alpha)
    ignored: Counter[str] = Counter()
    files, labels, classes = _list(path, ignored)
    done: Counter[str] = Counter()
    images = _decoded(path, files, done, alpha) if blank is None else blank.of(files, alpha)
    if len(files) < 2:
        beside = f", beside {counted(+ignored)}, which were ignored" if ignored.total() else ""
        raise UsageError(f"images of {path} are too few", received=f"{len(files)} image{beside}", legal="2 or more")
    names = [file.relative_to(path).as_posix() for file in files]
    return Dataset(
        path.resolve().name,
        images,
        labels,
        classes=None if classes is None else len(classes),
        class_names=classes,
        groups=None if groups is None else group_names(names, groups),
        notes=(
            *ignored_notes(ignored),
            *notes_of(done, len(files)),
            *numbered_notes(classes),
            *read_as_classes(classes),
        ),
    )


def _decoded(path: Path, files: Sequence[Path], done: Counter[str], alpha: str | None) -> np.ndarray:
    """Returns all pictures, uint8 (N, C, H, W); counts on what was done to them."""
    # Sizes and modes stand in the files' headers: a folder that does not fit together fails before any decoding.
    size, grey = look(files[0], files[0], alpha)
    for file in files[1:]:
        other, is_grey = look(file, file, alpha)
        if other != size:
            raise _differs(path, file, other, files[0], size)
        grey = grey and is_grey
    images = np.empty((len(files), 1 if grey else 3, size[1], size[0]), dtype=np.uint8)
    for index, file in enumerate(files):
        pixels = decode(file, file, done, alpha)
        if pixels.shape[:2] != images.shape[2:]:
            raise _differs(path, file, (pixels.shape[1], pixels.shape[0]), files[0], size)
        if pixels.shape[2] < images.shape[1]:
            done["are grey: they became RGB, as others are"] += 1
        images[index] = pixels.transpose(2, 0, 1)
    return images


def _differs(path: Path, file: Path, found: tuple[int, int], first: Path, size: tuple[int, int]) -> UsageError:
    return UsageError(
        f"images of {path} differ in size",
        received=f"{file}: {found[0]}×{found[1]} pixels (width × height)",
        legal=f"{size[0]}×{size[1]}, as {first.name}",
        mend="resize or crop all to one size",
    )


def contents(folder: Path, ignored: Counter[str]) -> tuple[list[Path], list[Path]]:
    """Returns the images and the folders that are directly in a folder, in the order of their names.

    Args:
        folder: The folder.
        ignored: Kind of what is neither -> how many; counted on here.

    Raises:
        UsageError: The folder cannot be read.
    """
    try:
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise UsageError("cannot read the folder", received=error, legal=_LEGAL) from error
    images, folders = [], []
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            ignored["hidden"] += 1
            if entry.is_dir():
                ignored["image in hidden folders"] += images_within(entry)
        elif entry.is_dir():
            folders.append(entry)
        elif not entry.exists():
            ignored["dead link"] += 1
        elif not entry.is_file():
            ignored["device or pipe"] += 1
        elif entry.suffix.lower() in SUFFIXES:
            images.append(entry)
        else:
            ignored[entry.suffix.lower() or "file without an ending"] += 1
    return images, folders


def images_within(folder: Path) -> int:
    """Returns how many images lie in a folder at any depth; links to folders are not followed."""
    return sum(
        not name.startswith(".") and name.lower().endswith(SUFFIXES)
        for _, _, names in os.walk(folder)
        for name in names
    )


def ignore_folders(folders: Sequence[Path], where: str, ignored: Counter[str]) -> None:
    """Counts folders that are not read, and the images in them at any depth; `where` they are, in words."""
    ignored[f"folder {where}"] += len(folders)
    ignored[f"image in folders {where}"] += sum(map(images_within, folders))


def class_images(folder: Path, ignored: Counter[str]) -> list[Path]:
    """Returns the images directly in a class folder, which must have some; folders in it are counted as ignored.

    Raises:
        UsageError: It has none: to skip it would give its label to the next class.
    """
    images, folders = contents(folder, ignored)
    if not images:
        mend = _mend_of_packed(folder) or "fill the folder or remove it"
        if (deeper := _deeper(folder)) is not None:
            own = deeper if folder not in (deeper, deeper.parent) else folder
            mend = f"there are images deeper, in {deeper}: give the path of {own} if its folders are the classes"
        raise UsageError("a class folder has no images", received=_held(folder), legal=_LEGAL, mend=mend)
    ignore_folders(folders, "inside class folders", ignored)
    return images


def check_not_mixed(path: Path, images: Sequence[Path], classes: Sequence[Path], legal: str) -> None:
    """Raises `UsageError` where there are both images in a folder and class folders with images."""
    if images and classes:
        received = f"{images[0].name} beside the folder {classes[0].name}"
        mend = "move the loose images into class folders"
        raise UsageError(f"images both in {path} and in its subfolders", received=received, legal=legal, mend=mend)


def _list(path: Path, ignored: Counter[str]) -> tuple[list[Path], np.ndarray | None, tuple[str, ...] | None]:
    """Returns the image files, their labels `(N,)` and the names of the classes (None for a flat folder)."""
    flat, folders = contents(path, ignored)
    filled = [folder for folder in folders if contents(folder, Counter())[0]]
    if not filled:
        if not flat:
            mend = _mend_of_packed(path)
            if (deeper := _deeper(path)) is not None:
                shared = _shared(folders)
                mend = f"there are images deeper: give the path of {deeper}"
                if len(parts_among(sorted(shared))) > 1:
                    mend = "parts come first: train/CLASS and test/CLASS, not CLASS/train and CLASS/test"
                elif len(shared) > 1 or len(parts_among([folder.name for folder in folders])) > 1:
                    mend = f"if its folders are parts, rename them to train, valid and test; {mend}"
            raise UsageError("no images in the folder", received=_held(path), legal=_LEGAL, mend=mend)
        ignore_folders(folders, "beside the images", ignored)
        return flat, None, None
    check_not_mixed(path, flat, filled, _LEGAL)
    names = [folder.name for folder in folders]
    if parts := parts_among(names):
        raise UsageError(
            f"are the folders of {path} classes or parts?",
            received=f"{', '.join(names[:10])}: called like parts are {' and '.join(parts)}",
            legal="folders called train, valid or test, two of them at least and nothing else, or classes alone",
            mend="rename parts to train, valid and test, and move what is no part elsewhere; or rename what is a "
            f"class; or give the path of one folder, e.g. {path / parts[0]}, for its images alone",
        )
    found = {folder: class_images(folder, ignored) for folder in folders}
    labels = np.repeat(np.arange(len(folders)), [len(files) for files in found.values()])
    return [file for files in found.values() for file in files], labels, tuple(folder.name for folder in folders)


def _deeper(path: Path) -> Path | None:
    """Returns the nearest folder below that could be given: it has images, or folders that are classes or parts."""
    waiting = deque([path])
    for _ in range(_LOOK):
        if not waiting:
            break
        with suppress(UsageError):  # of a folder that cannot be listed
            folder = waiting.popleft()
            images, inner = contents(folder, Counter())
            parts = len(parts_among([each.name for each in inner])) > 1 and images_within(folder)
            if folder != path and (images or parts or any(contents(each, Counter())[0] for each in inner)):
                return folder
            waiting += inner
    return None


def _shared(folders: Sequence[Path]) -> set[str]:
    """Returns the names that the folders in each of several folders have in common."""
    names = [{each.name for each in contents(folder, Counter())[1]} for folder in folders]
    return set.intersection(*names) if len(names) > 1 else set()


def _held(folder: Path) -> str:
    """Returns a folder with what lies in it at any depth, for a message that says that no image does."""
    kinds = Counter(
        Path(name).suffix.lower() or "file without an ending"
        for _, _, names in os.walk(folder)
        for name in names
        if not name.startswith(".")
    )
    return f"{folder}, which holds {counted(kinds)}" if kinds else str(folder)


def _mend_of_packed(folder: Path) -> str | None:
    packed = [entry for entry in sorted(folder.iterdir()) if entry.name.lower().endswith(PACKED)]
    return f"unpack {packed[0].name}, and give the path of the folder" if packed else None


def group_names(names: Sequence[str], pattern: str) -> np.ndarray:
    """Returns the group of every file, text (n,), by what a regular expression finds in its path.

    Raises:
        UsageError: It is no regular expression, or does not match every path; where it has brackets, that what is in
            none of them matches is no match, as it names nothing.
    """
    try:
        expression = re.compile(pattern)
    except (re.error, TypeError) as error:
        legal = "a regular expression, e.g. (scene\\d+)"
        raise UsageError("groups cannot be read", received=f"{pattern!r}: {error}", legal=legal) from error
    matches = [expression.search(name) for name in names]
    found = [match.groups() or (match[0],) if match is not None else () for match in matches]
    if missing := [name for name, parts in zip(names, found) if not any(parts)]:
        raise UsageError(
            "groups do not match every file",
            received=f"{len(missing):,} of {len(names):,} paths, the first {missing[0]!r}",
            legal=f"paths in which {pattern!r} is found",
            mend="widen the expression, so that its brackets match something in every name",
        )
    return np.array(["|".join(part or "" for part in parts) for parts in found])


def ignored_notes(ignored: Counter[str]) -> list[str]:
    """Returns what was ignored as a sentence, none where that is nothing."""
    ignored = Counter({kind: count for kind, count in ignored.items() if count})
    total = sum(ignored.values())
    what = plural(total, "file or folder", "files or folders")
    notes = [f"{what} {agreed(total, 'were')} ignored: {counted(ignored)}"] if total else []
    if tables := [kind for kind in sorted(ignored) if kind in _TABLES]:
        notes.append(f"labels are those of class folders alone: what {' and '.join(tables)} files say was not read")
    return notes


def numbered_notes(classes: Sequence[str] | None) -> list[str]:
    """Returns what must be said where classes are called by numbers that are not their labels."""
    if classes is None or not all(name.isdecimal() for name in classes):
        return []
    other = [f"{name} is label {label}" for label, name in enumerate(classes) if int(name) != label]
    return [f"class folders are called by numbers that are not their labels: {', '.join(other[:3])}"] if other else []
