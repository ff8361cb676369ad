"""`infoplane.measure` and the profile it returns."""

import gc
import math
import os
import random
import re
import stat
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from torch import nn

import infoplane
import tiny_study
import toy_networks
from infoplane import PixelCNN
from infoplane.budget import preparing, sizes
from infoplane.budget.preparing import parse_budget
from infoplane.engine import run
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.errors import CellError, UsageError
from infoplane.measurements import KINDS
from infoplane.profile import Profile, measure, measuring, request, suggest_density
from infoplane.profile.inputs import said_of_mode
from infoplane.study.load import read_study
from infoplane.study.spec import AskedSpec
from tiny_study import QUICK, RUN_FILES, contents, events, kind_of

IMAGES, LABELS = tiny_study.images_and_labels()


pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture(scope="module")
def measured(tmp_path_factory, short) -> Profile:
    """A map and a vector of the toy network, two refits; only to be read."""
    options = {**QUICK, "refits": 2}
    out = tmp_path_factory.mktemp("measured") / "out"
    return measure(toy_networks.build(), IMAGES, LABELS, layers=["conv", "fc"], out=out, **options)


@pytest.fixture
def hurried(monkeypatch):
    """However short the budget, it begins, with the least of everything; the machine is as it is on paper."""
    monkeypatch.setattr(sizes, "STOP", math.inf)
    monkeypatch.setattr(preparing, "SHARE", math.inf)
    monkeypatch.setattr(request, "time_updates", lambda *_: 1.0)


