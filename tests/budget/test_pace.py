"""What is left out, and what never is, while a measurement runs slower than expected."""

import pytest

from counted_study import Chosen, Counted, forecast, study
from infoplane.budget.pace import Pace, _noted


class Run:
    """A measurement on one process that takes `slow` times as long as expected, cell by cell."""

    def __init__(self, spec, seconds, slow, costs=None):
        self.costs = forecast(costs)
        self.now, self.slow, self.done = 0.0, slow, {}
        self.pace = Pace(spec, self.costs, seconds, quiet=True, clock=lambda: self.now)
        self.spec, self.plan, self.changes = spec, self.costs.plan(spec), []

    def go(self, most=1000):
        waiting = self.pace.order(self.plan.cells.values())
        while waiting and len(self.done) < most:
            cell = waiting.pop(0)
            assert all(need in self.done for need in cell.needs.values())
            self.done[cell.name] = self.slow * self.costs.seconds(cell)
            self.now += self.done[cell.name]
            changed = self.pace.revised(self.done.__contains__, self.done, {}, self.plan)
            if changed is not None:
                self.spec, self.plan = changed
                self.changes.append(self.spec)
                waiting = [c for c in self.pace.order(self.plan.cells.values()) if c.name not in self.done]
        return self


def timed(updates=100, **changes):
    return study(fit={"refits": 3, "updates": updates}, reconstruction={"updates": 60}, **changes)


#: three refits of three fits with a base of a quarter, and nothing else that takes time
WHOLE = 3 * 3.25 * 100


def test_as_expected_nothing_changes():
    run = Run(timed(), WHOLE + 30, 1.0).go()
    assert run.changes == []
    assert run.done.keys() >= run.plan.cells.keys()


@pytest.mark.parametrize(("slow", "least", "most"), [(1.8, 45, 60), (0.5, 170, 220)])
def test_the_starts_of_the_fits_settle_their_updates(slow, least, most):
    run = Run(timed(), WHOLE + 30, slow).go()
    assert least <= run.spec.fit.updates <= most
    assert run.now == pytest.approx(WHOLE + 30, rel=0.15)
    # Every fit that is compared has had the same number of them, from the same starts.
    fits = [cell for cell in run.plan.cells.values() if cell.kind == "density" and "start" in cell.needs]
    assert len(fits) == 9
    assert {cell.params["fit"]["updates"] for cell in fits} == {run.spec.fit.updates}
    assert {run.plan.cells[cell.needs["start"]].params["fit"]["updates"] for cell in fits} == {25}
    assert run.spec.asked is None


def test_a_density_is_not_chosen_anew_when_updates_are_settled():
    spec = timed(updates=1000, density={"kind": "auto"})
    run = Run(spec, 10 * WHOLE + 500, 1.8, Chosen())
    tried = {name for name, cell in run.plan.cells.items() if cell.kind in ("candidate", "choice")}
    assert len(tried) == 3
    run.go()
    assert run.changes
    assert run.spec.fit.updates < 700
    assert run.spec.fit.trial_updates == 250
    assert {name for name, cell in run.plan.cells.items() if cell.kind in ("candidate", "choice")} == tried
    assert run.done.keys() >= run.plan.cells.keys()


def test_once_fits_have_begun_samples_and_whole_refits_go_instead():
    run = Run(timed(), WHOLE + 300, 1.0, Counted(sample=1.0, mse=1.0))
    run.go(most=8)  # the data, the activations, three starts, the first refit
    begun = {name for name in run.done if name.startswith("density")}
    assert len(begun) >= 5
    run.slow = 3.0
    run.go()
    assert run.spec.fit.updates == 100
    assert run.spec.fit.refits < 3
    assert run.spec.measure == ("nce", "usable")
    assert (run.spec.asked.refits, run.spec.asked.measure) == (3, ("nce", "usable", "mse", "samples"))
    assert run.spec.note == "Left out as time ran short: the MSE inverter, samples, refit 3."
    # What is left of the plan is done, and what was done is what the plan says.
    assert set(run.plan.cells) <= set(run.done)


def test_a_note_says_what_was_left_out_as_it_stands():
    bought = "A budget of 30s bought 90 updates per fit, and 8 samples for each of 8 images. With more time more."
    left = "all but 4 samples for each of 2 images"
    spec = timed(note=bought)
    fewer = _noted(spec, [left])
    short = "A budget of 30s bought 90 updates per fit. With more time more. Left out as time ran short:"
    assert fewer == f"{short} {left}."
    spec = spec.model_copy(update={"note": fewer})
    assert _noted(spec, ["the MSE inverter"]) == f"{short} {left}, the MSE inverter."
    assert _noted(spec, ["the MSE inverter", "samples", "refit 3"]) == f"{short} the MSE inverter, samples, refit 3."


def test_what_has_begun_keeps_its_size():
    spec = timed(samples={"images": 8, "each": 8})
    run = Run(spec, 1.0, 1.0, Counted(sample=1.0))
    cells = run.costs.plan(spec).cells.values()
    run.done = {cell.name: run.costs.seconds(cell) for cell in cells if cell.kind in ("data", "capture", "density")}
    some = next(cell for cell in cells if cell.kind == "samples")
    changed = run.pace.revised(run.done.__contains__, run.done, {some.name: 1.0}, run.plan)
    assert changed is not None
    assert changed[0].samples.images == 8
