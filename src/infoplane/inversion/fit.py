"""One training loop for everything that inverts a representation: densities and reconstructions alike."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from infoplane.densities import Density
from infoplane.errors import FitError, UsageError
from infoplane.inversion.pairs import Pairs

#: (images, context) -> loss per example (B,)
Loss = Callable[[Tensor, Tensor | None], Tensor]
#: (updates done, updates in all, current held-out loss or None)
Progress = Callable[[int, int, float | None], None]

EVALUATION_BATCH = 128

Decay = Annotated[float, Ge(0), Lt(1)]


class FitSettings(BaseModel):
    """How a model is trained; every field is validated and unknown ones are refused.

    Attributes:
        updates: Number of gradient steps.
        minutes: Instead of `updates`: the time that training may take, turned into updates by timing a few.
        batch: Examples per step.
        learning_rate: Adam's step size at its peak.
        context_rate: Factor on the learning rate of the parameters through which the context enters.
        betas: Adam's decay rates of its moments.
        weight_decay: Decoupled (AdamW).
        warmup: Steps over which the learning rate rises linearly.
        schedule: "linear" falls to 0 at the end, "constant" stays, "exponential" multiplies by `decay` every step.
        decay: Factor per step of the exponential schedule.
        ema: Decay of the running average of the weights that is evaluated beside the raw ones.
        evaluations: How often the held-out loss is computed.
        patience: Stop after so many evaluations without improvement; None trains to the end.
        guard: A gradient longer than `guard` times the recent median is shortened to that length.
        held_out: Share of the decoding split kept for early stopping.
        refits: Number of independent fits, from different seeds.
        warm_start: "none", or start from a p(x) trained for `base_updates` ("early") or for `updates` ("fitted").
        base_updates: Length of the "early" base.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    updates: Annotated[int, Ge(1)] = 1000
    minutes: Annotated[float, Gt(0)] | None = None
    batch: Annotated[int, Ge(1)] = 8
    learning_rate: Annotated[float, Gt(0)] = 3e-3
    context_rate: Annotated[float, Gt(0)] = 1.0
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    weight_decay: Annotated[float, Ge(0)] = 0.0
    warmup: Annotated[int, Ge(0)] = 30
    schedule: Literal["linear", "constant", "exponential"] = "linear"
    decay: Annotated[float, Gt(0), Le(1)] = 1.0
    ema: Annotated[float, Ge(0), Lt(1)] = 0.99
    evaluations: Annotated[int, Ge(1)] = 10
    patience: Annotated[int, Ge(1)] | None = None
    guard: Annotated[float, Gt(0)] = 4.0
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.15
    refits: Annotated[int, Ge(1)] = 3
    warm_start: Literal["none", "early", "fitted"] = "none"
    base_updates: Annotated[int, Ge(1)] = 200

    def rate(self, step: int) -> float:
        """The factor on the learning rate at a step counted from 0."""
        factor = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "linear":
            return factor * (1 - step / self.updates)
        return factor * self.decay**step if self.schedule == "exponential" else factor


@dataclass
class Curve:
    """What training looked like, losses per example.

    Attributes:
        start: Held-out loss of the initial weights.
        updates: Steps at which the held-out loss was computed.
        train: Mean training loss since the previous of these.
        heldout: Held-out loss of the raw weights.
        heldout_ema: Held-out loss of the averaged weights.
        gradient: Median gradient norm since the previous of these.
        best_update, best: Where the kept weights come from: the step, and "raw" or "ema".
        guarded: Number of steps whose gradient was shortened.
    """

    start: float = math.nan
    updates: list[int] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    heldout: list[float] = field(default_factory=list)
    heldout_ema: list[float] = field(default_factory=list)
    gradient: list[float] = field(default_factory=list)
    best_update: int = 0
    best: str = "raw"
    guarded: int = 0

    @property
    def best_loss(self) -> float:
        """The held-out loss of the kept weights."""
        return min(loss for loss in [self.start, *self.heldout, *self.heldout_ema] if not math.isnan(loss))


