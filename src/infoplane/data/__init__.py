"""Data sets of discrete images, their three-way split, and a generator whose information is known.

`load` is the one door: it takes the name of a data set or the path of a file or folder. A new format is one file in
this room with one function that returns a `Dataset`, entered below under its name or its file suffix, or, if it is
one of official files, in `formats` and `catalogue`. Nothing here imports torch.
"""

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from infoplane.calls import public
from infoplane.checks import check_labels
from infoplane.data import catalogue, formats
from infoplane.data.archive import PACKED
from infoplane.data.arrays import load_arrays
from infoplane.data.copies import describe, group_images
from infoplane.data.dataset import Dataset
from infoplane.data.digits import load_digits
from infoplane.data.folder import load_folder, outline_folder
from infoplane.data.formats import Format
from infoplane.data.notes import class_notes, say
from infoplane.data.options import OPTIONS, apply
from infoplane.data.outlining import Outline
from infoplane.data.pictures import SUFFIXES as PICTURES
from infoplane.data.space import Images, Space, check_images
from infoplane.data.split import Split, hold_out, split
from infoplane.data.truth import Truth, load_truth
from infoplane.errors import UsageError, unknown
from infoplane.registry import Registry

__all__ = [
    "Dataset",
    "Images",
    "Outline",
    "Space",
    "Split",
    "Truth",
    "available",
    "catalogue_name",
    "check_images",
    "check_labels",
    "class_notes",
    "describe",
    "group_images",
    "hold_out",
    "load",
    "load_arrays",
    "load_digits",
    "load_folder",
    "load_truth",
    "loaders",
    "outline",
    "say",
    "split",
]

#: name -> function that returns the data set; its keyword arguments are the options that `load` accepts
NAMED: Registry[Callable[..., Dataset]] = Registry(
    "data set",
    "infoplane.data",
    {"digits": load_digits, "truth": load_truth},
    fits=callable,
    legal="a function that returns infoplane.data.Dataset",
    taken=catalogue.BY_NAME,
)

#: how a file's name ends, in lower case -> function of its path
BY_SUFFIX: dict[str, Callable[..., Dataset]] = {".npz": load_arrays, ".npy": load_arrays}


def available() -> list[str]:
    """Returns the names of the data sets that need no files, sorted; `catalogue.ENTRIES` has those that do."""
    return sorted(NAMED)


def load(
    spec: str | os.PathLike[str] | Mapping[str, Any], *, quiet: bool = False, at: str = "", **options: Any
) -> Dataset:
    """Returns the data set of that name, or in that file or folder.

        load("digits")
        load("truth", noise=0.7, n=20_000, seed=1)
        load("mnist", downsample=2)  # files in $INFOPLANE_DATA/mnist, else in the user's cache
        load({"name": "truth", "noise": 0.7})  # the same as a mapping, as studies have it
        load("scans.npz", levels=16)  # see `load_arrays`
        load("photos/", subset=500)  # see `load_folder`

    What was dropped, converted or guessed is said on standard error and kept in the data set's `notes`.

    A name goes before a path of the same spelling; `./digits` is always a path. A folder with the official files of
    a known data set is read as that. Any other name may be that of a folder in `$INFOPLANE_DATA`.

    Args:
        spec: A name, a path, or a mapping with one of these as `name` and options beside it.
        quiet: Say nothing: the caller will, see `say`.
        at: What messages put before the name of an option: where it stands in a study.
        **options: What the loader of this data set accepts, and for every data set `subset`, `subset_seed` and
            `downsample`, see `options.apply`.

    Raises:
        UsageError: If there is no such data set, path or option, or the data cannot be used.
    """
    name, own, shared = _asked(spec, options)
    dataset = apply(_load(name, own, at), **shared)
    if said := class_notes(dataset.labels, dataset.classes):
        dataset = dataclasses.replace(dataset, notes=(*dataset.notes, *said))
    if not quiet:
        say(dataset.notes)
    return dataset


def outline(spec: str | os.PathLike[str] | Mapping[str, Any], *, at: str = "", **options: Any) -> Outline:
    """Returns what that data set holds, without its pixels: at once, where these are pictures to be decoded.

    Arguments and errors are those of `load`; what is wrong with a picture is found by that alone.
    """
    name, own, shared = _asked(spec, options)
    found = _load(name, own, at, outlined=True)
    return (found if isinstance(found, Outline) else Outline(found)).applied(shared)


def _asked(
    spec: str | os.PathLike[str] | Mapping[str, Any], options: dict[str, Any]
) -> tuple[str | os.PathLike[str], dict[str, Any], dict[str, Any]]:
    """Returns the name or path that is asked for, its loader's options, and those that every data set has."""
    if isinstance(spec, Mapping):
        merged = {**spec, **options}
        if not isinstance(merged.get("name"), str | os.PathLike):
            received = f"{{{', '.join(map(str, merged))}}}"
            raise UsageError("a data set needs its name", received=received, legal="{name: digits, …}")
        spec, options = merged.pop("name"), merged
    if not isinstance(spec, str | os.PathLike):
        legal = "the name of a data set or a path"
        raise UsageError("cannot tell which data set", received=type(spec).__name__, legal=legal)
    shared = {name: options.pop(name) for name in OPTIONS if name in options}
    return spec, options, shared


