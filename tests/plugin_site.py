"""The distribution in tests/plugin, as if it were installed: its package, and what its installer would write."""

import shutil
import tomllib
from pathlib import Path

from infoplane import data, densities, subjects
from infoplane.engine.run import ENGINES
from infoplane.registry import Registry

PLUGIN = Path(__file__).parent / "plugin"
REGISTRIES: tuple[Registry, ...] = (densities.REGISTRY, subjects.REGISTRY, subjects.POINTS, data.NAMED, ENGINES)


def offered() -> dict[str, dict[str, str]]:
    """Returns what the distribution offers: group -> name -> "module:object"."""
    return tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]["entry-points"]


def write_site(folder: Path, version: str = "1.0") -> Path:
    """Writes the distribution into a folder that is to be on the path, and returns it."""
    shutil.copytree(PLUGIN / "src", folder, dirs_exist_ok=True)
    return write_metadata(folder, "infoplane-plugin", version, offered())


def write_metadata(folder: Path, name: str, version: str, groups: dict[str, dict[str, str]]) -> Path:
    """Writes what an installer keeps of a distribution: a folder of its own beside the packages."""
    info = folder / f"{name.replace('-', '_')}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [line for group, names in groups.items() for line in (f"[{group}]", *map(" = ".join, names.items()))]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


def read_anew() -> None:
    """Has all registries read what is offered anew: they do so once."""
    for registry in REGISTRIES:
        vars(registry).pop("_offered", None)
