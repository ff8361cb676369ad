"""One training loop for everything that inverts a representation: densities and reconstructions alike."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

import torch
from torch import Tensor, nn

from infoplane.arguments import Seed, checked
from infoplane.densities import Density
from infoplane.errors import FitError, UsageError
from infoplane.inversion.fast import LOOK, History, Loss, Step, laid_out, shorten
from infoplane.inversion.pairs import Pairs
from infoplane.inversion.settings import FitSettings
from infoplane.torch_state import evaluating, own_state

#: (updates done, updates in all, current held-out loss or None)
Progress = Callable[[int, int, float | None], None]
#: returns losses that are written down beside the held-out one and decide nothing, by name
Watch = Callable[[], Mapping[str, float]]

#: examples that are scored at once, and values of their images: of large ones fewer, so that they fit into memory
EVALUATION_BATCH, EVALUATION_VALUES = 128, 2_000_000


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
        watched: Name -> losses of the averaged weights on examples that decide nothing.
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
    watched: dict[str, list[float]] = field(default_factory=dict)

    def then(self, later: "Curve") -> "Curve":
        """This curve and that of a fit which went on from its weights; without a point, the other one."""
        if not self.updates:
            return later
        done = self.updates[-1]
        series = ("train", "heldout", "heldout_ema", "gradient")
        # Where one of the two did not watch, there is nothing to see.
        unknown = [[math.nan] * len(curve.updates) for curve in (self, later)]
        watched = {
            name: self.watched.get(name, unknown[0]) + later.watched.get(name, unknown[1])
            for name in dict.fromkeys((*self.watched, *later.watched))
        }
        return Curve(
            start=self.start,
            updates=self.updates + [done + update for update in later.updates],
            best_update=done + later.best_update if later.best_update else self.best_update,
            best=later.best if later.best_update else self.best,
            guarded=self.guarded + later.guarded,
            watched=watched,
            **{name: getattr(self, name) + getattr(later, name) for name in series},
        )

    @property
    def best_loss(self) -> float:
        """The held-out loss of the kept weights."""
        return min(loss for loss in [self.start, *self.heldout, *self.heldout_ema] if not math.isnan(loss))


class LossSource(Protocol):
    """Where the training loop takes its losses from: one set of pairs, or several in turn."""

    def where(self, step: int) -> str:
        """What messages add about the batch of a step, counted from 0."""
        ...

    def step(self) -> Tensor:
        """Differentiates the mean loss of the next batch and returns it."""
        ...

    def held_out_loss(self) -> float:
        """The mean held-out loss, in evaluation mode."""
        ...


class OneSource:
    """One model's losses on one set of pairs, which lie on the device if it has room for them."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        pairs: Pairs,
        held_out: Pairs,
        settings: FitSettings,
        seed: int,
        name: str = "",
    ) -> None:
        if not (len(pairs) and len(held_out)):
            raise UsageError(
                "no pairs to fit on",
                received=f"{len(pairs)} to train, {len(held_out)} held out{name and f' at {name}'}",
                legal="at least one of each",
            )
        self.model, self.loss, self.pairs, self.held_out = model, loss, pairs.resident(), held_out.resident()
        self.settings = settings
        self.order = _epochs(len(pairs), settings.batch, seed, self.pairs.at)
        self._differentiate = Step(loss, model, settings, pairs.device)

    def where(self, step: int) -> str:
        return ""

    def step(self) -> Tensor:
        return self._differentiate(*self.pairs.training_batch(next(self.order)))

    def held_out_loss(self) -> float:
        return float(losses_of(self.model, self.loss, self.held_out).mean())


@checked
@own_state()
def fit(
    model: nn.Module,
    loss: Loss,
    pairs: Pairs,
    held_out: Pairs,
    settings: FitSettings,
    *,
    seed: Seed,
    watched: Mapping[str, Pairs] | None = None,
    progress: Progress | None = None,
) -> Curve:
    """Trains `model` in place, leaves it with the weights that were best on `held_out`, and returns the curve.

    Batches, dropout and thus the result depend on `seed` only; the caller's random state is left as it was.

    Args:
        watched: Name -> pairs whose loss is written down with every held-out one. They decide nothing.

    Raises:
        FitError: A loss or gradient is not finite; names the step, the learning rate and the last good value.
        UsageError: There is nothing to train on or nothing held out.
    """
    if settings.minutes is not None and len(pairs) and len(held_out):
        per_update, per_evaluation = seconds_per_update(settings, model, loss, pairs, held_out)
        left = 60 * settings.minutes - per_evaluation * (settings.evaluations + 0.5)  # the start is scored once
        settings = settings.model_copy(update={"minutes": None, "updates": max(1, int(left / per_update))})
    source = OneSource(model, loss, pairs, held_out, settings, seed)
    there = {name: each.resident() for name, each in (watched or {}).items()}

    return train(
        model,
        source,
        settings,
        seed=seed,
        device=pairs.device,
        watch=lambda: {name: float(losses_of(model, loss, each).mean()) for name, each in there.items()},
        progress=progress,
    )


