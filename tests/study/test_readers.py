"""With whose density a layer is read: its own, or that of a later layer which is a function of it."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

import tiny_study
from infoplane.engine.store import Store
from infoplane.information.crossed import mean_over_parts
from infoplane.measurements.compared import CheckpointScores, layers_apart
from infoplane.measurements.densities import STILL_FELL
from infoplane.measurements.readers import HeldOut, choose_reader, functions_by_layer
from infoplane.profile import measure
from infoplane.report.build import load_run
from infoplane.study.plan import make_plan
from infoplane.study.results import Results

# --- the rule, on made-up losses ---


def reachable(function_of, layer):
    """Which layers are functions of one: by following every path."""
    found, waiting = set(), [layer]
    while waiting:
        at = waiting.pop()
        for other, sources in function_of.items():
            if at in sources and other not in found:
                found.add(other)
                waiting.append(other)
    return found


def made_up(rng, layers, refits):
    """Layer -> refit -> losses on images held out of that refit, some of them in several, some copies of one."""
    spread = {layer: rng.normal(0, 0.3) for layer in layers}
    groups = {refit: rng.choice(40, 15, replace=False) // 2 for refit in refits}
    return {
        layer: {
            refit: HeldOut(50 + spread[layer] + rng.normal(0, 0.2) + rng.normal(0, 1, 15), groups[refit])
            for refit in refits
        }
        for layer in layers
    }


def apart(one, other):
    """The paired difference of two layers' losses and its error, from its definition, image by image."""
    refits = list(one)
    means = [float(np.mean(one[r].losses - other[r].losses)) for r in refits]
    value = sum(means) / len(means)
    terms = [(g, a - b) for r in refits for g, a, b in zip(one[r].groups, one[r].losses, other[r].losses, strict=True)]
    overall = sum(d for _, d in terms) / len(terms)
    sums = {g: sum(d - overall for h, d in terms if h == g) for g in {g for g, _ in terms}}
    sizes = {g: sum(h == g for h, _ in terms) for g in sums}
    n, k = len(terms), len(sums)
    # Σ u² of groups whose members are all alike is too small by as much as the mean takes from it.
    w = np.array([sizes[g] for g in sums]) / n
    alike = np.diag(np.array([sizes[g] for g in sums], float) ** 2)
    leave = np.eye(k) - np.outer(w, np.ones(k)) * n / n
    expected = np.trace(leave @ alike @ leave.T)
    images = sum(u**2 for u in sums.values()) * np.trace(alike) / expected / n**2
    fits = np.var(means, ddof=1) / len(means) if len(means) > 1 else 0.0
    return value, math.sqrt(fits + images)


def read(layer, function_of, losses):
    names = [layer, *functions_by_layer(function_of)[layer]]
    means = {name: {r: float(own.losses.mean()) for r, own in losses[name].items()} for name in names}
    return choose_reader(layer, means, losses.__getitem__)


@pytest.mark.parametrize("refits", [(1,), (1, 2, 3)])
def test_the_rule_by_brute_force(refits):
    rng, chosen = np.random.default_rng(0), 0
    layers = ["a", "b", "c", "d"]
    for _ in range(100):
        function_of = {
            layer: [other for other in layers[:place] if rng.random() < 0.5] for place, layer in enumerate(layers)
        }
        losses = made_up(rng, layers, refits)
        level = {name: np.mean([own.losses.mean() for own in losses[name].values()]) for name in layers}
        for layer in layers:
            later = reachable(function_of, layer)
            assert set(functions_by_layer(function_of)[layer]) == later
            found = read(layer, function_of, losses)
            told = [name for name in later for value, error in [apart(losses[layer], losses[name])] if value > error]
            expected = min([layer, *later], key=level.__getitem__) if told else layer
            assert found.layer == expected
            if expected == layer:
                assert found.gain is None
                continue
            assert found.gain is not None
            chosen += 1
            assert (found.gain.value, found.gain.stderr) == pytest.approx(apart(losses[layer], losses[expected]))
            assert found.n == len({group for own in losses[layer].values() for group in own.groups})
    assert 30 < chosen < 250


def test_no_layer_is_read_worse_than_one_computed_from_it_by_more_than_an_error():
    rng = np.random.default_rng(1)
    for _ in range(100):
        layers = ["a", "b", "c"]
        function_of = {"a": [], "b": ["a"], "c": ["b"]}  # that c is a function of a is not said
        losses = made_up(rng, layers, (1, 2, 3))
        readers = {layer: read(layer, function_of, losses).layer for layer in layers}
        for first, second in itertools.combinations(layers, 2):
            one, other = readers[first], readers[second]
            value, error = apart(losses[one], losses[other])
            assert value <= (error if one == first else 1e-12)


