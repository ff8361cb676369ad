"""From the stored cells of a study of noisy networks to its results."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import polars as pl
from scipy.special import ndtr, ndtri

from infoplane.claims import ONE_NETWORK, Hypothesis
from infoplane.engine.store import Stored
from infoplane.errors import agreed
from infoplane.estimate import Estimate
from infoplane.information.sample_propagation import NoisyEstimate
from infoplane.measurements.numbers import Number, Place
from infoplane.study.comparisons import Compared, settled
from infoplane.study.noisy_spec import NoisySpec
from infoplane.study.run_results import COLUMNS, RunResults
from infoplane.subjects.points import equal_inputs

#: an error below this is that of arithmetic, nats
ROUNDING = 1e-9
#: a fall or a rise is claimed only where it is this many times its standard error, which few samples may hide
ERRORS_FOR_A_CLAIM = 2.0
#: nats below which nobody would speak of a loss, however small its error
NEGLIGIBLE = 1e-3
#: verdict -> its words where a layer is highest at the end
TO_THE_END = {
    "rises": f"rises to the end, {ONE_NETWORK}",
    "not told apart": f"highest at the end, {ONE_NETWORK}",
    "not tested": "highest at the end",
}


class NoisyResults(RunResults[NoisySpec]):
    """What a study of noisy networks has measured so far."""

    #: network: its name; bin: bin size of a binned entropy; inputs: number of equally likely inputs; lower, upper: what
    #: I(X;T) lies between, whatever the number of samples, give or take two errors by chance
    columns: ClassVar = {
        **{name: kind for name, kind in COLUMNS.items() if name != "dof"},
        "network": pl.String,
        "bin": pl.Float64,
        "inputs": pl.Int64,
        "lower": pl.Float64,
        "upper": pl.Float64,
        "dof": pl.Float64,
    }

    def cell(self, kind: str, network: str = "", epoch: int | None = None, repeat: int = 0) -> Stored | None:
        """The stored result in that role, or None where it is missing or damaged."""
        return self.stored(self.plan.name(kind, network, repeat, "" if epoch is None else str(epoch)))

    def epochs(self, network: str) -> list[int]:
        """The checkpoints of a network."""
        return list(self.spec.one(network).train.checkpoints or ())

    def layers(self, network: str) -> dict[str, int]:
        """Name of each hidden layer -> number of its units."""
        return {f"layer {index}": units for index, units in enumerate(self.spec.one(network).network.widths, 1)}

    @property
    def order(self) -> list[str]:
        epochs = {epoch for network in self.spec.names for epoch in self.epochs(network)}
        return [str(epoch) for epoch in sorted(epochs)]

    @property
    def inputs(self) -> int | None:
        """m, the number of equally likely inputs; None where they are not loaded yet."""
        points = self.cell("points")
        return None if points is None else len(points.array("inputs"))

    def flows(self, network: str, epoch: int) -> dict[int, list[NoisyEstimate]]:
        """Repeat -> I(X;T_l) of every layer, of the repeats that are finished."""
        repeats = range(1, self.spec.estimate.repeats + 1)
        found = ((repeat, self.cell("flow", network, epoch, repeat)) for repeat in repeats)
        return {r: [NoisyEstimate.of(layer) for layer in s.values["layers"]] for r, s in found if s is not None}

    def found(self) -> list[Number]:
        return [
            Number(Place(layer, str(epoch), network, size), refit, estimate)
            for network in self.spec.names
            for epoch in self.epochs(network)
            for layer, refit, size, estimate in self._estimates(network, epoch)
        ]

    def row(self, number: Number) -> dict[str, Any]:
        bounds = getattr(number.estimate, "bounds", None) or (None, None)
        own = {"network": number.place.network, "bin": number.place.setting, "inputs": self.inputs}
        return super().row(number) | own | dict(zip(("lower", "upper"), bounds, strict=True))

    def _estimates(self, network: str, epoch: int) -> Iterator[tuple[str, str, float | None, Estimate]]:
        yield from self._accuracy(network, epoch)
        flows, clustering = self.flows(network, epoch), self.cell("clustering", network, epoch)
        exact = self.cell("quadrature", network)
        for index, layer in enumerate(self.layers(network)):
            repeats = {repeat: found[index] for repeat, found in flows.items()}
            if repeats:
                yield layer, "all", None, together(list(repeats.values()))
                yield from ((layer, str(repeat), None, estimate) for repeat, estimate in repeats.items())
            if exact is not None:
                value = float(exact.array("information")[exact.values["epochs"].index(epoch), index])
                yield layer, "all", None, Estimate(value, None, "nats", "information", None, self.inputs or 0, 0)
            if clustering is not None:
                sizes = self.spec.one(network).bins or ()
                for size, binned in zip(sizes, clustering.values["binned"][index], strict=True):
                    yield layer, "all", size, Estimate.of(binned)

    def _accuracy(self, network: str, epoch: int) -> Iterator[tuple[str, str, None, Estimate]]:
        """Accuracy on the inputs that the network was not trained on; equal ones are counted once in its error."""
        descent, points = self.cell("descent", network), self.cell("points")
        if descent is None or points is None or "curve:test accuracy" not in descent.names():
            return
        at = int(np.flatnonzero(descent.array("epochs") == epoch)[0])
        share, test = float(descent.array("curve:test accuracy")[at]), points.array("test")
        n = len(np.unique(equal_inputs(points.array("inputs")[test])))
        words = f"of {len(test):,} test inputs {n:,} {agreed(n, 'are distinct: they are')} what is counted"
        flags = () if n == len(test) else (words,)
        stderr = math.sqrt(share * (1 - share) / n)
        yield "", "all", None, Estimate(share, stderr, "fraction", "accuracy", "estimate", n, 0, flags=flags)

    def differences(self) -> list[dict[str, Any]]:
        """Returns, per network and layer, what was lost from the peak of I(X;T_l) to the end of training.

        The peak is chosen on the first estimate and read off the others, whose noise has not chosen it. Keys: network,
        layer, kind, peak and end (epochs), value and stderr (nats; what was lost), p (two-sided), constant (by how
        much the largest of so many equal numbers would seem to stand out on average, nats); at_first, at_peak and
        at_end, each with its _stderr: what the other estimates say of the first checkpoint, the peak and the end, so
        that value = at_peak - at_end. p_corrected, tests and verdict: corrected for one test a layer, of the fall from
        its peak or, where the end is the peak, of the rise to it.
        """
        found = [Compared(row, fallen(row), TO_THE_END if row["peak"] == row["end"] else {}) for row in self._lost()]
        return settled({"differences": found})["differences"]

    def _lost(self) -> list[dict[str, Any]]:
        found = []
        for network in self.spec.names:
            measured = {epoch: self.flows(network, epoch) for epoch in self.epochs(network)}
            whole = {epoch: flows for epoch, flows in measured.items() if len(flows) == self.spec.estimate.repeats}
            start, end = self.epochs(network)[0], self.epochs(network)[-1]
            if end not in whole or len(whole) < 2:
                continue
            for index, layer in enumerate(self.layers(network)):
                first = {epoch: flows[1][index] for epoch, flows in whole.items()}
                peak = max(first, key=lambda epoch: first[epoch].value)
                others = {
                    epoch: together([found[index] for repeat, found in whole[epoch].items() if repeat > 1])
                    for epoch in {start, peak, end} & set(whole)
                }
                # At the end itself nothing is lost since: there is no difference to test.
                value = others[peak].value - others[end].value
                stderr = 0.0 if peak == end else math.hypot(*(others[e].stderr or 0.0 for e in (peak, end)))
                if stderr < ROUNDING:
                    value, stderr = round(value, 8), 0.0
                found.append(
                    {
                        "network": network,
                        "layer": layer,
                        "kind": "flow",
                        "peak": peak,
                        "end": end,
                        "value": value,
                        "stderr": stderr,
                        "p": 1.0 if stderr == 0 else float(2 * ndtr(-abs(value) / stderr)),
                        "constant": round(_largest(len(first)) * _typical(first.values()), 8),
                        **_levels(first=others.get(start), peak=others[peak], end=others[end]),
                    }
                )
        return found

    def truths(self) -> list[dict[str, Any]] | None:
        """Returns estimates at the marked epochs and the end beside the exact values, or None where there are none."""
        found = []
        for network in self.spec.names:
            exact = self.cell("quadrature", network)
            if exact is None:
                continue
            for epoch in sorted({*self.spec.shown(network), self.epochs(network)[-1]}):
                flows = self.flows(network, epoch)
                for index, layer in enumerate(self.layers(network)):
                    if not flows:
                        continue
                    estimate = together([each[index] for each in flows.values()])
                    truth = float(exact.array("information")[exact.values["epochs"].index(epoch), index])
                    found.append(_beside(f"I(X;T), {layer}, epoch {epoch:,}", estimate, truth))
        return found or None

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Returns the tables beside the results: differences, truths, and how training went."""
        history = [
            {"network": network, "epoch": int(epoch), "curve": name.removeprefix("curve:"), "value": float(value)}
            for network in self.spec.names
            if (descent := self.cell("descent", network)) is not None
            for name in sorted(descent.names())
            if name.startswith("curve:")
            for epoch, value in zip(descent.array("epochs"), descent.array(name), strict=True)
        ]
        return {**super().tables(), **({"history": history} if history else {})}


