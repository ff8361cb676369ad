"""A measurement whose costs are known by heart: one unit of work for an update, and for little else."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from infoplane.budget.sizes import Forecast
from infoplane.engine.kind import Kind
from infoplane.inversion import FitSettings
from infoplane.measurements.counting import Machine, Work
from infoplane.measurements.dataset import DataSpec
from infoplane.measurements.fits import CandidateCell, DensityCell
from infoplane.measurements.pictures import Mse, Samples
from infoplane.study.spec import DensitySpec, StudySpec


class Counted:
    """As `Costs`: an update of a density is one unit of work, of the MSE inverter `mse`, a sample `sample`."""

    shape, levels = (1, 8, 8), 4

    def __init__(self, *, mse: float = 1e-9, sample: float = 1e-9, scoring: float = 1e-9) -> None:
        self.mse, self.sample, self.scored = mse, sample, scoring
        self.sizes = {"encoding": 0, "decoding": 80, "evaluation": 20}
        self.contexts = {"a": (4,), "b": (2,)}

    def of(self, kind: Kind) -> Work:
        if isinstance(kind, DensityCell):
            return Work(flops=kind.fit["updates"] * weight(kind.density))
        if isinstance(kind, Mse):
            return Work(flops=self.mse * kind.fit["updates"])
        if isinstance(kind, Samples):
            return Work(flops=self.sample * kind.each * (1 if kind.layer is None else kind.images))
        return Work()

    def ways(self, kind: Kind) -> list[Kind]:
        return [kind]

    def scoring(self, spec: Mapping[str, Any], layer: str | None) -> Work:
        return Work(flops=self.scored)

    def step(self, spec: Mapping[str, Any], layer: str | None, batch: int, precision: str | None = None) -> Work:
        return Work(flops=2 * batch * self.scored)

    def density(self, spec: Mapping[str, Any], layer: str | None) -> SimpleNamespace:
        return SimpleNamespace(model=SimpleNamespace(looked_at=64))

    def offers(self, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [{"density": spec, "batch": None, "pace": 1.0}]

    def drawing(self, spec: Mapping[str, Any], images: int) -> Work:
        return Work(flops=self.sample * images)


class Chosen(Counted):
    """The same where the data choose the density."""

    def of(self, kind: Kind) -> Work:
        return Work(flops=kind.fit["updates"]) if isinstance(kind, CandidateCell | DensityCell) else super().of(kind)


def weight(density: Mapping[str, Any]) -> float:
    """Seconds of an update."""
    return 1.0 if density["filters"] == 32 else 0.25


def study(**changes: Any) -> StudySpec:
    """Two layers, three refits, everything measured but the label."""
    density = {"kind": "pixelcnn", "filters": 32, "residual_layers": 2, "scales": 1, "weight_norm": False}
    fields: dict[str, Any] = {
        "name": "measure",
        "title": "counted",
        "data": DataSpec(name="none", encoding=0, decoding=80, evaluation=20),
        "layers": ("a", "b"),
        "density": DensitySpec.model_validate(density),
        "fit": FitSettings(refits=3),
        "measure": ("nce", "usable", "mse", "samples"),
    }
    return StudySpec(**{**fields, **changes}).resolve()


def forecast(costs: Counted | None = None, **options: Any) -> Forecast:
    """One process, a unit of work a second."""
    return Forecast(costs or Counted(), Machine(per_flop=1.0), 0, **options)  # pyright: ignore[reportArgumentType]
