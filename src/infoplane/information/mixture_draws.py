"""The entropy of a Gaussian mixture by Monte Carlo, with what is known of it left out of chance.

At a draw μ + Z, -log p is |Z|²/2 - log w - R up to a constant, R being what the other centres add. |Z|² and log w are
known on average; R is stratified over centres or neighbourhoods of centres, and freed of |Z|² by a fitted coefficient.

Source: Goldfeld et al. 2018, section 10. What was chosen where the paper leaves it open stands in docs/noisy.md.
"""

import math
from numbers import Integral

import torch
from torch import Tensor

from infoplane.errors import UsageError, check_positive
from infoplane.estimate import Estimate
from infoplane.information.gaussian_mixture import GaussianMixture
from infoplane.torch_state import own_state

#: fewest draws in the first round where a standard error is asked for
FIRST = 1000
#: most draws for one entropy, and most that are held at once
DRAWS, ROUND = 2**27, 2**22
#: share of log n beyond which an entropy says more of the number of samples than of the layer
SATURATED = 0.9
#: share of the draws of an entropy whose noise is wider, and by how much its variance is, in up to three dimensions
WIDE, WIDER = 0.25, 3.0


@own_state()
def mixture_entropy(
    centres: Tensor,
    beta: float,
    *,
    weights: Tensor | None = None,
    queries: int = 10_000,
    stderr: float | None = None,
    tolerance: float = 1e-9,
    generator: torch.Generator | None = None,
) -> Estimate:
    """Returns the differential entropy of a Gaussian mixture, nats, by Monte Carlo: -mean log p(μ + Z).

    Unbiased for this mixture; as an estimate of the entropy of that of which the centres are samples it errs low.

    Args:
        centres, beta, weights, tolerance: Of the mixture, as `GaussianMixture` takes them.
        queries: Monte Carlo draws; of the first round, if `stderr` is given.
        stderr: Draw on until the standard error, nats, is at most this.
        generator: Source of randomness, on the CPU.

    Raises:
        UsageError: Shapes do not go together, or a number is not finite or out of range.
    """
    mixture = GaussianMixture(centres, beta, weights, tolerance=tolerance)
    check_counts(queries=queries)
    if stderr is not None:
        check_positive("the standard error", stderr)
    total, sums, flags = 0, [0.0, 0.0], []
    # An error that few draws tell is small by luck now and then, and would be believed.
    left = max(4, queries) if stderr is None else max(FIRST, queries)
    while True:
        value, variance, made = entropy_round(mixture, min(left, ROUND), generator)
        # Rounds are weighted by their draws, not by their variances, which depend on what was drawn.
        sums = [sums[0] + made * value, sums[1] + made**2 * variance]
        total += made
        left -= made
        if left > 0:
            continue
        found = math.sqrt(sums[1]) / total
        if stderr is None or found <= stderr:
            break
        if total >= DRAWS:
            flags.append(f"standard error not reached after {total:,} draws")
            break
        wanted = 1.1 * total * (found / stderr) ** 2
        left = int(min(max(wanted - total, total / 4), 16 * total, DRAWS))
    flags += near_ceiling(mixture, sums[0] / total)
    return Estimate(
        sums[0] / total, found, "nats", "differential-entropy", "estimate", n=total, refits=0, flags=tuple(flags)
    )


def near_ceiling(mixture: GaussianMixture, entropy: float) -> list[str]:
    """The flag of an entropy that says more of how many centres there are than of what they are samples of."""
    ceiling = -float((mixture.weights * mixture.weights.log()).sum())
    if ceiling <= 0 or entropy - mixture.dimensions / 2 + mixture.log_peak < SATURATED * ceiling:
        return []
    return [f"saturated near log {len(mixture.centres):,}: too few centres to tell what they are samples of"]


def _stratified(mixture: GaussianMixture, draws: int) -> bool:
    """Whether there are enough draws for two at every centre."""
    return draws >= 2 * len(mixture.centres)


