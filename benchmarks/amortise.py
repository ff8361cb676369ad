"""Densities of many layers and checkpoints at one total cost: separate fits, warm starts, one shared trunk.

    python benchmarks/amortise.py [--data digits|mnist|mnist28|cifar10_exact_subset|cifar32] [--updates 400]
                                  [--refits 3] [--ways …] [--device cpu|cuda] [--workers 2] [--records FILE]
                                  [--docs] [--out FILE]

A family of densities is one for each place (a layer at a checkpoint) and their null-context twins. Each way of training
one gets U updates times the number of places and one twin, all that it needs included:

separate    every place and the twin from scratch, U each
early base  all start from a p(x) of U/4, the context without effect; what that cost is taken from each
chain       a layer's model at one checkpoint starts from its neighbour's, whole; the twin is a chain of the same
            length; forwards through training and backwards
shared      one trunk, a conditioning for each place, all trained together in rounds; the twin has none
then own    half of the updates like that; then each place, and the twin, goes on by itself from what came of it

`×5` gives the conditioning five times the learning rate. Where places do not see each other, the second order is
another seed: the noise that the other ways' orders are to be held against. Losses are those of the decoding images held
out for early stopping, so that choosing a default by this table leaves the evaluation images untouched. Nats per image,
mean and standard error over refits, each with a held-out part of its own; differences are paired by refit.
"""

import argparse
import itertools
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from infoplane import data, densities, subjects
from infoplane.capture import activations, default_transform, readings_of
from infoplane.inversion import FitSettings, Pairs, Standardiser, fit_density, fit_shared, log_probs
from infoplane.measurements.candidates import AUTO, small_pixelcnn
from infoplane.measurements.dataset import load_data
from infoplane.measurements.task import build_subject
from infoplane.study.load import load_study
from infoplane.study.spec import StudySpec
from tables import add_options, deliver, where

#: name -> (study, checkpoints of its network, what is changed besides)
SETS: dict[str, tuple[str, tuple[int | str, ...], dict[str, Any]]] = {
    "digits": ("digits", (30, "end"), {}),
    "mnist": ("nash-layers", (100, "end"), {}),
    "mnist28": ("nash-layers", (100, "end"), {"data.downsample": 1}),
    "cifar10_exact_subset": ("nash-layers", ("end",), {"data.name": "cifar10_exact_subset"}),
    "cifar32": ("nash-layers", ("end",), {"data.name": "cifar10_exact_subset", "data.downsample": 1}),
}
TWIN = "p(x)"
#: added to a refit's seed for a second stream of batches and dropout
AGAIN, BASE = 1000, 100


@dataclass(frozen=True)
class Problem:
    """What is to be inverted: the places, and the folder that holds images and contexts as arrays."""

    folder: str
    layers: tuple[str, ...]
    checkpoints: tuple[str, ...]
    levels: int
    density: dict[str, Any]
    fit: dict[str, Any]
    accuracy: dict[str, float] = field(default_factory=dict)

    @property
    def places(self) -> list[str]:
        return [f"{layer}@{checkpoint}" for layer in self.layers for checkpoint in self.checkpoints]


