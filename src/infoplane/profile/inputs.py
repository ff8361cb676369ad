"""What `measure` is given: images, layers, kinds, all of them checked before anything is computed."""

import dataclasses
import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from torch import Tensor, nn

from infoplane import data
from infoplane.capture import Tap, as_taken, at_once, default_transform, list_layers, model_input
from infoplane.capture.pytrees import own_batch
from infoplane.checks import as_numpy
from infoplane.engine.watch import Watcher
from infoplane.errors import UsageError, spoken_list, unknown
from infoplane.information.label import Prior, check_prior
from infoplane.measurements.candidates import AUTO, small_pixelcnn
from infoplane.measurements.inputs import LOOKED_AT, look_closer
from infoplane.measurements.numbers import INPUT
from infoplane.measurements.task import Live
from infoplane.study.spec import DensitySpec, Measure

#: fewest images from which anything can be said
LEAST_IMAGES = 40
#: the densities that `measure` fits; the first where none is named
DENSITIES = (AUTO, "pixelcnn")
#: most values of an image for which the data choose: no window density was tried on larger ones
LARGEST = 3 * 64 * 64
#: what can be measured of one's own network, as `kinds` names it; nce first, as in the table
MEASURABLE: tuple[Measure, ...] = ("nce", "usable", "contrastive", "label", "mse", "samples")


def dataset_of(images: Any, labels: Any, levels: int | None, groups: Any) -> data.Dataset:
    """The images as a data set, with what is given beside them.

    Of a data set in official parts it is the test images alone: the network has as a rule seen the others, and nothing
    of what it was trained on is held out.
    """
    if isinstance(images, data.Dataset):
        if labels is not None:
            raise UsageError("labels beside a data set", received="labels=…", mend="leave them out, or replace its own")
        own = images.groups if groups is None else groups
        dataset = dataclasses.replace(images, levels=images.levels if levels is None else levels, groups=own)
        if dataset.pools is not None:
            part = dataset.subset(dataset.pools["evaluation"])
            note = f"measuring on the {len(part):,} official test images of {dataset.name}: the others are left out"
            dataset = dataclasses.replace(part, pools=None, notes=(*part.notes, note))
        data.check_images(dataset.images, dataset.levels, least=LEAST_IMAGES)
        return dataset
    levels = data.Dataset.levels if levels is None else levels
    checked = data.check_images(images, levels, least=LEAST_IMAGES)
    if labels is not None:
        labels = data.check_labels(labels, len(checked))
    made = data.Dataset("your images", checked, labels, levels, groups=groups)
    return dataclasses.replace(made, notes=tuple(data.class_notes(made.labels, made.classes)))


def distinct(layers: Iterable[str], model: Any) -> list[str]:
    """The layers' names, once each."""
    if isinstance(layers, Iterator):
        layers = list(layers)
    if (
        isinstance(layers, str | Mapping)
        or not isinstance(layers, Collection)
        or not layers
        or not all(isinstance(layer, str) for layer in layers)
    ):
        mend = f"a list of one: layers=[{layers!r:.60}]" if isinstance(layers, str) else None
        legal = 'for example ["layer2", "avgpool"]'
        raise UsageError("layers must be a list of names", received=repr(layers), legal=legal, mend=mend)
    if len(set(layers)) < len(layers):
        raise UsageError("layers must be distinct", received=", ".join(layers))
    # "input" is what p(x) is called in every table; a layer of that name has another one.
    renamed = isinstance(model, nn.Module) and INPUT in dict(model.named_modules())
    return [f"<{INPUT}>" if renamed and layer == INPUT else layer for layer in layers]


def said_of_mode(model: nn.Module) -> str | None:
    """What must be said of a network that was given in training mode, and computes otherwise then; else None.

    A module does so where the code of its class looks at `training`, as that of dropout and batch normalisation does.
    """
    kinds = {type(each).__name__ for each in model.modules() if each.training and _looks_at_training(type(each))}
    if not kinds:
        return None
    verb = "computes" if len(kinds) == 1 else "compute"
    return (
        "The network was given in training mode and is measured in evaluation mode, as model.eval() sets it: "
        f"{spoken_list(sorted(kinds))} {verb} otherwise while training."
    )


@cache
def _looks_at_training(kind: type[nn.Module]) -> bool:
    own = (value for each in kind.__mro__[: kind.__mro__.index(nn.Module)] for value in vars(each).values())
    return any("training" in value.__code__.co_names for value in own if inspect.isfunction(value))


def readings_given(read_as: Any) -> dict[str, str]:
    """How layers are read, where that was said."""
    if read_as is not None and not isinstance(read_as, Mapping):
        mend = 'name the layer: read_as={"layer2": "hwc"}'
        raise UsageError(
            "read_as cannot be used", received=f"{read_as!r:.60}", legal="layer -> how its axes are read", mend=mend
        )
    return dict(read_as or {})


def folder_of(out: Any, what: str = "out") -> Path:
    """The run's folder."""
    if not isinstance(out, str | os.PathLike):
        raise UsageError(f"{what} cannot be used", received=f"{out!r:.60}", legal="the path of a folder")
    return Path(out)


