"""A page as a browser would see it."""

import html.parser
from pathlib import Path

from infoplane.report.inversion.contents import ReportContents
from infoplane.report.inversion.sections import write

_EMPTY = {"meta", "input", "img", "br", "link"}


class Seen(html.parser.HTMLParser):
    """Reads a page: its visible text, its elements with their attributes, and whether they are balanced."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.source = source
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        """All visible text, in both units, with single spaces."""
        return " ".join("".join(f"{word} " for word in self.words).split())

    def attributes(self, name: str) -> list[str]:
        """The values of one attribute throughout the page."""
        return [value for _, attributes in self.elements if (value := attributes.get(name)) is not None]

    def tags(self) -> list[str]:
        """The names of all elements."""
        return [tag for tag, _ in self.elements]


def see(contents: ReportContents, folder: Path) -> Seen:
    """Returns the page of `contents`."""
    return Seen(write(contents, folder).read_text(encoding="utf-8"))
