"""A study of what can be inverted, as data."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import torch
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from infoplane import densities, subjects
from infoplane.capture import check_pattern
from infoplane.errors import UsageError, unknown
from infoplane.inversion import FitSettings
from infoplane.inversion.precision import best_precision
from infoplane.measurements import QUANTITIES, asked_for, obtainable
from infoplane.measurements.candidates import AUTO, has_wide_products, may_be
from infoplane.measurements.dataset import DataSpec
from infoplane.measurements.task import END
from infoplane.settings import Settings, check_options, options_for, options_model
from infoplane.study.base import Study
from infoplane.subjects import EpochSettings, TrainSettings
from infoplane.subjects.forward import HELD_OUT
from infoplane.subjects.train_epochs import Epoch, name_of

if TYPE_CHECKING:
    Measure = str
else:
    #: what can be asked for: the `asked` of all that is measured in such studies
    Measure = Annotated[Literal[tuple(asked_for())], BeforeValidator(obtainable)]


def _chosen() -> None:
    """In the place of a constructor: a density that the data choose takes no options."""


def needs_densities(measure: Iterable[str]) -> bool:
    """Whether anything of what is measured takes a density."""
    return any(each.with_fits and each.asked in set(measure) for each in QUANTITIES.values())


class ByKind(Settings):
    """What is chosen by its kind: that, and what its constructor takes."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="after")
    def _check_options(self) -> Self:
        self.options()
        return self

    @property
    def constructor(self) -> Callable[..., Any]:
        """What makes it, or would."""
        raise NotImplementedError

    def options(self) -> dict[str, Any]:
        """Returns all options of its constructor, defaults included."""
        return check_options(self.constructor, self.model_extra or {}).model_dump()


class SubjectSpec(ByKind):
    """The network under study: its kind, how it is trained, and what its constructor takes.

    Attributes:
        kind: A key of `infoplane.subjects.REGISTRY`.
        train: How it is trained.
        seeds: How many networks are trained, each from a seed of its own: numbers are means over them, and errors and
            claims are about networks that are trained so. With 1 they are about this one network.
    """

    by_kind = staticmethod(lambda: {kind: options_model(made) for kind, made in subjects.REGISTRY.items()})

    kind: str
    train: TrainSettings = TrainSettings()
    seeds: Annotated[int, Ge(1), Le(1000)] = 1

    @property
    def constructor(self) -> Callable[..., Any]:
        return subjects.REGISTRY.get(self.kind, what="subject.kind")


class EpochSubjectSpec(SubjectSpec):
    """The same of a network that is trained by epochs."""

    train: EpochSettings = EpochSettings()  # pyright: ignore[reportIncompatibleVariableOverride]


def _way_of_training(subject: Any) -> str:
    """Which of `BY` a network is trained by, from its kind."""
    kind = subject.get("kind") if isinstance(subject, Mapping) else getattr(subject, "kind", None)
    if not isinstance(kind, str) or kind not in subjects.REGISTRY:
        return BY_UPDATES
    return BY_EPOCHS if subjects.settings_of(kind) is EpochSettings else BY_UPDATES


#: tags of the two kinds of subject; keys that pydantic adds to the path of an error
BY_UPDATES, BY_EPOCHS = "by updates", "by epochs"
BY: dict[str, type[BaseModel]] = {BY_UPDATES: SubjectSpec, BY_EPOCHS: EpochSubjectSpec}
Subject = Annotated[
    Annotated[SubjectSpec, Tag(BY_UPDATES)] | Annotated[EpochSubjectSpec, Tag(BY_EPOCHS)],
    Discriminator(_way_of_training),
]


class DensitySpec(ByKind):
    """The density: its kind and what its constructor takes, but for what the data decide.

    Attributes:
        kind: A key of `infoplane.densities.REGISTRY`; or "auto", the one of which a short fit does best on held-out
            images: it takes no options, and `fit.batch` and `fit.learning_rate` are what suits it.
    """

    by_kind = staticmethod(
        lambda: {kind: options_model(made) for kind, made in (*densities.REGISTRY.items(), (AUTO, _chosen))}
    )

    kind: str = "pixelcnn"

    @property
    def constructor(self) -> Callable[..., Any]:
        mend = "the window density is called autoregressive" if self.kind.startswith("win") else None
        known = densities.REGISTRY
        return _chosen if self.kind == AUTO else known.get(self.kind, what="density.kind", also=(AUTO,), mend=mend)


class ContrastiveSpec(Settings):
    """Attributes: candidates: the largest K; batches: most batches of K evaluation pairs to score.

    There are at least ten batches, whatever is asked for: K is lowered until there are, and below 40 images there is no
    bound.
    """

    candidates: Annotated[int, Ge(2), Le(10**5)] = 64
    batches: Annotated[int, Ge(2), Le(10**5)] = 16


