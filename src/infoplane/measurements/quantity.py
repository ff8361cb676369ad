"""What a number is: its names, what it means, and where a page shows it."""

from dataclasses import dataclass
from typing import Literal

#: a chart that a quantity may have: rows of layers ("rows"), lines through training ("tracks"), one of the two axes of
#: the information plane
Chart = Literal["rows", "tracks", "right", "up"]


@dataclass(frozen=True)
class Quantity:
    """A kind of number of a study, and whatever is said of it.

    Attributes:
        kind: As in results.csv.
        name: Short.
        meaning: What it is, and which way it errs.
        head: Over its column of the page; default: the name.
        said: What the table under a run calls it; "" where it does not stand there.
        bounds: What that table says that it bounds, a sentence; "" where it is one of the lower bounds.
        lower: What it is called in that table's list of lower bounds; "" where it is none.
        charts: Those that it has.
        beside: Whether it is about what was drawn, or about the fits themselves: they may have a table of their own.
        fitted: Whether it comes from densities, of which there are as many as of all others that do.
        counted: What its n counts.
        drawn: Its unit, where it is about samples of pictured images: these have one fit.
        ceiling: What the logarithm of is the most that it can be: the candidates of a batch, or the classes.
    """

    kind: str
    name: str
    meaning: str
    head: str = ""
    said: str = ""
    bounds: str = ""
    lower: str = ""
    charts: tuple[Chart, ...] = ()
    beside: bool = False
    fitted: bool = False
    counted: str = "images"
    drawn: str = ""
    ceiling: Literal["candidates", "classes"] | None = None
