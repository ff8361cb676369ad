"""Code counts by what it means: a comment renames no cell, a changed constant those that import it."""

import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import infoplane
import tiny_study
from infoplane import densities, subjects
from infoplane.engine.plan import Plan
from infoplane.measurements import KINDS, as_kind
from infoplane.measurements.task import Task
from infoplane.study import plan as plan_module
from infoplane.study.execute import execute
from infoplane.study.load import load_study
from infoplane.study.meaning import CHOICES, Code
from infoplane.study.plan import chosen, make_plan, roots_of

PACKAGE = Path(infoplane.__file__).parent


def code(tmp_path: Path, files: dict[str, str]) -> Code:
    """A package of these files."""
    for name, text in files.items():
        path = tmp_path / "infoplane" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Code(tmp_path / "infoplane")


TINY = {
    "__init__.py": "",
    "room/__init__.py": "from infoplane.room.one import f\nfrom infoplane.room.two import g\n",
    "room/one.py": "LIMIT = 3\n\ndef f(x):\n    return x + LIMIT\n",
    "room/two.py": "def g(x):\n    return 2 * x\n",
    "measurements/__init__.py": "",
    "measurements/cells.py": (
        "from infoplane import room\n"
        "def run_one(task):\n    return room.f(task)\n"
        "def run_two(task):\n    from infoplane.room import g as h\n    return h(task)\n"
    ),
}


def meanings(tmp_path: Path, files: dict[str, str] | None = None) -> tuple[str, str]:
    found = code(tmp_path, {**TINY, **(files or {})})
    one, two = (found.meaning([f"infoplane.measurements.cells:run_{name}"]) for name in ("one", "two"))
    return one, two


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("room/one.py", '"""Words."""\n# more\nLIMIT=(3)\n\n\ndef f( x ):\n  """Words."""\n  return (x+LIMIT)\n'),
        ("room/one.py", 'LIMIT: int = 3\n"""What it is."""\ndef f(x: int) -> int:\n    pass\n    return x + LIMIT\n'),
        (
            "room/one.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from infoplane.room.two import g\n"
            "LIMIT = 3\ndef f(x: 'g'):\n    return x + LIMIT\n",
        ),
        (
            "room/one.py",
            "from infoplane.room.two import g\n__all__ = ['f']\nLIMIT = 3\ndef f(x: g) -> g:\n    return x + LIMIT\n",
        ),
        ("room/three.py", "import infoplane.room.one\n"),
        ("room/__init__.py", TINY["room/__init__.py"] + "from infoplane.room.one import LIMIT\n__all__ = ['f', 'g']\n"),
        ("measurements/cells.py", TINY["measurements/cells.py"] + "def run_three(task):\n    return 3\n"),
    ],
)
def test_what_means_nothing_changes_nothing(tmp_path, file, text):
    before = meanings(tmp_path / "a")
    assert meanings(tmp_path / "b", {file: text}) == before


@pytest.mark.parametrize(
    ("file", "text", "changed"),
    [
        ("room/one.py", TINY["room/one.py"].replace("3", "4"), (True, False)),
        ("room/two.py", TINY["room/two.py"].replace("2", "3"), (False, True)),
        ("room/one.py", TINY["room/one.py"].replace("x + LIMIT", "LIMIT + x"), (True, False)),
        (
            "room/__init__.py",
            "from infoplane.room.two import g as f\nfrom infoplane.room.two import g\n",
            (True, False),
        ),
        ("measurements/cells.py", TINY["measurements/cells.py"].replace("h(task)", "h(h(task))"), (False, True)),
    ],
)
def test_what_means_something_changes_those_that_import_it(tmp_path, file, text, changed):
    before, after = meanings(tmp_path / "a"), meanings(tmp_path / "b", {file: text})
    assert tuple(a != b for a, b in zip(before, after, strict=True)) == changed


