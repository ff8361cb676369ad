"""Runs: the same bytes whoever computes them, nothing computed twice, and failures that stay where they happen."""

import gc
import json
import os
import platform
import re
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import tiny_study
from infoplane import data, measure
from infoplane.engine import run as run_module
from infoplane.engine.devices import default_workers, pick_device
from infoplane.engine.plan import Plan
from infoplane.engine.progress import Display
from infoplane.engine.run import run_cells
from infoplane.engine.store import Result, Store
from infoplane.engine.watch import Watcher
from infoplane.errors import CellError, FitError
from infoplane.measurements import KINDS
from infoplane.report.build import build_page, load_run
from infoplane.study import folder as folder_module
from infoplane.study.execute import execute
from infoplane.study.families import RUNNER
from infoplane.study.load import read_study
from infoplane.study.plan import make_plan
from tiny_study import contents, events, kind_of

CPU = torch.device("cpu")


def run(folder, spec, workers=0):
    """Runs a study and writes its tables."""
    outcome = execute(spec, folder, workers=workers, quiet=True)
    load_run(folder).write(folder)
    return outcome


def computed(folder, after=0) -> list[str]:
    """Returns the cells that were started, from the given event on."""
    return [event["cell"] for event in events(folder)[after:] if event["event"] == "start"]


# ---- determinism ----


def test_results_do_not_depend_on_who_computes_them(finished, tmp_path):
    # Two workers; with one, `test_workers_give_the_same_bytes` of tests/test_profile.py.
    folder = tmp_path / "two"
    outcome = run(folder, read_study(finished / "study.yaml"), workers=2)
    assert not outcome.failed
    for table in ("results.csv", "results.parquet", "study.yaml"):
        assert (folder / table).read_bytes() == (finished / table).read_bytes()
    assert contents(folder / "cells") == contents(finished / "cells")
    assert 0 < outcome.peak_memory_mb < 20_000
    assert len(computed(folder)) == len(set(computed(folder))) == len(Plan.load(folder).cells) - 1


def test_the_tables_agree_and_hold_no_times(finished):
    csv, parquet = pl.read_csv(finished / "results.csv"), pl.read_parquet(finished / "results.parquet")
    columns = "study layer checkpoint refit kind value stderr unit direction n refits flags ceiling dof read_through"
    assert " ".join(csv.columns) == " ".join(parquet.columns) == columns
    assert csv["value"].to_list() == parquet["value"].to_list()
    assert csv["kind"].to_list() == parquet["kind"].to_list()
    assert len(parquet) > 40


def test_another_seed_gives_other_numbers(finished, tmp_path):
    spec = read_study(finished / "study.yaml").model_copy(update={"seed": 1, "layers": ("logits",)})
    run(tmp_path / "run", spec)
    values = [
        pl.read_csv(folder / "results.csv").filter(pl.col("layer") == "logits")["value"].to_numpy()
        for folder in (finished, tmp_path / "run")
    ]
    assert len(values[0]) == len(values[1])
    assert (values[0] != values[1]).mean() > 0.8


