"""A run says beforehand how long it will take here, and shows the time left by what its parts cost."""

import re
import shutil

import pytest
import torch

import tiny_study
from infoplane.engine import run as run_module
from infoplane.engine.plan import Plan
from infoplane.engine.schedule import finished
from infoplane.errors import words
from infoplane.measurements.counting import TYPICAL, Machine
from infoplane.study import bench, execute
from infoplane.study.bench import Calibration
from infoplane.study.execute import execute as run
from infoplane.study.forecast import costs_of, seconds_of, work_of
from infoplane.study.load import read_study

CPU = torch.device("cpu")
#: slow enough for a tiny study to take hours
SLOW = Machine(per_operation=0.5)


@pytest.fixture
def timed(monkeypatch) -> list[torch.device]:
    """Measurements that were made; each would find the slow machine."""
    made = []

    def fresh(device):
        made.append(device)
        return Calibration(SLOW, "timed just now")

    monkeypatch.setattr(execute, "fresh", fresh)
    return made


@pytest.fixture
def displayed(monkeypatch) -> list[dict[str, float]]:
    """The weights by which the time left is told."""
    seen = []
    display = run_module.Display

    def showing(weights, **more):
        seen.append(dict(weights))
        return display(weights, **more)

    monkeypatch.setattr(run_module, "Display", showing)
    return seen


def expected(folder, spec, machine, workers=1) -> tuple[str, dict[str, float]]:
    """The time in words, and the seconds of each cell but the data, which are there."""
    plan = Plan.load(folder)
    seconds = seconds_of(work_of(plan, costs_of(spec)), machine)
    cells = [cell for cell in plan.cells.values() if cell.kind != "data"]
    return words(finished(cells, seconds, workers)), {cell.name: seconds[cell.name] for cell in cells}


def test_a_short_run_goes_by_a_typical_machine_and_does_not_wait(tmp_path, capsys, timed, displayed):
    spec = tiny_study.tiny(tmp_path)
    run(spec, tmp_path / "run", workers=0)
    time, seconds = expected(tmp_path / "run", spec, TYPICAL)
    first = capsys.readouterr().err.splitlines()[0]
    assert first == f"about {time} on cpu, one process (if this machine is like many; infoplane bench measures it)"
    assert timed == []
    assert displayed == [pytest.approx(seconds)]


def test_what_is_known_of_this_machine_is_used_and_nothing_timed(tmp_path, capsys, monkeypatch, timed, displayed):
    monkeypatch.setattr(bench, "place", lambda device: tmp_path / "cache" / "speeds")
    bench.keep(CPU, SLOW, quick=False)
    spec = tiny_study.tiny(tmp_path)
    run(spec, tmp_path / "run", workers=2)
    time, seconds = expected(tmp_path / "run", spec, SLOW, 2)
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith(f"about {time} on cpu, 2 worker processes (as infoplane bench measured this machine")
    assert timed == []
    assert displayed == [pytest.approx(seconds)]


def test_a_long_run_is_worth_a_measurement(tmp_path, capsys, monkeypatch, timed):
    monkeypatch.setattr(execute, "WORTHWHILE", 0.0)
    spec = tiny_study.tiny(tmp_path)
    run(spec, tmp_path / "run", workers=0)
    time, _ = expected(tmp_path / "run", spec, SLOW)
    assert capsys.readouterr().err.splitlines()[0] == f"about {time} on cpu, one process (timed just now)"
    assert timed == [CPU]


def test_only_what_is_left_is_foretold(tmp_path, capsys, finished_run, timed, displayed):
    folder, spec = finished_run
    run(spec, folder, workers=0)
    assert "about" not in capsys.readouterr().err  # nothing is left
    (gone,) = [name for name in Plan.load(folder).cells if name.startswith("mse-conv1")]
    shutil.rmtree(folder / "cells" / gone)
    run(spec, folder, workers=0)
    seconds = expected(folder, spec, TYPICAL)[1][gone]
    said = re.search(r"about (\d+) s on cpu", capsys.readouterr().err)
    assert int(said[1]) == round(seconds + 4)  # and a worker's start
    assert displayed[-1] == {gone: pytest.approx(seconds)}


def test_quiet_says_nothing_and_counts_nothing(tmp_path, capsys, monkeypatch, timed):
    monkeypatch.setattr("infoplane.study.forecast.Costs", lambda *_: pytest.fail("counted"))
    run(tiny_study.tiny(tmp_path), tmp_path / "run", workers=0, quiet=True)
    assert capsys.readouterr().err == ""
    assert timed == []


def test_saying_it_changes_no_result(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(execute, "WORTHWHILE", 0.0)  # measured for real, in the same process
    spec = tiny_study.tiny(tmp_path)
    run(spec, tmp_path / "loud", workers=0)
    run(spec, tmp_path / "quiet", workers=0, quiet=True)
    assert tiny_study.contents(tmp_path / "loud" / "cells") == tiny_study.contents(tmp_path / "quiet" / "cells")
    assert "timed just now" in capsys.readouterr().err


@pytest.fixture
def finished_run(finished, tmp_path):
    """A copy of a finished run and its study."""
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    return folder, read_study(folder / "study.yaml")
