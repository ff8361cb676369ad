"""A density that the data choose: `density: {kind: auto}`."""

import itertools
import shutil
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import counted_study
import tiny_study
import toy_networks
from infoplane.budget.capacity import time_updates
from infoplane.engine.plan import Plan
from infoplane.measurements import as_kind, candidates
from infoplane.measurements.candidates import CANDIDATES, SPOKEN, Candidate, offer
from infoplane.measurements.cost import Costs
from infoplane.measurements.fits import choose
from infoplane.profile import measure
from infoplane.profile.inputs import density_of
from infoplane.report.build import build_page, load_run, table
from infoplane.study.bench import typical
from infoplane.study.execute import execute
from infoplane.study.load import load_study
from infoplane.study.plan import make_plan
from tiny_study import command, contents, kind_of, role

#: an update of the window's density takes as long on images of 4×4 pixels as on larger ones: there are few
FIT = {"updates": 4, "evaluations": 1, "refits": 1, "trial_updates": 3}
AUTO = {"density": {"kind": "auto"}, "fit": FIT, "layers": ["logits"], "measure": ["nce", "usable", "samples"]}
SHAPE = (1, 4, 4)


def asked(folder, **changes):
    return tiny_study.tiny(folder, **{**AUTO, **changes})


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of the study's data and of a finished run of it; to be copied."""
    folder = tmp_path_factory.mktemp("auto")
    assert not execute(asked(folder), folder / "run", workers=0, quiet=True).failed
    return folder


@pytest.fixture
def small(monkeypatch):
    """Candidates that take no time, in this process."""
    window = {"kind": "autoregressive", "width": 16}
    streams = {**CANDIDATES["pixelcnn"](SHAPE, 3).density, "filters": 8, "residual_layers": 1}
    for name, density in (("window", window), ("pixelcnn", streams)):
        monkeypatch.setitem(CANDIDATES, name, lambda *_, density=density: Candidate(density, 16, 8e-3))


# --- what a study says ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"density__filters": 4}, ["unknown key 'density.filters'", "known elsewhere"]),
        ({"density": {"kind": "auto", "trunk": "window"}}, ["unknown key 'density.trunk'"]),
        ({"density_at": {"logits": {"dropout": 0.1}}}, ["unknown key 'density_at.logits.dropout'"]),
        ({"fit__batch": 16}, ["fit.batch beside a density that the data choose", "leave fit.batch out"]),
        ({"fit__learning_rate": 1e-3}, ["fit.learning_rate beside a density that the data choose", "0.001"]),
        ({"density__kind": "autopilot"}, ["unknown density.kind", "auto"]),
    ],
)
def test_what_the_data_choose_takes_no_options(tmp_path, refuses, changes, words):
    with refuses(*words):
        asked(tmp_path, **changes)


def test_a_study_is_read_again_as_it_was_written(tmp_path):
    spec = asked(tmp_path, density_at={"logits": {}})
    path = tmp_path / "again.yaml"
    path.write_text(spec.to_yaml())
    assert load_study(str(path)) == spec
    assert spec.to_yaml().count("kind: auto") == 1


# --- which parts there are ---


def test_candidates_are_fitted_once_and_every_density_waits_for_the_choice(tmp_path):
    plan = make_plan(asked(tmp_path, fit__refits=2, fit__updates=1000, fit__trial_updates=None, layers=["conv1"]))
    choice = role(plan, "choice")
    tried = {kind: role(plan, "candidate", kind) for kind in CANDIDATES}
    data = role(plan, "data")
    assert dict(plan.cells[choice].needs) == {"data": data, **tried}
    for name in tried.values():
        cell = plan.cells[name]
        assert dict(cell.needs) == {"data": data}
        assert cell.params["fit"]["updates"] == 250
        assert cell.params["seed"] == plan.cells[role(plan, "density", "input", 1)].params["seed"]
    for name, cell in plan.cells.items():
        assert (cell.needs.get("choice") == choice) == (cell.kind in ("density", "samples")), name
    assert sum(cell.kind in ("candidate", "choice") for cell in plan.cells.values()) == len(CANDIDATES) + 1
    least = make_plan(asked(tmp_path, fit__updates=100, fit__trial_updates=None))
    assert least.cells[role(least, "candidate", "pixelcnn")].params["fit"]["updates"] == 30
    together = make_plan(asked(tmp_path, fit__warm_start="shared"))
    trunks = [cell for cell in together.cells.values() if cell.kind == "trunk"]
    assert [cell.needs["choice"] for cell in trunks] == [role(together, "choice")]
    without = {kind for kind, *_ in make_plan(asked(tmp_path, measure=["mse"])).roles}
    assert not without & {"candidate", "choice"}


