"""What `density: {kind: auto}` chooses from: the candidates, and how many updates of each take the same time."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from infoplane import densities
from infoplane.engine.kind import Kind
from infoplane.measurements.counting import TYPICAL, Shape, passes_of

#: the kind of a density that the data choose
AUTO = "auto"

Fitted = TypeVar("Fitted", bound=Kind)


#: steps of small streams
SMALL_STEPS: dict[str, Any] = {"batch": 8, "learning_rate": 4e-3}


@dataclass(frozen=True)
class Candidate:
    """A density that may be chosen, and how it is trained.

    Attributes:
        density: Its kind and options, as a study has them.
        batch, learning_rate: As `FitSettings` has them.
    """

    density: Mapping[str, Any]
    batch: int
    learning_rate: float


def window(shape: Shape, levels: int) -> Candidate:
    """Returns the density of a pixel's window with its defaults."""
    return Candidate({"kind": "autoregressive"}, **densities.Autoregressive.suited(shape))


def small_streams(shape: Shape) -> dict[str, Any]:
    """Returns options of a small PixelCNN++, which learns fast, with as many scales as the images' size asks for."""
    size = max(shape[1:])
    scales = 1 if size <= 12 else 2 if size <= 20 else 3
    return {"filters": 32, "residual_layers": 2, "scales": scales, "mixtures": 5, "dropout": 0.1, "weight_norm": False}


def smooth(shape: Shape, levels: int) -> bool:
    """Whether a likelihood should know that neighbouring levels are alike: few updates cannot teach it a softmax."""
    return shape[0] > 1 or levels > 32


def small_pixelcnn(shape: Shape, levels: int) -> Candidate:
    """Returns a small PixelCNN++, conditioned as published."""
    likelihood = "logistic_mixture" if smooth(shape, levels) else "categorical"
    return Candidate({"kind": "pixelcnn", "likelihood": likelihood, **small_streams(shape)}, **SMALL_STEPS)


def pixelcnn(shape: Shape, levels: int) -> Candidate:
    """Returns the same density of images without a context; one enters through x̂(h) besides."""
    head = "logistic" if smooth(shape, levels) else "softmax"
    parts = {"base": "none", "trunk": "pixelcnn", "head": head, "form": "both"}
    return Candidate({"kind": "autoregressive", **parts, **small_streams(shape)}, **SMALL_STEPS)


#: name of a candidate -> what it is for such images. Updates are counted in those of the first, which is also taken
#: where no other is told apart from it
CANDIDATES: dict[str, Callable[[Shape, int], Candidate]] = {
    "window": window,
    "pixelcnn": pixelcnn,
}

#: the same in sentences
SPOKEN = {"window": "the window density", "pixelcnn": "PixelCNN++"}


def offer(kind: str, shape: Shape, levels: int) -> dict[str, Any]:
    """Returns what a candidate is for such images, as JSON: the fields of `Candidate`, and `pace`.

    That is how many of its updates take as long as one of the first candidate's: by counting, on a machine as there are
    many, so that no choice depends on the machine or the moment.
    """
    first, own = (CANDIDATES[each](shape, levels) for each in (next(iter(CANDIDATES)), kind))
    if own == first:
        return {**asdict(own), "pace": 1.0}
    steps = (passes_of(each.density, shape, levels, None).step(each.batch) for each in (first, own))
    usual, other = map(TYPICAL.seconds, steps)
    return {**asdict(own), "pace": usual / other}


def has_wide_products(spec: Mapping[str, Any]) -> bool:
    """Whether a density, as a study has it, has wide products."""
    return densities.REGISTRY[spec["kind"]].wide_with(spec)


def may_be(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns what a density may turn out to be: itself, or any candidate where the data choose."""
    if spec["kind"] != AUTO:
        return [spec]
    return [make((1, 8, 8), 2).density for make in CANDIDATES.values()]  # in kind the same whatever the images are


def is_open(kind: Kind) -> bool:
    """Whether a cell's density is one that the data choose."""
    fields = vars(kind)
    return any(each.get("density", {}).get("kind") == AUTO for each in (fields, *fields.get("places", ())))


def as_chosen(kind: Fitted, chosen: Mapping[str, Any], device: str = "cpu") -> Fitted:
    """Returns a cell's settings with a candidate as its density, trained as suits it, for as long as they say.

    Args:
        chosen: What `offer` returns.
        device: Type of the device that trains it: a processor gains nothing by half precision in narrow products.
    """
    fields, changes = vars(kind), {}
    if "density" in fields:
        changes["density"] = chosen["density"]
    if "places" in fields:
        changes["places"] = tuple({**place, "density": chosen["density"]} for place in fields["places"])
    if "fit" in fields:
        updates = fields["fit"]["updates"]
        own = {"updates": paced(updates, chosen), "batch": chosen["batch"], "learning_rate": chosen["learning_rate"]}
        exact = {"precision": "float32"} if device == "cpu" and not has_wide_products(chosen["density"]) else {}
        changes["fit"] = {**fields["fit"], **own, **exact}
    return kind.model_copy(update=changes)


def paced(updates: int, chosen: Mapping[str, Any]) -> int:
    """Returns how many updates of a candidate take as long as so many of the first candidate's."""
    return max(1, round(updates * chosen["pace"])) if updates else 0
