"""The numbers of a study of noisy networks, and what may be said of how they changed."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from infoplane.claims import Claim, Verdict, claims
from infoplane.estimate import Estimate
from infoplane.measurements.propagated import fallen
from infoplane.report.amounts import MISSING, listing
from infoplane.report.drawing import Unit
from infoplane.report.noisy_contents import NetworkThroughTraining, NoisyContents
from infoplane.report.results import claim_of, number_of, result_of

#: from where on a setting is written with a power of ten
SMALL = 1e-4
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

#: network, layer, kind, bin size -> epoch -> number
_Series = dict[tuple[str, str, str, float | None], dict[int, Estimate]]


def plain(value: float) -> str:
    """Returns a setting such as a bin size: "0.0005", not "5e-04"; below that "10⁻⁹", whose zeros nobody counts."""
    if 0 < abs(value) < SMALL:
        digits, power = f"{value:e}".split("e")
        digits = digits.rstrip("0").rstrip(".").replace("-", "−")
        ten = "10" + str(int(power)).translate(_RAISED)
        return ten if digits == "1" else f"{digits}·{ten}"
    return f"{value:.10f}".rstrip("0").rstrip(".")


def titled(network: NetworkThroughTraining) -> str:
    """Returns what stands above a network's figures."""
    noise = "no noise" if network.beta is None else f"noise β = {plain(network.beta)}"
    return f"{network.name} · {noise}" if network.name else noise


class NoisyNumbers:
    """Looks up the rows of a page.

    Args:
        rows: As in `NoisyContents.rows`. Rows without a finite value or without an epoch are left out.
        networks: Those that are shown; rows of others are left out.
    """

    def __init__(self, rows: Iterable[Mapping[str, Any]], networks: Sequence[NetworkThroughTraining]) -> None:
        shown = {network.name for network in networks}
        found: _Series = {}
        single: set[tuple[Any, int]] = set()
        for row in rows:
            checkpoint = str(row.get("checkpoint"))
            if number_of(row.get("value")) is None or not checkpoint.isdecimal():
                continue
            result, epoch, name = result_of(row), int(checkpoint), str(row.get("network") or "")
            if name not in shown:
                continue
            key = (name, result.layer, result.estimate.kind, number_of(row.get("bin")))
            series = found.setdefault(key, {})
            # The number over all estimates counts; where there is none yet, the first single one.
            if result.refit == "all" or epoch not in series:
                series[epoch] = result.estimate
                (single.discard if result.refit == "all" else single.add)((key, epoch))
        for key, epoch in single:
            estimate = found[key][epoch]
            found[key][epoch] = dataclasses.replace(estimate, flags=(*estimate.flags, "a single estimate"))
        self._found = {key: dict(sorted(series.items())) for key, series in found.items()}

    def series(self, network: str, layer: str, kind: str, size: float | None = None) -> dict[int, Estimate]:
        """Returns epoch -> number, ascending; empty where there is none. `size` is a bin's."""
        return self._found.get((network, layer, kind, size), {})

    def last(self, network: str, layer: str, kind: str, size: float | None = None) -> tuple[int, Estimate] | None:
        """Returns the last epoch with a number, and the number."""
        series = self.series(network, layer, kind, size)
        return next(reversed(series.items()), None)

    def bins(self, network: str) -> list[float]:
        """Returns the bin sizes of a network, as they come."""
        sizes = (size for name, _, kind, size in self._found if (name, kind) == (network, "binned-entropy"))
        return list(dict.fromkeys(size for size in sizes if size is not None))

    def has(self, kind: str, network: str | None = None) -> bool:
        """Whether there is any number of a kind, of one network or of any."""
        return any(own == kind and network in (None, name) for name, _, own, _ in self._found)


@dataclasses.dataclass(frozen=True)
class Loss:
    """What a layer lost from its peak to the end, nats; positive is compression. Fields as in `differences`.

    `at_first`, `at_peak` and `at_end` are the levels by the estimates that it was taken from, where they are known.
    """

    network: str
    layer: str
    peak: int
    end: int
    value: float
    stderr: float | None
    p: float | None
    constant: float | None
    claim: Claim
    at_first: Estimate | None = None
    at_peak: Estimate | None = None
    at_end: Estimate | None = None

    @property
    def rose(self) -> bool:
        """Whether a layer that is highest at the end is also claimed to have risen to it."""
        return self.peak == self.end and self.claim.verdict == "rises"

    @property
    def verdict(self) -> Verdict | Literal["at the end"]:
        """What may be said of what came after the peak."""
        return "at the end" if self.peak == self.end else self.claim.verdict


