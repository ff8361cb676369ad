"""A number that cannot lose its meaning: value, unit, direction, standard error and sample size travel together."""

import dataclasses
import math
from collections.abc import Mapping
from functools import lru_cache
from numbers import Integral
from typing import Any, Literal, Self, get_args

from infoplane.calls import public
from infoplane.errors import UnitError, UsageError, as_float, brief, fits_behind, is_text

Unit = Literal["nats", "bits", "fraction", "squared error", "activation"]
Bound = Literal["lower", "upper", "estimate"]

NATS_PER_BIT = math.log(2.0)

#: how the flag of a network begins whose answers have nothing to do with the labels
NO_CLASSIFIER = "the last output does not act as a classifier of these labels"
#: how flags of the p(x) that a number is compared with begin
OF_TWIN = "of p(x): "

#: a number this close to its ceiling says "at least so much" and no more
SATURATION = 0.95
#: probability of the intervals that are shown
LEVEL = 0.95

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


#: metadata of an estimate's field whose numbers are in its unit, so that `bits` and `nats` convert them: a number,
#: another estimate, None, or tuples of these, with names among them
IN_UNIT = {"in_unit": True}


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One measured number.

    Attributes:
        value: The number, in `unit`.
        stderr: Its standard error in the same unit, or None where there is none to give: of an exact number, or of one
            example, whose spread nobody has seen.
        unit: "nats", "bits", "fraction", "squared error", or "activation", that of a layer's values.
        kind: What was measured; a key of `KINDS`.
        bound: "lower" or "upper" if the expectation bounds the named quantity, "estimate" if it is a consistent
            estimate of it, None if it bounds nothing.
        n: Number of evaluation examples (or batches, where examples within a batch share terms).
        refits: Number of independently trained fits behind the number. With 1, `stderr` is the error *given this
            fit*; retraining moves the number by more. 0 where nothing was fitted.
        dof: Degrees of freedom of `stderr` (infinite where it is known from many examples).
        flags: Warnings that must be shown with the number, e.g. "saturated".
        ceiling: What no draw of the number can exceed, in the same unit: log K of a contrastive bound; None: nothing.
        read_through: The later layer with whose density a layer's number was read; "": with its own.
        networks: Number of networks, each trained from another seed, that the number is a mean over. With 1, `stderr`
            is that *given this network*.

    Raises:
        UsageError: The value or its error is not a finite number, the error is negative, or a count is none.

    Examples:
        >>> number = Estimate(12.194, 0.31, kind="nce", bound="lower", n=360, refits=3)
        >>> print(number)
        12.19 ± 0.31 nats (negative cross-entropy, lower bound, n = 360, 3 refits)
        >>> number.bits.amount
        '17.59 ± 0.45 bits'
    """

    value: float = dataclasses.field(metadata=IN_UNIT)
    stderr: float | None = dataclasses.field(default=None, metadata=IN_UNIT)
    unit: Unit = "nats"
    kind: str = "information"
    bound: Bound | None = None
    n: int = 0
    refits: int = 1
    dof: float = math.inf
    flags: tuple[str, ...] = ()
    ceiling: float | None = dataclasses.field(default=None, metadata=IN_UNIT)
    read_through: str = ""
    networks: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not _is_text(self.kind) or not self.kind:
            raise UsageError("the kind of a number must be words", received=repr(self.kind), legal=", ".join(KINDS))
        name = f"a number of kind {self.kind!r}"
        for what, given, legal in (
            ("unit", self.unit, get_args(Unit)),
            ("bound", self.bound, (*get_args(Bound), None)),
        ):
            if not isinstance(given, str | None) or given not in legal:
                choices = ", ".join(map(str, legal))
                raise UsageError(f"the {what} of {name} cannot be used", received=brief(given), legal=choices)
        if not isinstance(self.flags, tuple | list) or not all(
            isinstance(flag, str) and _is_text(flag) for flag in self.flags
        ):
            legal = "a tuple of sentences in letters that can be printed"
            raise UsageError(f"the flags of {name} cannot be used", received=brief(self.flags), legal=legal)
        if not isinstance(self.read_through, str) or not _is_text(self.read_through):
            received, legal = brief(self.read_through), "the name of a layer"
            raise UsageError(f"what {name} was read through cannot be used", received=received, legal=legal)
        _check_finite(f"the value of {name}", self.value)
        if self.stderr is not None:
            _check_finite(f"the standard error of {name}", self.stderr, least=0.0)
        if self.ceiling is not None:
            _check_finite(f"the ceiling of {name}", self.ceiling)
        if self.unit == "fraction" and not 0 <= self.value <= 1:
            raise UsageError(f"the value of {name} must be a share", received=self.value, legal="0 to 1")
        # Infinite where the error is known from many examples; NaN is no number of anything.
        if not as_float(self.dof) > 0:
            raise UsageError(f"the degrees of freedom of {name} must be above 0", received=self.dof)
        for what, count in (("examples", self.n), ("refits", self.refits), ("networks", self.networks)):
            if not isinstance(count, Integral) or isinstance(count, bool) or count < 0:
                raise UsageError(f"the {what} of {name} must be a whole number, 0 or more", received=count)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """Returns the estimate that `dataclasses.asdict` made these fields of, also after a way through JSON.

        Raises:
            UsageError: These are other fields, or what is in them can be in no estimate.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(stored, Mapping) or "value" not in stored or not known.issuperset(stored):
            legal = f"a mapping with value and any of {', '.join(sorted(known - {'value'}))}"
            raise UsageError("these are not the fields of a number", received=brief(stored), legal=legal)
        return cls(**{name: _restored(value) for name, value in stored.items()})

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Returns the two ends, in `unit`, between which the number's expectation lies with that confidence.

        value ± t·stderr with Student's t at `dof`. A share of n images (unit "fraction") has Wilson's interval, which
        knows that shares end at 0 and 1: (s + z²/2n ± z √(s(1 − s)/n + z²/4n²)) / (1 + z²/n). Where the standard error
        is above that of n independent images, since they come in groups, n is the number of images that would have it.
        Where images have shares of their own, as of several samples each, n still counts images, as though what is of
        one image always agreed: too wide rather than too narrow.

        What has a `ceiling` c piles up below it, with a tail downwards: there what is missing, d = c − value, is taken
        on a logarithmic scale, so that the first end is c − d·exp(t·stderr/d) (not below 0 on this account), and the
        second one is not above c. Far from the ceiling that is value ± t·stderr. A value that is above c all the same
        shows that c does not hold for it: it has value ± t·stderr on both sides, so that the ends are never turned
        round. Above `SATURATION` of the ceiling what was drawn may have no low one at all: the first end is then not
        above value·((1 − level)/2)^(1/n), what is left if a share that n draws can just miss were worth nothing.

        It is about the named number's expectation: for a lower bound on something, the first end is below it too with
        confidence (1 + level)/2. With one fit it is given this fit, as `stderr` is.

        Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

        Raises:
            UsageError: The number has no standard error, or the level is not between 0 and 1.

        Examples:
            >>> low, high = Estimate(0.9, unit="fraction", kind="accuracy", n=100, refits=0).interval()
            >>> round(low, 3), round(high, 3)
            (0.826, 0.945)
        """
        quantile = confidence(level, math.inf if self.unit == "fraction" else self.dof)
        if self.unit == "fraction" and self.n > 0:
            # The number of independent images whose share would have this standard error.
            alone = self.value * (1 - self.value) / self.stderr**2 if self.stderr else self.n
            return _wilson(self.value, min(self.n, alone), quantile)
        if self.stderr is None:
            raise UsageError(
                "no interval without a standard error",
                received=f"{self.meaning} of n = {self.n}, stderr None",
                legal="a number of two or more examples; an exact one has no interval",
            )
        # An error of nothing reaches nowhere, however few fits or examples it is known from.
        reach = quantile * self.stderr if self.stderr else 0.0
        if self.unit == "fraction":  # of an unknown number of images
            return max(0.0, self.value - reach), min(1.0, self.value + reach)
        if self.ceiling is None or not reach:
            return self.value - reach, self.value + reach
        low = self._below(self.ceiling, reach)
        if self.value > SATURATION * self.ceiling and self.n:
            low = min(low, self.value * ((1 - level) / 2) ** (1 / self.n))
        return low, self.value + reach if self.value > self.ceiling else min(self.value + reach, self.ceiling)

    def _below(self, ceiling: float, reach: float) -> float:
        """The first end of the interval of a number that cannot exceed a ceiling."""
        missing, least = ceiling - self.value, min(self.value - reach, 0.0)
        if missing <= 0:  # by rounding, as the error is then, or because the ceiling does not hold
            return self.value - reach
        far = reach / missing > math.log1p((self.value - least) / missing)
        return least if far else ceiling - missing * math.exp(reach / missing)

    def _in(self, unit: Unit, other: Unit, factor: float) -> Self:
        """The same number in nats or bits, of which this is one: its own unit is the other one, or the same."""
        if self.unit == unit:
            return self
        if self.unit != other:
            raise UnitError(f"only information has {unit}", received=f"{self.meaning} in {self.unit}")
        of_unit = [field.name for field in dataclasses.fields(self) if field.metadata.get("in_unit")]
        converted: dict[str, Any] = {name: _times(getattr(self, name), unit, factor) for name in of_unit}
        return dataclasses.replace(self, unit=unit, **converted)

    @property
    def bits(self) -> Self:
        """The same number in bits, with all that is in its unit: a view, not another measurement.

        Raises:
            UnitError: It is no information, but a share or a squared error.
        """
        return self._in("bits", "nats", 1.0 / NATS_PER_BIT)

    @property
    def nats(self) -> Self:
        """The same number in nats.

        Raises:
            UnitError: It is no information, but a share or a squared error.
        """
        return self._in("nats", "bits", NATS_PER_BIT)

    @property
    def direction(self) -> str:
        """ "lower", "upper", "estimate" or "none"."""
        return self.bound or "none"

    @property
    def single_fit(self) -> bool:
        """Whether one fit alone is behind it, of one network."""
        return self.refits == 1 and self.networks == 1

    @property
    def meaning(self) -> str:
        """The words for `kind`."""
        return KINDS.get(self.kind, self.kind)

    @property
    def amount(self) -> str:
        """Value and error in words: "12.19 ± 0.31 nats"; a share stands between the ends of its 95 % interval."""
        if self.unit == "fraction" and self.n > 0:
            low, high = self.interval()
            decimals = _decimals(high - low)
            return f"{self.value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"
        error = "" if self.stderr is None else f" ± {self.stderr:.{_decimals(self.stderr)}f}"
        unit = "" if self.unit == "fraction" else f" {self.unit}"
        return f"{self.value:.{_decimals(self.stderr)}f}{error}{unit}"

    def __str__(self) -> str:
        fits = f", {behind}" if (behind := fits_behind(self.refits, self.networks)) else ""
        bound = {"lower": ", lower bound", "upper": ", upper bound", "estimate": ", estimate"}.get(self.direction, "")
        flags = f"; {'; '.join(self.flags)}" if self.flags else ""
        through = f", read through {self.read_through}" if self.read_through else ""
        return f"{self.amount} ({self.meaning}{bound}{through}, n = {self.n}{fits}{flags})"


@lru_cache(maxsize=256)  # thousands of numbers have the same few kinds and flags
def _is_text(words: str) -> bool:
    return all(map(is_text, words))


def confidence(level: float, dof: float) -> float:
    """Returns how many standard errors away the ends of a two-sided interval are, by Student's t.

    Raises:
        UsageError: The level is not between 0 and 1.
    """
    from scipy.special import ndtri, stdtrit  # not before somebody asks: `import infoplane` is to be quick

    if not 0 < as_float(level) < 1:
        raise UsageError("no such level of confidence", received=level, legal="a number between 0 and 1, such as 0.95")
    if not as_float(dof) > 0:
        raise UsageError("degrees of freedom must be above 0", received=dof, legal="a number above 0, or infinity")
    half = (1 + float(level)) / 2
    return float(ndtri(half) if math.isinf(dof) else stdtrit(dof, half))


def _wilson(share: float, n: float, quantile: float) -> tuple[float, float]:
    """The ends of Wilson's interval for a share of n independent images."""
    wide = quantile**2 / n
    middle = share + wide / 2
    reach = quantile * math.sqrt(max(0.0, share * (1 - share)) / n + (wide / (2 * quantile)) ** 2)
    low, high = (middle - reach) / (1 + wide), (middle + reach) / (1 + wide)
    # In exact arithmetic the ends of none and of all are 0 and 1.
    return (0.0 if share == 0 else max(0.0, low)), (1.0 if share == 1 else min(1.0, high))


