"""The colours of figures, one for each layer, and what matplotlib reads while it draws."""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

INK, MUTED, LINE, GHOST, PAPER = "#1c2128", "#646c76", "#dcdfe4", "#e9ebef", "#ffffff"

#: classes, and other things that have no depth; readable on light and dark, and by colour-blind eyes
HUES = ("#3b86c8", "#e0802a", "#2f9e77", "#c065a8", "#8a7ae0", "#8f959d")

#: what each colour of a drawing is called in the page
CSS = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    GHOST: "var(--ghost)",
    PAPER: "var(--paper)",
}

PIXELS_PER_INCH = 72  # so that one unit of an SVG is one pixel of the page, and font sizes are in pixels

#: how the id of a mark begins that carries words for those who point at it, in hexadecimal digits
TIP = "tip-"

# Viridis orders by lightness, so it survives every kind of colour blindness and a grey printer. Its ends are cut so
# that each colour stands out from the page: the pale end goes on a light page, the dark end on a dark one.
_LIGHT, _DARK = (0.02, 0.68), (0.4, 0.98)


def _sampled(count: int, ends: tuple[float, float]) -> list[str]:
    viridis = matplotlib.colormaps["viridis"]
    start, stop = ends
    if count == 1:
        return [to_hex(viridis(start + 0.45 * (stop - start)))]
    return [to_hex(viridis(start + (stop - start) * index / (count - 1))) for index in range(count)]


class Palette:
    """One colour per layer, by depth.

    Args:
        names: The layers, from the input to the output.
    """

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.light = _sampled(len(names), _LIGHT)
        self.dark = _sampled(len(names), _DARK)

    def __getitem__(self, name: str) -> str:
        """The colour to draw `name` with; grey for p(x) and whatever is no layer."""
        return self.light[self.names.index(name)] if name in self.names else MUTED

    def css(self, name: str) -> str:
        """What that colour is called in the page."""
        return f"var(--layer-{self.names.index(name)})" if name in self.names else "var(--muted)"

    @property
    def variables(self) -> dict[str, str]:
        """Colour of a drawing -> CSS."""
        return CSS | {colour: f"var(--layer-{index})" for index, colour in reversed(list(enumerate(self.light)))}


@contextlib.contextmanager
def style(salt: str = "infoplane") -> Iterator[None]:
    """Sets what matplotlib reads while drawing and saving, and puts it back.

    Args:
        salt: Makes the ids of clip paths reproducible and different from those of other figures.
    """
    settings: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "font.size": 12,
        "text.color": INK,
        "text.parse_math": False,  # a layer may be called "$x$"
        "axes.labelcolor": MUTED,
        "axes.labelsize": 12,
        "axes.edgecolor": LINE,
        "axes.linewidth": 1,
        "axes.titley": 1.0,  # nothing is above the axes that a title would have to make way for
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 11,
        "ytick.labelsize": 11,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "grid.color": LINE,
        "grid.linewidth": 0.8,
        "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
        "svg.hashsalt": salt,
    }
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # A layer named in a script that matplotlib's own font lacks is still drawn by the browser.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def canvas(width: float, height: float, *, raster: int = PIXELS_PER_INCH) -> Figure:
    """Returns an empty figure of that many pixels, outside of pyplot's global state.

    Args:
        width: In pixels.
        height: In pixels.
        raster: Dots per inch of what an SVG holds as pixels, such as clouds of thousands of points.
    """
    return Figure(figsize=(width / PIXELS_PER_INCH, height / PIXELS_PER_INCH), dpi=raster)
