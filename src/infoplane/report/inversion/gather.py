"""What the page of a study of inversion shows."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from infoplane.data.space import Images
from infoplane.data.split import PARTS
from infoplane.errors import in_words
from infoplane.measurements import QUANTITIES
from infoplane.measurements.candidates import SPOKEN, has_wide_products, paced
from infoplane.measurements.densities import seed_of
from infoplane.measurements.numbers import INPUT
from infoplane.measurements.readers import LayerReader
from infoplane.measurements.task import END
from infoplane.report.claimed import Difference, Fall
from infoplane.report.format import capitalised, with_error
from infoplane.report.inversion.contents import Layer, LayerPictures, ReportContents, TrainingCurve
from infoplane.report.provenance import provenance
from infoplane.study.results import Results
from infoplane.study.spec import StudySpec
from infoplane.subjects import EpochSettings, TrainSettings

#: checkpoints, at most, that a sentence names
MOST_NAMED = 4

#: kind of cell -> what the reader calls it
STAGES = {
    "subject": "network under study",
    "capture": "activations",
    "candidate": "trial fit",
    "choice": "choice of the density",
    "density": "density",
    "trunk": "densities",
    "mse": "reconstructions",
    "judge": "network's reading of the samples",
    "truth": "known truth",
}
#: what is drawn -> the kind of cell that holds it
PICTURES = {"reconstructions": "mse", "samples": "samples"}


def measured(results: Results) -> ReportContents:
    """Gathers the numbers, and what must be said of them: without pictures, training and how all of it was made."""
    spec, data = results.spec, results.cell("data")
    return ReportContents(
        title=spec.title,
        note=spec.note,
        description=" ".join(filter(None, (_description(spec, results), network_words(spec), choice_words(results)))),
        data_notes=data.values.get("notes", ()) if data is not None else (),
        numbers=results.numbers,
        layers=[_layer(results, name) for name in results.layers],
        checkpoints=results.checkpoints,
        left_out=results.left_out(),
        readers=reader_words(results),
        label_entropy=capitalised(results.label_entropy()),
        each=spec.samples.each,
    )


def contents_of(results: Results) -> ReportContents:
    """Gathers what the page shows."""
    spec, data, whole = results.spec, results.cell("data"), measured(results)
    shown: dict[str, Any] = {}
    if data is not None:
        null = results.cell("samples", INPUT)
        shown = {key: data.values[key] for key in ("levels", "classes")}
        shown |= {
            "source": data.values["name"],
            "inputs": data.array("images")[data.array("evaluation")[: spec.samples.images]],
            "null_samples": None if null is None else null.array("samples")[0],
            "layers": [replace(layer, pictures=_pictures(results, layer.name)) for layer in whole.layers],
        }
    candidates = [s.values.get("candidates") for place in results.places for _, s in results.own_fits(*place)]
    return replace(
        whole,
        **provenance(results, STAGES),
        **shown,
        **_ages(spec),
        differences=[Difference.of(row) for row in results.once("differences")],
        changes=results.once("changes"),
        falls=[Fall.of(row) for row in results.once("falls")],
        losses=results.once("losses"),
        fit_on=spec.fit_on,
        curves=list(_curves(results)),
        seeds=_seeds(spec, results),
        settings_note=_chosen(spec, results),
        sanity=list(_sanity(results)),
        candidates=next((k for k in candidates if k is not None), None),
    )


def _ages(spec: StudySpec) -> dict[str, Any]:
    """What training is counted in, and how far it is at the end where that is fixed beforehand."""
    if spec.subject is None:
        return {"counted": "checkpoints"}  # what their names count is the caller's
    train = spec.subject.train
    if isinstance(train, EpochSettings):
        return {"counted": "epochs", "ages": {END: float(train.epochs)}}
    return {}  # the best of several looks is taken, whenever that was


def network_words(spec: StudySpec) -> str:
    """What is said of numbers that are of several networks; "" where there is one."""
    if (count := len(spec.networks)) == 1:
        return ""
    return (
        f"Numbers are means over {count} networks, each trained from a seed of its own; their errors cover networks, "
        "refits and images, and claims count networks. Pictures, training curves and losses are of the first one."
    )


def _description(spec: StudySpec, results: Results) -> str:
    data = results.cell("data")
    if data is None:
        gone = "What was stored of the images is damaged, and without them no picture can be shown."
        return gone if results.plan.name("data") in results.damaged() else "No part of this run has finished yet."
    sizes = {part: len(data.array(part)) for part in PARTS}
    images = f"{Images.of_values(data.values).words} ({data.values['name']})"
    # All of them decide: those that do not train say when to stop.
    held = f", {100 * spec.fit.held_out:.3g} % of them held out to say when to stop"
    if spec.fit_on == "encoding":
        return (
            f"A density was trained on {sizes['encoding']} {images}{held}; the numbers come from "
            f"{sizes['evaluation']} others, on which nothing was trained or chosen."
        )
    fitted = _fitted(spec)
    trained = f"{sizes['decoding']} {'others' if spec.subject else images}{held * spec.needs_densities}"
    if spec.subject is None:
        others = "others, which nothing was trained on" if fitted else images
        others = "others, which no density has seen" if spec.needs_densities else others
        numbers = f"the numbers come from {sizes['evaluation']} {others}"
        said = capitalised(f"{fitted} were trained on {trained}; {numbers}" if fitted else numbers)
        return f"{said}. Whether the network was trained on any of them is not known here."
    share = getattr(spec.subject.train, "held_out", 0)
    choose = "to choose its weights" if isinstance(spec.subject.train, TrainSettings) else "to watch its loss"
    kept = f" ({100 * share:.3g} % of them held out {choose})" if share else ""
    return (
        f"A {spec.subject.kind} was trained on {sizes['encoding']} {images}{kept}"
        f"{f', {fitted} on {trained}' if fitted else ''}. The numbers come from {sizes['evaluation']} "
        f"{'more' if fitted else 'others'}, on which nothing was trained or chosen."
    )


def _fitted(spec: StudySpec) -> str:
    """What is fitted to layers; "" where nothing is."""
    if spec.needs_densities:
        return "densities q(x|h)"
    return "readers of its layers" * any(m.asked in spec.measure and not m.unfitted for m in QUANTITIES.values())


def choice_words(results: Results) -> str:
    """Which density the data chose, by how much, and how it is trained, in two sentences; "" where they chose none."""
    found = results.choice
    if found is None:
        return ""
    spec, name, other = results.spec, found["chosen"], found["other"]
    own = SPOKEN[name]
    trained = f"Its fits make {_steps(spec, found)}."
    if other is None:
        failed = " and ".join(f"{SPOKEN[each]} could not be ({why})" for each, why in found["failed"].items())
        return f"The density is {own}, which could be trained: {failed}. {trained}"
    told = found["difference"] > found["stderr"]
    reason = "which the data chose" if told else "which is taken where the data tell no other from it"
    apart = with_error(abs(found["difference"]), found["stderr"])
    less = "less" if found["difference"] >= 0 else "more"
    losses = [found["losses"][each] for each in (name, other)]
    nats = " and ".join(with_error(each["nats"], each["stderr"]) for each in losses)
    return (
        f"The density is {own}, {reason}: after {losses[0]['updates']:,} updates it needs {apart} nats per image "
        f"{less} than {SPOKEN[other]} after {losses[1]['updates']:,}, which by counting take as long ({nats}, on "
        f"{found['n']:,} {spec.fit_on} images held out). {trained}"
    )


def reader_words(results: Results) -> list[str]:
    """What is said of layers whose numbers are read with the density of a later layer, a sentence for each such two."""
    found: dict[tuple[str, str], list[tuple[int, str, LayerReader]]] = {}
    for layer, checkpoint in results.places:
        for network, run in enumerate(results.runs, 1):
            if through := run.through(layer, checkpoint):
                own = (network, checkpoint, run.reader(layer, checkpoint))
                found.setdefault((layer, through), []).append(own)
    return [_reader_words(results, *layers, read) for layers, read in found.items()]


def _reader_words(results: Results, layer: str, through: str, read: list[tuple[int, str, LayerReader]]) -> str:
    points, gains = list(dict.fromkeys(at for _, at, _ in read)), [r.gain for *_, r in read if r.gain is not None]
    networks, where = {network for network, *_ in read}, ""
    if len(networks) < len(results.runs):
        where = f" in {len(networks)} of {len(results.runs)} networks"
    if len(results.checkpoints) > 1:
        named = f"{'' if len(points) == 1 else 's'} {', '.join(points)}"
        many = f"{len(points)} of {len(results.checkpoints)} checkpoints"
        where += f" at {many}" if len(points) > MOST_NAMED else f" at checkpoint{named}"
    low, high = (pick(gains, key=lambda gain: gain.value) for pick in (min, max))
    less = with_error(low.value, low.stderr)
    less = less if low is high else f"{less} to {with_error(high.value, high.stderr)}"
    layer, through = in_words(layer), in_words(through)
    return (
        f"{layer} is read through {through}{where}: given {through}, a function of {layer}, the density needs {less} "
        f"nats per image less than given {layer} itself, on {read[0][2].n:,} {results.spec.fit_on} images held out."
    )


def _chosen(spec: StudySpec, results: Results) -> str:
    """What of the settings a density that the data chose has in its own way."""
    if (found := results.choice) is None:
        return ""
    narrow = "" if has_wide_products(found["density"]) else "; on a processor in float32"
    return (
        "Updates under fit count those of the window density, whichever the data chose; its batch, learning rate and "
        f"precision stand in place of those below. {capitalised(SPOKEN[found['chosen']])} made {_steps(spec, found)}"
        f"{narrow}."
    )


def _steps(spec: StudySpec, found: Mapping[str, Any]) -> str:
    """How a density that the data chose is trained."""
    updates, batch = paced(spec.fit.updates, found), found["batch"]
    return f"{updates:,} updates with {batch:,} images each, at a learning rate of {found['learning_rate']:g}"


def _seeds(spec: StudySpec, results: Results) -> str:
    def updates(asked: int) -> int:
        return asked if results.choice is None else paced(asked, results.choice)

    if not _fitted(spec):
        return f"study seed {spec.seed}"
    first, last = seed_of(spec.seed, 1), seed_of(spec.seed, spec.fit.refits)
    seeds = f"study seed {spec.seed}; fits from seeds {first} to {last}"
    if spec.fit.together:
        return f"{seeds}; those of one seed were trained together for {updates(spec.fit.together)} updates each"
    return (
        f"{seeds}; those of one seed start from one p(x) of {updates(spec.fit.base)} updates"
        if spec.fit.base
        else seeds
    )


def _layer(results: Results, name: str) -> Layer:
    read = results.read_as(name)
    said = {} if read is None else {"read_as": read["words"], "spatial": bool(read["at"])}
    latent = name in results.spec.latents
    return Layer(name, name, _shape(results, name), latent=latent, function_of=results.functions(name), **said)


def _pictures(results: Results, name: str) -> dict[str, LayerPictures]:
    drawn = {}
    for checkpoint in [point for layer, point in results.places if layer == name]:
        cells = {key: results.cell(kind, name, checkpoint=checkpoint) for key, kind in PICTURES.items()}
        if any(cells.values()):
            drawn[checkpoint] = LayerPictures(**{key: cell and cell.array(key) for key, cell in cells.items()})
    return drawn


def _shape(results: Results, layer: str) -> tuple[int, ...]:
    """The shape of a layer's activation for one example; () of a scalar, and where it is not known yet."""
    capture, data = results.cell("capture"), results.cell("data")
    if capture is not None and layer in capture.values["shapes"]:
        return tuple(capture.values["shapes"][layer])
    return data.array(f"latent:{layer}").shape[1:] if data and f"latent:{layer}" in data.names() else ()


