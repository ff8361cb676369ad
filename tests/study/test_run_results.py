"""From stored cells to rows and to the closing table, against hand-made cells whose numbers are known."""

import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

import tiny_study
from infoplane.data import Truth
from infoplane.engine.store import Result, Store, Stored
from infoplane.estimate import Estimate
from infoplane.information import Seen, contrastive_batches, crossed_mean
from infoplane.measurements.densities import FALLING, unlearnt
from infoplane.measurements.numbers import ALL, Number, Numbers, Place
from infoplane.measurements.truth import beside_truth, compared, exceeding
from infoplane.report.build import load_run
from infoplane.report.text import table
from infoplane.study.execute import execute
from infoplane.study.plan import make_plan
from infoplane.study.results import Results

N, CLASSES = 40, 3
CROSS = "cross-entropy"
RNG = np.random.default_rng(0)
#: log-probabilities (2 refits, N) of p(x) and of one layer, and the probe's (N,)
TWIN, LAYER = RNG.normal(-20, 2, (2, N)), RNG.normal(-17, 2, (2, N))
BATCHES = RNG.normal(0.4, 0.1, (2, 10))
PROBE = np.log(RNG.uniform(0.3, 0.9, N))
LABELS = np.arange(N) % CLASSES
ERRORS, CORRECT = RNG.uniform(0, 1, N), RNG.integers(0, 2, N)
#: which samples the network recognised: two images, two samples each
JUDGED = np.array([1, 1, 0, 1], dtype=np.uint8)
LEVELS = 3
SAMPLES = RNG.integers(0, LEVELS, (2, 2, 1, 4, 4))
#: held-out losses of the raw and the averaged weights that are no longer falling
LEVEL = ([15.6, 15.5], [15.55, 15.49])
HELD = 16


def density(scores, *, train=15.0, heldout=15.5, curve=LEVEL, held=HELD, batches=None) -> Result:
    values = {"train_nats": train, "heldout_nats": heldout, "heldout_n": held, "candidates": 4}
    values["curve"] = dict(zip(("heldout", "heldout_ema"), curve))
    arrays = {"log_probs": scores} | ({} if batches is None else {"contrastive": batches})
    return Result(values, arrays)


def inverter(curve) -> Result:
    return Result({"curve": dict(zip(("heldout", "heldout_ema"), curve))}, {"errors": ERRORS})


@pytest.fixture
def made(tmp_path):
    """Returns (save, results): `save(kind, layer, refit, result)` makes a cell of a study of the layer `logits`."""
    spec = tiny_study.tiny(tmp_path, layers=["logits"])
    plan, store = make_plan(spec), Store(tmp_path / "cells")

    def save(kind, result, layer="", refit=0):
        cell = plan.cells[tiny_study.role(plan, kind, layer, refit)]
        store.remove(cell.name)
        store.save(cell, result)

    images, _ = tiny_study.images_and_labels()
    arrays = {"images": images, "labels": LABELS.repeat(4), "evaluation": np.arange(N) * 4, "decoding": np.arange(80)}
    arrays["groups"] = np.arange(len(images))
    save("data", Result({"classes": CLASSES, "levels": LEVELS, "shape": [1, 5, 5], "name": "tiny"}, arrays))
    return save, lambda: Results(spec, plan, store)


def fill(save, *, refits=(1, 2), seen=(120, 60, 60), states=66.5, **options):
    """Saves every cell of the layer for these refits."""
    values = {"seen": {"logits": dict(zip(("values", "tested", "unseen"), seen))}, "states": {"logits": states}}
    save("capture", Result(values | {"shapes": {"logits": [3]}}, {"correct": CORRECT}))
    for refit in refits:
        save("density", density(TWIN[refit - 1]), "input", refit)
        save("density", density(LAYER[refit - 1], batches=BATCHES[refit - 1], **options), "logits", refit)
    save("probe", Result({"labels": True}, {"log_probs": PROBE}), "logits")
    save("mse", inverter(LEVEL), "logits")
    save("samples", Result({}, {"samples": SAMPLES}), "logits")
    save("judge", Result({"classifier": True}, {"correct": JUDGED}), "logits")


def find(results, layer, kind, refit="all") -> Estimate:
    (found,) = [e for (name, _, *_), r, e in results.numbers if (name, r, e.kind) == (layer, refit, kind)]
    return found


def stderr_of(terms) -> float:
    """The error of a mean over refits and examples, both random: written out."""
    refits, n = terms.shape
    examples = terms.mean(0).var(ddof=1) / n
    return math.sqrt(examples + (terms.mean(1).var(ddof=1) / refits if refits > 1 else 0.0))


