"""The losses of densities on every part of the split, and densities without any network."""

import math

import numpy as np
import polars as pl
import pytest
import torch

import tiny_study
from infoplane import densities
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.measurements import fits
from infoplane.report.build import build_page, load_run, table
from infoplane.study.check import check
from infoplane.study.execute import execute

MEASURE = ["nce", "usable", "losses"]
FOLLOWED = 12


def run(folder, **changes):
    settings = {"measure": MEASURE, "losses__images": FOLLOWED, **changes}
    assert not execute(tiny_study.tiny(folder, **settings), folder / "run", workers=0, quiet=True).failed
    build_page(folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("losses"))


def stored(folder, kind, layer="", refit=0):
    return Store(folder / "cells").load(tiny_study.role(Plan.load(folder), kind, layer, refit))


@pytest.mark.parametrize("layer", ["input", "conv1"])
def test_losses_are_those_of_the_stored_density_on_the_first_images_of_each_part(finished, layer):
    data, fitted, capture = stored(finished, "data"), stored(finished, "density", layer, 2), stored(finished, "capture")
    spec = load_run(finished).spec.density_of(layer)
    shape, context = tuple(data.values["shape"]), fitted.values["context"]
    density = densities.build(
        spec.kind, shape, 3, None if context is None else tuple(context), dict(spec.model_extra or {})
    )
    density.load_state_dict(fitted.weights("density"))
    density.eval()
    for part, key in (("encoding", "log_probs:encoding"), ("decoding", "log_probs:decoding")):
        images = torch.from_numpy(data.array("images")[data.array(part)[:FOLLOWED]])
        given = None
        if layer != "input":
            # Standardised on the whole decoding part, whatever part is scored.
            reference = torch.from_numpy(capture.array(f"decoding:{layer}")).double()
            given = torch.from_numpy(capture.array(f"{part}:{layer}")[:FOLLOWED]).double()
            spread = reference.std(0, correction=0)
            given = ((given - reference.mean(0)) / torch.where(spread > 1e-6, spread, 1.0)).float()
            beyond = (given.abs() - 5).clamp_min(0)
            given = given.clamp(-5, 5) + given.sign() * beyond.log1p()
        with torch.no_grad():
            expected = density.log_prob(images, given)
        assert fitted.array(key) == pytest.approx(expected.numpy(), abs=1e-4), part


def test_the_table_of_losses(finished):
    frame = pl.read_csv(finished / "losses.csv")
    assert frame["layer"].to_list() == ["input", "conv1", "logits"]
    row = frame.filter(pl.col("layer") == "conv1").row(0, named=True)
    scores = {
        part: np.stack([stored(finished, "density", "conv1", refit).array(key) for refit in (1, 2)])
        for part, key in (("encoding", "log_probs:encoding"), ("evaluation", "log_probs"))
    }
    for part, found in scores.items():
        assert row[part] == pytest.approx(-found.mean())
        assert row[f"{part}_n"] == found.shape[1]
    # 4×4 images of one channel.
    assert row["bits_per_dimension"] == pytest.approx(-scores["evaluation"].mean() / 16 / math.log(2))
    assert row["refits"] == 2


def test_the_page_has_the_losses(finished):
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "Loss on each part of the split" in page
    assert "Losses of the densities on each part of the split" in page


def test_following_a_loss_changes_nothing_of_the_training(finished, tmp_path):
    without = run(tmp_path, measure=["nce", "usable"])
    for layer in ("input", "conv1", "logits"):
        watched, plain = stored(finished, "density", layer, 1), stored(without, "density", layer, 1)
        assert np.array_equal(watched.array("log_probs"), plain.array("log_probs"))
        assert set(watched.values["curve"]["watched"]) == {"encoding", "decoding", "evaluation"}
        assert not plain.values["curve"]["watched"]
    assert not (without / "losses.csv").exists()


def test_where_densities_begin_together_the_followed_losses_begin_later(tmp_path):
    folder = run(tmp_path, fit__warm_start="shared", fit__updates=4, fit__refits=1)
    curve = stored(folder, "density", "conv1", 1).values["curve"]
    assert len(curve["watched"]["evaluation"]) == len(curve["updates"])
    known = np.isfinite(curve["watched"]["evaluation"])
    assert not known[0]
    assert known[-1]


def test_a_density_of_the_encoding_part_sees_that_part_alone(tmp_path, monkeypatch):
    """By content: every image of the tiny data set is made distinct."""
    seen = {}

    def recording(density, pairs, held, *rest, **options):
        seen["trained"] = {image.numpy().tobytes() for image in (*pairs.images, *held.images)}
        return fits.Curve()

    monkeypatch.setattr(fits, "fit_density", recording)
    spec = tiny_study.tiny(tmp_path, subject=None, layers=[], fit_on="encoding", measure=["losses"], fit__refits=1)
    images, labels = tiny_study.images_and_labels()
    images[:, 0, 0] = np.array([[n // 27 % 3, n // 9 % 3, n // 3 % 3, n % 3] for n in range(len(images))])
    images[:, 0, 1, 0] = np.arange(len(images)) // 81
    np.savez(tmp_path / "tiny.npz", images=images, labels=labels, levels=3)
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    data = stored(tmp_path / "run", "data")
    parts = {
        part: {image.tobytes() for image in data.array("images")[data.array(part)]}
        for part in ("encoding", "decoding", "evaluation")
    }
    assert sum(map(len, parts.values())) == len(images)
    assert seen["trained"] == parts["encoding"]


def test_a_density_without_any_layer_has_a_page_of_its_own(tmp_path):
    folder = run(tmp_path, subject=None, layers=[], fit_on="encoding", measure=["losses", "samples"])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "bits per dimension" in page
    assert "A density was trained on 40 images" in page
    assert "on held-out encoding data" in page
    drawn = stored(folder, "samples", "input").array("samples")[0]
    assert page.count('alt="Sample ') == len(drawn)
    # No row has anything to say, so there is no table.
    assert any(line.startswith("no layer, p(x)") for line in table(load_run(folder)).splitlines())
    frame = pl.read_csv(folder / "losses.csv")
    assert frame["layer"].to_list() == ["input"]
    assert {"encoding", "decoding", "evaluation"} <= set(frame.columns)


@pytest.mark.parametrize("kind", ["forward", "own"])
def test_without_a_network_nothing_reads_the_label(tmp_path, refuses, kind):
    spec = tiny_study.tiny(tmp_path, subject=None, layers=[], fit_on="encoding", measure=["losses", kind])
    with refuses("there is no network to read the label", kind, "leave"):
        check(spec)


def test_a_network_s_own_images_train_no_density(tmp_path, refuses):
    with refuses("densities on the images that trained the network", "fit_on: encoding"):
        check(tiny_study.tiny(tmp_path, fit_on="encoding"))
