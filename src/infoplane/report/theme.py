"""Colours and the way from a matplotlib figure to a file, or to an SVG that takes the page's colours and font.

Figures are drawn once, with the colours of the light page. In the page those colours become CSS variables, so
that a reader with a dark screen gets ink that can be read on it; files keep the light colours, on white.
"""

import base64
import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from PIL import Image

from infoplane.files import write_whole

INK, MUTED, LINE, GHOST, PAPER = "#1c2128", "#646c76", "#dcdfe4", "#e9ebef", "#ffffff"

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

_COLOURS = 48  # of what is drawn as pixels

_CROP = {"bbox_inches": "tight", "pad_inches": 0.2}  # files get an even margin; the page has its own

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


def save(figure: Figure, path: Path) -> None:
    """Writes the figure as PNG or SVG, by the suffix of `path`, whole or not at all."""
    with style(path.stem):
        if path.suffix == ".svg":
            drawn = _svg(figure, PAPER, **_CROP).encode()
        else:
            FigureCanvasAgg(figure)
            dpi = 2.5 * PIXELS_PER_INCH
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=dpi, facecolor=PAPER, metadata={"Software": None}, **_CROP)
            drawn = buffer.getvalue()
    write_whole(path, drawn)


def _svg(figure: Figure, background: str, **crop: Any) -> str:
    FigureCanvasSVG(figure)
    text = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", facecolor=background, metadata=empty, **crop)
    # With quotes in text escaped, whatever looks like an attribute below is one.
    svg = re.sub(r">[^<]*<", lambda match: match[0].replace('"', "&quot;"), text.getvalue())
    svg = re.sub(r"data:image/png;base64,([A-Za-z0-9+/=\s]+)", _lighter, svg)
    return re.sub(f'<g id="{TIP}([0-9a-f]*)">', _title, _short(svg))


def _lighter(pixels: re.Match[str]) -> str:
    """What a drawing holds as pixels, such as a cloud of points, in few colours: a fifth of the size."""
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(pixels[1]))) as image:
        few = image.convert("RGBA").quantize(_COLOURS, method=Image.Quantize.FASTOCTREE)
    few.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _title(mark: re.Match[str]) -> str:
    words = bytes.fromhex(mark[1]).decode()
    # Control characters are no legal XML, not even escaped.
    legal = "".join(letter if letter.isprintable() else " " for letter in words)
    return f"<g><title>{escape(legal)}</title>"


def _short(svg: str) -> str:
    """Rounds coordinates to a hundredth of a pixel, which halves the file, and puts each path on one line."""

    def rounded(match: re.Match[str]) -> str:
        attribute = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", match[0])
        return " " + " ".join(attribute.split())

    return re.sub(r'\s(?:d|x|y|transform|width|height)="[^"]*"', rounded, svg)


def inline(figure: Figure, key: str, label: str, colours: dict[str, str]) -> Markup:
    """Returns the figure as an `<svg>` element for the page.

    Args:
        figure: What to draw.
        key: A name unlike that of any other figure of the page; prefixes every id.
        label: What the figure shows, for those who do not see it.
        colours: `Palette.variables`.
    """
    with style(key):
        svg = _svg(figure, "none")
    svg = svg[svg.index("<svg") :]
    # The style element would apply to the whole page, and the metadata names hosts: neither is needed.
    svg = re.sub(r"<style.*?</style>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.DOTALL)
    used = set(re.findall(r'url\(#([^)]+)\)|xlink:href="#([^"]+)"', svg))
    used = {name for pair in used for name in pair if name}
    svg = re.sub(r'\sid="([^"]*)"', lambda match: f' id="{key}-{match[1]}"' if match[1] in used else "", svg)
    svg = re.sub(r'(url\(|xlink:href=")#', rf"\1#{key}-", svg).replace("xlink:href", "href")
    view = re.search(r'viewBox="([^"]*)"', svg)
    box = view[1] if view else "0 0 1 1"
    head = Markup('<svg viewBox="{}" role="img" aria-label="{}">').format(box, label)
    svg = re.sub(r"^<svg[^>]*>", "", svg)
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = re.sub(r'style="[^"]*"', lambda match: _themed(match[0], colours), svg)
    # matplotlib has escaped the text that came from outside; the rest is its own.
    return head + Markup(re.sub(r">\s+<", "><", svg).strip())


def _themed(attribute: str, colours: dict[str, str]) -> str:
    attribute = re.sub(r"#[0-9a-f]{6}", lambda match: colours.get(match[0], match[0]), attribute)
    attribute = re.sub(r"font-family: [^;\"]*(; )?", "", attribute)
    return re.sub(r"(font: [^;\"]*?\d+px) [^;\"]*", r"\1 var(--sans)", attribute)  # the same, before matplotlib 3.9