@pytest.mark.parametrize("refit", ["all", "1", "2"])
def test_rows_are_the_means_of_what_the_cells_hold(made, refit):
    save, results = made
    fill(save)
    rows = [0, 1] if refit == "all" else [int(refit) - 1]
    expected = {
        ("input", "cross-entropy"): (-TWIN[rows], "upper"),
        ("logits", "cross-entropy"): (-LAYER[rows], "upper"),
        ("logits", "nce"): (LAYER[rows], "lower"),
        ("logits", "usable"): (LAYER[rows] - TWIN[rows], None),
        ("logits", "contrastive"): (BATCHES[rows], "lower"),
    }
    for (layer, kind), (terms, bound) in expected.items():
        estimate = find(results(), layer, kind, refit)
        assert estimate.value == pytest.approx(terms.mean(), rel=1e-12)
        assert estimate.stderr == pytest.approx(stderr_of(terms), rel=1e-12)
        assert (estimate.bound, estimate.unit) == (bound, "nats")
        assert (estimate.n, estimate.refits) == (terms.shape[1], len(rows))
    gap = find(results(), "logits", "generalisation-gap", refit)
    assert (gap.value, gap.refits, gap.n) == (pytest.approx(0.5), len(rows), HELD)
    if refit != "all":
        return
    surprise = -np.log(np.bincount(LABELS)[LABELS] / N)
    label = find(results(), "logits", "label")
    assert label.value == pytest.approx((PROBE + surprise).mean(), rel=1e-12)
    assert label.bound == "lower"
    mse = find(results(), "logits", "mse")
    assert (mse.value, mse.unit) == (pytest.approx(ERRORS.mean()), "squared error")
    assert mse.stderr == pytest.approx(ERRORS.std(ddof=1) / math.sqrt(N))
    share = find(results(), "", "accuracy")
    assert (share.value, share.unit, share.n) == (pytest.approx(CORRECT.mean()), "fraction", N)
    assert share.refits == 0
    varied = find(results(), "logits", "sample-variance")
    assert varied.value == pytest.approx((SAMPLES / (LEVELS - 1)).var(axis=1, ddof=1).mean())
    assert (varied.unit, varied.bound, varied.n, varied.refits) == ("squared error", None, len(SAMPLES), 1)
    # Samples of one image stand and fall together: shares 1 and 1/2 of two images.
    recognised = find(results(), "logits", "sample-accuracy")
    assert (recognised.value, recognised.unit, recognised.n) == (0.75, "fraction", 2)
    assert recognised.stderr == pytest.approx(np.std([1.0, 0.5], ddof=1) / math.sqrt(2))


def test_a_density_that_even_guesses_beat_is_pointed_out(made):
    """25 pixels of 3 values take 25 log 3 = 27.47 nats."""
    save, results = made
    fill(save)
    for kind in ("cross-entropy", "nce", "usable"):
        assert not any("evenly" in flag for flag in find(results(), "logits", kind).flags)
    poor = np.full((2, N), -27.4) - np.array([[0.0], [0.2]])
    for refit in (1, 2):
        save("density", density(poor[refit - 1]), "logits", refit)
    for kind in ("cross-entropy", "nce", "usable"):
        # On average over both it does worse too, by .03 nats, where the fits differ by .2: that tells nothing.
        for refit, flagged in (("1", False), ("2", True), ("all", False)):
            flags = find(results(), "logits", kind, refit).flags
            assert any(flag.startswith("worse than guessing") and "27.5 nats" in flag for flag in flags) is flagged


@pytest.mark.parametrize("single", [False, True])
def test_a_perfect_density_of_uniform_images_has_learnt_enough(made, single):
    """True log-probabilities of even pixels have no spread but that of arithmetic; of as good ones 2.5 % seem worse."""
    save, results = made
    fill(save)
    even, generator = 25 * math.log(3), np.random.default_rng(0)
    for error in (0.0, 1e-6, -1e-6):
        for refit in (1, 2):
            save("density", density(np.full(N, -even) + error * even), "logits", refit)
        assert not any("evenly" in flag for flag in find(results(), "logits", "nce").flags)
    found = results()
    spread = (1, 0.0) if single else (3, 0.3)
    fits = generator.normal(0, spread[1], (2000, spread[0], 1))
    said = [bool(unlearnt(found, -even + fit + generator.normal(size=(spread[0], N)))) for fit in fits]
    assert np.mean(said) <= 0.025 + 3 * math.sqrt(0.025 * 0.975 / 2000)
    assert np.mean(said) > 0.005
    # One that has learnt nothing, and is sure of it, is found always.
    assert all(unlearnt(found, -1.05 * even + generator.normal(size=(1, N))) for _ in range(200))


