"""Parts of the page as text, for a terminal: its tables in nats, and the sentences above and below them."""

import itertools
import re
import textwrap
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from infoplane.report.page import Facts, Footnotes, Heading, Text
from infoplane.report.tables import Table, TableEntry

#: letters of a line, and of a column: at most, unless a word is longer, and at least
_LINE, _WIDE, _NARROW = 110, 22, 12


def printed(parts: Sequence[object]) -> str:
    """Returns parts of the page as text; pictures and links have no place in it."""
    return "\n".join(line for part in parts for line in _lines(part))


def _lines(part: object) -> Iterator[str]:
    if isinstance(part, Table):
        yield from (*_table(part), "")
    elif isinstance(part, Heading):
        yield unmarked(part.title)
    elif isinstance(part, Text):
        yield from _wrapped(part.words, _LINE)
    elif isinstance(part, Footnotes):
        for line in part.lines:
            yield from _wrapped(line, _LINE)
    elif isinstance(part, Facts):
        for name, each in part.facts:
            (number, *small) = _entry(each)
            yield from _wrapped(f"{name}: {' '.join([number, *(f'({line})' for line in small)])}", _LINE)


def unmarked(words: Markup | str) -> str:
    """Returns words of the page without their markup: of the two units nats, of a footnote "(a)"."""
    if not isinstance(words, Markup):
        return words
    seen = re.sub(r'<span class="bits">.*?</span>|&shy;', "", words.replace("<br>", " "))
    return Markup(re.sub(r"<sup>(.*?)</sup>", r"(\1)", seen)).striptags().replace("−", "-")


def _wrapped(words: Markup | str, wide: int) -> list[str]:
    return textwrap.wrap(unmarked(words), wide, break_long_words=False, break_on_hyphens=False)


def _entry(each: TableEntry) -> list[str]:
    """An entry with the letters of its footnotes, and what stands below it."""
    marks = f" ({','.join(each.notes)})" if each.notes else ""
    return [unmarked(each.text) + marks, *map(unmarked, each.small)]


def _folded(each: TableEntry, wide: int) -> list[str]:
    """The same in lines of a column: below the entry itself a comma ends one."""
    text, *small = _entry(each)
    parts = [text, *(part for words in small for part in re.split("(?<=,) ", words))]
    return [line for part in parts for line in _wrapped(part, wide)]


def _table(table: Table) -> Iterator[str]:
    """A table in columns, each as wide as its numbers, under a head of as many lines as that takes."""
    count = len(table.head)
    # An entry that heads several rows stands at the first of them.
    rows = [
        (title, [[]] * (count - len(row)) + [_folded(each, _WIDE) for each in row])
        for title, own in table.groups
        for row in own
    ]
    widths = [max([_NARROW, *(len(line) for _, row in rows for line in row[at])]) for at in range(count)]
    head = [_folded(each, wide) for each, wide in zip(table.head, widths, strict=True)]
    widths = [max([wide, *map(len, lines)]) for wide, lines in zip(widths, head, strict=True)]
    yield from _row(head, widths)
    yield "-" * (sum(widths) + 2 * (count - 1))
    for title, group in itertools.groupby(rows, key=lambda row: row[0]):
        yield from [title] * bool(title)
        for _, row in group:
            yield from _row(row, widths)


def _row(entries: Sequence[Sequence[str]], widths: Sequence[int]) -> Iterator[str]:
    for line in itertools.zip_longest(*entries, fillvalue=""):
        yield "  ".join(part.ljust(wide) for part, wide in zip(line, widths, strict=True)).rstrip()
