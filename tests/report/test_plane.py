"""Names in the information plane: where they stand is read off the drawn figure."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from infoplane.estimate import Estimate
from infoplane.report.charts.plane import Orbit, plane
from infoplane.report.theme import style

CHECKPOINTS = ("0", "1", "4", "end")


def orbit(label: str, points) -> Orbit:
    found = [(Estimate(x, 1.0, kind="usable"), Estimate(y, 0.02, kind="label")) for x, y in points]
    return Orbit(label, "#440154", tuple((at, *pair) for at, pair in zip(CHECKPOINTS, found, strict=True)))


def crowded() -> list[Orbit]:
    """Two layers that end in one place, above which a third one passes, as deep layers of a ResNet do."""
    return [
        orbit("h1", [(226, 0.67), (63, 0.61), (65, 0.60), (70, 0.63)]),
        orbit("h2", [(78, 0.63), (8, 0.58), (15, 0.57), (18, 0.59)]),
        orbit("h3", [(11, 0.06), (-1.7, -0.01), (-0.9, 0.38), (0.9, 0.51)]),
        orbit("h4", [(-0.7, 0.06), (-1.7, -0.01), (-0.8, 0.38), (-0.5, 0.51)]),
    ]


def scattered(seed: int) -> list[Orbit]:
    generator = np.random.default_rng(seed)
    return [orbit(f"h{layer}", generator.normal(size=(4, 2)) * (20, 0.3)) for layer in range(1, 5)]


@pytest.mark.parametrize("orbits", [crowded(), *map(scattered, range(4))], ids=["crowded", *"0123"])
def test_names_cover_neither_one_another_nor_a_point(orbits):
    with style():
        figure = plane(orbits, CHECKPOINTS, ("usable", "label"), "nats")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (axes,) = figure.axes
        names = {text.get_text(): text.get_window_extent(canvas.get_renderer()) for text in axes.texts}
        points = axes.transData.transform([(x.value, y.value) for each in orbits for _, x, y in each.points])
    assert names.keys() == {each.label for each in orbits}
    for (one, left), (other, right) in combinations(names.items(), 2):
        assert not Bbox.intersection(left, right), (one, other)
    for name, box in names.items():
        assert not any(box.contains(*point) for point in points), name


@pytest.mark.parametrize("at", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_a_long_name_stays_on_the_canvas(at):
    corners = [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)]
    points = [*(corner for corner in corners if corner != at), at]
    with style():
        figure = plane([orbit("encoder.layer4.1.conv2", points)], CHECKPOINTS, ("usable", "label"), "nats")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        (text,) = figure.axes[0].texts
        box = text.get_window_extent(canvas.get_renderer())
    width, height = figure.get_size_inches() * figure.dpi
    assert text.get_text().startswith("enc")
    assert text.get_text().endswith("conv2")
    assert 0 <= box.x0 < box.x1 <= width
    assert 0 <= box.y0 < box.y1 <= height


def test_a_name_stands_beside_its_own_last_point():
    with style():
        figure = plane(crowded(), CHECKPOINTS, ("usable", "label"), "nats")
    ends = {"h1": (70, 0.63), "h2": (18, 0.59), "h3": (0.9, 0.51), "h4": (-0.5, 0.51)}
    for text in figure.axes[0].texts:
        assert text.xy == ends[text.get_text()]
        across, up = text.xyann
        assert abs(across) < 30
        assert abs(up) < 30