def test_which_entropy_of_the_label_is_used_is_said(made):
    save, results = made
    fill(save)
    # Three classes, 14, 13 and 13 times: log 3 is beyond by less than (C − 1)/2n = .025.
    lacks = math.log(3) + sum(share * math.log(share) for share in (14 / 40, 13 / 40, 13 / 40))
    counted = find(results(), "logits", "label")
    # Nobody need know of what is far below the error.
    assert lacks < 0.1 * counted.stderr
    assert "H(y)" not in table(results())
    save("probe", Result({"labels": True}, {"log_probs": np.log(np.bincount(LABELS)[LABELS] / N)}), "logits")
    said = f"label information is too small by about {lacks:.2g} nats since its H(y) is counted from 40 evaluation"
    assert said in " ".join(table(results()).split())
    save("probe", Result({"labels": True}, {"log_probs": PROBE}), "logits")
    known = results()
    known.spec = known.spec.model_copy(update={"prior": (0.2, 0.3, 0.4, 0.1)})
    shares = np.array([0.2, 0.3, 0.4, 0.1])
    assert find(known, "logits", "label").value == pytest.approx((PROBE - np.log(shares[LABELS])).mean())
    assert find(known, "logits", "label").value != counted.value
    assert "H(y) is that of the classes' probabilities as given" in table(known)


def test_a_network_that_is_no_classifier_is_called_none(made):
    save, results = made
    fill(save)
    values = {"seen": {"logits": {"values": 120, "tested": 60, "unseen": 60}}, "states": {"logits": 66.5}}
    values |= {"shapes": {"logits": [3]}, "chance": 0.35}
    for right, said in ((np.zeros(N, int), True), (np.ones(N, int), False)):
        save("capture", Result(values, {"correct": right}))
        text = table(results())
        assert ("the last output does not act as a classifier of these labels" in " ".join(text.split())) is said
        assert ("classifier accuracy: 1.000 [0.912, 1.000]" in text) is not said
        assert bool(find(results(), "logits", "sample-accuracy").flags) is said
    values.pop("chance")
    save("capture", Result(values | {"outputs": 1000}))
    assert "no accuracy: the network ends in 1,000 numbers, the labels name 3 classes" in table(results())
    assert not [e for (_, _, *_), _, e in results().numbers if e.kind == "accuracy"]


def test_densities_that_no_update_helped_are_pointed_out_at_every_number_of_theirs(made):
    save, results = made
    fill(save)
    other = [find(results(), "logits", kind).flags for kind in ("nce", "usable", "contrastive")]
    for refit, best in ((1, 0), (2, 40)):
        unread = density(LAYER[refit - 1], batches=BATCHES[refit - 1])
        unread.values["context"] = [3]
        unread.values["curve"] |= {"best_update": best}
        save("density", unread, "logits", refit)
    for kind, before in zip(("nce", "usable", "contrastive"), other, strict=True):
        flags = set(find(results(), "logits", kind).flags) - set(before)
        assert flags == {"in 1 of 2 fits no update helped on held-out images: q is as it started and ignores h"}
        (alone,) = set(find(results(), "logits", kind, "1").flags) - set(before)
        assert alone.startswith("in 1 of 1 fits") or kind == "contrastive"
        assert not set(find(results(), "logits", kind, "2").flags) - set(before)


def test_rows_and_table_read_the_scores_of_each_fit_once(made, monkeypatch):
    save, results = made
    fill(save)
    read: list[tuple[str, str]] = []
    array = Stored.array

    def counted(stored: Stored, name: str) -> np.ndarray:
        read.append((stored.folder.name, name))
        return array(stored, name)

    monkeypatch.setattr(Stored, "array", counted)
    own = results()
    assert own.once("rows")
    assert table(own)
    scores = [each for each in read if each[0].startswith("density") and each[1] == "log_probs"]
    assert sorted(scores) == sorted(set(scores))
    assert len(scores) == 4  # two refits of a layer and of p(x)


def test_the_generalisation_gap_counts_the_images_that_each_refit_holds_out(made):
    save, results = made
    for refit, (heldout, held) in enumerate([(15.5, 10), (15.9, 7)], 1):
        save("density", density(TWIN[refit - 1], heldout=heldout, held=held), "input", refit)
    gap = find(results(), "input", "generalisation-gap")
    assert (gap.value, gap.n, gap.refits) == (pytest.approx(0.7), 7, 2)
    assert gap.stderr == pytest.approx(np.std([0.5, 0.9], ddof=1) / math.sqrt(2))
    assert find(results(), "input", "generalisation-gap", "2").n == 7
    assert find(results(), "input", "generalisation-gap", "2").stderr is None


