"""From stored cells to rows and to the closing table, against hand-made cells whose numbers are known."""

import math
import re

import numpy as np
import polars as pl
import pytest
from scipy import stats

import tiny_study
from infoplane.engine.store import Result, Store, Stored
from infoplane.estimate import Estimate
from infoplane.information import Seen, contrastive_batches
from infoplane.measurements.densities import FALLING, unlearnt
from infoplane.measurements.numbers import ALL, Number, Numbers, Place
from infoplane.report.build import PAGES, load_run, table, table_of
from infoplane.report.inversion.contents import Layer, ReportContents
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
    arrays |= {"groups": np.arange(len(images)), "encoding": np.arange(40)}
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
    said = f"Label information is too small by about {lacks:.2g} nats since its H(y) is counted from 40 evaluation"
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
        assert ("Accuracy of the network: 100.0 % [91.2, 100.0] (on 40 images)" in text) is not said
        assert bool(find(results(), "logits", "sample-accuracy").flags) is said
    values.pop("chance")
    save("capture", Result(values | {"outputs": 1000}))
    said = "There is no accuracy of the network: the network ends in 1,000 numbers, the labels name 3 classes."
    assert said in " ".join(table(results()).split())
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
    line, *_ = [line for line in text.splitlines() if line.startswith("logits ")]
    # What is wrong with its densities weakens all that they give: NCE, usable and the contrastive bound.
    assert re.findall(r"\(([ab,]+)\)", line) == ["a", "a,b", "a"]
    assert f"(a) {overfit}\n(b) exceeds the possible {ceiling:.3f} nats" in text
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
    arrays = {
        "images": images,
        "labels": LABELS.repeat(4),
        "evaluation": np.arange(N) * 4,
        "decoding": np.arange(80),
        "encoding": LABELS,
    }
    data = {"classes": CLASSES, "levels": LEVELS, "shape": [1, 5, 5], "name": "tiny"}
    # The first two evaluation images are copies of one: 39 are left.
    groups = np.arange(len(images))
    groups[4] = 0
    save("data", Result(data, {**arrays, "groups": groups}))
    reason = results().left_out()["contrastive"]
    assert reason.startswith("39 evaluation images (40 with those that belong together): 40 are needed for 10 batches")
    assert "contrastive" not in {estimate.kind for *_, estimate in results().numbers}
    text = table(results())
    assert f"There is no contrastive bound: {reason}." in " ".join(text.split())


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
    numbers = Numbers(
        Number(Place(layer, "" if layer == "input" else "end"), ALL, estimate) for layer, estimate in estimates
    )
    contents = ReportContents(title="made up", layers=[Layer(name, name) for name in layers], numbers=numbers)
    return table_of(PAGES["inversion"], contents)


