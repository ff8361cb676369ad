"""Any number compared across layers and across checkpoints, image by image, and what is tested in that."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from infoplane.claims import Hypothesis
from infoplane.information import Mean, count
from infoplane.information.label import FAILS
from infoplane.measurements.base import Measurement
from infoplane.measurements.compared import Compared, Curve, change, common, layers_apart, numbers, one_test
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
            found = layers_apart(curves[first], curves[second], checkpoint, groups[first])
            if found is None:
                continue
            own, tested, refits = found
            sides = Place(first, checkpoint), Place(second, checkpoint)
            where = {"first": first, "second": second, "checkpoint": checkpoint, "refits": refits}
            where |= {"n": count(next(iter(curves[first][checkpoint].values())), groups[first])}
            through = dict(zip(("first_read_through", "second_read_through"), _readers(run, measurement, *sides)))
            test = one_test(measurement.test or measurement.kind, own)
            yield Compared(
                where | numbers(own, tested) | {"kind": measurement.kind} | through,
                # What is positive is given up on the way.
                Hypothesis(-own.value, tested.p_value, refits, test, barred=measurement.barred(run, *sides)),
            )


def checkpoint_changes(run: Any, measurement: Measurement) -> Iterator[Compared]:
    """What changes of a number from checkpoint to checkpoint, and from each to the last."""
    if "checkpoints" not in measurement.across:
        return
    points = [*pairwise(run.checkpoints), *((at, run.checkpoints[-1]) for at in run.checkpoints[:-2])]
    for layer in (NETWORK,) if measurement.of_network else run.spec.layers:
        curve = _curve(run, measurement, layer)
        groups, said = _groups_for(run, curve), _Said(run, measurement, layer)
        for first, last in points:
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
            self._known[at, refits] = measurement.amiss(run, Place(layer, at), refits)
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
    # The network itself is what is asked about: it has no refits.
    fits = 0 if measurement.of_network else refits
    where = {"layer": layer, "kind": measurement.kind, "first": first, "last": last, "unit": measurement.unit}
    through = _readers(run, measurement, Place(layer, first), Place(layer, last))
    words = "; ".join(dict.fromkeys(flag for side in said for flag in side))
    more = dict(zip(("first_read_through", "last_read_through"), through))
    test = one_test(measurement.test or measurement.kind, own)
    return Compared(
        where | numbers(own, tested) | {"refits": fits, "flags": words, **more},
        Hypothesis(own.value, tested.p_value, fits or None, test, barred=bar, training=True),
    )


def _readers(run: Any, measurement: Measurement, *sides: Place) -> list[str]:
    """The layers with whose densities each of two numbers is read."""
    return [measurement.reader(run, side) for side in sides]


def _curve(run: Any, measurement: Measurement, layer: str) -> Curve:
    """Checkpoint -> scores; empty where there are too few examples for an error."""
    found = {at: measurement.scores(run, Place(layer, at)) for at in run.checkpoints}
    # One image alone has no error.
    return Curve({at: own if all(len(each) > 1 for each in own.values()) else {} for at, own in found.items()})


def _groups_for(run: Any, curve: Curve) -> np.ndarray | None:
    """The groups of the examples that these numbers have a term for."""
    sizes = (len(each) for scores in curve.values() for each in scores.values())
    return run.groups_of("evaluation", next(sizes, 0))