class ForwardSpec(Settings):
    """What follows a layer, trained anew to read the label.

    Attributes:
        refits: How often, from other initial weights.
        held_out: Share of the decoding part that is not trained on but chooses the epoch whose weights are taken and
            how much of the classes' shares is mixed into their answers.
        checkpoints: Of the network, where it is done at some of them only; null: at all.
    """

    refits: Annotated[int, Ge(1), Le(1000)] = 3
    held_out: Annotated[float, Gt(0), Lt(1)] = HELD_OUT
    checkpoints: Annotated[tuple[Epoch, ...], MinLen(1)] | None = None


class LossesSpec(Settings):
    """Attributes: images: most images of the encoding, decoding and evaluation part to follow a density's loss on."""

    images: Annotated[int, Ge(2), Le(10**9)] = 1000


class SamplesSpec(Settings):
    """Attributes: images: evaluation images to sample for; each: samples per image."""

    images: Annotated[int, Ge(1), Le(10**5)] = 8
    each: Annotated[int, Ge(1), Le(10**5)] = 8


class AskedSpec(Settings):
    """What was asked for where time did not allow all of it.

    Attributes: refits: independent fits; measure: what to report.
    """

    refits: Annotated[int, Ge(1), Le(1000)]
    measure: tuple[Measure, ...]


#: fields of a fit that come with the density where the data choose it
OF_THE_CHOSEN = ("batch", "learning_rate")


