"""The stored cells of a study of noisy networks by role."""

from typing import Any

from infoplane.engine.plan import Plan
from infoplane.engine.store import Store, Stored
from infoplane.information.sample_propagation import NoisyEstimate
from infoplane.measurements.numbers import NETWORK, Place
from infoplane.measurements.run import Run


class Networks(Run[Any]):
    """What the cells of a study of noisy networks hold so far. A network's cells are filed under its name."""

    def __init__(self, spec: Any, plan: Plan, store: Store) -> None:
        super().__init__(spec, plan, store)
        self._flows: dict[tuple[str, int], dict[int, list[NoisyEstimate]]] = {}

    def cell(self, kind: str, network: str = "", epoch: int | None = None, repeat: int = 0) -> Stored | None:
        """The stored result in that role, or None where it is missing or damaged."""
        return self.stored(self.plan.name(kind, network, repeat, "" if epoch is None else str(epoch)))

    @property
    def order(self) -> tuple[str, ...]:
        epochs = {epoch for network in self.spec.names for epoch in self.epochs(network)}
        return tuple(map(str, sorted(epochs)))

    @property
    def spots(self) -> list[Place]:
        """By network and epoch, the network itself and its layers."""
        return [
            Place(layer, str(epoch), network)
            for network in self.spec.names
            for epoch in self.epochs(network)
            for layer in (NETWORK, *self.layers(network))
        ]

    def epochs(self, network: str) -> list[int]:
        """The checkpoints of a network."""
        return list(self.spec.one(network).train.checkpoints or ())

    def layers(self, network: str) -> dict[str, int]:
        """Name of each hidden layer -> number of its units."""
        return {f"layer {index}": units for index, units in enumerate(self.spec.one(network).network.widths, 1)}

    def depth(self, place: Place) -> int:
        """Where a layer stands among the hidden ones, from 0."""
        return list(self.layers(place.network)).index(place.layer)

    @property
    def inputs(self) -> int | None:
        """m, the number of equally likely inputs; None where they are not loaded yet."""
        points = self.cell("points")
        return None if points is None else len(points.array("inputs"))

    def flows(self, network: str, epoch: int) -> dict[int, list[NoisyEstimate]]:
        """Repeat -> I(X;T_l) of every layer, of the repeats that are finished."""
        if (network, epoch) not in self._flows:
            repeats = range(1, self.spec.estimate.repeats + 1)
            cells = ((repeat, self.cell("flow", network, epoch, repeat)) for repeat in repeats)
            known = {repeat: each.values["layers"] for repeat, each in cells if each is not None}
            self._flows[network, epoch] = {at: list(map(NoisyEstimate.of, layers)) for at, layers in known.items()}
        return self._flows[network, epoch]
