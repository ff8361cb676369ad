"""Networks whose layers can be looked at, without and with noise: with it, the information a layer keeps is finite."""

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn

from infoplane.arguments import check_argument
from infoplane.errors import UsageError, check_positive


class LayeredNetwork(nn.Module):
    """T_l = f_l(T_{l-1}): layers one after the other, each of which can be looked at.

    Args:
        layers: f_1 … f_L, any modules.

    Raises:
        UsageError: There are no layers, or one of them is not a module.
    """

    def __init__(self, layers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_modules(layers))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Inputs (B, …) -> output of the last layer (B, …)."""
        return self.hidden(x, len(self.layers), generator)

    def hidden(self, x: Tensor, layer: int, generator: torch.Generator | None = None) -> Tensor:
        """Returns S_l = f_l(T_{l-1}) with fresh noise in the layers before: (B, …), the noise of layer l not yet added.

        Args:
            layer: l, counted from 1.

        Raises:
            UsageError: There is no such layer.
        """
        check_argument("the layer", layer, int)
        if not 1 <= layer <= len(self.layers):
            raise UsageError("no such layer", received=layer, legal=f"1 to {len(self.layers)}")
        for previous in self.layers[: layer - 1]:
            x = self._noise(previous(x), generator)
        return self.layers[layer - 1](x)

    def activations(self, x: Tensor, generator: torch.Generator | None = None) -> list[Tensor]:
        """Returns T_1 … T_L of one pass."""
        found = []
        for layer in self.layers[:-1]:
            x = self._noise(layer(x), generator)
            found.append(x)
        return [*found, self.layers[-1](x)]

    def _noise(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        return s


class NoisyNetwork(LayeredNetwork):
    """T_l = f_l(T_{l-1}) + Z_l, Z_l ~ N(0, β²I), for every layer but the last, which adds no noise.

    The noise is part of the network: it is on in training and in evaluation mode. `eval(noise=False)` switches it off
    until the next `train()` or `eval()`.

    Args:
        layers: As those of a `LayeredNetwork`.
        beta: β, the standard deviation of the noise, a positive number.

    Source: Goldfeld et al. 2018, section 2.
    """

    def __init__(self, layers: Iterable[nn.Module], beta: float) -> None:
        super().__init__(layers)
        self.beta = check_positive("beta", beta, legal="the noise's standard deviation, e.g. 0.005")
        self.noisy = True

    def eval(self, *, noise: bool = True) -> Self:
        """Evaluation mode, with the noise or, on request, without."""
        super().eval()
        self.noisy = noise
        return self

    def train(self, mode: bool = True) -> Self:
        """Training mode, in which the noise is on."""
        self.noisy = True
        return super().train(mode)

    def _noise(self, s: Tensor, generator: torch.Generator | None) -> Tensor:
        if not self.noisy:
            return s
        # Drawn where the generator is: on the CPU a seed means the same whatever computes.
        device = s.device if generator is None else generator.device
        return s + self.beta * torch.randn(s.shape, generator=generator, dtype=s.dtype, device=device).to(s.device)


def _modules(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """The layers as a list, or UsageError."""
    legal = "a list of modules, e.g. [nn.Sequential(nn.Linear(4, 3), nn.Tanh()), nn.Linear(3, 2)]"
    if not isinstance(layers, Iterable):
        raise UsageError("a network's layers must be a list of modules", received=type(layers).__name__, legal=legal)
    found = list(layers)
    if not found:
        raise UsageError("a network without layers", received="an empty list", legal="at least one module")
    for number, layer in enumerate(found, 1):
        if not isinstance(layer, nn.Module):
            received = f"{type(layer).__name__} as layer {number}"
            raise UsageError("a network's layers must be a list of modules", received=received, legal=legal)
    return found