def state_of(model) -> dict:
    """Everything about a model that a measurement must leave as it was."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return {
        "training": [module.training for module in model.modules()],
        "tensors": {name: tensor.clone() for name, tensor in model.state_dict().items()},
        "gradients": [(p.requires_grad, p.grad is None) for p in model.parameters()],
        "hooks": [[len(getattr(module, name)) for name in hooks] for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
    }


def assert_same_state(before, after):
    assert before.keys() == after.keys()
    tensors, others = before.pop("tensors"), after.pop("tensors")
    assert before == after
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[name], others[name]) for name in tensors)


# ---- images that belong together ----


def test_copies_are_said_and_counted_once(tmp_path, capsys):
    images = np.repeat(
        np.unique(IMAGES.reshape(len(IMAGES), -1), axis=0)[:60].reshape(-1, *IMAGES.shape[1:]), 3, axis=0
    )
    names = [f"scene {i // 6}" for i in range(180)]
    options = {**QUICK, "layers": ["conv"], "out": tmp_path / "out"}
    found = measure(toy_networks.build(), images, np.arange(180) % 3, **options)
    said = capsys.readouterr().err
    assert "120 of 180 images are copies of others: 60 are distinct" in said
    assert "120 of 180 images are copies" in str(found)
    assert "120 of 180 images are copies" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert {kind: each.n for kind, each in found["conv"].items()}["nce"] == 12  # a fifth of sixty
    data = found._results.cell("data")
    assert data is not None
    groups, parts = data.array("groups"), [data.array(part) for part in ("decoding", "evaluation")]
    assert groups.tolist() == [3 * (i // 3) for i in range(180)]
    assert not set(groups[parts[0]]) & set(groups[parts[1]])
    found = measure(toy_networks.build(), images, groups=names, **{**options, "out": tmp_path / "scenes"})
    assert "180 images belong to 30 groups" in capsys.readouterr().err
    assert found["conv"]["nce"].n == 6
    assert found["conv"]["mse"].n == 6


# ---- the profile ----


def test_the_folder_is_a_whole_run(measured):
    names = {path.name for path in measured.folder.iterdir()}
    assert names == RUN_FILES | {"differences.csv", "differences.parquet"}
    spec = read_study(measured.folder / "study.yaml")
    assert (spec.layers, spec.fit.updates, spec.fit.refits, spec.seed) == (("conv", "fc"), 3, 2, 0)
    assert (spec.data.decoding, spec.data.evaluation, spec.data.encoding) == (128, 32, 0)
    kinds = {kind_of(cell) for cell in Plan.load(measured.folder).cells}
    assert kinds == {"data", "capture", "density", "mse", "probe", "samples", "judge"}
    assert {event["event"] for event in events(measured.folder)} == {"begin", "start", "progress", "done", "run"}


def test_the_table_is_what_print_shows(measured):
    lines = str(measured).splitlines()
    for layer, shape in (("conv ", "2 × 2 × 2"), ("fc ", "3 ")):
        at = next(at for at, line in enumerate(lines) if line.startswith(layer))
        assert lines[at + 1].startswith(shape)
    assert "2 refits" in str(measured)
    # It was never trained.
    assert "the last output does not act as a classifier of these labels" in " ".join(str(measured).split())


def test_the_frame_is_the_table_of_results(measured):
    frame = measured.frame
    columns = "study layer checkpoint refit kind value stderr unit direction n refits flags ceiling dof read_through"
    assert " ".join(frame.columns) == columns
    assert frame.equals(pl.read_parquet(measured.folder / "results.parquet"))
    assert set(frame["layer"]) == {"", "input", "conv", "fc"}
    assert set(frame.filter(pl.col("layer") == "fc")["refit"]) == {"all", "1", "2"}
    assert set(frame["unit"]) == {"nats", "fraction", "squared error"}


def test_estimates_by_layer(measured):
    found = measured["fc"]
    kinds = {"cross-entropy", "nce", "usable", "label", "mse", "generalisation-gap"}
    kinds |= {"sample-accuracy", "sample-variance"}
    assert found.keys() == kinds
    # Of 160 images 32 are evaluated.
    with pytest.raises(UsageError, match=r"no contrastive bound; received 32 evaluation images: 40 are needed"):
        _ = found["contrastive"]
    assert "no contrastive bound: 32 evaluation images" in str(measured)
    assert found["nce"].value == -found["cross-entropy"].value
    assert (found["nce"].bound, found["nce"].n, found["nce"].refits) == ("lower", 32, 2)
    row = measured.frame.filter((pl.col("layer") == "fc") & (pl.col("kind") == "usable") & (pl.col("refit") == "all"))
    assert row["value"].item() == found["usable"].value


def test_a_kind_that_was_not_measured_is_told_the_nearest(measured, refuses):
    with refuses("unknown kind of estimate", "'usabel'", "did you mean 'usable'"):
        measured["fc"]["usabel"]
    assert measured["fc"].get("usabel") is None
    with refuses("only information has bits", "reconstruction error in squared error"):
        _ = measured["fc"]["mse"].bits
    with pytest.raises(ValueError, match="only information has bits"):  # as before there were errors of one line
        _ = measured["fc"]["mse"].bits


def test_a_misspelt_argument_is_told_the_nearest(measured, refuses):
    with refuses("unknown argument of measure; received 'buget'; legal: model, images", "did you mean 'budget'?"):
        measure(toy_networks.build(), IMAGES, layers=["fc"], buget=3)
    with refuses("unknown argument of sample", "did you mean 'rows'?"):
        measured.sample("conv", IMAGES[:1], row=2)


def test_layers_are_reported_in_the_order_in_which_they_fire():
    assert measure(toy_networks.build(), IMAGES, layers=["fc", "conv"], **QUICK).layers == ["conv", "fc"]


def test_unknown_layers_are_told_the_nearest(measured, refuses):
    for ask in (
        lambda: measured["cov"],
        lambda: measured.sample("cov", IMAGES[:2]),
        lambda: measured.log_prob("cov", IMAGES[:2], given=IMAGES[:2]),
    ):
        with refuses("unknown measured layer", "'cov'", "did you mean 'conv'"):
            ask()


@pytest.mark.parametrize("layer", ["conv", "fc"])
def test_log_prob_is_the_stored_density_at_the_standardised_activation(measured, layer):
    given, candidates = IMAGES[3:6], IMAGES[10:14]
    scores = measured.log_prob(layer, candidates, given=given)
    assert (scores.shape, scores.dtype, scores.device.type) == ((3, 4), torch.float64, "cpu")
    # The same by hand: weights from the store, activations from the network, mean and deviation by numpy.
    plan, store = Plan.load(measured.folder), Store(measured.folder / "cells")
    spec = read_study(measured.folder / "study.yaml")
    model = toy_networks.build().eval()
    decoding = store.load(tiny_study.role(plan, "data")).array("decoding")

    def activation(images):
        with torch.no_grad():
            h = model.conv(torch.from_numpy(images).float() / 2)
            return (h if layer == "conv" else model.fc(model.norm(h).relu().flatten(1))).double().numpy()

    seen = activation(IMAGES[decoding])
    z = (activation(given) - seen.mean(0)) / seen.std(0)
    assert np.abs(z).max() < 5, "beyond, the standardiser is not linear"
    contexts = torch.from_numpy(z).float()
    density = PixelCNN((1, 4, 4), 3, tuple(contexts.shape[1:]), **(spec.density.model_extra or {})).eval()
    density.load_state_dict(store.load(tiny_study.role(plan, "density", layer, 1)).weights("density"))
    with torch.no_grad():
        expected = [
            [float(density.log_prob(torch.from_numpy(image)[None], context[None])) for image in candidates]
            for context in contexts
        ]
    assert scores.numpy() == pytest.approx(np.array(expected), abs=1e-4)
    assert scores.std() > 0


def test_log_prob_of_the_evaluation_images_is_what_was_reported(measured):
    plan, store = Plan.load(measured.folder), Store(measured.folder / "cells")
    evaluation = store.load(tiny_study.role(plan, "data")).array("evaluation")
    reported = store.load(tiny_study.role(plan, "density", "fc", 1)).array("log_probs")
    scores = measured.log_prob("fc", IMAGES[evaluation], given=IMAGES[evaluation])
    assert scores.diagonal().numpy() == pytest.approx(reported, abs=1e-4)


def test_samples(measured):
    drawn = measured.sample("conv", torch.from_numpy(IMAGES[:3]), n=4)
    assert (drawn.shape, drawn.dtype) == ((3, 4, 1, 4, 4), torch.uint8)
    assert int(drawn.max()) <= 2
    assert torch.equal(drawn, measured.sample("conv", IMAGES[:3], n=4))
    assert not torch.equal(drawn, measured.sample("conv", IMAGES[:3], n=4, seed=1))
    assert measured.sample("fc", IMAGES[:1]).shape == (1, 8, 1, 4, 4)


def test_samples_of_the_rows_below(measured):
    images = torch.from_numpy(IMAGES[:2])
    drawn = measured.sample("conv", images, n=3, rows=2)
    assert torch.equal(drawn[:, :, :, :2], images[:, None, :, :2].expand(2, 3, 1, 2, 4))
    assert torch.equal(measured.sample("conv", images, n=1, rows=4)[:, 0], images)
    cold = measured.sample("conv", images, n=6, temperature=1e-6)
    assert torch.equal(cold, cold[:, :1].expand_as(cold))  # what is likeliest is always the same
    assert not torch.equal(cold, measured.sample("conv", images, n=6))


def test_rows_that_images_do_not_have(measured, refuses):
    with refuses("fewer rows", "5", "0 … 4"):
        measured.sample("fc", IMAGES[:2], rows=5)
    with refuses("temperature", "hot"):
        measured.sample("fc", IMAGES[:2], temperature="hot")


@pytest.mark.parametrize("n", [-1, 0, 1.5, True])
def test_a_number_of_samples_that_is_none(measured, refuses, n):
    with refuses("number of samples", str(n), "1 or more"):
        measured.sample("fc", IMAGES[:1], n=n)
    with refuses("seed", "-2"):
        measured.sample("fc", IMAGES[:1], n=1, seed=-2)


@pytest.mark.parametrize(("n", "images"), [(100_001, 1), (50_001, 2), (10**9, 1), (2**70, 3)])
def test_more_samples_than_memory_holds_are_refused_before_anything_is_drawn(measured, refuses, n, images):
    with refuses("too many samples", f"{n:,} of each of {images} images", "at most 100,000 in all"):
        measured.sample("fc", IMAGES[:images], n=n)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (IMAGES[:2] / 2.0, ("not uint8",)),
        (IMAGES[:2, :, :3], ("images of another shape", "(1, 4, 4)")),
        (IMAGES[:2] + 1, ("beyond their levels",)),
        (IMAGES[0], ("wrong rank",)),
        (IMAGES[:0], ("too few",)),
    ],
    ids=lambda value: "",
)
def test_images_that_do_not_fit_the_profile(measured, refuses, images, words):
    with refuses(*words):
        measured.sample("fc", images)
    with refuses(*words):
        measured.log_prob("fc", images, given=IMAGES[:1])
    with refuses(*words):
        measured.log_prob("fc", IMAGES[:1], given=images)


def test_reading_a_profile_leaves_model_and_random_state_alone(measured):
    model = measured._live.model
    before, state = state_of(model), torch.get_rng_state()
    measured.sample("conv", IMAGES[:2], n=2)
    measured.log_prob("fc", IMAGES[:2], given=IMAGES[:2])
    assert_same_state(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), state)


def test_report_copies_the_whole_run(measured, tmp_path, refuses):
    page = measured.report(tmp_path / "out")
    assert page == tmp_path / "out" / "report.html"
    copied, own = contents(tmp_path / "out"), contents(measured.folder)
    assert copied.keys() == own.keys()
    for name in own:
        if not name.startswith("figures") and name != "report.html":
            assert copied[name] == own[name], name
    # Into its own copy again, and into its own folder, it may go; into anything else it may not.
    assert measured.report(tmp_path / "out") == page
    assert measured.report(measured.folder) == measured.folder / "report.html"
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").write_text("x")
    with refuses("not empty and holds no run", "thesis"):
        measured.report(tmp_path / "thesis")
    assert contents(tmp_path / "thesis") == {"thesis.tex": b"x"}
    (tmp_path / "file").write_text("x")
    with refuses("output folder", "file"):
        measured.report(tmp_path / "file")


def test_report_refuses_the_folder_of_another_measurement(measured, tmp_path, refuses):
    other = measure(toy_networks.build(), IMAGES, layers=["fc"], **QUICK)
    other.report(tmp_path / "other")
    before = contents(tmp_path / "other")
    with refuses("another study's run"):
        measured.report(tmp_path / "other")
    assert contents(tmp_path / "other") == before


def test_without_a_folder_it_lives_as_long_as_the_profile():
    found = measure(toy_networks.build(), IMAGES, layers=["fc"], **QUICK)
    folder = found.folder
    assert folder.is_dir()
    del found
    gc.collect()
    assert not folder.exists()


@pytest.mark.parametrize(("mask", "folder", "file"), [(0o022, 0o755, 0o644), (0o077, 0o700, 0o600)])
def test_a_report_gets_the_rights_that_the_umask_leaves(tmp_path, mask, folder, file):
    before = os.umask(0o077)
    try:
        found = measure(toy_networks.build(), IMAGES, layers=["fc"], kinds=["nce"], **QUICK)
        os.umask(mask)
        found.report(tmp_path / "given" / "report")
    finally:
        os.umask(before)
    paths = [tmp_path / "given", *(tmp_path / "given").rglob("*")]
    rights = {str(path): oct(stat.S_IMODE(path.stat().st_mode)) for path in paths}
    assert rights == {str(path): oct(folder if path.is_dir() else file) for path in paths}


# ---- the measurement ----


def test_density_normalised_over_all_images():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 3, (60, 1, 2, 2)).astype(np.uint8)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    found = measure(model, images, layers=["1"], **{**QUICK, "budget": 20})
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 4, indexing="ij"), -1).reshape(81, 1, 2, 2).astype(np.uint8)
    scores = found.log_prob("1", grid, given=images[:4])
    assert scores.shape == (4, 81)
    assert scores.exp().sum(1).numpy() == pytest.approx(np.ones(4), abs=1e-5)
    assert not torch.equal(scores[0], scores[1])


def test_the_model_and_all_random_state_are_left_as_found(hurried):
    model = toy_networks.build()
    model.fc.register_forward_hook(lambda *_: None)
    model.conv.weight.requires_grad_(False)
    torch.manual_seed(5)
    before = state_of(model)
    states = (torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate(), torch.get_num_threads())
    images, labels = IMAGES.copy(), LABELS.copy()
    measure(model, images, labels, layers=["conv", "fc"], **{**QUICK, "budget": "1s"})
    assert_same_state(before, state_of(model))
    assert before["training"][0]
    assert not model.frozen.training, "a submodule in evaluation mode stays in it"
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.array_equal(np.random.get_state()[1], states[1])
    assert random.getstate() == states[2]
    assert torch.get_num_threads() == states[3]
    assert np.array_equal(images, IMAGES)
    assert np.array_equal(labels, LABELS)


def test_a_model_that_draws_noise_and_counts_its_calls_is_left_as_found():
    model = toy_networks.Restless()
    before, state = state_of(model), torch.get_rng_state()
    found = measure(model, IMAGES, LABELS, layers=["output[hidden]"], transform=lambda x: {"pixels": x / 2}, **QUICK)
    assert_same_state(before, state_of(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert "accuracy" in set(found.frame["kind"])


def test_tensors_and_arrays_give_the_same_bytes(measured):
    given = {"labels": torch.from_numpy(LABELS), "layers": ("conv", "fc")}
    found = measure(measured._live.model, torch.from_numpy(IMAGES), **given, **{**QUICK, "refits": 2})
    found.report(found.folder)
    for name in ("results.csv", "results.parquet", "study.yaml"):
        assert (found.folder / name).read_bytes() == (measured.folder / name).read_bytes()
    assert contents(found.folder / "cells") == contents(measured.folder / "cells")


def test_workers_give_the_same_bytes(measured, tmp_path):
    options = {**QUICK, "refits": 2, "workers": 1}
    found = measure(toy_networks.build(), IMAGES, LABELS, layers=["conv", "fc"], out=tmp_path / "out", **options)
    assert (found.folder / "results.csv").read_bytes() == (measured.folder / "results.csv").read_bytes()
    assert contents(found.folder / "cells") == contents(measured.folder / "cells")


def test_layers_too_large_to_cache_are_computed_on_the_fly_to_the_same_numbers(measured, monkeypatch):
    monkeypatch.setattr("infoplane.measurements.inputs.CACHE_BYTES", 0)
    found = measure(toy_networks.build(), IMAGES, LABELS, layers=["conv", "fc"], **{**QUICK, "refits": 2})
    ours, theirs = found.frame, measured.frame
    assert ours.drop("value", "stderr").equals(theirs.drop("value", "stderr"))
    # The network sees other batches, so the last digits of an activation may differ.
    assert ours["value"].to_numpy() == pytest.approx(theirs["value"].to_numpy(), rel=1e-3, abs=1e-3)
    scores = [each.log_prob("fc", IMAGES[:3], given=IMAGES[:2]).numpy() for each in (found, measured)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_only_what_is_not_kept_is_fitted_where_the_network_is(measured, monkeypatch, capsys):
    kept = 4 * len(IMAGES) * 3  # of "fc", three units; "conv" is wider
    monkeypatch.setattr("infoplane.measurements.inputs.CACHE_BYTES", kept)
    here, run_cell = [], run.run_cell
    monkeypatch.setattr(run, "run_cell", lambda cell, *rest: here.append(cell) or run_cell(cell, *rest))
    options = {**QUICK, "refits": 2, "workers": 1, "quiet": False}
    found = measure(toy_networks.build(), IMAGES, LABELS, layers=["conv", "fc"], **options)
    assert "what is fitted on conv runs one by one in this process" in capsys.readouterr().err
    assert {(cell.kind, cell.params.get("layer")) for cell in here} == {
        ("capture", None),
        *((kind, "conv") for kind in ("density", "mse", "probe", "samples")),
        *(("judge", layer) for layer in ("conv", "fc")),
    }
    # What workers did is the same to the last bit as where everything was kept.
    ours, theirs = (each.frame.filter(each.frame["layer"] == "fc") for each in (found, measured))
    assert ours.drop("flags").equals(theirs.drop("flags"))
    assert found["conv"]["nce"].value == pytest.approx(measured["conv"]["nce"].value, rel=1e-3)


def test_a_second_measurement_into_the_same_folder_computes_nothing(tmp_path):
    options = {"layers": ["fc"], "out": tmp_path / "out", **QUICK}
    first = measure(toy_networks.build(), IMAGES, LABELS, **options)
    table, count = str(first), len(events(tmp_path / "out"))
    again = measure(toy_networks.build(), IMAGES, LABELS, **options)
    assert str(again) == table
    assert [event["event"] for event in events(tmp_path / "out")[count:]] == ["run"]


class Doubled(toy_networks.Toy):
    """The same weights, another function of them."""

    def forward(self, x):
        return super().forward(x * x)


def doubled():
    model = Doubled()
    model.load_state_dict(toy_networks.build().state_dict())
    return model


def with_other_weights():
    model = toy_networks.build()
    with torch.no_grad():
        model.fc.bias[0] += 1e-6
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {"images": tiny_study.images_and_labels(seed=1)[0]},
        {"labels": (LABELS + 1) % 3},
        {"labels": None},
        {"model": with_other_weights()},
        {"model": doubled()},
        {"transform": toy_networks.to_signs},
        {"seed": 1},
        {"budget": 4},
        {"levels": 4},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_the_folder_of_another_measurement_is_refused(small_run, refuses, changes):
    before = contents(small_run)
    given = {"model": toy_networks.build(), "images": IMAGES, "labels": LABELS, "layers": ["fc"], **QUICK, **changes}
    with refuses("the output folder holds another study's run"):
        measure(given.pop("model"), given.pop("images"), given.pop("labels"), out=small_run, **given)
    assert contents(small_run) == before


@pytest.fixture(scope="module")
def small_run(tmp_path_factory, short) -> Path:
    """The folder of a measurement, to be refused to others."""
    folder = tmp_path_factory.mktemp("small") / "out"
    measure(toy_networks.build(), IMAGES, LABELS, layers=["fc"], out=folder, **QUICK)
    return folder


def test_without_labels_nothing_is_said_of_them():
    found = measure(toy_networks.build(), IMAGES, layers=["fc"], **QUICK)
    kinds = {"cross-entropy", "nce", "usable", "mse", "sample-variance", "generalisation-gap"}
    assert found["fc"].keys() == kinds
    assert "Accuracy" not in str(found)
    assert "the error is given this one fit" in str(found)
    assert found.report(found.folder).is_file()


def test_labels_of_one_class_hold_no_information():
    found = measure(toy_networks.build(), IMAGES, LABELS * 0, layers=["fc"], **QUICK)
    assert found["fc"].get("label") is None


def test_colour():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, 3, 6, 6)).astype(np.uint8)
    model = toy_networks.build(channels=3, size=6)
    found = measure(
        model, images, np.arange(60) % 3, layers=["conv"], budget=3, refits=1, workers=0, quiet=True, density="pixelcnn"
    )
    assert read_study(found.folder / "study.yaml").density.model_extra["likelihood"] == "logistic_mixture"
    # 108 values of at most 8 bits each, about which a few updates teach next to nothing.
    assert 0.5 * 108 * math.log(256) < found["conv"]["cross-entropy"].value < 2 * 108 * math.log(256)
    assert found.sample("conv", images[:2], n=1).shape == (2, 1, 3, 6, 6)
    assert found.report(found.folder).is_file()


@pytest.mark.parametrize("network", [toy_networks.build, toy_networks.Answering])
def test_accuracy_of_a_classifier(network):
    model = network()
    layer = "fc" if network is toy_networks.build else "body.fc"
    found = measure(model, IMAGES, LABELS, layers=[layer], **QUICK)
    plan, store = Plan.load(found.folder), Store(found.folder / "cells")
    evaluation = store.load(tiny_study.role(plan, "data")).array("evaluation")
    with torch.no_grad():
        scores = model.eval()(torch.from_numpy(IMAGES[evaluation]).float() / 2)
    guess = getattr(scores, "logits", scores).argmax(1).numpy()
    row = found.frame.filter(pl.col("kind") == "accuracy")
    assert row["value"].item() == pytest.approx((guess == LABELS[evaluation]).mean())
    assert 0 < row["value"].item() < 1


def test_a_network_that_is_no_classifier_has_no_accuracy():
    found = measure(toy_networks.Painter(), IMAGES, LABELS, layers=["conv"], **QUICK)
    assert not {"accuracy", "sample-accuracy"} & set(found.frame["kind"])
    assert "label" in set(found.frame["kind"])
    # Neither has one whose outputs are not one for each class of the labels.
    for outputs in (2, 5):
        found = measure(toy_networks.build(classes=outputs), IMAGES, LABELS, layers=["fc"], **QUICK)
        assert "accuracy" not in set(found.frame["kind"])
        assert f"the network ends in {outputs} numbers, the labels name 3 classes." in " ".join(str(found).split())


def test_the_classes_probabilities_as_they_are_known(refuses):
    options = {**QUICK, "kinds": ["label"], "layers": ["fc"]}
    priors = {"none": None, "uniform": "uniform", "more": [0.25, 0.25, 0.25, 0.25]}
    given = {
        name: measure(toy_networks.build(), IMAGES, LABELS, **options, prior=each) for name, each in priors.items()
    }
    value = {name: found["fc"]["label"].value for name, found in given.items()}
    # H(y) of log 4 instead of log 3, exactly; of nearly equal shares it is log 3 but for chance.
    assert value["more"] - value["uniform"] == pytest.approx(math.log(4 / 3))
    assert value["none"] < value["uniform"]
    assert "H(y) is that of all classes alike" in str(given["uniform"])
    page = given["more"].report(given["more"].folder).read_text(encoding="utf-8")
    assert "H(y) is that of the classes" in page
    with refuses("class probabilities do not fit the labels", "sum 1"):
        measure(toy_networks.build(), IMAGES, LABELS, **options, prior=[0.5, 0.2, 0.2])
    with refuses("class probabilities without labels"):
        measure(toy_networks.build(), IMAGES, layers=["fc"], **QUICK, prior="uniform")


def test_layers_that_know_nothing_of_the_image():
    images, labels = tiny_study.images_and_labels(400)
    layers = ["constant", "noise"]
    options = {**QUICK, "budget": 60, "refits": 3}
    found = measure(toy_networks.Independent(), images, labels, layers=layers, **options)
    # A constant is standardised to the null context: the fit is its own twin.
    constant, noise = found["constant"], found["noise"]
    assert (constant["usable"].value, constant["usable"].stderr) == (0.0, 0.0)
    assert constant["usable"].refits == 3
    assert abs(constant["contrastive"].value) <= 3 * constant["contrastive"].stderr + 1e-12
    assert noise["usable"].value <= 3 * noise["usable"].stderr
    assert noise["usable"].stderr > 0
    assert abs(noise["contrastive"].value) <= 3 * noise["contrastive"].stderr
    assert noise["contrastive"].n >= 10
    # ... and the fits did learn something of the images.
    assert constant["cross-entropy"].value < 16 * math.log(3) - 0.5


def test_a_time_budget_becomes_a_number_of_updates(hurried, capsys):
    found = measure(toy_networks.build(), IMAGES, layers=["fc"], **{**QUICK, "budget": "1s", "quiet": False})
    spec = read_study(found.folder / "study.yaml")
    assert spec.fit.minutes is None
    assert spec.fit.updates >= sizes.LEAST_UPDATES
    assert found["fc"]["nce"].n == 32
    # It starts from an early p(x), as studies do.
    assert (spec.fit.warm_start, spec.fit.context_rate) == ("early", None)
    assert spec.note is not None
    assert f"A budget of 1s bought {spec.fit.updates} updates per fit" in spec.note
    assert "A budget of 1s" in capsys.readouterr().err


def test_a_number_of_updates_needs_no_note(measured):
    spec = read_study(measured.folder / "study.yaml")
    # What is said is of the network, not of the budget.
    assert (spec.note, spec.fit.warm_start, spec.fit.context_rate) == (
        said_of_mode(toy_networks.build()),
        "early",
        None,
    )


def test_a_number_of_updates_is_foretold_where_it_takes_a_while(monkeypatch, capsys):
    options = {**QUICK, "kinds": ["nce"], "quiet": False, "layers": ["fc"]}
    measure(toy_networks.build(), IMAGES, **options)
    assert "one process" not in capsys.readouterr().err
    monkeypatch.setattr(request, "WORTH_SAYING", 0.0)
    measure(toy_networks.build(), IMAGES, **options)
    assert re.search(r"^about \d+ s on cpu, one process \(", capsys.readouterr().err, re.MULTILINE)


def test_a_network_in_training_mode_is_told_that_it_is_measured_in_the_other(tmp_path, capsys):
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Dropout(0.5))
    options = {**QUICK, "budget": 2, "kinds": ["mse"], "quiet": False}
    words = "given in training mode and is measured in evaluation mode, as model.eval() sets it: Dropout computes"
    profile = measure(model, IMAGES, layers=["1"], out=tmp_path / "training", **options)
    assert capsys.readouterr().err.count(words) == 1
    assert words in " ".join(str(profile).split())
    assert words in (tmp_path / "training" / "report.html").read_text(encoding="utf-8")
    quiet = measure(model.eval(), IMAGES, layers=["1"], **options)
    assert "mode" not in str(quiet) + capsys.readouterr().err
    # What is the same in both modes need not be told.
    assert said_of_mode(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), toy_networks.build().eval())) is None
    assert "OnItsOwn and RReLU compute otherwise" in str(said_of_mode(nn.Sequential(OnItsOwn(), nn.RReLU())))


class OnItsOwn(nn.Module):
    """Looks at its mode itself."""

    def forward(self, x):
        return nn.functional.dropout(x, training=self.training)


def test_what_the_budget_did_not_buy_is_said_where_it_is_asked_for(refuses, tmp_path, monkeypatch):
    options = {**QUICK, "budget": 2, "kinds": ["nce"], "out": tmp_path / "a"}
    found = measure(toy_networks.build(), IMAGES, layers=["fc"], **options)
    assert repr(found) == f"<Profile of fc in {found.folder}; print it for its table>"
    with refuses("kind of estimate", "'mse'"):
        found["fc"]["mse"]
    results = found._results
    asked = AskedSpec(refits=1, measure=("nce", "mse"))
    results.spec = results.spec.model_copy(update={"asked": asked})
    monkeypatch.setattr(Profile, "_results", results)
    with refuses("there is no reconstruction error", "left out as time ran short", "give it a larger budget"):
        found["fc"]["mse"]


def test_budgets(refuses):
    assert [parse_budget(text) for text in ("90s", "10m", "1.5 h", "2min", 7, "60")] == [
        (90.0, None),
        (600.0, None),
        (5400.0, None),
        (120.0, None),
        (None, 7),
        (None, 60),
    ]
    for bad in ("0", "10x", "", "-3m", "0s", 0, -1, True, 1.5, None):
        with refuses("cannot read the budget", "90s"):
            parse_budget(bad)


@pytest.mark.parametrize(
    ("shape", "levels", "likelihood", "scales"),
    [
        ((1, 8, 8), 17, "categorical", 1),
        ((1, 28, 28), 256, "logistic_mixture", 3),
        ((3, 16, 16), 4, "logistic_mixture", 2),
        ((1, 1, 2), 2, "categorical", 1),
    ],
)
def test_the_suggested_density_can_be_built(shape, levels, likelihood, scales):
    spec = suggest_density(shape, levels)
    options = spec.model_extra or {}
    assert (options["likelihood"], options["scales"]) == (likelihood, scales)
    PixelCNN(shape, levels, **options)


# ---- what bad input gets ----


def call(**changes):
    given = {"model": toy_networks.build(), "images": IMAGES, "labels": LABELS, "layers": ["fc"], **QUICK, **changes}
    return measure(given.pop("model"), given.pop("images"), given.pop("labels"), **given)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": IMAGES / 2.0}, ("not uint8", "float64", "(images * 2).round().astype('uint8')")),
        ({"images": torch.rand(50, 1, 4, 4)}, ("not uint8", "float32")),
        ({"images": IMAGES[:1], "labels": LABELS[:1]}, ("too few", "received 1", "40 or more")),
        ({"images": IMAGES[:, 0]}, ("wrong rank", "images[:, None]")),
        ({"images": [1, 2, 3]}, ("wrong rank", "received int64 of shape (3,)", "legal: uint8 of shape (N, C, H, W)")),
        ({"layers": "fc"}, ("layers must be a list of names", "a list of one: layers=['fc']")),
        ({"images": IMAGES.repeat(3, 1).repeat(2, 2).transpose(0, 2, 3, 1)}, ("channels-last",)),
        ({"images": "digits"}, ("images",)),
        ({"name": 3}, ("name cannot be used", "received 3")),
        ({"labels": LABELS[:-1]}, ("labels do not match the images", "(159,)", "(160,)")),
        ({"labels": LABELS / 2}, ("labels are not whole numbers",)),
        ({"labels": LABELS - 1}, ("labels are outside the classes",)),
        ({"labels": LABELS.astype(np.int64) + 65_534}, ("labels are outside the classes", "65536")),
        ({"levels": 2}, ("beyond their levels", "levels=3")),
        ({"levels": 257}, ("levels", "from 2 to 256")),
        ({"layers": []}, ("layers must be a list of names",)),
        ({"layers": [3]}, ("layers must be a list of names",)),
        ({"layers": ["fc", "fc"]}, ("distinct",)),
        ({"layers": ["fcc"]}, ("unknown layer", "'fcc'", "did you mean 'fc'")),
        ({"model": toy_networks.build, "layers": ["fc"]}, ("not a model", "function", "torch.nn.Module")),
        ({"model": {"fc.weight": 0}, "layers": ["fc"]}, ("not a model", "dict", "load the weights into it")),
        ({"model": toy_networks.build(size=9)}, ("does not run on these inputs",)),
        ({"model": toy_networks.Exploding(), "layers": ["output"]}, ("finite", "'output'")),
        ({"transform": toy_networks.bad_transform}, ("the transform fails", "cannot do this")),
        ({"transform": 3}, ("the transform is not a function", "received 3")),
        ({"transform": lambda x: None}, ("the transform returns no input of a model", "None")),
        ({"budget": "soon"}, ("cannot read the budget", "'soon'")),
        ({"device": "tpu"}, ("unknown device", "'tpu'")),
        ({"seed": -1}, ("seed", "-1", "from 0")),
        ({"seed": 1.5}, ("seed", "1.5")),
        ({"refits": 0}, ("number of refits", "received 0")),
        ({"refits": True}, ("number of refits", "True")),
        ({"workers": -1}, ("number of workers", "-1")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_input_is_refused_in_one_line_before_anything_is_made(refuses, tmp_path, changes, words):
    with refuses(*words):
        call(**changes, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_there(refuses, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with refuses("no GPU", "received cuda; legal: auto, cpu; use cpu"):
        call(device="cuda", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_part_that_fails_is_one_error_and_the_rest_is_kept(tmp_path, monkeypatch):
    def broken(self, task):
        raise RuntimeError("no\nluck")

    monkeypatch.setattr(KINDS["mse"], "run", broken)
    with pytest.raises(CellError, match="1 part of the measurement failed, first mse-fc-") as caught:
        call(out=tmp_path / "out")
    assert "RuntimeError: no luck" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "nce" in (tmp_path / "out" / "results.csv").read_text()
    assert "no luck" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("kept", [True, False])
def test_an_interrupt_says_how_to_go_on(monkeypatch, tmp_path, kept):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "carry_out", interrupted)
    out = tmp_path / "run" if kept else None
    with pytest.raises(KeyboardInterrupt) as caught:
        measure(toy_networks.build(), IMAGES, layers=["fc"], **QUICK, out=out)
    assert (f"kept in {out}: the same call goes on" if kept else "nothing is kept") in str(caught.value)


def test_the_public_name_is_this_one():
    assert infoplane.measure is measure
    assert infoplane.Profile is Profile


@pytest.mark.parametrize(
    ("kinds", "cells"),
    [
        (("nce",), {"data", "capture", "density"}),
        (("mse", "nce"), {"data", "capture", "density", "mse"}),
        (("label",), {"data", "capture", "probe"}),
    ],
)
def test_kinds_choose_what_is_measured(kinds, cells):
    found = measure(toy_networks.build(), IMAGES, LABELS, layers=["fc"], kinds=kinds, **QUICK)
    assert {kind_of(cell) for cell in Plan.load(found.folder).cells} == cells
    measured = set(found.frame.filter(pl.col("layer") == "fc")["kind"])
    assert set(kinds) <= measured
    assert {"nce", "usable", "contrastive", "label", "mse"} & measured == set(kinds)
    assert str(found)


@pytest.mark.parametrize(
    ("kinds", "labels", "says"),
    [
        (["usabel"], LABELS, ("unknown kind to measure", "'usabel'", "did you mean 'usable'")),
        (["label"], None, ("there are no labels to read", "labels=")),
        ("nce", LABELS, ("kinds must be a list of names", "'nce'")),
        ([], LABELS, ("kinds must be a list of names",)),
    ],
)
def test_kinds_that_cannot_be_measured(refuses, kinds, labels, says):
    with refuses(*says):
        measure(toy_networks.build(), IMAGES, labels, layers=["fc"], kinds=kinds, **QUICK)


def test_a_budget_that_is_far_too_short_is_refused_at_once(refuses, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 224, 224)).astype(np.uint8)
    model = torch.nn.Sequential(torch.nn.AvgPool2d(56), torch.nn.Flatten())
    with refuses("the budget is too short for this", "1m", "fewer layers", "refits=1", "transform"):
        measure(model, images, layers=["0", "1"], budget="1m", out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


def test_a_time_budget_is_taken_up_again_with_the_sizes_it_bought(hurried, tmp_path):
    images = np.random.default_rng(0).integers(0, 4, (60, 1, 4, 4)).astype(np.uint8)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    options = {
        "layers": ["1"],
        "budget": "1s",
        "refits": 1,
        "out": tmp_path / "run",
        "workers": 0,
        "quiet": True,
        "density": "pixelcnn",
    }
    infoplane.measure(model, images, **options)
    first = {name: (tmp_path / "run" / name).read_bytes() for name in ("study.yaml", "results.csv")}
    assert b"No pixel is above 3" in first["study.yaml"]  # of 256 levels, which are hardly meant
    infoplane.measure(model, images, **options)
    assert {name: (tmp_path / "run" / name).read_bytes() for name in first} == first
    infoplane.measure(model, images, **{**options, "refits": 2})  # the run grows, and keeps its sizes
    grown, expected = (
        yaml.safe_load(text) for text in ((tmp_path / "run" / "study.yaml").read_bytes(), first["study.yaml"])
    )
    for section in ("fit", "asked"):
        if expected[section] is not None:
            expected[section]["refits"] = 2
    assert grown == expected
