"""Tables of the page, as plain entries that the template only has to lay out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from infoplane.estimate import Estimate
from infoplane.report.format import MISSING, NEGLIGIBLE, amount, between, both, information
from infoplane.report.words import DIRECTIONS

#: unit of numbers -> its words, where they are others
UNIT_WORDS = {"fraction": "share"}
#: the two units of information, of which the page's switch shows one
UNITS = both("nats", "bits")
PER_IMAGE = both("nats per image", "bits per image")


@dataclass(frozen=True)
class TableEntry:
    """What stands at one place of a table.

    Attributes:
        text: Itself.
        small: What stands below it, line by line.
        notes: The letters of its footnotes.
        hint: What it says more where a reader points at it.
        chip: The CSS colour of what heads a row; "" of all other entries.
        rows: Of how many rows it is the head.
        begins: Whether a line is drawn above its row.
        look: Its class in page.css.
    """

    text: Markup | str
    small: tuple[Markup | str, ...] = ()
    notes: tuple[str, ...] = ()
    hint: str = ""
    chip: str = ""
    rows: int = 1
    begins: bool = False
    look: str = ""


NONE = TableEntry(MISSING, look="quiet")

Row = Sequence[TableEntry]


@dataclass(frozen=True)
class Table:
    """A table: its head, (title, rows) of its groups, and what it is for those who cannot see it.

    One of `words` is read from left to right; in any other numbers stand under each other.
    """

    head: Row
    groups: Sequence[tuple[str, Sequence[Row]]]
    label: str = "A table"
    words: bool = False


def worded(head: Sequence[TableEntry | str], rows: Sequence[Sequence[TableEntry | Markup | str]]) -> Table:
    """Returns a table that is read from left to right."""
    entries = [[each if isinstance(each, TableEntry) else TableEntry(each) for each in row] for row in (head, *rows)]
    return Table(entries[0], [("", entries[1:])], words=True)


class Notes:
    """Gives every distinct flag one letter."""

    def __init__(self) -> None:
        self.letters: dict[str, str] = {}

    def mark(self, flags: Sequence[str]) -> tuple[str, ...]:
        """Returns the letters of flags, in their order."""
        for flag in flags:
            index = len(self.letters)
            letter = chr(ord("a") + index % 26) * (1 + index // 26)
            self.letters.setdefault(flag, letter)
        return tuple(sorted((self.letters[flag] for flag in flags), key=lambda letter: (len(letter), letter)))

    @property
    def lines(self) -> list[Markup]:
        """What every letter stands for."""
        return [Markup("<sup>{}</sup> {}").format(letter, flag) for flag, letter in self.letters.items()]


def entry(estimate: Estimate | None, notes: Notes, *small: Markup | str, unit: bool = False) -> TableEntry:
    """Returns a number with its error, its footnotes and its interval; a dash where there is none.

    Args:
        small: What stands below it, where it is not empty.
        unit: Whether it is said in what it is.
    """
    if estimate is None:
        return NONE
    text = amount(estimate, unit=unit or estimate.unit == "fraction")
    return TableEntry(text, tuple(filter(None, small)), notes.mark(estimate.flags), between(estimate))


def truths_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Returns every comparison with what is known."""
    head = ["Quantity", TableEntry("Truth", (UNITS,)), TableEntry("Measured", (UNITS,)), "Direction", "Verdict"]
    found = [
        (
            row["name"],
            _known(row["truth"], row["truth_stderr"]),
            information(row["measured"], row["stderr"], unit=False),
            TableEntry(DIRECTIONS.get(row["direction"]) or row["direction"], look="nowrap"),
            row["verdict"],
        )
        for row in rows
    ]
    return worded(head, found)


def _known(truth: float, stderr: float | None) -> Markup:
    """A true value; an error that says nothing is left out, where "no spread" would be the wrong words."""
    told = stderr is not None and stderr >= NEGLIGIBLE * abs(truth) and stderr > 0
    return information(truth, stderr if told else None, unit=False)