def entropy_round(mixture: GaussianMixture, draws: int, generator: torch.Generator | None) -> tuple[float, float, int]:
    """One round: the entropy, the variance of its error, and the draws that were made, about as many as wanted."""
    n, d = mixture.centres.shape
    device = mixture.centres.device
    if _stratified(mixture, draws):
        # At least two draws at every centre: then only what varies around centres is left to chance. Half of them go by
        # weight and half to all centres alike: rare as a light one is, what it finds around it is large.
        each = (draws * (mixture.weights + 1 / n) / 2).round().long().clamp_min(2)
        component = torch.arange(n, device=device).repeat_interleave(each)
        share, strata, wide = (mixture.weights / each)[component], component, WIDE
        ends = each.cumsum(0)[component]
        following = torch.arange(1, len(component) + 1, device=device)
        partner = torch.where(following < ends, following, ends - each[component])
    else:
        # Two draws in each of many parts of equal weight, whose centres are neighbours: what varies from one part of
        # space to another is not left to chance either.
        draws += draws % 2
        component, strata = _components(mixture, draws, generator)
        share, wide = torch.full((draws,), 1 / draws, dtype=torch.float64, device=device), 0.0
        partner = torch.arange(draws, device=device) ^ 1
    z, ratio = _noise(len(component), d, wide, generator, mixture.centres)
    # Up to the peak -log p = |z|²/2 - log w - R, R what the other centres add: only the mean of R is left to chance.
    # Where centres are far apart rare draws decide it, of which there are more in wider noise.
    square = z.square().sum(1) / 2
    rest = mixture.log_sum(mixture.centres[component] + mixture.beta * z) + square - mixture.weights[component].log()
    terms = ratio * rest
    # What the partner found is as good a guess as any of what this draw will find, and independent of its noise.
    variates = torch.stack([ratio * (square - d / 2), ratio - 1, (ratio - 1) * terms[partner]])
    value, variance = _regress(terms, variates if wide else variates[:1], share, strata)
    known = d / 2 - float((mixture.weights * mixture.weights.log()).sum())
    return known - value - mixture.log_peak, variance, len(component)


def _noise(count: int, d: int, wide: float, generator: torch.Generator | None, like: Tensor) -> tuple[Tensor, Tensor]:
    """Noise (count, d), a share of it wider, and the ratio of the standard normal density to that of the mixture."""
    z = normal((count, d), generator, like)
    if not wide:
        return z, z.new_ones(count)
    scale = math.sqrt(1 + WIDER * min(1.0, 3 / d))
    chosen = torch.rand(count, generator=generator, dtype=torch.float64).to(z.device) < wide
    z = torch.where(chosen[:, None], scale * z, z)
    # φ_wide/φ, which grows without bound where φ is small.
    growth = (z.square().sum(1) / 2 * (1 - scale**-2)).exp() * scale**-d
    return z, 1 / (1 - wide + wide * growth)


def _regress(terms: Tensor, variates: Tensor, share: Tensor, strata: Tensor) -> tuple[float, float]:
    """Σ share·terms with control variates (v, draws) of mean 0, and the variance of its error.

    The coefficients of either half of the draws come from the other, so that they are independent of what they correct.
    """
    half = (torch.arange(len(terms), device=terms.device) // 2) % 2
    adjusted = torch.empty_like(terms)
    for side in (0, 1):
        other = half != side
        weight = share[other] / share[other].sum()
        x = variates[:, other] - (variates[:, other] * weight).sum(1, keepdim=True)
        # Sums of their own, not products of matrices: those depend in their last digits on where the numbers lie.
        moments = [[float((a * b * weight).sum()) for b in x] for a in x]
        slopes = _solve(moments, [float((a * terms[other] * weight).sum()) for a in x])
        correction = torch.stack([slope * each for slope, each in zip(slopes, variates[:, half == side])]).sum(0)
        adjusted[half == side] = terms[half == side] - correction
    value = float((share * adjusted).sum())
    counts = torch.bincount(strata).to(terms)
    means = torch.zeros_like(counts).index_add_(0, strata, adjusted) / counts.clamp_min(1)
    scatter = (adjusted - means[strata]).square()
    unbiased = (counts / (counts - 1).clamp_min(1))[strata]
    return value, float((share.square() * scatter * unbiased).sum())


def _components(mixture: GaussianMixture, draws: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Centres drawn by weight, two out of each of draws/2 strata of neighbours, and the strata: (draws,) each."""
    order = mixture.blocks.order
    ends = mixture.weights[order].cumsum(0)
    strata = torch.arange(draws, device=ends.device) // 2
    spot = torch.rand(draws, generator=generator, dtype=torch.float64).to(ends.device)
    spot = (strata + spot) * (2 / draws) * ends[-1]
    return order[torch.searchsorted(ends, spot, right=True).clamp_max(len(ends) - 1)], strata


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    """The solution of a small system of moments; what depends on the unknowns before it gets 0."""
    size, known = len(right), [row[i] for i, row in enumerate(matrix)]
    rows = [[*row, value] for row, value in zip(matrix, right)]
    used = []
    for i in range(size):
        if rows[i][i] <= 1e-10 * known[i]:
            continue
        used.append(i)
        for k in range(size):
            if k != i:
                factor = rows[k][i] / rows[i][i]
                rows[k] = [a - factor * b for a, b in zip(rows[k], rows[i])]
    return [rows[i][size] / rows[i][i] if i in used else 0.0 for i in range(size)]


def normal(shape: tuple[int, ...], generator: torch.Generator | None, like: Tensor) -> Tensor:
    """Standard normal numbers, drawn on the CPU so that a seed means the same everywhere."""
    return torch.randn(shape, generator=generator, dtype=like.dtype).to(like.device)


def check_counts(**counts: int) -> None:
    """Raises UsageError unless every count is a whole number from 1 on."""
    for name, count in counts.items():
        if not isinstance(count, Integral) or count < 1:
            raise UsageError(f"{name} must be a positive number", received=count, legal="1 or more")
