"""From a study to its cells: what there is to do, what needs what, and what each is called."""

import importlib.metadata
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import infoplane
from infoplane import data, densities, subjects
from infoplane.engine.cell import Cell
from infoplane.engine.kind import Kind
from infoplane.engine.plan import Plan
from infoplane.measurements.candidates import AUTO, CANDIDATES, may_be
from infoplane.measurements.dataset import Data
from infoplane.measurements.fits import Candidate, Choice, Density, Trunk
from infoplane.measurements.inputs import Capture, Subject
from infoplane.measurements.label import Forward, Own, Probe
from infoplane.measurements.numbers import INPUT
from infoplane.measurements.pictures import Judge, Mse, Samples
from infoplane.measurements.task import END, Task
from infoplane.measurements.truth import Truth
from infoplane.study.meaning import code_of
from infoplane.study.origin import NOTHING_SAID, Origin
from infoplane.study.spec import StudySpec


class Draft(Plan):
    """A plan in the making, which names its cells by what their code means.

    Args:
        device: Device that computes: its last digits are its own.
    """

    def __init__(self, device: str = "cpu") -> None:
        super().__init__()
        self._torch = f"torch {importlib.metadata.version('torch')} on {device}"

    def add(
        self, kind: Kind, needs: Mapping[str, str], *, layer: str = "", refit: int = 0, checkpoint: str = ""
    ) -> str:
        """Adds a cell and returns its name."""
        library = kind.library
        arithmetic = self._torch if library == "torch" else f"{library} {importlib.metadata.version(library)}"
        at = "" if checkpoint in ("", END) else f"at{checkpoint}"
        label = "-".join(part for part in (_slug(layer), at, f"r{refit}" if refit else "") if part)
        code, modules = code_of(Path(infoplane.__file__).parent).read(roots_of(kind))
        cell = Cell.named(
            kind.kind,
            # A setting that a later version adds, at its default, renames nothing.
            kind.model_dump(mode="json", exclude_defaults=True),
            needs,
            label=label,
            keeps=kind.keeps,
            code=code,
            arithmetic=arithmetic,
            modules=modules,
        )
        return self.put(cell, (kind.kind, layer, refit, checkpoint))


#: options of a density that have no effect without a context
OF_THE_CONTEXT = ("conditioning", "context_dropout")


def make_plan(spec: StudySpec, origin: Origin = NOTHING_SAID, device: str = "cpu") -> Plan:
    """Returns the cells of a study.

    Args:
        origin: What the settings do not say: hashes of the data, and of a network that exists only in the calling
            process.
        device: Device that computes: "cpu", or a GPU's name.
    """
    plan = Draft(device)
    study = spec.model_dump(mode="json")
    data = {"data": plan.add(Data(data=study["data"], seed=spec.seed, fingerprint=origin.data), {})}
    network = dict(data)
    if spec.subject is not None:
        network["subject"] = plan.add(Subject(subject=study["subject"], seed=spec.seed), data)
    followed = spec.losses.images if "losses" in spec.measure and spec.subject is not None else 0
    places = [_Place(latent, "", data) for latent in spec.latents]
    for checkpoint in spec.checkpoints if spec.layers else ():
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
        captured = {**network, "capture": plan.add(recorded, network, checkpoint=checkpoint)}
        for layer in spec.layers:
            read = {"read_as": spec.read_as.get(layer, ""), "activations": origin.layers.get(layer, "")}
            places.append(_Place(layer, checkpoint, captured, read))
    # The finished network judges all samples, whichever checkpoint they come from.
    judging = {**network, "capture": capture} if (capture := plan.name("capture", checkpoint=END)) else network
    if spec.needs_densities:
        add_densities(plan, spec, data, places)
    add_pictures(plan, spec, data, places, judging if len(judging) > 1 else None)
    if "label" in spec.measure:
        for place in places:
            probe = Probe(held_out=spec.fit.held_out, fit_on=spec.fit_on, seed=spec.seed, **place.layer_fields)
            place.add(plan, probe)
    add_forward(plan, spec, network, places)
    if spec.data.name == "truth":
        options = {"options": study["data"]["options"], "contrastive": study["contrastive"]}
        plan.add(Truth(**options, draws=100_000), data)
    return plan


