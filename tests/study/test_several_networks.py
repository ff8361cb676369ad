"""A study whose network is trained from several seeds: networks are a source of error beside refits and images."""

import math
import shutil

import numpy as np
import polars as pl
import pytest

import tiny_study
from infoplane.claims import ONE_NETWORK
from infoplane.information.crossed import mean_over_networks
from infoplane.report.build import build_page, load_run, table
from infoplane.study.execute import execute
from infoplane.study.plan import make_plan

CHANGES = {"subject__train__checkpoints": [0, "end"], "measure": ["nce", "usable", "label"], "subject__seeds": 3}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    assert not execute(tiny_study.tiny(folder, **CHANGES), folder / "run", device="cpu", workers=0, quiet=True).failed
    build_page(folder / "run")
    return folder / "run"


def scores(results, kind: str, layer: str, at: str) -> np.ndarray:
    """(networks, refits, n), from the cells by their roles."""
    refits = (1, 2) if kind == "density" else (0,)
    networks = ("", "2", "3")
    names = [[results.plan.name(kind, layer, refit, at, network) for refit in refits] for network in networks]
    return np.array([[results.store.load(name).array("log_probs") for name in own] for own in names])


def rows_of(finished, kind: str, table: str = "results") -> pl.DataFrame:
    text = {"first": pl.String, "last": pl.String, "checkpoint": pl.String, "network": pl.String}
    return pl.read_csv(finished / f"{table}.csv", schema_overrides=text).filter(pl.col("kind") == kind)


def test_more_networks_leave_what_is_there_as_it_is(tmp_path):
    one, three = (make_plan(tiny_study.tiny(tmp_path, **(CHANGES | {"subject__seeds": n}))) for n in (1, 3))
    assert all(three.roles[role] == name for role, name in one.roles.items())
    new = {role[4] for role in three.roles if role not in one.roles}
    assert new == {"2", "3"}
    assert not [role for role in three.roles if role[0] == "data" and len(role) > 4]
    assert len({three.name("subject", network=network) for network in ("", "2", "3")}) == 3


def test_every_network_has_its_own_weights(finished):
    results = load_run(finished)
    weights = [
        results.stored(results.plan.name("subject", network=network)).weights("end") for network in ("", "2", "3")
    ]
    first = next(iter(weights[0]))
    assert len({tuple(each[first].flatten().tolist()) for each in weights}) == 3


def test_a_number_is_the_mean_over_networks_with_all_three_errors(finished):
    results, found = load_run(finished), rows_of(finished, "nce")
    for layer in tiny_study.LAYERS:
        for at in ("0", "end"):
            own = scores(results, "density", layer, at)
            pooled = found.filter(
                (pl.col("layer") == layer) & (pl.col("checkpoint") == at) & pl.col("network").is_null()
            )
            (row,) = pooled.rows(named=True)
            assert row["value"] == pytest.approx(own.mean())
            parts = [np.var(own.mean(axis), ddof=1) / size for axis, size in (((1, 2), 3), ((0, 2), 2), ((0, 1), 40))]
            assert row["stderr"] == pytest.approx(math.sqrt(sum(parts)))
            assert (row["networks"], row["refits"], row["n"]) == (3, 2, 40)
            single = found.filter(
                (pl.col("layer") == layer) & (pl.col("checkpoint") == at) & (pl.col("refit") == "all")
            )
            values = dict(zip(single["network"], single["value"], strict=True))
            assert [values[number] for number in ("1", "2", "3")] == pytest.approx(own.mean((1, 2)).tolist())


def test_usable_information_is_against_the_one_twin(finished):
    results, found = load_run(finished), rows_of(finished, "usable")
    twin = np.array([results.store.load(results.plan.name("density", "input", r)).array("log_probs") for r in (1, 2)])
    own = scores(results, "density", "logits", "end") - twin
    at_end = found.filter((pl.col("layer") == "logits") & (pl.col("checkpoint") == "end") & pl.col("network").is_null())
    (row,) = at_end.rows(named=True)
    expected = mean_over_networks(own)
    assert (row["value"], row["stderr"]) == (pytest.approx(expected.value), pytest.approx(expected.stderr))


def test_claims_count_networks(finished):
    results = load_run(finished)
    for kind, cell, fits in (("nce", "density", 2), ("label", "probe", 1)):
        (row,) = [
            row
            for row in rows_of(finished, kind, "changes").rows(named=True)
            if (row["layer"], row["first"], row["last"]) == ("conv1", "0", "end")
        ]
        expected = mean_over_networks(scores(results, cell, "conv1", "end") - scores(results, cell, "conv1", "0"))
        assert (row["value"], row["stderr"]) == (pytest.approx(expected.value), pytest.approx(expected.stderr))
        assert row["p"] == pytest.approx(expected.p_value)
        assert (row["networks"], row["refits"]) == (3, fits)
        # A linear probe alone has one fit: three networks are what makes a claim possible.
        assert row["verdict"] in ("falls", "rises", "not told apart")
    for name in ("differences", "changes", "compression"):
        assert ONE_NETWORK not in (finished / f"{name}.csv").read_text()


