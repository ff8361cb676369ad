"""The fully connected networks of the noisy-network studies, with their initial weights."""

import math
from itertools import pairwise
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt, Le, MaxLen, MinLen
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.errors import UsageError
from infoplane.settings import Settings
from infoplane.subjects.noisy import LayeredNetwork, NoisyNetwork

Size = Annotated[int, Ge(1), Le(10**6)]

ACTIVATIONS: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU, "linear": nn.Identity}


class DenseSettings(Settings):
    """A fully connected network in float64.

    Attributes:
        widths: Units of each hidden layer; noise is added to every one of them.
        activation: Of the hidden layers; "leaky" is max(x, x/10).
        beta: β, the standard deviation of the noise; null for a deterministic network.
        read_out: Whether a linear layer without noise answers for each class; else the last hidden layer is the answer.
        gain: Initial weights are normal with a standard deviation of gain/√inputs, cut at twice that; biases are 0.
        start: (weight, bias) of each hidden layer instead, where all have a single unit.

    Source: Goldfeld et al. 2018, sections 4, 5, 8 and 9; the initial weights are those of Saxe et al. 2018.
    """

    widths: Annotated[tuple[Annotated[int, Ge(1), Le(10**5)], ...], MinLen(1), MaxLen(1000)]
    activation: Literal["tanh", "relu", "linear", "leaky"] = "tanh"
    beta: Annotated[float, Gt(0)] | None = None
    read_out: bool = True
    gain: Annotated[float, Ge(0)] = 1.0
    start: tuple[tuple[float, float], ...] | None = None


@checked
def dense(settings: DenseSettings, inputs: Size, classes: Size, generator: torch.Generator) -> LayeredNetwork:
    """Returns the network with its initial weights: noisy where β is given.

    Args:
        inputs: Dimensions of an input.
        classes: Units of the read-out.
        generator: Source of the initial weights.
    """
    sizes = [inputs, *settings.widths]
    layers: list[nn.Module] = []
    for layer, (before, units) in enumerate(pairwise(sizes)):
        linear = _linear(before, units, settings.gain, generator)
        if settings.start is not None:
            weight, bias = settings.start[layer]
            nn.init.constant_(linear.weight, weight)
            nn.init.constant_(linear.bias, bias)
        act = nn.LeakyReLU(0.1) if settings.activation == "leaky" else ACTIVATIONS[settings.activation]()
        layers.append(nn.Sequential(linear, act))
    # Noise is added to what follows, so where the last hidden layer is the answer, the answer is noisy.
    layers.append(_linear(sizes[-1], classes, settings.gain, generator) if settings.read_out else nn.Identity())
    return LayeredNetwork(layers) if settings.beta is None else NoisyNetwork(layers, settings.beta)


def linear_layers(network: LayeredNetwork) -> list[nn.Linear]:
    """Returns the linear maps of a dense network, from the input on."""
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


@checked
@torch.no_grad()
def orthonormality_step(weight: Tensor, strength: Annotated[float, Ge(0)]) -> None:
    """Takes W ← W - α (W Wᵀ - I) W in place, which pulls the rows of W towards an orthonormal set.

    Args:
        weight: W, (units, inputs).
        strength: α.

    Source: Cisse et al. 2017; Goldfeld et al. 2018, section 9.1.
    """
    if weight.ndim != 2 or not weight.is_floating_point() or not bool(weight.isfinite().all()):
        received = f"{weight.dtype} of shape {tuple(weight.shape)}"
        raise UsageError("this is no matrix of weights", received=received, legal="finite (units, inputs)")
    excess = weight @ weight.T - torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    weight -= strength * excess @ weight


def _linear(inputs: int, units: int, gain: float, generator: torch.Generator) -> nn.Linear:
    linear = nn.Linear(inputs, units, dtype=torch.float64)
    deviation = gain / math.sqrt(inputs)
    with torch.no_grad():
        linear.bias.zero_()
        if deviation > 0:
            nn.init.trunc_normal_(linear.weight, 0.0, deviation, -2 * deviation, 2 * deviation, generator)
        else:
            linear.weight.zero_()
    return linear