class StudySpec(Study):
    """A study of what can be inverted: densities q(x|h) of discrete images given a layer.

    Attributes:
        data: Which data.
        subject: The network under study, at every checkpoint that its training keeps; null where the activations
            come from a live module (`measure`) or where only `latents` are studied.
        given: Earlier checkpoints of a live network, in training order; as it is, it is the last one.
        layers: Taps, in depth order.
        read_as: Layer -> how its axes are read, where that should not be left to the program: a letter for each, c
            channels, h rows, w columns, n tokens (+k: k leading ones), as in {block: hwc, embeddings: nc+1}; or vector.
        latents: Known variables of the data set, studied as if they were layers.
        density: What inverts.
        density_at: Layer -> what the density takes there instead, e.g. {conv1: {dropout: 0.1}}.
        readers: Whose densities a layer's numbers are read with: "own", or also those of the "later" layers that are
            functions of it, see `infoplane.measurements.readers`. It changes no part of a run.
        fit: How it is trained.
        fit_on: The part whose images densities are trained on; "encoding" only where no network was trained on it.
        reconstruction: How the MSE inverter is trained.
        measure: What to report.
        contrastive, forward, losses, samples: Sizes of these measurements.
        prior: The classes' true probabilities where they are known, so that H(y) is: one for each class, or "uniform".
        asked: What was to be measured, where a time budget could not buy all of it (`measure`).
    """

    variants: ClassVar[dict[str, type[BaseModel]]] = BY
    may_change: ClassVar[tuple[str, ...]] = (
        *Study.may_change,
        *("layers", "read_as", "latents", "given", "measure", "density_at", "contrastive", "losses", "samples"),
        *("prior", "readers"),
        *("fit.refits", "forward.refits", "forward.checkpoints", "subject.train.checkpoints", "subject.seeds", "asked"),
    )

    kind: Literal["inversion"] = "inversion"
    data: DataSpec
    subject: Subject | None = None
    given: tuple[str, ...] = ()
    layers: tuple[str, ...] = ()
    read_as: dict[str, str] = Field(default_factory=dict)
    latents: tuple[str, ...] = ()
    # Whether that can be had is asked of the study that wants it, not of all.
    density: DensitySpec = DensitySpec.model_construct()
    density_at: dict[str, dict[str, Any]] = Field(default_factory=dict)
    readers: Literal["own", "later"] = "later"
    fit: FitSettings = FitSettings()
    fit_on: Literal["decoding", "encoding"] = "decoding"
    reconstruction: FitSettings = FitSettings(updates=600, batch=32, learning_rate=2e-3, evaluations=6, refits=1)
    measure: Annotated[tuple[Measure, ...], MinLen(1)] = ("nce", "usable", "contrastive", "label", "mse", "samples")
    contrastive: ContrastiveSpec = ContrastiveSpec()
    forward: ForwardSpec = ForwardSpec()
    losses: LossesSpec = LossesSpec()
    samples: SamplesSpec = SamplesSpec()
    prior: Literal["uniform"] | tuple[Annotated[float, Ge(0), Le(1)], ...] | None = None
    asked: AskedSpec | None = None

    def density_of(self, layer: str) -> DensitySpec:
        """The density that inverts a layer."""
        options = {**(self.density.model_extra or {}), **self.density_at.get(layer, {})}
        return DensitySpec(kind=self.density.kind, **options)

    @property
    def needs_densities(self) -> bool:
        """Whether anything that is measured takes a density."""
        return needs_densities(self.measure)

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The checkpoints of the network under study, in training order; "end" is the last."""
        if self.subject is None:
            return (*self.given, END)
        kept = self.subject.train.checkpoints
        return tuple(map(name_of, sorted(set(kept), key=lambda c: float("inf") if c == END else float(c))))

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks of several seeds: "" is the first one, the others are called by their number."""
        return ("", *(str(number) for number in range(2, 1 + (1 if self.subject is None else self.subject.seeds))))

    @property
    def forward_at(self) -> frozenset[str]:
        """The checkpoints at which what follows a layer is trained anew."""
        asked = self.forward.checkpoints
        return frozenset(self.checkpoints if asked is None else map(name_of, asked))

    def resolve(self) -> Self:
        """Returns the study with the options of its network and density written out.

        Raises:
            UsageError: A fit is limited by time; or stops when it no longer improves while usable information is
                wanted: its twin would get another number of updates; or has what comes with a density that the data
                choose.
        """
        for section in ("fit", "reconstruction"):
            if getattr(self, section).minutes is not None:
                raise UsageError(f"{section}.minutes in a study", legal=f"{section}.updates, the same for every fit")
        if self.fit.together < self.fit.updates and self.fit.patience is not None and "usable" in self.measure:
            raise UsageError(
                "fit.patience beside usable information",
                received=self.fit.patience,
                legal="the same number of updates for a fit and its twin",
                mend="leave it out (the best weights are kept anyhow), or usable out of measure",
            )
        if self.fit.together and len(self.networks) > 1:
            raise UsageError(
                "densities of several networks trained together",
                received=f"subject.seeds {len(self.networks)} beside fit.warm_start shared",
                legal="fit.warm_start early or none",
                mend="leave one of them out",
            )
        for name in OF_THE_CHOSEN if self.density.kind == AUTO else ():
            value, default = getattr(self.fit, name), type(self.fit).model_fields[name].default
            if value != default:
                raise UsageError(
                    f"fit.{name} beside a density that the data choose",
                    received=value,
                    legal="what suits the density that is chosen",
                    mend=f"leave fit.{name} out, or name a density in density.kind",
                )
        constructor = self.density.constructor
        for layer, options in self.density_at.items():
            options_for(constructor, options, self.name, at=f"density_at.{layer}")
        changes: dict[str, Any] = {"density": DensitySpec(kind=self.density.kind, **self.density.options())}
        if self.subject is not None:
            own = {"kind": self.subject.kind, "train": self.subject.train, "seeds": self.subject.seeds}
            content = {**own, **self.subject.options()}
            changes["subject"] = type(self.subject).model_validate(content)
        return self.model_copy(update=changes)

    def on(self, device: torch.device, begun: Study | None = None) -> Self:
        """Returns the study with the precision of its fits written out, where that is left to the machine."""
        changes: dict[str, Any] = {}
        densities_wide = any(map(has_wide_products, may_be(self.density.model_dump())))
        for name, wide in (("fit", densities_wide), ("reconstruction", False)):
            fit: FitSettings = getattr(self, name)
            if fit.precision == "auto":
                other = begun if isinstance(begun, StudySpec) else None
                kept = best_precision(device, wide=wide) if other is None else getattr(other, name).precision
                changes[name] = fit.model_copy(update={"precision": kept})
        return self.model_copy(update=changes)

    def check(self, where: str) -> None:
        """Raises UsageError where layers lack a network, or names do not go together."""
        if self.layers and self.subject is None:
            raise UsageError("layers without a network", received=list(self.layers), mend=f"add subject: to {where}")
        if self.fit_on == "encoding" and self.subject is not None:
            raise UsageError(
                "densities on the images that trained the network",
                received="fit_on: encoding",
                legal="fit_on: decoding, or a study without a network",
                mend="leave fit_on out",
            )
        if self.given:
            raise UsageError(
                "given checkpoints in a study",
                received=", ".join(self.given),
                legal="subject.train.checkpoints; given ones belong to infoplane measure",
            )
        for layer, pattern in self.read_as.items():
            if layer not in self.layers:
                raise unknown("layer in read_as", layer, self.layers, mend="take it out there too")
            check_pattern(layer, pattern)
        if len(set(self.measure)) < len(self.measure):
            raise UsageError("what is measured must be distinct", received=f"measure: {', '.join(self.measure)}")
        for checkpoint in self.forward_at.difference(self.checkpoints):
            mend = "add it to subject.train.checkpoints too"
            raise unknown("checkpoint in forward.checkpoints", checkpoint, self.checkpoints, mend=mend)
        names = [*self.latents, *self.layers]
        for layer in self.density_at:
            if layer not in names:
                mend = "take it out there too, e.g. with --set density_at={}"
                raise unknown("layer in density_at", layer, names, mend=mend)
        if len(set(names)) < len(names) or "input" in names:
            raise UsageError("layers and latents must be distinct, and none called input", received=", ".join(names))
