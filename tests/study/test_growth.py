"""A run grows: what is asked may change in its folder, and only what is new is computed."""

import shutil

import polars as pl
import pytest
import torch

import tiny_study
import toy_networks
from infoplane.engine.cell import identity
from infoplane.engine.plan import Plan
from infoplane.profile import measure
from infoplane.report.build import build_page, load_run, table
from infoplane.study.execute import execute
from infoplane.study.folder import check_folder, origin_in
from infoplane.study.load import load_study
from infoplane.study.origin import Origin
from infoplane.study.plan import make_plan
from infoplane.study.why import reasons
from tiny_study import QUICK, contents


def inodes(folder):
    return {path.parent.name: path.stat().st_ino for path in (folder / "cells").glob("*/checksums.json")}


BASE = {"layers": ["logits"], "fit__refits": 1}
LEAST = {**BASE, "measure": ["nce"]}


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a study and of two runs of it that have begun small, `base` and `least`; to be copied."""
    folder = tmp_path_factory.mktemp("begun")
    for name, changes in (("base", BASE), ("least", LEAST)):
        assert not execute(tiny_study.tiny(folder, **changes), folder / name, workers=0, quiet=True).failed
    return folder


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
def test_a_run_that_grows_computes_what_is_new(begun, tmp_path, changes, kinds):
    folder = shutil.copytree(begun / "base", tmp_path / "run")
    before, old = inodes(folder), Plan.load(folder)
    spec = tiny_study.tiny(begun, **{**BASE, **changes})
    assert not execute(spec, folder, workers=0, quiet=True).failed
    after, plan = inodes(folder), Plan.load(folder)
    assert {name: after[name] for name in before} == before  # nothing stored was touched
    assert {name.partition("-")[0] for name in after.keys() - before.keys()} == kinds
    # What was measured before is not measured again: only what keeps more of the same has another name.
    for role, name in old.roles.items():
        assert identity(plan.roles[role]) == identity(name), role
        if role[0] not in ("subject", "capture"):
            assert plan.roles[role] == name
    assert load_run(folder).spec == spec.on(torch.device("cpu"))
    assert build_page(folder).is_file()


def test_a_run_that_grew_says_from_how_many_tests_to_how_many(tmp_path):
    base = {"measure": ["nce"], "fit__refits": 3, "fit__updates": 2}
    folder = tmp_path / "run"

    def run(layers):
        assert not execute(tiny_study.tiny(tmp_path, **base, layers=layers), folder, workers=0, quiet=True).failed
        page = build_page(folder).read_text(encoding="utf-8")
        # The table on the terminal shows no verdicts, and says nothing of how they were reached.
        assert "corrected" not in table(load_run(folder))
        return page, pl.read_csv(folder / "differences.csv")

    page, frame = run(["conv1", "logits"])
    assert frame["tests"].to_list() == [1]
    assert "tests_before" not in frame.columns
    assert "corrected for the one test of this run" in page
    assert "grew from" not in page
    words = "This run grew from 1 to 3 of them: corrected p-values and verdicts of its earlier page no longer hold."
    # Also where the page is written once more: what held before it grew was shown.
    for _ in range(2):
        page, frame = run(["conv1", "fc3", "logits"])
        assert words in page
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
def test_another_studys_run_is_refused_and_says_what_differs(begun, refuses, changes, word):
    folder = begun / "least"
    check_folder(folder, tiny_study.tiny(begun, **LEAST), origin_in(folder))
    with refuses("the output folder holds another study's run", word):
        check_folder(folder, tiny_study.tiny(begun, **{**LEAST, **changes}), origin_in(folder))


def test_an_edited_study_is_not_printed_as_if_it_had_been_run(begun, tmp_path, refuses):
    folder = shutil.copytree(begun / "least", tmp_path / "run")
    spec = tiny_study.tiny(begun, **LEAST)
    study = folder / "study.yaml"
    study.write_text(study.read_text().replace("updates: 3", "updates: 30000"))
    with refuses("the study was edited since it was run", "study.yaml"):
        load_run(folder)
    execute(spec, folder, workers=0, quiet=True)
    assert load_run(folder).spec == spec.on(torch.device("cpu"))


@pytest.mark.parametrize("value", ["paper", "bogus", "laptop", None, ""])
def test_the_scale_is_chosen_not_set(refuses, value):
    with refuses("the scale is chosen, not set", "--scale laptop"):
        load_study("nash-layers", {"scale": value})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("like: nash-layers\ndatasets: {mnist: {every: {scale: paper}}}", "scale is chosen, not set"),
        ("like: nash-layers\ndatasets: {svhn: {laptop: {scale: paper}}}", "scale is chosen, not set"),
        ("like: digits\ndatasets: {digits: {every: {scale: paper}}}", "this study has only one"),
        ("like: nash-layers\nscales: {laptop: {scale: null}}", "scale is chosen, not set"),
        ("like: nash-layers\nscale: paper", "scale is chosen, not set"),
        (
            "like: nash-layers\ndatasets: {mnist: {laptop: {name: nash-layers-paper}}}",
            "the name would be that of another",
        ),
        ("like: nash-layers\nscales: {laptop: {name: other}}", "the name would be that of another"),
        ("like: nash-layers\ndatasets: {mnist: {labtop: {fit.updates: 3}}}", "did you mean 'laptop'"),
        ("like: digits\ndatasets: {digits: {paper: {fit.updates: 3}}}", "legal: every"),
    ],
)
def test_what_the_loader_decides_is_no_key_of_any_section(tmp_path, refuses, text, says):
    (tmp_path / "mine.yaml").write_text(text)
    with refuses(says):
        load_study(str(tmp_path / "mine.yaml"))


#: names under which numbers would pass for those of a packaged study or scale, whatever study they are of
TAKEN = [
    *("nash-layers-paper", "nash-layers-laptop", "NASH-LAYERS", "Nash-Layers-Laptop", "nash-layers-mid"),
    *("digits-paper", "digits-laptop", "DIGITS", "resnet-classifier-mid", "spiral-laptop", "known-truth-paper"),
]


@pytest.mark.parametrize("name", TAKEN)
@pytest.mark.parametrize("study", ["nash-layers", "digits", "spiral", "mine.yaml"])
def test_a_name_is_not_that_of_another_study_or_scale(refuses, tmp_path, study, name):
    if study == "mine.yaml":
        study = str(tmp_path / study)
        (tmp_path / "mine.yaml").write_text("like: nash-layers")
    with refuses("the name would be that of another study or scale", f"--set: name = {name!r}"):
        load_study(study, {"name": name})


def test_a_study_keeps_its_own_name_or_has_a_new_one(refuses, tmp_path):
    for study in ("nash-layers", "digits"):
        for name in (study, f"{study}-2", f"my-{study}", f"{study}-wide"):
            assert load_study(study, {"name": name}).name == name
        other = {"nash-layers": "digits", "digits": "nash-layers"}[study]
        with refuses("the name would be that of another study or scale"):
            load_study(study, {"name": other})
    (tmp_path / "mine.yaml").write_text("like: nash-layers\nscales: {wide: {seed: 4}}")
    mine = str(tmp_path / "mine.yaml")
    for name in ("mine", "mine-2"):
        assert load_study(mine, {"name": name}).name == name
    for name in ("nash-layers", "mine-wide", "MINE-laptop", "digits-wide"):
        with refuses("the name would be that of another study or scale"):
            load_study(mine, {"name": name})


def test_what_a_data_set_needs_is_taken_for_that_one(tmp_path):
    (tmp_path / "mine.yaml").write_text("like: digits\nscale: null\ndatasets: {digits: {every: {fit.updates: 77}}}")
    spec = load_study(str(tmp_path / "mine.yaml"))
    assert (spec.fit.updates, spec.name, spec.scale) == (77, "mine", None)


# ---- a network that is given ----


def earlier(epoch: int) -> dict:
    torch.manual_seed(epoch)
    state = toy_networks.build().state_dict()
    return {name: torch.rand_like(tensor) if tensor.is_floating_point() else tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def measured(tmp_path_factory, short):
    """The folder of a measurement of one layer; to be copied."""
    images, labels = tiny_study.images_and_labels()
    out = tmp_path_factory.mktemp("measured") / "run"
    return measure(toy_networks.build(), images, labels, out=out, layers=["fc"], **QUICK).folder


@pytest.fixture(scope="module")
def two_points(tmp_path_factory, short):
    """The folder of a measurement of two layers at two checkpoints; to be copied."""
    images, labels = tiny_study.images_and_labels()
    out = tmp_path_factory.mktemp("points") / "run"
    return measure(toy_networks.build(), images, labels, out=out, **POINTS, **QUICK).folder


POINTS = {"kinds": ["nce"], "layers": ["conv", "fc"], "checkpoints": {"0": earlier(1)}}


@pytest.mark.parametrize(
    "more",
    [
        {"layers": ["conv", "fc"]},
        {"checkpoints": {"0": earlier(1)}},
        {"layers": ["conv", "fc"], "checkpoints": {"0": earlier(1)}, "refits": 2},
        {"layers": ["conv", "fc"], "read_as": {"conv": "vector"}},
        {"name": "another title"},
    ],
)
@pytest.mark.usefixtures("short")
def test_a_measurement_grows_and_what_was_measured_stays(measured, tmp_path, more):
    images, labels = tiny_study.images_and_labels()
    options = {"layers": ["fc"], **QUICK}
    first = shutil.copytree(measured, tmp_path / "run")
    before, results = inodes(first), contents(first / "cells")
    whole = measure(toy_networks.build(), images, labels, out=tmp_path / "whole", **{**options, **more})
    grown = measure(toy_networks.build(), images, labels, out=tmp_path / "run", **{**options, **more})
    after = inodes(grown.folder)
    assert {name: after[name] for name in before} == before  # nothing stored was touched
    now = contents(grown.folder / "cells")
    names = [name for name in results if name.partition("/")[0] in before]
    assert {name: now[name] for name in names} == {name: results[name] for name in names}
    # The same bytes as if all had been asked for at once, and nothing was fitted twice.
    plan = Plan.load(grown.folder)
    assert plan.cells.keys() == Plan.load(whole.folder).cells.keys()
    # But for which capture of the same layer they read, fuller or not.
    described = ("cell.json", "checksums.json")
    ours, theirs = (
        {name: content for name, content in contents(found.folder / "cells").items() if not name.endswith(described)}
        for found in (grown, whole)
    )
    assert {name: ours[name] for name in theirs if name != "plan.json"} == {
        name: content for name, content in theirs.items() if name != "plan.json"
    }
    assert {name.partition("-")[0] for name in after.keys() - plan.cells.keys()} <= {"capture"}


@pytest.mark.parametrize("what", ["weights", "checkpoint", "code", "images"])
@pytest.mark.usefixtures("short")
def test_another_network_under_the_same_names_is_not_taken_for_a_grown_one(two_points, tmp_path, refuses, what):
    images, labels = tiny_study.images_and_labels()
    model = toy_networks.build()
    options = {**QUICK, **POINTS, "out": shutil.copytree(two_points, tmp_path / "run")}
    if what == "weights":
        model.fc.weight.data += 1.0
    elif what == "checkpoint":
        options["checkpoints"] = {"0": earlier(2)}
    elif what == "code":
        options["transform"] = lambda x: 1.0 - x.float() / 2
    else:
        images = 2 - images
    said = {"weights": "checkpoint 'end'", "checkpoint": "checkpoint '0'", "code": "layer", "images": "other data"}
    with refuses("holds another study's run", said[what]):
        measure(model, images, labels, **options)


def test_a_layer_whose_code_changed_while_it_was_not_asked_for_is_measured_anew(tmp_path):
    # The layer is left out for a while: no common layer tells then that the network is another one.
    spec = tiny_study.tiny(tmp_path, layers=["conv1", "logits"])
    plans = [make_plan(spec, Origin("d", {"end": "w"}, {"conv1": one, "logits": "l"})) for one in ("a", "b")]
    for role, name in plans[0].roles.items():
        same = plans[1].roles[role] == name
        assert same == (role[1] != "conv1" and role[0] != "capture"), role


def test_a_shared_trunk_says_why_another_layer_trains_it_anew(tmp_path):
    def cell(layers):
        plan = make_plan(tiny_study.tiny(tmp_path, layers=layers, fit__warm_start="shared"))
        return next(each for each in plan.cells.values() if each.kind == "trunk")

    said = reasons(cell(["conv1", "logits"]), cell(["logits"]))
    assert "a trunk trains all of them together" in said