@dataclass(frozen=True)
class _Place:
    """Where information is measured: a layer at a checkpoint, with the cells that its contexts come from.

    Attributes:
        read: What `OfLayer` has beside a layer.
    """

    layer: str
    checkpoint: str
    needs: Mapping[str, str]
    read: Mapping[str, str] = field(default_factory=dict)

    @property
    def layer_fields(self) -> dict[str, Any]:
        """The fields of `OfLayer`."""
        return {"layer": None if self.layer == INPUT else self.layer, **self.read}

    def add(self, plan: Draft, kind: Kind, needs: Mapping[str, str] | None = None, refit: int = 0) -> str:
        everything = {**self.needs, **(needs or {})}
        return plan.add(kind, everything, layer=self.layer, refit=refit, checkpoint=self.checkpoint)


#: fields of a fit that say which fits there are, not how one goes
OF_THE_FAMILY = ("refits", "shared", "base_updates", "trial_updates", "warm_start")

#: most looks at the held-out images during a candidate's short fit
TRIAL_LOOKS = 2


def add_densities(plan: Draft, spec: StudySpec, data: Mapping[str, str], places: list[_Place]) -> None:
    """Adds, per refit, the null-context twins and a density per place, and the trunks or bases that these come from."""
    study = spec.model_dump(mode="json")
    fit = {key: value for key, value in study["fit"].items() if key not in OF_THE_FAMILY}
    contrastive = study["contrastive"] if "contrastive" in spec.measure else None
    watched = study["losses"] if "losses" in spec.measure else None
    choice = {"choice": _add_choice(plan, spec, data, fit)} if spec.density.kind == AUTO else {}
    source = {**data, **choice}
    families: dict[str, list[_Place]] = {INPUT: []}
    for place in places:
        families.setdefault(twin_of(spec, place.layer), []).append(place)
    for refit in range(1, spec.fit.refits + 1):
        seed = seed_of(spec.seed, refit)
        for twin, members in families.items():
            density = family_of(spec, twin.removeprefix(f"{INPUT}:"))
            common = {"fit": fit, "fit_on": spec.fit_on, "seed": seed, "density": density}
            common |= {"contrastive": None, "losses": watched}
            origin: dict[str, str] = {}
            if spec.fit.together:
                together = {**common, "fit": {**fit, "updates": spec.fit.together}}
                origin = {"trunk": _add_trunk(plan, spec, together, source, members, twin, refit)}
                common |= {"fit": {**fit, "updates": spec.fit.updates - spec.fit.together}, "place": 0}
            elif spec.fit.base:
                base = {**common, "losses": None, "fit": {**fit, "updates": spec.fit.base}}
                origin = {"start": plan.add(Density(layer=None, **base), source, layer=f"{twin} base", refit=refit)}
            plan.add(Density(layer=None, **common), {**source, **origin}, layer=twin, refit=refit)
            for position, place in enumerate(members, start=1):
                own = {"density": spec.density_of(place.layer).model_dump(mode="json"), "contrastive": contrastive}
                own |= {"place": position} if "trunk" in origin else {}
                place.add(plan, Density(**{**common, **own, **place.layer_fields}), {**choice, **origin}, refit)


def _add_choice(plan: Draft, spec: StudySpec, data: Mapping[str, str], fit: Mapping[str, Any]) -> str:
    """Adds a short p(x) of each candidate, and what chooses one of them, for all layers and refits."""
    common = {"fit_on": spec.fit_on, "seed": seed_of(spec.seed, 1)}
    # A look at the held-out images takes longer than some of so few updates.
    short = {**fit, "updates": spec.fit.trial, "evaluations": min(TRIAL_LOOKS, spec.fit.evaluations)}
    trial = {**common, "fit": short, "density": spec.density.model_dump(mode="json")}
    tried = {name: plan.add(Candidate(candidate=name, **trial), data, layer=name) for name in CANDIDATES}
    return plan.add(Choice(**common, held_out=spec.fit.held_out), {**data, **tried})


