"""With whose density the numbers of a layer are read: its own, or that of a later layer which is a function of it.

With B = f(A) a density q(x|B) is one of x given A as well, normalised all the same, so that every bound it gives of A
holds; and it is there, since B is measured too. A large layer's own density may be the poorer one, though it could use
all that B's uses, and then says that the network made something of nothing.

The rule, of the layers A that a density was fitted for, at one checkpoint, all refits together: if any of the layers
that are functions of A has a mean loss on held-out images that is below that of A's own density by more than the
standard error of their paired difference, then A is read with the lowest of all; else with its own. Evaluation images
choose nothing.

* One choice for all refits, so that a number is of one reader, and its error over refits that of fits which are alike.
* In doubt a layer keeps its own density: the lowest of several that are equally good is the one that training was
  luckiest with, while p(x), which all are compared with, is a single one.
* What is a function of a function of A is one of A. So every reader that B may have A may have too, and on held-out
  images no layer is read worse than one computed from it by more than one standard error of that difference.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np

from infoplane.information.crossed import Mean, mean_over_parts


@dataclass(frozen=True)
class HeldOut:
    """The losses of one fit on the images that were held out of it.

    Attributes:
        losses: (n,) nats.
        groups: (n,) the group of each of these images; images that belong together have the same.
    """

    losses: np.ndarray
    groups: np.ndarray


@dataclass(frozen=True)
class LayerReader:
    """What a layer is read with.

    Attributes:
        layer: The layer whose density it is.
        gain: Nats per held-out image that it needs less than the layer's own density; None where it is its own.
        n: Groups of held-out images by which it was chosen; 0 where it is its own.
    """

    layer: str
    gain: Mean | None = None
    n: int = 0


def functions_by_layer(function_of: Mapping[str, Collection[str]]) -> dict[str, list[str]]:
    """Returns layer -> those that are functions of it, or of one that is, in the order of the mapping.

    Args:
        function_of: Layer -> layers that it was found to be a function of.
    """
    sources: dict[str, set[str]] = {}

    def before(layer: str) -> set[str]:
        if layer not in sources:
            own = set(function_of.get(layer, ()))
            sources[layer] = own.union(*map(before, own))
        return sources[layer]

    for layer in function_of:
        before(layer)
    return {layer: [later for later in function_of if layer in sources[later]] for layer in function_of}


def choose_reader(
    layer: str, means: Mapping[str, Mapping[int, float]], held_out: Callable[[str], Mapping[int, HeldOut]]
) -> LayerReader:
    """Returns the reader of a layer, by the rule above.

    Args:
        layer: Whose own density is preferred in doubt.
        means: This layer and those that are functions of it -> refit -> mean loss on the images held out of that fit.
            Only those with all refits of this layer take part.
        held_out: Layer -> refit -> these losses one by one; of one refit all layers have the same images. Asked for
            only of layers that are ahead.
    """
    refits = list(means[layer])
    level = {
        name: sum(own[refit] for refit in refits) / len(refits)
        for name, own in means.items()
        if refits and own.keys() >= set(refits)
    }
    ahead = [name for name in level if level[name] < level[layer]]
    if not ahead:
        return LayerReader(layer)
    usual = held_out(layer)
    groups, gains = [usual[refit].groups for refit in refits], {}
    for name in ahead:
        other = held_out(name)
        # What it needs less than the usual one, paired by refit and image.
        gains[name] = mean_over_parts([usual[refit].losses - other[refit].losses for refit in refits], groups)
    if not any(gain.value > gain.stderr for gain in gains.values()):
        return LayerReader(layer)
    lowest = min(ahead, key=level.__getitem__)
    return LayerReader(lowest, gains[lowest], len(np.unique(np.concatenate(groups))))