def prepare(name: str, folder: str, checkpoints: tuple[int | str, ...] | None = None) -> Problem:
    """Trains the network under study once, and stores its activations on the decoding images.

    Args:
        checkpoints: Those of the network, instead of those that the data set has in `SETS`.
    """
    study, usual, changes = SETS[name]
    spec = load_study(study, {**changes, "subject.train.checkpoints": list(checkpoints or usual)})
    assert isinstance(spec, StudySpec)
    assert spec.subject is not None
    found = load_data(spec.data, spec.seed)
    images, labels = torch.from_numpy(found.arrays["images"]), torch.from_numpy(found.arrays["labels"]).long()
    transform = default_transform(found.values["levels"])
    kept, held = data.hold_out(found.arrays["encoding"], spec.subject.train.held_out, spec.seed)
    torch.manual_seed(spec.seed)
    model = build_subject(spec.subject.kind, spec.subject.model_extra or {}, found.values)
    parts = (images[kept], labels[kept], images[held], labels[held])
    trained = subjects.train_classifier(model, *parts, settings=spec.subject.train, transform=transform, seed=spec.seed)
    decoding = images[found.arrays["decoding"]]
    np.save(f"{folder}/images.npy", decoding.numpy())
    accuracy = {}
    readings = readings_of(model, spec.layers, transform(decoding[:2]))
    for checkpoint in spec.checkpoints:
        model.load_state_dict(trained.states[checkpoint])
        model.eval()
        accuracy[checkpoint] = float((model(transform(parts[2])).argmax(1) == parts[3]).float().mean())
        for layer, h in activations(model, spec.layers, decoding, transform=transform).items():
            np.save(f"{folder}/{layer}@{checkpoint}.npy", readings[layer](h).numpy())
    fit = spec.fit.model_dump(mode="json")
    density = spec.density.model_dump(mode="json")
    if spec.density.kind == AUTO:  # what is compared here is one PixelCNN++ with itself
        small = small_pixelcnn(tuple(found.values["shape"]), found.values["levels"])
        density, fit = dict(small.density), {**fit, "batch": small.batch, "learning_rate": small.learning_rate}
    return Problem(folder, spec.layers, spec.checkpoints, found.values["levels"], density, fit, accuracy)


# --- ways of training a family ---------------------------------------------------------------------------------------


class Family:
    """One refit's densities: where they begin and what trains them. Counts the updates that are spent."""

    def __init__(self, problem: Problem, job: "Job", context_rate: float) -> None:
        updates, refit = job.updates, job.refit
        self.problem, self.updates, self.seed, self.device = problem, updates, refit, torch.device(job.device)
        self.total = updates * (len(problem.places) + 1)
        self.settings = FitSettings.model_validate({**problem.fit, "context_rate": context_rate})
        self.images = torch.from_numpy(np.load(f"{problem.folder}/images.npy"))
        self.kept, self.held = data.hold_out(np.arange(len(self.images)), self.settings.held_out, refit)
        self.spent = 0

    def pairs(self, place: str) -> tuple[Pairs, Pairs]:
        """The decoding images with a place's contexts: to train on, and held out."""
        if place == TWIN:
            pairs = Pairs(self.images, device=self.device)
        else:
            context = torch.from_numpy(np.load(f"{self.problem.folder}/{place}.npy"))
            pairs = Pairs(self.images, context, standardise=Standardiser.of([context]), device=self.device)
        return pairs.subset(self.kept), pairs.subset(self.held)

    def density(self, context: tuple[int, ...] | None) -> densities.Density:
        """A density as it begins: but for the conditioning the same at all places of a refit."""
        options = dict(self.problem.density)
        shape = tuple(self.images.shape[1:])
        kind = options.pop("kind")
        density = densities.build(kind, shape, self.problem.levels, context, options, seed=self.seed)  # pyright: ignore
        return density.to(self.device)

    def fit(
        self, place: str, updates: int, seed: int, start: dict[str, Tensor] | None = None
    ) -> tuple[float, dict[str, Tensor]]:
        """Trains one density; returns its held-out nats and its weights."""
        pairs, held = self.pairs(place)
        density = self.density(pairs.context_shape)
        settings = self.settings.model_copy(update={"updates": updates})
        curve = fit_density(density, pairs, held, settings, seed=seed, start=start, progress=_count)
        self.spent += updates
        return curve.best_loss, density.state_dict()


#: place -> held-out nats of its density, and of its twin
Nats = tuple[dict[str, float], dict[str, float]]


def separate(family: Family, order: int) -> Nats:
    seed = family.seed + AGAIN * order
    nats = {place: family.fit(place, family.updates, seed)[0] for place in (TWIN, *family.problem.places)}
    return _with_one_twin(nats)


