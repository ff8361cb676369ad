"""From a matplotlib figure to its files, and to an SVG that takes the page's colours and font.

Figures are drawn once as SVG, with the colours of the light page. In the page those colours become CSS variables, so
that a reader with a dark screen gets ink that can be read on it; files keep the light colours, on white.
"""

import base64
import io
import re
import zlib
from functools import cached_property

from markupsafe import Markup, escape
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from infoplane.report.theme import PAPER, PIXELS_PER_INCH, TIP, style

#: the formats of a figure's files
SUFFIXES = (".svg", ".png")
_MARGIN = 0.2  # inches around what is drawn, in files; the page has its own
_SHARPNESS = 2.5  # pixels of a PNG for each of the page
_COLOURS = 48  # of what an SVG holds as pixels
#: runs of one colour are nearly all that a drawing has to be packed: looking for more takes longer than drawing it
_PACKING = {"compress_type": zlib.Z_RLE}


class Print:
    """A figure as it is shown: drawn as SVG once, for the page and for its file, and as PNG where that is asked for.

    Args:
        figure: What to draw; it is emptied once it is in files.
        key: A name unlike that of any other figure of the page; makes ids reproducible, and different from others.
    """

    def __init__(self, figure: Figure, key: str) -> None:
        self.figure, self.key = figure, key
        with style(key):
            self._svg = _svg(figure)

    def inline(self, label: str, colours: dict[str, str]) -> Markup:
        """Returns the figure as an `<svg>` element for the page.

        Args:
            label: What the figure shows, for those who do not see it.
            colours: `Palette.variables`.
        """
        key, svg = self.key, self._svg[self._svg.index("<svg") :]
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

    @cached_property
    def files(self) -> dict[str, bytes]:
        """Suffix -> the file: what is drawn on white, with an even margin around it."""
        with style(self.key):
            crop = self._crop()
            framed = self._framed(crop)
            png = io.BytesIO()
            look = {"dpi": _SHARPNESS * PIXELS_PER_INCH, "facecolor": PAPER, "metadata": {"Software": None}}
            self.figure.savefig(png, format="png", bbox_inches=crop, pil_kwargs=_PACKING, **look)
        # All of its pixels are freed at once, not when Python next looks for cycles.
        self.figure.clear()
        FigureCanvasBase(self.figure)
        return dict(zip(SUFFIXES, (framed.encode(), png.getvalue()), strict=True))

    def _crop(self) -> Bbox:
        """What files show of the figure, in inches: where everything stands is known, since it has been drawn."""
        canvas = FigureCanvasAgg(self.figure)
        return self.figure.get_tightbbox(canvas.get_renderer()).padded(_MARGIN)

    def _framed(self, crop: Bbox) -> str:
        """The SVG of that part of the figure: another view of the same drawing, with the paper below it."""
        down = self.figure.get_size_inches()[1] - crop.y1
        left, top, width, height = (f"{PIXELS_PER_INCH * x:.2f}" for x in (crop.x0, down, crop.width, crop.height))
        start = self._svg.index("<svg")
        end = self._svg.index(">", start)
        head = self._svg[start:end]
        for name, value in (
            ("width", f"{width}pt"), ("height", f"{height}pt"), ("viewBox", f"{left} {top} {width} {height}")
        ):  # fmt: skip
            head = re.sub(rf'\s{name}="[^"]*"', f' {name}="{value}"', head)
        paper = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" style="fill: {PAPER}"/>'
        return f"{self._svg[:start]}{head}>\n {paper}{self._svg[end + 1 :]}"


def _svg(figure: Figure) -> str:
    FigureCanvasSVG(figure)
    text = io.StringIO()
    empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(text, format="svg", facecolor="none", metadata=empty)
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


def _themed(attribute: str, colours: dict[str, str]) -> str:
    attribute = re.sub(r"#[0-9a-f]{6}", lambda match: colours.get(match[0], match[0]), attribute)
    attribute = re.sub(r"font-family: [^;\"]*(; )?", "", attribute)
    return re.sub(r"(font: [^;\"]*?\d+px) [^;\"]*", r"\1 var(--sans)", attribute)  # the same, before matplotlib 3.9