def losses(rows: Sequence[Mapping[str, Any]]) -> list[Loss]:
    """Returns what can be read of `NoisyContents.differences`."""
    found, numbered = [], [row for row in rows if _whole(row)]
    # Rows from elsewhere come without verdicts: they are the whole family then.
    own = claims([fallen({key: _plain(value) for key, value in row.items()}) for row in numbered])
    for row, alone in zip(numbered, own, strict=True):
        value, peak, end = (float(row[key]) for key in ("value", "peak", "end"))
        claim = claim_of(row) if "verdict" in row else alone
        numbers = (number_of(row.get(key)) for key in ("stderr", "p", "constant"))
        network, layer = str(row.get("network") or ""), str(row.get("layer") or "")
        stderr, p, constant = numbers
        first, highest, last = (_level(row, name) for name in ("at_first", "at_peak", "at_end"))
        found.append(Loss(network, layer, int(peak), int(end), value, stderr, p, constant, claim, first, highest, last))
    return found


def _whole(row: Mapping[str, Any]) -> bool:
    """Whether a row says what a layer lost, and since when."""
    return row.get("kind", "flow") == "flow" and None not in [
        number_of(row.get(key)) for key in ("value", "peak", "end")
    ]


def _plain(value: Any) -> Any:
    """A value without NaN, which stands for what is missing."""
    return value if isinstance(value, str) else number_of(value)


def _level(row: Mapping[str, Any], name: str) -> Estimate | None:
    value = number_of(row.get(name))
    return None if value is None else Estimate(value, number_of(row.get(f"{name}_stderr")))


def levels(
    numbers: NoisyNumbers, network: str, layer: str, found: Sequence[Loss]
) -> tuple[tuple[int, Estimate | None], ...]:
    """Returns (epoch, I(X;T)) of a layer at first, at its peak and at the end, with flags; empty without numbers.

    Where a loss was taken they are those that it was taken from, so that they add up; else means of all estimates.
    """
    series = numbers.series(network, layer, "flow")
    if not series:
        return ()
    first, last, peak = next(iter(series)), next(reversed(series)), peak_of(numbers, network, layer, found)
    loss = next((loss for loss in found if (loss.network, loss.layer) == (network, layer)), None)
    known = (None,) * 3 if loss is None or loss.end != last else (loss.at_first, loss.at_peak, loss.at_end)
    said = []
    for epoch, own in zip((first, peak, last), known):
        mean = series.get(epoch) if epoch is not None else None
        if own is not None and mean is not None:
            own = dataclasses.replace(mean, value=own.value, stderr=own.stderr)
        said.append((epoch, own or mean))
    return tuple(said)


def peak_of(numbers: NoisyNumbers, network: str, layer: str, found: Sequence[Loss]) -> int | None:
    """Returns the epoch of a layer's peak: as it was chosen where a loss was estimated, else of the largest number."""
    series = numbers.series(network, layer, "flow")
    chosen = next((loss.peak for loss in found if (loss.network, loss.layer) == (network, layer)), None)
    if chosen is not None or not series:
        return chosen
    return max(series, key=lambda epoch: series[epoch].value)


def layers_of(contents: NoisyContents) -> list[str]:
    """Returns the names of all networks' layers by depth, which colours are given to."""
    # The deepest network first: what another calls otherwise comes after.
    networks = sorted(contents.networks, key=lambda network: -len(network.layers))
    return list(dict.fromkeys(name for network in networks for name in network.layers))


def epoch_text(epoch: int | None) -> str:
    """Returns "10,000"."""
    return MISSING if epoch is None else f"{epoch:,}"


def epochs_text(epochs: Sequence[int | None]) -> str:
    """Returns "epoch 0", or "epochs 0, 5 and 60"."""
    names = [epoch_text(epoch) for epoch in epochs]
    return f"epoch{'s' * (len(names) > 1)} {listing(names)}"


def ceiling_name(ceiling: tuple[float, str], unit: Unit) -> str:
    """Returns what a ceiling is called: "ln 4096" is "log₂ 4096" in bits."""
    return ceiling[1].replace("ln ", "log₂ ") if unit == "bits" else ceiling[1]