def early_base(family: Family, order: int) -> Nats:
    base, seed = max(1, family.updates // 4), family.seed + AGAIN * order
    # Batches of its own: with the seed of the fits these would begin with the images that the base has just seen.
    _, start = family.fit(TWIN, base, seed + BASE)
    places = (TWIN, *family.problem.places)
    each = (family.total - base) // len(places)
    return _with_one_twin({place: family.fit(place, each, seed, start)[0] for place in places})


def chain(family: Family, order: int) -> Nats:
    checkpoints = family.problem.checkpoints[:: -1 if order else 1]
    each = family.total // ((len(family.problem.layers) + 1) * len(checkpoints))
    nats: dict[str, float] = {}
    for layer in (TWIN, *family.problem.layers):
        state = None
        for link, checkpoint in enumerate(checkpoints):
            place = TWIN if layer == TWIN else f"{layer}@{checkpoint}"
            nats[f"{layer}@{checkpoint}"], state = family.fit(place, each, family.seed + BASE * link, state)
    places = family.problem.places
    return {place: nats[place] for place in places}, {p: nats[f"{TWIN}@{p.rpartition('@')[2]}"] for p in places}


def shared(family: Family, order: int) -> Nats:
    places = [TWIN, *family.problem.places][:: -1 if order else 1]
    pairs = {place: family.pairs(place) for place in places}
    models = {place: family.density(pairs[place][0].context_shape) for place in places}
    settings = family.settings.model_copy(update={"updates": family.updates})
    train, held = ({place: both[part] for place, both in pairs.items()} for part in (0, 1))
    fit_shared(models, train, held, settings, seed=family.seed + AGAIN * order, progress=_count)
    family.spent += family.total
    return _with_one_twin({place: -float(log_probs(models[place], held[place]).mean()) for place in places})


def then_own(family: Family, order: int) -> Nats:
    places = [TWIN, *family.problem.places][:: -1 if order else 1]
    pairs = {place: family.pairs(place) for place in places}
    models = {place: family.density(pairs[place][0].context_shape) for place in places}
    together = family.updates // 2
    settings = family.settings.model_copy(update={"updates": together})
    train, held = ({place: both[part] for place, both in pairs.items()} for part in (0, 1))
    seed = family.seed + AGAIN * order
    fit_shared(models, train, held, settings, seed=seed, progress=_count)
    family.spent += together * len(places)
    states = {place: {name: w.clone() for name, w in models[place].state_dict().items()} for place in places}
    own = family.updates - together
    return _with_one_twin({place: family.fit(place, own, seed + BASE, states[place])[0] for place in places})


def _with_one_twin(nats: dict[str, float]) -> Nats:
    return {p: nats[p] for p in nats if p != TWIN}, {p: nats[TWIN] for p in nats if p != TWIN}


#: name -> (what trains the family, names of its orders, factor on the context's learning rate)
WAYS: dict[str, tuple[Callable[[Family, int], Nats], tuple[str, ...], float]] = {
    "separate": (separate, ("", "another seed"), 1.0),
    "separate ×5": (separate, ("",), 5.0),
    "early base": (early_base, ("",), 1.0),
    "early base ×5": (early_base, ("", "another seed"), 5.0),
    "chain": (chain, ("forwards", "backwards"), 1.0),
    "chain ×5": (chain, ("forwards", "backwards"), 5.0),
    "shared": (shared, ("", "reversed, another seed"), 1.0),
    "shared ×5": (shared, ("", "reversed, another seed"), 5.0),
    "then own": (then_own, ("", "reversed, another seed"), 1.0),
    "then own ×5": (then_own, ("", "reversed, another seed"), 5.0),
}


# --- running them ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One family of densities, trained one way."""

    data: str
    updates: int
    way: str
    order: int
    refit: int
    device: str = "cpu"


@dataclass
class Record:
    """What came of a job: held-out nats per place and of its twin, updates and CPU seconds spent."""

    job: Job
    nats: dict[str, float]
    twins: dict[str, float]
    updates: int
    seconds: float


_counter: Any = None


def _count(*_: object) -> None:
    if _counter is not None:
        with _counter.get_lock():
            _counter.value += 1


def _begin(counter: Any) -> None:
    global _counter
    _counter = counter
    torch.set_num_threads(1)


def carry_out(job: Job, problem: Problem) -> Record:
    """Trains a family, in a process of its own."""
    function, _, context_rate = WAYS[job.way]
    begin = time.process_time()
    family = Family(problem, job, context_rate)
    nats, twins = function(family, job.order)
    return Record(job, nats, twins, family.spent, time.process_time() - begin)


def run(jobs: Sequence[Job], problem: Problem, workers: int) -> Iterator[Record]:
    """Yields the jobs' records as they come; a bar shows the updates done."""
    context = multiprocessing.get_context("spawn")
    counter = context.Value("l", 0)
    total = sum(job.updates for job in jobs) * (len(problem.places) + 1)
    columns = (TextColumn("{task.completed}/{task.total} updates"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns) as bar, ProcessPoolExecutor(workers, context, _begin, (counter,)) as pool:
        task = bar.add_task("", total=total)
        open_jobs = {pool.submit(carry_out, job, problem) for job in jobs}
        while open_jobs:
            done, open_jobs = wait(open_jobs, timeout=1, return_when=FIRST_COMPLETED)
            bar.update(task, completed=counter.value)
            for future in done:
                yield future.result()


# --- tables ----------------------------------------------------------------------------------------------------------


class Results:
    """Records by way and order, the refits along the first axis of every array."""

    def __init__(self, records: Sequence[Record], problem: Problem) -> None:
        self.places, self.layers = problem.places, problem.layers
        self.found: dict[tuple[str, int], list[Record]] = {}
        for record in sorted(records, key=lambda r: r.job.refit):
            self.found.setdefault((record.job.way, record.job.order), []).append(record)

    def nats(self, key: tuple[str, int]) -> np.ndarray:
        """(refits, places)."""
        return np.array([[record.nats[place] for place in self.places] for record in self.found[key]])

    def usable(self, key: tuple[str, int]) -> np.ndarray:
        """(refits, places)."""
        return self.twins(key) - self.nats(key)

    def twins(self, key: tuple[str, int]) -> np.ndarray:
        """(refits, places)."""
        return np.array([[record.twins[place] for place in self.places] for record in self.found[key]])

    def by_layer(self, values: np.ndarray) -> list[np.ndarray]:
        """Means over a layer's checkpoints: (refits,) per layer."""
        columns = [[k for k, place in enumerate(self.places) if place.startswith(f"{x}@")] for x in self.layers]
        return [values[:, chosen].mean(1) for chosen in columns]

    def table(self) -> list[str]:
        """One line per way and order."""
        heads = ["way", "order", "updates", "CPU s", "NCE", "against separate", "CE(x)"]
        heads += [f"{what} {layer}" for layer in self.layers for what in ("NCE", "usable")]
        lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
        for way, (_, orders, _) in WAYS.items():
            for order, name in enumerate(orders):
                if (key := (way, order)) not in self.found:
                    continue
                nats, records = self.nats(key), self.found[key]
                gain = "–"
                if key != ("separate", 0) and len(self.found.get(("separate", 0), [])) == len(records):
                    gain = in_errors((self.nats(("separate", 0)) - nats).mean(1))
                cells = [way, name, str(records[0].updates), f"{np.mean([r.seconds for r in records]):.0f}"]
                cells += [shown(-nats.mean(1)), gain, shown(self.twins(key).mean(1))]
                for both in zip(self.by_layer(-nats), self.by_layer(self.usable(key)), strict=True):
                    cells += map(shown, both)
                lines.append(f"| {' | '.join(cells)} |")
        return lines

    def rankings(self) -> list[str]:
        """For every way with two orders: the pairs of places that the orders rank otherwise."""
        lines: list[str] = []
        for way in WAYS:
            if not {(way, 0), (way, 1)} <= self.found.keys():
                continue
            keys = ((way, 0), (way, 1))
            lines += ["", *self.ranking(f"{way}, NCE", *(-self.nats(key) for key in keys))]
            if np.ptp(self.twins(keys[0]), axis=1).any():  # with one twin for all, usable information ranks as NCE does
                lines += ["", *self.ranking(f"{way}, usable information", *map(self.usable, keys))]
        return lines

    def ranking(self, title: str, first: np.ndarray, second: np.ndarray) -> list[str]:
        """Compares two orders' values, (refits, places) each."""
        flips, changes = [], []
        for a, b in itertools.combinations(range(len(self.places)), 2):
            one, two = first[:, a] - first[:, b], second[:, a] - second[:, b]
            changes.append(abs((one - two).mean()))
            if one.mean() * two.mean() < 0:
                flips.append(
                    f"  * {self.places[a]} − {self.places[b]}: {shown(one)}, then {shown(two)}; "
                    f"change {in_errors(two - one)}"
                )
        text = f"* {title}: {len(flips)} of {len(changes)} pairs are ranked otherwise in the second order; "
        text += f"a pair's difference changes by {np.mean(changes):.2f} nats on average, {max(changes):.2f} at most."
        ends = [
            (self.places.index(f"{layer}@{last}"), self.places.index(f"{layer}@{early}"))
            for layer in self.layers
            for early, last in [self._ends()]
        ]
        drift = np.mean([(first - second)[:, last] - (first - second)[:, early] for last, early in ends], axis=0)
        text += f" Last less first checkpoint, mean over layers: the first order says {in_errors(drift)} more."
        return [text, *flips]

    def _ends(self) -> tuple[str, str]:
        checkpoints = [place.rpartition("@")[2] for place in self.places if place.startswith(f"{self.layers[0]}@")]
        return checkpoints[0], checkpoints[-1]


def stderr(values: np.ndarray) -> float:
    """Of the mean over refits; NaN of one."""
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else float("nan")


def shown(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {stderr(values):.2f}" if len(values) > 1 else f"{values.mean():.2f}"


def in_errors(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{values.mean():+.2f}"
    return f"{values.mean():+.2f} ± {stderr(values):.2f} ({abs(values.mean()) / stderr(values):.1f} s.e.)"


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(SETS), default="digits")
    parser.add_argument("--updates", type=int, default=400, help="U: updates of a separate fit")
    parser.add_argument("--refits", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--device", default="cpu", help="where densities are trained")
    parser.add_argument("--workers", type=int, help="processes of one thread each; one beside a GPU, else one per core")
    parser.add_argument("--records", type=Path, help="keep results there, and go on from those that it holds")
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    device = torch.device(options.device)
    workers = options.workers or (1 if device.type == "cuda" else os.cpu_count() or 1)
    jobs = [
        Job(options.data, options.updates, way, order, refit, options.device)
        for refit in range(options.refits)
        for way in options.ways
        for order in range(len(WAYS[way][1]))
    ]
    records = [record for record in read(options.records) if record.job in jobs]
    with tempfile.TemporaryDirectory() as folder:
        problem = prepare(options.data, folder)
        missing = [job for job in jobs if job not in [record.job for record in records]]
        for record in run(missing, problem, workers):
            records.append(record)
            if options.records is not None:
                with options.records.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(asdict(record)) + "\n")
    results = Results(records, problem)
    accuracies = ", ".join(f"{accuracy:.3f} at {place}" for place, accuracy in problem.accuracy.items())
    lines = [*results.table(), *results.rankings(), ""]
    lines.append(
        f"{options.data}: {len(problem.places)} places, the network's validation accuracy {accuracies}; "
        f"U = {options.updates}, {options.refits} refits. CPU seconds are those of one refit. "
        + where(device, "one thread per process")
    )
    deliver(f"amortise {options.data}", lines, options)


def read(path: Path | None) -> list[Record]:
    """The records of an earlier run."""
    if path is None or not path.is_file():
        return []
    found = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return [Record(**{**record, "job": Job(**record["job"])}) for record in found]


if __name__ == "__main__":
    main()
