"""What every page is made of: plain values and numpy arrays, so that nothing of a run has to be alive to draw it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from infoplane.claims import corrected_for
from infoplane.measurements.numbers import Numbers
from infoplane.report.claimed import Fall

Point = TypeVar("Point")


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class PageContents:
    """What every page tells. Only `title` is needed: a run still going has little else.

    Attributes:
        title: Name of the study.
        description: What was run, on what; one to three sentences.
        note: A warning that belongs at the top, e.g. "a smoke run on few images", or None.
        data_notes: Sentences on what of the data was dropped, converted, guessed, or is there twice.
        numbers: All numbers. The last checkpoint with any is the one spoken of.
        falls: How far numbers fall from their peaks to the end of training.
        tests: For how many tests all verdicts are corrected.
        tests_before: For how many they were when the run was last reported, before it grew.
        truth: Comparisons with a known truth, in nats, or None. Keys: name, truth, truth_stderr, measured, stderr,
            direction, verdict.
        settings: The resolved study, as text.
        settings_note: What must be said of it.
        seeds: The seeds, in words.
        versions: Package -> version.
        times: (stage, seconds), in the order they ran.
        machine: Where it ran.
        total_seconds: How long it took altogether, or None.
        peak_memory_mb: Largest resident memory, or None.
        failures: (cell, message, traceback) of every part that failed.
        missing: (part, why) of every part that is neither there nor failed.
        parts: Number of parts of the whole run, or None.
        going: Whether the run had not come to its end when this was gathered: still going, or cut off.
        sanity: Ready sentences on what was checked.
    """

    title: str
    description: str = ""
    note: str | None = None
    data_notes: Sequence[str] = ()
    numbers: Numbers = dataclasses.field(default_factory=lambda: Numbers(()))
    falls: Sequence[Fall] = ()
    tests: int = 0
    tests_before: int | None = None
    truth: Sequence[Mapping[str, Any]] | None = None
    settings: str = ""
    settings_note: str = ""
    seeds: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    times: Sequence[tuple[str, float]] = ()
    machine: str = ""
    total_seconds: float | None = None
    peak_memory_mb: float | None = None
    failures: Sequence[tuple[str, str, str]] = ()
    missing: Sequence[tuple[str, str]] = ()
    parts: int | None = None
    going: bool = False
    sanity: Sequence[str] = ()

    @property
    def corrected(self) -> str:
        """For how many tests all verdicts are corrected, in words; "" where nothing was tested."""
        return corrected_for(self.tests, self.tests_before)


def evenly(points: Sequence[Point], most: int) -> list[Point]:
    """Returns at most so many of the points, evenly spread over their order, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(index * (len(points) - 1) / (most - 1))] for index in range(most)]
