"""The data sets that infoplane knows by name: where their files are looked for, what is published about them."""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infoplane.data import formats
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
    folders: Sequence[str] = ()
    remotes: tuple[Remote, ...] = ()
    contents: Mapping[str, str] = dataclasses.field(default_factory=dict)
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def space(self) -> Images:
        """What one image is."""
        return Images.of(self.shape, self.levels)


def _entries() -> Iterator[Entry]:
    for found in json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8")):
        remotes = tuple(Remote(**remote) for remote in found.pop("remotes", ()))
        yield Entry(
            format=formats.BY_NAME[found.pop("format")], shape=tuple(found.pop("shape")), remotes=remotes, **found
        )


#: in the order in which they are listed
ENTRIES = tuple(_entries())
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


def titled(dataset: Dataset, entry: Entry, space: Images) -> Dataset:
    """Returns the data set, of images of this space, under the catalogue's name, and with counts if it is not all."""
    counts = [len(pool) for _, pool in dataset.sources()]
    name = entry.name
    if counts != list(entry.counts.values()) or space.shape != entry.shape:
        name = f"{entry.name} ({' + '.join(f'{count:,}' for count in counts)} images)"
    return dataclasses.replace(dataset, name=name)
