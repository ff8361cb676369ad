"""Entropy and mutual information in noisy networks by sample propagation.

T = S + Z, Z ~ N(0, β²I). Propagated samples of S are the centres of a Gaussian mixture that stands for the density of
T, whose entropy is taken by Monte Carlo. I(X;T) = h(T) - h(T|X), h(T) having the centres of all h(T|x) together.

Source: Goldfeld et al. 2018, sections 3 and 10. What was chosen where the paper leaves it open stands in docs/noisy.md.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from infoplane.errors import UsageError, plain
from infoplane.estimate import IN_UNIT, LEVEL, Estimate, confidence
from infoplane.information.gaussian_mixture import GaussianMixture, log_peak
from infoplane.information.mixture_blocks import squared_distances
from infoplane.information.mixture_draws import SATURATED, check_counts, entropy_round, mixture_entropy, normal
from infoplane.information.noisy_bounds import FRESH, TILE, bounds, log_difference, own_densities
from infoplane.information.noisy_layers import Noisy, check_noisy, propagated
from infoplane.information.sample_theory import fewest_samples
from infoplane.torch_state import own_state

__all__ = ["FewSamplesWarning", "NoisyEstimate", "log_density", "mixture_entropy", "mutual_information"]

#: worst-case bias for which samples are asked, nats
BIAS = 0.1
#: errors by chance that the bounds allow for on either side
BY_CHANCE = 2.0
#: fewest propagated samples of one input from which the correction for their number is taken
ENOUGH = 8


class FewSamplesWarning(UserWarning):
    """Fewer samples than the theory asks for."""


@dataclass(frozen=True)
class NoisyEstimate(Estimate):
    """Information about the input in a noisy layer, with what it is made of.

    Attributes:
        entropy: h(T), nats.
        conditional_entropy: h(T|X), nats.
        errors: The parts of the standard error, nats: "queries" (Monte Carlo), "inputs" (those of which no query was
            drawn), "centres" (propagated samples) and "samples" (what their finite number may still do, which no
            repetition averages away). Their squares add up to that of `stderr`.
        correction: What was subtracted for the finite number of propagated samples, nats.
        bounds: What the information lies between whatever the number of propagated samples is, nats, give or take two
            errors by chance on either side; None at the first layer, where there is nothing but chance.
    """

    entropy: Estimate | None = field(default=None, metadata=IN_UNIT)
    conditional_entropy: Estimate | None = field(default=None, metadata=IN_UNIT)
    errors: tuple[tuple[str, float], ...] = field(default=(), metadata=IN_UNIT)
    correction: float = field(default=0.0, metadata=IN_UNIT)
    bounds: tuple[float, float] | None = field(default=None, metadata=IN_UNIT)

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Returns the two ends, in `unit`, between which the information lies with at least that confidence.

        What few samples hide is no chance, so no multiple of a standard error covers it: where there are `bounds` they
        are the interval, as far apart as for 95 %, and further for higher levels by what more of the errors by chance
        that asks for. Else, as at the first layer, there is chance alone: value ± t·stderr, from 0 on.

        Raises:
            UsageError: The level is not between 0 and 1.
        """
        low, high = super().interval(level)
        if self.bounds is None:
            return max(0.0, low), max(0.0, high)
        chance = _in_all([part for part in self.errors if part[0] != "samples"])
        more = max(0.0, confidence(level, self.dof) - BY_CHANCE) * chance
        return max(0.0, self.bounds[0] - more), self.bounds[1] + more


def log_density(
    queries: Tensor, centres: Tensor, beta: float, weights: Tensor | None = None, tolerance: float = 1e-9
) -> Tensor:
    """Returns log Σ_j w_j N(v; c_j, β²I) of each query v, nats: (m, d) -> (m,) float64.

    The other arguments, and what is raised, are those of `GaussianMixture`.
    """
    return GaussianMixture(centres, beta, weights, tolerance=tolerance).log_density(queries)


