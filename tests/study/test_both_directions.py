"""A network trained by epochs, read in both directions: what of its input, and what of the label, each layer keeps."""

import shutil

import numpy as np
import polars as pl
import pytest
import torch
import torch.nn.functional as F
from scipy import stats

import tiny_study
from infoplane import subjects
from infoplane.capture import default_transform
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.measurements import QUANTITIES, fits, inputs, label
from infoplane.measurements.densities import seed_of
from infoplane.measurements.label import FORWARD
from infoplane.measurements.numbers import Place
from infoplane.measurements.task import build_subject
from infoplane.report.build import build_page, load_run
from infoplane.study.check import check
from infoplane.study.execute import execute
from infoplane.study.plan import make_plan
from infoplane.subjects import forward

LAYERS, CHECKPOINTS = ("h1", "h3", "h4"), ("0", "0.5", "1", "end")
TRAIN = {"epochs": 2, "batch": 8, "checkpoints": ["end", 1, 0.5, 0], "held_out": 0}
SUBJECT = {"kind": "resnet-classifier", "filters": [2, 2, 3], "blocks": 1, "pool": 1, "train": TRAIN}
MEASURE = ["nce", "usable", "label", "forward", "own"]


def study(folder, kind="resnet-classifier", measure=MEASURE, **changes):
    subject = {**SUBJECT, "kind": kind}
    settings = {"subject": subject, "layers": list(LAYERS), "measure": measure, "fit__updates": 2, "fit__refits": 2}
    return tiny_study.tiny(folder, **{**settings, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("directions")
    assert not execute(study(folder), folder / "run", workers=0, quiet=True).failed
    build_page(folder / "run")
    return folder / "run"


def network(folder, checkpoint):
    """The network at a checkpoint, the stored data, and the parts of their split."""
    store, plan = Store(folder / "cells"), Plan.load(folder)
    data, trained = store.load(plan.name("data")), store.load(plan.name("subject"))
    model = build_subject(trained.values["kind"], trained.values["options"], data.values)
    model.load_state_dict(trained.weights(checkpoint))
    images, labels = torch.from_numpy(data.array("images")), torch.from_numpy(data.array("labels")).long()
    parts = {part: (images[data.array(part)], labels[data.array(part)]) for part in ("decoding", "evaluation")}
    return model.eval(), parts, store, plan


def test_checkpoints_by_epoch_are_in_training_order(finished):
    frame = pl.read_parquet(finished / "results.parquet")
    for kind in ("nce", "label", "forward"):
        rows = frame.filter((pl.col("kind") == kind) & (pl.col("refit") == "all") & (pl.col("layer") == "h3"))
        assert tuple(rows["checkpoint"]) == CHECKPOINTS
        assert set(rows["direction"]) == {"lower"}
    own = frame.filter(pl.col("kind") == "own")
    assert tuple(own["checkpoint"]) == CHECKPOINTS
    assert set(own["refits"]) == {0}


@pytest.mark.parametrize("checkpoint", CHECKPOINTS)
def test_the_networks_own_answers_are_its_softmax(finished, checkpoint):
    model, parts, store, plan = network(finished, checkpoint)
    images, labels = parts["evaluation"]
    with torch.no_grad():
        scores = F.log_softmax(model(default_transform(3)(images)).double(), 1)[torch.arange(len(labels)), labels]
    stored = store.load(plan.name("own", checkpoint=checkpoint)).array("log_probs")
    assert stored == pytest.approx(scores.numpy(), abs=1e-5)
    shares = torch.bincount(labels, minlength=3) / len(labels)
    bound = float(-(shares * shares.log()).sum() + scores.mean())
    found = [e for (layer, c, *_), _, e in load_run(finished).numbers if (e.kind, c) == ("own", checkpoint)]
    assert found[0].value == pytest.approx(bound, abs=1e-5)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_rest_is_trained_anew_on_what_the_frozen_part_gives(finished, layer):
    model, parts, store, plan = network(finished, "1")
    data = store.load(plan.name("data"))
    settings = subjects.EpochSettings(**{**TRAIN, "checkpoints": ()})
    # From the images, through the frozen part: the study took the captured activations.
    both, transform = (parts["decoding"], parts["evaluation"]), default_transform(3)
    again = subjects.decode_labels(
        model, layer, *both, settings, classes=3, seed=seed_of(0, 2), transform=transform, held_out=0.1,
        groups=data.array("groups")[data.array("decoding")],
    )  # fmt: skip
    stored = store.load(plan.name("forward", layer, 2, checkpoint="1"))
    assert stored.array("log_probs") == pytest.approx(again.log_probs.numpy(), abs=1e-4)
    assert stored.values["parameters"] == again.parameters


def test_no_image_serves_two_purposes(tmp_path, monkeypatch):
    seen = {"network": set(), "rest": set(), "densities": set(), "probes": set()}

    def spy(purpose, train):
        def wrapped(model, inputs, labels, held, *rest, **options):
            assert inputs.dtype == torch.uint8
            trained, chosen = ({image.numpy().tobytes() for image in images} for images in (inputs, held))
            assert not trained & chosen
            assert len(held) == (0 if purpose == "network" else round(0.1 * (len(inputs) + len(held))))
            seen[purpose] |= trained | chosen
            return train(model, inputs, labels, held, *rest, **options)

        return wrapped

    def of_pairs(density, pairs, held, *rest, **options):
        seen["densities"] |= {image.numpy().tobytes() for image in (*pairs.images, *held.images)}
        return fit_density(density, pairs, held, *rest, **options)

    def of_features(pairs, *units):
        asked.append({image.numpy().tobytes() for image in pairs.images})
        return features(pairs, *units)

    fit_density, features, asked = fits.fit_density, label._features, []
    monkeypatch.setattr(fits, "fit_density", of_pairs)
    monkeypatch.setattr(label, "_features", of_features)
    monkeypatch.setattr(inputs, "CACHE_BYTES", 0)  # nothing is captured: what is trained on are images
    monkeypatch.setattr(subjects, "train_epochs", spy("network", subjects.train_epochs))
    monkeypatch.setattr(forward, "train_epochs", spy("rest", forward.train_epochs))
    # What an image serves for does not depend on the layer or on how far training has come: one of either is enough.
    few = {"layers": ["h3"], "fit__refits": 1, "subject": {**SUBJECT, "train": {**TRAIN, "checkpoints": ["end"]}}}
    spec = study(tmp_path, measure=["nce", "label", "forward"], **few)
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    data = Store(tmp_path / "run" / "cells").load(Plan.load(tmp_path / "run").name("data"))
    content = {part: {i.tobytes() for i in data.array("images")[data.array(part)]} for part in
               ("encoding", "decoding", "evaluation")}  # fmt: skip
    # A probe sees what it learns from, what its penalty is chosen on, and what it is scored on.
    for learned, chosen, scored in zip(*[iter(asked)] * 3, strict=True):
        seen["probes"] |= learned | chosen
        assert scored == content["evaluation"]
    assert seen.pop("network") == content["encoding"]
    assert all(images == content["decoding"] for images in seen.values())
    assert not content["encoding"] & content["decoding"]
    assert not content["evaluation"] & (content["encoding"] | content["decoding"])


def test_an_autoencoder_knows_no_labels_but_its_layers_do(tmp_path):
    trained = {**SUBJECT, "kind": "resnet-autoencoder", "train": {**TRAIN, "checkpoints": ["end"]}}
    spec = study(tmp_path, measure=["nce", "label", "forward"], subject=trained, fit__refits=1)
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    results = load_run(tmp_path / "run")
    kinds = {(layer, e.kind) for (layer, c, *_), _, e in results.numbers if c == "end"}
    assert {(layer, kind) for layer in LAYERS for kind in ("nce", "label", "forward")} <= kinds
    trained = results.cell("subject")
    assert trained.values["objective"] == "mse"
    assert trained.values["epochs"] == [0, 1, 2]
    assert np.isfinite(trained.values["curves"]["train loss"]).all()


def test_what_cannot_be_read_forwards_is_refused(tmp_path, refuses, monkeypatch):
    with refuses("nothing behind this layer", "logits"):
        check(study(tmp_path, layers=["h1", "logits"]))
    # What shows without data is said before they are waited for.
    monkeypatch.setattr("infoplane.study.check.load_data", lambda *_: pytest.fail("loaded"))
    with refuses("no answers of its own", "resnet-autoencoder"):
        check(study(tmp_path, "resnet-autoencoder"))
    nash = tiny_study.tiny(tmp_path, measure=["nce", "forward"])
    with refuses("trained by epochs", "nash-cnn", "resnet-classifier"):
        check(nash)


def test_the_settings_of_a_network_go_with_its_kind(tmp_path, refuses):
    assert study(tmp_path).subject.train.epochs == 2
    assert tiny_study.tiny(tmp_path).subject.train.updates == 4
    with refuses("subject.train.updates", "epochs"):
        study(tmp_path, subject__train__updates=3)
    with refuses("subject.train.epochs", "updates"):
        tiny_study.tiny(tmp_path, subject__train__epochs=3)


def test_falls_from_the_peak_stand_on_the_page_with_what_chance_would_show(finished):
    """The peak by hand on held-out decoding images, the fall by hand on evaluation images."""
    results = load_run(finished)
    rows = {row["layer"]: row for row in pl.read_csv(finished / "compression.csv").iter_rows(named=True)}
    assert tuple(rows) == LAYERS
    for layer, row in rows.items():
        fits = {at: [fit for _, fit in results.fits(layer, at)] for at in CHECKPOINTS}
        held = {at: np.mean([-fit.values["heldout_nats"] for fit in found]) for at, found in fits.items()}
        peak = max(CHECKPOINTS, key=held.get)
        scores = {at: np.mean([fit.array("log_probs").mean() for fit in found]) for at, found in fits.items()}
        assert str(row["peak"]) in (peak, f"{float(peak):g}" if peak != "end" else peak)
        assert row["value"] == pytest.approx(scores[peak] - scores["end"], abs=1e-6)
        assert row["refits"] == 2
        # Two fits are too few to say anything.
        assert row["verdict"] == "fewer than 3 fits: no claim"
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "From the peak to the end" in page
    assert 'id="plane"' in page
    assert "network itself, checkpoint 0.5" in page


def test_changes_between_checkpoints_are_paired(finished):
    frame = pl.read_csv(finished / "changes.csv", schema_overrides={"first": pl.String, "last": pl.String})
    steps = [("0", "0.5"), ("0.5", "1"), ("1", "end"), ("0", "end"), ("0.5", "end")]
    results = load_run(finished)
    for layer, kind, count in (("h3", "nce", 2), ("h3", "forward", 3), ("h3", "label", 1), (None, "own", 0)):
        rows = frame.filter((pl.col("kind") == kind) & pl.col("layer").fill_null("").eq(layer or ""))
        assert list(zip(rows["first"], rows["last"], strict=True)) == steps
        assert set(rows["refits"]) == {count}
        row = rows.row(3, named=True)
        scores = {
            at: results.log_probs("h3", checkpoint=at)
            if kind == "nce"
            else np.stack([*QUANTITIES[kind].scores(results, Place(layer or "", at)).values()])
            for at in ("0", "end")
        }
        terms = scores["end"] - scores["0"]
        assert row["value"] == pytest.approx(terms.mean())
        # The two-way error: examples, and refits where there are several.
        spread = terms.mean(0).var(ddof=1) / terms.shape[1]
        spread += terms.mean(1).var(ddof=1) / len(terms) if len(terms) > 1 else 0
        assert row["stderr"] == pytest.approx(spread**0.5)
        if kind == "nce":
            assert row["verdict"] == "fewer than 3 fits: no claim"
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "From the first checkpoint to the last" in page


def test_the_columns_of_what_is_tested(tmp_path):
    """Three fits of two layers at three checkpoints: p by Student's t from pooled columns, Holm by hand."""
    changes = {"layers": ["h3", "h4"], "measure": ["nce"], "fit__refits": 3, "fit__updates": 12}
    spec = study(tmp_path, **changes, subject={**SUBJECT, "train": {**TRAIN, "checkpoints": ["end", 1, 0]}})
    folder = tmp_path / "run"
    assert not execute(spec, folder, workers=0, quiet=True).failed
    build_page(folder)
    tables = {name: pl.read_csv(folder / f"{name}.csv") for name in ("differences", "changes", "compression")}
    family = {}
    for name in ("differences", "changes"):
        for row in tables[name].iter_rows(named=True):
            assert row["pooled_stderr"] >= row["stderr"] * (1 - 1e-12)
            if row["pooled_stderr"]:  # densities that learnt nothing of a layer have no spread, and p is 1
                t = abs(row["value"]) / row["pooled_stderr"]
                assert row["p"] == pytest.approx(2 * stats.t.sf(t, row["pooled_dof"]), rel=1e-4)
            family[terms_of(row)] = max(row["p"], family.get(terms_of(row), 0.0))
    for row in tables["compression"].iter_rows(named=True):
        if row["p_corrected"] is not None:
            family["compression", row["layer"]] = max(p for p in (row["p"], row["paired"]) if p is not None)
    corrected = dict(zip(family, holm([*family.values()]), strict=True))
    for name in ("differences", "changes"):
        for row in tables[name].iter_rows(named=True):
            assert row["tests"] == len(family)
            assert row["p_corrected"] == pytest.approx(corrected[terms_of(row)])
            claimed = not row["verdict"].startswith(("not told apart", "no "))
            assert claimed == (row["p_corrected"] < 0.05)


def terms_of(row):
    """What tells one comparison from another: those of identical terms are one."""
    return f"{abs(row['value']):.9g}", f"{row['stderr']:.9g}"


def holm(p):
    """Holm's correction as he states it (1979): the smallest p times m, the next times m − 1, none below the last."""
    order, found, least = np.argsort(p), np.zeros(len(p)), 0.0
    for rank, at in enumerate(order):
        least = max(least, min(1.0, p[at] * (len(p) - rank)))
        found[at] = least
    return found


def test_a_reader_that_fails_is_no_fall(finished, monkeypatch):
    results = load_run(finished)
    read = type(FORWARD).scores

    def scores(self, run, place):
        found = read(self, run, place)
        if (self, place.layer, place.checkpoint) != (FORWARD, "h3", "end"):
            return found
        return {refit: own - np.linspace(40, 60, len(own)) for refit, own in found.items()}

    monkeypatch.setattr(type(FORWARD), "scores", scores)
    wanted = {"layer": "h3", "kind": "forward", "first": "0", "last": "end"}
    (row,) = [row for row in results.changes() if wanted.items() <= row.items()]
    assert row["value"] < -30
    assert row["p"] < 0.05
    assert row["verdict"] == "the reader fails: no claim"
    assert "below 0" in row["flags"]


def test_changes_of_a_partial_run_pair_only_refits_that_both_checkpoints_have(finished, tmp_path):
    whole = load_run(finished)
    before, after = (FORWARD.scores(whole, Place("h3", at)) for at in ("0", "end"))
    partial = load_run(shutil.copytree(finished, tmp_path / "partial"))
    for refit, at in ((1, "0"), (3, "end")):
        name = partial.plan.name("forward", "h3", refit, at)
        shutil.rmtree(tmp_path / "partial" / "cells" / name)
    wanted = {"layer": "h3", "kind": "forward", "first": "0", "last": "end"}
    found = [row for row in load_run(tmp_path / "partial").changes() if wanted.items() <= row.items()]
    # Two are left on each side, but of the same refit only one.
    assert [row["refits"] for row in found] == [1]
    assert found[0]["value"] == pytest.approx((after[2] - before[2]).mean())


def test_the_rest_is_trained_anew_at_the_checkpoints_that_are_named(tmp_path, finished, refuses):
    """The others' cells stay; what is compared is then what there is."""
    shutil.copytree(finished, tmp_path / "run")
    some = study(finished.parent, forward__checkpoints=[0, "end"])
    before, planned = Plan.load(finished), make_plan(some)
    kept = {role for role in before.roles if role[0] != "forward" or role[3] in ("0", "end")}
    assert planned.roles.keys() == kept
    assert len(kept) < len(before.roles)
    assert not execute(some, tmp_path / "run", workers=0, quiet=True).failed
    build_page(tmp_path / "run")
    rows = pl.read_parquet(tmp_path / "run" / "results.parquet").filter(pl.col("kind") == "forward")
    assert set(rows["checkpoint"]) == {"0", "end"}
    whole = pl.read_parquet(finished / "results.parquet").filter(pl.col("kind") == "forward")
    kept_rows = whole.filter(pl.col("checkpoint").is_in(["0", "end"]))
    assert rows.select("layer", "checkpoint", "refit", "value").equals(
        kept_rows.select("layer", "checkpoint", "refit", "value")
    )
    changes = pl.read_parquet(tmp_path / "run" / "changes.parquet").filter(pl.col("kind") == "forward")
    assert set(zip(changes["first"], changes["last"], strict=True)) == {("0", "end")}
    with refuses("unknown checkpoint in forward.checkpoints", "3", "0.5"):
        check(study(finished.parent, forward__checkpoints=[3]))
