"""`infoplane run` and `infoplane report`, end to end."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import yaml

import tiny_study
from tiny_study import RUN_FILES, contents, events

#: the demo's study, cut to what a test can wait for
SMALL = {
    "data.encoding": 60,
    "data.decoding": 60,
    "data.evaluation": 40,
    "subject.train.updates": 3,
    "density.kind": "pixelcnn",
    "density.filters": 4,
    "fit.updates": 3,
    "fit.evaluations": 1,
    "reconstruction.updates": 3,
    "reconstruction.evaluations": 1,
    "contrastive.candidates": 4,
    "contrastive.batches": 2,
    "samples.images": 1,
    "samples.each": 1,
}
DEMO = [word for key, value in SMALL.items() for word in ("--set", f"{key}={value}")]


def test_the_demo_study_end_to_end(home, call):
    said = call("run", "digits", "--workers", "0", "--refits", "2", *DEMO)
    assert said.code == 0
    folder = home / "runs" / "digits"
    names = {path.name for path in folder.iterdir()}
    assert names == RUN_FILES | {"differences.csv", "differences.parquet"}
    lines = said.out.splitlines()
    names = [line.split()[0] for line in lines if line.startswith(("conv", "fc3", "logits"))]
    assert names[:4] == ["conv1", "conv2", "fc3", "logits"]
    # Barely trained, it is none.
    assert "a classifier of these labels" in " ".join(said.out.split())
    assert lines[-1] == f"report: {Path('runs') / 'digits' / 'report.html'}"

    study = yaml.safe_load((folder / "study.yaml").read_text(encoding="utf-8"))
    assert (study["fit"]["updates"], study["fit"]["refits"], study["data"]["evaluation"]) == (3, 2, 40)
    frame = pl.read_csv(folder / "results.csv")
    pooled = frame.filter((pl.col("refit") == "all") & (pl.col("layer") == "fc3"))
    # A single sample of each image: no variance among them.
    kinds = {"cross-entropy", "nce", "usable", "contrastive", "label", "mse", "sample-accuracy", "generalisation-gap"}
    assert set(pooled["kind"]) == kinds
    assert set(frame["layer"].drop_nulls()) == {"", "input", "conv1", "conv2", "fc3", "logits"}
    assert set(frame.filter(pl.col("kind") == "usable")["direction"]) == {"none"}
    assert set(frame.filter(pl.col("kind").is_in(["nce", "contrastive", "label"]))["direction"]) == {"lower"}
    assert not {column for column in frame.columns if "time" in column or "second" in column}
    assert all(cell.is_dir() or cell.name in ("plan.json", ".lock") for cell in (folder / "cells").iterdir())

    # `report` makes everything anew from the cells, to the same bytes.
    before = contents(folder)
    for name in ("results.csv", "results.parquet", "report.html"):
        (folder / name).unlink()
    shutil.rmtree(folder / "figures")
    again = call("report", folder)
    assert again.code == 0
    assert again.out.splitlines()[:-1] == said.out.splitlines()[:-1]
    assert again.err == ""
    after = contents(folder)
    assert after.keys() == before.keys()
    for name in ("results.csv", "results.parquet"):
        assert after[name] == before[name]

    # The same command again computes nothing.
    count = len(events(folder))
    assert call("run", "digits", "--workers", "0", "--refits", "2", "--quiet", *DEMO).code == 0
    assert [event["event"] for event in events(folder)[count:]] == ["run"]
    # With another seed it is another study.
    said = call("run", "digits", "--workers", "0", "--refits", "2", "--seed", "1", *DEMO)
    assert (said.code, said.out) == (2, "")
    assert "holds another study's run" in said.err


def test_options_change_the_study(home, call):
    words = ["--workers", "0", "--quiet", "--set", "measure=[nce]", "--set", "layers=[logits]"]
    said = call("run", "tiny.yaml", "--out", "a/b", "--seed", "7", "--refits", "1", *words)
    assert (said.code, said.err) == (0, "")
    study = yaml.safe_load((home / "a" / "b" / "study.yaml").read_text(encoding="utf-8"))
    assert (study["seed"], study["fit"]["refits"], study["layers"]) == (7, 1, ["logits"])
    assert "the error is given this one fit" in said.out


def test_a_run_with_failures_ends_with_exit_code_1_and_goes_on_later(home, call):
    words = ["run", "tiny.yaml", "--out", "out", "--workers", "0", "--refits", "1", "--set", "measure=[nce,mse]"]
    words += ["--set", "reconstruction.learning_rate=1e30"]
    said = call(*words)
    assert said.code == 1
    assert "2 of 8 parts failed; the report shows why" in said.out
    assert "report: out/report.html" in said.out
    assert len([line for line in said.err.splitlines() if line.startswith("failed: mse ")]) == 2
    assert "Traceback" not in said.err
    page = (home / "out" / "report.html").read_text(encoding="utf-8")
    for path in (home / "out" / "cells").glob("mse-*.failed.txt"):
        message, _, traceback = path.read_text().partition("\n")
        assert "Traceback" in traceback
        assert message[:40] in page
    assert call("report", "out").code == 1
    assert "nce" in (home / "out" / "results.csv").read_text()
    assert "unfinished" not in said.out


def test_a_damaged_cell_is_left_out_of_the_report_and_computed_anew(home, call):
    words = ["--workers", "0", "-q", "--refits", "1", "--set", "measure=[nce]", "--set", "layers=[logits]"]
    assert call("run", "tiny.yaml", "--out", "out", *words).code == 0
    before = contents(home / "out" / "cells")
    (path,) = (home / "out" / "cells").glob("density-logits-*/arrays.safetensors")
    content = bytearray(path.read_bytes())
    content[-3] ^= 4
    path.write_bytes(content)
    said = call("report", "out")
    assert (said.code, said.err) == (1, "")
    assert "1 of 5 parts are damaged; run the same command again" in said.out
    assert call("run", "tiny.yaml", "--out", "out", *words).code == 0
    assert contents(home / "out" / "cells") == before
    # A damaged plan stops it: it is the caller's to mend. Damaged settings stand in the plan too.
    for name in ("cells/plan.json", "study.yaml"):
        kept = (home / "out" / name).read_bytes()
        (home / "out" / name).write_bytes(b"{ damaged: [")
        said = call("report", "out")
        assert (said.code, len(said.err.splitlines())) == (2, 1)
        said = call("run", "tiny.yaml", "--out", "out", *words)
        assert (said.code, len(said.err.splitlines())) == ((2, 1) if name == "cells/plan.json" else (0, 0))
        (home / "out" / name).write_bytes(kept)


def test_an_unfinished_run_can_be_reported(home, call):
    words = ["--workers", "0", "-q", "--refits", "1", "--set", "measure=[nce,mse]", "--set", "layers=[logits]"]
    finished = call("run", "tiny.yaml", "--out", "out", *words)
    assert finished.code == 0
    assert "unfinished" not in finished.out
    for path in (home / "out" / "cells").iterdir():
        if path.is_dir() and not path.name.startswith(("data", "subject", "density-input")):
            shutil.rmtree(path)
    said = call("report", "out")
    assert said.code == 0
    left = "unfinished: 3 of 6 parts are missing; the same command goes on"
    assert left in said.out.splitlines()
    assert pl.read_csv(home / "out" / "results.csv")["layer"].unique().to_list() == ["input"]
    shutil.rmtree(next((home / "out" / "cells").glob("data-*")))
    assert call("report", "out").code == 0


def test_help(call):
    for words in ([], ["--help"], ["run", "--help"], ["measure", "--help"], ["layers", "--help"], ["report", "--help"]):
        said = call(*words)
        assert (said.code, said.err) == (0, "")
        assert "Usage:" in said.out


def test_an_interrupt_is_one_line(home, call, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("infoplane.cli.run.execute", interrupted)
    said = call("run", "tiny.yaml", "--out", "out")
    assert said.code == 130
    assert said.err == "infoplane: interrupted; what was stored is kept, run the same command again\n"


def test_the_installed_command_with_workers_from_another_folder(home):
    # The way a user calls it: a process of its own, worker processes, no terminal.
    words = ["run", "tiny.yaml", "--out", "out", "--refits", "1", "--set", "measure=[nce]", "--set", "layers=[logits]"]
    done = subprocess.run(
        [sys.executable, "-m", "infoplane", *words, "--workers", "1"],
        capture_output=True,
        text=True,
        cwd=home,
        env={**os.environ, "PYTHONWARNINGS": "error"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "report: out/report.html"
    assert "\x1b" not in done.stdout + done.stderr
    assert {event["event"] for event in events(home / "out")} >= {"start", "progress", "done", "run"}
    assert tiny_study.events(home / "out", "failed") == []