def test_usable_information_pairs_the_refits_that_both_have(made):
    save, results = made
    fill(save, refits=(1,))
    save("density", density(LAYER[1]), "logits", 2)
    estimate = find(results(), "logits", "usable")
    assert estimate.value == pytest.approx((LAYER[0] - TWIN[0]).mean(), rel=1e-12)
    assert estimate.refits == 1
    assert find(results(), "logits", "nce").refits == 2
    with pytest.raises(ValueError, match="not enough values"):
        find(results(), "logits", "usable", "2")


def test_what_is_not_finished_is_left_out(made):
    save, results = made
    assert results().rows() == []
    save("density", density(TWIN[0]), "input", 1)
    assert [(row["layer"], row["kind"]) for row in results().rows()] == [
        ("input", "cross-entropy"),
        ("input", "generalisation-gap"),
    ]
    assert "logits" in table(results())


def test_only_what_the_study_measures_is_reported(made):
    save, results = made
    fill(save)
    found = results()
    found.spec = found.spec.model_copy(update={"measure": ("nce",)})
    assert "usable" not in {estimate.kind for *_, estimate in found.numbers}
    found = results()
    found.spec = found.spec.model_copy(update={"measure": ("usable",)})
    assert "nce" not in {estimate.kind for *_, estimate in found.numbers}


def test_flags(made):
    save, results = made
    fill(save, seen=(2, 10_000, 0), train=10.0, heldout=12.0)
    # 2 distinct activations hold hardly more than log 2 nats; the layer claims about 3.
    ceiling = Seen(2, 10_000, 0).ceiling(25 * math.log(LEVELS))
    assert math.log(2) < ceiling < 0.72
    (overfit,) = find(results(), "logits", "generalisation-gap").flags
    assert "better than held-out data" in overfit
    assert find(results(), "logits", "usable").flags == (f"exceeds the possible {ceiling:.3f} nats", overfit)
    for kind in ("nce", "contrastive", "cross-entropy"):
        assert find(results(), "logits", kind).flags == (overfit,)
    assert find(results(), "input", "generalisation-gap").flags == ()
    text = table(results())
    (line,) = [line for line in text.splitlines() if line.startswith("logits ")]
    assert f"  * exceeds the possible {ceiling:.3f} nats\n      logits (usable)" in text
    # What is wrong with its densities weakens all that they give: NCE, usable in nats and bits, the contrastive bound.
    assert line.count("*") == 4
    assert f"  * {overfit}\n      logits (NCE, usable and contrastive)" in text
    assert "gap" not in text
    assert "* marks a flag:" in text
    save("density", density(LAYER[0], batches=np.tile([1.38, 1.37], 5)), "logits", 1)
    save("density", density(LAYER[1], batches=np.tile([1.38, 1.37], 5)), "logits", 2)
    assert find(results(), "logits", "contrastive").flags == ("saturated near log 4 = 1.386 nats",)


@pytest.mark.parametrize(
    ("curve", "flagged"),
    [
        (([20.0, 10.0 + 11 * FALLING], [30.0, 10.0]), True),
        (([10.0 + 11 * FALLING, 10.0], [30.0, 30.0]), True),  # just above the threshold
        (([10.0 + 9 * FALLING, 10.0], [30.0, 30.0]), False),  # just below
        (([20.0, 10.0 + 9 * FALLING, 10.0], [30.0, 30.0, 30.0]), False),  # only the last stretch counts
        (([10.0, 11.0], [30.0, 12.0]), False),  # the better of the two rose
        (([10.0], [20.0]), False),  # one evaluation shows no slope
    ],
)
def test_a_held_out_loss_that_still_fell_is_flagged(made, curve, flagged):
    save, results = made
    fill(save)
    save("density", density(LAYER[1], curve=curve), "logits", 2)
    flag = "the held-out loss still fell at the end: more updates would help"
    for kind in ("nce", "usable", "cross-entropy", "generalisation-gap"):
        assert find(results(), "logits", kind).flags == ((flag,) if flagged else ())
        assert find(results(), "logits", kind, "1").flags == ()
        assert find(results(), "logits", kind, "2").flags == ((flag,) if flagged else ())
    assert find(results(), "input", "cross-entropy").flags == ()
    rows = [row for row in results().rows() if (row["layer"], row["refit"]) == ("logits", "all")]
    assert {row["kind"] for row in rows if row["flags"] == flag} == (
        {"nce", "usable", "cross-entropy", "generalisation-gap"} if flagged else set()
    )
    # The MSE inverter has a curve of its own.
    assert find(results(), "logits", "mse").flags == ()
    save("mse", inverter(curve), "logits")
    assert find(results(), "logits", "mse").flags == ((flag,) if flagged else ())
    # Both flags may stand together.
    save("density", density(LAYER[1], curve=curve, train=10.0), "logits", 2)
    assert len(find(results(), "logits", "generalisation-gap").flags) == 1 + flagged


