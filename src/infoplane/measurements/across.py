"""Any number compared across layers and across checkpoints, image by image, and what is tested in that."""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np

from infoplane.claims import Hypothesis
from infoplane.errors import in_networks
from infoplane.information import Mean, count
from infoplane.information.crossed import mean_over_networks
from infoplane.information.label import FAILS
from infoplane.measurements.base import Measurement, Row, Scores
from infoplane.measurements.compared import (
    CheckpointScores,
    Compared,
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
    several = len(run.runs) > 1
    curves = {layer: _curve(run, measurement, layer) for layer in run.spec.layers}
    groups = {layer: _groups_for(run, curve) for layer, curve in curves.items()}
    for checkpoint in run.checkpoints:
        layers = [layer for layer, curve in curves.items() if curve[checkpoint]]
        pairs = [*pairwise(layers), *([(layers[0], layers[-1])] if len(layers) > 2 else [])]
        for first, second in pairs:
            sides = Place(first, checkpoint), Place(second, checkpoint)
            if several:
                found = networks_apart(run, measurement, *sides, groups[first])
            else:
                found = layers_apart(curves[first], curves[second], checkpoint, groups[first])
            if found is None:
                continue
            own, tested, refits = found
            refits = 0 if measurement.unfitted and not several else refits
            row: Row = {"first": first, "second": second, "checkpoint": checkpoint}
            row |= _behind(run, measurement, sides, refits)
            row |= {"n": count(next(iter(curves[first][checkpoint].values())), groups[first])}
            row |= numbers(own, tested) | {"kind": measurement.kind}
            row |= readers_of(run, measurement, first=sides[0], second=sides[1])
            bars = [measurement.barred(each, *sides) for each in run.runs]
            if several:
                same = [measurement.one_density(each, *sides) for each in run.runs]
                row |= {"one_density": sum(same)}
                bars = bars if all(same) else [bar for bar, one in zip(bars, same, strict=True) if not one]
                row |= {"p": max(tested.p_value, _undone(run, measurement, sides, groups[first], own, same))}
            bar = next(iter(in_networks([filter(None, [bar]) for bar in bars])), "")
            # What is positive is given up on the way.
            hypothesis = Hypothesis(-own.value, row["p"], refits or None, one_test(measurement, own), barred=bar)
            yield Compared(row, of_networks(hypothesis) if several else hypothesis)


def _undone(
    run: Any,
    measurement: Measurement,
    sides: tuple[Place, Place],
    groups: np.ndarray | None,
    own: Mean,
    same: Sequence[bool],
) -> float:
    """The p-value of a difference with each layer's own density wherever a network has one for both; 0 where none has.

    There the two differ by 0, since the earlier one's density was the worse: only falls are left. To leave these
    networks out, or to test with their zeros, would claim a fall of many networks by that choice alone.
    """
    if all(same) or not any(same):
        return 0.0
    runs = [each.with_own_readers if one else each for each, one in zip(run.runs, same, strict=True)]
    found = networks_apart(run, measurement, *sides, groups, runs)
    return 1.0 if found is None or found[0].value * own.value <= 0 else found[0].p_value


def checkpoint_changes(run: Any, measurement: Measurement) -> Iterator[Compared]:
    """What changes of a number from checkpoint to checkpoint, and from each to the last."""
    if "checkpoints" not in measurement.across:
        return
    several = len(run.runs) > 1
    points = [*pairwise(run.checkpoints), *((at, run.checkpoints[-1]) for at in run.checkpoints[:-2])]

    @cache
    def said(place: Place, refits: tuple[int, ...]) -> tuple[str, ...]:
        """What must be said of a number there; the refits of networks are each network's own."""
        own = ((each, tuple(measurement.refits(each, place)) if several else refits) for each in run.runs)
        return in_networks([measurement.amiss(each, place, fits) for each, fits in own])

    for layer in (NETWORK,) if measurement.of_network else run.spec.layers:
        curve = _curve(run, measurement, layer)
        groups = _groups_for(run, curve)
        for first, last in points:
            sides = Place(layer, first), Place(layer, last)
            if several:
                found = networks_apart(run, measurement, sides[1], sides[0], groups)
            else:
                found = change(curve, first, last, groups)
            if found is None:
                continue
            own, tested, refits = found
            shared = tuple(common(curve[first], curve[last]))
            before, after = (said(place, shared) for place in sides)
            # What falls then is the reader, not what there is to be read.
            fails = any(FAILS in flag for flag in after)
            bar = "the reader fails: no claim" if fails and own.value < 0 else ""
            # Where nothing is fitted it is this network that is asked about.
            fits = 0 if measurement.unfitted and not several else refits
            row: Row = {"layer": layer, "kind": measurement.kind, "first": first, "last": last}
            row |= {"unit": measurement.unit} | numbers(own, tested) | _behind(run, measurement, sides, fits)
            row |= {"flags": "; ".join(dict.fromkeys((*before, *after)))}
            row |= readers_of(run, measurement, first=sides[0], last=sides[1])
            test = one_test(measurement, own)
            hypothesis = Hypothesis(own.value, tested.p_value, fits or None, test, barred=bar, training=True)
            yield Compared(row, of_networks(hypothesis) if several else hypothesis)


def _behind(run: Any, measurement: Measurement, sides: tuple[Place, Place], fits: int) -> Row:
    """How many refits a comparison is of and, where there are several, how many networks."""
    if len(run.runs) == 1:
        return {"refits": fits}
    each = min(len(measurement.refits(own, side)) for own in run.runs for side in sides)
    return {"refits": 0 if measurement.unfitted else each, "networks": fits}


def _curve(run: Any, measurement: Measurement, layer: str) -> CheckpointScores:
    """Checkpoint -> scores; empty where there are too few examples for an error."""
    found = {at: _scores(run, measurement, Place(layer, at)) for at in run.checkpoints}
    # One image alone has no error.
    return CheckpointScores(
        {at: own if all(len(each) > 1 for each in own.values()) else {} for at, own in found.items()}
    )


def _scores(run: Any, measurement: Measurement, place: Place) -> Scores:
    """Refit -> what a number is the mean of; where there are several networks, network -> the mean over its refits."""
    if len(run.runs) == 1:
        return measurement.scores(run, place)
    found = ((number, measurement.scores(each, place)) for number, each in enumerate(run.runs, 1))
    return {number: _over_refits(own) for number, own in found if own}


def _over_refits(scores: Scores) -> np.ndarray:
    """The mean over refits, (n,)."""
    return np.stack([*scores.values()]).mean(0)


def networks_apart(
    run: Any,
    measurement: Measurement,
    first: Place,
    second: Place,
    groups: np.ndarray | None,
    runs: Sequence[Any] | None = None,
) -> tuple[Mean, Mean, int] | None:
    """Returns what a number is more at a first place than at a second, in the networks that have both, as `change`."""
    both = [[measurement.scores(each, place) for place in (first, second)] for each in runs or run.runs]
    both = [sides for sides in both if all(sides)]
    if len(both) < 2:
        return None
    refits = common(*(side for sides in both for side in sides))
    apart = [
        stacked(one, refits) - stacked(other, refits)
        # Where no refit is there of all, each network's own are one.
        if refits
        else (_over_refits(one) - _over_refits(other))[None]
        for one, other in both
    ]
    mean = mean_over_networks(np.stack(apart), groups=groups)
    return mean, mean, len(both)


def _groups_for(run: Any, curve: CheckpointScores) -> np.ndarray | None:
    """The groups of the examples that these numbers have a term for."""
    sizes = (len(each) for scores in curve.values() for each in scores.values())
    return run.groups_of("evaluation", next(sizes, 0))
