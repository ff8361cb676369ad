"""A page's figures: each drawn for the page, in both units where they matter, and kept for the files beside it."""

import dataclasses
import re
from collections.abc import Callable

from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.report.drawer import Drawer
from infoplane.report.drawing import Unit
from infoplane.report.printing import Print
from infoplane.report.theme import Palette, style


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One figure of the page: its key (also its file's name), what it says above and below, and its SVGs.

    One of an earlier `checkpoint` has no SVGs: it is a file only.
    """

    key: str
    title: str
    svg: Markup
    badge: str = ""
    caption: Markup = dataclasses.field(default_factory=Markup)
    checkpoint: str = ""


def slug(name: str) -> str:
    """Returns a file name from a layer's name, which may hold anything."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "layer"


class Drawings:
    """The figures of one page.

    Args:
        palette: What the layers are drawn with.
        drawer: Where files go.
    """

    def __init__(self, palette: Palette, drawer: Drawer) -> None:
        self.palette, self.drawer = palette, drawer

    def shown(self, key: str, label: str, figure: Figure) -> Markup:
        """Returns a figure that holds no information, and so is the same in nats and in bits; it becomes a file too."""
        drawn = Print(figure, key)
        self.drawer.put(key, drawn)
        return drawn.inline(label, self.palette.variables)

    def views(
        self, key: str, label: str, draw: Callable[[Unit], Figure], *, filed: bool = True, information: bool = True
    ) -> Markup:
        """Returns the figure in nats and in bits, for the page's switch; the one in nats also becomes a file.

        Args:
            label: What it shows, for those who cannot see it.
            information: Whether it shows any; all else has its own unit.
        """
        views = Markup()
        for unit in ("nats", "bits"):
            with style():
                drawn = Print(draw(unit), f"{key}-{unit}")
            if unit == "nats" and filed:
                self.drawer.put(key, drawn)
            words = f"{label}, in {unit}" if information else label
            views += Markup('<div class="{}">{}</div>').format(unit, drawn.inline(words, self.palette.variables))
        return views
