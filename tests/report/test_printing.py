"""Figures are drawn once, and their files show all of them with an even margin."""

import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import synthetic_report
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from infoplane.report.charts import gallery, training
from infoplane.report.printing import Print
from infoplane.report.theme import PAPER, canvas, style


def _curves() -> Figure:
    return training.training([synthetic_report.curve("conv1", 0, 50.0)], "conv1", "#336699", "nats", legend=True)


def _sheet() -> Figure:
    contents = synthetic_report.contents()
    assert contents.inputs is not None
    return gallery.sheet(contents.inputs, gallery.sheet_rows(contents, "end"), contents.levels)


def _overflowing() -> Figure:
    figure = canvas(120, 80)
    figure.text(0.9, 0.5, "far beyond the right edge")
    figure.text(-0.6, 0.1, "and the left one")
    return figure


@pytest.mark.parametrize("make", [_curves, _sheet, _overflowing])
def test_files_show_what_is_drawn_with_an_even_margin(make) -> None:
    with style():
        figure = make()
        FigureCanvasAgg(figure)
        # matplotlib's own tight crop is the witness.
        crop = {"bbox_inches": "tight", "pad_inches": 0.2}
        figure.savefig(own := io.BytesIO(), format="png", dpi=180, facecolor=PAPER, **crop)
    files = Print(figure, "a-figure").files
    shown = np.asarray(Image.open(io.BytesIO(files[".png"])).convert("RGB"))
    inked = np.argwhere((shown < 250).any(axis=-1))
    edges = [*inked.min(axis=0), *(np.array(shown.shape[:2]) - 1 - inked.max(axis=0))]
    # .2 inches at 180 dots per inch; blank ends of letters and invisible axes make some wider.
    assert min(edges) >= 30
    assert np.array(edges).min() <= 45
    assert np.abs(np.array(Image.open(own).size) - shown.shape[1::-1]).max() <= 12
    # The SVG is a view of the same part.
    root = ElementTree.fromstring(files[".svg"])
    left, top, width, height = (float(number) for number in root.attrib["viewBox"].split())
    assert root.attrib["width"] == f"{width:.2f}pt"
    assert root.attrib["height"] == f"{height:.2f}pt"
    assert np.abs(np.array([width, height]) * 2.5 - shown.shape[1::-1]).max() <= 1
    paper = root.find("{http://www.w3.org/2000/svg}rect")
    assert paper is not None
    assert [float(paper.attrib[name]) for name in ("x", "y", "width", "height")] == [left, top, width, height]
    assert PAPER in paper.attrib["style"]


def test_a_figure_is_drawn_once_for_each_kind_of_file(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    draw = Figure.draw

    def counted(self: Figure, renderer) -> None:
        drawn.append(type(renderer).__name__)
        draw(self, renderer)

    with style():
        figure = _curves()
    monkeypatch.setattr(Figure, "draw", counted)
    found = Print(figure, "curves")
    found.inline("curves", {})
    assert found.files
    assert drawn == ["MixedModeRenderer", "RendererAgg"]


def test_page_and_file_hold_the_same_drawing() -> None:
    with style():
        found = Print(_curves(), "curves")
    outlines = [re.findall(r'\sd="([^"]*)"', svg) for svg in (found.files[".svg"].decode(), found.inline("curves", {}))]
    assert len(outlines[0]) > 10
    assert outlines[0] == outlines[1]
    # The same figure gives the same bytes.
    with style():
        assert Print(_curves(), "curves").files == found.files


def test_pictures_of_a_sheet_stand_where_they_belong() -> None:
    contents = synthetic_report.contents()
    rows = gallery.sheet_rows(contents, "end")
    assert contents.inputs is not None
    with style():
        figure = gallery.sheet(contents.inputs, rows, contents.levels)
    (axes,) = figure.axes
    (image,) = axes.get_images()
    pixels = np.asarray(image.get_array())
    size, gap = 8, 1
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels == [row[0] for rows_of_one in rows for row in rows_of_one]
    middles = axes.get_yticks()
    grey = np.rint(np.asarray(contents.layers[1].pictures["end"].samples, float) * 255 / 16)
    for index in range(len(contents.inputs)):
        # The tick of the second layer is the middle of its row of pictures.
        top = round(middles[index * len(rows[0]) + 1] - size / 2 + 0.5)
        for draw in range(8):
            left = (2 + draw) * (size + gap) + 2 * gap
            np.testing.assert_array_equal(pixels[top : top + size, left : left + size, 0], grey[index, draw, 0])
    assert (pixels[..., 3] == 0).any()
