"""A thing measured of noisy networks, with a cell of its own: how far a layer's noisy activations reach."""

from typing import Any, ClassVar

import torch

from infoplane.engine.kind import Kind
from infoplane.engine.store import Result
from infoplane.measurements.base import Measurement, is_of
from infoplane.measurements.noisy import network_at, points_of, seed_from


class Norms(Kind):
    """‖T‖₂ of each layer for every input, in one pass with the network's noise."""

    kind: ClassVar[str] = "norms"

    network: dict[str, Any]
    epoch: int
    seed: int

    @torch.no_grad()
    def run(self, task):
        points = points_of(task)
        network = network_at(task, points, self.network, self.epoch)
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        passed = network.activations(torch.from_numpy(points.inputs).to(task.environment.device), generator)[:-1]
        return Result({}, {f"layer {at}": t.flatten(1).norm(dim=1).cpu().numpy() for at, t in enumerate(passed, 1)})


class Reach(Measurement):
    """E ‖T‖₂ over the inputs."""

    kind: ClassVar = "reach"
    family: ClassVar = "flow"
    name: ClassVar = "Reach"
    meaning: ClassVar = "The mean Euclidean norm of the layer's noisy activations: no information, and no bound."
    unit: ClassVar = "activation"
    charts: ClassVar = ("tracks", "rows")
    computed: ClassVar = True
    cells: ClassVar = (Norms,)

    def plan(self, plan, spec, sources):
        for name, needs in sources.networks.items():
            one = spec.one(name).model_dump(mode="json")
            for epoch in one["train"]["checkpoints"]:
                norms = Norms(network=one["network"], epoch=epoch, seed=spec.seed)
                plan.add(norms, needs, layer=name, checkpoint=str(epoch))

    def scores(self, run, place):
        stored = run.cell("norms", place.network, int(place.checkpoint)) if is_of(place, "layer") else None
        return {} if stored is None else {1: stored.array(place.layer)}


REACH = Reach()