def test_fits_on_the_same_images_are_crossed():
    """Its error is then that of `crossed_mean`; of other images of each fit, that of so many more."""
    rng = np.random.default_rng(2)
    terms, same = rng.normal(size=(3, 40)), np.arange(40)
    mean = mean_over_parts([*terms], [same] * 3)
    expected = math.sqrt(terms.mean(1).var(ddof=1) / 3 + terms.mean(0).var(ddof=1) / 40)
    assert (mean.value, mean.stderr) == pytest.approx((terms.mean(), expected))
    mean = mean_over_parts([*terms], [same + 100 * fit for fit in range(3)])
    expected = math.sqrt(terms.mean(1).var(ddof=1) / 3 + terms.var(ddof=1) / 120)
    assert (mean.value, mean.stderr) == pytest.approx((terms.mean(), expected))
    assert math.isinf(mean_over_parts([*terms], [same * 0] * 3).stderr)


# --- which fits take part ---


class Kept(Results):
    """A run of which only held-out losses are there; logits are found to be a function of conv1 at the end only."""

    def __init__(self, spec, plan, losses):
        super().__init__(spec, plan, Store(Path("nowhere")))
        self.held_out = losses

    def cell(self, kind, layer="", refit=0, checkpoint=None):
        if kind == "capture":
            known = {"conv1": [], "logits": ["conv1"]} if checkpoint == "end" else {"conv1": [], "logits": []}
            return SimpleNamespace(values={"function_of": known})
        loss = self.held_out.get((layer, checkpoint, refit))
        arrays = {"log_probs:heldout": -(loss or 0) + np.array([-0.1, 0.1, 0.0]), "groups:heldout": np.arange(3)}
        found = SimpleNamespace(values={"heldout_nats": loss}, names=lambda: list(arrays), array=arrays.__getitem__)
        return None if loss is None else found


def test_readers_are_of_one_checkpoint_one_family_and_all_refits(tmp_path):
    spec = tiny_study.tiny(tmp_path, subject__train__checkpoints=[1, "end"])
    plan = make_plan(spec)
    losses = {("conv1", at, refit): 9.0 for at in ("1", "end") for refit in (1, 2)}
    losses |= {("logits", at, refit): 8.0 for at in ("1", "end") for refit in (1, 2)}
    run = Kept(spec, plan, losses)
    assert [run.through("conv1", at) for at in ("1", "end")] == ["", "logits"]
    assert [run.through("logits", at) for at in ("1", "end")] == ["", ""]
    assert run.fits("conv1", "end") == run.own_fits("logits", "end") != run.own_fits("conv1", "end")
    assert run.fits("conv1", "1") == run.own_fits("conv1", "1")
    # Of fits that are still missing at the later layer nothing is known; what it has more does not count.
    missing = {key: loss for key, loss in losses.items() if key != ("logits", "end", 2)}
    assert Kept(spec, plan, missing).through("conv1", "end") == ""
    more = {key: loss for key, loss in losses.items() if key != ("conv1", "end", 2)}
    assert [refit for refit, _ in Kept(spec, plan, more).fits("conv1", "end")] == [1]
    # What has a p(x) of its own is of another family.
    other = tiny_study.tiny(tmp_path, subject__train__checkpoints=[1, "end"], density_at={"logits": {"filters": 6}})
    assert Kept(other, make_plan(other), losses).through("conv1", "end") == ""
    # Runs that are to be read as published.
    own = spec.model_copy(update={"readers": "own"})
    assert Kept(own, plan, losses).through("conv1", "end") == ""
    assert make_plan(own).cells == plan.cells


# --- a network whose wide layer is hard to read ---


class Expansion(nn.Module):
    """`wide` holds the image's brightness as a thousandth of what two units look like, which else are as good as noise;
    `narrow` is what they differ by, `sibling` the brightness too, but computed from the image."""

    def __init__(self):
        super().__init__()
        self.sibling, self.wide, self.narrow = nn.Identity(), nn.Identity(), nn.Identity()
        self.register_buffer("rates", 1e3 * torch.arange(1.0, 17.0)[:, None])

    def forward(self, x):
        bright = x.flatten(1).mean(1, keepdim=True)
        seen, noise = self.sibling(1 * bright), (x.flatten(1) @ self.rates).sin()
        h = self.wide(torch.cat([noise, noise + 1e-3 * bright], 1))
        return self.narrow(1e3 * (h[:, 1:] - h[:, :1])) + seen


ASKED = {
    "budget": 60,
    "levels": 3,
    "refits": 2,
    "workers": 0,
    "quiet": True,
    "density": "pixelcnn",
    "kinds": ["nce", "usable", "samples"],
}


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """(profile, its folder, files before and profile's rows before) of a run that grew by the layer `narrow`."""
    folder = tmp_path_factory.mktemp("readers") / "run"
    images, _ = tiny_study.images_and_labels(300)
    first = measure(Expansion(), images, layers=["sibling", "wide"], out=folder, **ASKED)
    before, rows = tiny_study.contents(folder), first.frame
    profile = measure(Expansion(), images, layers=["sibling", "wide", "narrow"], out=folder, **ASKED)
    return profile, images, before, rows