@pytest.mark.parametrize(
    ("n", "candidates", "batches", "expected"),
    [
        (39, 4, 16, None),
        (40, 4, 3, (4, 10)),
        (40, 32, 8, (4, 10)),
        (49, 2, 30, (2, 24)),
        (297, 64, 16, (29, 10)),
        (1000, 8, 12, (8, 12)),
        (10_000, 64, 150, (64, 150)),
    ],
)
def test_the_contrastive_candidates_leave_at_least_ten_batches(n, candidates, batches, expected):
    assert contrastive_batches(n, candidates=candidates, batches=batches) == expected


def test_a_contrastive_bound_of_too_few_images_is_left_out_and_says_why(made):
    save, results = made
    fill(save)
    assert results().left_out() == {}
    images, _ = tiny_study.images_and_labels()
    arrays = {"images": images, "labels": LABELS.repeat(4), "evaluation": np.arange(N) * 4, "decoding": np.arange(80)}
    data = {"classes": CLASSES, "levels": LEVELS, "shape": [1, 5, 5], "name": "tiny"}
    # The first two evaluation images are copies of one: 39 are left.
    groups = np.arange(len(images))
    groups[4] = 0
    save("data", Result(data, {**arrays, "groups": groups}))
    reason = results().left_out()["contrastive"]
    assert reason.startswith("39 evaluation images (40 with those that belong together): 40 are needed for 10 batches")
    assert "contrastive" not in {estimate.kind for *_, estimate in results().numbers}
    text = table(results())
    assert f"no contrastive bound: {reason}" in " ".join(text.split())


def test_a_contrastive_bound_says_of_what_it_is(tmp_path):
    spec = tiny_study.tiny(tmp_path, layers=["logits"], contrastive={"candidates": 32, "batches": 16})
    plan, store = make_plan(spec), Store(tmp_path / "cells")
    groups = np.arange(160)
    groups[1:100:2] = groups[0:100:2]
    arrays = {"images": np.zeros((160, 1, 5, 5), np.uint8), "evaluation": np.arange(110), "groups": groups}
    values = {"classes": 0, "levels": LEVELS, "shape": [1, 5, 5], "name": "tiny"}
    store.save(
        plan.cells[tiny_study.role(plan, "data", "", 0)], Result(values, arrays | {"decoding": np.arange(110, 160)})
    )
    scores = RNG.normal(-17, 2, 110)
    for layer in ("input", "logits"):
        store.save(plan.cells[tiny_study.role(plan, "density", layer, 1)], density(scores, batches=BATCHES[0]))
    flags = find(Results(spec, plan, store), "logits", "contrastive").flags
    assert "K = 4, not 32: 60 images make 10 batches of so many" in flags
    assert "of one image of each of 60 groups, not of all 110 images" in flags


def test_a_layer_that_is_the_same_for_every_image_is_pointed_out_at_every_number(made):
    save, results = made
    words = "activations do not vary over images"
    for values, flagged in ((1, True), (2, False)):
        fill(save, seen=(values, 60, 0))
        own = [estimate for (layer, *_), _, estimate in results().numbers if layer == "logits"]
        assert len(own) > 10
        assert all((words in estimate.flags) is flagged for estimate in own)
        assert not any(words in estimate.flags for (layer, *_), _, estimate in results().numbers if layer != "logits")
        assert (words in table(results())) is flagged


def test_what_a_layer_cannot_exceed(made):
    save, results = made
    image = 25 * math.log(LEVELS)
    fill(save)  # as many values as images: nobody knows how many more there are, only how many images
    assert results().ceiling("logits") == pytest.approx(image)
    fill(save, states=16 * math.log(2))  # a unit of half precision
    assert results().ceiling("logits") == pytest.approx(16 * math.log(2))
    fill(save, seen=(29, 60, 3))
    p = stats.beta.ppf(0.95, 4, 57)
    choice = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert results().ceiling("logits") == pytest.approx(choice + (1 - p) * math.log(29) + p * image)
    save("capture", Result({"seen": {}, "states": {"logits": 900.0}, "shapes": {"logits": [3]}}))  # never cached
    assert results().ceiling("logits") == pytest.approx(image)


# ---- the table ----