@pytest.mark.parametrize(
    "cells",
    [
        "import infoplane.room.one\ndef run_one(t):\n    return infoplane.room.one.f(t)\n",
        "import infoplane.room.one as o\ndef run_one(t):\n    return [o.f(x) for x in t]\n",
        "from infoplane.room import one\ndef run_one(t):\n    return one.f(t)\n",
        "from ..room.one import f\ndef run_one(t):\n    return f(t)\n",
        "from infoplane.room.one import *\ndef run_one(t):\n    return f(t)\n",
        "def run_one(t):\n    def inner():\n        from infoplane.room import f\n        return f(t)\n"
        "    return inner()\n",
        "from infoplane.room import f\nTABLE = {}\nTABLE['f'] = f\ndef run_one(t):\n    return TABLE['f'](t)\n",
        "from infoplane.room import f\ndef helper(t):\n    return f(t)\ndef run_one(t):\n    return helper(t)\n",
        "from infoplane.room.one import f\nclass A:\n    f = 1\n    def run(self):\n        return f(2)\n"
        "def run_one(t):\n    return A().run()\n",
        "from infoplane import room\ndef run_one(t):\n    return getattr(room, t)\n",
        "import importlib\ndef run_one(t):\n    return importlib.import_module('infoplane.room.one').f(t)\n",
        "from infoplane.room import f\n@f\ndef run_one(t):\n    return t\n",
        "from infoplane.room import f\ndef run_one(t, g=f):\n    return g(t)\n",
        "from infoplane.room.one import LIMIT\ndef run_one(t):\n    return LIMIT\n",
        "try:\n    from infoplane.room.one import f\nexcept ImportError:\n    f = None\n"
        "def run_one(t):\n    return f(t)\n",
    ],
)
def test_every_way_to_a_module_is_followed(tmp_path, cells):
    files = {**TINY, "measurements/cells.py": cells}
    root = ["infoplane.measurements.cells:run_one"]
    before = code(tmp_path / "a", files).meaning(root)
    after = code(tmp_path / "b", {**files, "room/one.py": TINY["room/one.py"].replace("3", "4")}).meaning(root)
    assert before != after


@pytest.mark.parametrize(
    "cells",
    [
        "from infoplane import room\ndef run_one(room):\n    return room['x']\n",  # a name of its own
        "from infoplane import room\ndef run_one(t):\n    return [room for room in t]\n",
        "from infoplane import room\ndef run_one(t):\n    for room in t:\n        t = room\n    return t\n",
        "from infoplane import room\ndef run_one(t):\n    return room.g(t)\n",
        "from infoplane.room import f, g\ndef run_one(t):\n    return g(t)\ndef run_two(t):\n    return f(t)\n",
    ],
)
def test_what_is_not_used_is_not_followed(tmp_path, cells):
    files = {**TINY, "measurements/cells.py": cells}
    root = ["infoplane.measurements.cells:run_one"]
    before = code(tmp_path / "a", files).meaning(root)
    after = code(tmp_path / "b", {**files, "room/one.py": TINY["room/one.py"].replace("3", "4")}).meaning(root)
    assert before == after


def test_choices_by_name_are_there():
    for choice in CHOICES:
        module, _, name = choice.partition(":")
        assert re.search(rf"^(def )?{name}\b", (PACKAGE / module / "__init__.py").read_text(), re.MULTILINE), choice


# --- the package itself ---


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A copy of the package's source, read once."""
    copy = tmp_path_factory.mktemp("copy") / "infoplane"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return Code(copy)


@pytest.fixture
def copied(package, monkeypatch):
    """Returns the copy, of which the code versions are taken; it is as it was afterwards."""
    monkeypatch.setattr(plan_module, "code_of", lambda folder: package)
    before = {path: path.read_text() for path in package.folder.rglob("*.py")}
    yield package.folder
    for path in package.folder.rglob("*"):
        if path.is_file() and path not in before:
            path.unlink()
    for path, text in before.items():
        if path.read_text() != text:
            path.write_text(text)
            forget(package, path)


def forget(code: Code, file: Path) -> None:
    """Has a file read anew."""
    parts = file.relative_to(code.folder).with_suffix("").parts
    module = ".".join(("infoplane", *parts)).removesuffix(".__init__")
    code._modules.pop(module, None)
    for unit in [unit for unit in code._units if unit[0] == module]:
        del code._units[unit]


