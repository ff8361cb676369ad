"""From a run's folder to its page: every image, layer and checkpoint of the run, and what is not there."""

import csv
import dataclasses
import errno
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from read_report import Seen
from safetensors.numpy import load_file
from torch import nn

import tiny_study
from infoplane.errors import CellError
from infoplane.measurements.task import Live
from infoplane.profile import Profile
from infoplane.report.build import PAGES, build_page, load_run
from infoplane.report.inversion.gather import contents_of
from infoplane.study.execute import execute

CHECKPOINTS = ("0", "2", "end")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny study at three checkpoints; only to be read."""
    folder = tmp_path_factory.mktemp("checkpoints")
    spec = tiny_study.tiny(folder, subject__train__checkpoints=[0, 2, "end"])
    assert not execute(spec, folder / "run", workers=0, quiet=True).failed
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "copy"))


def test_everything_drawn_is_gathered(finished: Path) -> None:
    results = load_run(finished)
    contents = contents_of(results)
    assert tuple(contents.checkpoints) == CHECKPOINTS
    assert contents.inputs is not None
    assert len(contents.inputs) == 2
    assert [layer.name for layer in contents.layers] == ["conv1", "logits"]
    for layer in contents.layers:
        assert tuple(layer.pictures) == CHECKPOINTS
        for checkpoint, pictures in layer.pictures.items():
            for kind, key, shown in (
                ("samples", "samples", pictures.samples),
                ("mse", "reconstructions", pictures.reconstructions),
            ):
                name = results.plan.roles[kind, layer.name, 0, checkpoint]
                stored = load_file(finished / "cells" / name / "arrays.safetensors")[key]
                np.testing.assert_array_equal(shown, stored)
    drawn = {(curve.layer, curve.checkpoint, curve.refit) for curve in contents.curves}
    expected = {(layer, at, refit) for layer in ("conv1", "logits") for at in CHECKPOINTS for refit in (1, 2)}
    assert drawn == expected | {("input", "", 1), ("input", "", 2)}
    assert contents.missing == []
    assert not contents.going
    assert contents.parts == len(results.plan.cells)


def test_a_finished_run_has_its_page_and_tables(run: Path) -> None:
    seen = Seen(build_page(run).read_text(encoding="utf-8"))
    assert seen.open == []
    assert "missing" not in seen.text
    for checkpoint in CHECKPOINTS:
        assert f"samples for image 2 from logits at checkpoint {checkpoint}" in " ".join(seen.attributes("alt"))
    links = [link for link in seen.attributes("href") if not link.startswith(("#", "data:"))]
    assert {"results.csv", "results.parquet", "differences.csv", "differences.parquet"} < set(links)
    assert all((run / link).is_file() for link in links)
    with (run / "differences.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["checkpoint"], row["first"], row["second"]) for row in rows] == [
        (kind, at, "conv1", "logits") for kind in ("nce", "label") for at in CHECKPOINTS
    ]
    frame = pl.read_parquet(run / "differences.parquet")
    expected = {row["checkpoint"]: row["value"] for row in load_run(run).differences()}
    assert dict(zip(frame["checkpoint"], frame["value"])) == expected
    assert not (run / "truths.csv").exists()


def test_a_run_cut_off_says_what_is_missing(run: Path, unpainted: None) -> None:
    results = load_run(run)
    gone = [
        results.plan.roles["samples", "conv1", 0, "2"],
        results.plan.roles["density", "logits", 1, "0"],
    ]
    for name in gone:
        shutil.rmtree(run / "cells" / name)
    log = run / "events.jsonl"
    log.write_text("".join(f"{line}\n" for line in log.read_text().splitlines() if '"event": "run"' not in line))
    contents = contents_of(load_run(run))
    assert contents.going
    assert contents.missing == [
        ("density of logits at checkpoint 0, refit 1", "not computed yet"),
        ("samples of conv1 at checkpoint 2", "not computed yet"),
    ]
    conv1 = contents.layers[0].pictures["2"]
    assert conv1.samples is None
    assert conv1.reconstructions is not None
    seen = Seen(build_page(run).read_text(encoding="utf-8"))
    assert "it was still going, or was cut off" in seen.text
    assert f"2 of its {len(results.plan.cells)} parts are missing" in seen.text
    assert "density of logits at checkpoint 0, refit 1" in seen.text
    assert "samples for image 1 from conv1 at checkpoint 2" not in " ".join(seen.attributes("alt"))
    assert "samples for image 1 from conv1 at checkpoint 0" in " ".join(seen.attributes("alt"))


def test_a_failed_part_shows_its_traceback_and_who_waits_for_it(run: Path, unpainted: None) -> None:
    results = load_run(run)
    capture = results.plan.roles["capture", "", 0, "end"]
    waiting = {name for name, cell in results.plan.cells.items() if capture in cell.needs.values()}
    grown = True
    while grown:  # and all that need those
        more = {name for name, cell in results.plan.cells.items() if not waiting.isdisjoint(cell.needs.values())}
        grown = not more <= waiting
        waiting |= more
    for name in (capture, *waiting):
        shutil.rmtree(run / "cells" / name)
    results.store.save_failure(capture, "CellError: <b>broken</b>", 'Traceback:\n  File "<here>"\n')
    contents = contents_of(load_run(run))
    assert contents.failures == [(capture, "CellError: <b>broken</b>", 'Traceback:\n  File "<here>"\n')]
    assert len(contents.missing) == len(waiting) > 5
    assert {why for _, why in contents.missing} == {"needs a part that failed"}
    seen = Seen(build_page(run).read_text(encoding="utf-8"))
    assert "b" not in seen.tags()
    assert "CellError: <b>broken</b>" in seen.text
    assert 'File "<here>"' in seen.text
    # The last checkpoint with numbers is spoken of.
    assert re.search(r"at checkpoint 2 on \d+ evaluation images", seen.text)
    assert tuple(contents.layers[0].pictures) == ("0", "2")


def test_a_run_of_which_nothing_is_there_has_a_page(run: Path, unpainted: None) -> None:
    plan = load_run(run).plan
    for name in plan.cells:
        shutil.rmtree(run / "cells" / name)
    seen = Seen(build_page(run).read_text(encoding="utf-8"))
    assert "There are no numbers yet." in seen.text
    assert f"{len(plan.cells)} of its {len(plan.cells)} parts are missing" in seen.text


@pytest.mark.parametrize("kind", ["data", "subject", "capture", "density", "mse", "probe", "samples", "judge"])
def test_a_damaged_part_is_left_out_and_named(run: Path, unpainted: None, kind: str) -> None:
    whole = contents_of(load_run(run))
    plan = load_run(run).plan
    name = next(name for role, name in plan.roles.items() if role[0] == kind)
    file = max((run / "cells" / name).iterdir(), key=lambda path: path.name == "result.json")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    results = load_run(run)
    assert results.damaged() == [name]
    assert len(contents_of(results).numbers.all) < len(whole.numbers.all) or kind in ("data", "subject", "samples")
    text = Seen(build_page(run).read_text(encoding="utf-8")).text
    assert "damaged: 1 part" in text
    assert "Running the same command again computes what is missing, what is damaged anew" in text
    assert ("What was stored of the images is damaged" in text) == (kind == "data")


def test_damaged_events_are_passed_over(run: Path, unpainted: None) -> None:
    whole = contents_of(load_run(run))
    log = run / "events.jsonl"
    lines = log.read_bytes().splitlines()
    torn = [b"\xff\xfe", b"[1]", b"7", b"{}", b'{"event": "done", "cell": "mse-x"}', b'{"event": ["run"]}']
    torn += [b'{"event": "run", "seconds": 9e999, "peak_mb": 1}', b'{"event": "begin", "versions": 1, "machine": ""}']
    torn += [lines[0].replace(b"event", b"ev\xffnt"), lines[0][:20]]
    log.write_bytes(b"\n".join([*lines, *torn]))
    contents = contents_of(load_run(run))
    assert (contents.times, contents.total_seconds) == (whole.times, whole.total_seconds)
    assert (contents.versions, contents.machine, contents.going) == (whole.versions, whole.machine, False)
    assert build_page(run).is_file()


BEGIN = {"event": "begin", "machine": "", "versions": {}}
RUN = {"event": "run", "peak_mb": 1}


@pytest.mark.parametrize(
    ("log", "seconds"),
    [
        # 20 seconds, 7 until it was killed, 30, and 5 so far.
        (
            [
                *((0, BEGIN), (20, {**RUN, "seconds": 20})),
                *((0, BEGIN), (1, {"event": "start", "cell": "a"}), (7, {"event": "progress", "cell": "a"})),
                *((0, BEGIN), (9, {"event": "done", "cell": "a", "seconds": 8}), (30, {**RUN, "seconds": 30})),
                *((0, BEGIN), (5, {"event": "start", "cell": "b"}), (6, {"event": "start", "cell": 7, "time": "x"})),
            ],
            62,
        ),
        # A call that found nothing to do has no beginning.
        ([(0, BEGIN), (20, {**RUN, "seconds": 20}), (0, {**RUN, "seconds": 1})], 21),
    ],
)
@pytest.mark.parametrize("kept", ["elapsed", "time"])
def test_every_call_counts_whether_it_came_to_its_end_or_not(run: Path, log, seconds, kept) -> None:
    # By the time of day, as earlier versions had it, whatever that was; else it may jump.
    start, lines = 1e9, []
    for at, event in log:
        start += 5e4 * (event["event"] == "begin")
        times = {"time": start + at} if kept == "time" else {"time": start * (-1) ** at, "elapsed": at}
        lines.append(json.dumps({**times, **event}))
    (run / "events.jsonl").write_text("\n".join(lines))
    assert contents_of(load_run(run)).total_seconds == seconds


def flip(path: Path) -> None:
    """Changes a bit of a file, and nothing of its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run: flip(next(run.glob("cells/density-*/arrays.safetensors"))),
        lambda run: shutil.rmtree(next(run.glob("cells/mse-*"))),
        lambda run: (run / "cells" / "mse-x-1.failed.txt").write_text("no luck\n"),
        lambda run: (run / "events.jsonl").write_text((run / "events.jsonl").read_text() + "{}\n"),
        lambda run: flip(run / "results.csv"),
        lambda run: (run / "changes.parquet").unlink(),
        lambda run: flip(next(run.glob("figures/*.png"))),
        lambda run: (run / "report.html").unlink(),
        lambda run: (run / "figures.json").unlink(),
    ],
)
def test_of_an_unchanged_run_nothing_is_read_again(run: Path, unpainted: None, monkeypatch, spoil) -> None:
    page, gathered = build_page(run), []
    pages = PAGES["inversion"]

    def gather(results):
        gathered.append(run)
        return pages.gather(results)

    monkeypatch.setitem(PAGES, "inversion", dataclasses.replace(pages, gather=gather))
    written = {path: path.read_bytes() for path in (page, run / "results.csv", run / "figures.json")}
    assert build_page(run) == page
    assert gathered == []
    assert {path: path.read_bytes() for path in written} == written
    spoil(run)
    build_page(run)
    assert gathered == [run]
    assert (run / "changes.parquet").is_file()
    build_page(run)
    assert gathered == [run]