def _load(spec: str | os.PathLike[str], options: dict[str, Any], at: str, *, outlined: bool = False) -> Any:
    """Returns the whole data set of a name or path; with `outlined` its outline, where that is the quicker."""
    if isinstance(spec, str) and spec in NAMED:
        found = _call(f"data set {spec!r}", NAMED[spec], (), options, at)
        if not isinstance(found, Dataset):
            raise UsageError(f"data set {spec!r} is none", received=type(found).__name__, legal=Dataset.__name__)
        return found
    if isinstance(spec, str) and spec in catalogue.BY_NAME:
        found = catalogue.locate(spec)
        if found is None:
            raise catalogue.missing(catalogue.BY_NAME[spec])
        return _official(*found, options, at, outlined)
    # os.path, unlike Path, says "not there" to any text that the system refuses as a path, and to "".
    text = os.path.expanduser(spec)
    path = Path(text)
    suffix = next((suffix for suffix in BY_SUFFIX if path.name.lower().endswith(suffix)), None)
    if suffix is not None and os.path.isfile(text):
        return _call(f"file {path}", BY_SUFFIX[suffix], (path,), options, at)
    if os.path.exists(text):
        form = formats.recognise(path)
        if form is not None:
            return _official(path, form, options, at, outlined)
        if os.path.isdir(text):
            return _call(f"image folder {path}", outline_folder if outlined else load_folder, (path,), options, at)
        legal = f"a {_SUFFIXES} file, the official file of a known data set, or a folder of images"
        mend = None
        if path.name.lower().endswith(PACKED):
            mend = "unpack it, and give the path of the folder"
        elif path.suffix.lower() in PICTURES:
            mend = f"give the folder of all images, e.g. {path.parent}"
        raise UsageError("cannot tell how to read the file", received=path, legal=legal, mend=mend)
    # Nothing is there: was it meant as a path or as a name?
    names = [*available(), *catalogue.BY_NAME]
    if suffix or isinstance(spec, os.PathLike) or any(mark in spec for mark in "/\\~"):
        legal = f"an existing {_SUFFIXES} file or folder of images, or a name: {', '.join(names)}"
        raise UsageError("no such file or folder", received=path, legal=legal)
    if spec and "\0" not in spec and len(spec) < 256 and (found := catalogue.locate(spec)) is not None:
        return _official(*found, options, at, outlined)
    if spec in catalogue.BY_FOLDER:
        raise catalogue.missing(catalogue.BY_FOLDER[spec])
    mend = f"or give the path of a {_SUFFIXES} file or of a folder of images"
    raise unknown("data set", spec, names, mend=mend)


def catalogue_name(spec: str) -> str:
    """Returns the catalogue's name of the data set that `load` would take, or `spec` where it is none of those."""
    if spec in NAMED or spec in catalogue.BY_NAME:
        return spec
    text = os.path.expanduser(spec)
    if os.path.exists(text):
        form = formats.recognise(Path(text))
        entry = None if form is None else catalogue.entry_of(Path(text), form)
    else:
        entry = catalogue.BY_FOLDER.get(spec)
    return spec if entry is None else entry.name


def loaders(spec: str) -> list[str]:
    """Returns the function that would load the data set of that name or path, as "module:name".

    Nothing is read but what tells the format; none where nothing is there that could be loaded.
    """
    text = os.path.expanduser(spec)
    suffix = next((suffix for suffix in BY_SUFFIX if text.lower().endswith(suffix)), None)
    if spec in NAMED:
        return NAMED.roots(spec)
    entry = catalogue.BY_NAME.get(catalogue_name(spec))
    form = entry.format if entry else formats.recognise(Path(text)) if os.path.exists(text) else None
    found = form.load if form else load_folder if os.path.isdir(text) else None
    if suffix is not None and os.path.isfile(text):
        found = BY_SUFFIX[suffix]
    return [] if found is None else [f"{found.__module__}:{found.__qualname__}"]


Found = TypeVar("Found", bound="Dataset | Outline")

_SUFFIXES = " or ".join(BY_SUFFIX)


def _official(path: Path, form: Format, options: Mapping[str, Any], at: str, outlined: bool) -> Dataset | Outline:
    """Returns the data set in official files, or its outline, named as the catalogue has it where it is there."""
    entry = catalogue.entry_of(path, form)
    fixed = {} if entry is None else entry.options
    loader = form.outline if outlined and form.outline is not None else form.load
    found = _call(f"{form.name} in {path}", loader, (path,), {**fixed, **options}, at)
    if entry is None:
        return found
    if isinstance(found, Outline):
        return Outline(catalogue.titled(found.dataset, entry, found.space), found.size)
    return catalogue.titled(found, entry, found.space)


def _call(what: str, loader: Callable[..., Found], args: tuple[Any, ...], options: Mapping[str, Any], at: str) -> Found:
    """Returns `loader(*args, **options)`; an option it does not have is a `UsageError` with the nearest matches."""
    legal = [*list(inspect.signature(loader).parameters)[len(args) :], *OPTIONS]
    for option in options:
        if option not in legal:
            name = f" {at}{option}" if at else ""
            raise unknown(f"option{name} of {what}", str(option), legal)
    return loader(*args, **options)


public(globals(), __all__, methods=True)
