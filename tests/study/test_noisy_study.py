"""Studies of noisy networks, run whole: the numbers, who computes them, and what happens when parts fail."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from scipy.stats import norm

import tiny_noisy
from infoplane import measurements
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.engine.worker import Environment
from infoplane.errors import UsageError
from infoplane.estimate import Estimate
from infoplane.geometry import binned_entropy
from infoplane.information.sample_propagation import NoisyEstimate
from infoplane.measurements import clustering
from infoplane.measurements.propagated import together
from infoplane.measurements.task import Task
from infoplane.report.build import build_page, load_run, table
from infoplane.report.format import with_error
from infoplane.report.noisy.contents import noisy_contents
from infoplane.study.execute import execute
from infoplane.study.load import load_study, read_study
from infoplane.study.plan import make_noisy_plan
from infoplane.study.results import NoisyResults
from infoplane.subjects.dense import DenseSettings, dense
from infoplane.subjects.points import pair, spiral
from tiny_study import command, contents, events, kind_of


def finished(folder: Path, text: str) -> Path:
    outcome = execute(tiny_noisy.load(folder, text), folder / "run", workers=0, quiet=True)
    assert not outcome.failed
    build_page(folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def chain(tmp_path_factory) -> Path:
    """A finished run of single units; only to be read."""
    return finished(tmp_path_factory.mktemp("chain"), tiny_noisy.CHAIN)


@pytest.fixture(scope="module")
def arms(tmp_path_factory) -> Path:
    """A finished run of a noisy and a deterministic network on a spiral; only to be read."""
    return finished(tmp_path_factory.mktemp("arms"), tiny_noisy.SPIRAL)


def results_of(folder: Path) -> NoisyResults:
    results = load_run(folder)
    assert isinstance(results, NoisyResults)
    return results


def where(rows: list[dict[str, Any]], **wanted: Any) -> list[dict[str, Any]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


# ---- what comes of it ----


def test_rows_say_what_was_measured_where(arms):
    rows = results_of(arms).rows()
    assert all(set(row) == set(NoisyResults.columns) for row in rows)
    assert {row["study"] for row in rows} == {"flow"}
    assert {row["inputs"] for row in rows} == {40}
    assert {row["checkpoint"] for row in rows} == {"0", "2", "7", "20"}
    for epoch in (0, 2, 7, 20):
        for layer in ("layer 1", "layer 2"):
            at = {"checkpoint": str(epoch), "layer": layer}
            estimates = where(rows, network="plain", kind="flow", **at)
            assert [row["refit"] for row in estimates] == ["all", "1", "2", "3"]
            assert {(row["unit"], row["direction"], row["bin"]) for row in estimates} == {("nats", "estimate", None)}
            assert all(0 <= row["value"] <= math.log(40) and row["stderr"] > 0 for row in estimates)
            (binned,) = where(rows, network="plain", kind="binned-entropy", **at)
            assert (binned["bin"], binned["unit"], binned["direction"]) == (1.0, "nats", "none")
            # A deterministic network has no information that could be estimated, only its clustering.
            others = where(rows, network="deterministic", **at)
            assert [(row["kind"], row["bin"]) for row in others] == [("binned-entropy", 0.01), ("binned-entropy", 0.5)]
            assert math.log(40) + 1e-12 >= others[0]["value"] >= others[1]["value"]
    accuracies = where(rows, kind="accuracy")
    assert len(accuracies) == 2 * 4
    assert all(row["n"] == 8 and (8 * row["value"]) % 1 == 0 and row["unit"] == "fraction" for row in accuracies)


def test_all_is_the_mean_of_the_repeats_with_its_error(arms):
    results = results_of(arms)
    rows = where(results.rows(), kind="flow")
    for epoch in ("0", "2", "7", "20"):
        whole, *repeats = where(rows, checkpoint=epoch, layer="layer 2")
        assert len({row["value"] for row in repeats}) == 3, "repeats are independent"
        assert whole["value"] == pytest.approx(np.mean([row["value"] for row in repeats]))
        parts = [dict(found[1].errors) for found in results.propagated("plain", int(epoch)).values()]
        chance = sum(part**2 for each in parts for name, part in each.items() if name != "samples") / 9
        lasting = np.mean([each["samples"] for each in parts])
        assert whole["stderr"] == pytest.approx(math.sqrt(chance + lasting**2))
        assert whole["n"] == sum(row["n"] for row in repeats)
        # They differ as their errors say.
        z = [(row["value"] - whole["value"]) / row["stderr"] for row in repeats]
        assert np.abs(z).max() < 5


def test_the_tables_in_the_folder_are_the_rows(arms):
    rows = results_of(arms).rows()
    csv, parquet = pl.read_csv(arms / "results.csv"), pl.read_parquet(arms / "results.parquet")
    assert csv.columns == parquet.columns == list(NoisyResults.columns)
    assert parquet["value"].to_list() == csv["value"].to_list() == [row["value"] for row in rows]
    tables = results_of(arms).tables()
    assert set(tables) == {"differences", "history"}
    assert len(pl.read_csv(arms / "history.csv")) == len(tables["history"])
    losses = where(tables["history"], network="plain", curve="test loss")
    assert (losses[0]["epoch"], losses[-1]["epoch"]) == (0, 20)
    # From one and the same initial network; noise alone tells them apart there.
    assert {row["curve"] for row in tables["history"]} == {
        "train loss", "test loss", "train accuracy", "test accuracy"
    }  # fmt: skip


def test_networks_of_a_study_start_from_the_same_weights(arms):
    results = results_of(arms)
    plain, quiet = (results.cell("descent", name) for name in ("plain", "deterministic"))
    first, second = plain.weights("epoch0"), quiet.weights("epoch0")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(plain.weights("epoch20")["layers.0.0.weight"], first["layers.0.0.weight"])


def test_clustering_is_that_of_the_stored_network(arms):
    # Of a deterministic network nothing is left to chance.
    results = results_of(arms)
    points = spiral(inputs=40, turns=0.7)
    for epoch in (0, 20):
        network = dense(DenseSettings(widths=(2, 1), gain=2.0), 2, 2, torch.Generator())
        network.load_state_dict(results.cell("descent", "deterministic").weights(f"epoch{epoch}"))
        with torch.no_grad():
            hidden = network.activations(torch.from_numpy(points.inputs))[:-1]
        stored = results.cell("clustering", "deterministic", epoch)
        assert stored.values["units"] == [2, 1]
        for layer, found in enumerate(hidden):
            known = [binned_entropy(found, size).value for size in (0.01, 0.5)]
            assert [each["value"] for each in stored.values["binned"][layer]] == known
    # Marked are epochs 0 and 6, the nearest to which is kept: 7.
    shown = results.cell("clustering", "deterministic", 7)
    cloud = shown.array("cloud:layer 1")
    assert cloud.shape == (40, 2)
    assert shown.array("values:layer 1:all").sum() == 80
    for layer in ("input", "layer 1", "layer 2"):
        pairs = sum(shown.array(f"distances:{layer}:{part}").sum() for part in ("within", "between"))
        assert pairs == 40 * 39 // 2
    assert results.cell("clustering", "deterministic", 20).names() == []


def test_a_chain_lies_within_its_error_of_quadrature(chain):
    rows = results_of(chain).rows()
    z = []
    for epoch in ("0", "5", "20"):
        for layer in ("layer 1", "layer 2"):
            at = {"checkpoint": epoch, "layer": layer}
            (exact,) = where(rows, kind="information", **at)
            assert (exact["stderr"], exact["direction"], exact["unit"]) == (None, "none", "nats")
            whole = where(rows, kind="flow", refit="all", **at)[0]
            z.append((whole["value"] - exact["value"]) / whole["stderr"])
        first, second = (where(rows, kind="information", checkpoint=epoch, layer=f"layer {k}")[0] for k in (1, 2))
        assert math.log(8) > first["value"] > second["value"] > 0.3, "the data-processing inequality"
    assert np.abs(z).max() < 4


def test_the_first_layer_of_the_chain_is_exact_by_another_way(chain):
    # T_1 at epoch 0: eight centres, by a Riemann sum.
    centres = np.array([(s if s > 0 else s / 10) for s in 0.3 * np.arange(1, 9) - 1.0])
    grid = np.linspace(-1, 2.5, 20_001)
    density = np.exp(-(((grid - centres[:, None]) / 0.05) ** 2) / 2) / (0.05 * math.sqrt(2 * math.pi))
    mean = density.mean(0)
    truth = float((density * np.log(np.maximum(density, 1e-300) / np.maximum(mean, 1e-300))).sum(1).mean())
    truth *= grid[1] - grid[0]
    (row,) = where(results_of(chain).rows(), kind="information", checkpoint="0", layer="layer 1")
    assert row["value"] == pytest.approx(truth, abs=1e-9)


def test_truths_stand_beside_what_was_measured(chain, arms):
    results = results_of(chain)
    truths, rows = results.truths(), results.rows()
    assert results_of(arms).truths() is None
    # Marked is epoch 0; the end is always told.
    assert [row["name"] for row in truths] == [
        f"I(X;T), layer {layer}, epoch {epoch}" for epoch in (0, 20) for layer in (1, 2)
    ]
    for truth in truths:
        layer, epoch = truth["name"].split(", ")[1:]
        at = {"layer": layer, "checkpoint": epoch.removeprefix("epoch ")}
        assert truth["truth"] == where(rows, kind="information", **at)[0]["value"]
        whole = where(rows, kind="flow", refit="all", **at)[0]
        assert (truth["measured"], truth["stderr"]) == (whole["value"], whole["stderr"])
        z = (truth["measured"] - truth["truth"]) / truth["stderr"]
        assert truth["verdict"] == f"{z:+.1f} s.e. off"
    assert "truths" in results.tables()


def test_weights_of_single_units_are_kept_through_training(chain):
    descent = results_of(chain).cell("descent")
    weights = descent.array("weights")
    assert weights.shape == (len(descent.array("epochs")), 2, 2)
    assert weights[0].tolist() == [[0.3, -1.0], [1.5, 0.1]]
    assert not np.array_equal(weights[0], weights[-1])


def test_the_sweep_is_of_one_tanh_unit(chain):
    stored = results_of(chain).cell("sweep")
    weights, exact, value, stderr = (stored.array(name) for name in ("weights", "exact", "value", "stderr"))
    assert weights == pytest.approx([0.1, math.sqrt(0.2), 2.0])
    assert exact.shape == value.shape == stderr.shape == (2, 3)
    assert np.abs((value - exact) / stderr).max() < 5
    grid = np.linspace(-6, 6, 20_001)
    for row, beta in enumerate((0.1, 0.5)):
        for column, weight in enumerate(weights):
            centres = np.tanh(weight * pair().inputs - 4 * weight)
            density = np.exp(-(((grid - centres) / beta) ** 2) / 2) / (beta * math.sqrt(2 * math.pi))
            ratio = np.log(np.maximum(density, 1e-300) / np.maximum(density.mean(0), 1e-300))
            truth = float((density * ratio).sum(1).mean() * (grid[1] - grid[0]))
            assert exact[row, column] == pytest.approx(truth, abs=1e-8)


# ---- differences ----


def estimate(value, stderr=0.01):
    return NoisyEstimate(value, stderr, "nats", "flow", "estimate", 10, 0)


class Made(NoisyResults):
    """Results of which the estimates are made up: epoch -> repeat -> value of either layer."""

    made: dict[int, dict[int, float]]

    def propagated(self, network, epoch):
        return {repeat: [estimate(value), estimate(1.0)] for repeat, value in self.made.get(epoch, {}).items()}


@pytest.fixture
def made(tmp_path):
    spec = tiny_noisy.load(tmp_path, tiny_noisy.SPIRAL, {"networks": {}})
    return Made(spec, make_noisy_plan(spec), Store(tmp_path / "cells"))


def lost(made):
    """The falls of numbers that have changed."""
    made.__dict__.pop("_settled", None)
    return made.differences()


def test_the_peak_is_chosen_on_the_first_repeat_and_read_off_the_others(made):
    # The first repeat is highest at epoch 2, the others at 7.
    made.made = {
        0: {1: 1.0, 2: 1.1, 3: 1.0},
        2: {1: 2.0, 2: 1.5, 3: 1.7},
        7: {1: 1.9, 2: 1.9, 3: 2.0},
        20: {1: 0.1, 2: 1.2, 3: 1.4},
    }
    first, second = lost(made)
    assert (first["layer"], first["peak"], first["end"], first["kind"]) == ("layer 1", 2, 20, "flow")
    assert first["value"] == pytest.approx(1.6 - 1.3)
    stderr = math.sqrt(4 * 0.01**2) / 2
    assert first["stderr"] == pytest.approx(stderr)
    assert first["p"] == pytest.approx(2 * norm.sf(0.3 / stderr))
    # The largest of four standard normal numbers is 1.029 on average.
    assert first["constant"] == pytest.approx(0.01 * 1.029, rel=0.03)
    assert second["value"] == 0.0
    # What the others say of the first epoch, the peak and the end.
    assert [first[f"at_{name}"] for name in ("first", "peak", "end")] == pytest.approx([1.05, 1.6, 1.3])
    assert first["at_peak_stderr"] == pytest.approx(0.01 / math.sqrt(2))
    assert first["value"] == pytest.approx(first["at_peak"] - first["at_end"])


def test_a_peak_at_the_end_loses_nothing(made):
    made.made = {epoch: {repeat: epoch + repeat / 10 for repeat in (1, 2, 3)} for epoch in (0, 2, 7, 20)}
    first = lost(made)[0]
    assert (first["peak"], first["end"], first["value"], first["stderr"], first["p"]) == (20, 20, 0.0, 0.0, 1.0)


def test_differences_take_whole_epochs_only_and_wait_for_the_end(made):
    whole = {repeat: 1.0 + repeat / 10 for repeat in (1, 2, 3)}
    made.made = {0: {1: 9.0}, 2: whole, 20: whole}
    assert lost(made)[0]["peak"] == 2
    assert lost(made)[0]["at_first"] is None
    made.made = {0: whole, 2: whole, 20: {1: 1.0, 2: 1.0}}
    assert lost(made) == []
    made.made = {20: whole}
    assert lost(made) == []


def test_constant_information_gives_differences_of_the_size_of_their_errors(made):
    rng = np.random.default_rng(0)
    z = []
    for _ in range(300):
        made.made = {epoch: {r: rng.normal(1, 0.01) for r in (1, 2, 3)} for epoch in (0, 2, 7, 20)}
        row = lost(made)[0]
        z += [row["value"] / row["stderr"]] if row["stderr"] else []
    assert 150 < len(z) < 290
    assert abs(np.mean(z)) < 4 / math.sqrt(len(z)), "choosing the peak biases the loss"
    assert 0.75 < np.var(z) < 1.3


def test_differences_of_the_run_are_of_its_rows(arms):
    results = results_of(arms)
    rows = where(results.rows(), kind="flow", network="plain")
    found = results.differences()
    assert [(row["network"], row["layer"]) for row in found] == [("plain", "layer 1"), ("plain", "layer 2")]
    for row in found:
        mine = where(rows, layer=row["layer"])
        first = {int(each["checkpoint"]): each["value"] for each in where(mine, refit="1")}
        assert row["peak"] == max(first, key=lambda epoch: first[epoch])
        others = {
            epoch: np.mean([each["value"] for each in where(mine, checkpoint=str(epoch)) if each["refit"] in "23"])
            for epoch in (row["peak"], 20)
        }
        assert row["value"] == pytest.approx(others[row["peak"]] - others[20])


def test_estimates_taken_together():
    parts = [Estimate(1.0, 0.3, "nats", "flow", "estimate", 10, 0, flags=("a",)),
             Estimate(2.0, 0.4, "nats", "flow", "estimate", 20, 0, flags=("b", "a"))]  # fmt: skip
    found = together(parts)
    assert (found.value, found.stderr, found.n, found.flags) == (1.5, 0.25, 30, ("a", "b"))
    assert (found.kind, found.unit, found.direction, found.refits) == ("flow", "nats", "estimate", 0)


# ---- who computes, and what is missing ----


def test_results_do_not_depend_on_who_computes_them(chain, tmp_path):
    spec = read_study(chain / "study.yaml")
    assert not execute(spec, tmp_path / "two", workers=2, quiet=True).failed
    build_page(tmp_path / "two")
    assert contents(tmp_path / "two" / "cells") == contents(chain / "cells")
    tables = sorted(path.name for path in chain.iterdir() if path.suffix in (".csv", ".parquet"))
    stems = ("differences", "history", "results", "truths")
    assert tables == [f"{stem}.{kind}" for stem in stems for kind in ("csv", "parquet")]
    for name in (*tables, "study.yaml"):
        assert (tmp_path / "two" / name).read_bytes() == (chain / name).read_bytes()


def test_deleted_cells_alone_are_computed_again_to_the_same_bytes(arms, tmp_path):
    copy = Path(shutil.copytree(arms, tmp_path / "copy"))
    gone = [next(name for name in Plan.load(copy).cells if kind_of(name) == kind) for kind in ("flow", "clustering")]
    gone.append(next(name for name in Plan.load(copy).cells if name.startswith("descent-plain")))
    for name in gone:
        shutil.rmtree(copy / "cells" / name)
    before = len(events(copy))
    assert not execute(read_study(copy / "study.yaml"), copy, workers=0, quiet=True).failed
    assert {event["cell"] for event in events(copy)[before:] if event["event"] == "start"} == set(gone)
    assert contents(copy / "cells") == contents(arms / "cells")


def test_another_seed_is_another_network_on_the_same_problem(chain, tmp_path):
    spec = read_study(chain / "study.yaml").model_copy(update={"seed": 1})
    execute(spec, tmp_path / "run", workers=0, quiet=True)
    mine, other = (where(results_of(folder).rows(), kind="flow", refit="all") for folder in (chain, tmp_path / "run"))
    assert len(mine) == len(other)
    assert all(a["value"] != b["value"] for a, b in zip(mine, other, strict=True))
    # With a start that is given the two are the same network at epoch 0.
    for a, b in zip(mine, other, strict=True):
        if a["checkpoint"] == "0":
            assert abs(a["value"] - b["value"]) < 5 * math.hypot(a["stderr"], b["stderr"])


def test_a_partial_run_shows_what_there_is(arms, tmp_path):
    copy = Path(shutil.copytree(arms, tmp_path / "copy"))
    for path in (copy / "cells").iterdir():
        if kind_of(path.name) == "flow" and ("-r3-" in path.name or "at20" in path.name):
            shutil.rmtree(path)
    page = build_page(copy).read_text(encoding="utf-8")
    rows = where(results_of(copy).rows(), kind="flow")
    assert {row["checkpoint"] for row in rows} == {"0", "2", "7"}
    assert {row["refit"] for row in rows} == {"all", "1", "2"}
    assert results_of(copy).differences() == []
    assert "not computed yet" in page
    assert "at checkpoint 20" in page
    # With nothing but the settings there is a page too.
    for path in (copy / "cells").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    assert results_of(copy).rows() == []
    assert results_of(copy).truths() is None
    assert "No part of this run has finished yet" in build_page(copy).read_text(encoding="utf-8")


def test_a_network_that_diverges_fails_with_its_epoch_and_what_needs_it_is_skipped(tmp_path):
    changes = {
        "network": {"widths": [1], "activation": "linear", "beta": 0.05, "read_out": False},
        "train.learning_rate": 1e6,
        "train.epochs": 400,
        "sweep": None,
    }
    spec = tiny_noisy.load(tmp_path, tiny_noisy.CHAIN, changes)
    outcome = execute(spec, tmp_path / "run", workers=0, quiet=True)
    (cell,) = outcome.failed
    assert kind_of(cell) == "descent"
    for words in ("diverged by epoch ", "lower train.learning_rate, which is 1e+06"):
        assert words in outcome.failed[cell]
    kept = (tmp_path / "run" / "cells" / f"{cell}.failed.txt").read_text()
    assert kept.splitlines()[0] == outcome.failed[cell]
    assert "Traceback" in kept
    assert {kind_of(name) for name in outcome.skipped} == {"quadrature", "flow", "clustering"}
    page = build_page(tmp_path / "run").read_text(encoding="utf-8")
    assert "diverged by epoch" in page
    assert results_of(tmp_path / "run").rows() == []


def test_activations_that_are_not_finite_name_layer_and_epoch(arms, refuses):
    results, plan = results_of(arms), Plan.load(arms)
    weights = results.cell("descent", "plain").weights("epoch7")
    weights["layers.1.0.bias"][:] = math.nan

    class Poisoned:
        def weights(self, name):
            assert name == "epoch7"
            return weights

    def task(kind, repeat):
        cell = plan.cells[plan.name(kind, "plain", repeat, "7")]
        environment = Environment(torch.device("cpu"), lambda *_: None)
        needs: Any = {"points": results.cell("points"), "descent": Poisoned()}
        return measurements.as_kind(cell).run(Task(needs, environment))

    with refuses("epoch 7", "layer 2", "activations are not finite"):
        task("flow", 1)
    with refuses("epoch 7", "layer 2", "activations are not finite"):
        task("clustering", 0)


@pytest.mark.parametrize(
    ("bias", "words"),
    [
        (
            1e30,
            ("activations are huge; received up to 1e+30; legal: below 9e+13 with these bins", "train.learning_rate"),
        ),
        (math.inf, ("activations are not finite", "lower train.learning_rate")),
    ],
)
def test_a_network_without_noise_that_has_diverged_is_not_blamed_on_its_bins(arms, refuses, bias, words):
    results, plan = results_of(arms), Plan.load(arms)
    cell = plan.cells[plan.name("clustering", "deterministic", 0, "7")]
    binned = measurements.as_kind(cell)
    binned = binned.model_copy(update={"network": {**binned.network, "activation": "linear"}})
    weights = results.cell("descent", "deterministic").weights("epoch7")
    weights["layers.1.0.bias"][:] = bias

    class Diverged:
        def weights(self, name):
            return weights

    needs: Any = {"points": results.cell("points"), "descent": Diverged()}
    task = Task(needs, Environment(torch.device("cpu"), lambda *_: None))
    with refuses("epoch 7, layer 2: ", *words):
        binned.run(task)
    # Bins that are too fine for common activations still are.
    weights["layers.1.0.bias"][:] = 0.0
    with refuses("epoch 7, layer 1: the bin size is too fine"):
        binned.model_copy(update={"bins": (1e-300,)}).run(task)


def test_a_density_that_cannot_be_drawn_does_not_cost_the_clustering(chain, monkeypatch):
    results, plan = results_of(chain), Plan.load(chain)
    cell = plan.cells[plan.name("clustering", "", 0, "0")]
    needs: Any = {role: Store(chain / "cells").load(name) for role, name in cell.needs.items()}
    task = Task(needs, Environment(torch.device("cpu"), lambda *_: None))
    whole = measurements.as_kind(cell).run(task)
    assert {name for name in whole.arrays if name.startswith("density:")} == {
        f"density:layer {layer}:{part}" for layer in (1, 2) for part in ("values", "parts")
    }
    for layer in (1, 2):
        values, parts = (whole.arrays[f"density:layer {layer}:{part}"] for part in ("values", "parts"))
        assert np.trapezoid(parts.sum(0), values) == pytest.approx(1, abs=1e-4)

    def refuse(*_):
        raise UsageError("activations lie too far apart for quadrature")

    monkeypatch.setattr(clustering, "chain_density", refuse)
    without = measurements.as_kind(cell).run(task)
    assert without.values == whole.values
    stored = results.cell("clustering", "", 0).values["binned"]
    assert [[each["value"] for each in layer] for layer in whole.values["binned"]] == [
        [each["value"] for each in layer] for layer in stored
    ]
    assert not any(name.startswith("density:") for name in without.arrays)


def test_a_deterministic_layer_that_saturates_can_be_drawn():
    # Values that differ in their last digit only, or not at all.
    for values in (np.array([[1.0], [1.0 - 2**-53], [1.0]]), np.ones((3, 1))):
        found = clustering._pictured("layer 1", torch.from_numpy(values), spiral(inputs=4, test=0.25).__class__(
            "x", values, np.array([0, 1, 0]), np.zeros(2), np.arange(3), np.arange(0)
        ))  # fmt: skip
        assert found["values:layer 1:all"].sum() == 3
        assert found["distances:layer 1:within"].sum() == 1


# ---- the page ----


@pytest.mark.painted
def test_the_page_holds_the_numbers(arms, chain):
    for folder in (arms, chain):
        (folder / "report.html").unlink()
        build_page(folder)  # now with its figures
        results = results_of(folder)
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert read_study(folder / "study.yaml").title in page
        rows = where(results.rows(), kind="flow", refit="all")
        assert len(rows) >= 6
        clear = [row for row in rows if 0.01 <= row["stderr"] < 0.0995]
        assert clear
        for row in clear:
            words = f"{row['value']:.3f} ± {row['stderr']:.3f}"
            assert f"epoch {row['checkpoint']}: {words} nats" in page
            if row["checkpoint"] == "20":
                # The table's levels are those that its falls were taken from.
                falls = where(results.differences(), network=row["network"], layer=row["layer"])
                words = with_error(falls[0]["at_end"], falls[0]["at_end_stderr"])
                assert words in table(results)
        assert sum(path.suffix == ".svg" for path in (folder / "figures").iterdir()) >= 4
        words = table(results)
        for layer in ("layer 1", "layer 2"):
            assert layer in words


def test_layers_stand_in_depth_order_on_the_page(tmp_path):
    widths = [2] * 11
    changes = {"network.widths": widths, "networks": {}, "train.epochs": 1, "train.checkpoints": [1], "marked": [1],
               "estimate": {"samples": 80, "queries": 20, "repeats": 2}}  # fmt: skip
    spec = tiny_noisy.load(tmp_path, tiny_noisy.SPIRAL, changes)
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    (network,) = noisy_contents(results_of(tmp_path / "run")).networks
    (snapshot,) = network.snapshots
    assert list(snapshot.distances) == ["input", *(f"layer {k}" for k in range(1, 12))]
    assert list(snapshot.clouds) == [f"layer {k}" for k in range(1, 12)]


def test_progress_of_training_is_the_held_out_loss(arms):
    found = [event for event in events(arms, "progress") if event["cell"].startswith("descent-plain")]
    losses = where(results_of(arms).tables()["history"], network="plain", curve="test loss")
    assert found
    assert {event["nats"] for event in found} <= {row["value"] for row in losses}


# ---- the command line ----


def test_plan_and_run_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_noisy.write(tmp_path, tiny_noisy.CHAIN, "mine")
    said = command(capsys, "plan", "mine.yaml", "--workers", 1)
    assert said.code == 0, said.err
    cells = make_noisy_plan(load_study("mine.yaml")).cells
    assert f"{len(cells)} parts: 1 points, 1 descent, 1 quadrature, 3 clustering, 1 sweep, 6 flow" in said.out
    said = command(capsys, "run", "mine.yaml", "--workers", 0, "--quiet")
    assert (said.code, said.err) == (0, "")
    assert (tmp_path / "runs" / "mine-laptop" / "report.html").is_file()
    losses = results_of(tmp_path / "runs" / "mine-laptop").differences()
    clear = [row for row in losses if 0.01 <= row["at_end_stderr"] < 0.0995]
    assert clear
    assert all(f"{row['at_end']:.3f} ± {row['at_end_stderr']:.3f}" in said.out for row in clear)
    again = command(capsys, "report", "runs/mine-laptop")
    assert again.code == 0
    assert again.out.splitlines()[:-1] == said.out.splitlines()[:-1]


def test_a_run_whose_network_diverges_ends_with_one_line_and_exit_2(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tiny_noisy.write(tmp_path, tiny_noisy.SPIRAL, "mine")
    words = ["run", "mine.yaml", "--workers", 0, "-q", "--out", "out", "--set", "network.activation=linear"]
    said = command(capsys, *words, "--set", "train.learning_rate=1e200")
    assert said.code == 2
    assert said.err.splitlines()
    for line in said.err.splitlines():
        assert "diverged by epoch" in line
    assert "report: out/report.html" in said.out


@pytest.mark.parametrize("verb", ["run", "plan"])
@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("train.epoch=3", "unknown key 'train.epoch'"),
        ("data.options={inputs: 8}", "unknown key 'data.options.inputs' in pair"),
        ("data.name=nosuch", "unknown data.name"),
        ("network.widths=[1]", "network.start does not fit the layers"),
        ("kind=[flow]", "unknown kind of study"),
        ("fit.refits=3", "estimate.repeats instead of refits"),
        ("networks.loud.network.beta=0.1", "--set 'networks.loud={network.beta: 0.1}'"),
    ],
)
def test_wrong_settings_are_one_line_and_leave_nothing(tmp_path, monkeypatch, capsys, verb, setting, words):
    monkeypatch.chdir(tmp_path)
    tiny_noisy.write(tmp_path, tiny_noisy.CHAIN, "mine")
    said = command(capsys, verb, "mine.yaml", "--set", setting, "--workers", 0)
    assert said.code == 2
    assert len(said.err.splitlines()) == 1
    assert words in said.err
    assert not (tmp_path / "runs").exists()


def test_an_estimate_comes_back_from_its_cell_as_it_was(chain):
    results = results_of(chain)
    stored = results.cell("flow", "", 5, 1)
    layers = stored.values["layers"]
    assert json.dumps(layers)
    for raw in layers:
        found = NoisyEstimate.of(raw)
        assert isinstance(found, NoisyEstimate)
        assert found.entropy is not None
        assert found.conditional_entropy is not None
        gap = found.entropy.value - found.conditional_entropy.value
        assert found.value == pytest.approx(min(max(gap, 0), math.log(8)))
        assert sum(part**2 for _, part in found.errors) == pytest.approx(found.stderr**2)
