"""A budget is refused once too much of it went by before anything was computed; by a clock of the test's own."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import infoplane
from counted_study import Counted, forecast, study
from infoplane.budget import sizes
from infoplane.budget.preparing import Preparing, parse_budget
from infoplane.budget.sizes import within
from infoplane.capture import functions_of, list_layers
from infoplane.profile import measuring


class Clock:
    """Seconds that pass only where a test says so."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


class Slow(nn.Module):
    """A network that takes so many seconds for a batch, by a clock."""

    def __init__(self, clock, seconds):
        super().__init__()
        self.clock, self.seconds, self.runs = clock, seconds, 0
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(8, 3)

    def forward(self, x):
        self.runs += 1
        self.clock.pass_by(self.seconds)
        return self.fc(self.conv(x).flatten(1))


EXAMPLE = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("look", [list_layers, lambda model, x: functions_of(model, ["conv", "fc"], x)])
def test_a_network_is_looked_at_no_longer_than_there_is_time(refuses, look):
    clock = Clock()
    model, given = Slow(clock, 1.0), Preparing("10s", "fewer layers", clock=clock)
    says = ("the budget is too short for this", "10s, of which 6 s went by", "more than 12 s", "fewer layers")
    with refuses(*says), given.limited():
        look(model, EXAMPLE)
    # Five runs take half of it; the sixth was begun at just that, the seventh is not.
    assert model.runs == 6
    # The network is as it was found.
    assert model.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    before = model.runs
    look(model, EXAMPLE)  # nobody asks any more
    assert model.runs > before + 6


def test_as_much_as_is_allowed_goes_by_unnoticed():
    clock = Clock()
    with Preparing("10s", clock=clock).limited():
        clock.pass_by(5.0)


def test_a_number_of_updates_sets_no_limit():
    clock = Clock()
    with Preparing(100, clock=clock).limited():
        clock.pass_by(1e6)


@pytest.mark.parametrize("which", ["timing", "counting"])
def test_timing_and_counting_are_cut_off(refuses, monkeypatch, which):
    monkeypatch.setattr(sizes, "crowding", lambda workers: 1.0)
    clock, counted = Clock(), []

    class Slowly(Counted):
        """Each count takes five seconds."""

        def of(self, kind):
            counted.append(kind)
            clock.pass_by(5.0 if which == "counting" else 0.0)
            return super().of(kind)

    def timed(share):
        clock.pass_by(40.0 if which == "timing" else share)
        return 1.0

    with refuses(
        "the budget is too short for this", "1m, of which", "went by with looking at the network and counting"
    ):
        within(study(), Preparing("1m", clock=clock), forecast(Slowly()), timed)
    if which == "timing":
        assert not counted
    else:
        # One forecast of all cells is not broken off; a second one is never begun.
        assert len(counted) <= len(forecast().plan(study()).cells)


def test_measure_refuses_before_it_makes_a_folder(refuses, monkeypatch, tmp_path):
    clock = Clock()
    monkeypatch.setattr(measuring, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(measuring, "Preparing", partial(Preparing, clock=clock))
    images = np.random.default_rng(0).integers(0, 256, (60, 1, 4, 4)).astype(np.uint8)
    model = Slow(clock, 7.0)
    with refuses("the budget is too short for this", "1m, of which 35 s went by", "fewer layers"):
        infoplane.measure(model, images, layers=["conv", "fc"], budget="1m", out=tmp_path / "out", quiet=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kinds", "said"),
    [(("nce",), "updates per fit"), (("mse",), "updates of the MSE inverter"), (("label",), None)],
)
def test_only_what_is_asked_for_is_weighed(monkeypatch, kinds, said):
    monkeypatch.setattr(sizes, "crowding", lambda workers: 1.0)
    weighed = set()

    class Noted(Counted):
        def of(self, kind):
            weighed.add(kind.kind)
            return super().of(kind)

    spec, _ = within(study(measure=kinds), Preparing("10m", clock=Clock()), forecast(Noted(mse=0.1)), lambda _: 1.0)
    fitted = {"nce": {"density"}, "mse": {"mse"}, "label": {"probe"}}[kinds[0]]
    assert weighed == {"data", "capture"} | fitted
    assert (spec.measure, spec.fit.refits, spec.asked) == (kinds, 3, None)
    if said is None:
        assert spec.note is None
    else:
        assert said in spec.note
        assert "samples" not in spec.note


@pytest.mark.parametrize("budget", ["٣m", "१२", "3٫5m", "²s", "1" * 5000, "9" * 400 + "h", "-1m", "0s", "1e3s"])
def test_a_budget_is_in_the_digits_0_to_9(budget, refuses):
    with refuses("cannot read the budget", "a time such as 90s, 10m or 2h"):
        parse_budget(budget)


@pytest.mark.parametrize("budget", ["10001h", "999999999h", "600001m", "36000001 s", "10000.1h"])
def test_no_budget_is_longer_than_a_year_and_more(budget, refuses):
    with refuses("the budget is too long", f"received '{budget}'", "at most 10,000 h"):
        parse_budget(budget)
    assert parse_budget("10000h") == (36_000_000.0, None)
