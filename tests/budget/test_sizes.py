"""What a budget buys, against costs known by heart; no test is timed."""

import pytest
import torch
from torch import nn

from counted_study import Chosen, Counted, forecast, study
from infoplane.budget import capacity, sizes
from infoplane.budget.capacity import BASE_MEMORY, check_memory, memory_of, time_updates
from infoplane.budget.preparing import Preparing
from infoplane.budget.sizes import PLANNED, by_updates, longest_of, most_updates, shorter, within
from infoplane.densities import Autoregressive
from infoplane.measurements.candidates import CANDIDATES, offer
from infoplane.measurements.cost import Costs
from infoplane.measurements.counting import Machine, Passes
from infoplane.study.forecast import FIXED

#: fits in units of one: three refits of p(x) and two layers, each with a base of a quarter
FITS = 3 * (3 + 0.25)


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    """As if nothing else ran here."""
    monkeypatch.setattr(sizes, "crowding", lambda workers: 1.0)


def since(budget, spent=0.0):
    """A budget of which so many seconds are gone, by a clock that stands still."""
    ticks = iter([0.0])
    return Preparing(budget, "fewer layers", clock=lambda: next(ticks, spent))


def bought(budget, costs=None, spec=None, slowness=1.0, spent=0.0):
    asked = []

    def timed(share):
        asked.append(share)
        return slowness

    spec, known = within(spec or study(), since(budget, spent), forecast(costs), timed)
    return spec, known, asked


@pytest.mark.parametrize("slowness", [0.5, 1.0, 3.0])
def test_updates_fill_the_budget(slowness):
    spec, known, (share,) = bought("45m", slowness=slowness)
    expected = FITS * spec.fit.updates * slowness
    assert expected <= 2700 * PLANNED
    assert expected >= 2700 * PLANNED * 0.85  # two digits of updates, and the fixed seconds of 25 cells
    assert spec.density.model_dump()["filters"] == 32
    assert spec.asked is None
    assert spec.note.startswith(
        f"A budget of 45m bought {spec.fit.updates} updates per fit, and 8 samples for each of 8"
    )
    assert known.slowness == slowness
    assert share <= 3


