"""infoplane data [NAME] [--download NAME]"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from infoplane.cli.tables import key_values, print_rows
from infoplane.data import Dataset, available, catalogue, describe, formats, group_images, load, say
from infoplane.data.catalogue import Entry
from infoplane.data.dataset import PARTS
from infoplane.data.download import download
from infoplane.data.verify import verify
from infoplane.errors import UsageError, unknown

#: a download that takes longer than so many seconds shows a bar
PATIENCE = 5


def loader_options(options: list[str], groups: str | None) -> dict[str, Any]:
    """Returns the loader's options from KEY=VALUE, values as YAML has them."""
    given = [*([] if groups is None else [f"groups={groups}"]), *options]
    found: dict[str, Any] = key_values(given, "--options", "KEY=VALUE, e.g. classes=26", empty=True)
    if options:
        from infoplane.study.load import parse_value  # brings torch along, so only when asked for

        found = {
            key: value if (key, groups) == ("groups", value) else parse_value(value) for key, value in found.items()
        }
    return found


def data(name: str | None, wanted: str | None, options: list[str], groups: str | None) -> int:
    """Lists the data sets, checks one, or downloads one."""
    if wanted is not None:
        if name is not None:
            mend = f"infoplane data --download {wanted}, then infoplane data {name}"
            raise UsageError("either a name to check or --download", received=f"both {name} and {wanted}", mend=mend)
        return _download(wanted)
    return _list() if name is None else _check(name, loader_options(options, groups))


def _list() -> int:
    rows = [("name", "shape", "levels", "classes", "images published", "where")]
    taken = set()
    for entry in catalogue.ENTRIES:
        found = catalogue.locate(entry.name)
        if found is not None:
            path, form = found
            # As far as that is told without reading them.
            counts, published = form.count(path), list(entry.counts.values())
            where = str(path)
            if counts not in (None, published):
                where += f" (not the whole: {' + '.join(f'{count:,}' for count in counts)} images)"
            taken.add(path)
        elif entry.remotes:
            where = f"missing; infoplane data --download {entry.name}"
        else:
            where = "missing; no address known"
        counts = " + ".join(f"{count:,}" for count in entry.counts.values())
        rows.append((entry.name, entry.space.size, str(entry.levels), str(entry.classes), counts, where))
    print_rows(rows)
    others = [
        folder
        for root in catalogue.roots()
        if root.is_dir()
        for folder in sorted(root.iterdir())
        if folder.is_dir() and folder not in taken and formats.recognise(folder)
    ]
    if others:
        print(f"\nalso there: {', '.join(map(str, others))}")
        named_so = (each.name for each in others if (place := catalogue.locate(each.name)) and place[0] == each)
        if example := next(named_so, None):
            print(f"  the folder's name is enough, in a study as data.name: {example}")
    named, cache = os.environ.get(catalogue.VARIABLE), catalogue.cache()
    gone = "" if not named or catalogue.roots()[0].is_dir() else " (no such folder)"
    looked = (
        f"{catalogue.VARIABLE}={named}{gone}, then {cache}" if named else f"{cache} ({catalogue.VARIABLE} is not set)"
    )
    print(f"\nalways there: {', '.join(available())}\nlooked in: {looked}")
    return 0


def _check(name: str, options: dict[str, Any]) -> int:
    dataset = load({"name": name, **options}, quiet=True)
    # Of equal images and groups what can be said as far as no split decides it.
    parts = {part: np.zeros(0, np.int64) for part in PARTS}
    if dataset.pools is not None:
        parts |= {names[-1]: pool for names, pool in dataset.sources()}
    notes = [*dataset.notes, *describe(dataset, group_images(dataset), parts, {})]
    say(notes)
    found = None if name in available() else _place(name)
    entry = None if found is None else catalogue.entry_of(*found)
    classes = "no labels" if dataset.labels is None else f"{dataset.classes} classes"
    print(f"{dataset.name}: {len(dataset):,} images {dataset.space.size}, {dataset.levels} levels, {classes}")
    rows: list[Sequence[str]] = []
    if found is not None:
        rows.append(("files", f"{found[1].name} in {found[0]}"))
    if entry is not None:
        rows.append(("licence", entry.licence))
    rows += _parts(dataset, entry)
    rows += [("note", note) for note in notes]
    right: dict[str, bool | None] = {}
    if found is not None and entry is not None:
        right = verify(entry, found[1].find(found[0]))
        said = {True: "as published", False: "NOT as published", None: "no published checksum"}
        for answer, words in said.items():
            if files := [Path(file).name for file, is_right in right.items() if is_right is answer]:
                rows.append(("content", f"{words}: {', '.join(files)}"))
    print_rows(rows)
    return 1 if False in right.values() else 0


def _place(name: str) -> tuple[Path, formats.Format] | None:
    """Returns the path of a data set that was loaded by name or path, and its format if it has official files."""
    path = Path(name).expanduser()
    if name not in catalogue.BY_NAME and path.exists():
        form = formats.recognise(path)
        return None if form is None else (path, form)
    return catalogue.locate(name)


def _parts(dataset: Dataset, entry: Entry | None) -> list[tuple[str, str]]:
    """Returns what is in each official part."""
    rows = []
    groups = dataset.sources()
    official = list(entry.counts.items()) if entry is not None and len(entry.counts) == len(groups) else []
    for number, (serves, pool) in enumerate(groups):
        part, count = official[number] if official else ("all" if len(groups) == 1 else ", ".join(serves), None)
        of = "" if count is None or count == len(pool) else f" of {count:,}"
        text = f"{len(pool):,}{of} images"
        if len(pool):
            text += f", mean {dataset.images[pool].mean(dtype=float):.3f}"
        if dataset.labels is not None:
            counts = np.bincount(dataset.labels[pool], minlength=dataset.classes or 0)
            text += f", by class {' '.join(map(str, counts))}"
        rows.append((part, text))
    return rows


def _download(name: str) -> int:
    entry = catalogue.BY_NAME.get(name)
    if entry is None:
        raise unknown("data set to download", name, catalogue.BY_NAME)
    first, cache = catalogue.roots()[0] / entry.name, catalogue.cache()
    found = catalogue.locate(name)
    if found is not None and found[0] == first and first.parent != cache:
        print(f"{name} is already in {first}, which goes before {cache}")
        return 0
    with _Bar() as bar:
        files = download(entry, cache / entry.name, bar)
    checked = "" if all(remote.checksum for remote in entry.remotes) else "; no checksum is published"
    print(f"{name}: {', '.join(file.name for file in files)} in {cache / entry.name}{checked}")
    return 0


class _Bar:
    """A progress bar on standard error for what takes long."""

    def __init__(self) -> None:
        self._start, self._progress, self._tasks = time.monotonic(), None, {}

    def __enter__(self) -> "_Bar":
        return self

    def __call__(self, name: str, done: int, total: int | None) -> None:
        if self._progress is None:
            if time.monotonic() - self._start < PATIENCE:
                return
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
            self._progress = Progress(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr))
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()


def _progress():
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    return Progress(*columns, TimeRemainingColumn(), console=Console(file=sys.stderr))
