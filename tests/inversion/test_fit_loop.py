"""The training loop against small models whose every step can be worked out."""

import importlib
import itertools
import math
from statistics import median
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from infoplane.densities import Autoregressive, PixelCNN
from infoplane.errors import FitError
from infoplane.inversion import FitSettings, NegativeLogProb, Pairs, fit, fit_density, losses_of, seconds_per_update

fit_module = importlib.import_module("infoplane.inversion.fit")  # the package's `fit` is the function

PLAIN = {"warmup": 0, "schedule": "constant", "weight_decay": 0.0, "ema": 0.0, "batch": 4}


class Point(nn.Module):
    """A point θ that is pulled towards each example's target, its only pixel."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([start]))


class Distance:
    """(θ − x)²/2 · weight, for images x of one pixel and weights given as contexts; counts its calls in training."""

    def __init__(self, model: Point) -> None:
        self.model, self.calls, self.seen = model, 0, []

    def __call__(self, images, context):
        if self.model.training:
            self.calls += 1
            self.seen.append(images.flatten().tolist())
        error = (self.model.theta - images.flatten().float()).square() / 2
        return error if context is None else error * context


def pixels(*values) -> Pairs:
    return Pairs(torch.tensor(values, dtype=torch.uint8).view(-1, 1, 1, 1))


def small_density(context=None, *, seed=0, dropout=0.3) -> PixelCNN:
    torch.manual_seed(seed)
    return PixelCNN(
        (1, 3, 4), 4, context=context, filters=4, residual_layers=1, scales=2, dropout=dropout, context_dropout=dropout
    )


def stripes(n: int, *, seed=0) -> torch.Tensor:
    """Images whose rows are alike, a little noisy: there is something to learn."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(0, 4, (n, 1, 1, 4), generator=generator).expand(n, 1, 3, 4)
    noise = torch.rand(n, 1, 3, 4, generator=generator) < 0.1
    return torch.where(noise, torch.randint(0, 4, (n, 1, 3, 4), generator=generator), rows).to(torch.uint8)


def state_of(model) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def same(first, second) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


# --- what depends on what ------------------------------------------------------------------------------------------


def run_density(*, seed=1, context=None, updates=14, **settings):
    model = small_density(None if context is None else (4,))
    images = stripes(40)
    first, rest = (context, context) if context is None or callable(context) else (context[:30], context[30:])
    pairs, held_out = Pairs(images[:30], first), Pairs(images[30:], rest)
    curve = fit_density(model, pairs, held_out, FitSettings(updates=updates, evaluations=3, **settings), seed=seed)
    return model, curve


def test_the_same_seed_gives_the_same_bits():
    torch.manual_seed(1)
    model, curve = run_density()
    torch.manual_seed(2)  # the caller's random state does not matter
    torch.rand(3)
    again, same_curve = run_density()
    assert same(state_of(model), state_of(again))
    assert curve == same_curve
    other, other_curve = run_density(seed=2)
    assert not same(state_of(model), state_of(other))
    assert curve.heldout != other_curve.heldout


def test_the_callers_random_state_stays():
    torch.manual_seed(3)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    model = small_density()
    torch.set_rng_state(before)
    pairs = Pairs(stripes(20))
    fit(model, NegativeLogProb(model), pairs, pairs, FitSettings(updates=5, evaluations=2), seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpys)


def test_progress_and_evaluations_do_not_change_the_training():
    seen = []
    first, second = small_density(), small_density()
    pairs = Pairs(stripes(20))
    settings = FitSettings(updates=6, evaluations=6, schedule="constant", ema=0.0)
    fit(first, NegativeLogProb(first), pairs, pairs, settings, seed=0, progress=lambda *a: seen.append(a))
    last = settings.model_copy(update={"evaluations": 1})
    curve = fit(second, NegativeLogProb(second), pairs, pairs, last, seed=0)
    assert [s[:2] for s in seen] == [(k, 6) for k in range(1, 7)]
    assert curve.heldout == [seen[-1][2]]


