"""What several verbs print and read: tables, and options that are KEY=VALUE."""

from collections.abc import Collection, Sequence

from infoplane.errors import UsageError, printable


def print_rows(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> None:
    """Prints rows in columns, some of them flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        print(printable("  ".join(cells).rstrip()))


def key_values(
    pairs: Sequence[str], what: str, legal: str, *, last: bool = False, empty: bool = False
) -> dict[str, str]:
    """Returns key -> value from KEY=VALUE, or raises UsageError that `what` cannot be read.

    Args:
        last: Whether the last = parts them, else the first.
        empty: Whether there may be no value.
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.rpartition("=") if last else pair.partition("=")
        if not (key and equals and (value or empty)) or key in found:
            raise UsageError(f"cannot read {what}", received=repr(pair), legal=f"distinct {legal}")
        found[key] = value
    return found
