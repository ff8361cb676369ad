"""From a study to its cells: what there is to do, what needs what, and what each is called."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from infoplane.errors import UsageError
from infoplane.study.spec import StudySpec

PLAN_FILE = "plan.json"

#: rooms whose source code a cell's result depends on
ROOMS: dict[str, tuple[str, ...]] = {
    "data": ("data",),
    "subject": ("data", "subjects", "capture.py"),
    "capture": ("data", "subjects", "capture.py"),
    "density": ("data", "subjects", "capture.py", "densities", "inversion", "information"),
    "mse": ("data", "subjects", "capture.py", "inversion"),
    "probe": ("data", "subjects", "capture.py", "inversion", "information"),
    "samples": ("data", "subjects", "capture.py", "densities", "inversion"),
    "judge": ("data", "subjects", "capture.py"),
    "truth": ("data", "information"),
}


@dataclass(frozen=True)
class Cell:
    """The unit of work.

    Attributes:
        kind: Which function runs it.
        params: All that its result depends on beside the cells it needs; JSON.
        needs: Role -> name of a cell.
        name: `kind-label-hash`, the hash over kind, params, needs and the source code of its rooms.
    """

    kind: str
    params: Mapping[str, Any]
    needs: Mapping[str, str]
    name: str

    def to_json(self) -> dict[str, Any]:
        """The cell as JSON, from which `Cell(**content)` makes it again."""
        return {"kind": self.kind, "params": dict(self.params), "needs": dict(self.needs), "name": self.name}


class Plan:
    """A study's cells, in an order in which every cell comes after those it needs.

    Attributes:
        cells: Name -> cell.
        roles: (kind, layer, refit) -> name; layer "" and refit 0 where there is none.
    """

    def __init__(self) -> None:
        self.cells: dict[str, Cell] = {}
        self.roles: dict[tuple[str, str, int], str] = {}

    def add(
        self, kind: str, params: Mapping[str, Any], needs: Mapping[str, str], *, layer: str = "", refit: int = 0
    ) -> str:
        """Adds a cell and returns its name."""
        content = json.dumps([kind, params, dict(needs), code_version(kind)], sort_keys=True)
        digest = hashlib.sha256(content.encode()).hexdigest()[:12]
        label = "-".join(part for part in (_slug(layer), f"r{refit}" if refit else "") if part)
        name = "-".join(part for part in (kind, label, digest) if part)
        self.cells[name] = Cell(kind, params, needs, name)
        self.roles[kind, layer, refit] = name
        return name

    @classmethod
    def load(cls, folder: Path) -> "Plan":
        """Returns the plan kept in a run's folder: its names stay valid when the program changes.

        Raises:
            UsageError: It cannot be read.
        """
        plan = cls()
        with _readable(folder / "cells" / PLAN_FILE) as content:
            plan.cells = {name: Cell(**cell) for name, cell in content["cells"].items()}
            plan.roles = {(kind, layer, refit): name for kind, layer, refit, name in content["roles"]}
        return plan

    @staticmethod
    def fingerprint(folder: Path) -> str:
        """Returns the hash of what the study's settings do not say of the run in a folder, see `make_plan`."""
        with _readable(folder / "cells" / PLAN_FILE) as content:
            return str(content["fingerprint"])

    def to_json(self, fingerprint: str = "") -> dict[str, Any]:
        """The plan as JSON."""
        return {
            "fingerprint": fingerprint,
            "cells": {name: cell.to_json() for name, cell in self.cells.items()},
            "roles": [[*role, name] for role, name in self.roles.items()],
        }

    def name(self, kind: str, layer: str = "", refit: int = 0) -> str | None:
        """The name of the cell in that role, or None."""
        return self.roles.get((kind, layer, refit))


@contextmanager
def _readable(path: Path) -> Iterator[Any]:
    """The content of a plan's file; whatever is wrong with it becomes a UsageError."""
    try:
        yield json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        mend = "delete the run's folder and run the study again"
        raise UsageError("the run's plan is damaged", received=path, mend=mend) from error


#: the layer name under which the null-context twins and what they say of p(x) are filed
INPUT = "input"