def text_of(estimates, layers=("a",)) -> str:
    """Returns the table of made-up estimates: (layer, estimate) pairs."""
    fake = SimpleNamespace(
        layers=list(layers),
        numbers=Numbers(
            Number(Place(layer, "" if layer == "input" else "end"), ALL, estimate) for layer, estimate in estimates
        ),
        places=[(layer, "end") for layer in layers],
        checkpoints=("end",),
        cell=lambda *_: None,
        left_out=dict,
        label_entropy=str,
        choice=None,
        spec=SimpleNamespace(measure=("nce", "usable", "contrastive", "label", "mse"), note=None, networks=("",)),
        through=lambda *_: "",
    )
    return table(fake)


def test_the_table_shows_each_number_with_its_error_and_bits_beside_nats():
    text = text_of(
        [
            ("", Estimate(0.975, 0.009, "fraction", "accuracy", n=297, refits=0)),
            ("input", Estimate(120.0, 1.0, kind="cross-entropy", bound="upper", n=297, refits=3)),
            ("a", Estimate(-100.126, 0.31, kind="nce", bound="lower", n=297, refits=3)),
            ("a", Estimate(math.log(2), 0.1 * math.log(2), kind="usable", n=297, refits=3)),
            ("a", Estimate(0.5, 0.02, kind="contrastive", bound="lower", n=9, refits=3)),
            ("a", Estimate(0.0312, 0.0011, "squared error", "mse", n=297)),
        ]
    )
    header, rule, line, *rest = text.splitlines()
    assert header.split("  ")[0] == "layer"
    for name in ("shape", "NCE [nats]", "usable [nats]", "[bits]", "contrastive [nats]", "MSE [squared error]"):
        assert name in header
    assert set(rule) == {"-"}
    cells = [cell.strip() for cell in line.split("  ") if cell.strip()]
    assert cells == [
        "a", "-", "-100.13 ± 0.31", "0.693 ± 0.069", "1.00 ± 0.10", "0.500 ± 0.020", "-", "0.0312 ± 0.0011",
    ]  # fmt: skip
    closing = " ".join(" ".join(rest).split())
    assert "p(x): 120.0" in closing
    assert "upper bound, n = 297, 3 refits" in closing
    assert "297 evaluation images and 9 batches in contrastive." in closing
    assert "classifier accuracy: 0.975 [0.950, 0.988] (95 % interval, n = 297)" in closing
    # Three fits of a density, one reconstruction.
    said = "over examples and 3 refits, in NCE, usable and contrastive; over examples, given this single fit, in MSE."
    assert said in closing
    assert "*" not in closing


def test_a_single_fit_is_called_one():
    text = text_of([("input", Estimate(120.0, 1.0, kind="cross-entropy", n=9)), ("a", Estimate(-1.0, 0.1, kind="nce"))])
    assert "given this single fit" in text
    assert "refits" not in text
    assert "single fit" in str(Estimate(1.0, 0.1, kind="nce", n=5, refits=1))
    assert "3 refits" in str(Estimate(1.0, 0.1, kind="nce", n=5, refits=3))


def test_there_is_one_p_of_x_with_its_own_refits_whatever_the_rows_are_of(made):
    save, results = made
    fill(save, refits=(1,))
    save("density", density(TWIN[1]), "input", 2)
    partial = table(results())
    (row,) = [row for row in results().rows() if (row["layer"], row["kind"], row["refit"]) == ("input", CROSS, "all")]
    assert (row["value"], row["refits"]) == (pytest.approx(-TWIN.mean()), 2)
    assert f"{(LAYER[0] - TWIN[0]).mean():.2f} ± " in partial
    save("density", density(LAYER[1], batches=BATCHES[1]), "logits", 2)
    whole = table(results())
    matched = "compares q(x|h) with p(x) in the refits that both have"
    for text, unequal in ((partial, True), (whole, False)):
        assert f"p(x): {row['value']:.2f} " in text
        assert "upper bound, n = 40, 2 refits)" in text
        assert (matched in " ".join(text.split())) is unequal
        assert "*" not in text


def test_each_row_says_its_refits_where_they_differ():
    def of(refits):
        return [Estimate(-1.0, 0.1, kind="nce", n=9, refits=refits), Estimate(1.0, 0.1, kind="mse", n=9)]

    lines = text_of([*(("a", each) for each in of(3)), *(("b", each) for each in of(2))], ("a", "b")).splitlines()
    assert [lines[at].split()[-1] for at in (0, 2, 3)] == ["refits", "3", "2"]
    assert "over examples and the refits of each row, in NCE" in " ".join(" ".join(lines).split())
    assert "refits" not in text_of([("a", each) for each in of(2)]).splitlines()[0]


