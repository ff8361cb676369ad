"""What each kind of cell does."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoplane import data, densities, subjects
from infoplane.capture import (
    LayerInfo,
    at_once,
    default_transform,
    dependence,
    fired,
    functions_of,
    list_layers,
    recorded,
)
from infoplane.capture.feeding import dependence_of_transform
from infoplane.capture.recording import in_single
from infoplane.data.split import PARTS
from infoplane.engine.arrays import ArrayWriter
from infoplane.engine.store import ARRAYS_FILE, Result
from infoplane.engine.worker import Progress
from infoplane.errors import UsageError
from infoplane.information import (
    Rows,
    contrastive_batches,
    contrastive_terms,
    fit_probe,
    hashes_of,
    one_of_each,
    seen_hashes,
    states_ceiling,
)
from infoplane.inversion import (
    Curve,
    FitSettings,
    Pairs,
    Reconstructor,
    SquaredError,
    cross_log_probs,
    fit,
    fit_density,
    fit_shared,
    log_probs,
    losses_of,
    trunk_of,
)
from infoplane.study.keeping import kept_layers
from infoplane.study.spec import DataSpec
from infoplane.study.task import Live, Task, build_subject, decided

#: images by which it is found out what a layer depends on
LOOKED_AT = 8
#: images that are paired to find out which layers are functions of which
PAIRED = 32

#: added to the seed of a fit that goes on from another one
SECOND = 500_000_000


def run_data(task: Task) -> Result:
    """Loads the data and splits them three ways."""
    return load_data(DataSpec.model_validate(task.params["data"]), task.params["seed"])


def load_data(spec: DataSpec, seed: int, study: str = "the study") -> Result:
    """The data set that a study asks for, with its split, as a cell's result.

    Args:
        study: What messages call the study.

    Raises:
        UsageError: The data cannot be had, or not be split so.
    """
    dataset = spec.load()
    return split_data(dataset, sizes_of(spec, dataset, study), seed)


def sizes_of(spec: DataSpec, dataset: data.Dataset, study: str) -> dict[str, int | None]:
    """The sizes of the parts that a study asks for.

    Raises:
        UsageError: They do not say how the data set is split.
    """
    sizes = {part: getattr(spec, part) for part in PARTS}
    for names, _ in dataset.sources():
        missing = [f"data.{part}" for part in names if sizes[part] is None]
        if len(missing) > 1:
            raise UsageError(
                f"{study}: sizes of the split are missing",
                received=", ".join(f"{key}: null" for key in missing),
                legal="data.encoding, data.decoding and data.evaluation: at least two must be given, or, where the "
                "data set has official parts, all but one of those that draw from the same; null is all that is left",
                mend=f"give {' and '.join(missing[1:])} a number of images, in the file or with --set",
            )
    return sizes


def split_data(dataset: data.Dataset, sizes: Mapping[str, int | None], seed: int) -> Result:
    """A data set with its split into parts of these sizes, as a cell's result.

    Raises:
        UsageError: It cannot be split so.
    """
    groups = data.group_images(dataset)
    split = data.split(dataset, **{part: sizes[part] for part in PARTS}, seed=seed, groups=groups)
    parts = {part: getattr(split, part) for part in PARTS}
    arrays = {"images": dataset.images, **{f"latent:{name}": a for name, a in dataset.latents.items()}}
    arrays |= {**parts, "groups": groups}
    if dataset.labels is not None:
        arrays["labels"] = dataset.labels
    classes = dataset.classes if dataset.labels is not None else None
    values = {"name": dataset.name, "levels": dataset.levels, "classes": classes, "shape": list(dataset.shape)}
    values["notes"] = [*data.describe(dataset, groups, parts, sizes), *dataset.notes]
    return Result(values, arrays)


def run_subject(task: Task) -> Result:
    """Trains the network under study on the encoding part."""
    spec = dict(task.params["subject"])
    train, kind = spec.pop("train"), spec.pop("kind")
    seed, device = task.params["seed"], task.environment.device
    settings, objective = subjects.settings_of(kind).model_validate(train), subjects.objective_of(kind)
    encoding = task.split("encoding")
    kept, held = encoding, encoding[:0]
    if settings.held_out:
        kept, held = data.hold_out(encoding, settings.held_out, seed, task.groups(encoding))
    if objective == "cross-entropy" and not task.data.values["classes"]:
        raise UsageError("a classifier needs labels", received=f"data set {task.data.values['name']!r} without labels")
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = build_subject(kind, spec, task.data.values).to(device)
    images, looked_at = task.images(kept).to(device), task.images(held).to(device)
    labels, known = (_on(device, task.labels(index)) for index in (kept, held))
    transform, progress = default_transform(task.levels), task.environment.progress
    values: dict[str, Any] = {"kind": kind, "options": spec}
    if isinstance(settings, subjects.EpochSettings):
        told = progress if objective == "cross-entropy" else _without_nats(progress)
        network = subjects.train_epochs(
            model,
            *(images, labels, looked_at, known),
            settings,
            objective=objective,
            transform=transform,
            seed=seed,
            progress=told,
        )
        values |= {"epochs": network.epochs, "curves": network.curves, "objective": objective}
        return Result(values, weights=network.states)
    assert labels is not None
    assert known is not None
    trained = subjects.train_classifier(
        model,
        *(images, labels, looked_at, known),
        settings=settings,
        transform=transform,
        seed=seed,
        progress=progress,
    )
    values |= {
        "updates": trained.updates,
        "validation_accuracy": trained.validation_accuracy,
        "best_update": trained.best_update,
    }
    return Result(values, weights=trained.states)


def _on(device: torch.device, labels: np.ndarray | None) -> Tensor | None:
    return None if labels is None else torch.as_tensor(labels).to(device)


def _without_nats(progress: Progress) -> Progress:
    return lambda done, total, _: progress(done, total, None)


def run_forward(task: Task) -> Result:
    """Trains what follows a layer anew on the decoding part to read the label, and scores the evaluation part."""
    params, layer = task.params, task.params["layer"]
    if not task.data.values["classes"]:
        return Result({"labels": False})
    capture = task.needs["capture"]
    live = task.live(capture.values["checkpoint"])
    on_the_fly = layer in capture.values["on_the_fly"]

    def examples(part: str) -> tuple[Tensor, Tensor]:
        index = task.split(part)
        inputs = task.images(index) if on_the_fly else torch.from_numpy(capture.array(f"{part}:{layer}")).float()
        return inputs, torch.as_tensor(task.labels(index))

    found = subjects.decode_labels(
        live.model,
        layer,
        examples("decoding"),
        examples("evaluation"),
        subjects.EpochSettings.model_validate(params["fit"]),
        classes=task.data.values["classes"],
        seed=params["seed"],
        transform=live.transform if on_the_fly else None,
        held_out=params["held_out"],
        groups=task.groups(task.split("decoding")),
        progress=task.environment.progress,
    )
    values = {"labels": True, "curves": found.curves, "parameters": found.parameters}
    return Result(values, {"log_probs": found.log_probs.numpy(), "correct": found.correct.numpy().astype(np.uint8)})


def run_own(task: Task) -> Result:
    """What the classifier under study itself gives the labels of the evaluation part."""
    index = task.split("evaluation")
    live = task.live(task.params["checkpoint"])
    scores = subjects.label_log_probs(
        live.model, task.images(index), torch.as_tensor(task.labels(index)), live.transform
    )
    return Result(arrays={"log_probs": scores.numpy()})


def run_capture(task: Task) -> Result:
    """Records the layers' activations on the decoding and evaluation parts, and the classifier's right answers.

    Also on the first images of the encoding part, as many as a density's loss is followed on.
    """
    live = task.live(task.params["checkpoint"])
    with live.in_place():
        return _captured(task, live)


def _captured(task: Task, live: Live) -> Result:
    params, layers = task.params, task.params["layers"]
    example = live.inputs(task.images(task.split("decoding")[:LOOKED_AT]))
    known = bool(live.readings)
    image = task.data.values["shape"][1:]
    listed = (
        fired(live.model, example)
        if known
        else list_layers(live.model, example, read_as=params["read_as"], image=image)
    )
    sizes = {info.name: info for info in listed}
    readings = live.readings or {name: info.reading for name, info in sizes.items() if info.reading is not None}
    if known:
        notes, drawn = live.notes, live.random
    else:
        few = task.images(task.split("decoding")[: at_once(example)])
        notes, drawn = look_closer(live, few, [sizes[layer] for layer in layers])
    parts = {part: task.split(part) for part in ("decoding", "evaluation")}
    if params["encoding"]:
        parts["encoding"] = task.split("encoding")[: params["encoding"]]
    # What is random is drawn anew for every batch of every fit, from the fit's own seed.
    keepable = {layer: sizes[layer].shape for layer in layers if layer not in drawn}
    cached = list(kept_layers(keepable, sum(map(len, parts.values())), params["checkpoints"]))
    on_the_fly = [layer for layer in layers if layer not in cached]
    values = {"on_the_fly": on_the_fly, "seen": {}, "states": {}, "checkpoint": params["checkpoint"]}
    values["shapes"] = {layer: list(sizes[layer].shape) for layer in layers}
    values["read_as"] = {layer: readings[layer].to_json() for layer in layers if layer in readings}
    values["notes"] = {layer: list(notes[layer]) for layer in layers if layer in notes}
    paired = live.inputs(task.images(task.split("decoding")[: min(PAIRED, at_once(example))]))
    values["function_of"] = functions_of(live.model, layers, paired, unsure=[*notes])
    for layer in layers:
        # Activations are measured in float32, whatever finer type they were computed in.
        bits = min(32, sizes[layer].bits)
        values["states"][layer] = states_ceiling(math.prod(sizes[layer].shape), bits)
    labels, arrays = task.labels(task.split("evaluation")), {}
    given = answers(task, live, task.images(task.split("evaluation"))) if labels is not None else None
    if isinstance(given, int):
        values["outputs"] = given
    elif given is not None and labels is not None:
        classes = task.data.values["classes"]
        shares = [np.bincount(each, minlength=classes) / len(given) for each in (given, labels)]
        values["chance"] = float(shares[0] @ shares[1])
        arrays["correct"] = (given == labels).astype(np.uint8)
    if not cached:
        return Result(values, arrays)
    outlines = {
        f"{part}:{layer}": (np.dtype(np.float32), (len(index), *sizes[layer].shape))
        for part, index in parts.items()
        for layer in cached
    }
    outlines |= {name: (array.dtype, array.shape) for name, array in arrays.items()}
    assert task.environment.scratch is not None
    path = task.environment.scratch / ARRAYS_FILE
    with ArrayWriter(path, outlines) as file:
        for name, array in arrays.items():
            file.append(name, array)
        hashes = _record(task, live, cached, parts, at_once(example), file)
    groups = task.groups(np.concatenate([parts["decoding"], parts["evaluation"]]))
    values["seen"] = {layer: asdict(seen_hashes(hashes[layer], groups)) for layer in cached}
    return Result(values, file=path)


def look_closer(
    live: Live, images: np.ndarray | Tensor, layers: Sequence[LayerInfo]
) -> tuple[dict[str, tuple[str, ...]], frozenset[str]]:
    """Returns what must be said of layers that depend on more than their images, and those that are random.

    They are tried again in a batch as large as those that are captured, for what the few images by which they were
    looked up do not show.
    """
    closer = dependence(live.model, live.inputs(images), [info.name for info in layers], rows=max(2, len(images)))
    notes = {name: own.notes for name, own in closer.items()} | {info.name: info.notes for info in layers if info.notes}
    random = {name for name, own in closer.items() if own.random} | {info.name for info in layers if info.random}
    fed = dependence_of_transform(live.transform, images)
    for info in layers:
        said = [note for note in fed.notes if note not in notes.get(info.name, ())]
        if said:
            notes[info.name] = (*notes.get(info.name, ()), *(f"{note} (in the transform)" for note in said))
    return notes, frozenset(random | ({info.name for info in layers} if fed.random else set()))


def _record(
    task: Task, live: Live, layers: list[str], parts: Mapping[str, np.ndarray], batch: int, file: ArrayWriter
) -> dict[str, np.ndarray]:
    """Writes the activations of all parts in one pass over the images.

    Returns: Layer -> hashes of its values on the decoding and evaluation parts.
    """
    chunks = [(part, index[i : i + batch]) for part, index in parts.items() for i in range(0, len(index), batch)]
    hashes: dict[str, list[np.ndarray]] = {layer: [] for layer in layers}
    images = (task.images(chunk) for _, chunk in chunks)
    found = recorded(live.model, layers, images, transform=live.transform)
    for done, ((part, _), activations) in enumerate(zip(chunks, found, strict=True), start=1):
        for layer, h in activations.items():
            rows = in_single(layer, h).numpy()
            file.append(f"{part}:{layer}", rows)
            if part != "encoding":
                hashes[layer].append(hashes_of(rows))
        task.environment.progress(done, len(chunks), None)
    return {layer: np.concatenate(each) for layer, each in hashes.items()}


def answers(task: Task, live: Live, images: Tensor) -> np.ndarray | int | None:
    """The class that the network gives each image, (n,); where its outputs are not one for each class, their number.

    None where it ends in no vector.
    """
    inputs = live.inputs(images[:2])
    taps, batch = fired(live.model, inputs), at_once(inputs)
    root = "<output>" if "output" in dict(live.model.named_children()) else "output"
    # Tapped like any layer, so that the network is left as it was found, whatever it does.
    scores = next((tap for tap in taps if tap.name in (root, f"{root}[logits]")), None)
    if scores is None or scores.problem or len(scores.shape) != 1:
        return None
    if scores.shape[0] != task.data.values["classes"]:
        return scores.shape[0]
    tap = live.tap([scores.name], "cpu")
    chunks = [tap(images[i : i + batch])[scores.name] for i in range(0, len(images), batch)]
    return torch.cat(chunks).argmax(1).numpy()


def run_trunk(task: Task) -> Result:
    """Fits the densities of all layers and checkpoints that differ only in their contexts, and their twin, together."""
    params = decided(task).params
    settings = FitSettings.model_validate(params["fit"])
    seed, places = params["seed"], params["places"]
    models, kept, held = {}, {}, {}
    for position, place in enumerate(places):
        # A layer has the same name at every checkpoint.
        name = str(position)
        at = task.at(place["capture"]) if "capture" in place else task
        kept[name], held[name] = at.fitting_pairs(place["layer"], settings.held_out, seed)
        models[name] = build_density(task, place["density"], kept[name].context_shape, seed)
    curve = fit_shared(models, kept, held, settings, seed=seed, progress=task.environment.progress)
    trunk = set(trunk_of(models["0"]))
    weights = {"trunk": models["0"].state_dict()}
    for name, density in models.items():
        weights[f"place{name}"] = {key: value for key, value in density.state_dict().items() if key not in trunk}
    return Result({"curves": [asdict(own) for own in curve.places.values()]}, weights=weights)


def run_density(task: Task) -> Result:
    """Fits q(x|h) at one layer, or its null-context twin, and scores the evaluation part with it."""
    params, environment = decided(task).params, task.environment
    layer, seed = params["layer"], params["seed"]
    pairs, held = task.fitting_pairs(layer, params["fit"]["held_out"], seed)
    followed = task.followed(layer)
    density = build_density(task, params["density"], pairs.context_shape, seed)
    start, curve = None, Curve()
    if "trunk" in task.needs:
        trunk, place = task.needs["trunk"], params["place"]
        start = {**trunk.weights("trunk"), **trunk.weights(f"place{place}")}
        curve = Curve(**trunk.values["curves"][place])
        density.load_state_dict(start)
    elif "start" in task.needs:
        start = task.needs["start"].weights("density")
    if params["fit"]["updates"]:
        settings = FitSettings.model_validate(params["fit"])
        # Other batches than those that the trunk or the base has just seen.
        at = seed + SECOND if start is not None else seed
        own = fit_density(
            density, pairs, held, settings, seed=at, start=start, watched=followed, progress=environment.progress
        )
        curve = curve.then(own)
    evaluation = task.pairs(layer, "evaluation")
    scores, unseen = log_probs(density, evaluation), log_probs(density, held)
    groups = task.held_out_groups(params["fit"]["held_out"], seed)
    some = pairs.subset(np.arange(min(len(pairs), len(held))))
    values = {
        "curve": asdict(curve),
        "context": pairs.context_shape,
        "train_nats": -float(log_probs(density, some).mean()),
        "heldout_nats": -float(unseen.mean()),
        "heldout_n": len(np.unique(groups)),
        "parameters": sum(p.numel() for p in density.parameters()),
    }
    arrays = {"log_probs": scores.numpy(), "log_probs:heldout": unseen.numpy(), "groups:heldout": groups}
    for part, some in followed.items():
        if part != "evaluation":
            arrays[f"log_probs:{part}"] = log_probs(density, some).numpy()
    if params["contrastive"] is not None and (batches := batches_of(task)):
        arrays["contrastive"] = np.array([contrastive_mean(density, evaluation.subset(batch)) for batch in batches])
        values["candidates"] = len(batches[0])
    return Result(values, arrays, {"density": density.state_dict()})


def batches_of(task: Task) -> list[np.ndarray]:
    """The places in the evaluation part (K,) of the images of each contrastive batch, no two of one group; none where
    there are too few images."""
    index = task.split("evaluation")
    chosen = one_of_each(task.groups(index), len(index))
    sizes = contrastive_batches(len(chosen), **task.params["contrastive"])
    return [] if sizes is None else list(chosen[: sizes.candidates * sizes.count].reshape(-1, sizes.candidates))


def contrastive_mean(density: densities.Density, pairs: Pairs) -> float:
    """The mean contrastive term of one batch."""
    contexts = pairs.context_of(slice(None))
    assert contexts is not None
    return float(contrastive_terms(cross_log_probs(density, pairs, contexts).numpy()).mean())


def build_density(task: Task, spec: Mapping[str, Any], context: tuple[int, ...] | None, seed: int) -> densities.Density:
    """The density with its initial weights: those of the twin where both have the same seed."""
    options = dict(spec)
    kind = options.pop("kind")
    shape = tuple(task.data.values["shape"])
    density = densities.build(kind, shape, task.levels, context, options, seed=seed)
    return density.to(task.environment.device)


def run_mse(task: Task) -> Result:
    """Fits the MSE inverter at one layer; reconstructs the pictured images and scores the evaluation part."""
    params = task.params
    settings = FitSettings.model_validate(params["fit"])
    pairs, held = task.fitting_pairs(params["layer"], settings.held_out, params["seed"])
    context_shape = pairs.context_shape
    assert context_shape is not None
    with torch.random.fork_rng([]):
        torch.manual_seed(params["seed"])
        model = Reconstructor(tuple(task.data.values["shape"]), context_shape)
    model.to(task.environment.device)
    loss = SquaredError(model, task.levels)
    # The display's third figure is nats, which a squared error is not.
    progress = _without_nats(task.environment.progress)
    curve = fit(model, loss, pairs, held, settings, seed=params["seed"], progress=progress)
    evaluation = task.pairs(params["layer"], "evaluation")
    _, context = evaluation.batch(slice(0, params["images"]))
    assert context is not None
    arrays = {
        "errors": losses_of(model, loss, evaluation).numpy(),
        "reconstructions": model.reconstruct(context, task.levels).cpu().numpy(),
    }
    return Result({"curve": asdict(curve)}, arrays, {"reconstructor": model.state_dict()})


def run_probe(task: Task) -> Result:
    """Fits the linear probe at one layer and scores the evaluation labels with it."""
    params = task.params
    if not task.data.values["classes"]:
        return Result({"labels": False})
    decoding = task.split(params["fit_on"])
    held_out, groups = params["fit"]["held_out"], task.groups(decoding)
    kept, held = data.hold_out(np.arange(len(decoding)), held_out, params["seed"], groups)
    pairs, units = task.pairs(params["layer"], params["fit_on"]), task.units(params["layer"])
    labels = task.labels(decoding)
    evaluation_labels = task.labels(task.split("evaluation"))
    assert labels is not None
    assert evaluation_labels is not None
    if len(np.unique(labels[kept])) < 2:
        return Result({"labels": False})
    probe = fit_probe(
        _features(pairs.subset(kept), units),
        labels[kept],
        _features(pairs.subset(held), units),
        labels[held],
        classes=task.data.values["classes"],
        groups=task.groups(decoding[np.concatenate([kept, held])]),
    )
    scores = probe.log_probs(_features(task.pairs(params["layer"], "evaluation"), units), evaluation_labels)
    return Result({"labels": True}, {"log_probs": scores})


def _features(pairs: Pairs, units: Callable[[Tensor], Tensor]) -> Rows:
    """The standardised contexts as vectors, computed as they are asked for."""

    def of(part: slice) -> Tensor:
        context = pairs.context_of(part)
        assert context is not None
        return units(context)

    return Rows(len(pairs), of)


def run_samples(task: Task) -> Result:
    """Draws images from q(x|h) for the pictured evaluation images, or from the twin."""
    params, device = decided(task).params, task.environment.device
    fitted = task.needs["density"]
    context_shape = fitted.values["context"]
    density = build_density(task, params["density"], None if context_shape is None else tuple(context_shape), 0)
    density.load_state_dict(fitted.weights("density"))
    generator = torch.Generator(device).manual_seed(params["seed"])
    images, each = params["images"], params["each"]

    def progress(done: int, total: int) -> None:
        task.environment.progress(done, total, None)

    if params["layer"] is None:
        drawn = density.sample(n=each, generator=generator, progress=progress)[None]
    else:
        _, context = task.pairs(params["layer"], "evaluation").batch(slice(0, images))
        assert context is not None
        drawn = density.sample(context.repeat_interleave(each, 0), generator=generator, progress=progress)
        drawn = drawn.unflatten(0, (len(context), each))
    return Result(arrays={"samples": drawn.cpu().numpy()})


def run_judge(task: Task) -> Result:
    """Lets the network under study classify the samples."""
    samples = task.needs["samples"].array("samples")
    labels = task.labels(task.split("evaluation")[: len(samples)])
    if labels is None:
        return Result({"classifier": False})
    flat = torch.from_numpy(samples).flatten(0, 1)
    given = answers(task, task.live(), flat)
    if not isinstance(given, np.ndarray):
        return Result({"classifier": False})
    return Result({"classifier": True}, {"correct": (given == labels.repeat(samples.shape[1])).astype(np.uint8)})


def run_truth(task: Task) -> Result:
    """What is known exactly of generated data: true log-probabilities of the evaluation part, and information."""
    params = task.params
    truth = data.Truth(params["options"].get("noise", 0.2))
    images = task.data.array("images")[task.split("evaluation")]
    arrays: dict[str, np.ndarray] = {"log_probs:input": truth.log_prob(images)}
    values: dict[str, Any] = {"entropy": {"input": asdict(truth.entropy(params["draws"], seed=7))}, "information": {}}
    batches = batches_of(task)
    for latent in ("template", "shift"):
        chosen = task.data.array(f"latent:{latent}")[task.split("evaluation")].argmax(1)
        under_each = truth.log_prob_under_each(images, latent)
        arrays[f"log_probs:{latent}"] = under_each[np.arange(len(images)), chosen]
        if batches:
            scores = [contrastive_terms(under_each[batch][:, chosen[batch]]).mean() for batch in batches]
            arrays[f"contrastive:{latent}"] = np.array(scores)
        values["information"][latent] = asdict(truth.information(latent, params["draws"], seed=7))
        values["entropy"][latent] = asdict(truth.conditional_entropy(latent, params["draws"], seed=7))
    return Result(values, arrays)


KINDS: dict[str, Callable[[Task], Result]] = {
    "data": run_data,
    "subject": run_subject,
    "capture": run_capture,
    "trunk": run_trunk,
    "density": run_density,
    "mse": run_mse,
    "probe": run_probe,
    "forward": run_forward,
    "own": run_own,
    "samples": run_samples,
    "judge": run_judge,
    "truth": run_truth,
}
