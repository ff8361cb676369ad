"""Information about the input in noisy layers, by sample propagation and by quadrature, and its fall from the peak."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.special import ndtr, ndtri

from infoplane.claims import ONE_NETWORK, Hypothesis
from infoplane.estimate import Estimate
from infoplane.information.sample_propagation import NoisyEstimate
from infoplane.measurements.base import Draft, Measurement, Row, Sources, is_of
from infoplane.measurements.compared import Compared
from infoplane.measurements.densities import seed_of
from infoplane.measurements.noisy_information import Propagation, Quadrature, Sweep
from infoplane.measurements.numbers import ALL, Number, Place
from infoplane.measurements.truth import line

#: an error below this is that of arithmetic, nats
ROUNDING = 1e-9
#: a fall or a rise is claimed only where it is this many times its standard error, which few samples may hide
ERRORS_FOR_A_CLAIM = 2.0
#: nats below which nobody would speak of a fall, however small its error
NEGLIGIBLE = 1e-3
#: verdict -> its words where a layer is highest at the end
TO_THE_END = {
    "rises": f"rises to the end, {ONE_NETWORK}",
    "not told apart": f"highest at the end, {ONE_NETWORK}",
    "not tested": "highest at the end",
}


class Propagated(Measurement):
    """I(X;T) by sample propagation (Goldfeld et al. 2018); its repeats are independent estimates of one network."""

    kind: ClassVar = "flow"
    family: ClassVar = "flow"
    cells: ClassVar = (Propagation,)
    name: ClassVar = "I(X;T) by sample propagation"
    meaning: ClassVar = (
        "What a noisy layer T tells about the network’s input X: h(T) − h(T|X). Both entropies are those of Gaussian "
        "mixtures whose centres are activations propagated through the network with its own noise (Goldfeld et al. "
        "2018). A consistent estimate, not a bound. With m equally likely inputs it cannot exceed log m; close to that "
        "it says only that the layer still tells the inputs apart."
    )
    fall: ClassVar = (
        "Fall since the peak",
        "I(X;T) at its peak minus I(X;T) at the end. Which epoch is the peak is chosen on one estimate, and the value "
        "is taken from the others, so it is not inflated by the choice. “By chance” is what picking the largest would "
        "show if all epochs were equal and the same estimate were used for both; it is there to compare with, and is "
        "in no number. “Falls” and “rises” need a corrected p < 0.05 and twice the standard error; “not told apart” "
        "does not mean that there is no fall, only that it would be of the size of the error.",
    )
    bound: ClassVar = "estimate"
    fitted: ClassVar = True

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        for name, needs in sources.networks.items():
            one = spec.one(name).model_dump(mode="json")
            repeats = range(1, spec.estimate.repeats + 1) if one["network"]["beta"] is not None else ()
            for epoch in one["train"]["checkpoints"]:
                for repeat in repeats:
                    sizes = {"samples": spec.estimate.samples, "queries": spec.estimate.queries}
                    seed = seed_of(spec.seed, repeat)
                    estimate = Propagation(network=one["network"], epoch=epoch, **sizes, seed=seed)
                    plan.add(estimate, needs, layer=name, refit=repeat, checkpoint=str(epoch))

    def refits(self, run: Any, place: Place) -> list[int]:
        return [] if is_of(place, "network") else [*run.propagated(place.network, int(place.checkpoint))]

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        found, depth = run.propagated(place.network, int(place.checkpoint)), run.depth(place)
        own = [found[repeat][depth] for repeat in refits]
        return own[0] if len(own) == 1 and len(found) > 1 else together(own)

    def truths(self, run: Any, number: Number) -> Iterator[Row]:
        """At the marked epochs and the end, beside the exact values."""
        (layer, checkpoint, network, _), refit, estimate = number
        exact = run.cell("quadrature", network)
        if exact is None or refit != ALL:
            return
        epoch = int(checkpoint)
        if epoch not in (*run.spec.shown(network), run.epochs(network)[-1]):
            return
        truth = float(exact.array("information")[exact.values["epochs"].index(epoch), run.depth(number.place)])
        stderr = estimate.stderr or 0.0
        gap = estimate.value - truth
        # Where nothing is left to chance the two agree to rounding.
        verdict = f"{gap / stderr:+.1f} s.e. off" if stderr > ROUNDING else f"off by {gap:+.1e} nats"
        found = line("", estimate, truth, None, verdict)
        yield found | {"name": f"I(X;T), {layer}, epoch {epoch:,}", "stderr": stderr}

    def falls(self, run: Any) -> Iterator[Compared]:
        """Per network and layer, what was lost from the peak of I(X;T) to the end of training.

        The peak is chosen on the first estimate and read off the others, whose noise has not chosen it. Keys: network,
        layer, kind, peak and end (epochs), value and stderr (nats; what was lost), p (two-sided), constant (by how
        much the largest of so many equal numbers would seem to stand out on average, nats); at_first, at_peak and
        at_end, each with its _stderr: what the other estimates say of the first checkpoint, the peak and the end, so
        that value = at_peak - at_end. There is one test a layer, of the fall from its peak or, where the end is the
        peak, of the rise to it.
        """
        for network in run.spec.names:
            measured = {epoch: run.propagated(network, epoch) for epoch in run.epochs(network)}
            whole = {epoch: found for epoch, found in measured.items() if len(found) == run.spec.estimate.repeats}
            start, end = run.epochs(network)[0], run.epochs(network)[-1]
            for index, layer in enumerate(run.layers(network)) if end in whole and len(whole) > 1 else ():
                first = {epoch: found[1][index] for epoch, found in whole.items()}
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
                row: Row = {"network": network, "layer": layer, "kind": self.kind, "peak": peak, "end": end}
                row |= {"value": value, "stderr": stderr}
                row["p"] = 1.0 if stderr == 0 else float(2 * ndtr(-abs(value) / stderr))
                # About the mean of the largest of so many standard normal numbers (Blom 1958), of a typical error.
                largest = float(ndtri((len(first) - 0.375) / (len(first) + 0.25)))
                typical = math.sqrt(float(np.mean([_chance(each) ** 2 for each in first.values()])))
                row["constant"] = round(largest * typical, 8)
                for name, each in (("first", others.get(start)), ("peak", others[peak]), ("end", others[end])):
                    row |= {f"at_{name}": each and each.value, f"at_{name}_stderr": each and each.stderr}
                yield Compared(row, fallen(row), TO_THE_END if peak == end else {})


class ByQuadrature(Measurement):
    """I(X;T) of chains of single units, exactly."""

    kind: ClassVar = "information"
    family: ClassVar = "flow"
    cells: ClassVar = (Quadrature,)
    name: ClassVar = "I(X;T) by quadrature"
    head: ClassVar = "at the end, by quadrature"
    meaning: ClassVar = (
        "The same quantity by numerical integration, where a layer is narrow enough for it. It has no sampling error, "
        "so the points of sample propagation can be held against it."
    )

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        for name, needs in sources.networks.items() if spec.estimate.exact else ():
            one = spec.one(name).model_dump(mode="json")
            if one["network"]["beta"] is not None:
                exact = Quadrature(network=one["network"], epochs=tuple(one["train"]["checkpoints"]))
                plan.add(exact, needs, layer=name)

    def refits(self, run: Any, place: Place) -> list[int]:
        return [] if is_of(place, "network") or run.cell("quadrature", place.network) is None else [0]

    def estimate(self, run: Any, place: Place, refits: list[int]) -> Estimate | None:
        exact = run.cell("quadrature", place.network)
        value = float(exact.array("information")[exact.values["epochs"].index(int(place.checkpoint)), run.depth(place)])
        return Estimate(value, None, "nats", self.kind, None, run.inputs or 0, 0)


class Swept(Measurement):
    """I(X;T) of a single unit over its weight: a figure, and no number by itself."""

    kind: ClassVar = "sweep"
    family: ClassVar = "flow"
    cells: ClassVar = (Sweep,)
    name: ClassVar = "I(X;T) over the weight"
    meaning: ClassVar = "I(X;T) of a single tanh unit over its weight, exactly and by sample propagation."

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        if spec.sweep is not None:
            sizes = {"samples": spec.estimate.samples, "queries": spec.estimate.queries}
            sweep = spec.model_dump(mode="json")["sweep"]
            plan.add(Sweep(sweep=sweep, seed=spec.seed, **sizes), sources.data)


PROPAGATED, BY_QUADRATURE, SWEPT = Propagated(), ByQuadrature(), Swept()


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


def _lasting(estimate: Estimate) -> float:
    """The part of an error that no repetition averages away."""
    return dict(estimate.errors).get("samples", 0.0) if isinstance(estimate, NoisyEstimate) else 0.0


def _chance(estimate: Estimate) -> float:
    """The other part."""
    return math.sqrt(max(0.0, (estimate.stderr or 0.0) ** 2 - _lasting(estimate) ** 2))
