"""Densities of many places on one trunk: they share all weights but those through which their context enters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from infoplane.arguments import Seed, checked
from infoplane.densities import Density
from infoplane.errors import UsageError
from infoplane.inversion.fit import Curve, OneSource, Progress, train
from infoplane.inversion.invert import NegativeLogProb, guided
from infoplane.inversion.pairs import Pairs
from infoplane.inversion.settings import FitSettings
from infoplane.torch_state import own_state


@dataclass
class SharedCurve(Curve):
    """What training several densities on one trunk looked like: losses are means over places, updates those of all.

    Attributes:
        places: Place -> its own losses, by its own updates. The weights that were kept are best for all together.
    """

    places: dict[str, Curve] = field(default_factory=dict)


class SharedTrunk(nn.Module):
    """Ties densities together, in place: what is not of the context is from now on one set of weights, the first's.

    Each stays an ordinary density of its family, whose `state_dict` is the trunk and its own conditioning. One without
    a context is the trunk alone, which is what any of them is under a context of zeros: their null-context twin. Each
    has the name of its place, a layer at a checkpoint, say.

    Raises:
        UsageError: There is none, or they differ in more than the context.
    """

    def __init__(self, densities: Mapping[str, Density]) -> None:
        super().__init__()
        if not densities:
            raise UsageError("no densities to share a trunk")
        self.places = tuple(densities)
        self.densities = nn.ModuleList(densities.values())  # names of layers hold dots, which keys must not
        first = densities[self.places[0]]
        trunk = trunk_of(first)
        shapes = {name: weight.shape for name, weight in trunk.items()}
        for place, density in densities.items():
            same = type(density) is type(first) and density.space == first.space
            if not same or {name: weight.shape for name, weight in trunk_of(density).items()} != shapes:
                raise UsageError(
                    "these densities cannot share a trunk",
                    received=f"{place} differs from {self.places[0]}",
                    legal="the same family and options; only the context may differ",
                )
            for name, weight in trunk.items():
                path, _, leaf = name.rpartition(".")
                setattr(density.get_submodule(path), leaf, weight)


@checked
def trunk_of(density: Density) -> dict[str, nn.Parameter]:
    """Returns the parameters of a density that have nothing to do with its context, by name."""
    own = {id(parameter) for parameter in density.context_parameters()}
    return {name: parameter for name, parameter in density.named_parameters() if id(parameter) not in own}


@torch.no_grad()
def share_buffers(densities: Mapping[str, Density]) -> None:
    """Gives all densities what the first one has found out of the data, but for what is of their contexts."""
    first, *others = densities.values()
    found = dict(first.named_buffers())
    for density in others:
        of_context = density.context_state()
        for name, buffer in density.named_buffers():
            if name in found and name not in of_context:
                buffer.copy_(found[name])


@checked
@own_state()
def fit_shared(
    densities: Mapping[str, Density],
    pairs: Mapping[str, Pairs],
    held_out: Mapping[str, Pairs],
    settings: FitSettings,
    *,
    seed: Seed,
    progress: Progress | None = None,
) -> SharedCurve:
    """Trains q(x|h) of many places together and returns the training curves in nats per image.

    Each update is one batch of one place; in every round each place has its turn, in an order drawn anew. So a place
    whose density has no context is the null-context twin of all others: its share of the updates and the trunk are
    theirs. The weights that are kept, of the trunk and of all conditionings at one moment, are those with the least
    mean held-out loss over places.

    Args:
        densities: Place -> density; tied in place (`SharedTrunk`). Data-dependent initialisation is on the images of
            the first.
        pairs, held_out: Place -> its pairs.
        settings: `updates` are those of each place, so there are that many times the number of places in all; warm-up,
            schedule, evaluations and averaging go by the updates of all. `minutes` cannot be given.

    Raises:
        FitError: A loss or gradient is not finite; names the place, the step and the last good value.
        UsageError: Densities and pairs do not go together, or the densities not with each other.
    """
    if not densities.keys() == pairs.keys() == held_out.keys():
        raise UsageError(
            "densities and pairs are not of the same places",
            received=f"densities of {_listed(densities)}; pairs of {_listed(pairs)}; held out of {_listed(held_out)}",
        )
    if settings.minutes is not None:
        raise UsageError("a trunk cannot be trained by time", received=f"minutes {settings.minutes}", legal="updates")
    shared = SharedTrunk(densities)
    first, density = pairs[shared.places[0]], densities[shared.places[0]]
    density.initialise(first.images_of(slice(0, density.initial_images)))
    share_buffers(densities)
    generator = torch.Generator().manual_seed(seed)
    # A stream of batches for each: with one seed for all, the trunk would see the same images in turn after turn.
    seeds = torch.randint(2**62, (len(densities),), generator=generator).tolist()
    sources = {}
    for (place, density), own in zip(densities.items(), seeds, strict=True):
        solved, loss = guided(density, pairs[place], seed), NegativeLogProb(density)
        sources[place] = OneSource(density, loss, solved, held_out[place], settings, own, place)
    source = _Rounds(sources, generator)
    whole = settings.model_copy(update={"updates": settings.updates * len(densities)})
    curve = train(shared, source, whole, seed=seed, device=first.device, progress=progress)
    return SharedCurve(**vars(curve), places=source.curves(curve))


class _Rounds:
    """Losses of several places: a batch of each in turn, the turns in another order in every round."""

    def __init__(self, sources: Mapping[str, OneSource], generator: torch.Generator) -> None:
        self.places, self.sources, self._generator = tuple(sources), sources, generator
        self._visited: list[str] = []
        self._turns: list[int] = []
        # Each place's training losses since the last evaluation, their means before it, and its held-out losses.
        self._losses: dict[str, list[Tensor]] = {place: [] for place in sources}
        self._means: list[dict[str, float]] = []
        self._held: list[dict[str, float]] = []

    def where(self, step: int) -> str:
        return f" at {self._visited[step]}"

    def step(self) -> Tensor:
        if not self._turns:
            self._turns = torch.randperm(len(self.places), generator=self._generator).tolist()
        place = self.places[self._turns.pop()]
        self._visited.append(place)
        loss = self.sources[place].step()
        self._losses[place].append(loss)
        return loss

    def held_out_loss(self) -> float:
        if any(self._losses.values()):
            seen = {place: torch.stack(losses).double().mean() for place, losses in self._losses.items() if losses}
            self._means.append({place: float(seen.get(place, math.nan)) for place in self.places})
            self._losses = {place: [] for place in self.places}
        self._held.append({place: source.held_out_loss() for place, source in self.sources.items()})
        return sum(self._held[-1].values()) / len(self.places)

    def curves(self, whole: Curve) -> dict[str, Curve]:
        """Each place's own curve. Of the held-out losses the first are the start's, then come the raw and the averaged
        weights' in turn, as the training loop asks for them."""
        start, raw, averaged = self._held[0], self._held[1::2], self._held[2::2]
        return {
            place: Curve(
                start=start[place],
                updates=[self._own(update) for update in whole.updates],
                train=[means[place] for means in self._means],
                heldout=[losses[place] for losses in raw],
                heldout_ema=[losses[place] for losses in averaged],
                gradient=whole.gradient,
                best_update=self._own(whole.best_update),
                best=whole.best,
                guarded=whole.guarded,
            )
            for place in self.places
        }

    def _own(self, update: int) -> int:
        """A place's own updates among so many of all."""
        return math.ceil(update / len(self.places))


def _listed(places: Mapping[str, object]) -> str:
    return ", ".join(places) or "none"
