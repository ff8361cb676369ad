"""The densities q(x|h) that several numbers are read from: which there are, and what must be said of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from infoplane.data import Images
from infoplane.engine.store import Stored
from infoplane.errors import in_words, spoken_list
from infoplane.estimate import Estimate
from infoplane.information import crossed_mean
from infoplane.measurements.base import Draft, Measurement, Source, Sources, is_of
from infoplane.measurements.candidates import AUTO, CANDIDATES
from infoplane.measurements.fits import CandidateCell, Choice, DensityCell, TrunkCell
from infoplane.measurements.numbers import INPUT, Place

#: options of a density that have no effect without a context
OF_THE_CONTEXT = ("conditioning", "context_dropout")
#: fields of a fit that say which fits there are, not how one goes
OF_THE_FAMILY = ("refits", "shared", "base_updates", "trial_updates", "warm_start")
#: most looks at the held-out images during a candidate's short fit
TRIAL_LOOKS = 2
#: size of the two-sided test by which a density does worse than an even guess, and what is put down to arithmetic
UNLEARNT, ROUNDING = 0.05, 1e-5
#: a last stretch of training that lowered the held-out loss by this share of it is pointed out
FALLING = 0.005
#: the words of that
STILL_FELL = "the held-out loss still fell at the end: more updates would help"
#: a held-out loss this much above the training loss (share of it) is pointed out
OVERFIT = 0.1

#: how a layer is read, as `Reading.to_json` writes it; None where that is not known, as of latents
ReadAs = Mapping[str, Any] | None


class OfDensities(Measurement):
    """A number that is read from densities."""

    fitted: ClassVar[bool] = True
    with_fits: ClassVar[bool] = True
    cells: ClassVar = (CandidateCell, Choice, TrunkCell, DensityCell)

    def plan(self, plan: Draft, spec: Any, sources: Sources) -> None:
        """Adds all densities, of which each other number that is read from them makes use too."""
        if spec.needs_densities and plan.name("density", INPUT, 1) is None:
            plan_densities(plan, spec, sources)

    def refits(self, run: Any, place: Place) -> list[int]:
        return [] if is_of(place, "network") else [refit for refit, _ in run.fits(place.layer, place.checkpoint)]

    def flags(self, run: Any, place: Place, refits: Sequence[int]) -> tuple[str, ...]:
        """What must be said of the densities that a layer is read with, of these refits, and so of all they give."""
        key = (place.layer, place.checkpoint, tuple(refits))
        if key not in run.said:
            fits = [stored for refit, stored in run.fits(place.layer, place.checkpoint) if refit in refits]
            scores = run.log_probs(place.layer, [*refits], place.checkpoint)
            run.said[key] = flags_of_fits(fits) + unlearnt(run, scores)
        return run.said[key]

    def as_read(self, run: Any, place: Place, estimate: Estimate) -> Estimate:
        through = "" if is_of(place, "network") else run.through(place.layer, place.checkpoint)
        read = flags_of(self.kind, run.read_as(through or place.layer, place.checkpoint))
        return replace(estimate, flags=(*estimate.flags, *read), read_through=through)

    def reader(self, run: Any, place: Place) -> str:
        return run.through(place.layer, place.checkpoint)

    def one_density(self, run: Any, first: Place, second: Place) -> bool:
        return (self.reader(run, first) or first.layer) == (self.reader(run, second) or second.layer)

    def barred(self, run: Any, first: Place, second: Place) -> str:
        names = [self.reader(run, place) or place.layer for place in (first, second)]
        if self.one_density(run, first, second):
            layers = " and ".join(in_words(place.layer) for place in (first, second))
            return f"no claim: {layers} are read with one density, that of {in_words(names[0])}"
        return barred_by_reading(run, names, first.checkpoint)

    def amiss(self, run: Any, place: Place, refits: tuple[int, ...]) -> tuple[str, ...]:
        """Of densities that make no use of the layer."""
        return unread([stored for refit, stored in run.fits(place.layer, place.checkpoint) if refit in refits])


def barred_by_reading(run: Any, layers: Sequence[str], checkpoint: str) -> str:
    """Why nothing may be claimed of the difference of two layers, as they are read, or ""."""
    first, second = layers
    return barred(first, run.read_as(first, checkpoint), second, run.read_as(second, checkpoint))


def unlearnt(run: Any, scores: np.ndarray) -> tuple[str, ...]:
    """What must be said of a density that does worse than one that was never trained could.

    By its error over images and fits, two-sided at 5 %: of a density that does as well, 2.5 % are said to do worse.
    """
    data = run.cell("data")
    if data is None:
        return ()
    even = Images.of_values(data.values).nats
    # A density that is even has no spread, and differs from it by what its arithmetic rounds.
    if -scores.mean() - even <= ROUNDING * even:
        return ()
    if crossed_mean(-scores - even, groups=run.groups).p_value >= UNLEARNT:
        return ()
    return (f"worse than guessing all values of all pixels evenly ({even:,.1f} nats): q has learnt too little",)


def flags_of_fits(fits: Sequence[Stored]) -> tuple[str, ...]:
    """What must be said of densities: that they know their training data too well, or were still getting better."""
    fitted = [stored.values for stored in fits]
    overfit = any(each["heldout_nats"] - each["train_nats"] > OVERFIT * each["train_nats"] for each in fitted)
    flags = ("q fits its training data better than held-out data: more data would help",) if overfit else ()
    return flags + ((STILL_FELL,) if any(still_falling(each["curve"]) for each in fitted) else ()) + unread(fits)


def unread(fits: Sequence[Stored]) -> tuple[str, ...]:
    """What must be said of conditional densities that no update made better: they use nothing of their context."""
    lost = sum(
        stored.values.get("context") is not None and stored.values["curve"]["best_update"] == 0 for stored in fits
    )
    text = f"in {lost} of {len(fits)} fits no update helped on held-out images: q is as it started and ignores h"
    return (text,) if lost else ()


def still_falling(curve: dict[str, Any]) -> bool:
    """Whether the last stretch between two evaluations lowered the held-out loss by more than a share of it."""
    best = np.fmin(curve["heldout"], curve["heldout_ema"])
    return len(best) > 1 and bool(best[-2] - best[-1] > FALLING * abs(best[-1]))


# --- how layers are read ---


def flags_of(kind: str, read: ReadAs) -> tuple[str, ...]:
    """Returns what must stand beside a number of a layer that was pooled or projected, or whose reading is a guess.

    The contrastive bound and label information of a projection are lower bounds of the layer's own: h gives its
    projection, so data processing gives I(x;h) ≥ I(x;Ph) and I(y;h) ≥ I(y;Ph). NCE and usable information are said to
    be of the projection.
    """
    if read is None:
        return ()
    found = []
    if read["altered"] is not None and kind in ("nce", "usable"):
        found.append(f"the number is of a projection: this layer is read as {read['words']}")
    if read["guess"] and kind in ("nce", "usable", "contrastive"):
        found.append(f"how its axes lie is a guess: this layer is read as {read['words'].removesuffix(', a guess')}")
    return tuple(found)


def barred(first: str, one: ReadAs, second: str, other: ReadAs) -> str:
    """Returns why nothing may be claimed of the difference of two layers, or "".

    Args:
        first, second: Their names.
        one, other: How they are read.
    """
    guessed = [name for name, read in ((first, one), (second, other)) if read is not None and read["guess"]]
    if guessed:
        named = spoken_list([in_words(name) for name in guessed])
        return f"no claim: how the axes of {named} lie is a guess; say it with read_as"
    altered = [name for name, read in ((first, one), (second, other)) if read is not None and read["altered"]]
    if len(altered) == 1:
        return f"no claim: only {in_words(altered[0])} was pooled or projected, which costs what the other one keeps"
    return ""


# --- which there are ---


def plan_densities(plan: Draft, spec: Any, sources: Sources) -> None:
    """Adds, per refit, the null-context twins and a density per place, and the trunks or bases that these come from."""
    study, data = spec.model_dump(mode="json"), sources.data
    fit = {key: value for key, value in study["fit"].items() if key not in OF_THE_FAMILY}
    contrastive = study["contrastive"] if "contrastive" in spec.measure else None
    watched = study["losses"] if "losses" in spec.measure else None
    choice = {"choice": _add_choice(plan, spec, data, fit)} if spec.density.kind == AUTO else {}
    source = {**data, **choice}
    families: dict[str, list[Source]] = {INPUT: []}
    for place in sources.layers:
        families.setdefault(twin_of(spec, place.layer), []).append(place)
    for refit in range(1, spec.fit.refits + 1):
        seed = seed_of(spec.seed, refit)
        for twin, members in families.items():
            density = family_of(spec, twin.removeprefix(f"{INPUT}:"))
            common = {"fit": fit, "fit_on": spec.fit_on, "seed": seed, "density": density}
            common |= {"contrastive": None, "losses": watched}
            origin: dict[str, str] = {}
            if spec.fit.together:
                together = {**common, "fit": {**fit, "updates": spec.fit.together}}
                origin = {"trunk": _add_trunk(plan, spec, together, source, members, twin, refit)}
                common |= {"fit": {**fit, "updates": spec.fit.updates - spec.fit.together}, "place": 0}
            elif spec.fit.base:
                base = {**common, "losses": None, "fit": {**fit, "updates": spec.fit.base}}
                origin = {"start": plan.add(DensityCell(layer=None, **base), source, layer=f"{twin} base", refit=refit)}
            plan.add(DensityCell(layer=None, **common), {**source, **origin}, layer=twin, refit=refit)
            for position, place in enumerate(members, start=1):
                own = {"density": spec.density_of(place.layer).model_dump(mode="json"), "contrastive": contrastive}
                own |= {"place": position} if "trunk" in origin else {}
                place.add(plan, DensityCell(**{**common, **own, **place.layer_fields}), {**choice, **origin}, refit)


def _add_choice(plan: Draft, spec: Any, data: Mapping[str, str], fit: Mapping[str, Any]) -> str:
    """Adds a short p(x) of each candidate, and what chooses one of them, for all layers and refits."""
    common = {"fit_on": spec.fit_on, "seed": seed_of(spec.seed, 1)}
    # A look at the held-out images takes longer than some of so few updates.
    short = {**fit, "updates": spec.fit.trial, "evaluations": min(TRIAL_LOOKS, spec.fit.evaluations)}
    trial = {**common, "fit": short, "density": spec.density.model_dump(mode="json")}
    tried = {name: plan.add(CandidateCell(candidate=name, **trial), data, layer=name) for name in CANDIDATES}
    return plan.add(Choice(**common, held_out=spec.fit.held_out), {**data, **tried})


def _add_trunk(
    plan: Draft,
    spec: Any,
    together: Mapping[str, Any],
    needs: Mapping[str, str],
    members: list[Source],
    twin: str,
    refit: int,
) -> str:
    """Adds what trains a twin, which comes first, and the densities of its family together."""
    needs = dict(needs)
    places: list[dict[str, Any]] = [{"layer": None, "density": together["density"]}]
    for place in members:
        density = spec.density_of(place.layer).model_dump(mode="json")
        source = {} if "capture" not in place.needs else {"capture": f"capture at {place.checkpoint}"}
        places.append({"density": density, **source, **place.layer_fields})
        needs |= {source.get(role, role): name for role, name in place.needs.items()}
    trunk = TrunkCell(places=tuple(places), **{key: together[key] for key in ("fit", "fit_on", "seed")})
    return plan.add(trunk, needs, layer=f"{twin} together", refit=refit)


def twin_of(spec: Any, layer: str) -> str:
    """The name under which the null-context twin of a layer's density is filed: that of p(x) where it is the same."""
    return INPUT if family_of(spec, layer) == family_of(spec, INPUT) else f"{INPUT}:{layer}"


def family_of(spec: Any, layer: str) -> dict[str, Any]:
    """The density at a layer, with the study's values for what only a context can feel."""
    common = {key: value for key, value in spec.density.model_dump(mode="json").items() if key in OF_THE_CONTEXT}
    return {**spec.density_of(layer).model_dump(mode="json"), **common}


def seed_of(seed: int, refit: int) -> int:
    """The seed of one refit's fits: the same for the twin and for every layer, so that their noise is shared."""
    return 1000 * seed + refit
