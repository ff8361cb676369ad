"""Densities of a study that are trained together: what is planned, what each then is, and what that costs."""

import pytest
import torch

import tiny_study
from infoplane.inversion import Curve, FitSettings
from infoplane.report.build import load_run
from infoplane.study.execute import execute
from infoplane.study.forecast import costs_of, work_of
from infoplane.study.plan import make_plan

ROLES = [("input", ""), ("conv1", "2"), ("logits", "2"), ("conv1", "end"), ("logits", "end")]


def study(folder, shared, **changes):
    settings = {"subject__train__checkpoints": [2, "end"], "fit__updates": 4, "fit__evaluations": 2} | changes
    start = {"fit__warm_start": "shared", "fit__shared": shared} if shared else {"fit__warm_start": "none"}
    return tiny_study.tiny(folder, **start, **settings)


@pytest.mark.parametrize(("shared", "together"), [(0.1, 0), (0.5, 2), (0.74, 3), (1, 4)])
def test_how_many_updates_are_shared(shared, together):
    assert FitSettings(updates=4, warm_start="shared", shared=shared).together == together
    assert FitSettings(updates=4, warm_start="early", shared=shared).together == 0


@pytest.mark.parametrize(("start", "base"), [("none", 0), ("shared", 0), ("early", 25), ("fitted", 100)])
def test_how_long_the_base_is_trained(start, base):
    assert FitSettings(updates=100, warm_start=start).base == base
    assert FitSettings(updates=100, warm_start=start, base_updates=7).base == (7 if start == "early" else base)
    assert FitSettings(updates=2, warm_start="early").base == 1


@pytest.mark.parametrize("shared", [0, 0.5, 1])
def test_every_density_gets_the_updates_of_its_twin(tmp_path, shared):
    plan = make_plan(study(tmp_path, shared))
    for refit in (1, 2):
        trunk = plan.name("trunk", "input together", refit)
        assert (trunk is None) == (shared == 0)
        own = set()
        for layer, checkpoint in ROLES:
            cell = plan.cells[plan.roles["density", layer, refit, checkpoint]]
            assert cell.needs.get("trunk") == trunk
            own.add(cell.params["fit"]["updates"])
        together = 0 if trunk is None else plan.cells[trunk].params["fit"]["updates"]
        assert own == {4 - together}
        assert together == 4 * shared
        if trunk is not None:
            # One turn for each place, the twin's among them; and each place knows which of them is its own.
            places = plan.cells[trunk].params["places"]
            assert [place["layer"] for place in places] == [None, "conv1", "logits", "conv1", "logits"]
            captures = [plan.cells[trunk].needs[p["capture"]] if "capture" in p else None for p in places]
            assert captures == [plan.name("capture", checkpoint=c) if c else None for _, c in ROLES]
            cells = [plan.cells[plan.roles["density", layer, refit, c]] for layer, c in ROLES]
            assert [cell.params["place"] for cell in cells] == [0, 1, 2, 3, 4]


