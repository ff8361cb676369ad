"""Cells are named by their content: by all that their result depends on, and by nothing else."""

import importlib.metadata
import json

import numpy as np
import pytest

import tiny_study
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.study.execute import execute
from infoplane.study.folder import origin_in
from infoplane.study.origin import Origin
from infoplane.study.plan import make_plan
from infoplane.study.results import Results

#: groups of roles: of the network's layers, and of p(x)
LAYER_DENSITY, TWIN = "density of a layer", "density of the input"
LAYER_SAMPLES, TWIN_SAMPLES = "samples of a layer", "samples of the input"
DENSITIES = {LAYER_DENSITY, TWIN, LAYER_SAMPLES, TWIN_SAMPLES, "judge"}
OF_THE_NETWORK = {"capture", "mse", "probe", LAYER_DENSITY, LAYER_SAMPLES, "judge"}
EVERYTHING = {"data", "subject"} | OF_THE_NETWORK | DENSITIES


def group(role) -> str:
    kind, layer, _, _ = role
    if kind not in ("density", "samples"):
        return kind
    return f"{kind} of {'the input' if layer in ('input', 'input base') else 'a layer'}"


def renamed(before: Plan, after: Plan) -> set[str]:
    """Returns the groups of roles whose cells have other names; all of a group must agree."""
    common = before.roles.keys() & after.roles.keys()
    changed = {group(role) for role in common if before.roles[role] != after.roles[role]}
    same = {group(role) for role in common if before.roles[role] == after.roles[role]}
    assert not changed & same
    return changed


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"title": "Another"}, set()),
        ({"note": "Another"}, set()),
        ({"seed": 1}, EVERYTHING),
        ({"data__evaluation": 30}, EVERYTHING),
        ({"data__options": {"levels": 4}}, EVERYTHING),
        ({"subject__hidden": 6}, {"subject"} | OF_THE_NETWORK),
        ({"subject__train__updates": 5}, {"subject"} | OF_THE_NETWORK),
        ({"density__filters": 5}, DENSITIES),
        ({"density__dropout": 0.3}, DENSITIES),
        ({"fit__updates": 4}, DENSITIES),
        ({"fit__held_out": 0.3}, DENSITIES | {"probe"}),
        ({"fit__refits": 3}, set()),
        ({"fit__warm_start": "early"}, DENSITIES),
        ({"reconstruction__updates": 4}, {"mse"}),
        ({"contrastive__candidates": 5}, {LAYER_DENSITY, LAYER_SAMPLES, "judge"}),
        ({"contrastive__batches": 2}, {LAYER_DENSITY, LAYER_SAMPLES, "judge"}),
        ({"samples__images": 3}, {LAYER_SAMPLES, TWIN_SAMPLES, "judge", "mse"}),
        ({"samples__each": 3}, {LAYER_SAMPLES, TWIN_SAMPLES, "judge"}),
        ({"measure": ["nce", "usable", "label", "contrastive"]}, set()),
        ({"measure": ["nce", "mse", "samples", "label"]}, {LAYER_DENSITY, LAYER_SAMPLES, "judge"}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",  # a set has no fixed order
)
def test_a_cell_is_renamed_when_what_it_depends_on_changes(tmp_path, changes, expected):
    before, after = make_plan(tiny_study.tiny(tmp_path)), make_plan(tiny_study.tiny(tmp_path, **changes))
    assert renamed(before, after) == expected


def test_refits_have_their_own_cells_and_only_the_first_is_sampled(tmp_path):
    two, three = (make_plan(tiny_study.tiny(tmp_path, fit__refits=refits)) for refits in (2, 3))
    assert three.roles.keys() - two.roles.keys() == {
        ("density", "input", 3, ""),
        ("density", "conv1", 3, "end"),
        ("density", "logits", 3, "end"),
    }
    # A layer's fit and its twin's share their seed, and refits do not.
    seeds = {(layer, refit): three.cells[tiny_study.role(three, "density", layer, refit)].params["seed"]
             for layer in ("input", "conv1", "logits") for refit in (1, 2, 3)}  # fmt: skip
    assert all(seeds[layer, refit] == seeds["input", refit] for layer, refit in seeds)
    assert len(set(seeds.values())) == 3


def test_the_data_behind_the_same_name_are_part_of_the_name(tmp_path):
    spec = tiny_study.tiny(tmp_path)
    assert renamed(make_plan(spec, Origin("a")), make_plan(spec, Origin("b"))) == EVERYTHING


def test_a_warm_start_is_a_cell_that_the_fits_need(tmp_path):
    early = make_plan(tiny_study.tiny(tmp_path, fit__warm_start="early", fit__base_updates=2))
    fitted = make_plan(tiny_study.tiny(tmp_path, fit__warm_start="fitted"))
    for plan, updates in ((early, 2), (fitted, 3)):
        for refit in (1, 2):
            start = plan.cells[tiny_study.role(plan, "density", "input base", refit)]
            assert (start.params["fit"]["updates"], start.params["layer"]) == (updates, None)
            for layer in ("input", "conv1", "logits"):
                assert plan.cells[tiny_study.role(plan, "density", layer, refit)].needs["start"] == start.name
    none = make_plan(tiny_study.tiny(tmp_path))
    assert not any("start" in cell.needs for cell in none.cells.values())


def test_names_are_good_file_names(tmp_path):
    spec = tiny_study.tiny(tmp_path, layers=["conv1.0", "output"])
    spec = spec.model_copy(update={"layers": ("encoder[last_hidden_state]/x y", "relu#1", "Ü" * 90)})
    for name in make_plan(spec).cells:
        assert name.isascii()
        assert len(name) < 100
        assert not set(name) & set("/\\ #[]:")


