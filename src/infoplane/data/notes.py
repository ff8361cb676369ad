"""What is said of data that were not taken exactly as they are."""

import sys
from collections import Counter
from collections.abc import Iterable


def say(notes: Iterable[str]) -> None:
    """Prints notes on standard error, one a line."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def counted(what: Counter[str], most: int = 5) -> str:
    """Returns "3 × .txt, 2 × .heic": the most frequent first, the others summed up."""
    common = what.most_common(most)
    rest = sum(what.values()) - sum(count for _, count in common)
    return ", ".join([f"{count:,} × {name}" for name, count in common] + ([f"{rest:,} others"] if rest else []))
