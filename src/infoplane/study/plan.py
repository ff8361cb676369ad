"""From a study to its cells: what there is to do, what needs what, and what each is called."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import infoplane
from infoplane import data, densities, subjects
from infoplane.engine.kind import Kind
from infoplane.engine.plan import Draft, Plan
from infoplane.measurements import MEASUREMENTS
from infoplane.measurements.base import Source, Sources
from infoplane.measurements.candidates import may_be
from infoplane.measurements.dataset import Data
from infoplane.measurements.inputs import Capture, Subject
from infoplane.measurements.noisy import DescentCell, ProblemPoints
from infoplane.measurements.task import END, Task
from infoplane.study.meaning import code_of
from infoplane.study.noisy_spec import NoisySpec
from infoplane.study.origin import NOTHING_SAID, Origin
from infoplane.study.spec import StudySpec

#: how far apart the seeds of several networks of a study are: further than those of studies are from each other
APART = 1_000_003


def make_plan(spec: StudySpec, origin: Origin = NOTHING_SAID, device: str = "cpu") -> Plan:
    """Returns the cells of a study.

    Args:
        origin: What the settings do not say: hashes of the data, and of a network that exists only in the calling
            process.
        device: Device that computes: "cpu", or a GPU's name.
    """
    plan = Draft(_code_of, device, END)
    study = spec.model_dump(mode="json")
    data = {"data": plan.add(Data(data=study["data"], seed=spec.seed, fingerprint=origin.data), {})}
    followed = spec.losses.images if "losses" in spec.measure and spec.subject is not None else 0
    layers = [Source(latent, "", data) for latent in spec.latents]
    networks = {name: _network(plan, spec, data, name) for name in spec.networks}
    for name, checkpoint in itertools.product(spec.networks, spec.checkpoints if spec.layers else ()):
        network = networks[name]
        recorded = Capture(
            layers=spec.layers,
            checkpoint=checkpoint,
            encoding=followed,
            # With how many others a checkpoint shares the room for activations.
            checkpoints=len(spec.checkpoints),
            read_as=study["read_as"],
            seed=spec.seed,
            fingerprint=origin.data,
            weights=origin.states.get(checkpoint, ""),
            activations={layer: origin.layers[layer] for layer in spec.layers if layer in origin.layers},
        )
        captured = {**network, "capture": plan.add(recorded, network, checkpoint=checkpoint, network=name)}
        for layer in spec.layers:
            read = {"read_as": spec.read_as.get(layer, ""), "activations": origin.layers.get(layer, "")}
            layers.append(Source(layer, checkpoint, captured, read, name))
    for each in MEASUREMENTS[spec.kind].values():
        if not each.asked or each.asked in spec.measure:
            each.plan(plan, spec, Sources(data, layers, networks))
    return plan


def _network(plan: Draft, spec: StudySpec, data: Mapping[str, str], name: str) -> dict[str, str]:
    """What takes a network under study needs: that one of several which has this name, trained from its own seed."""
    if spec.subject is None:
        return dict(data)
    subject = spec.subject.model_dump(mode="json", exclude={"seeds"})
    seed = spec.seed + (int(name or 1) - 1) * APART
    return {**data, "subject": plan.add(Subject(subject=subject, seed=seed), data, network=name)}


def make_noisy_plan(spec: NoisySpec, origin: Origin = NOTHING_SAID, device: str = "cpu") -> Plan:
    """Returns the cells of a study of noisy networks; those of a network are filed under its name as their layer."""
    plan = Draft(_code_of, device, END)
    data = spec.model_dump(mode="json")["data"]
    points = {"points": plan.add(ProblemPoints(data=data, seed=spec.seed, fingerprint=origin.data), {})}
    networks = {}
    for name in spec.names:
        one = spec.one(name).model_dump(mode="json")
        trained = DescentCell(network=one["network"], train=one["train"], seed=spec.seed)
        networks[name] = {**points, "descent": plan.add(trained, points, layer=name)}
    # What has no repeats takes little time, and pictures need it.
    for each in sorted(MEASUREMENTS[spec.kind].values(), key=lambda each: each.fitted):
        each.plan(plan, spec, Sources(points, networks=networks))
    return plan


def _code_of(kind: Kind) -> tuple[str, Mapping[str, str]]:
    return code_of(Path(infoplane.__file__).parent).read(roots_of(kind))


def roots_of(kind: Kind) -> list[str]:
    """Returns where the code begins that a cell runs through."""
    return [_path(type(kind)), _path(Task), *chosen(vars(kind))]


def chosen(params: Mapping[str, Any]) -> list[str]:
    """Returns what a cell's settings choose by name: classes of densities and networks, and what loads the data.

    Of what another distribution offers, that distribution and its version too: an upgrade of it computes anew.
    """
    fitted = [each["density"] for each in (params, *params.get("places", ())) if "density" in each]
    found = [root for density in fitted for each in may_be(density) for root in densities.REGISTRY.roots(each["kind"])]
    if "subject" in params:
        found += subjects.REGISTRY.roots(params["subject"]["kind"])
    name = params["data"].get("name") if isinstance(params.get("data"), Mapping) else None
    if name is not None and name in subjects.POINTS:
        found += subjects.POINTS.roots(name)
        name = params["data"].get("options", {}).get("path", name)
    return found if name is None else [*found, *data.loaders(name)]


def _path(found: Any) -> str:
    return f"{found.__module__}:{found.__qualname__}"