def test_layers_whose_labels_look_alike_stay_apart(tmp_path):
    spec = tiny_study.tiny(tmp_path).model_copy(update={"layers": ("a[0]", "a#0")})
    plan = make_plan(spec)
    assert tiny_study.role(plan, "mse", "a[0]") != tiny_study.role(plan, "mse", "a#0")
    assert len({*plan.roles.values()}) == len(plan.roles)


def test_the_plan_reads_back_the_same(tmp_path, refuses):
    spec = tiny_study.tiny(tmp_path)
    folder = tmp_path / "run"
    (folder / "cells").mkdir(parents=True)
    origin = Origin("f", {"end": "w"}, {"fc": "a"})
    plan = make_plan(spec, origin)
    path = folder / "cells" / "plan.json"
    path.write_text(json.dumps(plan.to_json({"study": None, "origin": vars(origin)})))
    again = Plan.load(folder)
    assert (again.cells, again.roles, origin_in(folder)) == (plan.cells, plan.roles, origin)
    assert all(cell.modules == plan.cells[name].modules for name, cell in again.cells.items())
    for damage in (b"", b"{", b"[]", b"{}", b'{"cells": 3}', b"\xff\xfe", b'{"cells": {"a": {}}, "roles": []}'):
        path.write_bytes(damage)
        with refuses("the run's plan is damaged", "plan.json"):
            Plan.load(folder)
    path.unlink()
    for read in (Plan.load, origin_in):
        with refuses("the run's plan is damaged"):
            read(folder)


@pytest.mark.parametrize("warm_start", ["none", "early", "fitted"])
def test_every_density_is_trained_as_its_twin_is(tmp_path, warm_start):
    # Same updates, batch and seed per refit, so that what they differ in is the context alone.
    plan = make_plan(tiny_study.tiny(tmp_path, fit__warm_start=warm_start, fit__refits=3))
    for refit in (1, 2, 3):
        twin = plan.cells[tiny_study.role(plan, "density", "input", refit)].params
        for layer in tiny_study.LAYERS:
            params = plan.cells[tiny_study.role(plan, "density", layer, refit)].params
            assert (params["fit"]["updates"], params["fit"]["batch"], params["seed"]) == (
                twin["fit"]["updates"],
                twin["fit"]["batch"],
                twin["seed"],
            )
            assert params["fit"] == twin["fit"]
            assert params["density"] == twin["density"]
        assert (twin["fit"]["updates"], twin["fit"]["batch"], twin["fit"]["minutes"]) == (3, 4, None)


def test_a_layer_with_a_density_of_its_own_has_a_twin_of_its_own(tmp_path):
    own = {"conv1": {"dropout": 0.3}, "logits": {"context_dropout": 0.2}}
    spec = tiny_study.tiny(tmp_path, density_at=own)
    plan, plain = make_plan(spec), make_plan(tiny_study.tiny(tmp_path))
    for refit in (1, 2):
        cells = {layer: plan.cells[tiny_study.role(plan, "density", layer, refit)].params["density"]
                 for layer in ("input", "input:conv1", "conv1", "logits")}  # fmt: skip
        assert {layer: density["dropout"] for layer, density in cells.items()} == {
            "input": 0.1, "input:conv1": 0.3, "conv1": 0.3, "logits": 0.1
        }  # fmt: skip
        # Without a context the dropout on it has nothing to drop: the common twin serves.
        assert (cells["logits"]["context_dropout"], cells["input"]["context_dropout"]) == (0.2, 0.0)
        assert plan.name("density", "input:logits", refit) is None
        twin = tiny_study.role(plan, "density", "input", refit)
        assert twin == tiny_study.role(plain, "density", "input", refit)
    samples = plan.cells[tiny_study.role(plan, "samples", "conv1")]
    assert samples.params["density"]["dropout"] == 0.3


def test_usable_information_is_against_the_layers_own_twin(tmp_path):
    spec = tiny_study.tiny(tmp_path, density_at={"conv1": {"filters": 6}}, measure=["nce", "usable"])
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    plan, store = Plan.load(tmp_path / "run"), Store(tmp_path / "run" / "cells")
    results = Results(spec, plan, store)
    found = {(layer, e.kind): e for (layer, _, *_), refit, e in results.numbers if refit == "all"}
    for layer, twin in (("conv1", "input:conv1"), ("logits", "input")):
        scores = [[store.load(tiny_study.role(plan, "density", name, refit)).array("log_probs") for refit in (1, 2)]
                  for name in (layer, twin)]  # fmt: skip
        assert found[layer, "usable"].value == pytest.approx(np.mean(scores[0]) - np.mean(scores[1]))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"conv9": {"dropout": 0.1}}, ("unknown layer in density_at", "'conv9'", "conv1")),
        ({"conv1": {"dropuot": 0.1}}, ("dropuot", "density_at.conv1", "did you mean 'dropout'")),
        ({"conv1": {"dropout": 2}}, ("density_at.conv1.dropout", "received 2")),
    ],
)
def test_a_density_of_its_own_is_checked(tmp_path, refuses, own, words):
    with refuses(*words):
        tiny_study.tiny(tmp_path, density_at=own)


def test_another_device_or_version_of_torch_has_cells_of_its_own(tmp_path, monkeypatch):
    spec = tiny_study.tiny(tmp_path)
    here, there = make_plan(spec), make_plan(spec, device="cuda")
    assert renamed(here, there) == EVERYTHING - {"data"}
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9" if name == "torch" else version(name))
    assert renamed(here, make_plan(spec)) == EVERYTHING - {"data"}
