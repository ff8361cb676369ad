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

import tiny_noisy
import tiny_study
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.information import crossed_mean
from plugin_site import SITE


def made(folder: Path, text: str, *changes: str) -> tuple[Path, str]:
    """The folder of a finished run of a study, in a process that finds the plug-in, and what was printed."""
    path = tiny_study.write_study(folder, text)
    command = [sys.executable, "-m", "infoplane", "run", str(path), "--out", str(folder / "run"), "--workers", "1"]
    command += [word for change in changes for word in ("--set", change)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "run", done.stdout


def seen(page: str) -> str:
    """The words of a page."""
    return " ".join(re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", page, flags=re.S).split())


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> tuple[Path, str]:
    asked = ("measure=[nce, norm, rank]", "subject.train.checkpoints=[0, end]")
    return made(tmp_path_factory.mktemp("norm"), tiny_study.STUDY, *asked)


@pytest.fixture(scope="module", params=["SPIRAL", "CHAIN"])
def noisy(request, tmp_path_factory) -> tuple[Path, str]:
    text = getattr(tiny_noisy, request.param).replace("{", "{{").replace("}", "}}")
    return made(tmp_path_factory.mktemp("reach"), text)


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
        assert (row["unit"], row["direction"], row["refits"]) == ("activation", "none", 0)
    text = {"first": pl.String, "last": pl.String}
    changes = pl.read_csv(folder / "changes.csv", schema_overrides=text).filter(pl.col("kind") == "norm")
    for row in changes.iter_rows(named=True):
        apart = norms[row["layer"], row["last"]] - norms[row["layer"], row["first"]]
        assert row["value"] == pytest.approx(apart.mean(), rel=1e-5, abs=1e-6)
        assert row["stderr"] == pytest.approx(crossed_mean(apart).stderr, rel=1e-4)
        # Nothing is fitted: the test is over images alone, and about the network that there is.
        assert row["refits"] == 0
        assert row["p"] == pytest.approx(crossed_mean(apart).p_value, rel=1e-3)
        said = {-1: "falls", 0: "not told apart", 1: "rises"}[int(np.sign(row["value"]) * (row["p_corrected"] < 0.05))]
        assert row["verdict"] == f"{said}, of this one network"


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


def test_where_nothing_is_fitted_no_fit_is_spoken_of(tmp_path):
    folder, _ = made(tmp_path, tiny_study.STUDY, "measure=[norm]", "subject.train.checkpoints=[0, end]")
    page = seen((folder / "report.html").read_text(encoding="utf-8"))
    words = (
        r"trained on 40 images of 4×4 pixels with 3 levels \(tiny\)[^.]*\. The numbers come from 40 others, on which"
    )
    assert re.search(words, page)
    assert "fewer than 3 fits" not in page
    told = page[: page.index("How this was made")]
    assert not re.search(r"single fit\b(?!”)|densities? (q|trained|were|could)|for no fit", told)


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


def test_one_of_noisy_networks(noisy):
    folder, printed = noisy
    plan, store = Plan.load(folder), Store(folder / "cells")
    text = {"checkpoint": pl.String, "network": pl.String}
    rows = pl.read_csv(folder / "results.csv", schema_overrides=text).filter(pl.col("kind") == "reach")
    networks = {network or "" for network in rows["network"]}
    assert len(rows) == len(networks) * 2 * rows["checkpoint"].n_unique()
    for row in rows.iter_rows(named=True):
        own = store.load(plan.name("norms", row["network"] or "", 0, row["checkpoint"])).array(row["layer"])
        assert row["value"] == pytest.approx(own.mean(), rel=1e-6)
        assert row["stderr"] == pytest.approx(own.std(ddof=1) / np.sqrt(len(own)), rel=1e-6)
        assert (row["unit"], row["direction"], row["n"], row["refits"]) == ("activation", "none", len(own), 0)
    head, _, table = printed.partition("\n--")
    assert re.search(r"Reach at\s+the end|Reach\b", head)
    last = rows.filter(pl.col("checkpoint") == rows["checkpoint"].cast(pl.Int64).max().__str__())
    assert all(f"{value:.3g}"[:4] in table for value in last["value"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Reach at the end" in seen(page)
    assert "no information, and no bound" in page
    for chart in ("through-reach", "reach"):
        names = [f"{chart}-{at}-{name}" for at, name in enumerate(sorted(networks, reverse=True), 1)]
        for name in names if len(networks) > 1 else [chart]:
            assert (folder / "figures" / f"{name}.svg").is_file()
