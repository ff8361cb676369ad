"""From a study of noisy networks to its cells."""

from typing import Any

from infoplane.engine.plan import Plan
from infoplane.measurements.clustering import Clustering
from infoplane.measurements.flow import Flow, Quadrature, Sweep
from infoplane.measurements.noisy import Descent, ProblemPoints
from infoplane.study.noisy_spec import NoisySpec
from infoplane.study.origin import NOTHING_SAID, Origin
from infoplane.study.plan import Draft, seed_of


def make_noisy_plan(spec: NoisySpec, origin: Origin = NOTHING_SAID, device: str = "cpu") -> Plan:
    """Returns the cells of a study, in the order in which its pictures can first be drawn.

    A network's cells are filed under its name as their layer.

    Args:
        origin: A hash of the inputs.
        device: Device that computes: "cpu", or a GPU's name.
    """
    plan = Draft(device)
    study = spec.model_dump(mode="json")
    points = {"points": plan.add(ProblemPoints(data=study["data"], seed=spec.seed, fingerprint=origin.data), {})}
    networks: dict[str, tuple[dict[str, Any], dict[str, str]]] = {}
    for name in spec.names:
        one = spec.one(name).model_dump(mode="json")
        trained = Descent(network=one["network"], train=one["train"], seed=spec.seed)
        descent = plan.add(trained, points, layer=name)
        networks[name] = (one, {**points, "descent": descent})
        if spec.estimate.exact and one["network"]["beta"] is not None:
            exact = Quadrature(network=one["network"], epochs=tuple(_epochs(one)))
            plan.add(exact, networks[name][1], layer=name)
    if spec.sweep is not None:
        sizes = {key: study["estimate"][key] for key in ("samples", "queries")}
        plan.add(Sweep(sweep=study["sweep"], seed=spec.seed, **sizes), points)
    for name, (one, needs) in networks.items():
        marked = spec.shown(name)
        for epoch in _epochs(one):
            place = {"network": one["network"], "epoch": epoch}
            binned = Clustering(**place, bins=tuple(one["bins"]), marked=epoch in marked, seed=spec.seed)
            plan.add(binned, needs, layer=name, checkpoint=str(epoch))
            for repeat in range(1, spec.estimate.repeats + 1) if one["network"]["beta"] is not None else ():
                sizes = {key: study["estimate"][key] for key in ("samples", "queries")}
                flow = Flow(**place, **sizes, seed=seed_of(spec.seed, repeat))
                plan.add(flow, needs, layer=name, refit=repeat, checkpoint=str(epoch))
    return plan


def _epochs(one: dict[str, Any]) -> list[int]:
    return list(one["train"]["checkpoints"])