def test_table_and_page_say_what_numbers_are_of(finished):
    said = "Numbers are means over 3 networks, each trained from a seed of its own"
    printed = table(load_run(finished))
    assert said in " ".join(printed.split())
    assert "their errors cover networks, refits and images" in " ".join(printed.split())
    assert "2 refits" in printed
    assert said in (finished / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A run whose networks are read differently: each case is asserted to be there, so that it is no empty test."""
    folder = tmp_path_factory.mktemp("mixed")
    spec = tiny_study.tiny(
        folder, subject__seeds=3, layers=["conv1", "conv2", "fc3", "logits"], fit__updates=6, seed=1,
        measure=["nce", "usable", "label", "own"],
    )  # fmt: skip
    assert not execute(spec, folder / "run", device="cpu", workers=0, quiet=True).failed
    build_page(folder / "run")
    results = load_run(folder / "run")
    readers = {layer: [each.through(layer, "end") for each in results.runs] for layer in spec.layers}
    assert readers == {
        "conv1": ["conv2", "conv2", "logits"],
        "conv2": [""] * 3,
        "fc3": ["", "", "logits"],
        "logits": [""] * 3,
    }
    return results, folder / "run"


def test_what_holds_in_one_network_is_not_said_of_all(mixed):
    results, folder = mixed
    words = " ".join(table(results).split())
    assert "fc3 is read through logits in 1 of 3 networks: given logits" in words
    assert "conv1 is read through conv2 in 2 of 3 networks: given conv2" in words
    pooled = {
        each.place.layer: each.estimate for each in results.numbers if not each.place.network and each.refit == "all"
    }
    assert pooled["fc3"].read_through == "in 1 of 3 networks: logits"
    assert pooled["conv1"].read_through == "in 2 of 3 networks: conv2; in 1 of 3 networks: logits"
    sides = {(row["first"], row["second"]): row for row in results.differences() if row["kind"] == "nce"}
    assert sides["fc3", "logits"]["first_read_through"] == "in 1 of 3 networks: logits"
    assert sides["conv2", "fc3"]["second_read_through"] == "in 1 of 3 networks: logits"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "in 1 of 3 networks read with one density" in page


def test_a_network_with_one_density_for_both_bars_no_claim_of_all_and_helps_none(mixed):
    results, _ = mixed
    own = {layer: np.array([each._scores(fit) for each in results.runs for _, fit in each.own_fits(layer, "end")])
           for layer in ("fc3", "logits")}  # fmt: skip
    apart = (own["fc3"] - own["logits"]).reshape(3, 2, 40)
    as_read = apart.copy()
    as_read[2] = 0.0
    (row,) = [
        row for row in results.differences() if (row["kind"], row["first"], row["second"]) == ("nce", "fc3", "logits")
    ]
    assert row["one_density"] == 1
    assert row["value"] == pytest.approx(as_read.mean())
    fair, seen = mean_over_networks(apart), mean_over_networks(as_read)
    # With the layer's own density in the third network the difference turns round, which the zero there hides.
    assert fair.value < 0 < seen.value
    assert row["p"] == 1.0
    assert row["verdict"] == "not told apart"
    (row,) = [r for r in results.differences() if (r["kind"], r["first"], r["second"]) == ("nce", "conv2", "fc3")]
    assert (row["one_density"], row["verdict"]) == (0, "not told apart")


def test_one_density_in_every_network_bars_a_claim(mixed, monkeypatch):
    results, folder = mixed
    monkeypatch.setattr(type(results), "through", lambda run, layer, at=None: "logits" if layer != "logits" else "")
    rows = [row for row in load_run(folder).differences() if row["kind"] == "nce"]
    assert {row["one_density"] for row in rows} == {3}
    assert all(row["verdict"].endswith("are read with one density, that of logits") for row in rows)


def test_numbers_of_networks_are_no_single_fits(mixed):
    results, folder = mixed
    printed, page = table(results), (folder / "report.html").read_text(encoding="utf-8")
    assert "3 networks" in printed
    assert "one fit each" in printed
    assert "single fit" not in printed
    assert "a hollow point has a single fit behind it" not in page
    assert "networks where there are several" in " ".join(printed.split())
    assert "<th>Networks</th>" in page.replace(' scope="col"', "")
    lines = [line for line in printed.splitlines() if line.startswith("Label information of the network itself, ")]
    named = [line.removeprefix("Label information of the network itself, ").partition(":")[0] for line in lines]
    assert named == ["mean over 3 networks", "network 1", "network 2", "network 3"]


def test_every_tested_difference_is_on_the_page(mixed):
    results, folder = mixed
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "From layer to layer: Label information" in page
    rows = results.differences()
    section = page[page.index("From layer to layer") : page.index('<section id="meanings"')]
    assert section.count("<tr>") - section.count("<thead>") == len(rows) == 8


def test_two_networks_are_too_few(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "run")
    spec = tiny_study.tiny(finished.parent, **(CHANGES | {"subject__seeds": 2}))
    execute(spec, tmp_path / "run", device="cpu", workers=0, quiet=True)
    verdicts = {row["verdict"] for row in load_run(tmp_path / "run").changes()}
    assert verdicts == {"fewer than 3 networks: no claim"}


def test_networks_are_not_trained_on_together(tmp_path, refuses):
    with refuses("densities of several networks trained together", "subject.seeds 3", "early or none"):
        tiny_study.tiny(tmp_path, **CHANGES, fit__warm_start="shared").resolve()
