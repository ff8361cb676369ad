"""The figures of a page as files: each is written as soon as it is drawn, and not drawn again while nothing changed."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from infoplane.files import checksum, read_text, write_whole
from infoplane.report.printing import SUFFIXES, Print
from infoplane.report.theme import style

#: what was drawn from what, beside the page
DRAWN_FILE = "figures.json"


class Drawer:
    """The figures of the page in a folder.

    A figure is freed once it is written: hundreds of them at a time would fill the memory.

    Args:
        page: The page; figures go to `figures/` beside it, which is made if need be.
    """

    def __init__(self, page: Path) -> None:
        self.folder = page.with_name("figures")
        self.folder.mkdir(parents=True, exist_ok=True)
        self._known = remembered(page.parent)
        self._sources: dict[str, str] = {}

    def put(self, name: str, drawn: Print) -> None:
        """Writes a figure as SVG and PNG."""
        for suffix, content in drawn.files.items():
            write_whole(self.folder / f"{name}{suffix}", content)

    def draw(self, name: str, sources: Any, figure: Callable[[], Figure]) -> None:
        """Writes a figure, unless the one that lies there was drawn from the same.

        Args:
            sources: All that it is drawn from.
        """
        found = digest(sources)
        there = all((self.folder / f"{name}{suffix}").is_file() for suffix in SUFFIXES)
        if not there or self._known.get("sources", {}).get(name) != found:
            with style():
                drawn = figure()
            self.put(name, Print(drawn, name))
        self._sources[name] = found

    def close(self) -> None:
        """Remembers which figures there are, and what they were drawn from."""
        files = {path.name: checksum(path) for path in self.folder.iterdir() if path.suffix in SUFFIXES}
        content = {"sources": self._sources, "files": files}
        write_whole(self.folder.with_name(DRAWN_FILE), json.dumps(content, indent=1, sort_keys=True))


def digest(value: Any) -> str:
    """A hash of plain values, arrays and dataclasses of them, and of the code that draws."""
    found = hashlib.sha256(version_of(Path(__file__).parent))
    _feed(found.update, value)
    return found.hexdigest()


#: types whose representation tells their values apart, in a mapping too
_PLAIN = {str, int, float, bool, type(None)}


def _feed(update: Callable[[bytes], None], value: Any) -> None:
    if isinstance(value, np.ndarray):
        update(f"array {value.dtype} {value.shape} ".encode() + np.ascontiguousarray(value).tobytes())
    elif dataclasses.is_dataclass(value):
        update(type(value).__name__.encode())
        for field in dataclasses.fields(value):
            update(f"{field.name}=".encode())
            _feed(update, getattr(value, field.name))
    elif isinstance(value, Mapping) and set(map(type, value.values())) <= _PLAIN and set(map(type, value)) <= _PLAIN:
        update(f"plain {dict(value)!r} ".encode("utf-8", "backslashreplace"))
    elif isinstance(value, Mapping):
        update(f"mapping {len(value)} ".encode())
        for key, content in value.items():
            _feed(update, key)
            _feed(update, content)
    elif isinstance(value, list | tuple):
        update(f"sequence {len(value)} ".encode())
        for content in value:
            _feed(update, content)
    else:
        # Plain numbers, words and None, whose representation tells them apart.
        update(f"{type(value).__name__} {value!r} ".encode("utf-8", "backslashreplace"))


@cache
def version_of(root: Path) -> bytes:
    """Returns a hash of everything in a folder of the program: another version draws and computes anew."""
    found = hashlib.sha256()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            found.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return found.digest()


def remembered(folder: Path) -> dict[str, Any]:
    """Returns what is remembered of a page in a folder; nothing where it cannot be read: then all is drawn."""
    try:
        content = json.loads(read_text(folder / DRAWN_FILE))
    except (OSError, ValueError):
        return {}
    whole = isinstance(content, dict) and all(isinstance(content.get(key), dict) for key in ("sources", "files"))
    return content if whole else {}
