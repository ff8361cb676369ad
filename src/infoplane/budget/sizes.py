"""From a budget of time to the sizes of a measurement: counted first, then corrected by how fast the machine is."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from infoplane.budget.capacity import crowding, trained_as
from infoplane.budget.preparing import LEAST_UPDATES, Preparing
from infoplane.engine.cell import Cell
from infoplane.engine.plan import Plan
from infoplane.engine.schedule import START_UP, finished
from infoplane.errors import words
from infoplane.information.contrastive import LEAST_BATCHES, LEAST_CANDIDATES
from infoplane.inversion import FitSettings
from infoplane.inversion.settings import LEAST_TRIAL
from infoplane.measurements import as_kind
from infoplane.measurements.candidates import AUTO, CANDIDATES
from infoplane.measurements.cost import Costs
from infoplane.measurements.counting import Machine
from infoplane.measurements.fits import DensityCell
from infoplane.measurements.inputs import Capture
from infoplane.measurements.pictures import Mse
from infoplane.study.forecast import FIXED
from infoplane.study.plan import make_plan
from infoplane.study.spec import AskedSpec, DensitySpec, StudySpec

#: share of a time budget that timing may take
TIMING_SHARE = 0.1
#: most seconds of it: more would not tell more
TIMING_MOST = 3.0
#: share of a time budget that is planned with; the rest is for what nobody counts
PLANNED = 0.95
#: shares of a time budget, over all processes, of contrastive scores, of the MSE inverter and of samples
CONTRASTIVE_SHARE, MSE_SHARE, SAMPLES_SHARE = 0.1, 0.1, 0.15
#: a measurement that would take so many times its budget does not begin
STOP = 1.5
#: how much faster than what is known of it a machine may be, where nothing was timed on it yet
BENEFIT = 2.0
#: seconds for the tables and the page
PAGE = 4.0
#: passes over the decoding images after which more time is not used: early stopping has long decided
MOST_EPOCHS = 60
#: share of a time budget's fits that the candidates' may take together, where the data choose the density
TRIAL_SHARE = 0.1
#: most updates of the MSE inverter
MOST_MSE = 600
#: what a density becomes where time is short: it learns more from few updates that are quick than from fewer slow ones
LIGHT = {"filters": 16, "residual_layers": 1}
#: fewest and most images that are held out for early stopping, and how often they are looked at
HELD, LOOKS = (48, 400), (2, 10)
#: (images, samples of each), from the fewest that are worth a look to the most that fit a page
SAMPLES = ((2, 4), (3, 5), (4, 6), (6, 8), (8, 8))


def by_updates(spec: StudySpec, updates: int) -> StudySpec:
    """Returns the study with so many updates of each fit; the MSE inverter takes no more than they do."""
    return _with_updates(spec, updates, spec.reconstruction.updates)


@dataclass(frozen=True)
class Forecast:
    """How long a measurement takes here, whatever its sizes.

    Attributes:
        costs: What there is to compute.
        machine: How fast it is done.
        workers: Processes; 0 for this one alone.
        slowness: Factor on all that, as measured; 1 where nothing was.
        per_image: Seconds of the network under study for one image.
        on_the_fly: Layers for which it runs again for every batch of a fit, in the process that it is in.
        plan: Study -> its plan.
    """

    costs: Costs
    machine: Machine
    workers: int
    slowness: float = 1.0
    per_image: float = 0.0
    on_the_fly: Collection[str] = ()
    plan: Callable[[StudySpec], Plan] = make_plan

    def seconds(self, cell: Cell) -> float:
        """The time that a cell takes."""
        counted = self.machine.seconds(self.costs.of(as_kind(cell))) * self.slowness
        return FIXED + counted + self.per_image * self._passes(cell)

    def _passes(self, cell: Cell) -> float:
        """For how many images the network under study runs."""
        sizes, kind = self.costs.sizes, as_kind(cell)
        if isinstance(kind, Capture):
            return sizes["decoding"] + sizes["evaluation"] + kind.encoding
        if not isinstance(kind, DensityCell | Mse) or kind.layer not in self.on_the_fly:
            return 0
        ways = [way for way in self.costs.ways(kind) if isinstance(way, DensityCell | Mse)]
        fits = [FitSettings.model_validate(way.fit) for way in ways]
        looked = fits[0].held_out * sizes["decoding"] * (2 * fits[0].evaluations + 1)
        return max(fit.updates * fit.batch for fit in fits) + looked + sizes["evaluation"]

    def whole(self, spec: StudySpec) -> float:
        """The time that all of a study takes."""
        return self.rest(list(self.plan(spec).cells.values()), start_up=START_UP * max(1.0, self.slowness))

    def rest(self, cells: list[Cell], running: Mapping[str, float] | None = None, start_up: float = 0.0) -> float:
        """The time until these cells are done.

        Args:
            running: Name -> seconds until it is done, of those that were begun.
        """
        seconds = {cell.name: self.seconds(cell) for cell in cells}
        start_up = start_up if self.workers else 0.0
        # What needs the network itself is done one by one, whatever the others do.
        alone = sum(seconds[cell.name] for cell in cells if cell.params.get("layer") in self.on_the_fly)
        return max(alone, finished(cells, seconds, max(1, self.workers), running=running or {}, start_up=start_up))


def shorter(spec: StudySpec, begun: frozenset[str] = frozenset()) -> tuple[StudySpec, str] | None:
    """Returns the study without what can best be spared, and what that is; None where all is needed.

    Args:
        begun: Kinds of cells of which one has begun, and whose sizes stay.
    """
    least = _pictures(0)
    if "samples" in spec.measure and "samples" not in begun and spec.samples.images > least["images"]:
        smaller = spec.model_copy(update={"samples": spec.samples.model_copy(update=least)})
        return smaller, f"all but {least['each']} samples for each of {least['images']} images"
    for kind, name in (("mse", "the MSE inverter"), ("samples", "samples")):
        if kind in spec.measure and len(spec.measure) > 1:
            kept = tuple(each for each in spec.measure if each != kind)
            return _asked(spec).model_copy(update={"measure": kept}), name
    if spec.needs_densities and spec.fit.refits > 1:
        fit = spec.fit.model_copy(update={"refits": spec.fit.refits - 1})
        return _asked(spec).model_copy(update={"fit": fit}), f"refit {spec.fit.refits}"
    return None


def _asked(spec: StudySpec) -> StudySpec:
    """The study with a note of what was asked for, before anything is left out."""
    if spec.asked is not None:
        return spec
    return spec.model_copy(update={"asked": AskedSpec(refits=spec.fit.refits, measure=spec.measure)})


def within(
    spec: StudySpec, preparing: Preparing, forecast: Forecast, timed: Callable[[float], float]
) -> tuple[StudySpec, Forecast]:
    """Returns the study with sizes that fit a budget of time, and the forecast, which then knows the machine's speed.

    Args:
        preparing: The budget, and how much of it is gone.
        timed: Seconds that timing may take -> how many times slower the machine is than `forecast.machine`.

    Raises:
        UsageError: Even the least of it would take more than `STOP` times the budget, or finding that out takes too
            much of it.
    """
    seconds = preparing.seconds
    assert seconds is not None
    least = 0.0
    if spec.needs_densities:
        places = max(1, len(spec.layers) * len(spec.checkpoints))
        least = check_least(preparing, spec.density, places, forecast, fit=spec.fit)
    slowness = timed(min(TIMING_MOST, TIMING_SHARE * seconds))
    preparing.check()
    forecast = replace(forecast, slowness=slowness * crowding(max(1, forecast.workers)))
    if (takes := preparing.spent + forecast.slowness * least) > STOP * seconds:
        raise preparing.too_short(takes)  # before sizes are looked for, which takes seconds
    left = PLANNED * seconds - preparing.spent - PAGE * min(1.0, seconds / 60)

    def whole(study: StudySpec) -> float:
        preparing.check()  # what was not counted before takes a second
        return forecast.whole(study)

    bought, left_out = _bought(spec, forecast, left, whole)
    takes = preparing.spent + whole(bought)
    if takes > STOP * seconds:
        raise preparing.too_short(takes)
    note = _said(preparing, spec, bought, takes, left_out)
    return bought.model_copy(update={"note": note}), forecast


def _said(preparing: Preparing, spec: StudySpec, bought: StudySpec, takes: float, left_out: list[str]) -> str | None:
    """What a budget bought of a study, in words; None where nothing in it takes more where there is more time."""
    if bought.needs_densities:
        updates, of = bought.fit.updates, "updates per fit"
    elif "mse" in bought.measure:
        updates, of = bought.reconstruction.updates, "updates of the MSE inverter"
    else:
        return None
    note = f"A budget of {preparing.budget} bought {updates} {of}"
    if updates == LEAST_UPDATES:
        note += ", the fewest that make sense"
        if preparing.seconds is not None and takes > preparing.seconds:
            note += f"; it will take about {words(takes)}"
    if "samples" in bought.measure:
        note += f", and {bought.samples.each} samples for each of {bought.samples.images} images"
    note += ". With more time the densities fit better." if bought.needs_densities else "."
    if bought.needs_densities and bought.density != spec.density:
        note += " The density is a small one, which fits the time."
    if left_out:
        note += f" Left out for want of time: {', '.join(left_out)}."
    return note


def check_least(
    preparing: Preparing, density: DensitySpec, places: int, forecast: Forecast, *, fit: FitSettings | None = None
) -> float:
    """Returns the seconds that a measurement takes whatever its sizes are, on a machine as it is thought to be.

    What no choice of sizes can save are one refit's updates and the images that it scores, see `least_seconds`.

    Args:
        preparing: The budget.
        places: Layers at all checkpoints.

    Raises:
        UsageError: Even on a faster machine that is far more than the budget.
    """
    assert preparing.seconds is not None
    least = least_seconds(density, places, forecast, FitSettings() if fit is None else fit, LEAST_UPDATES)
    if least / BENEFIT > STOP * preparing.seconds:
        raise preparing.too_short(least)
    return least


def least_seconds(density: DensitySpec, places: int, forecast: Forecast, fit: FitSettings, updates: int) -> float:
    """Returns the seconds that one refit of so many updates takes at least; counted at once.

    Args:
        density: As it is; it may be made smaller.
        places: Layers at all checkpoints; none of them is taken to cost anything.
    """
    sizes = forecast.costs.sizes
    costs, seconds = forecast.costs, forecast.machine.seconds
    own, batch = trained_as(_lighter(density).model_dump(mode="json"), costs, fit.batch)
    # Held out: scored at the start, twice at each look, and twice in the end, beside as many that were trained on.
    scored = min(fit.held_out * sizes["decoding"], HELD[0]) * (1 + 2 * LOOKS[0] + 2) + sizes["evaluation"]
    least = costs.step(own, None, batch, fit.precision).times(updates) + costs.scoring(own, None).times(scored)
    return seconds(least) * (places + 1) / max(1, forecast.workers)


def _lighter(density: DensitySpec) -> DensitySpec:
    """A density that is small, whatever it was."""
    options = dict(density.model_extra or {})
    smaller = {name: min(size, options[name]) for name, size in LIGHT.items() if name in options}
    return DensitySpec.model_validate({"kind": density.kind, **options, **smaller})


def _bought(
    spec: StudySpec, forecast: Forecast, seconds: float, whole: Callable[[StudySpec], float]
) -> tuple[StudySpec, list[str]]:
    """The largest sizes that fit into so many seconds, and what had to be left out even so.

    Args:
        whole: Study -> the time that all of it takes, by that forecast.
    """
    sizes, costs, machine = forecast.costs.sizes, forecast.costs, forecast.machine
    share, slow = seconds * max(1, forecast.workers), forecast.slowness
    places = max(1, len(spec.layers) * len(spec.checkpoints))
    held = min(spec.fit.held_out * sizes["decoding"], HELD[1])
    spec = spec.model_copy(
        update={
            "contrastive": _contrastive(spec, sizes["evaluation"], 1),
            "samples": spec.samples.model_copy(update=_pictures(0)),
        }
    )
    spec, left_out = _looks(spec, min(held, HELD[0]), LOOKS[0], sizes), []
    spec = _with_updates(spec, LEAST_UPDATES, LEAST_UPDATES, trial_of(spec, LEAST_UPDATES))
    # Whether the density is too large shows without what is drawn from it, which takes longest to count.
    fitted = tuple(kind for kind in spec.measure if kind not in ("samples", "mse"))
    if fitted and whole(spec.model_copy(update={"measure": fitted})) > seconds:
        spec = spec.model_copy(update={"density": _lighter(spec.density)})
    while whole(spec) > seconds and (step := shorter(spec)) is not None:
        spec = step[0]
        left_out.append(step[1])
    refits, density = spec.fit.refits, spec.density.model_dump(mode="json")
    widest = max(spec.layers, key=lambda layer: math.prod(costs.contexts[layer]), default=None)
    per_image = slow * machine.seconds(costs.scoring(density, widest)) if spec.needs_densities else 0.0
    # What is beside the fits first, each with its share of the time; then as many updates as the rest lets.
    if whole(spec) < seconds and per_image:
        scores = CONTRASTIVE_SHARE * share / (per_image * places * refits)
        per_fit = 0.6 * share / ((places + 1) * refits)
        # Early stopping may take a quarter of a fit's time: seldom, where time is short.
        looks = 0.25 * per_fit / (2 * per_image)
        held = min(held, max(HELD[0], looks / 5))
        evaluations = int(max(LOOKS[0], min(LOOKS[1], looks / held)))
        update: dict[str, Any] = {"contrastive": _contrastive(spec, sizes["evaluation"], scores)}
        update["fit"] = _looks(spec, held, evaluations, sizes).fit
        for index in range(len(SAMPLES)) if "samples" in spec.measure else ():
            drawing = costs.drawing(density, math.prod(SAMPLES[index]))
            if slow * machine.seconds(drawing) * (places + 1) <= SAMPLES_SHARE * share:
                update["samples"] = spec.samples.model_copy(update=_pictures(index))
        larger = spec.model_copy(update=update)
        spec = larger if whole(larger) <= seconds else spec
    most = LEAST_UPDATES
    if "mse" in spec.measure and widest is not None:
        fit = spec.reconstruction.model_dump(mode="json")
        inverter = Mse(layer=widest, fit=fit, fit_on=spec.fit_on, images=spec.samples.images, seed=spec.seed)
        each = slow * machine.seconds(costs.of(inverter)) / spec.reconstruction.updates
        most = int(max(LEAST_UPDATES, min(MOST_MSE, MSE_SHARE * share / (each * places))))
    longest = longest_of(spec, costs)
    updates = most_updates(lambda n: whole(_with_updates(spec, n, most, trial_of(spec, n))), seconds, longest)
    return _with_updates(spec, updates, most, trial_of(spec, updates)), left_out


def _looks(spec: StudySpec, held: float, evaluations: int, sizes: Mapping[str, int]) -> StudySpec:
    """The study with so many images held out, which are looked at so often."""
    fit = {"held_out": round(held / sizes["decoding"], 4), "evaluations": evaluations}
    return spec.model_copy(update={"fit": spec.fit.model_copy(update=fit)})


def _pictures(index: int) -> dict[str, int]:
    return dict(zip(("images", "each"), SAMPLES[index], strict=True))


def longest_of(spec: StudySpec, costs: Costs) -> int:
    """Returns the most updates of a fit that more time is used for."""
    pixels = math.prod(costs.shape[1:])

    def seen(offer: Mapping[str, Any]) -> float:
        """At how many images' worth of pixels an update looks, updates being counted as the first candidate's."""
        model: Any = costs.density(offer["density"], None).model
        return (offer["batch"] or spec.fit.batch) * model.looked_at / pixels * offer["pace"]

    seldom = min(map(seen, costs.offers(spec.density.model_dump(mode="json"))))
    return max(300, int(MOST_EPOCHS * costs.sizes["decoding"] / seldom))


def trial_of(spec: StudySpec, updates: int) -> int | None:
    """Returns the updates of each candidate, of fits of so many: no more than a share of what all of them make.

    In a study they are a quarter of one fit's, of however many fits; a time budget may be for a single one. A run that
    grows keeps what its budget has decided.
    """
    if spec.density.kind != AUTO:
        return None
    fit = spec.fit.model_copy(update={"updates": updates, "trial_updates": None})
    made = fit.refits * (fit.base + updates * (1 + max(1, len(spec.layers) * len(spec.checkpoints))))
    return max(LEAST_TRIAL, min(fit.trial, int(TRIAL_SHARE * made / len(CANDIDATES))))


def _with_updates(spec: StudySpec, updates: int, most: int, trial: int | None = None) -> StudySpec:
    """The study with so many updates of each fit and each candidate, and at most so many of the MSE inverter."""
    fit = spec.fit.model_copy(update={"updates": updates, "trial_updates": trial})
    reconstruction = spec.reconstruction.model_copy(update={"updates": min(most, updates)})
    return spec.model_copy(update={"fit": fit, "reconstruction": reconstruction})


def most_updates(takes: Callable[[int], float], seconds: float, longest: int) -> int:
    """Returns the most updates, `LEAST_UPDATES … longest`, that take no longer than so many seconds; two digits.

    Args:
        takes: Updates -> seconds; about a straight line.
    """
    low, high = LEAST_UPDATES, max(LEAST_UPDATES + 1, longest)
    fixed, slope = takes(low), (takes(high) - takes(low)) / (high - low)
    updates = longest if slope <= 0 else low + (seconds - fixed) / slope
    updates = max(LEAST_UPDATES, min(updates, longest))
    # Rounded down: the clock's noise should not show in the settings.
    unit = 10 ** max(0, math.floor(math.log10(updates)) - 1)
    return max(LEAST_UPDATES, int(updates // unit * unit))


def _contrastive(spec: StudySpec, n: int, scores: float) -> Any:
    """The contrastive sizes that need at most `scores` evaluations of the density per fit, if the least ones do."""
    candidates = LEAST_CANDIDATES
    for k in (8, 16, 32, 64):
        if LEAST_BATCHES * k <= n and LEAST_BATCHES * k * k <= scores:
            candidates = k
    batches = int(max(LEAST_BATCHES, min(16, n // candidates, scores // candidates**2)))
    return spec.contrastive.model_copy(update={"candidates": candidates, "batches": batches})