def test_a_layer_is_read_through_what_the_network_makes_of_it(grown):
    profile, *_ = grown
    wide, narrow, sibling = (profile[layer] for layer in ("wide", "narrow", "sibling"))
    for kind in ("nce", "usable", "cross-entropy", "generalisation-gap"):
        assert (wide[kind].value, wide[kind].stderr) == (narrow[kind].value, narrow[kind].stderr)
        assert (wide[kind].read_through, narrow[kind].read_through, sibling[kind].read_through) == ("narrow", "", "")
    assert ", read through narrow, n = " in str(wide["nce"])
    assert not wide["sample-variance"].read_through  # which is of samples, and these of its own density
    assert set(profile.frame.filter(pl.col("layer") == "wide", pl.col("kind") == "nce")["read_through"]) == {"narrow"}


def test_what_is_said_of_densities_is_of_those_that_a_layer_is_read_with(grown):
    profile, *_ = grown
    for layer, flagged in (("narrow", True), ("wide", False)):
        results = load_run(profile.folder)
        assert isinstance(results, Results)
        for _, stored in results.own_fits(layer):
            stored.values["curve"] |= {"heldout": [9.0, 8.0], "heldout_ema": [9.0, 8.0]}
        rows = [row for row in results.rows() if (row["layer"], row["refit"]) == ("wide", "all")]
        said = {row["kind"] for row in rows if STILL_FELL in row["flags"]}
        assert said == ({"nce", "usable", "cross-entropy", "generalisation-gap"} if flagged else set())


def test_a_branch_is_not_read_through_its_sibling(grown):
    """Not even where that would be far better: what it says of the image the layer may not hold."""
    _, _, _, rows = grown
    nce = {row["layer"]: row for row in rows.filter(pl.col("kind") == "nce", pl.col("refit") == "all").to_dicts()}
    assert nce["sibling"]["value"] > nce["wide"]["value"] + 3 * nce["wide"]["stderr"]
    assert set(rows["read_through"]) == {""}


def test_a_run_that_grew_has_the_new_reader_and_nothing_computed_anew(grown):
    profile, images, before, _ = grown
    after = tiny_study.contents(profile.folder)
    kept = {name for name in before if name.startswith("cells/") and not name.startswith("cells/plan")}
    assert kept
    assert all(after[name] == before[name] for name in kept)
    measure(Expansion(), images, layers=["sibling", "wide", "narrow"], out=profile.folder, **ASKED)
    again = tiny_study.contents(profile.folder)
    # The page tells when it was made, and what lies in the figures' list are times of files.
    told = {"events.jsonl", "report.html", "figures.json"}
    assert {name for name in after.keys() | again.keys() if after.get(name) != again.get(name)} <= told


def test_what_is_read_through_another_layer_is_said(grown):
    profile, *_ = grown
    words = " ".join(str(profile).split())
    page = (profile.folder / "report.html").read_text(encoding="utf-8")
    for said in (words, " ".join(page.split())):
        assert "wide is read through narrow: given narrow, a function of wide, the density needs " in said
    assert "from each layer’s own density, also at wide, whose numbers are read through a later layer" in page
    step = page[page.index("<td>wide</td><td>narrow</td>") :].partition("</tr>")[0]
    assert "no spread" not in step
    assert ">0<" in step
    lines = str(profile).splitlines()
    at = next(line for line in lines if line.startswith("Layer")).index("Read through")
    rows = [line for line in lines if line.startswith(tuple(f"{name}  " for name in profile.layers))]
    read = {line.split()[0]: line[at:].split()[0] for line in rows}
    assert read == {name: "narrow" if name == "wide" else "–" for name in profile.layers}


def test_nothing_is_claimed_between_two_layers_of_one_density(grown):
    rows = pl.read_csv(grown[0].folder / "differences.csv").to_dicts()
    row = next(row for row in rows if (row["first"], row["second"]) == ("wide", "narrow"))
    assert (row["value"], row["first_read_through"], row["second_read_through"]) == (0, "narrow", "")
    assert row["verdict"] == "no claim: wide and narrow are read with one density, that of narrow"


def test_where_two_layers_have_one_density_there_is_no_spread_to_pool():
    rng = np.random.default_rng(3)
    first, second = ({at: dict(enumerate(rng.normal(size=(3, 20)))) for at in "abc"} for _ in range(2))
    with_it = layers_apart(
        CheckpointScores({**first, "d": first["a"]}), CheckpointScores({**second, "d": first["a"]}), "b"
    )
    assert with_it == layers_apart(CheckpointScores(first), CheckpointScores(second), "b")
    own = layers_apart(CheckpointScores({**first, "d": first["a"]}), CheckpointScores({**second, "d": first["a"]}), "d")
    assert own is not None
    assert (own[0].value, own[0].stderr) == (0, 0)
