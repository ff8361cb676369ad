"""What is said of data that were not taken exactly as they are."""

import sys
from collections import Counter
from collections.abc import Iterable


def say(notes: Iterable[str]) -> None:
    """Prints notes on standard error, one a line."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def counted(what: Counter[str], most: int = 5) -> str:
    """Returns "30 × image in hidden folders, 3 × .txt": images first, then the most frequent, the others summed up."""
    kinds = sorted(what.items(), key=lambda item: (not item[0].startswith("image"), -item[1]))
    rest = sum(count for _, count in kinds[most:])
    return ", ".join([f"{count:,} × {name}" for name, count in kinds[:most]] + ([f"{rest:,} others"] if rest else []))