@own_state()
def mutual_information(
    network: Noisy,
    inputs: Tensor,
    layer: int,
    *,
    samples: int = 100_000,
    queries: int = 10_000,
    generator: torch.Generator | None = None,
) -> NoisyEstimate:
    """Returns I(X;T_l), nats, for X uniform on the given inputs.

    Layer 1: its centres are the network's outputs, so h(T_1|X) = (d/2) log 2πeβ² and only Monte Carlo error is left.
    Deeper: every input is propagated samples/m times, and what this finite number does to first order is removed by
    comparison with the halves of the samples. Inputs that occur several times are one value of X, which is so much the
    likelier; of a single value the information is 0, and known to be.

    Args:
        network: The network as it is, with its noise on.
        inputs: (m, …), all values of X, equally likely where they differ.
        layer: l, counted from 1; the last layer adds no noise.
        samples: Propagated samples in all, shared out over the inputs; not used at layer 1.
        queries: Monte Carlo draws per entropy.
        generator: Source of randomness, on the CPU.

    Raises:
        UsageError: The layer is deterministic, an input or activation is not finite, or a size is out of range.

    Examples:
        >>> from infoplane.subjects import NoisyNetwork
        >>> network = NoisyNetwork([torch.nn.Identity(), torch.nn.Identity()], beta=0.1)
        >>> round(mutual_information(network, torch.tensor([[-1.0], [1.0]]), layer=1).value, 3)  # log 2: 20 β apart
        0.693
    """
    check_noisy(network, layer)
    check_counts(queries=queries, samples=samples)
    if not isinstance(inputs, Tensor) or inputs.ndim < 1 or len(inputs) < 1:
        received = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else type(inputs).__name__
        raise UsageError("inputs must be a tensor of examples", received=received, legal="shape (m, …), m ≥ 1")
    if not bool(torch.isfinite(inputs).all()):
        bad = int((~torch.isfinite(inputs)).sum())
        raise UsageError("inputs are not finite", received=f"{bad:,} of {inputs.numel():,}", legal="finite numbers")
    inputs, ceiling = _values(inputs)
    if layer == 1:
        return _first_layer(network, inputs, ceiling, queries, generator)
    m = len(inputs)
    each = samples // m
    if each < 2:
        received = f"samples={samples:,} for {m:,} inputs"
        raise UsageError("too few samples", received=received, legal=f"at least two per input: {2 * m:,}")
    each -= each % 2
    if m == 1:
        return _single(network, inputs, layer, each, queries, generator)
    return _deeper(network, inputs, layer, each, ceiling, queries, generator)


def _values(inputs: Tensor) -> tuple[Tensor, float]:
    """The inputs, each once where all occur equally often, and H(X), which no layer's information exceeds."""
    numbers = inputs.double() if inputs.is_floating_point() else inputs
    distinct, where, counts = numbers.unique(dim=0, return_inverse=True, return_counts=True)
    share = counts.double() / len(inputs)
    ceiling = -float((share * share.log()).sum()) + 0.0
    if len(distinct) == len(inputs) or bool((counts != counts[0]).any()):
        return inputs, ceiling
    first = torch.full((len(distinct),), len(inputs), device=inputs.device)
    first.scatter_reduce_(0, where, torch.arange(len(inputs), device=inputs.device), "amin")
    return inputs[first.sort().values], ceiling


def _single(
    network: Noisy, inputs: Tensor, layer: int, each: int, queries: int, generator: torch.Generator | None
) -> NoisyEstimate:
    """One value of X, of which there is nothing to know: h(T) is h(T|X)."""
    centres = propagated(network, inputs, layer, each, generator)[0]
    entropy = mixture_entropy(centres, network.beta, queries=queries, generator=generator)
    errors = (("queries", 0.0), ("inputs", 0.0), ("centres", 0.0), ("samples", 0.0))
    return NoisyEstimate(
        0.0, 0.0, "nats", "flow", "estimate", each, 0,
        entropy=entropy, conditional_entropy=entropy, errors=errors, bounds=(0.0, 0.0),
    )  # fmt: skip


def _first_layer(
    network: Noisy, inputs: Tensor, ceiling: float, queries: int, generator: torch.Generator | None
) -> NoisyEstimate:
    centres = propagated(network, inputs, 1, 1, generator)[:, 0]
    if not torch.equal(centres, propagated(network, inputs, 1, 1, generator)[:, 0]):
        raise UsageError(
            "the first layer is not a function of the input",
            received="two passes that differ",
            legal="noise that the network adds, Gaussian and after the layer",
            mend="call network.eval() if it is dropout",
        )
    mixture = GaussianMixture(centres, network.beta)
    value, variance, made = entropy_round(mixture, max(4, queries), generator)
    stderr = math.sqrt(variance)
    entropy = Estimate(value, stderr, "nats", "differential-entropy", "estimate", n=made, refits=0)
    known = mixture.dimensions / 2 - mixture.log_peak
    conditional = Estimate(known, None, "nats", "differential-entropy", None, n=len(inputs), refits=0)
    distinct = -float((mixture.weights * mixture.weights.log()).sum())
    information = min(max(value - known, 0.0), ceiling, distinct)
    errors = (("queries", stderr), ("inputs", 0.0), ("centres", 0.0), ("samples", 0.0))
    return NoisyEstimate(
        information, stderr, "nats", "flow", "estimate", len(inputs), 0, flags=_near_ceiling(information, ceiling),
        entropy=entropy, conditional_entropy=conditional, errors=errors,
    )  # fmt: skip


