"""What is said of data that were not taken exactly as they are."""

import sys
from collections import Counter
from collections.abc import Iterable

import numpy as np

from infoplane.errors import agreed, plural, printable


def say(notes: Iterable[str]) -> None:
    """Prints notes on standard error, one a line."""
    for note in notes:
        print(f"note: {printable(note)}", file=sys.stderr)


def counted(what: Counter[str], most: int = 5) -> str:
    """Returns "30 × image in hidden folders, 3 × .txt": images first, then the most frequent, the others summed up."""
    kinds = sorted(what.items(), key=lambda item: (not item[0].startswith("image"), -item[1]))
    rest = sum(count for _, count in kinds[most:])
    return ", ".join([f"{count:,} × {name}" for name, count in kinds[:most]] + ([f"{rest:,} others"] if rest else []))


def class_notes(labels: np.ndarray | None, classes: int | None) -> list[str]:
    """Returns what must be said where classes have no image: labels may count from 1, or be codes and no numbers."""
    if labels is None or classes is None:
        return []
    found = np.unique(labels)
    if len(found) == classes:
        return []
    there = f"{len(found):,} of {plural(classes, 'class', 'classes')}"
    note = f"{there} {agreed(len(found), 'occur')}: labels go from {found[0]:,} to {found[-1]:,}"
    if found[0] == 1 and len(found) == classes - 1:
        note += "; if they count from 1, subtract 1, or there is a class 0 without an image"
    elif found[-1] == classes - 1 and len(found) < classes / 2:
        note += "; if they are codes, numpy.unique(labels, return_inverse=True)[1] numbers those that occur"
    return [note]
