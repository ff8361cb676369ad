"""What a study costs: counted against formulas, scheduled against sums worked out by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

import tiny_noisy
import tiny_study
from infoplane import densities
from infoplane.densities.density import Drawing
from infoplane.engine.plan import Plan
from infoplane.engine.schedule import finished
from infoplane.errors import words
from infoplane.measurements import as_kind
from infoplane.measurements.cost import PROBE_READS, READ, Costs
from infoplane.measurements.counting import Machine, Work, count_work
from infoplane.measurements.fits import DensityCell
from infoplane.measurements.label import ProbeCell
from infoplane.measurements.noisy import GRADED, DescentCell, NoisyCosts
from infoplane.measurements.noisy_information import MADE, QUERY, VISITS
from infoplane.measurements.pictures import Mse, Samples
from infoplane.study.bench import fresh
from infoplane.study.execute import execute
from infoplane.study.families import FAMILIES
from infoplane.study.forecast import costs_of, seconds_of, work_of
from infoplane.study.noisy_spec import noisy_costs
from infoplane.study.origin import Origin
from infoplane.study.plan import make_plan
from infoplane.subjects.dense import DenseSettings, dense, linear_layers, orthonormality_step
from infoplane.subjects.points import spiral
from infoplane.subjects.train_noisy import loss_of


def test_a_convolution_and_a_product_are_counted_by_their_formulas():
    images, weight = torch.zeros(5, 3, 9, 7, device="meta"), torch.zeros(4, 3, 2, 3, device="meta")
    work = count_work(lambda: F.conv2d(images, weight))
    rows, columns = 9 - 2 + 1, 7 - 3 + 1
    assert work.flops == 2 * 5 * 4 * 3 * 2 * 3 * rows * columns
    assert (work.operations, work.written) == (1, 5 * 4 * rows * columns)
    assert count_work(lambda: torch.zeros(6, 7) @ torch.zeros(7, 8)).flops == 2 * 6 * 7 * 8


def test_counting_computes_nothing_and_needs_no_memory():
    work = count_work(lambda: torch.zeros(10**6, 10**6, device="meta") @ torch.zeros(10**6, 10**6, device="meta"))
    assert work.flops == 2e18


def test_work_adds_up():
    one = Work(2, 30, 400)
    assert one + one == one.times(2) == Work(4, 60, 800)
    # So many passes over so many examples each: the calls stay, the arithmetic grows.
    assert Machine(1.0, 0.1, 0.01).seconds(one) == pytest.approx(2 + 3 + 4)


def density(**changes) -> dict:
    options = {"kind": "pixelcnn", "filters": 4, "residual_layers": 1, "scales": 1, "weight_norm": False}
    fit = {"updates": 10, "batch": 4, "evaluations": 2, "held_out": 0.5}
    own = {"density": options, "layer": None, "fit": fit, "fit_on": "decoding", "losses": None, "contrastive": None}
    return {**own, "seed": 0, **changes}


def mse(**changes) -> Mse:
    return Mse(layer="a", fit={**density()["fit"], **changes}, fit_on="decoding", images=8, seed=0)


def costs(**changes) -> Costs:
    settings = {"shape": (1, 4, 4), "levels": 3, "sizes": {"decoding": 100, "evaluation": 40}, "contexts": {"a": (6,)}}
    return Costs(**{**settings, **changes})


def test_the_cost_of_a_fit_grows_with_its_updates_and_batch():
    shorter, longer = (costs().of(DensityCell(**density(fit={**density()["fit"], "updates": n}))) for n in (10, 110))
    per_update = (longer.flops - shorter.flops) / 100
    larger = costs().of(DensityCell(**density(fit={**density()["fit"], "updates": 110, "batch": 8})))
    assert larger.flops - longer.flops == pytest.approx(110 * per_update)
    # A training step is a forward pass and, for all but the first layer, twice as much backwards.
    forward = costs().scoring(density()["density"], None).flops
    assert 2 < per_update / (4 * forward) <= 3


def test_a_step_is_counted_on_its_batch_the_weights_once():
    found = {n: costs().density(density()["density"], None).step(n) for n in (1, 2, 5)}
    assert found[1].operations == found[2].operations == found[5].operations
    assert found[5].flops == pytest.approx(5 * found[1].flops)
    # What is written grows evenly with the batch, from what is written of the weights whatever the batch.
    per_image = found[2].written - found[1].written
    assert found[5].written == found[1].written + 4 * per_image
    assert found[1].written > 1.5 * per_image


def test_a_context_costs_and_scoring_pairs_costs():
    assert costs().of(DensityCell(**density(layer="a"))).flops > costs().of(DensityCell(**density())).flops
    pairs = density(layer="a", contrastive={"candidates": 5, "batches": 8})
    forward = costs().scoring(density()["density"], "a").flops
    extra = costs().of(DensityCell(**pairs)).flops - costs().of(DensityCell(**density(layer="a"))).flops
    # 40 images: ten batches of four.
    assert extra == pytest.approx(10 * 16 * forward)


def test_reading_activations_costs_by_their_size():
    once = {
        layer: costs(contexts={"a": (6,), "b": (3, 4, 5)}).of(
            ProbeCell(layer=layer, held_out=0.5, fit_on="decoding", seed=0)
        )
        for layer in ("a", "b")
    }
    assert once["b"].written == 10 * once["a"].written
    assert once["a"].written == (READ + PROBE_READS) * 6 * 100
    kept, more = costs().of(mse()), costs(sizes={"decoding": 100, "evaluation": 50}).of(mse())
    assert more.flops > kept.flops
    scored = (more.written - kept.written) / 10
    step = costs().of(mse(updates=0))
    assert step.written - scored * (0.5 * 100 * 2 * 2 + 40) == pytest.approx(READ * 6 * 100)


# ---- drawing pixel by pixel ----

DRAWN = [
    # rows, columns, channels, options
    (8, 8, 1, {"filters": 5, "scales": 1}),
    (7, 10, 1, {"filters": 5, "scales": 2}),
    (8, 16, 1, {"filters": 4, "scales": 3, "residual_layers": 2}),
    (24, 24, 1, {"filters": 4, "scales": 3, "residual_layers": 2}),
    (8, 8, 3, {"filters": 4, "scales": 2, "likelihood": "logistic_mixture", "mixtures": 2}),
    (6, 6, 2, {"filters": 3, "scales": 2, "weight_norm": True}),
]


class Calls(TorchDispatchMode):
    """How many operations are called, and how many numbers they write."""

    calls, written = 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.calls += 1
        self.written += sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        return out


@pytest.mark.parametrize(("rows", "columns", "channels", "options"), DRAWN)
def test_drawing_is_counted_as_torch_counts_it_where_images_are_drawn(rows, columns, channels, options):
    spec = {"kind": "pixelcnn", "residual_layers": 1, "weight_norm": False, **options}
    images = 3
    found = costs(shape=(channels, rows, columns)).drawing(spec, images)
    built = {key: value for key, value in spec.items() if key != "kind"}
    real = densities.build("pixelcnn", (channels, rows, columns), 3, None, built, seed=0)
    drawn, generator = torch.zeros(images, channels, rows, columns, dtype=torch.uint8), torch.Generator().manual_seed(0)
    # As `sample` does, inside of which no mode of a caller's sees anything.
    with torch.no_grad(), FlopCounterMode(display=False) as flops, Calls() as counted:
        real.eval().draw(drawn, 0, None, Drawing(generator))
    assert drawn.any()
    # Extended from a few pixels, where an image has more.
    near = 1e-9 if max(rows, columns) <= 12 else 0.2
    assert found.flops == pytest.approx(flops.get_total_flops(), rel=near)
    assert found.calls == pytest.approx(counted.calls, rel=near)
    # Written by all operations, and more: weights are read for every pixel.
    assert counted.written < found.written
    assert found.operations == 0


def test_drawing_takes_one_pass_of_arithmetic_for_an_image_not_one_for_each_pixel():
    spec = {"kind": "pixelcnn", "filters": 6, "residual_layers": 2, "scales": 2}
    one = costs(shape=(1, 16, 16))
    assert one.drawing(spec, 1).flops == pytest.approx(one.scoring(spec, None).flops, rel=0.15)
    many = one.drawing(spec, 10)
    assert many.flops == pytest.approx(10 * one.drawing(spec, 1).flops)
    assert many.calls == pytest.approx(one.drawing(spec, 1).calls)  # all samples of a batch together
    assert many.written < 10 * one.drawing(spec, 1).written  # weights are read once for all


def test_counting_a_drawing_leaves_chance_alone():
    state = torch.get_rng_state()
    costs().drawing(density()["density"], 2)
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_of_a_layer_cost_as_many_of_none_and_reading_it():
    drawn = Samples(layer="a", density=density()["density"], images=3, each=2, seed=0)
    found, without = (costs().of(each) for each in (drawn, drawn.model_copy(update={"layer": None, "each": 6})))
    assert found == without + costs().reading("a")


# ---- studies ----


def test_every_cell_of_a_study_has_a_cost_and_the_densities_have_most(tmp_path):
    spec = tiny_study.tiny(tmp_path, subject__train__checkpoints=[0, "end"], fit__updates=1000)
    plan = make_plan(spec)
    found = work_of(plan, costs_of(spec))
    assert found.keys() == plan.cells.keys()
    for cell in plan.cells.values():
        assert (found[cell.name].flops > 0) == (cell.kind in ("subject", "capture", "density", "mse", "samples"))
        assert (found[cell.name].calls > 0) == (cell.kind == "samples")
    total = sum(work.flops for work in found.values())
    assert sum(found[cell.name].flops for cell in plan.cells.values() if cell.kind == "density") > 0.8 * total


def test_a_plan_s_own_names_are_kept_and_data_are_not_loaded_twice(tmp_path, monkeypatch):
    spec = tiny_study.tiny(tmp_path)
    family = FAMILIES[spec.kind]
    loaded, plan = family.check(spec), make_plan(spec, Origin("data of today"), "a GPU")
    monkeypatch.setattr("infoplane.study.check.load_data", lambda *_: pytest.fail("loaded twice"))
    found = work_of(plan, family.costs(spec, loaded))
    assert found.keys() == plan.cells.keys()
    monkeypatch.undo()
    assert list(found.values()) == list(work_of(plan, costs_of(spec)).values())


def test_what_a_noisy_network_costs_follows_its_samples_queries_and_layers(tmp_path):
    def propagation(**changes) -> Work:
        spec = tiny_noisy.load(tmp_path, tiny_noisy.SPIRAL, {k.replace("__", "."): v for k, v in changes.items()})
        plan = FAMILIES["flow"].plan(spec)
        costs = work_of(plan, noisy_costs(spec))
        assert costs.keys() == plan.cells.keys()
        return next(costs[cell.name] for cell in plan.cells.values() if cell.kind == "flow")

    # Layer 1: 40 inputs in one block. Layer 2: 40,000 samples whole, 20,000 in either half; of the draw's own input
    # 1,000 samples, and 512 further ones under 11 kernels, which are propagated for 40 inputs.
    made = MADE * (40 + 3 * 40_000 + 512 * 40)
    few, many = (
        propagation(estimate__samples=40_000, estimate__queries=1000),
        propagation(estimate__samples=40_000, estimate__queries=3000),
    )
    assert many.visits - made == pytest.approx(3 * (few.visits - made))
    deep = 2 * QUERY + 4 + VISITS["tanh"] * (40_000 + 20_000) / 1e5
    assert few.visits - made == pytest.approx(1000 * (40 / 256 + deep + (1000 + 512 * 11) / 256))
    twice = propagation(estimate__samples=80_000, estimate__queries=1000)
    assert twice.visits - few.visits > 3 * MADE * 40_000


def test_descent_costs_by_its_steps(tmp_path):
    def descents(**changes) -> list[Work]:
        spec = tiny_noisy.load(tmp_path, tiny_noisy.SPIRAL, changes)
        plan = FAMILIES["flow"].plan(spec)
        return [
            work for name, work in work_of(plan, noisy_costs(spec)).items() if tiny_study.kind_of(name) == "descent"
        ]

    plain, deterministic = descents()
    assert deterministic.calls < plain.calls  # no noise
    assert [work.calls for work in descents(**{"train.epochs": 60})] == [3 * plain.calls, 3 * deterministic.calls]
    assert descents(**{"train.orthonormal": 0.001})[0].calls > plain.calls


@pytest.mark.parametrize("widths", [(1,), (3, 3), (10, 7, 5, 4, 3)])
@pytest.mark.parametrize("beta", [None, 0.1])
@pytest.mark.parametrize("orthonormal", [0.0, 0.1])
def test_a_step_of_descent_calls_as_many_operations_as_torch_counts(widths, beta, orthonormal):
    """Beside what a step takes by itself, whatever its network."""

    def called(widths, beta, orthonormal) -> int:
        model = dense(DenseSettings(widths=widths, beta=beta), 12, 2, torch.Generator())
        x, labels = torch.zeros(8, 12, dtype=torch.float64), torch.zeros(8, dtype=torch.int64)
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-9)

        def step() -> None:
            loss_of(model(x, torch.Generator()), labels, torch.zeros(2), "cross-entropy").backward()
            optimiser.step()
            for layer in linear_layers(model) if orthonormal else ():
                orthonormality_step(layer.weight, orthonormal)

        step()
        optimiser.zero_grad()
        return round(count_work(step).operations)

    def foretold(widths, beta, orthonormal) -> float:
        train = {"epochs": 1, "batch": None, "orthonormal": orthonormal}
        network = {"widths": widths, "beta": beta}
        return DescentCell(network=network, train=train, seed=0).work(NoisyCosts(spiral(0))).calls

    least = (1,), None, 0.0
    assert foretold(widths, beta, orthonormal) - foretold(*least) == pytest.approx(
        GRADED * (called(widths, beta, orthonormal) - called(*least)), rel=0.02
    )


def test_the_expected_time_is_a_sum_for_one_worker_and_the_longest_chain_for_many(tmp_path, monkeypatch):
    monkeypatch.setattr("infoplane.study.forecast.FIXED", 0.0)
    plan = make_plan(tiny_study.tiny(tmp_path))
    work = {name: Work(operations=1 + i % 5) for i, name in enumerate(plan.cells)}
    machine = Machine(1.0, 0.0, 0.0)

    def expected(workers: int) -> float:
        return finished(plan.cells.values(), seconds_of(work, machine), workers, start_up=0.0)

    assert expected(1) == sum(each.operations for each in work.values())
    chain: dict[str, float] = {}
    for cell in plan.cells.values():
        chain[cell.name] = work[cell.name].operations + max([chain[need] for need in cell.needs.values()], default=0)
    assert expected(1000) == max(chain.values())
    two = expected(2)
    assert max(chain.values()) < two < expected(1)


def test_cells_that_are_there_already_take_no_time(tmp_path):
    plan = make_plan(tiny_study.tiny(tmp_path))
    seconds = seconds_of({name: Work(operations=1) for name in plan.cells}, Machine(1.0))
    left = list(plan.cells.values())[5:9]
    assert finished(left, seconds, 1, start_up=0.0) == pytest.approx(4 * 1.1)
    assert finished([], seconds, 2) == 0


def test_a_machine_is_calibrated_to_speeds_that_are_not_negative():
    speeds = vars(fresh(torch.device("cpu")).machine).values()
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


def test_what_cells_store_is_foretold_from_their_shapes(tmp_path):
    """Against the files of a run, where arrays and weights outweigh what files begin with."""
    spec = tiny_study.tiny(tmp_path, data__encoding=30, density__filters=32, fit__refits=1, subject__hidden=600)
    assert not execute(spec, tmp_path / "run", workers=0, quiet=True).failed
    plan = Plan.load(tmp_path / "run")
    costs = costs_of(spec)
    sizes = {name: costs.size(as_kind(cell)) for name, cell in plan.cells.items()}
    for kind in ("density", "subject", "capture"):
        name = tiny_study.role(plan, kind, "conv1" if kind == "density" else "", 1 if kind == "density" else 0)
        # Arrays and weights; a few thousand bytes of JSON lie beside them whatever their size.
        there = sum(path.stat().st_size for path in (tmp_path / "run" / "cells" / name).glob("*.safetensors"))
        assert sizes[name] == pytest.approx(there, rel=0.25), kind


def test_more_images_cost_more_and_are_divided_as_the_study_divides_them(tmp_path):
    spec = tiny_study.tiny(tmp_path)
    plan = make_plan(spec)
    few, more = costs_of(spec), costs_of(spec, images=1600)
    here, many = work_of(plan, few), work_of(plan, more)
    capture, subject = (tiny_study.role(plan, kind) for kind in ("capture", "subject"))
    assert many[capture].flops == pytest.approx(10 * here[capture].flops)
    # The network's training is a number of updates, whatever the data.
    assert many[subject].flops < 2 * here[subject].flops
    data = as_kind(plan.cells[plan.name("data")])
    assert more.size(data) == 10 * few.size(data)