def test_the_code_of_all_candidates_counts(tmp_path):
    plan = make_plan(asked(tmp_path))
    for cell in plan.cells.values():
        if cell.kind in ("candidate", "density", "samples"):
            assert {"infoplane.densities.streams", "infoplane.densities.window"} <= cell.modules.keys()
    # A fit does not run through what counts its time: that is the candidates' matter.
    assert "infoplane.measurements.counting" in plan.cells[role(plan, "candidate", "pixelcnn")].modules
    assert "infoplane.measurements.counting" not in plan.cells[role(plan, "density", "input", 1)].modules


# --- equal time ---


@pytest.mark.parametrize(("shape", "levels"), [(SHAPE, 3), ((3, 6, 6), 256)])
def test_candidates_get_the_same_time_by_counting(shape, levels):
    costs, machine = Costs(shape, levels, {}, {}), typical().machine
    first, second = (offer(kind, shape, levels) for kind in CANDIDATES)
    assert first["pace"] == 1.0
    one, other = (
        machine.seconds(costs.step(each["density"], None, each["batch"])) * each["pace"] for each in (first, second)
    )
    assert other == pytest.approx(one, rel=1e-9)


def test_a_forecast_takes_the_mean_of_those_that_may_be_chosen_and_room_for_the_largest(tmp_path):
    spec, machine = asked(tmp_path), typical().machine
    plan, costs = make_plan(spec), Costs(SHAPE, 3, {"encoding": 40, "decoding": 80, "evaluation": 40}, {"logits": (3,)})
    parts = [
        as_kind(plan.cells[role(plan, kind, layer, refit)])
        for kind, layer, refit in (("density", "logits", 1), ("samples", "input", 0))
    ]
    for kind in parts:
        ways = []
        for found in (offer(each, SHAPE, 3) for each in CANDIDATES):
            changes = {"density": found["density"]}
            if kind.kind == "density":
                updates = round(FIT["updates"] * found["pace"])
                changes["fit"] = {**kind.fit, "batch": found["batch"], "updates": updates}
            ways.append(kind.model_copy(update=changes))
        seconds = [machine.seconds(costs.of(way)) for way in ways]
        assert machine.seconds(costs.of(kind)) == pytest.approx(sum(seconds) / len(seconds))
        assert min(seconds) > 0
        assert costs.size(kind) == max(costs.size(way) for way in ways) > 0
    for name in CANDIDATES:
        assert machine.seconds(costs.of(as_kind(plan.cells[role(plan, "candidate", name)]))) > 0


# --- the choice ---


@pytest.mark.parametrize(
    ("ahead", "chosen"),
    # The first one stays where the second is ahead by no more than its standard error.
    [(-1.0, "a"), (0.0, "a"), (0.9, "a"), (1.1, "b"), (3.0, "b")],
)
def test_another_is_chosen_only_if_it_is_ahead_by_more_than_its_error(ahead, chosen):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=50)
    noise = (noise - noise.mean()) / noise.std(ddof=1) * np.sqrt(50)  # of mean 0 and standard error 1
    base = 80 + rng.normal(size=50)
    found = choose({"a": base, "b": base - ahead + noise}, np.arange(50))
    assert found["chosen"] == chosen
    assert found["n"] == 50
    assert found["stderr"] == pytest.approx(1.0)
    assert found["difference"] == pytest.approx(ahead if chosen == "b" else -ahead, abs=1e-9)
    assert found["losses"]["a"]["nats"] == pytest.approx(base.mean())


def test_copies_of_an_image_are_one():
    losses = {"a": np.array([3.0, 5.0, 4.0]), "b": np.array([2.0, 3.0, 3.5])}
    once = choose(losses, np.arange(3))
    copied = choose({name: each.repeat(4) for name, each in losses.items()}, np.arange(3).repeat(4))
    assert copied == {**once, "n": 3, "losses": copied["losses"]}
    assert once["chosen"] == "b"
    alone = choose({name: each[:1] for name, each in losses.items()}, np.arange(1))
    assert alone["chosen"] == "a"  # of one image no error is known