def test_layers_with_another_density_share_among_themselves(tmp_path):
    plan = make_plan(study(tmp_path, 0.5, density_at={"conv1": {"dropout": 0.3}, "logits": {"context_dropout": 0.2}}))
    for name, layers in (
        ("input together", [None, "logits", "logits"]),
        ("input:conv1 together", [None, "conv1", "conv1"]),
    ):
        trunk = plan.cells[tiny_study.role(plan, "trunk", name, 1)]
        assert [place["layer"] for place in trunk.params["places"]] == layers
        assert {place["density"]["dropout"] for place in trunk.params["places"]} == {0.3 if "conv1" in name else 0.1}
    dropouts = [
        place["density"]["context_dropout"]
        for place in plan.cells[tiny_study.role(plan, "trunk", "input together", 1)].params["places"]
    ]
    assert dropouts == [0.0, 0.2, 0.2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    found = {}
    for shared in (0.5, 1):
        folder = tmp_path_factory.mktemp("shared")
        spec = study(folder, shared, fit__refits=1)
        assert not execute(spec, folder / "run", workers=0, quiet=True).failed
        found[shared] = load_run(folder / "run")
    return found


def states(results, refit=1):
    return {role: results.cell("density", role[0], refit, role[1]).weights("density") for role in ROLES}


def test_with_all_updates_shared_the_densities_differ_in_their_conditioning_only(runs):
    found = states(runs[1])
    twin = found["input", ""]
    for role, state in found.items():
        assert all(torch.equal(state[name], twin[name]) for name in twin)
        own = [state[name] for name in state.keys() - twin.keys()]
        assert (len(own) > 0) == (role[0] != "input")
    at = [found["conv1", c] for c in ("2", "end")]
    assert any(not torch.equal(at[0][name], at[1][name]) for name in at[0].keys() - twin.keys())


def test_what_goes_on_alone_begins_at_the_trunk_and_leaves_it(runs):
    # Up to the last shared update both studies are not the same run: their schedules differ. Each is held to itself.
    trunk = runs[0.5].cell("trunk", "input together", 1)
    for (layer, checkpoint), state in states(runs[0.5]).items():
        stored = runs[0.5].cell("density", layer, 1, checkpoint)
        place = ROLES.index((layer, checkpoint))
        before = {**trunk.weights("trunk"), **trunk.weights(f"place{place}")}
        assert before.keys() == state.keys()
        curve, shared = stored.values["curve"], trunk.values["curves"][place]
        assert curve["updates"] == [1, 2, 3, 4]
        assert curve["heldout"][:2] == shared["heldout"]
        moved = any(not torch.equal(before[name], state[name]) for name in state)
        assert moved == (curve["best_update"] > 2)
    assert any(runs[0.5].cell("density", *role[:1], 1, role[1]).values["curve"]["best_update"] > 2 for role in ROLES)


def test_a_shared_fit_reports_the_held_out_loss_of_the_weights_that_it_kept(runs):
    for layer, checkpoint in ROLES:
        values = runs[1].cell("density", layer, 1, checkpoint).values
        curve = values["curve"]
        kept = curve["updates"].index(curve["best_update"])
        assert values["heldout_nats"] == pytest.approx(
            curve["heldout" + "_ema" * (curve["best"] == "ema")][kept], abs=1e-4
        )


def test_curves_join_where_one_fit_goes_on_from_another():
    first = Curve(9.0, [2, 4], [8.0, 7.0], [8.5, 7.5], [8.6, 7.6], [1.0, 1.0], best_update=4, best="raw", guarded=1)
    later = Curve(7.5, [3, 6], [6.0, 5.0], [6.5, 5.5], [6.6, 5.4], [1.0, 1.0], best_update=6, best="ema", guarded=2)
    both = first.then(later)
    assert (both.updates, both.start, both.guarded) == ([2, 4, 7, 10], 9.0, 3)
    assert both.heldout_ema == [8.6, 7.6, 6.6, 5.4]
    assert (both.best_update, both.best, both.best_loss) == (10, "ema", 5.4)
    # Where going on made nothing better, the first one's weights were kept.
    worse = first.then(Curve(7.5, [3], [9.0], [9.0], [9.0], [1.0], best_update=0, best="raw"))
    assert (worse.best_update, worse.best) == (4, "raw")
    assert Curve().then(later) is later


def test_sharing_costs_what_the_same_updates_alone_cost(tmp_path):
    # An update of a place is the same work with others as by itself; the rest is looks at held-out images.
    found = {}
    for shared in (0, 0.5, 1):
        spec = study(tmp_path, shared, fit__updates=1000, fit__evaluations=1)
        plan = make_plan(spec)
        costs = work_of(plan, costs_of(spec))
        found[shared] = sum(costs[c.name].flops for c in plan.cells.values() if c.kind in ("density", "trunk"))
    assert found[0.5] == pytest.approx(found[0], rel=0.05)
    assert found[1] == pytest.approx(found[0], rel=0.05)


def test_early_stopping_may_go_with_usable_information_only_if_all_stop_together(tmp_path, refuses):
    assert study(tmp_path, 1, fit__patience=2).fit.patience == 2
    for shared in (0, 0.5):
        with refuses("fit.patience beside usable information"):
            study(tmp_path, shared, fit__patience=2)
