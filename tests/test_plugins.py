"""A study of what another distribution offers: its density, its network, its data, run by its engine."""

import configparser
import importlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest

from infoplane.engine.plan import Plan
from infoplane.measurements import KINDS, obtainable
from infoplane.study.load import load_study
from infoplane.study.plan import make_plan
from plugin_site import SITE, read_anew, visible, write_metadata
from tiny_study import events

STUDY = """
title: All of it is theirs
data: {name: stripes, encoding: 40, decoding: 80, evaluation: 40, options: {noise: 0.3}}
subject: {kind: perceptron, units: 5, train: {updates: 20, batch: 8}}
layers: [hidden, logits]
density: {kind: independent, smoothing: 0.5}
fit: {updates: 5, batch: 8, evaluations: 2, refits: 2}
samples: {images: 2, each: 2}
measure: [nce, usable, label, samples]
"""


@pytest.fixture
def site(tmp_path):
    """A copy of the distribution, on the path of this process."""
    folder = shutil.copytree(SITE, tmp_path / "site")
    with visible(folder):
        forget()
        yield folder
    forget()


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "infoplane_plugin"]:
        del sys.modules[name]


def study(folder: Path) -> Path:
    path = folder / "theirs.yaml"
    path.write_text(STUDY)
    return path


def infoplane(*words: object) -> subprocess.CompletedProcess:
    """Calls the command line in a process of its own, in which the distribution can be found."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), *sys.path])}
    command = [sys.executable, "-m", "infoplane", *map(str, words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def test_a_study_runs_by_name_under_both_engines(tmp_path):
    path, tables = study(tmp_path), {}
    for engine in ("serial", "local"):
        done = infoplane("run", path, "--out", tmp_path / engine, "--engine", engine, "--workers", 2)
        assert done.returncode == 0, done.stderr
        tables[engine] = pl.read_csv(tmp_path / engine / "results.csv")
    # The numbers do not depend on what runs the cells, nor on where it does.
    assert tables["serial"].equals(tables["local"])
    found = tables["serial"].filter(pl.col("kind") == "usable")
    assert set(found["layer"]) == {"hidden", "logits"}
    assert found["value"].is_finite().all()
    assert not events(tmp_path / "local", "failed")
    assert "stripes" in infoplane("data").stdout


def names(folder: Path) -> dict[tuple, str]:
    """The names of the study's cells by role."""
    read_anew()
    plan: Plan = make_plan(load_study(str(study(folder))))
    return dict(plan.roles)


def test_an_upgrade_computes_anew_what_it_is_about(site, tmp_path):
    before = names(tmp_path)
    assert names(tmp_path) == before
    metadata = site / "infoplane_plugin.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("1.0", "1.1"))
    upgraded = names(tmp_path)
    assert all(upgraded[role] != name for role, name in before.items())  # all of them begin with its data
    metadata.write_text(metadata.read_text().replace("1.1", "1.0"))
    assert names(tmp_path) == before
    # While it is worked on its version stays, and its source does not; the module that is named imports this one.
    source = site / "infoplane_plugin" / "subject.py"
    source.write_text(source.read_text() + "LIMIT = 1\n")
    assert all(names(tmp_path)[role] != name for role, name in before.items())


def test_a_plug_in_is_what_it_was_made_of(site, tmp_path):
    plan = make_plan(load_study(str(study(tmp_path))))
    modules = next(cell.modules for cell in plan.cells.values() if cell.kind == "density")
    assert {"infoplane_plugin.density", "infoplane-plugin 1.0", "infoplane.densities.density"} <= modules.keys()
    assert "infoplane.densities.pixelcnn" not in modules


def test_what_its_installer_would_write_is_what_it_says():
    offered = tomllib.loads((SITE.parent / "pyproject.toml").read_text())["project"]["entry-points"]
    written = configparser.ConfigParser()
    written.read(SITE / "infoplane_plugin.dist-info" / "entry_points.txt")
    assert {group: dict(written[group]) for group in written.sections()} == offered