def fallen(row: Mapping[str, Any]) -> Hypothesis:
    """Returns what is tested in a row of `differences`: the fall from the peak or, at the end, the rise to it."""
    change, stderr, p = -row["value"], row.get("stderr"), row.get("p")
    if row["peak"] == row["end"]:
        keys = ("at_first", "at_end", "at_first_stderr", "at_end_stderr")
        levels = [float(row[key]) for key in keys if row.get(key) is not None]
        if len(levels) < len(keys):
            return Hypothesis(0.0, None, training=True)
        first, end, *errors = levels
        change, stderr = end - first, math.hypot(*errors)
        p = float(2 * ndtr(-abs(change) / stderr)) if stderr >= ROUNDING else None
    if p is None or stderr is None:
        return Hypothesis(change, None, training=True)
    return Hypothesis(change, p, negligible=max(ERRORS_FOR_A_CLAIM * stderr, NEGLIGIBLE), training=True)


def together(repeats: Sequence[Estimate]) -> NoisyEstimate:
    """Returns the mean of independent estimates of one number; what few samples leave does not average away."""
    value = float(np.mean([each.value for each in repeats]))
    lasting, chance = [_lasting(each) for each in repeats], [_chance(each) for each in repeats]
    known = [each.bounds for each in repeats if isinstance(each, NoisyEstimate) and each.bounds is not None]
    bounds = (min(low for low, _ in known), max(high for _, high in known)) if known else None
    errors = (("chance", math.hypot(*chance) / len(chance)), ("samples", float(np.mean(lasting))))
    flags = tuple(dict.fromkeys(flag for each in repeats for flag in each.flags))
    n, first = sum(each.n for each in repeats), repeats[0]
    stderr = math.hypot(*(part for _, part in errors))
    return NoisyEstimate(
        value, stderr, first.unit, first.kind, first.bound, n, 0, flags=flags, errors=errors, bounds=bounds
    )  # fmt: skip


