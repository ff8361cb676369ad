"""Checkpoints of the network under study as an axis of a study."""

import re

import numpy as np
import polars as pl
import pytest
import torch

import tiny_study
from infoplane.capture import activations, default_transform
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.measurements.label import LABEL
from infoplane.measurements.numbers import Place
from infoplane.measurements.task import build_subject
from infoplane.report.build import build_page, load_run
from infoplane.study.execute import execute
from infoplane.study.plan import make_plan
from infoplane.study.results import Results

CHECKPOINTS = ("0", "2", "end")


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    """The folder of a run with three checkpoints, given out of order."""
    folder = tmp_path_factory.mktemp("traced")
    spec = tiny_study.tiny(folder, subject__train__checkpoints=["end", 2, 0], fit__refits=2)
    assert not execute(spec, folder / "run", workers=0, quiet=True).failed
    build_page(folder / "run")
    return folder / "run"


def test_every_checkpoint_has_its_cells_and_p_of_x_is_fitted_once(traced):
    plan = Plan.load(traced)
    for kind in ("density", "samples", "mse", "probe", "judge"):
        refit = int(kind == "density")
        names = {plan.name(kind, layer, refit, c) for layer in tiny_study.LAYERS for c in CHECKPOINTS}
        assert len(names) == 6
        assert None not in names
    assert len([cell for cell in plan.cells.values() if cell.kind == "density"]) == 2 * (1 + 6)
    assert len([cell for cell in plan.cells.values() if cell.kind == "subject"]) == 1


def test_checkpoint_0_is_the_network_before_training(traced):
    store, plan = Store(traced / "cells"), Plan.load(traced)
    data, capture = (store.load(name) for name in (plan.name("data"), plan.name("capture", checkpoint="0")))
    torch.manual_seed(0)  # the study's seed
    options = {"filters": (2, 3), "hidden": 5, "kernel": 3, "padding": 1, "dropout": 0.1}
    model = build_subject("nash-cnn", options, data.values)
    images = torch.from_numpy(data.array("images")[data.array("evaluation")])
    found = activations(model, ["conv1", "logits"], images, transform=default_transform(3))
    for layer in tiny_study.LAYERS:
        assert np.array_equal(capture.array(f"evaluation:{layer}"), found[layer].numpy())
    end = store.load(plan.name("capture", checkpoint="end"))
    assert not np.array_equal(end.array("evaluation:logits"), capture.array("evaluation:logits"))


def test_results_have_a_row_per_checkpoint_in_training_order(traced):
    frame = pl.read_parquet(traced / "results.parquet")
    layers = frame.filter(pl.col("layer").is_in(tiny_study.LAYERS))
    assert tuple(layers["checkpoint"].unique(maintain_order=True)) == CHECKPOINTS
    assert set(frame.filter(pl.col("layer") == "input")["checkpoint"]) == {""}
    accuracy = frame.filter(pl.col("kind") == "accuracy")
    assert tuple(accuracy["checkpoint"]) == CHECKPOINTS
    # The pooled NCE of a checkpoint is the mean of what its own cells hold.
    results = load_run(traced)
    for checkpoint in CHECKPOINTS:
        scores = [
            results.store.load(results.plan.name("density", "conv1", refit, checkpoint)).array("log_probs")
            for refit in (1, 2)
        ]
        row = layers.filter(
            (pl.col("checkpoint") == checkpoint)
            & (pl.col("layer") == "conv1")
            & (pl.col("kind") == "nce")
            & (pl.col("refit") == "all")
        )
        assert row["value"].item() == pytest.approx(np.mean(scores))


def test_differences_are_taken_within_each_checkpoint(traced):
    results: Results = load_run(traced)
    steps = [(step["kind"], step["checkpoint"]) for step in results.differences()]
    assert steps == [(kind, checkpoint) for kind in ("nce", "label") for checkpoint in CHECKPOINTS]
    for step in results.differences():
        at = step["checkpoint"]
        if step["kind"] == "nce":
            first, second = (results.log_probs(layer, checkpoint=at) for layer in tiny_study.LAYERS)
        else:
            first, second = (LABEL.scores(results, Place(layer, at))[0] for layer in tiny_study.LAYERS)
        assert step["value"] == pytest.approx((first - second).mean())


def test_a_checkpoint_more_leaves_the_others_cells_alone_but_for_the_training(tmp_path):
    one, two = (make_plan(tiny_study.tiny(tmp_path, subject__train__checkpoints=c)) for c in (["end"], [0, "end"]))
    shared = one.roles.keys() & two.roles.keys()
    assert {role[0] for role in shared if one.roles[role] == two.roles[role]} >= {"data"}
    assert one.roles["density", "input", 1, ""] == two.roles["density", "input", 1, ""]
    assert shared == one.roles.keys()


def test_the_table_of_several_checkpoints_names_them(traced):
    from infoplane.report.build import table

    lines = table(load_run(traced)).splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("Layer"))
    assert lines[first].split()[:2] == ["Layer", "Checkpoint"]
    # Each layer once, beside its first checkpoint.
    rows = [re.split(r"  +", line) for line in lines[first:] if re.match(r"(conv1|logits)? +(0|2|end)  ", line)]
    assert [row[:2] for row in rows[:6]] == [
        [name, at] for layer in ("conv1", "logits") for name, at in ((layer, "0"), ("", "2"), ("", "end"))
    ]