def test_a_number_of_fewer_refits_than_the_others_says_so(made):
    save, results = made
    fill(save)
    save("density", density(LAYER[1]), "logits", 2)  # without what the contrastive bound needs
    text = table(results())
    row = next(line for line in text.splitlines() if line.startswith("logits"))
    several = "over examples and the refits of each row, in NCE, usable and contrastive; "
    assert f"{several}over examples, given this single fit, in label and MSE." in " ".join(text.split())
    assert row.endswith("2 (NCE and usable), 1 (contrastive)")
    assert "*" not in text


def test_flags_are_starred_and_explained():
    text = text_of(
        [
            ("a", Estimate(1.0, 0.1, kind="usable", flags=("saturated", "odd"))),
            ("b", Estimate(2.0, 0.1, kind="usable")),
        ],
        layers=("a", "b"),
    )
    lines = text.splitlines()
    assert "1.00 ± 0.10*" in lines[2]
    assert "*" not in lines[3]
    assert lines[-4:] == ["  * saturated", "      a (usable)", "  * odd", "      a (usable)"]
    assert lines[-5].endswith("* marks a flag:")


def test_what_weakens_p_of_x_weakens_usable_information(made):
    save, results = made
    fill(save)
    save("density", density(TWIN[0], train=10.0, heldout=12.0), "input", 1)
    text = table(results())
    (line,) = [line for line in text.splitlines() if line.startswith("logits ")]
    assert line.count("*") == 2  # usable, in nats and in bits
    flag = "q fits its training data better than held-out data: more data would help"
    assert text.endswith(f"  * {flag}\n      p(x), and with it usable information")
    assert find(results(), "input", "cross-entropy").flags == (flag,)
    for refit, flags in (("all", (f"of p(x): {flag}",)), ("1", (f"of p(x): {flag}",)), ("2", ())):
        assert find(results(), "logits", "usable", refit).flags == flags
    assert find(results(), "logits", "nce").flags == ()


def test_a_flag_of_several_numbers_stands_once():
    flags = ("of a batch",)
    text = text_of(
        [
            ("a", Estimate(-1.0, 0.1, kind="nce", flags=flags)),
            ("a", Estimate(1.0, 0.1, kind="usable", flags=(*flags, "odd"))),
            ("a", Estimate(0.5, 0.1, kind="sample-variance", unit="squared error", flags=flags)),
            ("2", Estimate(-1.0, 0.1, kind="nce", flags=("odd",))),
            ("7", Estimate(-1.0, 0.1, kind="nce", flags=("odd",))),
        ],
        ("a", "2", "7"),
    )
    assert text.splitlines()[-4:] == [
        "  * of a batch",
        "      a (NCE, usable and variance among samples of one image)",
        "  * odd",
        "      a (usable); '2' and '7' (NCE)",
    ]
    assert text.splitlines()[2].count("*") == 3


def test_a_table_without_layers_or_numbers():
    assert text_of([], layers=()).startswith("± one standard error")
    assert "a" in text_of([]).splitlines()[2]


def test_the_finished_run(finished):
    text = table(load_run(finished))
    lines = text.splitlines()
    assert lines[2].split()[:2] == ["conv1", "2×2×2"]
    assert lines[3].split()[:2] == ["logits", "3"]
    frame = pl.read_csv(finished / "results.csv").filter((pl.col("refit") == "all") & (pl.col("kind") == "nce"))
    for line, value in zip(lines[2:4], frame["value"], strict=True):
        assert float(line.split()[2]) == pytest.approx(value, abs=1e-2)
    # Four updates teach nothing.
    assert "the last output does not act as a classifier of these labels" in " ".join(text.split())
    assert "over examples and 2 refits" in text


# ---- against a generator whose information is known ----


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """The study `known-truth` without its network, cut to what a test can wait for: its results."""
    folder = tmp_path_factory.mktemp("known")
    outcome = execute(tiny_study.known_truth(), folder / "run", workers=0, quiet=True)
    assert not outcome.failed
    return load_run(folder / "run")


