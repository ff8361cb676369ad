"""The distribution in tests/plugin, as if it were installed: what its installer would write lies beside its package."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infoplane import data, densities, measurements, subjects
from infoplane.registry import Registry
from infoplane.study.execute import ENGINES

#: a folder that is to be on the path
SITE = Path(__file__).parent / "plugin" / "src"
#: what it offers of these is refused or not; tables of measurements are made once, with the package
_MEASURED = measurements._OFFERED
REGISTRIES: tuple[Registry, ...] = (
    densities.REGISTRY,
    subjects.REGISTRY,
    subjects.POINTS,
    data.NAMED,
    ENGINES,
    _MEASURED,
)


def write_metadata(folder: Path, name: str, version: str, groups: dict[str, dict[str, str]]) -> None:
    """Writes what an installer keeps of a distribution: group of entry points -> name -> "module:object"."""
    info = folder / f"{name.replace('-', '_')}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [line for group, names in groups.items() for line in (f"[{group}]", *map(" = ".join, names.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@contextmanager
def visible(site: Path = SITE) -> Iterator[None]:
    """While active, the distribution can be found in this process; all registries read what is offered anew."""
    sys.path.insert(0, str(site))
    try:
        read_anew()
        yield
    finally:
        sys.path.remove(str(site))
        read_anew()


def read_anew() -> None:
    """Has all registries read what is offered anew: they do so once."""
    importlib.invalidate_caches()
    for registry in REGISTRIES:
        vars(registry).pop("_offered", None)