def test_neither_help_nor_an_import_reads_entry_points():
    source = """
import importlib.metadata
read = importlib.metadata.entry_points
def watched(group):  # torch and pydantic read their own
    assert not group.startswith("infoplane"), f"{group} was read"
    return read(group=group)
importlib.metadata.entry_points = watched
import infoplane
from infoplane.cli import main
for words in (["--help"], ["run", "--help"], ["data", "--help"]):
    try:
        main(words)
    except SystemExit as stop:
        assert stop.code == 0, stop.code
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_measurement_that_cannot_be_had_is_told_who_asks_for_it_and_minded_by_nobody_else(tmp_path, monkeypatch):
    (tmp_path / "broken_of_theirs.py").write_text("import a_module_that_is_nowhere\n")
    write_metadata(tmp_path, "theirs", "2.1", {"infoplane.measurements": {"rarity": "broken_of_theirs:RARITY"}})
    monkeypatch.syspath_prepend(str(tmp_path))
    path = study(tmp_path)
    assert infoplane("plan", path).returncode == 0
    asked = infoplane("plan", path, "--set", "measure=[nce, rarity]")
    assert asked.returncode == 2
    said = "measurement 'rarity' of theirs 2.1 cannot be had; received ModuleNotFoundError: No module named "
    assert asked.stderr.removeprefix("infoplane: ").startswith(f"{said}'a_module_that_is_nowhere'")
    assert len(asked.stderr.splitlines()) == 1
    unknown = infoplane("plan", path, "--set", "measure=[nce, rarities]").stderr
    assert "unknown value of measure" in unknown
    assert "legal: nce, usable" in unknown


THEIRS = """
from typing import ClassVar
from infoplane.engine.kind import Kind
from infoplane.measurements.base import Measurement
from infoplane_plugin.rank import Rank

class Capture(Kind):
    kind: ClassVar[str] = "capture"
    def run(self, task): pass

class Spectrum(Capture):
    kind: ClassVar[str] = "spectrum"

class Own(Measurement):
    name, meaning = "Their own", "Nothing at all, as far as anybody can tell."
    def __init__(self, **said):
        vars(self).update({"asked": self.kind} | said)

class Other(Own):
    kind = "other"

class Nce(Own):
    kind = "nce"

class Unsaid(Measurement):
    kind = "other"
"""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("Nce()", "received the kind 'nce'"),
        ("Other(cells=(Capture,))", "received the kind of cell 'capture', which infoplane.measurements.inputs has"),
        ("Other(cells=(Spectrum,))", "received the kind of cell 'spectrum', which infoplane_plugin.rank has"),
        ("Other(family='flows')", "received the family 'flows'"),
        ("Other(family='flow', charts=('up',))", "received the family 'flow' with 'up'"),
        ("Other(family='flow', across=frozenset({'checkpoints'}))", "received the family 'flow' with 'checkpoints'"),
        ("Unsaid()", "Unsaid is abstract: it does not say its name and meaning"),
        ("Measurement()", "Measurement is abstract: it does not say its kind and name and meaning"),
    ],
)
def test_a_measurement_replaces_nothing(tmp_path, monkeypatch, refuses, value, words):
    (tmp_path / "of_theirs.py").write_text(f"{THEIRS}\nOTHER = {value}\n")
    write_metadata(tmp_path, "theirs", "2.1", {"infoplane.measurements": {"other": "of_theirs:OTHER"}})
    monkeypatch.syspath_prepend(str(SITE))
    monkeypatch.delitem(sys.modules, "of_theirs", raising=False)
    with visible(tmp_path):
        spectrum = importlib.import_module("infoplane_plugin.rank").Spectrum
        monkeypatch.setitem(KINDS, spectrum.kind, spectrum)
        with refuses("measurement 'other' of theirs 2.1 cannot be had", words, "mend or uninstall theirs 2.1"):
            obtainable("other")


def test_what_is_refused_takes_no_place(tmp_path):
    (tmp_path / "of_theirs.py").write_text(f"{THEIRS}\nOTHER = Nce()\n")
    write_metadata(tmp_path, "theirs", "2.1", {"infoplane.measurements": {"other": "of_theirs:OTHER"}})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SITE), *sys.path])}
    source = "from infoplane.measurements import QUANTITIES as known\nprint(known['nce'].__module__, 'other' in known)"
    done = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["infoplane.measurements.nce", "False"]
