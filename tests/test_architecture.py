"""The arrows of docs/design.md: which room may import which, and that the door opens fast."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import infoplane

PACKAGE = Path(infoplane.__file__).parent

FOUNDATION = {
    "errors",
    "arguments",
    "settings",
    "registry",
    "files",
    "calls",
    "torch_state",
    "checks",
    "estimate",
    "claims",
    "data",
    "capture",
}
SCIENCE = {"densities", "geometry", "information", "subjects"}

#: room -> rooms that it may import
ARROWS = {
    "errors": set(),
    "calls": {"errors"},
    "arguments": {"errors", "calls"},
    "settings": {"errors", "arguments"},
    "registry": {"errors"},
    "files": set(),
    "torch_state": set(),
    "checks": {"errors", "arguments"},
    "estimate": {"errors", "calls"},
    "claims": {"arguments", "calls"},
    "data": {"errors", "calls", "arguments", "registry", "checks", "estimate"},
    "capture": {"errors", "calls", "arguments", "torch_state", "checks", "estimate", "data"},
    "densities": FOUNDATION,
    "geometry": FOUNDATION,
    "information": FOUNDATION,
    "subjects": FOUNDATION | {"information"},
    "inversion": FOUNDATION | {"densities"},
    "engine": {"errors", "files"},
    "measurements": FOUNDATION | SCIENCE | {"inversion", "engine"},
    "study": FOUNDATION | SCIENCE | {"inversion", "engine", "measurements"},
    "report": FOUNDATION | SCIENCE | {"inversion", "engine", "measurements", "study"},
    "budget": FOUNDATION | SCIENCE | {"inversion", "engine", "measurements", "study"},
    "profile": FOUNDATION | SCIENCE | {"inversion", "engine", "measurements", "study", "report", "budget"},
    "cli": FOUNDATION | SCIENCE | {"inversion", "engine", "measurements", "study", "report", "budget", "profile"},
    "__main__": {"cli"},
}


def room_of(path: Path) -> str:
    """Returns the room of a source file: its folder, or the file itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(source: str, file: Path = PACKAGE / "cli" / "x.py") -> set[str]:
    """Returns the full names of the modules that a source imports, wherever in it it does so."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = file.parents[node.level - 1].relative_to(PACKAGE.parent)
                base = ".".join([*above.parts, *([base] if base else [])])
            # `from infoplane import data` imports a room by the name after the import.
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return found


def rooms_in(modules: set[str]) -> set[str]:
    """Returns the rooms of infoplane among modules' names."""
    return {module.split(".")[1] for module in modules if module.startswith("infoplane.")}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def test_the_reader_of_imports_sees_all_of_them():
    source = """
import infoplane.study.folder as run, os
from infoplane import data
def f():
    from infoplane.report.page import write
    if True:
        from ..densities import PixelCNN
"""
    assert rooms_in(imports(source)) == {"study", "data", "report", "densities"}


def test_every_room_has_its_arrows():
    assert {room_of(path) for path in FILES} == set(ARROWS)
    # They point one way: a room may import only what comes before it in this list.
    order = list(ARROWS)
    for room, allowed in ARROWS.items():
        assert all(order.index(other) < order.index(room) for other in allowed)


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(PACKAGE)) for path in FILES])
def test_arrows(path):
    room = room_of(path)
    imported = rooms_in(imports(path.read_text(encoding="utf-8"), path)) - {room, "__version__"}
    assert imported <= ARROWS[room], f"{room} must not know {imported - ARROWS[room]}"


def test_data_does_not_import_torch():
    for path in (PACKAGE / "data").glob("*.py"):
        assert not {name for name in imports(path.read_text(encoding="utf-8"), path) if name.startswith("torch")}


def test_public_names_are_where_they_are_said_to_be():
    for name in infoplane.__all__:
        assert getattr(infoplane, name) is not None
        home = infoplane._HOMES.get(name)
        assert home is None or getattr(importlib.import_module(home), name) is getattr(infoplane, name)
    assert set(infoplane._HOMES) == set(infoplane.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="no attribute 'mesure'"):
        _ = infoplane.mesure


LIGHT = """
import sys
{before}
heavy = {{"torch", "numpy", "sklearn", "scipy", "pydantic_settings", "matplotlib", "polars"}} & set(sys.modules)
assert not heavy, heavy
print("light")
"""


def python(source: str) -> str:
    """Runs a source in a fresh interpreter and returns what it printed."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_and_help_need_nothing_heavy():
    helps = """
import infoplane
from infoplane.cli import main
for words in (["--help"], ["run", "--help"], ["measure", "--help"], []):
    try:
        main(words)
    except SystemExit as stop:
        assert stop.code == 0
"""
    printed = python(LIGHT.format(before=helps))
    assert printed.endswith("light\n")
    for verb in ("run", "measure", "layers", "report"):
        assert verb in printed


def test_a_report_needs_nothing_that_only_fits():
    source = """
import sys
import infoplane.report.build
heavy = {"sklearn", "scipy.stats"} & set(sys.modules)
assert not heavy, heavy
print("light")
"""
    assert python(source) == "light\n"


def test_the_command_line_needs_no_click_of_its_own():
    # typer may or may not depend on click; a machine with nothing else installed may have none.
    source = """
import sys
import typer
if "click" not in sys.modules:
    sys.modules["click"] = None
from infoplane.cli import main
try:
    main(["run"])
except SystemExit as stop:
    assert stop.code == 2
"""
    python(source)
