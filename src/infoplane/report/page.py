"""From the sections of a page to its files: `report.html`, which needs nothing else, and `figures/`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import jinja2
from markupsafe import Markup

from infoplane.files import write_whole
from infoplane.report.contents import PageContents
from infoplane.report.drawer import Drawer
from infoplane.report.drawing import Drawn
from infoplane.report.format import duration
from infoplane.report.tables import TableEntry, truths_table
from infoplane.report.theme import Palette
from infoplane.report.words import Opening

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Text:
    """A paragraph; `look` is its class in page.css."""

    words: Markup | str
    look: str = ""


@dataclass(frozen=True)
class Heading:
    """A heading inside a section, and what stands beside it."""

    title: str
    badge: str = ""


@dataclass(frozen=True)
class Figures:
    """Figures: panels side by side, smaller curves, sheets as wide as the page, which scroll, or single ones."""

    figures: Sequence[Drawn]
    layout: str = "panels"


@dataclass(frozen=True)
class Facts:
    """Numbers that stand by themselves: (name, number)."""

    facts: Sequence[tuple[str, TableEntry]]


@dataclass(frozen=True)
class Footnotes:
    """Sentences under a table."""

    lines: Sequence[Markup | str]


@dataclass(frozen=True)
class Meanings:
    """(name, what it means)."""

    meanings: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Fold:
    """Paragraphs, and tables, that a reader may unfold."""

    summary: str
    lines: Sequence[Markup] = ()
    parts: Sequence[object] = ()


@dataclass(frozen=True)
class Section:
    """A part of the page: its id, its title, and the parts below that: any of the above, tables, pictures."""

    key: str
    title: str
    parts: Sequence[object]


@dataclass(frozen=True)
class Page:
    """All that is shown between the title and how it was made.

    Attributes:
        opening: The sentence at the top.
        hero: The figure below it, or None.
        sections: In their order.
        palette: The colours of the layers.
        known: Title of the section on what is known, and the sentence below it.
    """

    opening: Opening
    hero: Drawn | None
    sections: Sequence[Section]
    palette: Palette
    known: tuple[str, str]


Contents = TypeVar("Contents", bound=PageContents)


def publish(
    contents: Contents, folder: Path, lay_out: Callable[[Contents, Drawer, Text], Page], tables: Mapping[str, str]
) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole. The same contents give the same bytes.

    Args:
        contents: What to show; anything but its title may be missing.
        folder: Where to write `report.html` and `figures/`; made if need be.
        lay_out: (contents, where figures go, links to the tables) -> the page.
        tables: Files with tables that may lie there, and so are linked -> what they are called.
    """
    folder = Path(folder)
    path = folder / "report.html"
    drawer = Drawer(path)
    found = {name: what for name, what in tables.items() if (folder / f"{name}.csv").is_file()}
    write_whole(path, _render(contents, lay_out(contents, drawer, _links(found))))
    drawer.close()
    return path


def _links(tables: Mapping[str, str]) -> Text:
    """Links to tables beside the page, nothing where there are none."""
    link = Markup(
        '<span class="files">{what} <a href="{name}.csv" download>CSV</a> '
        '<a href="{name}.parquet" download>Parquet</a></span>'
    )
    links = Markup("; ").join(link.format(name=name, what=what) for name, what in tables.items())
    return Text(Markup("As files, without rounding: {}.").format(links) if links else "", "quiet")


def downloads(key: str, words: str = "") -> Markup:
    """Returns links to a figure's files."""
    return Markup(
        '<span class="files">{words} <a href="figures/{key}.svg" download>SVG</a> '
        '<a href="figures/{key}.png" download>PNG</a></span>'
    ).format(words=words, key=key)


def _render(contents: PageContents, page: Page) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration}
    environment.filters["kind"] = lambda part: type(part).__name__
    environment.globals |= {"downloads": downloads}
    css = Markup((_HERE / "page.css").read_text(encoding="utf-8"))
    known = Section("truth", page.known[0], [Text(page.known[1]), truths_table(contents.truth or ())])
    return environment.get_template("page.html.j2").render(css=css, contents=contents, page=page, known=known)