def _levels(**known: Estimate | None) -> dict[str, float | None]:
    """What the estimates behind a difference say of its ends; keys as in `differences`."""
    return {
        key: number
        for name, estimate in known.items()
        for key, number in (
            (f"at_{name}", estimate and estimate.value),
            (f"at_{name}_stderr", estimate and estimate.stderr),
        )
    }


def _largest(count: int) -> float:
    """About the mean of the largest of so many standard normal numbers (Blom 1958)."""
    return float(ndtri((count - 0.375) / (count + 0.25)))


def _typical(estimates: Any) -> float:
    """The error by chance of estimates of one kind, of which the largest may be picked."""
    return math.sqrt(float(np.mean([_chance(each) ** 2 for each in estimates])))


def _lasting(estimate: Estimate) -> float:
    """The part of an error that no repetition averages away."""
    return dict(estimate.errors).get("samples", 0.0) if isinstance(estimate, NoisyEstimate) else 0.0


def _chance(estimate: Estimate) -> float:
    """The other part."""
    return math.sqrt(max(0.0, (estimate.stderr or 0.0) ** 2 - _lasting(estimate) ** 2))


def _beside(name: str, estimate: Estimate, truth: float) -> dict[str, Any]:
    stderr = estimate.stderr or 0.0
    gap = estimate.value - truth
    # Where nothing is left to chance the two agree to rounding.
    verdict = f"{gap / stderr:+.1f} s.e. off" if stderr > 1e-9 else f"off by {gap:+.1e} nats"
    return {
        "name": name,
        "truth": truth,
        "truth_stderr": None,
        "measured": estimate.value,
        "stderr": stderr,
        "direction": estimate.direction,
        "verdict": verdict,
    }
