"""What of a study of inversion something may be claimed from: differences of layers, changes, falls from a peak."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from infoplane.claims import Hypothesis
from infoplane.errors import in_words
from infoplane.information import (
    Mean,
    compression,
    count,
)
from infoplane.information.falls import FALL_WORDS
from infoplane.information.label import FAILS
from infoplane.study.comparisons import Compared, Curve, change, common, layers_apart, numbers, one_test
from infoplane.study.measured import DRAWN, READERS, Measured
from infoplane.study.readings import barred
from infoplane.study.training_flags import flags_of_fits, unread


def layer_differences(measured: Measured) -> Iterator[Compared]:
    """The paired differences of neighbouring layers, and of the first and last, per checkpoint."""
    for kind in ("nce", "forward", "label"):
        curves = {layer: _curve(measured, kind, layer) for layer in measured.spec.layers}
        groups = {layer: _groups_for(measured, curve) for layer, curve in curves.items()}
        for checkpoint in measured.checkpoints:
            layers = [layer for layer, curve in curves.items() if curve[checkpoint]]
            pairs = [*pairwise(layers), *([(layers[0], layers[-1])] if len(layers) > 2 else [])]
            for first, second in pairs:
                found = layers_apart(curves[first], curves[second], checkpoint, groups[first])
                if found is not None:
                    own, tested, refits = found
                    where = {"first": first, "second": second, "checkpoint": checkpoint, "refits": refits}
                    where |= {"n": count(next(iter(curves[first][checkpoint].values())), groups[first])}
                    through, bar = _readers(measured, kind, first, second, checkpoint)
                    yield Compared(
                        where | numbers(own, tested) | {"kind": kind} | through,
                        # What is positive is given up on the way.
                        Hypothesis(-own.value, tested.p_value, refits, one_test(kind, own), barred=bar),
                    )


def _readers(measured: Measured, kind: str, first: str, second: str, checkpoint: str) -> tuple[dict[str, str], str]:
    """The layers that two layers are read through, and why nothing may be claimed of their difference, or ""."""
    one, other = (measured.through(layer, checkpoint) if kind == "nce" else "" for layer in (first, second))
    through = {"first_read_through": one, "second_read_through": other}
    one, other = one or first, other or second
    if one == other:
        return (
            through,
            f"no claim: {in_words(first)} and {in_words(second)} are read with one density, that of {in_words(one)}",
        )
    read = [measured.read_as(layer, checkpoint) for layer in (one, other)]
    return through, barred(one, read[0], other, read[1])


def checkpoint_changes(measured: Measured) -> Iterator[Compared]:
    """What changes of each number from checkpoint to checkpoint, and from each to the last."""
    points = [*pairwise(measured.checkpoints), *((at, measured.checkpoints[-1]) for at in measured.checkpoints[:-2])]
    for kind in ("nce", *READERS, *DRAWN):
        if kind == "nce" and kind not in measured.spec.measure:
            continue
        for layer in measured.spec.layers if kind != "own" else ("",):
            curve = _curve(measured, kind, layer)
            groups, flags = _groups_for(measured, curve), _Flags(measured, kind, layer, curve)
            for first, last in points:
                found = change(curve, first, last, groups)
                if found is not None:
                    yield _change(flags, first, last, *found)


class _Flags:
    """What must be said of one kind of number of a layer, found out once for each checkpoint."""

    def __init__(self, measured: Measured, kind: str, layer: str, curve: Curve) -> None:
        self.kind, self.layer = kind, layer
        self._measured, self._curve = measured, curve
        self._unread: dict[tuple[str, tuple[int, ...]], tuple[str, ...]] = {}
        self._labels: dict[str, tuple[str, ...]] = {}

    def between(self, first: str, last: str) -> list[tuple[str, ...]]:
        """What must be said at each of two checkpoints that are compared."""
        if self.kind == "nce":
            refits = tuple(common(self._curve[first], self._curve[last]))
            return [self._of_densities(at, refits) for at in (first, last)]
        return [self._of_readers(at) for at in (first, last)] if self.kind in READERS else [(), ()]

    def through(self, first: str, last: str) -> dict[str, str]:
        """The layers that it is read through at each of two checkpoints."""
        points = {"first_read_through": first, "last_read_through": last}
        read = self._measured.through
        return {key: read(self.layer, at) if self.kind == "nce" else "" for key, at in points.items()}

    def _of_densities(self, at: str, refits: tuple[int, ...]) -> tuple[str, ...]:
        """Of densities that make no use of the layer."""
        if (key := (at, refits)) not in self._unread:
            fits = [stored for refit, stored in self._measured.fits(self.layer, at) if refit in refits]
            self._unread[key] = unread(fits)
        return self._unread[key]

    def _of_readers(self, at: str) -> tuple[str, ...]:
        if at not in self._labels:
            found = self._measured.of_labels(self.kind, self.layer, at)
            self._labels[at] = tuple(flag for each in found for flag in each.flags)
        return self._labels[at]


def _change(flags: _Flags, first: str, last: str, own: Mean, tested: Mean, refits: int) -> Compared:
    """One change and what is tested in it."""
    kind, said = flags.kind, flags.between(first, last)
    # What falls then is the reader, not what there is to be read.
    fails = kind in READERS and any(flag.startswith(FAILS) for flag in said[1])
    bar = "the reader fails: no claim" if fails and own.value < 0 else ""
    # The network itself is what is asked about by "own": it has no refits.
    fits = 0 if kind == "own" else refits
    where = {"layer": flags.layer, "kind": kind, "first": first, "last": last, "unit": DRAWN.get(kind, "nats")}
    through = flags.through(first, last)
    words = "; ".join(dict.fromkeys(flag for side in said for flag in side))
    return Compared(
        where | numbers(own, tested) | {"refits": fits, "flags": words, **through},
        Hypothesis(own.value, tested.p_value, fits or None, one_test(kind, own), barred=bar, training=True),
    )


def falls_from_peaks(measured: Measured) -> Iterator[Compared]:
    """How far the NCE of each layer falls from its peak to the end."""
    for layer in measured.spec.layers:
        points = [point for point in measured.checkpoints if measured.fits(layer, point)]
        refits = measured.common(*((layer, point) for point in points)) if points else []
        # Without the end there is no fall to it.
        if len(points) < 2 or points[-1] != measured.checkpoints[-1] or not refits:
            continue
        fits = [dict(measured.fits(layer, point)) for point in points]
        held = np.array([[-own[refit].values["heldout_nats"] for refit in refits] for own in fits])
        scores = np.stack([measured.log_probs(layer, refits, point) for point in points])
        fall = compression(held, scores, seed=measured.spec.seed, groups=measured.groups)
        both = dict.fromkeys(flag for at in (fall.peak, -1) for flag in flags_of_fits(list(fits[at].values())))
        where = {"layer": layer, "peak": points[fall.peak], "end": points[-1], "flags": "; ".join(both)}
        where |= {f"{at}_read_through": measured.through(layer, where[at]) for at in ("peak", "end")}
        yield Compared(
            where | {key: value for key, value in vars(fall).items() if key != "peak"}, fall.hypothesis, FALL_WORDS
        )


def _curve(measured: Measured, kind: str, layer: str) -> Curve:
    """Checkpoint -> `scores`; empty where there are too few examples for an error."""
    found = {at: measured.scores(kind, layer, at) for at in measured.checkpoints}
    # One image alone has no error.
    return Curve({at: own if all(len(each) > 1 for each in own.values()) else {} for at, own in found.items()})


def _groups_for(measured: Measured, curve: Curve) -> np.ndarray | None:
    """The groups of the examples that these numbers have a term for."""
    sizes = (len(each) for scores in curve.values() for each in scores.values())
    return measured.groups_of("evaluation", next(sizes, 0))
