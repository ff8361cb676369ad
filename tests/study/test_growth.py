"""A run grows: what is asked may change in its folder, and only what is new is computed."""

import polars as pl
import pytest

import tiny_study
from infoplane.report.build import build, load_run
from infoplane.report.text import table
from infoplane.study.cell import identity
from infoplane.study.execute import execute
from infoplane.study.load import load_study
from infoplane.study.plan import Plan
from infoplane.study.run import check_folder


def inodes(folder):
    return {path.parent.name: path.stat().st_ino for path in (folder / "cells").glob("*/checksums.json")}


@pytest.mark.parametrize(
    ("changes", "kinds"),
    [
        ({"title": "Another"}, set()),
        ({"fit__refits": 2}, {"density"}),
        ({"layers": ["conv1", "logits"]}, {"capture", "density", "mse", "probe", "samples", "judge"}),
        (
            {"subject__train__checkpoints": [1, "end"]},
            {"subject", "capture", "density", "mse", "probe", "samples", "judge"},
        ),
    ],
)
def test_a_run_that_grows_computes_what_is_new(tmp_path, changes, kinds):
    base = {"layers": ["logits"], "fit__refits": 1}
    folder = tmp_path / "run"
    execute(tiny_study.tiny(tmp_path, **base), folder, workers=0, quiet=True)
    before, old = inodes(folder), Plan.load(folder)
    spec = tiny_study.tiny(tmp_path, **{**base, **changes})
    assert not execute(spec, folder, workers=0, quiet=True).failed
    after, plan = inodes(folder), Plan.load(folder)
    assert {name: after[name] for name in before} == before  # nothing stored was touched
    assert {name.partition("-")[0] for name in after.keys() - before.keys()} == kinds
    # What was measured before is not measured again: only what keeps more of the same has another name.
    for role, name in old.roles.items():
        assert identity(plan.roles[role]) == identity(name), role
        if role[0] not in ("subject", "capture"):
            assert plan.roles[role] == name
    assert load_run(folder).spec == spec
    assert build(folder).is_file()


def test_a_run_that_grew_says_from_how_many_tests_to_how_many(tmp_path):
    base = {"measure": ["nce"], "fit__refits": 3, "fit__updates": 2}
    folder = tmp_path / "run"

    def run(layers):
        assert not execute(tiny_study.tiny(tmp_path, **base, layers=layers), folder, workers=0, quiet=True).failed
        page = build(folder).read_text(encoding="utf-8")
        return page, " ".join(table(load_run(folder)).split()), pl.read_csv(folder / "differences.csv")

    page, text, frame = run(["conv1", "logits"])
    assert frame["tests"].to_list() == [1]
    assert "tests_before" not in frame.columns
    for said in (page, text):
        assert "corrected for the one test of this run" in said
        assert "grew from" not in said
    words = "This run grew from 1 to 3 of them: corrected p-values and verdicts of its earlier page no longer hold."
    # Also where the page is written once more: what held before it grew was shown.
    for _ in range(2):
        page, text, frame = run(["conv1", "fc3", "logits"])
        assert words in page
        assert words in text
        assert frame["tests"].to_list() == [3, 3, 3]
        assert frame["tests_before"].to_list() == [1, 1, 1]
        assert frame["p_corrected"].min() >= frame["p"].min()
    # A table that cannot be read is written anew, and tells nothing.
    (folder / "differences.parquet").write_bytes(b"")
    assert load_run(folder).tests_before is None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"seed": 1}, "seed is 0 there, 1 here"),
        ({"fit__updates": 4}, "fit.updates is 3 there, 4 here"),
        ({"density__filters": 5}, "density.filters"),
        ({"data__evaluation": 30}, "data.evaluation"),
        ({"subject__hidden": 6}, "subject.hidden"),
    ],
)
def test_another_studys_run_is_refused_and_says_what_differs(tmp_path, refuses, changes, word):
    folder = tmp_path / "run"
    execute(tiny_study.tiny(tmp_path, measure=["nce"], layers=["logits"], fit__refits=1), folder, workers=0, quiet=True)
    spec = tiny_study.tiny(tmp_path, **{"measure": ["nce"], "layers": ["logits"], "fit__refits": 1, **changes})
    with refuses("the output folder holds another study's run", word):
        check_folder(folder, spec, Plan.origin(folder))


def test_an_edited_study_is_not_printed_as_if_it_had_been_run(tmp_path, refuses):
    folder = tmp_path / "run"
    spec = tiny_study.tiny(tmp_path, measure=["nce"], layers=["logits"], fit__refits=1)
    execute(spec, folder, workers=0, quiet=True)
    study = folder / "study.yaml"
    study.write_text(study.read_text().replace("updates: 3", "updates: 30000"))
    with refuses("the study was edited since it was run", "study.yaml"):
        load_run(folder)
    execute(spec, folder, workers=0, quiet=True)
    assert load_run(folder).spec == spec


@pytest.mark.parametrize("value", ["paper", "bogus", "laptop"])
def test_the_scale_is_chosen_not_set(refuses, value):
    with refuses("the scale is chosen, not set", repr(value), "--scale laptop"):
        load_study("nash-layers", {"scale": value})