def watching(watchers: Any) -> list[Watcher]:
    """Who is told what happens."""
    legal = "a list of infoplane.engine.watch.Watcher, each of your own class"
    found = list(watchers) if isinstance(watchers, Iterable) else None
    if found is None or not all(isinstance(each, Watcher) for each in found):
        raise UsageError("watchers cannot be used", received=f"{watchers!r:.60}", legal=legal)
    return found


def transform_of(model: nn.Module, dataset: data.Dataset) -> Callable[[Tensor], Any]:
    """The default transform; in the type of the model's weights where the model takes no other."""
    plain = default_transform(dataset.levels)
    if not isinstance(model, nn.Module):
        return plain
    example = model_input(plain, own_batch(dataset.images[:2]))
    taken = cast(Tensor, as_taken(model, example)).dtype
    return plain if taken == example.dtype else lambda x: plain(x).to(taken)


def fire(live: Live, dataset: data.Dataset, layers: list[str], read_as: Mapping[str, str]) -> Any:
    """Returns the network's inputs for a few images, by which it is looked at; on them all the layers fire."""
    if not isinstance(live.model, nn.Module):
        mend = "build the network, and load the weights into it" if isinstance(live.model, Mapping) else None
        raise UsageError("not a model", received=type(live.model).__name__, legal="a torch.nn.Module", mend=mend)
    example = live.inputs(dataset.images[:LOOKED_AT])
    Tap(live.model, layers)(example)
    for layer in read_as:
        if layer not in layers:
            raise unknown("layer in read_as", layer, layers)
    return example


def look_up(live: Live, example: Any, dataset: data.Dataset, layers: list[str], read_as: Mapping[str, str]) -> Live:
    """Looks the layers up on a few inputs; returns the network with what it tells of them, in depth order."""
    found = list_layers(live.model, example, read_as=read_as, image=dataset.shape[1:])
    # Steps from one layer to the next are spoken of as losses: that needs the order in which they are computed.
    readings = {info.name: info.reading for info in found if info.name in layers and info.reading is not None}
    few = dataset.images[: at_once(example)]
    notes, drawn = look_closer(live, few, [info for info in found if info.name in readings])
    return replace(live, readings=readings, notes=notes, random=drawn)


def kinds_of(kinds: Sequence[str] | None, labelled: bool) -> tuple[Measure, ...]:
    """What is measured, in the table's order."""
    legal: list[Measure] = [kind for kind in MEASURABLE if labelled or kind != "label"]
    if kinds is None:
        return tuple(legal)
    if isinstance(kinds, str) or not kinds or not all(isinstance(kind, str) for kind in kinds):
        raise UsageError("kinds must be a list of names", received=repr(kinds), legal=", ".join(MEASURABLE))
    if len(set(kinds)) < len(kinds):
        raise UsageError("kinds must be distinct", received=", ".join(kinds))
    for kind in kinds:
        if kind == "label" and not labelled:
            raise UsageError("there are no labels to read", received="kinds with label", mend="pass labels=")
        if kind not in legal:
            raise unknown("kind to measure", kind, legal)
    return tuple(kind for kind in legal if kind in kinds)


def check_labels_differ(dataset: data.Dataset, wanted: Sequence[Measure], quiet: bool) -> None:
    """Says, or refuses where nothing else is asked for, that labels which are all the same tell nothing."""
    if dataset.labels is None or "label" not in wanted or len(np.unique(dataset.labels)) > 1:
        return
    if list(wanted) == ["label"]:
        legal, mend = "labels of two classes or more", "leave label out of kinds"
        raise UsageError("there is no label information", received="all labels are the same", legal=legal, mend=mend)
    if not quiet:
        print("no label information: all labels are the same", file=sys.stderr)


def prior_of(prior: Prior | None, dataset: data.Dataset) -> Literal["uniform"] | tuple[float, ...] | None:
    """The classes' probabilities as a study keeps them, of as many classes as are named or occur."""
    if prior is None:
        return None
    if dataset.labels is None or dataset.classes is None:
        raise UsageError("class probabilities without labels", received="prior=…", mend="pass labels=, or leave it out")
    if isinstance(prior, str):
        check_prior(prior, dataset.labels, dataset.classes)
        return "uniform"
    named = len(np.atleast_1d(as_numpy(prior, what="class probabilities")))
    return tuple(check_prior(prior, dataset.labels, max(dataset.classes, named)).tolist())


def density_of(kind: str, shape: tuple[int, int, int], levels: int) -> DensitySpec:
    """Returns the density that is fitted, of a kind that `measure` knows; to large images always PixelCNN++."""
    if kind not in DENSITIES:
        raise unknown("density to measure with", repr(kind) if not isinstance(kind, str) else kind, DENSITIES)
    chosen = kind == AUTO and data.Images.of(shape, levels).dimensions <= LARGEST
    return DensitySpec(kind=AUTO) if chosen else suggest_density(shape, levels)


def suggest_density(shape: tuple[int, int, int], levels: int) -> DensitySpec:
    """Returns a density that learns fast on images of this shape: small, with as many scales as the size asks for."""
    return DensitySpec.model_validate(small_pixelcnn(shape, levels).density)
