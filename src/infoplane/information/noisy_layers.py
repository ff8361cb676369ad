"""Layers of noisy networks: what such a network must offer, which layers add noise, and samples propagated to them."""

from numbers import Integral
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from infoplane.checks import type_and_shape
from infoplane.errors import UsageError


@runtime_checkable
class Noisy(Protocol):
    """A network T_l = f_l(T_{l-1}) + Z_l whose last layer adds no noise, as `infoplane.subjects.NoisyNetwork`.

    Its noise has the standard deviation β, and is on where it is `noisy`; `layers` are f_1 … f_L.
    """

    beta: float
    noisy: bool
    layers: nn.ModuleList

    def hidden(self, x: Tensor, layer: int, generator: torch.Generator | None = None) -> Tensor:
        """S_l = f_l(T_{l-1}) with fresh noise in the layers before: (B, …)."""
        ...


def check_noisy(network: object, layer: int) -> None:
    """Raises UsageError unless the layer adds noise, so that the information it keeps is what can be estimated."""
    legal = "a layer of a NoisyNetwork that adds noise"
    mend = (
        "deterministic layers keep H(x) or infinitely much: measure their clustering, infoplane.geometry.binned_entropy"
    )
    if not isinstance(network, Noisy):
        raise UsageError("the network is deterministic", received=type(network).__name__, legal=legal, mend=mend)
    last = len(network.layers)
    some = f"1 to {last - 1}"
    if last < 2:
        received = "a network of one layer" if last else "a network without layers"
        more = "two layers or more: all but the last add noise"
        raise UsageError("no layer of the network adds noise", received=received, legal=more, mend=mend)
    if not isinstance(layer, Integral):
        received = f"{layer!r}, of type {type(layer).__name__}"
        raise UsageError("no such layer", received=received, legal=f"a whole number, {some}")
    if not 1 <= layer <= last:
        raise UsageError("no such layer", received=layer, legal=some)
    if layer == last:
        raise UsageError("the last layer adds no noise", received=f"layer {layer} of {last}", legal=some, mend=mend)
    training = [m for m in network.layers.modules() if m.training and isinstance(m, (_BatchNorm, _DropoutNd))]
    if training:
        received = f"{type(training[0]).__name__} in training mode"
        mend = "call network.eval(), which leaves the noise on"
        raise UsageError("a layer behaves differently in training", received=received, legal=legal, mend=mend)
    if not network.noisy:
        received, mend = "eval(noise=False)", "eval()"
        raise UsageError("the network's noise is switched off", received=received, legal=legal, mend=mend)


@torch.no_grad()
def propagated(network: Noisy, inputs: Tensor, layer: int, each: int, generator: torch.Generator | None) -> Tensor:
    """S_l of every input, `each` times: (m, each, d) float64."""
    found = []
    for part in inputs.split(max(1, 2**16 // each)):
        try:
            s = network.hidden(part.repeat_interleave(each, 0), layer, generator)
            found.append(s.flatten(1).double().view(len(part), each, -1))
        except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError) as error:
            received = f"{type_and_shape(inputs)}: {error}"
            legal = "inputs of the shape and type that its layers take, each of which gives one tensor"
            raise UsageError("the network cannot be run on these inputs", received=received, legal=legal) from error
    centres = torch.cat(found)
    if not bool(torch.isfinite(centres).all()):
        bad = int((~torch.isfinite(centres)).sum())
        lost = (index for index in range(1, layer) if not network.hidden(inputs, index, generator).isfinite().all())
        first = next(lost, None)
        received = f"{bad:,} of {centres.numel():,} in layer {layer}" + (f", from layer {first} on" if first else "")
        mend = "train with a lower learning rate"
        raise UsageError("activations are not finite", received=received, legal="finite numbers", mend=mend)
    return centres
