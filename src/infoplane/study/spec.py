"""A study as data: validated, unknown keys refused with their path."""

import copy
import inspect
from collections.abc import Callable, Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge, Le
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, model_validator

from infoplane import data, densities, subjects
from infoplane.errors import UsageError, unknown
from infoplane.inversion import FitSettings
from infoplane.subjects import TrainSettings

Measure = Literal["nce", "usable", "contrastive", "label", "mse", "samples"]

#: the checkpoint of the finished network
END = "end"
#: the scale that a study's file describes outside `scales`
PAPER = "paper"
#: the scale that is run where the file has it and none is asked for
LAPTOP = "laptop"


def _known(what: str, name: str, registry: Mapping[str, Any]) -> Any:
    if name not in registry:
        raise unknown(what, name, registry)
    return registry[name]


@cache
def options_model(constructor: Callable[..., Any]) -> type[BaseModel]:
    """Returns the model of a constructor's options: its own signature is the only place where they are written down."""
    left_to_the_data = {"shape", "levels", "context", "classes"}
    fields: dict[str, Any] = {
        name: (parameter.annotation, parameter.default)
        for name, parameter in inspect.signature(constructor).parameters.items()
        if name not in left_to_the_data
    }
    return create_model("options", __config__=ConfigDict(extra="forbid"), **fields)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSpec(_Strict):
    """Which data, and how many examples serve which purpose.

    Attributes:
        name: Data set or path, as `infoplane.data.load` takes it.
        encoding, decoding, evaluation: Sizes of the three parts; null for the rest: at most once where all draw from
            the same examples, once for each of the official parts where the data set has them.
        subset: Use only so many examples, chosen by class at random, the same ones for every seed; null for all.
        downsample: Average squares of so many pixels a side into one; 1 leaves the images as they are.
        options: What that data set's loader accepts.
    """

    name: str
    subset: Annotated[int, Ge(8)] | None = None
    downsample: Annotated[int, Ge(1)] = 1
    encoding: Annotated[int, Ge(0)] | None = None
    decoding: Annotated[int, Ge(2)] | None = None
    evaluation: Annotated[int, Ge(2)] | None = None
    options: dict[str, Any] = {}

    def load(self) -> data.Dataset:
        """Returns the data set.

        Raises:
            UsageError: It cannot be had, or does not take these options.
        """
        shared = {"subset": self.subset} if self.subset is not None else {}
        shared |= {"downsample": self.downsample} if self.downsample > 1 else {}
        return data.load(self.name, **{**self.options, **shared})


class SubjectSpec(BaseModel):
    """The network under study: its kind, how it is trained, and what its constructor takes.

    Attributes:
        kind: A key of `infoplane.subjects.REGISTRY`.
        train: How it is trained.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str
    train: TrainSettings = TrainSettings()

    @model_validator(mode="after")
    def _check_options(self) -> "SubjectSpec":
        options_model(_known("subject.kind", self.kind, subjects.REGISTRY))(**(self.model_extra or {}))
        return self


class DensitySpec(BaseModel):
    """The density: its kind and what its constructor takes, but for what the data decide.

    Attributes:
        kind: A key of `infoplane.densities.REGISTRY`.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    kind: str = "pixelcnn"

    @model_validator(mode="after")
    def _check_options(self) -> "DensitySpec":
        options_model(_known("density.kind", self.kind, densities.REGISTRY))(**(self.model_extra or {}))
        return self


class ContrastiveSpec(_Strict):
    """Attributes: candidates: K; batches: most batches of K evaluation pairs to score."""

    candidates: Annotated[int, Ge(2)] = 64
    batches: Annotated[int, Ge(2)] = 16


class SamplesSpec(_Strict):
    """Attributes: images: evaluation images to sample for; each: samples per image."""

    images: Annotated[int, Ge(1)] = 8
    each: Annotated[int, Ge(1)] = 8