def _times(part: Any, unit: Unit, factor: float) -> Any:
    """What is in one unit in another one; names and None stay."""
    if isinstance(part, Estimate):
        return getattr(part, unit)
    if isinstance(part, tuple):
        return tuple(_times(each, unit, factor) for each in part)
    return part if part is None or isinstance(part, str) else part * factor


def _restored(part: Any) -> Any:
    """A field as it was before it became JSON."""
    if isinstance(part, Mapping):
        return Estimate.of(part)
    return tuple(_restored(each) for each in part) if isinstance(part, (list, tuple)) else part


def _check_finite(what: str, value: object, *, least: float = -math.inf) -> None:
    """Raises UsageError unless a value is a finite number and not below `least`."""
    if not math.isfinite(number := as_float(value)) or number < least:
        legal = "a finite number" + (f", {least:g} or more" if least > -math.inf else "")
        raise UsageError(f"{what} is not finite or out of range", received=value, legal=legal)


def _decimals(stderr: float | None) -> int:
    """Decimals that show two significant digits of the error (2 where there is none)."""
    if stderr is None or not math.isfinite(stderr) or stderr <= 0:
        return 2
    return min(6, max(2, 1 - math.floor(math.log10(stderr)))) if stderr >= 1e-6 else 4


public(globals(), ("Estimate", "confidence"), methods=True)