def test_cells_in_this_process_run_on_one_thread_as_in_a_worker(finished, tmp_path, monkeypatch):
    # More threads add up in another order, so the last digits would depend on the number of workers.
    seen = []

    def look(self, task):
        seen.append(torch.get_num_threads())
        return Result()

    for kind in KINDS:
        monkeypatch.setattr(KINDS[kind], "run", look)
    (tmp_path / "cells").mkdir()
    torch.set_num_threads(2)
    try:
        run_cells(tmp_path, Plan.load(finished).cells.values(), run=RUNNER, device=CPU, workers=0, quiet=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {1}
    assert len(seen) == len(Plan.load(finished).cells)


def test_a_run_leaves_the_random_state_of_its_process_alone(finished, copy):
    torch.manual_seed(3)
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()
    for path in (copy / "cells").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    run(copy, read_study(copy / "study.yaml"))
    assert torch.equal(torch.get_rng_state(), state)
    assert np.array_equal(np.random.get_state()[1], numbers)
    assert contents(copy / "cells") == contents(finished / "cells")


def test_a_warm_start_begins_at_the_unconditional_value(tmp_path):
    # With no learning to speak of, a layer's fit stays where it began: at the base, and so at its twin.
    changes = {"fit__warm_start": "early", "fit__base_updates": 5, "fit__learning_rate": 1e-12, "fit__refits": 1}
    folder = tmp_path / "run"
    assert not run(folder, tiny_study.tiny(tmp_path, measure=["usable"], **changes)).failed
    results = load_run(folder)
    twin = results.cell("density", "input", 1).array("log_probs")
    for layer in tiny_study.LAYERS:
        assert results.cell("density", layer, 1).array("log_probs") == pytest.approx(twin, abs=1e-5)
    base = results.cell("density", "input base", 1)
    assert base.values["curve"]["best_update"] <= 5
    assert base.array("log_probs") == pytest.approx(twin, abs=1e-5)


# ---- nothing twice ----


def test_a_second_run_computes_nothing(copy):
    before, tables = len(events(copy)), contents(copy)
    run(copy, read_study(copy / "study.yaml"))
    assert [event["event"] for event in events(copy)[before:]] == ["run"]
    tables.pop("events.jsonl")
    again = contents(copy)
    again.pop("events.jsonl")
    assert again == tables


@pytest.mark.parametrize("kind", ["data", "subject", "capture", "density-conv1-r2", "mse-logits", "samples-input"])
def test_a_deleted_cell_alone_is_computed_again_to_the_same_bytes(copy, finished, kind):
    cell = next(name for name in Plan.load(copy).cells if name.startswith(kind))
    shutil.rmtree(copy / "cells" / cell)
    before = len(events(copy))
    run(copy, read_study(copy / "study.yaml"))
    # The data are written while the study is checked.
    assert computed(copy, before) == ([] if kind == "data" else [cell])
    assert contents(copy / "cells") == contents(finished / "cells")


def test_events_tell_progress_times_and_memory(finished):
    found = events(finished)
    cells = set(Plan.load(finished).cells)
    started = {event["cell"] for event in found if event["event"] == "start"}
    assert started == {event["cell"] for event in found if event["event"] == "done"}
    assert started == {cell for cell in cells if kind_of(cell) != "data"}
    assert all(event["seconds"] >= 0 for event in found if event["event"] == "done")
    assert all(event["time"] > 1.7e9 for event in found)
    progress = [event for event in found if event["event"] == "progress" and kind_of(event["cell"]) == "density"]
    assert {event["total"] for event in progress} == {3}
    # The digits of a loss over 16 pixels of 3 levels.
    assert all(0 < event["nats"] < 40 for event in progress if event["done"] == event["total"])
    # A squared error is not in nats, so none are shown of it.
    errors = [event for event in found if event["event"] == "progress" and kind_of(event["cell"]) == "mse"]
    assert {event["nats"] for event in errors} == {None}
    (begin,) = [event for event in found if event["event"] == "begin"]
    assert begin is found[0]
    assert begin["device"] == "cpu"
    assert platform.machine() in begin["machine"]
    assert begin["versions"]["python"] == platform.python_version()
    assert begin["versions"]["torch"] == torch.__version__
    (whole,) = [event for event in found if event["event"] == "run"]
    assert whole["peak_mb"] > 10
    assert whole["seconds"] > 0


def test_the_report_tells_of_the_machine_that_computed_not_of_the_one_that_reports(copy):
    found = events(copy)
    found[0] |= {"machine": "Plan9 vax, 3 cores", "versions": {"torch": "0.0.7"}}
    (copy / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in found))
    page = build_page(copy).read_text(encoding="utf-8")
    assert "Plan9 vax, 3 cores" in page
    assert "0.0.7" in page
    assert torch.__version__ not in page


# ---- what the folder holds already ----


@pytest.mark.parametrize("changes", [{"seed": 5}, {"fit_on": "encoding"}, {"name": "another"}])
def test_the_folder_of_another_study_is_refused_and_left_alone(copy, refuses, changes):
    before = contents(copy)
    spec = read_study(copy / "study.yaml").model_copy(update=changes)
    with refuses("the output folder holds another study's run", str(copy), "choose another --out"):
        run(copy, spec)
    assert contents(copy) == before