def cells(line: str) -> list[str]:
    """The entries of a line of a table."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def head(text: str, name: str) -> str:
    """What stands over a column."""
    lines = text.partition("\n--")[0].splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith("Layer"))
    start = lines[first].index(name)
    own, rest = re.fullmatch(r"((?:\S+ )*\S+ *)(.*)", lines[first][start:]).groups()
    end = start + len(own) if rest else None
    return " ".join(" ".join(line[start:end] for line in lines[first:]).split())


def test_the_table_shows_each_number_with_its_error_and_bits_below_nats():
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
    accuracy, *lines = text.splitlines()
    assert accuracy == "Accuracy of the network: 97.5 % [95.0, 98.8] (on 297 images)"
    (rule,) = [at for at, line in enumerate(lines) if line and set(line) == {"-"}]
    assert head(text, "NCE") == "NCE nats lower bound, up to H(x) 297 images, 3 refits"
    assert head(text, "Usable") == "Usable information nats not a bound 297 images, 3 refits"
    assert head(text, "Contrastive") == "Contrastive bound nats lower bound 9 batches, 3 refits"
    # Three fits of a density, one reconstruction.
    assert head(text, "MSE") == "MSE squared error no information 297 images, single fit"
    assert [cells(line) for line in lines[rule + 1 : rule + 4]] == [
        ["a", "-100.13 ± 0.31", "0.693 ± 0.069", "0.500 ± 0.020", "0.0312 ± 0.0011"],
        ["1.00 ± 0.10 bits"],
        ["no layer, p(x)", "-120.0 ± 1.0", "–", "–", "–"],
    ]
    assert "“single fit”: the error is given this one fit" in text
    assert "± is one standard error" in text
    assert "(a)" not in text


def test_a_single_fit_is_called_one():
    text = text_of([("input", Estimate(120.0, 1.0, kind="cross-entropy", n=9)), ("a", Estimate(-1.0, 0.1, kind="nce"))])
    assert "“single fit”: the error is given this one fit" in text
    assert "3 refits" not in text
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
        lines = text.splitlines()
        at = next(at for at, line in enumerate(lines) if line.startswith("no layer, p(x)"))
        assert cells(lines[at])[1].startswith(f"{-row['value']:.2f} ")
        assert ("2 refits" in lines[at + 1]) is unequal
        assert (matched in " ".join(text.split())) is unequal
        assert "(a)" not in text


def test_each_row_says_its_refits_where_they_differ():
    def of(refits):
        return [Estimate(-1.0, 0.1, kind="nce", n=9, refits=refits), Estimate(1.0, 0.1, kind="mse", n=9)]

    text = text_of([*(("a", each) for each in of(3)), *(("b", each) for each in of(2))], ("a", "b"))
    *_, first, below, second, under = text.partition("\n\n")[0].splitlines()
    assert [cells(line) for line in (first, below, second, under)] == [
        ["a", "-1.00 ± 0.10", "1.00 ± 0.10"], ["3 refits"], ["b", "-1.00 ± 0.10", "1.00 ± 0.10"], ["2 refits"]
    ]  # fmt: skip
    assert head(text, "NCE").endswith("9 images, refits with each number")
    assert head(text_of([("a", each) for each in of(2)]), "NCE").endswith("9 images, 2 refits")


def test_a_number_of_fewer_refits_than_the_others_says_so(made):
    save, results = made
    fill(save)
    save("density", density(LAYER[1]), "logits", 2)  # without what the contrastive bound needs
    text = table(results())
    for name, refits in (("NCE", "2 refits"), ("Usable", "2 refits"), ("Contrastive", "single fit")):
        assert head(text, name).endswith(refits)
    assert "(a)" not in text


def test_flags_have_letters_that_are_explained():
    text = text_of(
        [
            ("a", Estimate(1.0, 0.1, kind="usable", flags=("saturated", "odd"))),
            ("b", Estimate(2.0, 0.1, kind="usable")),
        ],
        layers=("a", "b"),
    )
    first, second = (line for line in text.splitlines() if line.startswith(("a ", "b ")))
    assert "1.00 ± 0.10 (a,b)" in first
    assert "(" not in second
    assert "(a) saturated\n(b) odd\n" in text


def test_what_weakens_p_of_x_weakens_usable_information(made):
    save, results = made
    fill(save)
    save("density", density(TWIN[0], train=10.0, heldout=12.0), "input", 1)
    text = table(results())
    line = next(line for line in text.splitlines() if line.startswith("logits "))
    flag = "q fits its training data better than held-out data: more data would help"
    assert re.findall(r"\((\w)\)", line) == ["a"]
    assert f"(a) of p(x): {flag}\n(b) {flag}\n" in text
    assert "(b)" in next(line for line in text.splitlines() if line.startswith("no layer, p(x)"))
    assert find(results(), "input", "cross-entropy").flags == (flag,)
    for refit, flags in (("all", (f"of p(x): {flag}",)), ("1", (f"of p(x): {flag}",)), ("2", ())):
        assert find(results(), "logits", "usable", refit).flags == flags
    assert find(results(), "logits", "nce").flags == ()


def test_a_flag_of_several_numbers_has_one_letter():
    flags = ("of a batch",)
    text = text_of(
        [
            ("a", Estimate(-1.0, 0.1, kind="nce", flags=flags)),
            ("a", Estimate(1.0, 0.1, kind="usable", flags=(*flags, "odd"))),
            ("a", Estimate(0.5, 0.1, kind="sample-variance", unit="squared error", flags=flags)),
            ("2", Estimate(-1.0, 0.1, kind="nce", flags=("odd",))),
        ],
        ("a", "2"),
    )
    rows = [line for line in text.splitlines() if line[:2] in ("a ", "2 ")]
    lines = {line.split()[0]: re.findall(r"\(([\w,]+)\)", line) for line in rows}
    assert lines == {"a": ["a", "a,b", "a"], "2": ["b"]}
    assert text.count("of a batch") == text.count("odd") == 1


def test_a_table_without_layers_or_numbers():
    for layers in ((), ("a",)):
        assert text_of([], layers).startswith("There are no numbers yet.\n± is one standard error")


def test_the_finished_run(finished):
    text = table(load_run(finished))
    lines = text.splitlines()
    frame = pl.read_csv(finished / "results.csv").filter((pl.col("refit") == "all") & (pl.col("kind") == "nce"))
    for layer, shape, value in zip(("conv1", "logits"), ("2 × 2 × 2", "3"), frame["value"], strict=True):
        at = next(at for at, line in enumerate(lines) if line.startswith(layer))
        assert lines[at + 1].startswith(shape)
        assert float(lines[at].split()[1]) == pytest.approx(value, abs=1e-1)
    # Four updates teach nothing.
    assert "the last output does not act as a classifier of these labels" in " ".join(text.split())
    assert "2 refits" in text
