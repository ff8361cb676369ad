"""Data sets of discrete images, their three-way split, and a generator whose information is known.

`load` is the one door: it takes the name of a data set or the path of a file or folder. A new format is one file in
this room with one function that returns a `Dataset`, entered below under its name or its file suffix. Nothing here
imports torch.
"""

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from infoplane.data.arrays import load_arrays
from infoplane.data.dataset import Dataset, check_images, check_labels
from infoplane.data.digits import load_digits
from infoplane.data.folder import load_folder
from infoplane.data.split import Split, hold_out, split
from infoplane.data.truth import Truth, load_truth
from infoplane.errors import UsageError, unknown

__all__ = [
    "Dataset",
    "Split",
    "Truth",
    "available",
    "check_images",
    "check_labels",
    "hold_out",
    "load",
    "load_arrays",
    "load_digits",
    "load_folder",
    "load_truth",
    "split",
]

#: name -> function that returns the data set; its keyword arguments are the options that `load` accepts
NAMED: dict[str, Callable[..., Dataset]] = {"digits": load_digits, "truth": load_truth}

#: how a file's name ends, in lower case -> function of its path
BY_SUFFIX: dict[str, Callable[..., Dataset]] = {".npz": load_arrays, ".npy": load_arrays}


def available() -> list[str]:
    """Returns the names of the data sets that `load` knows, sorted."""
    return sorted(NAMED)


def load(spec: str | os.PathLike[str] | Mapping[str, Any], **options: Any) -> Dataset:
    """Returns the data set of that name, or in that file or folder.

        load("digits")
        load("truth", noise=0.7, n=20_000, seed=1)
        load({"name": "truth", "noise": 0.7})  # the same as a mapping, as studies have it
        load("scans.npz", levels=16)  # see `load_arrays`
        load("photos/")  # see `load_folder`

    A name goes before a path of the same spelling; `./digits` is always a path.

    Args:
        spec: A name out of `available()`, a path, or a mapping with one of these as `name` and options beside it.
        **options: What the loader of this data set accepts.

    Raises:
        UsageError: If there is no such data set, path or option, or the data cannot be used.
    """
    if isinstance(spec, Mapping):
        merged = {**spec, **options}
        if not isinstance(merged.get("name"), str | os.PathLike):
            received = f"{{{', '.join(map(str, merged))}}}"
            raise UsageError("a data set needs its name", received=received, legal="{name: digits, …}")
        return load(merged.pop("name"), **merged)
    if isinstance(spec, str) and spec in NAMED:
        return _call(f"data set {spec!r}", NAMED[spec], (), options)
    if not isinstance(spec, str | os.PathLike):
        legal = "the name of a data set or a path"
        raise UsageError("cannot tell which data set", received=type(spec).__name__, legal=legal)
    # os.path, unlike Path, says "not there" to any text that the system refuses as a path, and to "".
    text = os.path.expanduser(spec)
    path = Path(text)
    if os.path.isdir(text):
        return _call(f"image folder {path}", load_folder, (path,), options)
    suffix = next((suffix for suffix in BY_SUFFIX if path.name.lower().endswith(suffix)), None)
    known = " or ".join(BY_SUFFIX)
    if os.path.exists(text):
        if suffix is None:
            legal = f"a {known} file or a folder of images"
            raise UsageError("cannot tell how to read the file", received=path, legal=legal)
        return _call(f"file {path}", BY_SUFFIX[suffix], (path,), options)
    # Nothing is there: was it meant as a path or as a name?
    if suffix or isinstance(spec, os.PathLike) or any(mark in spec for mark in "/\\~"):
        legal = f"an existing {known} file or folder of images, or a name: {', '.join(available())}"
        raise UsageError("no such file or folder", received=path, legal=legal)
    mend = f"or give the path of a {known} file or of a folder of images"
    raise unknown("data set", spec, available(), mend=mend)


def _call(what: str, loader: Callable[..., Dataset], args: tuple[Any, ...], options: Mapping[str, Any]) -> Dataset:
    """Returns `loader(*args, **options)`; an option it does not have is a `UsageError` with the nearest matches."""
    legal = list(inspect.signature(loader).parameters)[len(args) :]
    for option in options:
        if option not in legal:
            raise unknown(f"option of {what}", str(option), legal)
    return loader(*args, **options)
