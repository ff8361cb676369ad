"""What a study of inversion needs from outside: its data, its network, its layers."""

import weakref
from collections.abc import Mapping

import torch

from infoplane import data
from infoplane.capture import Tap, default_transform, readings_of
from infoplane.data.notes import say
from infoplane.data.split import PARTS
from infoplane.engine.store import Result
from infoplane.errors import UsageError
from infoplane.information.contrastive import contrastive_batches, lowered_words, one_of_each
from infoplane.information.label import check_prior
from infoplane.measurements import MEASUREMENTS
from infoplane.measurements.base import Measurement
from infoplane.measurements.dataset import load_data, parted, sizes_of
from infoplane.measurements.task import build_subject
from infoplane.study.spec import StudySpec

#: most samples that are drawn from one layer's density and kept
MOST_SAMPLES = 100_000


def check(spec: StudySpec) -> Result:
    """Loads and splits the data, builds the network and looks its layers up; returns the data cell's result.

    Raises UsageError where one of these cannot be done.
    """
    _wanted(spec)
    found = _checked(spec, load_data(spec.data, spec.seed, spec.name))
    say(_lowered(spec, found))
    return found


def outlined(spec: StudySpec) -> Result:
    """Returns what `check` does, without images: what a study costs shows without decoding pictures.

    Which of these are copies of one another does not show, so that parts have the very sizes that were asked for.
    """
    _wanted(spec)
    found = spec.data.outline()
    sizes = sizes_of(spec.data, found.dataset, spec.name)
    return _checked(spec, parted(found.dataset, sizes, spec.seed, found.groups, found.space))


def _wanted(spec: StudySpec) -> list[Measurement]:
    """What is to be measured, or UsageError where no data could give it to such a study."""
    wanted = [each for each in MEASUREMENTS[spec.kind].values() if each.asked in spec.measure]
    for each in wanted:
        each.check_study(spec)
    return wanted


def _checked(spec: StudySpec, result: Result) -> Result:
    for part in ("decoding", "evaluation"):
        if (size := len(result.arrays[part])) < 4:
            raise UsageError(f"data.{part} is too small", received=size, legal="at least 4 images")
    if spec.prior is not None:
        if "labels" not in result.arrays:
            received, mend = f"data set {result.values['name']!r} without labels", "leave prior out"
            raise UsageError("class probabilities without labels", received=received, mend=mend)
        named = len(spec.prior) if isinstance(spec.prior, tuple) else 0
        check_prior(spec.prior, result.arrays["labels"], max(result.values["classes"], named))
    check_requests(spec, {part: len(result.arrays[part]) for part in PARTS})
    contexts_of(spec, result)
    return result


def _lowered(spec: StudySpec, result: Result) -> list[str]:
    """What is done with fewer than was asked for, though it can be done: a default is no request."""
    asked, default = spec.contrastive.candidates, type(spec.contrastive).model_fields["candidates"].default
    if "contrastive" not in spec.measure or asked == default:
        return []
    evaluation, groups = result.arrays["evaluation"], result.arrays.get("groups")
    images = len(one_of_each(None if groups is None else groups[evaluation], len(evaluation)))
    sizes = contrastive_batches(images, candidates=asked, batches=spec.contrastive.batches)
    if sizes is None or sizes.candidates >= asked:
        return []
    return [f"contrastive.candidates: {lowered_words(sizes.candidates, asked, images)}"]


def check_requests(spec: StudySpec, sizes: Mapping[str, int]) -> None:
    """Raises UsageError for sizes that the data cannot give. A default is no request: it is lowered, which is said.

    Args:
        sizes: Images of each part.
    """
    asked = [
        ("contrastive.candidates", spec.contrastive, "candidates", "evaluation", "contrastive" in spec.measure),
        ("samples.images", spec.samples, "images", "evaluation", "samples" in spec.measure),
        ("fit.batch", spec.fit, "batch", "decoding" if spec.fit_on == "decoding" else "encoding", spec.needs_densities),
        ("reconstruction.batch", spec.reconstruction, "batch", "decoding", "mse" in spec.measure),
    ]
    if spec.subject is not None:
        asked.append(("subject.train.batch", spec.subject.train, "batch", "encoding", True))
    for path, section, name, part, wanted in asked:
        value, default = getattr(section, name), type(section).model_fields[name].default
        if wanted and value != default and value > sizes[part] > 0:
            raise UsageError(
                f"{path} is more than there are images",
                received=f"{value:,} of {sizes[part]:,} images in data.{part}",
                legal=f"at most {sizes[part]:,}",
                mend=f"lower {path}, or give data.{part} more",
            )
    if "samples" in spec.measure and (drawn := spec.samples.images * spec.samples.each) > MOST_SAMPLES:
        raise UsageError(
            "too many samples",
            received=f"samples.images {spec.samples.images:,} × samples.each {spec.samples.each:,} = {drawn:,} a layer",
            legal=f"at most {MOST_SAMPLES:,} a layer",
        )


#: the last study whose layers were looked up, its data and what was found: a run asks three times before it begins
_looked_up: tuple[StudySpec, "weakref.ref[Result]", dict[str, tuple[int, ...]]] | None = None


def contexts_of(spec: StudySpec, result: Result) -> dict[str, tuple[int, ...]]:
    """Builds the network on data that are loaded and looks its layers up, or raises UsageError.

    Returns: Layer or latent -> shape of its context, as densities see it.
    """
    global _looked_up
    if _looked_up is None or _looked_up[0] != spec or _looked_up[1]() is not result:
        _looked_up = spec, weakref.ref(result), _contexts(spec, result)
    return dict(_looked_up[2])


def _contexts(spec: StudySpec, result: Result) -> dict[str, tuple[int, ...]]:
    sizes = {part: len(result.arrays[part]) for part in PARTS}
    contexts: dict[str, tuple[int, ...]] = {}
    wanted = _wanted(spec)
    if spec.subject is None:
        for each in wanted:
            each.check(spec, result, None)
    for latent in spec.latents:
        known = {name.removeprefix("latent:") for name in result.arrays if name.startswith("latent:")}
        if latent not in known:
            raise UsageError("unknown latent", received=repr(latent), legal=", ".join(sorted(known)) or "none here")
        contexts[latent] = result.arrays[f"latent:{latent}"].shape[1:]
    if spec.subject is not None:
        if sizes["encoding"] < 2:
            raise UsageError("no images to train the network on", received=f"data.encoding {sizes['encoding']}")
        if "end" not in spec.subject.train.checkpoints:
            received = list(spec.subject.train.checkpoints)
            raise UsageError("subject.train.checkpoints lacks the trained network", received=received, mend="add end")
        with torch.random.fork_rng([]):
            model = build_subject(spec.subject.kind, spec.subject.model_extra or {}, result.values)
            space = data.Images.of_values(result.values)
            images = torch.from_numpy(space.blank(2))
            for each in wanted:
                each.check(spec, result, model)
            inputs = default_transform(space.levels)(images)
            Tap(model, spec.layers)(inputs)
            image = (space.height, space.width)
            readings = readings_of(model, spec.layers, inputs, read_as=spec.read_as, image=image)
        contexts |= {layer: reading.context for layer, reading in readings.items()}
    return contexts
