"""Exact information in noisy chains of single units, by quadrature: what estimates can be held against.

Source: Goldfeld et al. 2018, section 4, where T = S + Z is a Gaussian mixture on a line.
"""

import math

import torch
from torch import Tensor

from infoplane.errors import UsageError
from infoplane.estimate import Estimate
from infoplane.information.noisy_layers import Noisy, check_noisy
from infoplane.torch_state import own_state

#: points per β of the grids: the trapezoid rule is exact to rounding for a Gaussian, and to 1e-5 across a kink
FINENESS = 40
#: how far beyond its centres a mixture is followed, in β
REACH = 9.0
#: how far from a centre its density is followed, in β: beyond, it is below 1e-31 of its peak
CUT = 12.0
#: densities below this are left out: they add nothing, and sums of them may be rounded to zero
NOTHING = 1e-250
#: farthest that neighbouring points of a grid may lie apart after the next layer, in β: beyond it their mixture ripples
GAP = 0.5
#: most points of a grid
POINTS = 2**20
#: most densities that are kept at once: 1 GB
ENTRIES = 2**27
#: entries of a tile of densities
TILE = 2**22


@own_state()
def chain_information(network: Noisy, inputs: Tensor, layer: int) -> Estimate:
    """Returns I(X;T_l), nats, for X uniform on the given inputs, where layers 1 to l have a single unit each.

    p(t_l|x) = ∫ p(t_{l-1}|x) N(t_l; f_l(t_{l-1}), β²) dt_{l-1}, layer after layer, by the trapezoid rule.

    Args:
        network: The network as it is, with its noise on.
        inputs: (m, …).
        layer: l, counted from 1; the last layer adds no noise.

    Raises:
        UsageError: The layer is deterministic, a layer has several units, activations are not finite, or they lie so
            far apart in units of β, or a layer is so steep, that the grid would not fit into memory.
    """
    grid, density = chain_density(network, inputs, layer)
    mean = density.mean(0)
    counts = density > NOTHING
    ratio = torch.where(counts, density, 1.0) / torch.where(counts, mean, 1.0)
    value = float(torch.trapezoid(density * ratio.log(), grid).mean())
    value = min(max(value, 0.0), math.log(len(inputs)))
    return Estimate(value, None, "nats", "information", None, n=len(inputs), refits=0)


@torch.no_grad()
def chain_density(network: Noisy, inputs: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """Returns a grid (g,) and p(t_l|x) on it for every input: (m, g). Arguments and errors as `chain_information`."""
    check_noisy(network, layer)
    parts = [_own_density(network, one, layer) for one in inputs.split(1)]
    low = min(float(centres.min()) for centres, _ in parts) - REACH * network.beta
    high = max(float(centres.max()) for centres, _ in parts) + REACH * network.beta
    grid = _grid(low, high, network.beta, len(parts))
    return grid, torch.stack([_mixture(grid, *part, network.beta) for part in parts])


def _own_density(network: Noisy, one: Tensor, layer: int) -> tuple[Tensor, Tensor]:
    """Centres and weights whose Gaussian mixture is p(t_l|x) for one input."""
    centres, weights = _centres(network, one, 0), torch.ones(1, dtype=torch.float64)
    reach = REACH * network.beta
    for index in range(1, layer):
        low, high, fineness = float(centres.min()) - reach, float(centres.max()) + reach, FINENESS
        while True:
            grid = _grid(low, high, network.beta, fineness=fineness)
            after = _centres(network, grid[:, None].to(one.dtype), index)
            gap = float(after.diff().abs().max()) / network.beta
            if gap <= GAP:
                break
            # A steep layer draws the points of the grid apart: they must still make one smooth density.
            fineness = max(2 * fineness, math.ceil(min(fineness * gap / GAP, POINTS)))
        weights = _mixture(grid, centres, weights, network.beta)
        centres, weights = after, weights / weights.sum()
    return centres, weights


def _centres(network: Noisy, values: Tensor, index: int) -> Tensor:
    """What the layer of that index makes of its inputs, one unit each: (g,) float64."""
    found = network.layers[index](values).double().flatten(1)
    if found.shape[1] != 1:
        raise UsageError("quadrature takes layers of one unit", received=f"{found.shape[1]} in layer {index + 1}")
    if not bool(torch.isfinite(found).all()):
        raise UsageError("activations are not finite", received=f"layer {index + 1}", legal="finite numbers")
    return found[:, 0]


def _grid(low: float, high: float, beta: float, rows: int = 1, fineness: int = FINENESS) -> Tensor:
    """Points of which `rows` densities are kept."""
    count = math.ceil((high - low) / beta * fineness) + 1
    if count > POINTS or rows * count > ENTRIES:
        steep = "" if fineness == FINENESS else ", after which a layer is steep"
        received = f"{high - low:g} at β = {beta:g}, {rows:,} densities{steep}"
        mend = "a larger β, or sample propagation"
        raise UsageError("activations lie too far apart for quadrature", received=received, mend=mend)
    return torch.linspace(low, high, count, dtype=torch.float64)


def _mixture(grid: Tensor, centres: Tensor, weights: Tensor, beta: float) -> Tensor:
    """The density of a mixture on an even grid: (g,)."""
    found = torch.zeros_like(grid)
    step = float(grid[-1] - grid[0]) / (len(grid) - 1)
    reach = min(math.ceil(CUT * beta / step), len(grid))
    offsets = torch.arange(-reach, reach + 1)
    for part, weight in zip(*(each.split(max(1, TILE // len(offsets))) for each in (centres, weights)), strict=True):
        spots = ((part - grid[0]) / step).round().long()[:, None] + offsets
        inside = (spots >= 0) & (spots < len(grid))
        spots = spots.clamp_(0, len(grid) - 1)
        terms = torch.exp(((grid[spots] - part[:, None]) / beta).square().div_(-2)).mul_(weight[:, None])
        found.index_add_(0, spots.flatten(), terms.mul_(inside).flatten())
    return found / (beta * math.sqrt(2 * math.pi))
