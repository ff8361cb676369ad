"""What it takes to measure something more, from stored cells or with one of its own: one file and one line.

The files are in tests/plugin, the lines in its pyproject.toml.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import tiny_study
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.information import crossed_mean
from plugin_site import SITE


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("norm")
    path = tiny_study.write_study(folder)
    asked = ["--set", "measure=[nce, norm, rank]", "--set", "subject.train.checkpoints=[0, end]"]
    command = [sys.executable, "-m", "infoplane", "run", str(path), "--out", str(folder / "run"), "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), *sys.path])}
    done = subprocess.run([*command, *asked], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


def test_it_is_in_the_tables_of_the_run(run):
    folder, _ = run
    plan, store = Plan.load(folder), Store(folder / "cells")
    rows = pl.read_csv(folder / "results.csv").filter(pl.col("kind") == "norm")
    assert set(zip(rows["layer"], rows["checkpoint"], strict=True)) == {
        (layer, at) for layer in tiny_study.LAYERS for at in ("0", "end")
    }
    norms = {}
    for row in rows.iter_rows(named=True):
        capture = store.load(plan.name("capture", "", 0, row["checkpoint"]))
        h = capture.array(f"evaluation:{row['layer']}")
        norms[row["layer"], row["checkpoint"]] = own = np.sqrt((h.reshape(len(h), -1).astype(float) ** 2).sum(1))
        assert row["value"] == pytest.approx(own.mean(), rel=1e-6)
        assert (row["unit"], row["direction"], row["refits"]) == ("activation", "none", 1)
    text = {"first": pl.String, "last": pl.String}
    changes = pl.read_csv(folder / "changes.csv", schema_overrides=text).filter(pl.col("kind") == "norm")
    for row in changes.iter_rows(named=True):
        apart = norms[row["layer"], row["last"]] - norms[row["layer"], row["first"]]
        assert row["value"] == pytest.approx(apart.mean(), rel=1e-5, abs=1e-6)
        assert row["stderr"] == pytest.approx(crossed_mean(apart).stderr, rel=1e-4)
        assert row["verdict"] == "fewer than 3 fits: no claim"


def test_it_is_in_the_table_under_the_run_and_on_the_page(run):
    folder, printed = run
    head, _, rows = printed.partition("\n--")
    assert re.search(r"Mean\s+norm", head)
    assert rows.count("no layer") == 1
    values = pl.read_csv(folder / "results.csv").filter(kind="norm", layer="conv1", refit="all")["value"]
    assert all(f"{value:.3g}"[:4] in rows for value in values)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Mean norm" in page
    assert "no information, and no bound" in page
    assert (folder / "figures" / "through-norm.svg").is_file()
    assert (folder / "figures" / "norm.svg").is_file()


def test_one_with_a_cell_of_its_own(run):
    folder, printed = run
    plan, store = Plan.load(folder), Store(folder / "cells")
    rows = pl.read_csv(folder / "results.csv").filter(pl.col("kind") == "rank")
    assert len(rows) == 4
    for row in rows.iter_rows(named=True):
        h = store.load(plan.name("capture", "", 0, row["checkpoint"])).array(f"evaluation:{row['layer']}")
        own = np.cov(h.reshape(len(h), -1).astype(float).T)
        # tr(C)² / tr(C²), without eigenvalues
        assert row["value"] == pytest.approx(np.trace(own) ** 2 / np.trace(own @ own), rel=1e-6)
    assert re.search("Participat", printed.partition("\n--")[0])
    assert "Participation ratio" in (folder / "report.html").read_text(encoding="utf-8")
    assert (folder / "figures" / "rank.svg").is_file()