@own_state()
def train(
    model: nn.Module,
    source: LossSource,
    settings: FitSettings,
    *,
    seed: int,
    device: torch.device,
    watch: Watch = dict,
    progress: Progress | None = None,
) -> Curve:
    """As `fit`, for any source of losses; `settings.updates` are all that there will be."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = laid_out(model, device)
        parameters = list(model.parameters())
        optimiser = _optimiser(model, settings)
        averaged = [p.detach().clone() for p in parameters]
        best = [p.detach().clone() for p in parameters]
        # The initial weights are a candidate too: training that only makes things worse is undone.
        curve = Curve(start=source.held_out_loss())
        best_loss = curve.start if math.isfinite(curve.start) else math.inf
        # Evenly spread, the last step included.
        parts = range(1, settings.evaluations + 1)
        checkpoints = {max(1, round(settings.updates * part / settings.evaluations)) for part in parts}
        history = History(settings.updates, device)
        looked, stale = 0, 0

        model.train()
        for step in range(settings.updates):
            factor = settings.rate(step)
            for group in optimiser.param_groups:
                group["lr"] = group["base_rate"] * factor
            optimiser.zero_grad(set_to_none=True)
            loss = source.step()
            limit = history.limit(settings.guard)
            history.take(loss, shorten(parameters, limit), limit)
            # To look is to wait for the GPU.
            if device.type == "cpu" or step + 1 in checkpoints or (step + 1) % LOOK == 0:
                _check(history, looked, settings, source)
                looked = step + 1
            optimiser.step()
            # A short memory at first, so that the average is not the initial weights.
            memory = min(settings.ema, (1 + step) / (10 + step))
            with torch.no_grad():
                torch._foreach_lerp_(averaged, parameters, 1 - memory)  # pyright: ignore

            if step + 1 in checkpoints:
                since = curve.updates[-1] if curve.updates else 0
                curve.updates.append(step + 1)
                curve.train.append(sum(history.losses[since : step + 1].tolist()) / (step + 1 - since))
                curve.gradient.append(median(history.norms[since : step + 1].tolist()))
                raw = source.held_out_loss()
                _swap(parameters, averaged)
                smooth = source.held_out_loss()
                for name, seen in watch().items():
                    curve.watched.setdefault(name, []).append(seen)
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
        curve.guarded = history.guarded()
        if not any(map(math.isfinite, curve.heldout + curve.heldout_ema)):
            received, mend = curve.heldout[-1], "lower fit.learning_rate"
            raise FitError("the held-out loss was never finite", received=received, mend=mend)
        with torch.no_grad():
            torch._foreach_copy_([p.data for p in parameters], best)  # pyright: ignore
        model.eval()
        return curve


def _check(history: History, since: int, settings: FitSettings, source: LossSource) -> None:
    """Raises FitError if a loss or gradient from the step `since` on is not finite."""
    bad = history.bad(since)
    if bad is None:
        return
    loss, norm = float(history.losses[bad]), float(history.norms[bad])
    rate = settings.learning_rate * settings.rate(bad)
    raise FitError(
        f"training diverged at step {bad + 1} of {settings.updates}",
        received=f"loss {loss}, gradient norm {norm} at learning rate {rate:.3g}{source.where(bad)}",
        legal=f"finite values; the last good loss was {float(history.losses[bad - 1]) if bad else 'none'}",
        mend="lower fit.learning_rate",
    )


def _optimiser(model: nn.Module, settings: FitSettings) -> torch.optim.Optimizer:
    """AdamW; the context's parameters may learn at their own rate."""
    densities = [module for module in model.modules() if isinstance(module, Density)]
    of_context = [group for density in densities for group in density.context_rates(settings.context_rate)]
    context = {parameter for parameters, _ in of_context for parameter in parameters}
    rates = [([p for p in model.parameters() if p not in context], 1.0), *of_context]
    groups = [{"params": own, "base_rate": settings.learning_rate * factor} for own, factor in rates if own]
    return torch.optim.AdamW(
        groups, lr=settings.learning_rate, betas=settings.betas, weight_decay=settings.weight_decay, fused=True
    )


def _epochs(n: int, batch: int, seed: int, device: torch.device) -> Iterator[Tensor]:
    """Yields index batches for ever, every example once per epoch, the order from `seed`."""
    generator = torch.Generator().manual_seed(seed)
    rest = torch.empty(0, dtype=torch.long, device=device)
    while True:
        while len(rest) < batch:
            rest = torch.cat((rest, torch.randperm(n, generator=generator).to(device, non_blocking=True)))
        yield rest[:batch]
        rest = rest[batch:]


@torch.no_grad()
def _swap(first: list[nn.Parameter], second: list[Tensor]) -> None:
    for a, b in zip(first, second, strict=True):
        kept = a.detach().clone()
        a.copy_(b)
        b.copy_(kept)


def scored_at_once(pairs: Pairs, most: int) -> int:
    """Returns how many of these pairs are scored together: at most so many, and of large images fewer."""
    return max(1, min(most, EVALUATION_VALUES // math.prod(pairs.image_shape)))


@checked
@own_state()
def losses_of(model: nn.Module, loss: Loss, pairs: Pairs) -> Tensor:
    """Returns the loss of every example in evaluation mode, float64 (n,) on the CPU."""
    if not len(pairs):
        raise UsageError("no pairs to score", received="none", legal="at least one")
    batch, chunks = scored_at_once(pairs, EVALUATION_BATCH), []
    with evaluating(model):
        for start in range(0, len(pairs), batch):
            images, context = pairs.batch(slice(start, start + batch))
            found = loss(images, context)
            if not isinstance(found, Tensor) or found.shape != (len(images),):
                received = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
                legal = f"({len(images)},)"
                raise UsageError("the loss is not one number for each image", received=received, legal=legal)
            chunks.append(found.double().cpu())
    return torch.cat(chunks)


@checked
@own_state()
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
    losses_of(trial, trial_loss, held_out)
    evaluation = 2 * (time.perf_counter() - start)  # raw and averaged weights
    start = time.perf_counter()
    fit(trial, trial_loss, pairs, held_out, short.model_copy(update={"updates": steps}), seed=0)
    elapsed = time.perf_counter() - start - 1.5 * evaluation  # at the start and, twice, at the end
    return max(elapsed / steps, 1e-5), evaluation
