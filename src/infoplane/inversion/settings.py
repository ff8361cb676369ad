"""How a density or a reconstruction is trained."""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from infoplane.settings import Settings

#: fewest updates of a candidate, unless fewer are asked for: fewer tell nothing
LEAST_TRIAL = 30

Decay = Annotated[float, Ge(0), Lt(1)]


class FitSettings(Settings):
    """How a model is trained; every field is validated and unknown ones are refused.

    Attributes:
        updates: Number of gradient steps.
        minutes: Instead of `updates`: the time that training may take, turned into updates by timing a few.
        batch: Examples per step.
        learning_rate: Adam's step size at its peak.
        context_rate: Factor on the learning rate of the parameters through which the context enters; None: what suits
            the density, see its `context_rates`.
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
        warm_start: "none": the densities of a refit have nothing to do with each other. "early": all start from a p(x)
            trained for `base_updates`. "fitted": from one trained for `updates`. "shared": they are trained together,
            differing only in what their contexts enter through; then each goes on by itself.
        base_updates: Length of the "early" base; None for a quarter of `updates`.
        trial_updates: Where the data choose the density: updates of each candidate; None for a quarter of `updates`, at
            least 30. They, and `updates`, are then those of the first candidate; of any other as many as take as long.
        shared: Share of `updates` that are made together where the start is "shared".
        precision: What products compute in while training; "auto" is bfloat16 on a GPU that has it, and on a processor
            that computes it where the density's products are wide, else float32. Likelihoods, weights, and everything
            that is scored stay in float32.
        compile: Whether torch compiles a training step; "auto" on a GPU, if there are enough updates to pay for it.
    """

    updates: Annotated[int, Ge(1), Le(10**8)] = 1000
    minutes: Annotated[float, Gt(0)] | None = None
    batch: Annotated[int, Ge(1), Le(10**5)] = 8
    learning_rate: Annotated[float, Gt(0)] = 3e-3
    context_rate: Annotated[float, Gt(0)] | None = None
    betas: tuple[Decay, Decay] = (0.9, 0.95)
    weight_decay: Annotated[float, Ge(0)] = 0.0
    warmup: Annotated[int, Ge(0), Le(10**8)] = 30
    schedule: Literal["linear", "constant", "exponential"] = "linear"
    decay: Annotated[float, Gt(0), Le(1)] = 1.0
    ema: Annotated[float, Ge(0), Lt(1)] = 0.99
    evaluations: Annotated[int, Ge(1), Le(10**5)] = 10
    patience: Annotated[int, Ge(1), Le(10**5)] | None = None
    guard: Annotated[float, Gt(0)] = 4.0
    held_out: Annotated[float, Gt(0), Lt(1)] = 0.15
    refits: Annotated[int, Ge(1), Le(1000)] = 3
    warm_start: Literal["none", "early", "fitted", "shared"] = "early"
    base_updates: Annotated[int, Ge(1), Le(10**8)] | None = None
    trial_updates: Annotated[int, Ge(1), Le(10**8)] | None = None
    shared: Annotated[float, Gt(0), Le(1)] = 0.5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: Literal["auto", True, False] = "auto"

    @property
    def together(self) -> int:
        """The number of updates of each density that are made together with the others."""
        return round(self.shared * self.updates) if self.warm_start == "shared" else 0

    @property
    def base(self) -> int:
        """The number of updates of the p(x) that densities start from, 0 if they start from none."""
        early = max(1, self.updates // 4) if self.base_updates is None else self.base_updates
        return {"early": early, "fitted": self.updates}.get(self.warm_start, 0)

    @property
    def trial(self) -> int:
        """The number of updates of each candidate, where the data choose the density."""
        return max(LEAST_TRIAL, self.updates // 4) if self.trial_updates is None else self.trial_updates

    def rate(self, step: int) -> float:
        """The factor on the learning rate at a step counted from 0."""
        factor = min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0
        if self.schedule == "linear":
            return factor * (1 - step / self.updates)
        return factor * self.decay**step if self.schedule == "exponential" else factor
