"""The numbers of a study of noisy networks, and what may be said of how they changed."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from infoplane.estimate import Estimate
from infoplane.report.amounts import MISSING
from infoplane.report.drawing import Unit
from infoplane.report.flow_contents import FlowContents, NetworkThroughTraining
from infoplane.report.results import CLAIM, number_of, result_of

#: a fall is claimed only where it is this many times its standard error
ERRORS_FOR_A_CLAIM = 2.0
#: nats below which nobody would speak of a loss, however small its error
NEGLIGIBLE = 1e-3

Verdict = Literal["fall", "rise", "tie", "no test", "at the end"]

#: network, layer, kind, bin size -> epoch -> number
_Series = dict[tuple[str, str, str, float | None], dict[int, Estimate]]


def plain(value: float) -> str:
    """Returns a setting such as a bin size: "0.0005", not "5e-04"."""
    text = f"{value:.10f}".rstrip("0").rstrip(".")
    return f"{value:g}" if text in ("0", "") else text


def titled(network: NetworkThroughTraining) -> str:
    """Returns what stands above a network's figures."""
    noise = "no noise" if network.beta is None else f"noise β = {plain(network.beta)}"
    return f"{network.name} · {noise}" if network.name else noise


class FlowNumbers:
    """Looks up the rows of a page.

    Args:
        rows: As in `FlowContents.rows`. Rows without a finite value or without an epoch are left out.
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
    """What a layer lost from its peak to the end, nats; positive is compression. Fields as in `differences`."""

    network: str
    layer: str
    peak: int
    end: int
    value: float
    stderr: float | None
    p: float | None
    constant: float | None

    @property
    def verdict(self) -> Verdict:
        """What may be said: a fall or a rise only with p < .05, twice its error, and a size that matters."""
        if self.peak == self.end:
            return "at the end"
        if self.p is None or self.stderr is None:
            return "no test"
        if self.p >= CLAIM or abs(self.value) <= max(ERRORS_FOR_A_CLAIM * self.stderr, NEGLIGIBLE):
            return "tie"
        return "fall" if self.value > 0 else "rise"


def losses(rows: Sequence[Mapping[str, Any]]) -> list[Loss]:
    """Returns what can be read of `FlowContents.differences`."""
    found = []
    for row in rows:
        value, peak, end = (number_of(row.get(key)) for key in ("value", "peak", "end"))
        if row.get("kind", "flow") != "flow" or value is None or peak is None or end is None:
            continue
        numbers = (number_of(row.get(key)) for key in ("stderr", "p", "constant"))
        network, layer = str(row.get("network") or ""), str(row.get("layer") or "")
        found.append(Loss(network, layer, int(peak), int(end), value, *numbers))
    return found


def peak_of(numbers: FlowNumbers, network: str, layer: str, found: Sequence[Loss]) -> int | None:
    """Returns the epoch of a layer's peak: as it was chosen where a loss was estimated, else of the largest number."""
    series = numbers.series(network, layer, "flow")
    chosen = next((loss.peak for loss in found if (loss.network, loss.layer) == (network, layer)), None)
    if chosen is not None or not series:
        return chosen
    return max(series, key=lambda epoch: series[epoch].value)


def layers_of(contents: FlowContents) -> list[str]:
    """Returns the names of all networks' layers by depth, which colours are given to."""
    # The deepest network first: what another calls otherwise comes after.
    networks = sorted(contents.networks, key=lambda network: -len(network.layers))
    return list(dict.fromkeys(name for network in networks for name in network.layers))


def epoch_text(epoch: int | None) -> str:
    """Returns "10,000"."""
    return MISSING if epoch is None else f"{epoch:,}"


def ceiling_name(ceiling: tuple[float, str], unit: Unit) -> str:
    """Returns what a ceiling is called: "ln 4096" is "log₂ 4096" in bits."""
    return ceiling[1].replace("ln ", "log₂ ") if unit == "bits" else ceiling[1]