def test_what_a_killed_report_left_is_swept_away(run: Path, unpainted: None) -> None:
    before = {path.name for path in run.iterdir()}
    (run / "figures").mkdir()
    for left in (run / ".tmp-report.html-1a2b", run / "figures" / ".tmp-a.svg-1a2b"):
        left.write_text("half")
    build_page(run)
    assert not list(run.rglob(".tmp-*"))
    assert {path.name for path in run.iterdir()} > before


@pytest.mark.parametrize("name", ["figures", "report.html", "results.csv"])
def test_something_in_the_way_is_one_line(run: Path, unpainted: None, refuses, name: str) -> None:
    (run / name).write_text("") if name == "figures" else (run / name).mkdir()
    with refuses("cannot write the output folder", str(run / name)):
        build_page(run)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_for_page_tables_and_copies(
    run: Path, unpainted: None, refuses, monkeypatch, number: int
) -> None:
    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    profile = Profile(run, Live(nn.Identity(), lambda images: images), torch.device("cpu"))
    calls = {
        "replace": lambda: build_page(run),
        "copyfile": lambda: profile.report(run.parent / "elsewhere"),
    }
    for name, call in calls.items():
        with monkeypatch.context() as patch:
            patch.setattr(os if name == "replace" else shutil, name, full)
            if name == "copyfile":
                patch.setattr("infoplane.profile.profile.prepare", lambda *_: None)
            with refuses("no space left on the disk", error=CellError):
                call()
    assert not list(run.rglob(".tmp-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_small_disk(finished: Path, tmp_path: Path, refuses) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(4096 * (1 + path.stat().st_size // 4096) for path in finished.rglob("*")) + 40_000
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        folder = Path(shutil.copytree(finished, disk / "run"))
        with refuses("no space left on the disk", str(folder), "what is stored is kept", error=CellError):
            build_page(folder)
        assert load_run(folder).damaged() == []
        subprocess.run(["mount", "-o", "remount,size=50m", disk], check=True)
        assert build_page(folder).is_file()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # maps of files may outlive their use