class StudySpec(_Strict):
    """One study, whole.

    Attributes:
        name: Short name; also that of the default output folder.
        title: What the page is called.
        note: A caveat that the page must show.
        figure: Which published figure or table it reproduces.
        scale: Which of the file's scales this is; null where there is only one.
        data: Which data.
        subject: The network under study, at every checkpoint that its training keeps; null where the activations
            come from a live module (`measure`) or where only `latents` are studied.
        layers: Taps, in depth order.
        latents: Known variables of the data set, studied as if they were layers.
        density: What inverts.
        density_at: Layer -> what the density takes there instead, e.g. {conv1: {dropout: 0.1}}.
        fit: How it is trained.
        reconstruction: How the MSE inverter is trained.
        measure: What to report.
        contrastive, samples: Sizes of these measurements.
        seed: Decides everything random.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    note: str | None = None
    figure: str | None = None
    scale: str | None = None
    data: DataSpec
    subject: SubjectSpec | None = None
    layers: tuple[str, ...] = ()
    latents: tuple[str, ...] = ()
    density: DensitySpec = DensitySpec()
    density_at: dict[str, dict[str, Any]] = {}
    fit: FitSettings = FitSettings()
    reconstruction: FitSettings = FitSettings(updates=600, batch=32, learning_rate=2e-3, evaluations=6, refits=1)
    measure: tuple[Measure, ...] = ("nce", "usable", "contrastive", "label", "mse", "samples")
    contrastive: ContrastiveSpec = ContrastiveSpec()
    samples: SamplesSpec = SamplesSpec()
    seed: Annotated[int, Ge(0), Le(2**31)] = 0

    def density_of(self, layer: str) -> DensitySpec:
        """The density that inverts a layer."""
        options = {**(self.density.model_extra or {}), **self.density_at.get(layer, {})}
        return DensitySpec(kind=self.density.kind, **options)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints of the network under study, in training order; "end" is the last."""
        kept = (END,) if self.subject is None else self.subject.train.checkpoints
        return tuple(map(str, sorted(set(kept), key=lambda c: float("inf") if c == END else int(c))))

    def to_yaml(self) -> str:
        """The resolved study as YAML: every value that was left to a default is written out."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100)


def options_of(spec: SubjectSpec | DensitySpec, registry: Mapping[str, Callable[..., Any]]) -> dict[str, Any]:
    """Returns all options of the constructor that `spec` names, defaults included."""
    return options_model(registry[spec.kind])(**(spec.model_extra or {})).model_dump()


def named_studies() -> list[str]:
    """Returns the names of the studies that come with the package."""
    folder = resources.files("infoplane") / "studies"
    return sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def load_study(study: str, changes: Mapping[str, Any] | None = None, *, scale: str | None = None) -> StudySpec:
    """Returns the study of that name, or in that YAML file, at a scale, with `changes` applied.

    Args:
        study: A name out of `named_studies()` or the path of a YAML file.
        changes: Dotted path -> value, e.g. {"fit.updates": 100}; they go before those of the scale.
        scale: One of `scales_of(study)`; default: "laptop" where there is one.

    Raises:
        UsageError: There is no such study or scale, or a field is unknown or has an illegal value.
    """
    content = _content(study)
    scales, datasets = content.pop("scales", {}), content.pop("datasets", {})
    legal = _scales(scales, study)
    if scale is None:
        scale = LAPTOP if LAPTOP in legal else legal[0] if legal else None
    elif scale not in legal:
        raise unknown(f"scale of {study}", scale, legal, mend=None if legal else "leave --scale out: there is only one")
    for path, value in {"scale": scale, **scales.get(scale or "", {})}.items():
        _set(content, path, value)
    # Another data set may need other sizes and networks: what the file says of it goes before the scale's values.
    asked = copy.deepcopy(content)
    for path, value in (changes or {}).items():
        _set(asked, path, value)
    for path, value in {**_of_dataset(datasets, asked, scale, study), **(changes or {})}.items():
        _set(content, path, value)
    spec = validate(content, where=study)
    if spec.layers and spec.subject is None:
        raise UsageError("layers without a network", received=list(spec.layers), mend=f"add subject: to {study}")
    names = [*spec.latents, *spec.layers]
    for layer in spec.density_at:
        if layer not in names:
            raise unknown("layer in density_at", layer, names)
    if len(set(names)) < len(names) or "input" in names:
        raise UsageError("layers and latents must be distinct, and none called input", received=", ".join(names))
    return spec


def scales_of(study: str) -> list[str]:
    """Returns the scales of a study, the papers' first; none where it has only one."""
    return _scales(_content(study).get("scales", {}), study)


def _content(study: str) -> dict[str, Any]:
    """What a study's file says."""
    if study in named_studies():
        text = (resources.files("infoplane") / "studies" / f"{study}.yaml").read_text(encoding="utf-8")
    elif study.endswith((".yaml", ".yml")):
        text = _read(Path(study))
    else:
        raise unknown("study", study, named_studies(), mend="or give the path of a .yaml file")
    return {"name": Path(study).stem, **_parse(text, study)}


def _of_dataset(datasets: Any, content: Mapping[str, Any], scale: str | None, study: str) -> dict[str, Any]:
    """What a study's file changes for the data set that it is to use, which may be called by its path.

    That is what stands under `every`, then what stands under the scale's name.
    """
    section = content.get("data")
    name = section.get("name") if isinstance(section, dict) else None
    if not isinstance(name, str) or not datasets:
        return {}
    parts = None
    if isinstance(datasets, dict):
        names = (name, Path(name).name, data.catalogue_name(name))
        parts = next((datasets[each] for each in names if each in datasets), {})
    if not isinstance(parts, dict) or not all(_is_changes(part) for part in parts.values()):
        legal = "name of a data set -> every, or name of a scale -> {dotted path: value}"
        raise UsageError(f"{study}: datasets cannot be read", received=_shown(parts), legal=legal)
    return {**parts.get("every", {}), **parts.get(scale or "", {})}


