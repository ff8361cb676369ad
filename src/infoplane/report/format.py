"""Numbers as the reader sees them: rounded to their error, with their unit, in nats and in bits."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from infoplane.estimate import LEVEL, NATS_PER_BIT, Estimate

MISSING = "–"
#: from where on a setting is written with a power of ten
SMALL = 1e-4
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


#: an error below this share of its value is not worth its digits
NEGLIGIBLE = 1e-4
#: and below this it is that of arithmetic, whatever the value
ROUNDING = 1e-9
NO_SPREAD = " (no spread)"


def rounded(value: float | None, stderr: float | None = None) -> str:
    """Returns the value to where its error has two significant digits, or to four digits without an error."""
    if value is None or not math.isfinite(value):
        return MISSING
    if stderr is not None and math.isfinite(stderr) and stderr > 0:
        # The exponent of the *rounded* error: .0996 is .10, not .100.
        decimals = 1 - int(f"{stderr:.1e}".partition("e")[2])
    else:
        decimals = 3 - math.floor(math.log10(abs(value))) if value else 0
        decimals = max(0, decimals)
    if abs(value) < ROUNDING:
        value, decimals = 0.0, decimals if stderr is not None and stderr >= ROUNDING else 0
    decimals = min(decimals, 8)
    text = f"{round(value, decimals):,.{max(0, decimals)}f}"
    # A rounded zero has no sign.
    return text.replace("-", "−") if any(digit in text for digit in "123456789") else text.lstrip("-")


def without_spread(value: float, stderr: float) -> bool:
    """Whether every image or batch gave the same, as at a ceiling: a bound there moves in the eighth digit."""
    return stderr < max(NEGLIGIBLE * abs(value), ROUNDING)


def with_error(value: float | None, stderr: float | None) -> str:
    """Returns "29.30 ± 0.41", or the value alone where there is no error; words where the error says nothing."""
    text = rounded(value, stderr)
    if stderr is None or text == MISSING or value is None:
        return text
    if without_spread(value, stderr):
        return rounded(value) + NO_SPREAD
    return f"{text} ± {rounded(stderr, stderr)}"


def united(text: str, unit: str) -> str:
    """Returns what `with_error` gave with a unit, before whatever stands in brackets."""
    return text.removesuffix(NO_SPREAD) + unit + NO_SPREAD * text.endswith(NO_SPREAD)


def both(nats: str | Markup, bits: str | Markup) -> Markup:
    """Returns the two views of one quantity, of which the page's switch shows one."""
    return Markup('<span class="nats">{}</span><span class="bits">{}</span>').format(nats, bits)


def information(value: float | None, stderr: float | None, *, unit: bool = True) -> Markup:
    """Returns an amount of information, given in nats, in both views."""
    in_bits = (None if value is None else value / NATS_PER_BIT, None if stderr is None else stderr / NATS_PER_BIT)
    words = (" nats", " bits") if unit else ("", "")
    return both(united(with_error(value, stderr), words[0]), united(with_error(*in_bits), words[1]))


def ends(estimate: Estimate) -> str:
    """Returns "27.6 to 31.0", the ends of the number's interval in its own unit, shares in per cent; "" without one."""
    if estimate.stderr is None and not (estimate.unit == "fraction" and estimate.n):
        return ""
    low, high = (end * (100 if estimate.unit == "fraction" else 1) for end in estimate.interval())
    # An interval of no width is that of a number without spread, which is said beside it.
    return f"{rounded(low, high - low)} to {rounded(high, high - low)}" if high - low > ROUNDING else ""


def between(estimate: Estimate) -> str:
    """Returns "95 % interval 27.6 to 31.0 nats (39.8 to 44.7 bits)", for where a reader points; "" without one."""
    views = [estimate.nats, estimate.bits] if estimate.unit in ("nats", "bits") else [estimate]
    units = {"fraction": " %"}
    said = [f"{own}{units.get(view.unit, f' {view.unit}')}" for view in views if (own := ends(view))]
    behind = f" ({said[1]})" if len(said) > 1 else ""
    return f"{100 * LEVEL:.0f} % interval {said[0]}{behind}" if said else ""


def amount(estimate: Estimate, *, unit: bool = True) -> Markup:
    """Returns an Estimate as text: information in both views, shares in per cent with the ends of their interval."""
    if estimate.unit in ("nats", "bits"):
        return information(estimate.nats.value, estimate.nats.stderr, unit=unit)
    if estimate.unit == "fraction" and estimate.n > 0:
        low, high = estimate.interval()
        value = rounded(100 * estimate.value, 100 * (high - low))
        return Markup.escape(f"{value}{' %' * unit} [{ends(estimate).replace(' to ', ', ')}]")
    if estimate.unit == "fraction":
        error = None if estimate.stderr is None else 100 * estimate.stderr
        return Markup.escape(united(with_error(100 * estimate.value, error), " %" if unit else ""))
    return Markup.escape(united(with_error(estimate.value, estimate.stderr), f" {estimate.unit}" if unit else ""))


def power_of_ten(power: int) -> str:
    """Returns "10⁻⁹"; and 0.1, 1 and 10 as they are."""
    return f"{10.0**power:g}" if abs(power) < 2 else f"10{str(power).translate(_RAISED)}"


def setting_text(value: float) -> str:
    """Returns a setting such as a bin size: "0.0005", not "5e-04"; below that "10⁻⁹", whose zeros nobody counts."""
    if 0 < abs(value) < SMALL:
        digits, power = f"{value:e}".split("e")
        digits = digits.rstrip("0").rstrip(".").replace("-", "−")
        ten = power_of_ten(int(power))
        return ten if digits == "1" else f"{digits}·{ten}"
    return f"{value:.10f}".rstrip("0").rstrip(".")


def epoch_text(epoch: str) -> str:
    """Returns "10,000"."""
    return f"{int(epoch):,}"


def epochs_text(epochs: Sequence[str]) -> str:
    """Returns "epoch 0", or "epochs 0, 5 and 60"."""
    return f"epoch{'s' * (len(epochs) > 1)} {listed(epochs)}"


def probability(p: float | None) -> str:
    """Returns a p-value to two significant digits."""
    if p is None:
        return MISSING
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def duration(seconds: float) -> str:
    """Returns seconds in the largest units that help."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def shape(sizes: Sequence[int]) -> str:
    """Returns "32 × 3 × 3"."""
    return " × ".join(str(size) for size in sizes)


def capitalised(words: str) -> str:
    """Returns a sentence with a large first letter."""
    return words[:1].upper() + words[1:]


def listed(parts: Sequence[str | Markup]) -> Markup:
    """Returns "a, b and c", each part escaped unless it is markup already."""
    if not parts:
        return Markup()
    head = Markup(", ").join(parts[:-1])
    return Markup("{} and {}").format(head, parts[-1]) if head else Markup("{}").format(parts[-1])