DENSITIES = {"density", "trunk", "samples"}
NOISY = {"points", "descent", "flow", "quadrature", "sweep", "clustering"}

#: settings that choose by name, for every kind
PARAMS = {
    "data": {"data": {"name": "digits"}},
    "points": {"data": {"name": "spiral", "options": {}}},
    "subject": {"subject": {"kind": "nash-cnn"}},
    "density": {"density": {"kind": "pixelcnn"}},
    "samples": {"density": {"kind": "pixelcnn"}},
    "trunk": {"places": [{"density": {"kind": "pixelcnn"}}]},
}


def versions() -> dict[str, str]:
    return {kind: version(kind) for kind in KINDS}


def version(kind: str, params: dict[str, Any] | None = None) -> str:
    """A hash of what the code of a cell means."""
    settings = PARAMS.get(kind, {}) if params is None else params
    return plan_module.code_of(PACKAGE).meaning([*paths(KINDS[kind], Task), *chosen(settings)])


def paths(*found: type) -> list[str]:
    return [f"{each.__module__}:{each.__qualname__}" for each in found]


@pytest.mark.parametrize(
    ("file", "kinds"),
    [
        ("data/svhn.py", set()),
        ("data/folder.py", set()),
        ("data/digits.py", {"data"}),
        ("data/options.py", {"data"} | NOISY),
        ("subjects/nash_cnn.py", {"subject"}),
        ("subjects/resnet.py", set()),
        ("densities/pixelcnn.py", DENSITIES),
        ("densities/likelihoods.py", DENSITIES | {"candidate", "choice"}),
        ("inversion/reconstruction.py", {"mse"}),
        ("inversion/invert.py", {"candidate", "density", "trunk"}),
        ("inversion/shared.py", {"trunk"}),
        ("information/wide_probe.py", {"probe"}),
        ("information/label.py", {"probe"}),
        ("information/variety.py", set()),
        ("geometry/binned.py", {"clustering"}),
        ("engine/run.py", set()),
        ("engine/store.py", set()),
        ("errors.py", set()),
        ("report/page.py", set()),
        ("cli/app.py", set()),
    ],
)
def test_a_changed_constant_renames_the_cells_that_import_it(package, copied, file, kinds):
    before = versions()
    path = copied / file
    path.write_text(path.read_text() + "\n# a comment\n")
    forget(package, path)
    assert versions() == before
    path.write_text(path.read_text() + "\nADDED = 1\n")
    forget(package, path)
    after = versions()
    assert {kind for kind in before if before[kind] != after[kind]} == kinds


def test_comments_docstrings_and_new_files_rename_nothing(package, copied):
    spec: Any = load_study("digits")
    before = make_plan(spec).cells
    for path in copied.rglob("*.py"):
        text = path.read_text()
        path.write_text("# a comment\n" + text + "\n# another\n\n\n")
    (copied / "densities" / "another.py").write_text("LIMIT = 3\n")
    (copied / "densities" / "notes.md").write_text("x")
    for path in copied.rglob("*.py"):
        forget(package, path)
    assert make_plan(spec).cells == before


def test_a_study_does_not_depend_on_what_it_does_not_use(package):
    spec: Any = load_study("digits")
    found = package
    for cell in make_plan(spec).cells.values():
        roots = [*paths(KINDS[cell.kind], Task), *chosen(cell.params)]
        modules = found.read(roots)[1].keys()
        assert not modules & {"infoplane.data.svhn", "infoplane.data.catalogue", "infoplane.subjects.resnet"}, cell.name


@pytest.mark.parametrize(
    ("name", "loader"),
    [
        ("digits", "infoplane.data.digits:load_digits"),
        ("mnist", "infoplane.data.idx:load_idx"),
        ("svhn", "infoplane.data.svhn:load_svhn"),
        ("nowhere", None),
    ],
)
def test_the_loader_of_a_data_set_is_chosen_by_its_name(name, loader):
    assert chosen({"data": {"name": name}}) == ([] if loader is None else [loader])