@pytest.mark.parametrize("kind", ["elementwise", "network"])
def test_contexts_on_the_fly_are_those_cached(kind):
    network = nn.Linear(12, 4, bias=False).requires_grad_(False)

    def on_the_fly(images):
        flat = images.flatten(1).float()
        if kind == "elementwise":
            return flat[:, :4] ** 2 - flat[:, 4:8]
        # One image at a time: a matrix product's last bit may depend on how many rows it has.
        return torch.cat([network(row[None]) for row in flat])

    model, curve = run_density(context=on_the_fly)
    cached, cached_curve = run_density(context=on_the_fly(stripes(40)))
    assert same(state_of(model), state_of(cached))
    assert curve == cached_curve
    # The context does something.
    without, _ = run_density(context=torch.zeros(40, 4))
    assert not same(state_of(model), state_of(without))


def test_every_example_once_per_epoch():
    model = Point()
    loss = Distance(model)
    pairs = pixels(*range(10))
    fit(model, loss, pairs, pairs, FitSettings(updates=10, **PLAIN | {"batch": 4}), seed=0)
    order = list(itertools.chain(*loss.seen))
    assert len(order) == 40
    epochs = [order[k : k + 10] for k in range(0, 40, 10)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4  # and in another order every time
    # A batch may be larger than the data.
    fit(model, loss, pixels(1, 2), pixels(1), FitSettings(updates=3, **PLAIN | {"batch": 5}), seed=0)


# --- one step ------------------------------------------------------------------------------------------------------


def test_the_loop_is_adam_on_the_mean_loss():
    """θ after every step, from the textbook's recursion in numpy."""
    model, seen = Point(0.3), []
    loss = Distance(model)
    settings = FitSettings(
        updates=25,
        batch=3,
        learning_rate=0.1,
        betas=(0.9, 0.99),
        weight_decay=0.02,
        warmup=5,
        schedule="linear",
        guard=1e9,
    )
    pairs = pixels(0, 1, 2, 3, 2)
    fit(model, loss, pairs, pairs, settings, seed=0, progress=lambda *_: seen.append(float(model.theta.detach())))
    theta, m, v = 0.3, 0.0, 0.0
    for step, (batch, got) in enumerate(zip(loss.seen, seen)):
        rate = 0.1 * min(1, (step + 1) / 5) * (1 - step / 25)
        gradient = np.mean([theta - x for x in batch])
        m, v = 0.9 * m + 0.1 * gradient, 0.99 * v + 0.01 * gradient**2
        theta -= rate * 0.02 * theta
        theta -= rate * (m / (1 - 0.9 ** (step + 1))) / (math.sqrt(v / (1 - 0.99 ** (step + 1))) + 1e-8)
        assert got == pytest.approx(theta, abs=1e-5)
    assert len(seen) == 25


def test_schedules():
    linear = FitSettings(updates=100, warmup=10, schedule="linear")
    assert linear.rate(0) == pytest.approx(0.1)
    assert linear.rate(50) == pytest.approx(0.5)
    assert linear.rate(99) == pytest.approx(0.01)
    constant = FitSettings(updates=100, warmup=0, schedule="constant")
    assert {constant.rate(k) for k in range(100)} == {1.0}
    exponential = FitSettings(updates=100, warmup=0, schedule="exponential", decay=0.9)
    assert [exponential.rate(k) for k in range(3)] == pytest.approx([1, 0.9, 0.81])


def test_the_context_may_learn_at_its_own_rate():
    model = small_density(context=(4,), dropout=0.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    images = stripes(8)
    pairs = Pairs(images, torch.randn(8, 4, generator=torch.Generator().manual_seed(0)))
    settings = FitSettings(updates=1, evaluations=1, learning_rate=1e-3, context_rate=5.0, **PLAIN)
    fit(model, NegativeLogProb(model), pairs, pairs, settings, seed=0)
    # Adam's first step is the learning rate, whatever the gradient is.
    moved = {name: (p.detach() - before[name]).abs() for name, p in model.named_parameters()}
    ours = [value for name, value in moved.items() if name.startswith("conditioning.")]
    others = [value for name, value in moved.items() if not name.startswith("conditioning.")]
    assert torch.cat([o.flatten() for o in ours]).median() == pytest.approx(5e-3, rel=1e-3)
    assert torch.cat([o.flatten() for o in others]).max() == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize(
    ("shape", "context", "factor"),
    [((1, 8, 8), (10,), 5), ((1, 8, 8), (128,), 1.25), ((1, 8, 8), (32, 4, 4), 5), ((3, 8, 8), (10,), 0.2),
     ((3, 8, 8), (512, 4, 4), 0.0125), ((1, 8, 8), None, None)],
)  # fmt: skip
def test_what_a_context_learns_at_depends_on_image_and_size(shape, context, factor):
    """Without a context there is nothing that learns at a rate of its own."""
    density = PixelCNN(shape, 16, context, filters=2, residual_layers=1, scales=1)
    for asked, expected in ((None, factor), (3.0, 3.0)):
        rates = [(set(parameters), rate) for parameters, rate in density.context_rates(asked) if parameters]
        if context is None:
            assert rates == []
        else:
            ((parameters, rate),) = rates
            assert parameters == set(density.context_parameters())
            assert rate == pytest.approx(expected)


@pytest.mark.parametrize(("context", "direct"), [((6,), "whole"), ((2, 4, 4), "spread")])
def test_of_a_density_of_parts_only_what_h_itself_enters_through_learns_slowly(context, direct):
    density = Autoregressive((1, 8, 8), 16, context, width=4)
    for asked, expected in ((None, 0.1), (3.0, 3.0)):
        rates = {parameter: rate for parameters, rate in density.context_rates(asked) for parameter in parameters}
        assert set(rates) == set(density.context_parameters())
        for name, parameter in density.reader.named_parameters():
            assert rates[parameter] == (expected if name == f"near.{direct}.weight" else 1.0)


def test_a_planted_huge_gradient_is_shortened():
    model, norms = Point(0.5), []
    values, weights = [1, 2, 3, 4] * 10, torch.ones(40)
    weights[17] = 1e4
    pairs = Pairs(pixels(*values).images, weights)
    settings = FitSettings(updates=40, guard=3.0, **PLAIN | {"batch": 1, "learning_rate": 1e-6})

    def after(step, *_):
        norms.append(float(model.theta.grad.abs()))  # as the optimiser saw it

    curve = fit(model, Distance(model), pairs, pairs, settings, seed=3, progress=after)
    raw = {round(abs(0.5 - v), 3): v for v in values}
    planted = [k for k, norm in enumerate(norms) if min(abs(norm - r) for r in raw) > 1e-2]
    assert len(planted) == 1
    assert planted[0] >= 10  # the seed is such that there is a median to compare with by then
    assert curve.guarded == 1
    assert norms[planted[0]] == pytest.approx(3 * median(norms[: planted[0]]), rel=1e-4)
    # Without the guard the optimiser would have seen all of it.
    model, norms = Point(0.5), []
    wide = settings.model_copy(update={"guard": 1e9})
    curve = fit(model, Distance(model), pairs, pairs, wide, seed=3, progress=after)
    assert max(norms) > 1e3
    assert curve.guarded == 0


# --- what is kept --------------------------------------------------------------------------------------------------


def test_the_kept_weights_are_the_best_ones():
    model, curve = run_density(updates=40, learning_rate=0.05)
    images = stripes(40)[30:]
    pairs = Pairs(images)
    assert not model.training
    assert float(losses_of(model, NegativeLogProb(model), pairs).mean()) == curve.best_loss
    assert curve.best_loss == min([curve.start, *curve.heldout, *curve.heldout_ema]) < curve.start
    column = curve.heldout if curve.best == "raw" else curve.heldout_ema
    assert column[curve.updates.index(curve.best_update)] == curve.best_loss
    assert curve.updates[-1] == 40


def test_best_weights_are_restored_when_later_ones_are_worse():
    # Training pulls to 9, the held-out example sits at 2: on the way from 0 to 9, θ passes the best value.
    model, path = Point(), []
    settings = FitSettings(updates=50, evaluations=50, **PLAIN | {"learning_rate": 0.1})
    curve = fit(
        model, Distance(model), pixels(9, 9, 9, 9), pixels(2), settings, seed=0,
        progress=lambda *_: path.append(float(model.theta.detach())),
    )  # fmt: skip
    assert path[-1] > 3
    nearest = min(path, key=lambda theta: abs(theta - 2))
    assert float(model.theta.detach()) == nearest
    assert curve.best_update == path.index(nearest) + 1
    assert curve.best_loss == pytest.approx((nearest - 2) ** 2 / 2)
    assert curve.heldout == pytest.approx([(theta - 2) ** 2 / 2 for theta in path], abs=1e-6)


def test_training_that_only_makes_things_worse_is_undone():
    # The held-out example sits where θ begins, and training pulls away from it.
    model = Point(2.5)
    loss = Distance(model)
    settings = FitSettings(updates=30, evaluations=5, **PLAIN | {"learning_rate": 0.1, "ema": 0.9})
    curve = fit(model, loss, pixels(9, 9), pixels(2), settings, seed=0)
    assert curve.start == 0.125
    assert min(curve.heldout + curve.heldout_ema) > curve.start
    assert (curve.best_update, curve.best_loss) == (0, curve.start)
    assert float(model.theta.detach()) == 2.5
    assert loss.calls == 30  # it was tried to the end


def test_the_held_out_loss_is_computed_at_the_start_and_twice_per_evaluation():
    model = Point()

    def loss(images, context):
        loss.evaluations += not model.training
        return (model.theta - images.flatten().float()).square()

    loss.evaluations = 0
    curve = fit(model, loss, pixels(2, 2), pixels(3), FitSettings(updates=9, evaluations=3, **PLAIN), seed=0)
    assert loss.evaluations == 1 + 2 * 3
    assert curve.start == 9.0


def test_the_average_is_that_of_the_definition():
    """Held-out losses of the averaged weights, from the path of the raw ones."""
    model, path = Point(), []
    settings = FitSettings(updates=30, evaluations=30, **PLAIN | {"learning_rate": 0.2, "ema": 0.8})
    curve = fit(
        model, Distance(model), pixels(1, 5, 9, 2, 0), pixels(4), settings, seed=0,
        progress=lambda *_: path.append(float(model.theta.detach())),
    )  # fmt: skip
    average, expected = 0.0, []
    for step, theta in enumerate(path):
        memory = min(0.8, (1 + step) / (10 + step))
        average = memory * average + (1 - memory) * theta
        expected.append((average - 4) ** 2 / 2)
    assert curve.heldout_ema == pytest.approx(expected, abs=1e-5)
    assert curve.heldout == pytest.approx([(theta - 4) ** 2 / 2 for theta in path], abs=1e-5)


def test_raw_weights_are_kept_where_the_average_lags_behind():
    model = Point()
    settings = FitSettings(updates=20, evaluations=1, **PLAIN | {"learning_rate": 0.1, "ema": 0.9})
    curve = fit(model, Distance(model), pixels(9, 9, 9, 9), pixels(9), settings, seed=0)
    assert curve.best == "raw"
    assert curve.heldout[0] < curve.heldout_ema[0]
    assert (float(model.theta.detach()) - 9) ** 2 / 2 == pytest.approx(curve.heldout[0])


def test_averaged_weights_are_kept_where_the_raw_ones_jump_about():
    model = Point()
    settings = FitSettings(updates=200, evaluations=1, **PLAIN | {"learning_rate": 1.0, "ema": 0.98, "batch": 1})
    curve = fit(model, Distance(model), pixels(0, 10), pixels(5), settings, seed=1)
    assert curve.best == "ema"
    assert curve.heldout_ema[0] < curve.heldout[0]
    assert curve.heldout_ema[0] < curve.start
    assert (float(model.theta.detach()) - 5) ** 2 / 2 == pytest.approx(curve.heldout_ema[0], abs=1e-5)


def test_early_stopping_waits_for_its_patience():
    model = Point()
    loss = Distance(model)
    settings = FitSettings(updates=200, evaluations=20, patience=3, **PLAIN | {"learning_rate": 0.1})
    curve = fit(model, loss, pixels(9, 9), pixels(2), settings, seed=0)
    best = curve.heldout.index(min(curve.heldout))
    assert curve.updates == [10 * (k + 1) for k in range(best + 4)]  # three more evaluations, then the end
    assert loss.calls == curve.updates[-1] < 200
    assert float(model.theta.detach()) == pytest.approx(2, abs=0.5)
    # With no patience set it trains to the end.
    model = Point()
    curve = fit(model, Distance(model), pixels(9, 9), pixels(2), settings.model_copy(update={"patience": None}), seed=0)
    assert curve.updates[-1] == 200


def test_the_curve_reports_means_since_the_last_evaluation():
    model = Point()
    settings = FitSettings(updates=12, evaluations=3, **PLAIN | {"learning_rate": 1e-9})
    pairs = pixels(3, 3, 3)
    curve = fit(model, Distance(model), pairs, pixels(1), settings, seed=0)
    assert curve.updates == [4, 8, 12]
    assert curve.train == pytest.approx([4.5] * 3)
    assert curve.gradient == pytest.approx([3.0] * 3)
    assert curve.heldout == pytest.approx([0.5] * 3)


@pytest.mark.parametrize(("updates", "evaluations"), [(1, 10), (7, 10), (100, 7), (10, 1)])
def test_evaluations_end_at_the_last_update(updates, evaluations):
    model = Point()
    settings = FitSettings(updates=updates, evaluations=evaluations, **PLAIN)
    curve = fit(model, Distance(model), pixels(1, 2), pixels(1), settings, seed=0)
    assert curve.updates[-1] == updates
    assert curve.updates == sorted(set(curve.updates))
    assert len(curve.updates) == min(updates, evaluations)
    assert len(curve.train) == len(curve.heldout) == len(curve.heldout_ema) == len(curve.gradient) == len(curve.updates)


# --- what goes wrong -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named(poison):
    model = Point()

    def loss(images, context):
        loss.calls += model.training
        value = (model.theta - images.flatten().float()).square() / 2
        return value * poison if loss.calls == 4 else value

    loss.calls = 0
    settings = FitSettings(updates=9, evaluations=1, **PLAIN | {"learning_rate": 0.0123})
    with pytest.raises(FitError) as caught:
        fit(model, loss, pixels(2, 2), pixels(2), settings, seed=0)
    message = str(caught.value)
    assert "\n" not in message
    assert "step 4 of 9" in message
    assert "learning rate 0.0123" in message
    expected = (2 - 2 * 0.0123) ** 2 / 2  # two steps of Adam, each as long as the learning rate
    last_good = float(message.split("last good loss was ")[1].split(";")[0])
    assert last_good == pytest.approx(expected, abs=1e-4)


def test_a_gradient_that_is_not_finite_is_named():
    model = Point()

    def loss(images, context):  # finite, but its slope at 0 is not
        return (model.theta * 0).abs().sqrt().expand(len(images)) + 1.0

    with pytest.raises(FitError, match=r"step 1 of 5.*gradient norm nan.*last good loss was none"):
        fit(model, loss, pixels(2, 2), pixels(2), FitSettings(updates=5, **PLAIN), seed=0)


@pytest.mark.parametrize("finite", [0, 1])
def test_a_held_out_loss_that_is_never_finite_is_named(finite):
    # That it was finite once, before any update, does not make a fit of it.
    model = Point()

    def loss(images, context):
        value = (model.theta - images.flatten().float()).square()
        loss.evaluations += not model.training
        return value if model.training or loss.evaluations <= finite else value * math.nan

    loss.evaluations = 0
    with pytest.raises(FitError, match="held-out loss was never finite"):
        fit(model, loss, pixels(2, 2), pixels(2), FitSettings(updates=5, **PLAIN), seed=0)


def test_a_held_out_loss_that_was_nan_at_first_does_not_spoil_the_best_one():
    model = Point()

    def loss(images, context):
        value = (model.theta - images.flatten().float()).square()
        loss.evaluations += not model.training
        return value * math.nan if not model.training and loss.evaluations <= 3 else value

    loss.evaluations = 0
    curve = fit(model, loss, pixels(2, 2), pixels(2), FitSettings(updates=4, evaluations=2, **PLAIN), seed=0)
    assert all(math.isnan(value) for value in (curve.start, curve.heldout[0], curve.heldout_ema[0]))
    assert curve.best_loss == min(curve.heldout[1], curve.heldout_ema[1])
    assert curve.best_update == 4
    assert float(losses_of(model, loss, pixels(2)).mean()) == curve.best_loss


def test_nothing_to_fit_is_refused(refuses):
    model = Point()
    with refuses("no pairs", "0 to train, 1 held out"):
        fit(model, Distance(model), pixels(), pixels(1), FitSettings(updates=2), seed=0)
    with refuses("no pairs", "2 to train, 0 held out"):
        fit(model, Distance(model), pixels(1, 2), pixels(), FitSettings(updates=2), seed=0)


@pytest.mark.parametrize(
    "bad",
    [
        {"updates": 0},
        {"minutes": 0},
        {"batch": 0},
        {"learning_rate": -1},
        {"ema": 1.0},
        {"betas": (1.0, 0.9)},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"betas": (0.9,)},
        {"held_out": 1.0},
        {"schedule": "cosine"},
        {"warm_start": "yes"},
        {"epochs": 3},
    ],
)
def test_settings_are_validated(bad, refuses):
    with refuses(next(iter(bad)), "FitSettings"):
        FitSettings(**bad)


# --- a budget of time ----------------------------------------------------------------------------------------------


class Clock:
    """A clock that only training and evaluating move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __deepcopy__(self, memo) -> "Clock":
        return self


class Timed(Distance):
    """Takes `step` seconds to train on a batch and `evaluation` seconds to evaluate."""

    def __init__(self, model, clock, step, evaluation):
        super().__init__(model)
        self.clock, self.step, self.evaluation = clock, step, evaluation

    def __call__(self, images, context):
        self.clock.now += self.step if self.model.training else self.evaluation
        return super().__call__(images, context)


@pytest.mark.parametrize("evaluation", [0.0, 0.7])
def test_minutes_become_updates(monkeypatch, evaluation):
    clock = Clock()
    monkeypatch.setattr(fit_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    counts, times = [], []
    for step in (0.5, 1.0, 2.0, 1000.0):
        model = Point()
        settings = FitSettings(minutes=2.0, evaluations=5, **PLAIN)
        loss = Timed(model, clock, step, evaluation)
        curve = fit(model, loss, pixels(1, 2, 3), pixels(2), settings, seed=0)
        counts.append(curve.updates[-1])
        assert loss.calls == counts[-1]  # the timing ran on a copy
        times.append(counts[-1] * step + evaluation * (1 + 2 * len(curve.updates)))
    assert counts[:3] == sorted(counts[:3], reverse=True)
    assert counts[3] == 1  # never none at all
    # An evaluation scores the raw and the averaged weights, and the first weights are scored: (1 + 2 × 5) × 0.7 of the
    # 120 seconds.
    assert all(117 < t <= 120 for t in times[:3])


def test_more_minutes_are_more_updates(monkeypatch):
    monkeypatch.setattr(fit_module, "seconds_per_update", lambda *_: (0.25, 1.0))
    counts = []
    for minutes in (0.01, 0.5, 1.0, 2.0):
        model = Point()
        settings = FitSettings(minutes=minutes, evaluations=4, **PLAIN)
        counts.append(fit(model, Distance(model), pixels(1, 2), pixels(1), settings, seed=0).updates[-1])
    # Four evaluations of raw and averaged weights, and half a one for the start: 4.5 seconds are not for updates.
    assert counts == [1, (30 - 4.5) / 0.25, (60 - 4.5) / 0.25, (120 - 4.5) / 0.25]


def test_timing_leaves_the_model_alone():
    model = small_density()
    before, state = state_of(model), torch.get_rng_state()
    pairs = Pairs(stripes(20))
    update, evaluation = seconds_per_update(FitSettings(), model, NegativeLogProb(model), pairs, pairs, steps=2)
    assert update > 0
    assert evaluation > 0
    assert same(before, state_of(model))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_budget_gives_the_same_weights_as_as_many_updates(monkeypatch):
    monkeypatch.setattr(fit_module, "seconds_per_update", lambda *_: (1.0, 0.0))
    model, curve = run_density(minutes=8 / 60)
    assert curve.updates[-1] == 8
    other, _ = run_density(updates=8)
    assert same(state_of(model), state_of(other))
