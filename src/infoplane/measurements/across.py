"""Any number compared across layers and across checkpoints, image by image, and what is tested in that."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from infoplane.claims import Hypothesis
from infoplane.information import Mean, count
from infoplane.information.crossed import mean_over_networks
from infoplane.information.label import FAILS
from infoplane.measurements.base import Measurement, Row, Scores
from infoplane.measurements.compared import (
    Compared,
    Curve,
    change,
    common,
    layers_apart,
    numbers,
    of_networks,
    one_test,
    readers_of,
    stacked,
)
from infoplane.measurements.numbers import NETWORK, Place


def layer_differences(run: Any, measurement: Measurement) -> Iterator[Compared]:
    """The paired differences of neighbouring layers, and of the first and last, per checkpoint."""
    if "layers" not in measurement.across:
        return
    curves = {layer: _curve(run, measurement, layer) for layer in run.spec.layers}
    groups = {layer: _groups_for(run, curve) for layer, curve in curves.items()}
    for checkpoint in run.checkpoints:
        layers = [layer for layer, curve in curves.items() if curve[checkpoint]]
        pairs = [*pairwise(layers), *([(layers[0], layers[-1])] if len(layers) > 2 else [])]
        for first, second in pairs:
            sides = Place(first, checkpoint), Place(second, checkpoint)
            if len(run.runs) > 1:
                found = networks_apart(run, measurement, *sides, groups[first])
            else:
                found = layers_apart(curves[first], curves[second], checkpoint, groups[first])
            if found is None:
                continue
            own, tested, refits = found
            where = {"first": first, "second": second, "checkpoint": checkpoint}
            where |= _behind(run, measurement, sides, refits)
            where |= {"n": count(next(iter(curves[first][checkpoint].values())), groups[first])}
            through = dict(zip(("first_read_through", "second_read_through"), _readers(run, measurement, *sides)))
            test = one_test(measurement.test or measurement.kind, own)
            bar = next(filter(None, (measurement.barred(each, *sides) for each in run.runs)), "")
            # What is positive is given up on the way.
            hypothesis = Hypothesis(-own.value, tested.p_value, refits, test, barred=bar, counted=_counted(run))
            yield Compared(where | numbers(own, tested) | {"kind": measurement.kind} | through, hypothesis)


def checkpoint_changes(run: Any, measurement: Measurement) -> Iterator[Compared]:
    """What changes of a number from checkpoint to checkpoint, and from each to the last."""
    if "checkpoints" not in measurement.across:
        return
    points = [*pairwise(run.checkpoints), *((at, run.checkpoints[-1]) for at in run.checkpoints[:-2])]
    for layer in (NETWORK,) if measurement.of_network else run.spec.layers:
        curve = _curve(run, measurement, layer)
        groups, said = _groups_for(run, curve), _Said(run, measurement, layer)
        for first, last in points:
            if len(run.runs) > 1:
                found = networks_apart(run, measurement, Place(layer, last), Place(layer, first), groups)
            else:
                found = change(curve, first, last, groups)
            if found is not None:
                refits = tuple(common(curve[first], curve[last]))
                yield _change(run, measurement, layer, first, last, *found, [said(at, refits) for at in (first, last)])


class _Said:
    """What must be said of a number of a layer, found out once for each checkpoint and set of refits."""

    def __init__(self, run: Any, measurement: Measurement, layer: str) -> None:
        self._of, self._known = (run, measurement, layer), {}

    def __call__(self, at: str, refits: tuple[int, ...]) -> tuple[str, ...]:
        run, measurement, layer = self._of
        if (at, refits) not in self._known:
            # The refits of networks are each network's own.
            several = len(run.runs) > 1
            place = Place(layer, at)
            said = (
                measurement.amiss(each, place, tuple(measurement.refits(each, place)) if several else refits)
                for each in run.runs
            )
            self._known[at, refits] = tuple(dict.fromkeys(flag for own in said for flag in own))
        return self._known[at, refits]


def _change(
    run: Any,
    measurement: Measurement,
    layer: str,
    first: str,
    last: str,
    own: Mean,
    tested: Mean,
    refits: int,
    said: list[tuple[str, ...]],
) -> Compared:
    """One change and what is tested in it."""
    # What falls then is the reader, not what there is to be read.
    fails = any(flag.startswith(FAILS) for flag in said[1])
    bar = "the reader fails: no claim" if fails and own.value < 0 else ""
    several = len(run.runs) > 1
    # The network itself is what is asked about: it has no refits.
    fits = 0 if measurement.of_network and not several else refits
    where = {"layer": layer, "kind": measurement.kind, "first": first, "last": last, "unit": measurement.unit}
    through = _readers(run, measurement, Place(layer, first), Place(layer, last))
    words = "; ".join(dict.fromkeys(flag for side in said for flag in side))
    more = dict(zip(("first_read_through", "last_read_through"), through))
    test = one_test(measurement.test or measurement.kind, own)
    behind = _behind(run, measurement, (Place(layer, first), Place(layer, last)), fits)
    hypothesis = Hypothesis(own.value, tested.p_value, fits or None, test, barred=bar, training=True)
    return Compared(
        where | numbers(own, tested) | behind | {"flags": words, **more},
        of_networks(hypothesis) if several else hypothesis,
    )


def _readers(run: Any, measurement: Measurement, *sides: Place) -> list[str]:
    """The layers with whose densities each of two numbers is read."""
    return [readers_of(run, measurement, side) for side in sides]


def _counted(run: Any) -> Literal["fits", "networks"]:
    """What stands behind a claim: networks, where there are several."""
    return "networks" if len(run.runs) > 1 else "fits"


def _behind(run: Any, measurement: Measurement, sides: tuple[Place, Place], fits: int) -> Row:
    """How many refits a comparison is of and, where there are several, how many networks."""
    if len(run.runs) == 1:
        return {"refits": fits}
    each = min(len(measurement.refits(own, side)) for own in run.runs for side in sides)
    return {"refits": 0 if measurement.of_network else each, "networks": fits}


def _curve(run: Any, measurement: Measurement, layer: str) -> Curve:
    """Checkpoint -> scores; empty where there are too few examples for an error."""
    found = {at: _scores(run, measurement, Place(layer, at)) for at in run.checkpoints}
    # One image alone has no error.
    return Curve({at: own if all(len(each) > 1 for each in own.values()) else {} for at, own in found.items()})


def _scores(run: Any, measurement: Measurement, place: Place) -> Scores:
    """Refit -> what a number is the mean of; where there are several networks, network -> the mean over its refits."""
    if len(run.runs) == 1:
        return measurement.scores(run, place)
    found = ((number, measurement.scores(each, place)) for number, each in enumerate(run.runs, 1))
    return {number: np.stack([*own.values()]).mean(0) for number, own in found if own}


def networks_apart(
    run: Any, measurement: Measurement, first: Place, second: Place, groups: np.ndarray | None
) -> tuple[Mean, Mean, int] | None:
    """Returns what a number is more at a first place than at a second, in the networks that have both, as `change`."""
    both = [[measurement.scores(each, place) for place in (first, second)] for each in run.runs]
    both = [sides for sides in both if all(sides)]
    if len(both) < 2:
        return None
    refits = common(*(side for sides in both for side in sides))
    apart = [
        stacked(one, refits) - stacked(other, refits)
        # Where no refit is there of all, each network's own are one.
        if refits
        else (np.stack([*one.values()]).mean(0) - np.stack([*other.values()]).mean(0))[None]
        for one, other in both
    ]
    mean = mean_over_networks(np.stack(apart), groups=groups)
    return mean, mean, len(both)


def _groups_for(run: Any, curve: Curve) -> np.ndarray | None:
    """The groups of the examples that these numbers have a term for."""
    sizes = (len(each) for scores in curve.values() for each in scores.values())
    return run.groups_of("evaluation", next(sizes, 0))