def _add_trunk(
    plan: Draft,
    spec: StudySpec,
    together: Mapping[str, Any],
    needs: Mapping[str, str],
    members: list[_Place],
    twin: str,
    refit: int,
) -> str:
    """Adds what trains a twin, which comes first, and the densities of its family together."""
    needs = dict(needs)
    places: list[dict[str, Any]] = [{"layer": None, "density": together["density"]}]
    for place in members:
        density = spec.density_of(place.layer).model_dump(mode="json")
        source = {} if "capture" not in place.needs else {"capture": f"capture at {place.checkpoint}"}
        places.append({"density": density, **source, **place.layer_fields})
        needs |= {source.get(role, role): name for role, name in place.needs.items()}
    trunk = Trunk(places=tuple(places), **{key: together[key] for key in ("fit", "fit_on", "seed")})
    return plan.add(trunk, needs, layer=f"{twin} together", refit=refit)


def add_forward(plan: Draft, spec: StudySpec, network: Mapping[str, str], places: list[_Place]) -> None:
    """Adds what reads the label from each layer through a rest trained anew, and what the network itself says of it."""
    if spec.subject is None:
        return
    if "forward" in spec.measure:
        # The schedule of the network itself; which weights of it were kept is another matter.
        fit = {**spec.subject.train.model_dump(mode="json"), "checkpoints": []}
        for place in places:
            asked = "capture" in place.needs and place.checkpoint in spec.forward_at
            for refit in range(1, spec.forward.refits + 1) if asked else ():
                own = {"held_out": spec.forward.held_out, "seed": seed_of(spec.seed, refit)}
                place.add(plan, Forward(fit=fit, **own, **place.layer_fields), refit=refit)
    if "own" in spec.measure:
        for checkpoint in spec.checkpoints:
            plan.add(Own(checkpoint=checkpoint), network, checkpoint=checkpoint)


def twin_of(spec: StudySpec, layer: str) -> str:
    """The name under which the null-context twin of a layer's density is filed: that of p(x) where it is the same."""
    return INPUT if family_of(spec, layer) == family_of(spec, INPUT) else f"{INPUT}:{layer}"


def family_of(spec: StudySpec, layer: str) -> dict[str, Any]:
    """The density at a layer, with the study's values for what only a context can feel."""
    common = {key: value for key, value in spec.density.model_dump(mode="json").items() if key in OF_THE_CONTEXT}
    return {**spec.density_of(layer).model_dump(mode="json"), **common}


def add_pictures(
    plan: Draft, spec: StudySpec, data: Mapping[str, str], places: list[_Place], judging: Mapping[str, str] | None
) -> None:
    """Adds reconstructions, samples, and what the network under study says of the samples."""
    study = spec.model_dump(mode="json")
    if "mse" in spec.measure:
        for place in places:
            own = {"fit_on": spec.fit_on, "images": spec.samples.images, "seed": spec.seed}
            place.add(plan, Mse(fit=study["reconstruction"], **own, **place.layer_fields))
    if "samples" not in spec.measure:
        return
    for place in (_Place(INPUT, "", data), *places):
        density, choice = plan.name("density", place.layer, 1, place.checkpoint), plan.name("choice")
        assert density is not None
        shape = spec.density_of(place.layer).model_dump(mode="json")
        needed = {"density": density} if choice is None else {"density": density, "choice": choice}
        drawn = Samples(**study["samples"], density=shape, seed=spec.seed, **place.layer_fields)
        samples = place.add(plan, drawn, needed)
        if place.layer != INPUT and judging is not None:
            needs = {**judging, "samples": samples}
            plan.add(Judge(layer=place.layer), needs, layer=place.layer, checkpoint=place.checkpoint)


def seed_of(seed: int, refit: int) -> int:
    """The seed of one refit's fits: the same for the twin and for every layer, so that their noise is shared."""
    return 1000 * seed + refit


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


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)[:40]