def _curves(results: Results) -> Iterator[TrainingCurve]:
    for layer, checkpoint in ((INPUT, ""), *results.places):
        for refit, stored in results.own_fits(layer, checkpoint):
            curve: dict[str, Any] = stored.values["curve"]
            yield TrainingCurve(
                layer,
                refit,
                *(np.array(curve[key]) for key in ("updates", "train", "heldout", "heldout_ema")),
                best_update=curve["best_update"],
                best=curve["best"],
                checkpoint=checkpoint,
                watched={name: np.array(losses) for name, losses in curve["watched"].items()},
            )


def _sanity(results: Results) -> Iterator[str]:
    """Sentences that help to judge how far the numbers can be trusted."""
    for layer, checkpoint in ((INPUT, ""), *results.places):
        fits = results.own_fits(layer, checkpoint)
        if not fits:
            continue
        name = "p(x)" if layer == INPUT else layer
        if checkpoint and len(results.checkpoints) > 1:
            name += f" at checkpoint {checkpoint}"
        train = np.mean([s.values["train_nats"] for _, s in fits])
        held = np.mean([s.values["heldout_nats"] for _, s in fits])
        guarded = sum(s.values["curve"]["guarded"] for _, s in fits)
        best = ", ".join(str(s.values["curve"]["best_update"]) for _, s in fits)
        note = f"; {guarded} gradients were shortened" if guarded else ""
        yield (
            f"{name}: {train:.2f} nats per image on its training data, {held:.2f} on held-out "
            f"{results.spec.fit_on} data (best weights after {best} updates{note})."
        )