def fit(
    model: nn.Module,
    loss: Loss,
    pairs: Pairs,
    held_out: Pairs,
    settings: FitSettings,
    *,
    seed: int,
    progress: Progress | None = None,
) -> Curve:
    """Trains `model` in place, leaves it with the weights that were best on `held_out`, and returns the curve.

    Batches, dropout and thus the result depend on `seed` only; the caller's random state is left as it was.

    Raises:
        FitError: A loss or gradient is not finite; names the step, the learning rate and the last good value.
        UsageError: There is nothing to train on or nothing held out.
    """
    if not (len(pairs) and len(held_out)):
        raise UsageError(
            "no pairs to fit on",
            received=f"{len(pairs)} to train, {len(held_out)} held out",
            legal="at least one of each",
        )
    if settings.minutes is not None:
        settings = within(settings, model, loss, pairs, held_out)
    devices = [pairs.device] if pairs.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        return _train(model, loss, pairs, held_out, settings, seed, progress)


def _train(
    model: nn.Module,
    loss: Loss,
    pairs: Pairs,
    held_out: Pairs,
    settings: FitSettings,
    seed: int,
    progress: Progress | None,
) -> Curve:
    parameters = list(model.parameters())
    optimiser = _optimiser(model, settings)
    averaged = [p.detach().clone() for p in parameters]
    best = [p.detach().clone() for p in parameters]
    # The initial weights are a candidate too: training that only makes things worse is undone.
    curve = Curve(start=mean_loss(model, loss, held_out))
    best_loss = curve.start if math.isfinite(curve.start) else math.inf
    checkpoints = _checkpoints(settings.updates, settings.evaluations)
    order = _epochs(len(pairs), settings.batch, seed)
    norms: list[float] = []
    losses: list[float] = []
    stale = 0

    model.train()
    for step in range(settings.updates):
        factor = settings.rate(step)
        for group in optimiser.param_groups:
            group["lr"] = group["base_rate"] * factor
        batch_loss = loss(*pairs.batch(next(order))).mean()
        optimiser.zero_grad(set_to_none=True)
        batch_loss.backward()
        limit = settings.guard * median(norms[-100:]) if len(norms) >= 10 else math.inf
        norm = float(nn.utils.clip_grad_norm_(parameters, limit))
        value = float(batch_loss.detach())
        if not (math.isfinite(norm) and math.isfinite(value)):
            raise FitError(
                f"training diverged at step {step + 1} of {settings.updates}",
                received=f"loss {value}, gradient norm {norm} at learning rate {settings.learning_rate * factor:.3g}",
                legal=f"finite values; the last good loss was {losses[-1] if losses else 'none'}",
                mend="lower fit.learning_rate",
            )
        curve.guarded += norm > limit
        norms.append(norm)
        losses.append(value)
        optimiser.step()
        # A short memory at first, so that the average is not the initial weights.
        memory = min(settings.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(averaged, parameters, 1 - memory)  # pyright: ignore

        if step + 1 in checkpoints:
            fresh = len(losses) - (curve.updates[-1] if curve.updates else 0)
            curve.updates.append(step + 1)
            curve.train.append(sum(losses[-fresh:]) / fresh)
            curve.gradient.append(median(norms[-fresh:]))
            raw = mean_loss(model, loss, held_out)
            _swap(parameters, averaged)
            smooth = mean_loss(model, loss, held_out)
            _swap(parameters, averaged)
            curve.heldout.append(raw)
            curve.heldout_ema.append(smooth)
            stale += 1
            for name, result, weights in (("raw", raw, parameters), ("ema", smooth, averaged)):
                if result < best_loss:
                    best_loss, stale = result, 0
                    curve.best_update, curve.best = step + 1, name
                    torch._foreach_copy_(best, [w.detach() for w in weights])  # pyright: ignore
            if settings.patience is not None and stale >= settings.patience:
                break
        if progress is not None:
            progress(step + 1, settings.updates, min(curve.heldout_ema[-1:] + curve.heldout[-1:], default=None))
    if not any(map(math.isfinite, curve.heldout + curve.heldout_ema)):
        raise FitError("the held-out loss was never finite", received=curve.heldout[-1], mend="lower fit.learning_rate")
    with torch.no_grad():
        torch._foreach_copy_([p.data for p in parameters], best)  # pyright: ignore
    model.eval()
    return curve


def _optimiser(model: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW; the context's parameters may learn at their own rate."""
    context = set(model.context_parameters()) if isinstance(model, Density) else set()
    groups = [
        {"params": [p for p in model.parameters() if p not in context], "base_rate": settings.learning_rate},
        {
            "params": [p for p in model.parameters() if p in context],
            "base_rate": settings.learning_rate * settings.context_rate,
        },
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def _epochs(n: int, batch: int, seed: int):
    """Yields index batches for ever, every example once per epoch, the order from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    rest = torch.empty(0, dtype=torch.long)
    while True:
        while len(rest) < batch:
            rest = torch.cat((rest, torch.randperm(n, generator=generator)))
        yield rest[:batch]
        rest = rest[batch:]


def _checkpoints(updates: int, evaluations: int) -> set[int]:
    """The steps at which to evaluate: evenly spread, the last one included."""
    return {max(1, round(updates * (k + 1) / evaluations)) for k in range(evaluations)}


@torch.no_grad()
def _swap(first: list[nn.Parameter], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        kept = a.detach().clone()
        a.copy_(b)
        b.copy_(kept)


def mean_loss(model: nn.Module, loss: Loss, pairs: Pairs) -> float:
    """Returns the mean loss per example in evaluation mode."""
    return float(losses_of(model, loss, pairs).mean())


@torch.no_grad()
def losses_of(model: nn.Module, loss: Loss, pairs: Pairs) -> Tensor:
    """Returns the loss of every example in evaluation mode, float64 (n,) on the CPU."""
    was_training = model.training
    model.eval()
    try:
        chunks = [
            loss(*pairs.batch(slice(start, start + EVALUATION_BATCH))).double().cpu()
            for start in range(0, len(pairs), EVALUATION_BATCH)
        ]
    finally:
        model.train(was_training)
    return torch.cat(chunks)


def within(settings: FitSettings, model: nn.Module, loss: Loss, pairs: Pairs, held_out: Pairs) -> FitSettings:
    """Returns the settings with `minutes` turned into `updates`, by timing a few updates on a copy of the model."""
    assert settings.minutes is not None
    per_update, per_evaluation = seconds_per_update(settings, model, loss, pairs, held_out)
    left = 60 * settings.minutes - per_evaluation * (settings.evaluations + 0.5)  # the start is scored once
    return settings.model_copy(update={"minutes": None, "updates": max(1, int(left / per_update))})


def seconds_per_update(
    settings: FitSettings, model: nn.Module, loss: Loss, pairs: Pairs, held_out: Pairs, *, steps: int = 6
) -> tuple[float, float]:
    """Returns the seconds that one update and one evaluation take here, measured on a copy of the model.

    The model and its loss must be the same object or bound to it (`loss` is rebound to the copy by name).
    """
    trial, trial_loss = copy.deepcopy((model, loss))
    short = settings.model_copy(update={"minutes": None, "updates": 2, "evaluations": 1})
    fit(trial, trial_loss, pairs, held_out, short, seed=0)  # warm-up: allocations, kernel selection
    start = time.perf_counter()
    mean_loss(trial, trial_loss, held_out)
    evaluation = 2 * (time.perf_counter() - start)  # raw and averaged weights
    start = time.perf_counter()
    fit(trial, trial_loss, pairs, held_out, short.model_copy(update={"updates": steps}), seed=0)
    elapsed = time.perf_counter() - start - 1.5 * evaluation  # at the start and, twice, at the end
    return max(elapsed / steps, 1e-5), evaluation
