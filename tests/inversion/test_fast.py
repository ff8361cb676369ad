"""What makes a training step fast must not change what it computes."""

import math
from statistics import median

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from infoplane import densities
from infoplane.inversion import FitSettings, NegativeLogProb, Pairs, fit_density
from infoplane.inversion.fast import CompileWarning, History, Step, compiled, shorten
from infoplane.inversion.precision import autocast

CPU = torch.device("cpu")


def density(**options):
    return densities.build("pixelcnn", (1, 6, 6), 5, None, {"filters": 8, "residual_layers": 1, "scales": 1, **options})


def images(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    base = torch.randint(5, (n, 1, 1, 6), generator=generator)
    return base.expand(n, 1, 6, 6).to(torch.uint8)


@pytest.mark.parametrize("steps", [5, 10, 11, 57, 130])
def test_the_limit_is_a_multiple_of_the_median_of_the_last_hundred(steps):
    norms = torch.rand(steps, generator=torch.Generator().manual_seed(0))
    history = History(200, CPU)
    for norm in norms:
        history.take(torch.tensor(0.0), norm, history.limit(4.0))
    expected = 4.0 * median([float(norm) for norm in norms][-100:]) if steps >= 10 else math.inf
    assert float(history.limit(4.0)) == expected


@pytest.mark.parametrize("limit", [0.5, 1e9, math.inf])
def test_shortening_is_what_torch_calls_clipping(limit):
    torch.manual_seed(0)
    first, second = nn.Linear(5, 4), nn.Linear(5, 4)
    second.load_state_dict(first.state_dict())
    for module in (first, second):
        module(torch.ones(3, 5)).square().sum().backward()
    expected = nn.utils.clip_grad_norm_(second.parameters(), limit)
    assert torch.equal(shorten(list(first.parameters()), torch.tensor(limit, dtype=torch.float64)), expected)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_the_first_step_that_is_not_finite_is_found():
    history = History(10, CPU)
    for loss in (1.0, 2.0, math.nan, 3.0, math.inf):
        history.take(torch.tensor(loss), torch.tensor(1.0), torch.tensor(0.5))
    assert history.bad(0) == 2
    assert history.bad(3) == 4
    assert history.guarded() == 5
    fine = History(10, CPU)
    fine.take(torch.tensor(1.0), torch.tensor(1.0), torch.tensor(2.0))
    assert fine.bad(0) is None
    assert fine.guarded() == 0


def test_half_precision_is_for_convolutions_only():
    model, seen = density(), {}
    model.up_down[0].first.register_forward_hook(lambda _, __, out: seen.update(convolution=out.dtype))
    model.likelihood.logits[0].register_forward_hook(lambda _, __, out: seen.update(logits=out.dtype))
    with autocast(FitSettings(precision="bfloat16"), CPU):
        loss = -model.log_prob(images(4)).mean()
    loss.backward()
    assert seen == {"convolution": torch.bfloat16, "logits": torch.float32}
    assert loss.dtype == torch.float32
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}


def trained(likelihood: str, precision: str, updates: int, seed: int) -> float:
    """The held-out loss at the end of a training in a precision."""
    settings = FitSettings(updates=updates, batch=8, learning_rate=1e-2, evaluations=2, precision=precision)
    model = densities.build(
        "pixelcnn", (1, 6, 6), 5, None,
        {"filters": 8, "residual_layers": 1, "scales": 1, "likelihood": likelihood, "dropout": 0.0}, seed=seed,
    )  # fmt: skip
    curve = fit_density(model, Pairs(images(200)), Pairs(images(64, seed=1)), settings, seed=seed)
    return curve.heldout_ema[-1]


def test_half_precision_leads_to_the_same_loss():
    """Of one likelihood: half precision stops before it. Of both, over seeds, below."""
    exact, half = (trained("categorical", precision, 250, 0) for precision in ("float32", "bfloat16"))
    # The rows are all alike, so an image has log 5 nats for each column: far below the start, near the truth.
    assert exact < 1.15 * 6 * math.log(5)
    assert half == pytest.approx(exact, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["categorical", "logistic_mixture"])
def test_half_precision_leads_to_the_same_loss_over_seeds(likelihood):
    """To half a percent beyond what chance makes of four trainings (95 %).

    After some hundred updates any rounding leads elsewhere, on every processor: one seed tells its luck only.
    """
    pairs = [[trained(likelihood, precision, 500, seed) for precision in ("float32", "bfloat16")] for seed in range(4)]
    relative = [half / exact - 1 for exact, half in pairs]
    chance = stats.t.ppf(0.975, len(pairs) - 1) * np.std(relative, ddof=1) / math.sqrt(len(pairs))
    assert chance < 0.05  # or it could not fail
    assert abs(np.mean(relative)) <= 0.005 + chance