@pytest.mark.parametrize("hopeless", [*CANDIDATES])
def test_a_hopeless_candidate_is_not_chosen(tmp_path, monkeypatch, small, hopeless):
    # Images of one level each, but for noise: whatever learns at all learns that.
    rng = np.random.default_rng(0)
    images = (rng.integers(0, 2, (160, 1, 1, 1)) + rng.binomial(1, 0.2, (160, *SHAPE))).astype(np.uint8)
    np.savez(tmp_path / "even.npz", images=images, levels=3)
    data = {"name": str(tmp_path / "even.npz"), "encoding": 0, "decoding": 120, "evaluation": 40}
    made = CANDIDATES[hopeless]
    monkeypatch.setitem(CANDIDATES, hopeless, lambda *images: replace(made(*images), learning_rate=1e-12))
    fit = {"evaluations": 1, "refits": 1, "trial_updates": 60, "updates": 2, "warm_start": "none"}
    spec = asked(tmp_path, data=data, subject=None, layers=[], measure=["nce"], fit=fit)
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    results = load_run(tmp_path / "run")
    found = results.choice
    assert found is not None
    (other,) = set(CANDIDATES) - {hopeless}
    assert (found["chosen"], found["other"]) == (other, hopeless)
    assert found["losses"][other]["nats"] < found["losses"][hopeless]["nats"]
    # What was chosen is what was fitted, everywhere.
    weights = {name for _, fit in results.fits("input") for name in fit.weights("density")}
    assert any(name.startswith("trunk.window.") for name in weights) == (other == "window")
    assert any(name.startswith("trunk.up_down.") for name in weights) == (other == "pixelcnn")
    assert [fit.values["curve"]["updates"][-1] for _, fit in results.fits("input")] == [
        candidates.paced(2, offer(other, SHAPE, 3))
    ]


#: a learning rate at which no number stays finite
FATAL = 1e38
#: how each candidate's fit then fails
FAILS = {"window": "training diverged at step", "pixelcnn": "the held-out loss was never finite"}


def run_with(tmp_path, monkeypatch, *fatal):
    """Runs a study in which some candidates' fits fail; returns the outcome and the run's folder."""
    for kind in fatal:
        made = CANDIDATES[kind]
        monkeypatch.setitem(CANDIDATES, kind, lambda *on, made=made: replace(made(*on), learning_rate=FATAL))
    folder = tmp_path / "run"
    return execute(asked(tmp_path, measure=["nce"]), folder, workers=0, quiet=True), folder


@pytest.mark.parametrize("fatal", [*CANDIDATES])
def test_a_candidate_whose_fit_fails_has_lost(tmp_path, monkeypatch, small, fatal):
    outcome, folder = run_with(tmp_path, monkeypatch, fatal)
    assert not outcome.failed
    found = load_run(folder).choice
    assert found is not None
    (other,) = set(CANDIDATES) - {fatal}
    assert found["chosen"] == other
    assert found["failed"].keys() == {fatal}
    assert (found["other"], found["difference"], found["stderr"]) == (None, None, None)
    assert found["losses"].keys() == {other}
    page, text = build_page(folder).read_text(encoding="utf-8"), " ".join(table(load_run(folder)).split())
    for said in (page, text):
        assert (
            f"The density is {SPOKEN[other]}, which could be trained: {SPOKEN[fatal]} could not be ({FAILS[fatal]}"
            in said
        )


def test_a_run_stops_with_the_error_where_no_candidate_can_be_trained(tmp_path, monkeypatch, small):
    outcome, _ = run_with(tmp_path, monkeypatch, *CANDIDATES)
    (message,) = outcome.failed.values()
    assert "no density can be trained on these images" in message
    for kind in CANDIDATES:
        assert f"{kind}: {FAILS[kind]}" in message
    assert {kind_of(name) for name in outcome.skipped} == {"density"}


# --- a run ---


def test_evaluation_images_choose_nothing(begun):
    plan, results = Plan.load(begun / "run"), load_run(begun / "run")
    data = results.cell("data")
    assert data is not None
    assert results.choice is not None
    held = round(0.15 * len(data.array("decoding")))
    for kind in CANDIDATES:
        cell = plan.cells[role(plan, "candidate", kind)]
        assert set(cell.needs) == {"data"}
        stored = results.cell("candidate", kind)
        assert stored is not None
        assert stored.array("log_probs").shape == (held,)
    assert results.choice["n"] <= held