def _deeper(
    network: Noisy,
    inputs: Tensor,
    layer: int,
    each: int,
    ceiling: float,
    queries: int,
    generator: torch.Generator | None,
) -> NoisyEstimate:
    """Layers from the second on, with so many propagated samples of each input, whose entropy is `ceiling`."""
    centres, beta = propagated(network, inputs, layer, each, generator), network.beta
    m, _, d = centres.shape
    chosen, spots, draws = _layout(m, each, queries)
    index = torch.arange(m) if chosen == m else torch.randperm(m, generator=generator)[:chosen]
    # Samples of one input are alike: any `spots` of them will do, half of them out of either half.
    spot = torch.div(torch.arange(spots) * each, spots, rounding_mode="floor")
    z = normal((chosen, spots, draws, d), generator, centres)
    index, spot = index.to(centres.device), spot.to(centres.device)
    v = (centres[index][:, spot, None] + beta * z).flatten(1, 2)
    second = spot.repeat_interleave(draws) >= each // 2
    own, own_half, alone = _own_log_sums(v, centres, index, beta, spot.repeat_interleave(draws))
    whole = GaussianMixture(centres.flatten(0, 1), beta).log_sum(v.flatten(0, 1)).view_as(own)
    half = torch.empty_like(whole)
    for side, part in ((~second, centres[:, : each // 2]), (second, centres[:, each // 2 :])):
        found = GaussianMixture(part.flatten(0, 1), beta).log_sum(v[:, side].flatten(0, 1))
        half[:, side] = found.view(chosen, -1)
    shape, peak = (chosen, spots, draws), log_peak(d, beta)
    # What errs by c/n with n samples errs by 2c/n with half of them.
    corrected = each >= ENOUGH
    log_own, log_whole = (
        (2 * logs - fewer if corrected else logs).view(shape) for logs, fewer in ((own, own_half), (whole, half))
    )
    terms = log_own - log_whole
    fresh = propagated(network, inputs[index.to(inputs.device)], layer, min(max(each, FRESH[0]), FRESH[1]), generator)
    apart, among = own_densities(v, -z.square().sum(3).flatten(1) / 2, fresh, beta)
    others = log_difference(whole, own - math.log(m))
    limits = bounds(whole, others, alone, apart, among, m)
    limits = limits[0], min(limits[1], ceiling)
    value = min(max(float(terms.mean()), 0.0), ceiling)
    errors = _errors(terms, m, each, max(value - limits[0], limits[1] - value))
    by_chance = _in_all([part for part in errors if part[0] != "samples"])
    entropies = []
    rest = torch.logaddexp(others, apart - math.log(m))
    for logs, most, least in ((log_whole, whole, rest), (log_own, among, apart)):
        reach = max(float((most - logs.view_as(most)).mean()), float((logs.view_as(most) - least).mean()))
        parts = _errors(-logs, m, each, reach)
        mean = float(-logs.mean()) - peak
        entropies.append(Estimate(mean, _in_all(parts), "nats", "differential-entropy", "estimate", logs.numel(), 0))
    flags = list(_near_ceiling(value, ceiling))
    if dict(errors)["samples"] > by_chance:
        flags.append(f"most of the error is for the finite number of samples, {each:,} per input")
    for name, logs, count in (("h(T)", whole, m * each), ("h(T|x)", own, each)):
        if float(-logs.mean()) - d / 2 > SATURATED * math.log(count):
            flags.append(f"{name} saturated near log {count:,}: too few samples to tell their clusters apart")
    fewest = fewest_samples(d, beta, BIAS)
    if each < fewest:
        rounded = plain(float(f"{fewest:.2g}"))
        asked = f"in the worst case {rounded} of either are needed for a bias below {BIAS} nats"
        who = f"layer {layer}, {d}-dimensional, β = {beta:g}"
        text = f"{m * each:,} samples for h(T) and {each:,} for each h(T|x) at {who}: {asked}"
        flags.append(f"fewer samples than the worst case asks for, {rounded} of every input")
        warnings.warn(FewSamplesWarning(text), stacklevel=4)
    return NoisyEstimate(
        value,
        _in_all(errors),
        "nats", "flow", "estimate", m * each, 0, flags=tuple(flags),
        entropy=entropies[0], conditional_entropy=entropies[1], errors=errors,
        bounds=(max(limits[0] - BY_CHANCE * by_chance, 0.0), min(limits[1] + BY_CHANCE * by_chance, ceiling)),
        correction=float((own - whole).mean()) - value,
    )  # fmt: skip


def _layout(m: int, each: int, queries: int) -> tuple[int, int, int]:
    """How many inputs, samples of each, and draws at each sample share the queries.

    At least two samples per input and two draws per sample, from which the parts of the error are told apart.
    """
    chosen = max(min(m, 2), min(m, queries // 4))
    spots = max(2, min(each, queries // (2 * chosen)))
    spots -= spots % 2
    return chosen, spots, max(2, -(-queries // (chosen * spots)))


def _errors(terms: Tensor, m: int, each: int, reach: float) -> tuple[tuple[str, float], ...]:
    """The parts of the error of the mean of terms (k, s, r), r draws at each of s samples of k of the m inputs.

    The truth may be off by `reach`, were chance left out, for the number of samples of an input being finite.
    """
    k, s, r = terms.shape
    noise = float(terms.var(2).mean())
    samples = terms.mean(2)
    between = max(0.0, float(samples.var(1).mean()) - noise / r)
    # Sampling in two stages without replacement: the variance of inputs' means holds their noise too.
    inputs = float(samples.mean(1).var()) * (1 - k / m) if 1 < k < m else 0.0
    errors = {
        "queries": (noise / r + between * (1 - s / each)) / (m * s),
        "inputs": inputs / k,
        "centres": between / (m * each),
        # Not made by chance, so no repetition averages it away: it counts as if any value so far were as likely.
        "samples": reach**2 / 3,
    }
    return tuple((name, math.sqrt(part)) for name, part in errors.items())


def _near_ceiling(information: float, ceiling: float) -> tuple[str, ...]:
    """The flag of a number that says more of the inputs, whose entropy is the ceiling, than of the layer."""
    if not 0 < SATURATED * ceiling <= information:
        return ()
    count = f"{math.exp(ceiling):,.4g}" if math.exp(ceiling) < 1000 else f"{math.exp(ceiling):,.0f}"
    return (f"near log {count}, which {count} inputs cannot exceed",)


def _in_all(errors: Sequence[tuple[str, float]]) -> float:
    """The standard error that independent parts make."""
    return math.sqrt(sum(part**2 for _, part in errors))


def _own_log_sums(v: Tensor, centres: Tensor, index: Tensor, beta: float, spot: Tensor) -> tuple[Tensor, ...]:
    """log of the mean of exp(-|v - c|²/2β²) over an input's samples, the half that the draw is of, and all others.

    Inputs are at `index`, (inputs,); `spot` is the sample that every draw is of, (draws,).
    """
    each = centres.shape[1]
    own, half, rest = (torch.empty(v.shape[:2], dtype=v.dtype, device=v.device) for _ in range(3))
    inputs, queries = max(1, TILE // (v.shape[1] * each)), max(1, TILE // each)
    for start in range(0, len(v), inputs):
        for first in range(0, v.shape[1], queries):
            part = slice(start, start + inputs), slice(first, first + queries)
            exponents = squared_distances(v[part], centres[index[part[0]]], beta).div_(-2)
            sides = torch.stack([exponents[..., : each // 2].logsumexp(2), exponents[..., each // 2 :].logsumexp(2)])
            own[part] = torch.logaddexp(*sides) - math.log(each)
            half[part] = torch.where(spot[part[1]] >= each // 2, sides[1], sides[0]) - math.log(each // 2)
            mine = spot[part[1]][None, :, None].expand(len(exponents), -1, 1)
            rest[part] = exponents.scatter_(2, mine, -math.inf).logsumexp(2) - math.log(each - 1)
    return own, half, rest
