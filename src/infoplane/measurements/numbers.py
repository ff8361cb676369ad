"""All numbers of a run, by where they are from: what its tables hold and its page shows."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from infoplane.estimate import Estimate

#: the refit of a number that is of all of them together
ALL = "all"
#: the layer name under which the null-context twins and what they say of p(x) are filed
INPUT = "input"
#: the layer name of numbers about the whole network
NETWORK = ""


class Place(NamedTuple):
    """Where a number is from.

    Attributes:
        layer: Its layer, `INPUT` or `NETWORK`.
        checkpoint: Of the network; "" of what belongs to none.
        network: Its name; "" where a study has one only.
        setting: What the number was taken with, such as the size of bins; None where there is no such thing.
    """

    layer: str = NETWORK
    checkpoint: str = ""
    network: str = ""
    setting: float | None = None


class Number(NamedTuple):
    """One number: where it is from, of which refit ("all", or its number), and the number itself."""

    place: Place
    refit: str
    estimate: Estimate


class Numbers:
    """The numbers of a run, looked up by place and kind.

    Args:
        found: In the order of results.csv.
        checkpoints: Those of the network in training order; default: as they come.
    """

    def __init__(self, found: Iterable[Number], checkpoints: Sequence[str] = ()) -> None:
        self.all = list(found)
        self._of: dict[tuple[str, str, str, float | None], dict[str, list[Number]]] = {}
        for number in self.all:
            layer, checkpoint, network, setting = number.place
            own = self._of.setdefault((network, layer, number.estimate.kind, setting), {})
            own.setdefault(checkpoint, []).append(number)
        # p(x) belongs to no checkpoint of the network, whatever is said of it.
        dated = [each.place.checkpoint for each in self.all if each.place.layer not in (NETWORK, INPUT)]
        self.checkpoints = in_order([checkpoint for checkpoint in dated if checkpoint], checkpoints)
        self.layers = list(dict.fromkeys(each.place.layer for each in self.all))
        self.kinds = list(dict.fromkeys(each.estimate.kind for each in self.all))

    def __iter__(self) -> Iterator[Number]:
        return iter(self.all)

    @property
    def last(self) -> str:
        """The last checkpoint with numbers of a layer: the one that is spoken of."""
        return self.checkpoints[-1] if self.checkpoints else ""

    def has(self, kind: str, network: str | None = None) -> bool:
        """Whether there is any number of a kind, of one network or of any."""
        return any(own == kind and network in (None, name) for name, _, own, _ in self._of)

    def settings(self, kind: str, network: str | None = None) -> list[Any]:
        """Returns with what a kind of number was taken of layers, as they come; None: with nothing."""
        found = (key for key in self._of if key[2] == kind and network in (None, key[0]) and key[1] != NETWORK)
        return list(dict.fromkeys(at for *_, at in found))

    def fits(self, layer: str, kind: str, checkpoint: str | None = None, **more: Any) -> list[Estimate]:
        """Returns the number of each single fit."""
        return [each.estimate for each in self._find(layer, kind, checkpoint, **more) if each.refit != ALL]

    def get(self, layer: str, kind: str, checkpoint: str | None = None, **more: Any) -> Estimate | None:
        """Returns the number over all refits, else that of the first single fit, else None.

        Args:
            checkpoint: Default: the last one.
            more: `network` and `setting`, see `Place`.
        """
        return _pooled(self._find(layer, kind, checkpoint, **more))

    def series(self, layer: str, kind: str, *, network: str = "", setting: float | None = None) -> dict[str, Estimate]:
        """Returns checkpoint -> number, in training order; empty where there is none."""
        found = self._of.get((network, layer, kind, setting), {})
        pooled = ((at, _pooled(found[at])) for at in in_order(found, self.checkpoints))
        return {at: estimate for at, estimate in pooled if estimate is not None}

    def dated(self, layer: str) -> list[str]:
        """Returns the checkpoints at which a layer has numbers, in training order."""
        own = {each.place.checkpoint for each in self.all if each.place.layer == layer}
        return [checkpoint for checkpoint in self.checkpoints if checkpoint in own]

    def _find(
        self, layer: str, kind: str, checkpoint: str | None, network: str = "", setting: float | None = None
    ) -> list[Number]:
        wanted = self.last if checkpoint is None else checkpoint
        found = self._of.get((network, layer, kind, setting), {})
        if wanted in found:
            return found[wanted]
        # What belongs to no checkpoint belongs to every one.
        return [number for each in found.values() for number in each] if layer == INPUT else found.get("", [])


def _pooled(found: Sequence[Number]) -> Estimate | None:
    """The number over all refits, else that of the first one."""
    pooled = next((each.estimate for each in found if each.refit == ALL), None)
    if pooled is not None or not found:
        return pooled
    first = found[0].estimate
    if len(found) == 1:
        return first
    return dataclasses.replace(first, flags=(*first.flags, f"one of {len(found)} fits that were not combined"))


def in_order(found: Iterable[str], order: Sequence[str]) -> list[str]:
    """Returns each of those found once, in the given order; those that are not in it come after, as they came."""
    own = dict.fromkeys(found)
    return [each for each in order if each in own] + [each for each in own if each not in order]