def test_the_excess_over_the_true_density_is_paired(known):
    truth, data = Truth(0.7), known.cell("data")
    images, evaluation = data.array("images"), data.array("evaluation")
    template = data.array("latent:template")[evaluation]
    true = {
        "input": truth.log_prob(images[evaluation]),
        "template": truth.log_prob_given_template(images[evaluation], template),
    }
    for layer, log_prob in true.items():
        terms = log_prob - np.stack([stored.array("log_probs") for _, stored in known.fits(layer)])
        excess = find(known, layer, "excess")
        assert excess.value == pytest.approx(terms.mean(), rel=1e-12)
        assert excess.stderr == pytest.approx(stderr_of(terms), rel=1e-12)
        assert excess.value > 3 * excess.stderr, "three updates do not find the truth"
    # Nearly log 4: in a half of all images no template was new.
    p = 1 - 0.05 ** (1 / (len(images) // 2))
    choice = -(p * math.log(p) + (1 - p) * math.log(1 - p))
    assert known.ceiling("template") == pytest.approx(choice + (1 - p) * math.log(4) + p * 64 * math.log(4))


def test_the_comparison_with_what_is_known(known):
    truth = Truth(0.7)
    found = {row["name"]: row for row in known.truths()}
    entropy = found["cross-entropy CE(x|h) at p(x)"]
    assert entropy["truth"] == truth.entropy(100_000, seed=7).value
    assert (entropy["direction"], entropy["verdict"]) == ("upper", "holds")
    information = truth.information("template", 100_000, seed=7)
    for latent in ("template", "shift"):
        conditional = truth.conditional_entropy(latent, 100_000, seed=7)
        row = found[f"cross-entropy CE(x|h) at {latent}"]
        assert (row["truth"], row["truth_stderr"]) == (conditional.value, conditional.stderr)
        assert (row["direction"], row["verdict"]) == ("upper", "holds")
    for where, layer, whole in (
        ("p(x)", "input", entropy["truth"]),
        ("template", "template", truth.conditional_entropy("template", 100_000, seed=7).value),
    ):
        estimate = find(known, layer, "excess")
        row = found[f"{estimate.meaning} at {where}"]
        assert (row["measured"], row["truth"], row["truth_stderr"]) == (estimate.value, 0.0, None)
        assert row["verdict"] == f"{100 * estimate.value / whole:.2f} % of the entropy"
    contrastive = found["contrastive bound at template"]
    assert (contrastive["truth"], contrastive["truth_stderr"]) == (information.value, information.stderr)
    assert (contrastive["direction"], contrastive["verdict"]) == ("lower", "holds")
    # The same draws, scored by the true density.
    beside_truth = found["contrastive bound at template, true density's"]
    batches = known.cell("truth").array("contrastive:template")
    assert beside_truth["truth"] == pytest.approx(batches.mean(), rel=1e-12)
    assert beside_truth["truth_stderr"] == pytest.approx(stderr_of(np.atleast_2d(batches)), rel=1e-12)
    assert beside_truth["measured"] == contrastive["measured"]
    percent = 100 * (beside_truth["measured"] / beside_truth["truth"] - 1)
    assert beside_truth["verdict"] == f"{percent:+.2f} % of the true density's"
    usable = found["usable information at template"]
    assert usable["truth"] == information.value
    assert usable["verdict"] == f"off by {usable['measured'] - usable['truth']:+.2f} nats"
    # The template is the label, so a probe on it reads all that there is.
    assert found["label information at template (at most I(x; template))"]["measured"] > 1.2


def test_a_bound_beyond_the_truth_is_called_violated():
    truth = Estimate(1.0, 0.01, kind="information", bound="estimate")
    for value, bound, verdict in (
        (1.5, "lower", "violated"),
        (1.2, "lower", "holds"),  # within three errors
        (-9.0, "lower", "holds"),
        (0.5, "upper", "violated"),
        (0.8, "upper", "holds"),
        (9.0, "upper", "holds"),
        (1.12, None, "off by +0.12 nats"),
        (0.75, None, "off by -0.25 nats"),
    ):
        estimate = Estimate(value, 0.1, kind="contrastive", bound=bound)
        assert compared("x", estimate, truth)["verdict"] == verdict


def test_an_excess_below_nothing_is_called_impossible():
    entropy = Estimate(50.0, 0.01, kind="entropy", bound="estimate")
    for value, verdict in (
        (0.5, "1.00 % of the entropy"),
        (-0.25, "-0.50 % of the entropy"),  # within three errors of nothing
        (-0.5, "impossible: -1.00 % of the entropy"),
    ):
        assert exceeding("p(x)", Estimate(value, 0.1, kind="excess"), entropy)["verdict"] == verdict


def test_the_contrastive_bound_beside_the_true_densitys():
    true = crossed_mean(np.array([1.9, 2.1]))
    line = beside_truth("a", Estimate(1.5, 0.1, kind="contrastive", bound="lower"), true)
    assert (line["truth"], line["measured"], line["verdict"]) == (2.0, 1.5, "-25.00 % of the true density's")
    assert line["truth_stderr"] == pytest.approx(0.1)