def test_results_from_data_that_have_changed_are_not_taken_up(tmp_path, refuses):
    spec = tiny_study.tiny(tmp_path, measure=["nce"], layers=["logits"], fit__refits=1)
    run(tmp_path / "run", spec)
    images, labels = tiny_study.images_and_labels(seed=1)
    np.savez(tmp_path / "tiny.npz", images=images, labels=labels, levels=tiny_study.LEVELS)
    with refuses("the output folder holds another study's run"):
        run(tmp_path / "run", spec)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a\udcffb", "holds what is no text"),
        ("a\0b", "holds what is no text"),
        ("a\x1b[31mb", "holds what is no text"),
        ("a" * 300, "File name too long"),
        ("/".join(["a" * 200] * 30), "File name too long"),
        ("/".join(["a" * 200] * 19 + ["b" * 100]), "File name too long"),  # only what is in it would be
        ("file/below", "Not a directory"),
        ("file", "is a file, not a folder"),
        ("foreign", "is not empty and holds no run"),
    ],
)
def test_a_folder_that_cannot_be_is_refused_before_anything_runs(tmp_path, refuses, monkeypatch, name, says):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("x")
    Path("foreign").mkdir()
    Path("foreign/thesis.tex").write_text("x")
    spec = tiny_study.tiny(tmp_path, measure=["nce"], layers=["logits"], fit__refits=1)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr(data, "load", lambda *_, **__: pytest.fail("data were read"))
    monkeypatch.setattr("infoplane.profile.measuring.dataset_of", lambda *_: pytest.fail("images were looked at"))
    with refuses("output folder", says):
        execute(spec, Path(name), quiet=True)
    with refuses("output folder", says):
        measure(None, None, layers=["fc"], out=name)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_may_not_be_written_is_refused(tmp_path, refuses, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with refuses("cannot write the output folder", "Permission denied"):
        folder_module.check_place(tmp_path / "a" / "b")
    (tmp_path / "c").mkdir()
    folder_module.check_place(tmp_path / "c" / "d")
    assert not (tmp_path / "c" / "d").exists()


def test_a_folder_of_something_else_is_refused_and_left_alone(finished, tmp_path, refuses):
    spec = read_study(finished / "study.yaml")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for name, says in (("foreign", "is not empty and holds no run"), ("file", "is a file, not a folder")):
        with refuses(f"the output folder {says}", name):
            run(tmp_path / name, spec)
    with refuses("cannot write the output folder", "file", "choose a folder that can be written"):
        run(tmp_path / "file" / "below", spec)
    assert contents(tmp_path / "foreign") == {"thesis.tex": b"x"}
    (tmp_path / "empty").mkdir()
    folder_module.prepare(tmp_path / "empty", spec, make_plan(spec))
    assert (tmp_path / "empty" / "study.yaml").is_file()


@pytest.mark.parametrize("file", ["study.yaml", "cells/plan.json"])
@pytest.mark.parametrize("damage", [b"\xff\xfe\x00", b"{", b"[]"])
def test_a_damaged_run_is_refused_in_one_line(copy, refuses, file, damage):
    spec = read_study(copy / "study.yaml")
    whole = (copy / file).read_bytes()
    (copy / file).write_bytes(damage)
    with refuses():
        load_run(copy)
    if file == "study.yaml":  # the plan knows what it said: the same command writes it anew
        run(copy, spec)
        assert (copy / file).read_bytes() == whole
        load_run(copy)
    else:
        with refuses(str(copy)):
            run(copy, spec)


def test_a_gpu_that_is_not_there(finished, tmp_path, monkeypatch, refuses):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    spec = read_study(finished / "study.yaml")
    with refuses("no GPU", "use cpu"):
        execute(spec, tmp_path / "run", device="cuda")
    with refuses("unknown device", "'tpu'", "auto, cpu, cuda"):
        execute(spec, tmp_path / "run", device="tpu")
    assert not (tmp_path / "run").exists()
    assert pick_device("auto") == CPU
    assert 1 <= default_workers(CPU) <= 8
    assert default_workers(torch.device("cuda")) == 0


def test_a_damaged_result_is_named_and_not_used(copy):
    cell = next(name for name in Plan.load(copy).cells if name.startswith("density-logits-r1"))
    path = copy / "cells" / cell / "arrays.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(CellError, match="a stored result is damaged") as caught:
        Store(copy / "cells").load(cell).array("log_probs")
    assert str(path) in str(caught.value)
    assert load_run(copy).damaged() == [cell]
    assert [refit for refit, _ in load_run(copy).fits("logits")] == [2]
    # As it says: run again.
    run(copy, read_study(copy / "study.yaml"))
    assert load_run(copy).damaged() == []


# ---- failures ----


def test_a_network_that_diverges_fails_alone_with_what_needs_it(tmp_path):
    spec = tiny_study.tiny(tmp_path, subject__train__learning_rate=1e30, fit__refits=1)
    folder = tmp_path / "run"
    outcome = run(folder, spec)
    (cell,) = outcome.failed
    assert kind_of(cell) == "subject"
    assert "lower subject.train.learning_rate" in outcome.failed[cell]
    assert "1e+30" in outcome.failed[cell]
    plan = Plan.load(folder)
    needing = {name for name, each in plan.cells.items() if {*each.needs} & {"subject", "capture"}}
    assert set(outcome.skipped) == needing
    # p(x) needs no network.
    done = {name for name in plan.cells if (folder / "cells" / name).is_dir()}
    assert done == set(plan.cells) - needing - {cell}
    assert {kind_of(name) for name in done} == {"data", "density", "samples"}
    kept = (folder / "cells" / f"{cell}.failed.txt").read_text()
    assert kept.splitlines()[0] == outcome.failed[cell]
    assert "Traceback (most recent call last)" in kept
    assert FitError.__name__ in kept
    page = build_page(folder).read_text(encoding="utf-8")
    assert cell in page
    assert "diverged" in page
    assert pl.read_csv(folder / "results.csv")["layer"].unique().to_list() == ["input"]


def test_densities_that_diverge_leave_the_rest_whole(tmp_path):
    spec = tiny_study.tiny(tmp_path, fit__learning_rate=1e30, fit__warmup=0, fit__refits=1, fit__updates=6)
    folder = tmp_path / "run"
    outcome = run(folder, spec)
    plan = Plan.load(folder)
    assert {tiny_study.role(plan, "density", layer, 1) for layer in tiny_study.LAYERS} <= set(outcome.failed)
    assert {kind_of(cell) for cell in outcome.failed} == {"density"}
    assert all("lower fit.learning_rate" in message for message in outcome.failed.values())
    assert all("last good loss" in message for message in outcome.failed.values())
    assert {kind_of(cell) for cell in outcome.skipped} == {"samples", "judge"}
    rows = pl.read_csv(folder / "results.csv").filter(pl.col("layer").is_in(tiny_study.LAYERS))
    assert set(rows["kind"]) == {"label", "mse"}
    page = build_page(folder).read_text(encoding="utf-8")
    assert all(cell in page for cell in outcome.failed)


def test_the_next_run_tries_what_failed_and_what_was_skipped_and_nothing_else(finished, tmp_path, monkeypatch):
    whole = KINDS["density"].run

    def moody(self, task):
        if self.layer == "conv1" and self.seed == 1:
            raise ValueError("not\ntoday")
        return whole(self, task)

    monkeypatch.setattr(KINDS["density"], "run", moody)
    spec, folder = read_study(finished / "study.yaml"), tmp_path / "run"
    outcome = run(folder, spec)
    ((cell, message),) = outcome.failed.items()
    assert message == "ValueError: not today"
    assert cell.startswith("density-conv1-r1")
    (failed,) = events(folder, "failed")
    assert (failed["cell"], failed["message"]) == (cell, message)
    # The other refit of the same layer went on, and is reported as the single fit that it is.
    rows = pl.read_csv(folder / "results.csv").filter((pl.col("layer") == "conv1") & (pl.col("kind") == "nce"))
    assert rows["refits"].to_list() == [1]

    before = len(events(folder))
    monkeypatch.setattr(KINDS["density"], "run", whole)
    assert not run(folder, spec).failed
    assert set(computed(folder, before)) == {cell, *outcome.skipped}
    assert {kind_of(name) for name in outcome.skipped} == {"samples", "judge"}
    assert contents(folder / "cells") == contents(finished / "cells")
    assert (folder / "results.csv").read_bytes() == (finished / "results.csv").read_bytes()


def test_a_worker_that_is_killed_fails_its_cell_and_the_run_goes_on_to_its_end(tmp_path, monkeypatch):
    victims = []
    handle = run_module._Run._handle

    def kill_the_first_density(self, event):
        cell = event.get("cell", "")
        if event["event"] == "progress" and kind_of(cell) == "density" and not victims:
            victims.append(cell)
            os.kill(event["process"], signal.SIGKILL)
        handle(self, event)

    monkeypatch.setattr(run_module._Run, "_handle", kill_the_first_density)
    # So many updates that the first density is certainly not done when its first progress is reported.
    changes = {"fit__updates": 250, "fit__refits": 1, "reconstruction__learning_rate": 1e30}
    spec = tiny_study.tiny(tmp_path, layers=["logits"], measure=["nce", "mse", "label"], **changes)
    folder, outcomes = tmp_path / "run", []
    thread = threading.Thread(target=lambda: outcomes.append(run(folder, spec, workers=1)), daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive(), "the run hangs"
    (outcome,) = outcomes
    (killed,), (raised,) = victims, set(outcome.failed) - set(victims)
    message = outcome.failed[killed]
    assert "the worker process ended unexpectedly (exit code -9)" in message
    assert message in (folder / "cells" / f"{killed}.failed.txt").read_text()
    # Another worker took over, and one that raises is no reason to end.
    done = {kind_of(event["cell"]) for event in events(folder, "done")}
    assert done == {"subject", "capture", "density", "probe"}
    assert kind_of(raised) == "mse"
    assert "learning rate" in outcome.failed[raised]
    assert "Traceback" in (folder / "cells" / f"{raised}.failed.txt").read_text()
    gc.collect()  # files that a worker leaves open would be warned of, and warnings are errors


def test_a_worker_that_dies_of_its_own_says_what_it_wrote(tmp_path, finished):
    # Its plan is gone, so the worker ends before its first cell; every cell given to it fails, the run ends.
    cells = [cell for cell in Plan.load(finished).cells.values() if cell.kind in ("data",)]
    (tmp_path / "cells").mkdir()
    outcome = run_cells(tmp_path, cells, run=RUNNER, device=CPU, workers=1, quiet=True)
    assert list(outcome.failed) == [cells[0].name]
    message, said = Store(tmp_path / "cells").failure(cells[0].name)
    assert "ended unexpectedly (exit code 1)" in message
    assert "the run's plan is damaged" in said


def test_cells_that_nothing_can_start_are_an_error(tmp_path, finished):
    plan = Plan.load(finished)
    cells = [cell for cell in plan.cells.values() if cell.kind == "mse"]
    (tmp_path / "cells").mkdir()
    with pytest.raises(CellError, match="no part of the study can run"):
        run_cells(tmp_path, cells, run=RUNNER, device=CPU, workers=0, quiet=True)


def test_workers_are_busy_while_a_part_runs_here(tmp_path, finished, monkeypatch):
    """A part that must run in this process hears of the workers, who get one part after the other meanwhile."""
    run_cell, seen = run_module.run_cell, {}

    def slowly(cell, run, store, device, report, live):
        """Gets on for as long as the worker has something to do: at most a minute."""
        seen[cell.name], end = len(begun), time.monotonic() + 60
        while cell.kind == "density" and len(begun) < seen[cell.name] + 2 and time.monotonic() < end:
            report({"cell": cell.name, "event": "progress", "done": 0, "total": 2, "nats": None})
            time.sleep(0.01)
        return run_cell(cell, run, store, device, report, live)

    class Begun(Watcher):
        def event(self, event):
            if event["event"] == "start":
                begun.append(event["cell"])

    begun = []
    monkeypatch.setattr(run_module, "run_cell", slowly)
    shutil.copytree(finished, tmp_path / "run")
    for cell in (tmp_path / "run" / "cells").glob("[dms]*-*r*"):
        if cell.name.startswith(("density", "mse", "samples")):
            shutil.rmtree(cell)
    cells = Plan.load(finished).cells.values()
    one = next(cell for cell in cells if cell.kind == "density" and cell.params["layer"] == "conv1")
    outcome = run_cells(
        tmp_path / "run", cells, run=RUNNER, device=CPU, workers=1, local=one.__eq__, quiet=True, watchers=[Begun()]
    )
    assert not outcome.failed
    assert list(seen) == [one.name]
    assert begun.index(one.name) + 2 < len(begun)
    assert contents(tmp_path / "run" / "cells") == contents(finished / "cells")


# ---- what is shown ----


DENSITY, MSE = "density-conv1-r1-0123456789ab", "mse-conv1-0123456789ab"
#: three parts, of which the third is not begun
WEIGHTS = {DENSITY: 60.0, MSE: 20.0, "truth-0123456789ab": 20.0}


def clock(monkeypatch) -> list[float]:
    """Returns the seconds that the display's clock shows, to be set by hand."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_a_plain_line_says_what_runs_its_nats_and_the_time_left(capsys, monkeypatch):
    monkeypatch.setattr("infoplane.engine.progress.PLAIN_EVERY", 0.0)
    now = clock(monkeypatch)
    with Display(WEIGHTS) as display:
        display.start(DENSITY)
        display.progress(DENSITY, 2, 10, None)
        now[0] += 4
        display.progress(DENSITY, 4, 10, 12.345)
        display.start(MSE)
        now[0] += 1
        display.progress(MSE, 1, 4, None)
        now[0] += 2
        display.progress(DENSITY, 10, 10, 12.25)
        display.finish(DENSITY)
        display.finish(MSE, failed="it broke")
    printed = capsys.readouterr()
    shown = printed.err.splitlines()
    assert shown[:3] == [
        "3 parts to compute",
        # 12 of 100 done: but no time has passed from which to tell how long the rest takes.
        "[   0 s] 0/3 parts done, about 0 s left; density conv1 r1 2/10",
        # 24 of 100 in 4 seconds; and 6 more of this cell's updates at 2 seconds each.
        "[   4 s] 0/3 parts done, about 13 s left; density conv1 r1 4/10, 12.35 nats, 12 s left",
    ]
    # A squared error is no nats.
    assert shown[3].endswith("; density conv1 r1 4/10, 12.35 nats, 15 s left; mse conv1 1/4")
    assert shown[4].startswith(
        "[   7 s] 0/3 parts done, about 4 s left; density conv1 r1 10/10, 12.25 nats, scoring; mse"
    )
    assert shown[5].startswith("[   7 s] 1/3 parts done, about 4 s left; mse conv1 1/4")
    assert shown[6:] == [
        "failed: mse conv1: it broke",
        "[   7 s] 2/3 parts done, about 2 s left; ",
    ]
    assert printed.out == ""


def test_quiet_shows_nothing(capsys, monkeypatch):
    monkeypatch.setattr("infoplane.engine.progress.PLAIN_EVERY", 0.0)
    with Display({"mse-a": 1.0, "b": 2.0}, quiet=True) as display:
        display.start("mse-a")
        display.tick()
        display.progress("mse-a", 1, 2, None)
        display.finish("mse-a", failed="it broke")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_bars_for_all_that_runs(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Display(WEIGHTS) as display:
        display.start(DENSITY)
        display.progress(DENSITY, 5, 10, 12.345)
        assert display.bars is not None
        assert [task.description for task in display.bars.tasks] == ["all parts", "density conv1 r1"]
        assert display.bars.tasks[1].fields["state"] == "5/10, 12.35 nats"
        whole, part = display.bars.tasks
        assert (whole.completed, whole.total, part.completed, part.total) == (30.0, 100.0, 5, 10)
        assert whole.fields["state"].startswith("0/3, about ")
        display.finish(DENSITY, failed="[it] broke")
        assert [task.completed for task in display.bars.tasks] == [60.0]
        assert display.bars.tasks[0].fields["state"].startswith("1/3, about ")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().err)
    assert "failed: density conv1 r1: [it] broke" in plain