@pytest.mark.parametrize(("layers", "refits"), [(1, 1), (2, 1), (2, 3)])
def test_choosing_a_density_takes_a_tenth_of_a_budget_at_most(layers, refits):
    """Of a single fit's budget a quarter for each of two candidates would be more."""
    spec = study(density={"kind": "auto"}, fit={"refits": refits}, layers=("a", "b")[:layers])
    found, known, _ = bought("2h", Chosen(), spec)
    cells = known.plan(found).cells.values()
    tried, fitted = (
        [cell.params["fit"]["updates"] for cell in cells if cell.kind == kind] for kind in ("candidate", "density")
    )
    assert len(tried) == 2
    assert {found.fit.trial} == set(tried) == {found.fit.trial_updates}
    assert sum(tried) <= 0.1 * sum(fitted)
    # No less than that, but for rounding, unless each candidate has a quarter of a fit.
    assert tried[0] in (found.fit.updates // 4, int(0.05 * sum(fitted)))
    assert (tried[0] < found.fit.updates // 4) == (layers * refits < 6)
    # A number of updates buys what a study of as many has.
    assert by_updates(spec, 1000).fit.trial == 250


def test_a_small_budget_tries_candidates_for_as_many_updates_as_tell_anything():
    found, *_ = bought("4m", Chosen(), study(density={"kind": "auto"}, fit={"refits": 1}))
    assert found.fit.trial_updates == 30
    assert found.fit.updates < 120


def test_a_step_looks_at_as_many_images_as_its_pixels_make():
    costs = Costs((1, 8, 8), 17, {"decoding": 720}, {})

    def longest(batch, **density):
        return longest_of(study(density=density, fit={"batch": batch}), costs)

    # No more updates than that are bought: sixty passes over the images.
    assert longest(16, kind="pixelcnn", filters=4) == 60 * 720 // 16
    assert longest(128, kind="autoregressive", pixels=8) == 60 * 720 // (128 * 8 / 64)  # eight pixels of each
    own = Autoregressive((1, 8, 8), 17).looked_at
    assert longest(128, kind="autoregressive") == max(300, int(60 * 720 / (128 * own / 64)))
    # Where the data choose, those of the density that looks at least.
    second = offer("pixelcnn", (1, 8, 8), 17)
    assert longest(8, kind="auto") == int(60 * 720 / min(16, second["batch"] * second["pace"]))


def test_timing_takes_a_tenth_at_most():
    _, _, (share,) = bought("15s", costs=Counted(), spec=study(fit={"refits": 1}), slowness=0.05)
    assert share == pytest.approx(1.5)


def test_time_that_is_gone_counts():
    whole, late = (bought("1h", spent=spent)[0].fit.updates for spent in (0.0, 1200.0))
    assert late == pytest.approx(whole * (0.95 - 1 / 3) / 0.95, rel=0.08)


def test_a_short_budget_takes_a_smaller_density_first():
    # 50 updates are 487 s of the large density, 122 s of the small one.
    spec, _, _ = bought("3m")
    assert spec.density.model_dump()["filters"] == 16
    assert (spec.fit.refits, spec.asked) == (3, None)
    assert "a small one" in spec.note


def test_then_the_inverter_samples_and_refits_are_left_out():
    costs = Counted(mse=1.0, sample=10.0)
    spec, _, _ = bought("65s", costs)
    # 122 s of fits with three refits, 81 with two, 41 with one.
    assert (spec.measure, spec.fit.refits) == (("nce", "usable"), 1)
    assert spec.asked.measure == ("nce", "usable", "mse", "samples")
    assert spec.asked.refits == 3
    assert "Left out for want of time: the MSE inverter, samples, refit 3, refit 2." in spec.note


def test_far_too_short_is_refused_before_anything_is_timed(refuses):
    asked = []
    costs = Counted(scoring=10.0)  # a step cannot take less than 160 s
    with refuses(
        "the budget is too short for this", "received 1m; legal: at least about", "one refit of 50", "fewer layers"
    ):
        within(study(), since("1m"), forecast(costs), asked.append)
    assert asked == []


def test_too_short_is_refused_after_it(refuses):
    # The time that it takes, and no other number.
    with refuses("the budget is too short for this; received 10s; legal: at least about 41 s", "fewer layers"):
        bought("10s")
    # Between the budget and half as much again it begins, and says so.
    spec, _, _ = bought("35s")
    assert "it will take about" in spec.note


def test_what_timing_shows_to_be_too_short_is_refused_without_looking_for_sizes(refuses):
    class Uncounted(Counted):
        def of(self, kind):
            raise AssertionError("sizes are looked for")

    # As the machine is thought to be the least might do; it is ten times as slow.
    with refuses("the budget is too short for this", "received 1m; legal: at least about", "fewer layers"):
        bought("1m", Uncounted(scoring=5e-3), slowness=10.0)


@pytest.mark.parametrize(("updates", "inverter"), [(3, 3), (599, 599), (2000, 600)])
def test_a_number_of_updates_is_one_for_the_inverter_too(updates, inverter):
    spec = by_updates(study(), updates)
    assert (spec.fit.updates, spec.reconstruction.updates) == (updates, inverter)
    assert spec.fit.refits == 3


def test_what_can_be_spared_is_never_all():
    spec, names = study(measure=("samples",)), []
    while (step := shorter(spec)) is not None:
        spec = step[0]
        names.append(step[1])
    assert names == ["all but 4 samples for each of 2 images", "refit 3", "refit 2"]
    assert spec.measure == ("samples",)


@pytest.mark.parametrize(("seconds", "updates"), [(0, 50), (100, 90), (1234, 1200), (99_999, 5000)])
def test_most_updates_of_a_line(seconds, updates):
    assert most_updates(lambda n: 10 + n, seconds, 5000) == updates


def test_a_network_that_runs_in_every_batch_is_paid_for():
    plan = study(fit={"refits": 1, "updates": 60, "batch": 10, "held_out": 0.25, "evaluations": 2})
    cached, live = (forecast(per_image=0.1, on_the_fly=each) for each in ((), ("a",)))
    (name,) = [name for (kind, layer, *_), name in cached.plan(plan).roles.items() if (kind, layer) == ("density", "a")]
    cell = cached.plan(plan).cells[name]
    # 600 images of updates, 20 held out five times, 20 to evaluate.
    assert live.seconds(cell) - cached.seconds(cell) == pytest.approx(0.1 * (600 + 100 + 20))
    capture = next(cell for cell in cached.plan(plan).cells.values() if cell.kind == "capture")
    assert cached.seconds(capture) == pytest.approx(FIXED + 0.1 * 100)


@pytest.mark.parametrize("size", [8, 64])
def test_timing_is_relative_to_what_was_run(size):
    # A clock by which each step takes two seconds, of which the machine's model knows one, at whatever size it is run.
    spec = study(layers=("a",))
    costs = Costs((1, size, size), 4, {}, {"a": (4,)})
    ticks = iter(range(0, 1000, 1))
    step = costs.step(spec.density.model_dump(mode="json"), "a", spec.fit.batch)
    machine = Machine(per_flop=1 / step.flops)
    found = time_updates(spec, costs, machine, torch.device("cpu"), 8.0, lambda: 2.0 * next(ticks))
    assert found == pytest.approx(2.0)
    # Where whole images would take too long, fewer and smaller ones are run, and known to be less.
    short = time_updates(spec, costs, machine, torch.device("cpu"), 0.4, lambda: 2.0 * next(ticks))
    assert short > 10


def test_memory_of_a_step_is_what_is_saved_for_the_way_back():
    # Of 8 rows of 100 numbers a linear layer saves its input, tanh its output: 8 × (100 + 50) numbers of four bytes.
    passes = Passes(
        lambda: nn.Sequential(nn.Linear(100, 50), nn.Tanh()), lambda model, _, h: model(h), (1, 1, 1), (100,)
    )
    found = memory_of(passes, 8)
    weights = 4 * (100 * 50 + 50)
    assert found == 6 * weights + 4 * 8 * (100 + 50)


def test_where_the_data_choose_there_is_memory_for_the_density_that_needs_most(monkeypatch, refuses):
    spec, costs, cpu = (
        study(density={"kind": "auto"}, layers=("a",)),
        Costs((1, 8, 8), 4, {}, {"a": (4,)}),
        torch.device("cpu"),
    )
    offers = [offer(kind, (1, 8, 8), 4) for kind in CANDIDATES]
    need = BASE_MEMORY + max(memory_of(costs.density(each["density"], "a"), each["batch"]) for each in offers)
    monkeypatch.setattr(capacity, "free_memory", lambda _: 1.001 * need / 2**30)
    assert check_memory(spec, costs, 4, cpu) == 1
    monkeypatch.setattr(capacity, "free_memory", lambda _: 0.999 * need / 2**30)
    with refuses("not enough memory"):
        check_memory(spec, costs, 4, cpu)


def test_too_little_memory_is_refused_and_fewer_processes_are_used(monkeypatch, refuses):
    costs = Costs((1, 8, 8), 4, {}, {"a": (4,)})
    need = BASE_MEMORY + memory_of(costs.density(study(layers=("a",)).density.model_dump(mode="json"), "a"), 8)
    spec, cpu = study(layers=("a",)), torch.device("cpu")
    for times, workers in ((9.0, 4), (2.5, 2), (1.1, 1)):
        monkeypatch.setattr(capacity, "free_memory", lambda _, times=times: times * need / 2**30)
        assert check_memory(spec, costs, 4, cpu) == workers
    monkeypatch.setattr(capacity, "free_memory", lambda _: 0.9 * need / 2**30)
    with refuses("not enough memory", "64 values an image"):
        check_memory(spec, costs, 4, cpu)