def _scales(scales: Any, study: str) -> list[str]:
    if not isinstance(scales, dict) or not all(map(_is_changes, scales.values())) or not _is_changes(scales):
        legal = "name of a scale -> {dotted path: value}"
        raise UsageError(f"{study}: scales cannot be read", received=_shown(scales), legal=legal)
    return [PAPER, *(name for name in scales if name != PAPER)] if scales else []


def _is_changes(part: Any) -> bool:
    return isinstance(part, dict) and all(isinstance(path, str) for path in part)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}…"


def read_study(path: Path) -> StudySpec:
    """Returns the resolved study that a run keeps in its folder."""
    return validate(_parse(_read(path), str(path)), where=str(path))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:  # ValueError: no text, or no name that a file can have
        reason = error.strerror if isinstance(error, OSError) else None
        mend = f"{reason[0].lower()}{reason[1:]}" if reason else "it holds something else than text in UTF-8"
        raise UsageError("cannot read the study", received=path, legal="a readable YAML file", mend=mend) from error


def _parse(text: str, where: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError("the study is not valid YAML", received=where, mend=str(error)) from error
    if not isinstance(content, dict):
        held = "nothing" if content is None else f"a {type(content).__name__}"
        raise UsageError("the study is not a mapping", received=f"{held} in {where}", legal="key: value lines")
    return content


def validate(content: Mapping[str, Any], *, where: str) -> StudySpec:
    """Returns the spec, or raises a one-line UsageError that names the path of the first bad field."""
    try:
        spec = StudySpec.model_validate(content)
    except ValidationError as error:
        raise _first_error(error, where) from error
    return resolve(spec)


def resolve(spec: StudySpec) -> StudySpec:
    """Returns the spec with the options of its network and density written out.

    Raises:
        UsageError: A fit is limited by time, or stops when it no longer improves while usable information is wanted:
            its twin would get another number of updates.
    """
    for section in ("fit", "reconstruction"):
        if getattr(spec, section).minutes is not None:
            raise UsageError(f"{section}.minutes in a study", legal=f"{section}.updates, the same for every fit")
    if spec.fit.patience is not None and "usable" in spec.measure:
        raise UsageError(
            "fit.patience beside usable information",
            received=spec.fit.patience,
            legal="the same number of updates for a fit and its twin",
            mend="leave it out (the best weights are kept anyhow), or usable out of measure",
        )
    legal = options_model(densities.REGISTRY[spec.density.kind])
    for layer, options in spec.density_at.items():
        try:
            legal(**options)
        except ValidationError as error:
            raise _first_error(error, f"density_at.{layer}", list(legal.model_fields)) from error
    changes: dict[str, Any] = {
        "density": DensitySpec(kind=spec.density.kind, **options_of(spec.density, densities.REGISTRY))
    }
    if spec.subject is not None:
        options = options_of(spec.subject, subjects.REGISTRY)
        changes["subject"] = SubjectSpec(kind=spec.subject.kind, train=spec.subject.train, **options)
    return spec.model_copy(update=changes)


def parse_value(text: str) -> Any:
    """Reads the value of a `--set key=value` as YAML does."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError("cannot read the value", received=text, legal="a YAML value, e.g. 100 or [1, 2]") from error


def _set(content: dict[str, Any], path: str, value: Any) -> None:
    keys = path.split(".")
    inner = content
    for key in keys[:-1]:
        inner = inner.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError("cannot set a field", received=path, legal=f"{key} has no fields of its own")
    inner[keys[-1]] = value


def _first_error(error: ValidationError, where: str, legal: list[str] | None = None) -> UsageError:
    first = error.errors(include_url=False)[0]
    location = first["loc"]
    legal = _fields_at(location[:-1]) if legal is None else legal
    path = ".".join(str(part) for part in location) or "the study"
    if first["type"] == "extra_forbidden":
        return unknown(f"key {path!r} in {where}", str(location[-1]), legal)
    return UsageError(f"{where}: {path}: {first['msg'][0].lower()}{first['msg'][1:]}", received=_shown(first["input"]))


def _fields_at(path: tuple[Any, ...]) -> list[str]:
    """The legal keys at a path of the study."""
    # A section with a `kind` takes what any of its constructors takes.
    constructors = {("density",): densities.REGISTRY, ("subject",): subjects.REGISTRY}.get(path, {}).values()
    options = sorted({name for each in constructors for name in options_model(each).model_fields})
    model: Any = StudySpec
    for key in path:
        field = model.model_fields.get(key)
        candidates = [] if field is None else [field.annotation, *getattr(field.annotation, "__args__", ())]
        model = next((c for c in candidates if inspect.isclass(c) and issubclass(c, BaseModel)), None)
        if model is None:
            return []
    return [*model.model_fields, *options]