def test_what_cannot_be_compiled_is_run_as_it_is_and_that_is_said_once(monkeypatch):
    def broken(function, **options):
        def fail(*args):
            raise RuntimeError("no compiler\nand many lines more")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    model = density().train()
    step = Step(NegativeLogProb(model), model, FitSettings(compile=True), CPU)
    torch.manual_seed(0)
    with pytest.warns(CompileWarning, match=r"goes on without it: RuntimeError: no compiler$") as said:
        first, second = step(images(3), None), step(images(3), None)
    assert len(said) == 1
    torch.manual_seed(0)
    expected = [-model.log_prob(images(3)).mean().detach() for _ in range(2)]
    assert torch.equal(torch.stack([first, second]), torch.stack(expected))


def test_what_cannot_be_differentiated_when_compiled_is_not_compiled(monkeypatch):
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise RuntimeError("no backward either\nand many lines more")

    def broken(function, **options):
        return lambda *args: Fails.apply(function(*args))

    model, twin = density(dropout=0.0).train(), density(dropout=0.0).train()
    twin.load_state_dict(model.state_dict())
    with monkeypatch.context() as patched:
        patched.setattr(torch, "compile", broken)
        step = Step(NegativeLogProb(model), model, FitSettings(compile=True), CPU)
    with pytest.warns(CompileWarning, match=r"RuntimeError: no backward either$"):
        step(images(3), None)
    (-twin.log_prob(images(3)).mean()).backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_every_loss_is_compiled_as_code_of_its_own(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    codes = [compiled(lambda x, h: x).__code__ for _ in range(10)]
    assert len({id(code) for code in codes}) == 10


def test_a_batch_that_does_not_fit_is_differentiated_in_portions():
    model, twin, sizes = density(dropout=0.0).train(), density(dropout=0.0).train(), []
    twin.load_state_dict(model.state_dict())

    def loss(x, h):
        sizes.append(len(x))
        if len(x) > 3:
            raise torch.OutOfMemoryError("too much")
        return -model.log_prob(x, h)

    step = Step(loss, model, FitSettings(batch=10), CPU)
    found = step(images(10), None)
    assert sizes == [10, 5, 3, 3, 3, 1]
    expected = -twin.log_prob(images(10)).mean()
    expected.backward()
    assert float(found) == pytest.approx(float(expected.detach()), rel=1e-6)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5)
    del sizes[:]
    model.zero_grad()
    step(images(10), None)
    assert sizes == [3, 3, 3, 1]  # it is not tried again


def test_not_even_one_example_fits():
    model = density()

    def loss(x, h):
        raise torch.OutOfMemoryError("too much")

    with pytest.raises(torch.OutOfMemoryError):
        Step(loss, model, FitSettings(), CPU)(images(4), None)


def test_what_is_not_the_loss_keeps_its_precision():
    kinds = []

    def context(x):
        kinds.append((x.float().flatten(1) @ torch.ones(36, 4)).dtype)
        return torch.ones(len(x), 4)

    model = densities.build("pixelcnn", (1, 6, 6), 5, (4,), {"filters": 4, "residual_layers": 1, "scales": 1})
    pairs = Pairs(images(8), context)
    fit_density(model, pairs, pairs, FitSettings(updates=2, evaluations=1, precision="bfloat16"), seed=0)
    assert set(kinds) == {torch.float32}


def test_the_average_of_the_weights_remembers_no_gradients(monkeypatch):
    seen = []
    lerp = torch._foreach_lerp_

    def spy(averaged, parameters, weight):
        lerp(averaged, parameters, weight)
        seen.extend(average.requires_grad for average in averaged)

    monkeypatch.setattr(torch, "_foreach_lerp_", spy)
    fit_density(density(), Pairs(images(8)), Pairs(images(4)), FitSettings(updates=3, evaluations=1), seed=0)
    assert seen
    assert not any(seen)


def test_nothing_is_compiled_on_a_processor_unless_it_is_asked(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    model = density()
    assert Step(NegativeLogProb(model), model, FitSettings(updates=10**6), CPU).compiled is None
    assert Step(NegativeLogProb(model), model, FitSettings(compile=True), CPU).compiled is not None


def test_data_on_a_processor_stay_where_they_are():
    pairs = Pairs(images(4), torch.zeros(4, 3))
    assert pairs.resident().images is pairs.images
    assert pairs.resident().context is pairs.context