def make_plan(spec: StudySpec, fingerprint: str = "") -> Plan:
    """Returns the cells of a study.

    Args:
        fingerprint: A hash of what the settings do not say: the data, and a network that exists only in the
            calling process.
    """
    plan = Plan()
    study = spec.model_dump(mode="json")
    origin = {"fingerprint": fingerprint} if fingerprint else {}
    data = plan.add("data", {"data": study["data"], "seed": spec.seed, **origin}, {})
    base = {"data": data}
    if spec.subject is not None:
        subject = plan.add("subject", {"subject": study["subject"], "seed": spec.seed}, base)
        base = {"data": data, "subject": subject}
    layers = [*spec.latents, *spec.layers]
    if spec.layers:
        capture = plan.add("capture", {"layers": study["layers"], "checkpoint": "end", **origin}, base)
        base = {**base, "capture": capture}
    add_densities(plan, spec, base, layers)
    if "label" in spec.measure:
        for layer in layers:
            plan.add(
                "probe", {"layer": layer, "fit": {"held_out": spec.fit.held_out}, "seed": spec.seed}, base, layer=layer
            )
    if spec.data.name == "truth":
        params = {"options": study["data"]["options"], "contrastive": study["contrastive"], "draws": 100_000}
        plan.add("truth", params, {"data": data})
    return plan


def add_densities(plan: Plan, spec: StudySpec, base: Mapping[str, str], layers: list[str]) -> None:
    """Adds, per refit, the twin and a density per layer; then reconstructions and samples per layer."""
    study = spec.model_dump(mode="json")
    fit = {key: value for key, value in study["fit"].items() if key not in ("refits", "base_updates", "warm_start")}
    of_images = {"data": base["data"]}  # all that p(x) depends on
    for refit in range(1, spec.fit.refits + 1):
        start = {}
        common = {"density": study["density"], "fit": fit, "seed": seed_of(spec.seed, refit), "contrastive": None}
        if spec.fit.warm_start != "none":
            updates = spec.fit.base_updates if spec.fit.warm_start == "early" else spec.fit.updates
            params = {**common, "fit": {**fit, "updates": updates}, "layer": None}
            start = {"start": plan.add("density", params, of_images, layer="base", refit=refit)}
        for layer in (INPUT, *layers):
            contrast = study["contrastive"] if "contrastive" in spec.measure and layer != INPUT else None
            params = {**common, "layer": None if layer == INPUT else layer, "contrastive": contrast}
            needs = of_images if layer == INPUT else base
            plan.add("density", params, {**needs, **start}, layer=layer, refit=refit)
    for layer in layers:
        if "mse" in spec.measure:
            params = {"layer": layer, "fit": study["reconstruction"], "seed": spec.seed, "images": spec.samples.images}
            plan.add("mse", params, base, layer=layer)
    if "samples" not in spec.measure:
        return
    for layer in (INPUT, *layers):
        density = plan.name("density", layer, 1)
        assert density is not None
        params = {**study["samples"], "density": study["density"], "layer": None if layer == INPUT else layer}
        params["seed"] = spec.seed
        needs = of_images if layer == INPUT else base
        samples = plan.add("samples", params, {**needs, "density": density}, layer=layer)
        if layer != INPUT and "capture" in base:
            plan.add("judge", {"layer": layer}, {**base, "samples": samples}, layer=layer)


def seed_of(seed: int, refit: int) -> int:
    """The seed of one refit's fits: the same for the twin and for every layer, so that their noise is shared."""
    return 1000 * seed + refit


@cache
def code_version(kind: str) -> str:
    """A hash of the source code that a cell of this kind depends on, so that a changed program computes anew."""
    digest = hashlib.sha256()
    package = resources.files("infoplane")
    for room in (*ROOMS[kind], "study"):
        root = package / room
        if room == "study":
            files = [root / "cells.py"]
        else:
            files = [root] if root.is_file() else sorted(root.iterdir(), key=lambda entry: entry.name)
        for file in files:
            if file.name.endswith(".py"):
                digest.update(file.name.encode() + file.read_bytes())
    return digest.hexdigest()[:12]


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._]+", "_", text)[:40]