def test_what_lies_outside_the_package_counts_by_its_file(tmp_path, monkeypatch):
    module = tmp_path / "their_density.py"
    module.write_text("from infoplane.densities import PixelCNN\nclass Theirs(PixelCNN):\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import their_density  # pyright: ignore[reportMissingImports]

    monkeypatch.setitem(densities.REGISTRY.own, "theirs", their_density.Theirs)
    before = version("density", {"density": {"kind": "theirs"}})
    module.write_text(module.read_text() + "LIMIT = 1\n")
    assert version("density", {"density": {"kind": "theirs"}}) != before
    sys.modules.pop("their_density")


# --- what runs is what counts ---


def run_watched(kind, task):
    """Runs a cell and returns its result and the modules of the package whose functions it called."""
    seen = set()

    def look(frame, event, _):
        if event == "call":
            seen.add(frame.f_code.co_filename)

    sys.setprofile(look)
    try:
        result = RUNS_AS_THEY_WERE[type(kind).kind](kind, task)
    finally:
        sys.setprofile(None)
    files = {Path(name).relative_to(PACKAGE) for name in seen if name.startswith(str(PACKAGE))}
    return result, {".".join(("infoplane", *file.with_suffix("").parts)).removesuffix(".__init__") for file in files}


RUNS_AS_THEY_WERE = {kind: each.run for kind, each in KINDS.items()}

EPOCHS = {
    "subject": {"kind": "resnet-classifier", "filters": [2, 2, 3], "blocks": 1, "pool": 1, "train": {"epochs": 1}},
    "layers": ["h3"],
    "measure": ["nce", "forward", "own", "losses"],
}
CHOSEN = {"density": {"kind": "auto"}, "measure": ["nce", "samples"], "fit__trial_updates": 1, "fit__batch": 8}
USUAL = {"subject", "capture", "trunk", "density", "mse", "probe", "samples", "judge"}


@pytest.mark.parametrize(
    ("on_the_fly", "changes", "kinds"),
    [
        (False, {}, USUAL),
        (True, {}, USUAL),
        (False, EPOCHS, {"subject", "forward", "own"}),
        (False, CHOSEN, {"candidate", "choice", "trunk", "density", "samples"}),
    ],
)
def test_every_module_that_a_cell_runs_through_counts_for_its_name(tmp_path, monkeypatch, on_the_fly, changes, kinds):
    called: dict[str, set[str]] = {}

    def watched(self, task):
        result, modules = run_watched(self, task)
        called.setdefault(type(self).kind, set()).update(modules)
        return result

    for kind in KINDS.values():
        monkeypatch.setattr(kind, "run", watched)
    if on_the_fly:
        monkeypatch.setattr("infoplane.measurements.inputs.CACHE_BYTES", 0)
    spec = tiny_study.tiny(tmp_path, **{"layers": ["logits"], **changes}, fit__refits=1, fit__warm_start="shared")
    outcome = execute(spec, tmp_path / "run", workers=0, quiet=True)
    assert not outcome.failed
    plan, found = Plan.load(tmp_path / "run"), Code(PACKAGE)

    def counting(name: str) -> set[str]:
        """The modules that count for a cell or for what it needs."""
        cell = plan.cells[name]
        roots = roots_of(as_kind(cell))
        return set(found.read(roots)[1]).union(*(counting(need) for need in cell.needs.values()))

    # What carries results, and progress, makes none.
    indifferent = {"infoplane.errors", "infoplane.files", "infoplane.registry"}
    indifferent |= {name for name in sys.modules if name.startswith("infoplane.engine")}
    for name, cell in plan.cells.items():
        if cell.kind in called:
            assert called[cell.kind] - indifferent <= counting(name), name
    assert kinds <= called.keys()
    density = "infoplane.densities." + ("streams" if "candidate" in called else "pixelcnn")
    assert density in called.get("candidate", called["density"])
    if on_the_fly:
        assert "infoplane.subjects.nash_cnn" in called["mse"]
    assert subjects.REGISTRY
