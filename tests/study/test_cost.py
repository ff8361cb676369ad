"""What a study costs: counted against formulas, scheduled against sums worked out by hand."""

import pytest
import torch
import torch.nn.functional as F

import tiny_study
from infoplane.study.cost import Costs, Machine, Work, count, words
from infoplane.study.forecast import cost_of, expected
from infoplane.study.plan import make_plan


def test_a_convolution_and_a_product_are_counted_by_their_formulas():
    images, weight = torch.zeros(5, 3, 9, 7, device="meta"), torch.zeros(4, 3, 2, 3, device="meta")
    work = count(lambda: F.conv2d(images, weight))
    rows, columns = 9 - 2 + 1, 7 - 3 + 1
    assert work.flops == 2 * 5 * 4 * 3 * 2 * 3 * rows * columns
    assert (work.operations, work.written) == (1, 5 * 4 * rows * columns)
    assert count(lambda: torch.zeros(6, 7) @ torch.zeros(7, 8)).flops == 2 * 6 * 7 * 8


def test_counting_computes_nothing_and_needs_no_memory():
    work = count(lambda: torch.zeros(10**6, 10**6, device="meta") @ torch.zeros(10**6, 10**6, device="meta"))
    assert work.flops == 2e18


def test_work_adds_up():
    one = Work(2, 30, 400)
    assert one + one == one.times(2) == Work(4, 60, 800)
    # So many passes over so many examples each: the calls stay, the arithmetic grows.
    assert one.times(3, 10) == Work(6, 900, 12_000)
    assert Machine(1.0, 0.1, 0.01).seconds(one) == pytest.approx(2 + 3 + 4)


def density(**changes) -> dict:
    options = {"kind": "pixelcnn", "filters": 4, "residual_layers": 1, "scales": 1, "weight_norm": False}
    fit = {"updates": 10, "batch": 4, "evaluations": 2, "held_out": 0.5}
    return {"density": options, "layer": None, "fit": fit, "contrastive": None, **changes}


def costs(**changes) -> Costs:
    settings = {"shape": (1, 4, 4), "levels": 3, "sizes": {"decoding": 100, "evaluation": 40}, "contexts": {"a": (6,)}}
    return Costs(**{**settings, **changes})


def test_the_cost_of_a_fit_grows_with_its_updates_and_batch():
    shorter, longer = (costs().of("density", density(fit={**density()["fit"], "updates": n})) for n in (10, 110))
    per_update = (longer.flops - shorter.flops) / 100
    larger = costs().of("density", density(fit={**density()["fit"], "updates": 110, "batch": 8}))
    assert larger.flops - longer.flops == pytest.approx(110 * per_update)
    # A training step is a forward pass and, for all but the first layer, twice as much backwards.
    forward = costs().of("samples", {**density(), "images": 1, "each": 1}).flops / (0.5 * 16)
    assert 2 < per_update / (4 * forward) <= 3


def test_a_context_costs_and_scoring_pairs_costs():
    assert costs().of("density", density(layer="a")).flops > costs().of("density", density()).flops
    pairs = density(layer="a", contrastive={"candidates": 5, "batches": 8})
    forward = costs().of("samples", {**density(layer="a"), "images": 1, "each": 1}).flops / (0.5 * 16)
    extra = costs().of("density", pairs).flops - costs().of("density", density(layer="a")).flops
    assert extra == pytest.approx(8 * 25 * forward)


def test_every_cell_of_a_study_has_a_cost_and_the_densities_have_most(tmp_path):
    spec = tiny_study.tiny(tmp_path, subject__train__checkpoints=[0, "end"], fit__updates=1000)
    plan, found = make_plan(spec), cost_of(spec)
    assert found.keys() == plan.cells.keys()
    for cell in plan.cells.values():
        assert (found[cell.name].flops > 0) == (cell.kind in ("subject", "density", "mse", "samples"))
    total = sum(work.flops for work in found.values())
    assert sum(found[cell.name].flops for cell in plan.cells.values() if cell.kind == "density") > 0.8 * total


def test_the_expected_time_is_a_sum_for_one_worker_and_the_longest_chain_for_many(tmp_path, monkeypatch):
    monkeypatch.setattr("infoplane.study.forecast.START_UP", 0.0)
    monkeypatch.setattr("infoplane.study.forecast.FIXED", 0.0)
    plan = make_plan(tiny_study.tiny(tmp_path))
    work = {name: Work(operations=1 + i % 5) for i, name in enumerate(plan.cells)}
    machine = Machine(1.0, 0.0, 0.0)
    assert expected(plan, work, machine, 1) == sum(each.operations for each in work.values())
    chain: dict[str, float] = {}
    for cell in plan.cells.values():
        chain[cell.name] = work[cell.name].operations + max([chain[need] for need in cell.needs.values()], default=0)
    assert expected(plan, work, machine, 1000) == max(chain.values())
    two = expected(plan, work, machine, 2)
    assert max(chain.values()) < two < expected(plan, work, machine, 1)


def test_a_machine_is_calibrated_to_speeds_that_are_not_negative():
    machine = Machine.calibrate(torch.device("cpu"))
    speeds = (machine.per_operation, machine.per_flop, machine.per_written)
    assert min(speeds) >= 0
    assert max(speeds) > 0


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (3.2, "3 s"),
        (89, "89 s"),
        (200, "3 min"),
        (7200, "2.0 h"),
        (99.9 * 3600, "99.9 h"),
        (3600 * 144, "140 h (6 days)"),
        (3600 * 9490.7, "9,500 h (395 days)"),
        (float("inf"), "unknown"),
    ],
)
def test_times_in_words(seconds, said):
    assert words(seconds) == said