def test_page_and_table_say_what_was_chosen_and_by_how_much(begun):
    folder = begun / "run"
    found = load_run(folder).choice
    assert found is not None
    page, text = build_page(folder).read_text(encoding="utf-8"), " ".join(table(load_run(folder)).split())
    for said in (page, text):
        assert f"The density is {SPOKEN[found['chosen']]}, which" in said
        assert f"than {SPOKEN[found['other']]} after {found['losses'][found['other']]['updates']}" in said
        assert f"on {found['n']} decoding images held out" in said
        assert f"updates with {found['batch']} images each, at a learning rate of {found['learning_rate']:g}." in said


def test_ones_own_network_is_measured_with_what_the_data_choose(tmp_path, small, refuses):
    images, labels = tiny_study.images_and_labels(80)
    options: dict[str, Any] = {"layers": ["fc"], "levels": 3, "refits": 1, "workers": 0, "quiet": True}
    with refuses("unknown density to measure with", "auto"):
        measure(toy_networks.build(), images, labels, budget=3, density="atuo", **options)
    folder = tmp_path / "run"
    profile = measure(
        toy_networks.build(), images, labels, budget=3, kinds=["nce", "usable"], out=folder, **options
    )
    found = load_run(folder).choice
    assert found is not None
    assert found["chosen"] in CANDIDATES
    # The density is built again as it was fitted.
    assert profile.sample("fc", images[:2], n=1).shape == (2, 1, 1, 4, 4)
    scored = profile.log_prob("fc", images[:3], given=images[:2])
    assert scored.shape == (2, 3)
    assert bool((scored < 0).all())
    with refuses("the output folder holds another study's run", "density.kind"):
        measure(
            toy_networks.build(),
            images,
            labels,
            budget=3,
            kinds=["nce"],
            density="pixelcnn",
            out=folder,
            **options,
        )


@pytest.mark.parametrize(("size", "kind"), [(64, "auto"), (65, "pixelcnn")])
def test_large_images_are_not_left_to_the_data(size, kind):
    assert density_of("auto", (3, size, size), 256).kind == kind
    assert density_of("pixelcnn", (3, 8, 8), 256).kind == "pixelcnn"


@pytest.mark.parametrize("seconds", [0.5, 8.0])
def test_a_machine_is_timed_with_the_first_candidate(small, seconds):
    spec = counted_study.study(density={"kind": "auto"})
    costs = Costs(SHAPE, 3, {"encoding": 0, "decoding": 80, "evaluation": 20}, {"a": (4,), "b": (2,)})
    ticks = itertools.count(0.0, 0.1)
    slower = time_updates(spec, costs, typical().machine, torch.device("cpu"), seconds, lambda: 2.0 * next(ticks))
    assert 0.01 <= slower <= 100


def test_two_runs_and_any_number_of_processes_give_the_same_bytes(begun, tmp_path):
    assert not execute(asked(begun), tmp_path / "run", workers=1, quiet=True).failed
    one, other = (
        {name: held for name, held in contents(folder / "cells").items() if not name.endswith("plan.json")}
        for folder in (begun / "run", tmp_path / "run")
    )
    assert one == other


def test_a_run_that_grows_by_a_refit_chooses_nothing_anew(begun, tmp_path):
    folder = shutil.copytree(begun / "run", tmp_path / "run")
    before = {path.name for path in (folder / "cells").iterdir()}
    assert not execute(asked(begun, fit__refits=2), folder, workers=0, quiet=True).failed
    new = {path.name for path in (folder / "cells").iterdir()} - before
    assert {kind_of(name) for name in new} == {"density"}
    assert len(new) == 3  # the start, p(x) and the layer of the second refit


def test_plan_lists_what_chooses(begun, capsys):
    path = begun / "auto.yaml"
    path.write_text(asked(begun).to_yaml())
    said = command(capsys, "plan", path, "--out", begun / "run", "--tflops", 1)
    assert said.code == 0
    for part in ("candidate-window", "candidate-pixelcnn", "choice"):
        assert part in said.out
    assert "0 would be computed" in said.out
