"""A number that cannot lose its meaning: value, unit, direction, standard error and sample size travel together."""

import dataclasses
import math
from numbers import Integral, Real
from typing import Literal

from infoplane.errors import UsageError

Unit = Literal["nats", "bits", "fraction", "squared error"]
Bound = Literal["lower", "upper", "estimate"]

NATS_PER_BIT = math.log(2.0)

#: fits from which on something may be claimed: retraining moves a number by more than its error given one fit
FITS_FOR_A_CLAIM = 3
#: what is said below that
TOO_FEW_FITS = f"fewer than {FITS_FOR_A_CLAIM} fits: no claim"
#: p below which a difference, a change or a fall is claimed
CLAIM = 0.05

#: kind -> the words it is printed with
KINDS: dict[str, str] = {
    "cross-entropy": "cross-entropy CE(x|h)",
    "nce": "negative cross-entropy",
    "usable": "usable information",
    "contrastive": "contrastive bound",
    "label": "label information",
    "forward": "label information, the rest of the network trained anew",
    "own": "label information of the network's own answers",
    "entropy": "entropy",
    "information": "mutual information",
    "flow": "mutual information I(X;T) by sample propagation",
    "differential-entropy": "differential entropy",
    "binned-entropy": "entropy of binned activations (clustering)",
    "excess": "excess over the true density",
    "generalisation-gap": "train/held-out gap",
    "mse": "reconstruction error",
    "accuracy": "accuracy",
    "sample-variance": "variance among samples of one image",
    "sample-accuracy": "accuracy on samples",
}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One measured number.

    Attributes:
        value: The number, in `unit`.
        stderr: Its standard error in the same unit, or None where there is none to give.
        unit: "nats", "bits", "fraction" or "squared error".
        kind: What was measured; a key of `KINDS`.
        bound: "lower" or "upper" if the expectation bounds the named quantity, "estimate" if it is a consistent
            estimate of it, None if it bounds nothing.
        n: Number of evaluation examples (or batches, where examples within a batch share terms).
        refits: Number of independently trained fits behind the number. With 1, `stderr` is the error *given this
            fit*; retraining moves the number by more. 0 where nothing was fitted.
        dof: Degrees of freedom of `stderr` (infinite where it is known from many examples).
        flags: Warnings that must be shown with the number, e.g. "saturated".

    Raises:
        UsageError: The value or its error is not a finite number, the error is negative, or a count is none.
    """

    value: float
    stderr: float | None = None
    unit: Unit = "nats"
    kind: str = "information"
    bound: Bound | None = None
    n: int = 0
    refits: int = 1
    dof: float = math.inf
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        name = f"a number of kind {self.kind!r}"
        _check_finite(f"the value of {name}", self.value)
        if self.stderr is not None:
            _check_finite(f"the standard error of {name}", self.stderr, least=0.0)
        # Infinite where the error is known from many examples; NaN is no number of anything.
        if not isinstance(self.dof, Real) or not float(self.dof) > 0:
            raise UsageError(f"the degrees of freedom of {name} must be above 0", received=self.dof)
        for what, count in (("examples", self.n), ("refits", self.refits)):
            if not isinstance(count, Integral) or count < 0:
                raise UsageError(f"the {what} of {name} must be a whole number, 0 or more", received=count)

    def _scaled(self, unit: Unit, factor: float) -> "Estimate":
        stderr = None if self.stderr is None else self.stderr * factor
        return dataclasses.replace(self, value=self.value * factor, stderr=stderr, unit=unit)

    @property
    def bits(self) -> "Estimate":
        """The same number in bits: a view, not another measurement."""
        if self.unit == "bits":
            return self
        if self.unit != "nats":
            raise ValueError(f"only information has bits; this is in {self.unit}")
        return self._scaled("bits", 1.0 / NATS_PER_BIT)

    @property
    def nats(self) -> "Estimate":
        """The same number in nats."""
        if self.unit == "nats":
            return self
        if self.unit != "bits":
            raise ValueError(f"only information has nats; this is in {self.unit}")
        return self._scaled("nats", NATS_PER_BIT)

    @property
    def direction(self) -> str:
        """ "lower", "upper", "estimate" or "none"."""
        return self.bound or "none"

    @property
    def meaning(self) -> str:
        """The words for `kind`."""
        return KINDS.get(self.kind, self.kind)

    def __str__(self) -> str:
        error = "" if self.stderr is None else f" ± {self.stderr:.{_decimals(self.stderr)}f}"
        value = f"{self.value:.{_decimals(self.stderr)}f}"
        fits = {0: "", 1: ", single fit"}.get(self.refits, f", {self.refits} refits")
        bound = {"lower": ", lower bound", "upper": ", upper bound", "estimate": ", estimate"}.get(self.direction, "")
        flags = f"; {'; '.join(self.flags)}" if self.flags else ""
        unit = "" if self.unit == "fraction" else f" {self.unit}"
        return f"{value}{error}{unit} ({self.meaning}{bound}, n = {self.n}{fits}{flags})"


def _check_finite(what: str, value: object, *, least: float = -math.inf) -> None:
    """Raises UsageError unless a value is a finite number and not below `least`."""
    if not isinstance(value, Real) or not math.isfinite(value) or value < least:
        legal = "a finite number" + (f", {least:g} or more" if least > -math.inf else "")
        raise UsageError(f"{what} is not finite or out of range", received=value, legal=legal)


def _decimals(stderr: float | None) -> int:
    """Decimals that show two significant digits of the error (2 where there is none)."""
    if stderr is None or not math.isfinite(stderr) or stderr <= 0:
        return 2
    return min(6, max(2, 1 - math.floor(math.log10(stderr)))) if stderr >= 1e-6 else 4
