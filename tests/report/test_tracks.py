"""Numbers through training, read back from what was drawn."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import synthetic_noisy
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from infoplane.estimate import Estimate
from infoplane.report.charts.tracks import Column, Panel, Track, TrainingAxis, age_of, thinned, tracks
from infoplane.report.noisy.contents import NoisyContents
from infoplane.report.noisy.sections import _Layout
from infoplane.report.theme import canvas, style

AXIS = TrainingAxis([str(epoch) for epoch in synthetic_noisy.EPOCHS])
TRACKS = [Track("layer 1", "#123456", {at: Estimate(8.0, 0.1) for at in AXIS.checkpoints})]


def hero(contents: NoisyContents, unit: str = "nats", *, narrow: bool = False) -> Figure:
    """The opening figure."""
    layout = _Layout(contents, None)  # type: ignore[arg-type]
    columns = [Column(network.title, layout._panels(network)) for network in contents.networks]
    wide: dict[str, Any] = {"width": 360} if narrow else {"width": 960, "across": min(len(columns), 3)}
    with style():
        return tracks(columns, layout.axis, unit, **wide)  # type: ignore[arg-type]


def lines_of(axes: Axes) -> list[np.ndarray]:
    """The points of every line of error bars, (bars, 2, 2), in the order in which layers were drawn."""
    found = [each for each in axes.collections if each.get_zorder() == 4]
    # Each stands there twice: cased in the paper's colour below.
    return [path.vertices.reshape(-1, 2, 2) for each in found[1::2] for path in each.get_paths()]


def ticks(axis: TrainingAxis) -> list[str]:
    axes = canvas(500, 100).add_axes((0, 0, 1, 1))
    axis.lay(axes, named=True)
    assert all(axes.get_xlim()[0] <= place <= axes.get_xlim()[1] + 1e-9 for place in axes.get_xticks())
    return [label.get_text() for label in axes.get_xticklabels()]


@pytest.mark.parametrize(
    ("checkpoints", "places", "counted"),
    [
        (("0", "10", "100", "10000", "end"), [0, 1, 2, 4, 5], True),
        (("0", "10", "1000", "end"), [0, 1, 3, 4], True),
        (("50",), [1], True),
        (("0", "end"), [0, 1], True),
        (("1", "1e3"), [1, 4], True),
        (("start", "100", "end"), [0, 1, 2], False),
        (("end",), [0], False),
        *(((("0", name, "end"), [0, 1, 2], False)) for name in ("nan", "inf", "-1", "-inf", "1e999", "best")),
    ],
)
def test_counts_stand_on_a_logarithmic_axis_that_has_zero(
    checkpoints: Sequence[str], places: list[float], counted: bool
) -> None:
    axis = TrainingAxis(checkpoints)
    assert list(axis.places.values()) == pytest.approx(places)
    assert axis.counted == counted
    assert axis.name == ("updates of the network" if counted else "checkpoint")


def test_what_is_known_of_a_checkpoint_counts_before_its_name() -> None:
    assert age_of("end", {"end": 30.0}) == 30
    assert TrainingAxis(("0", "3", "end"), ages={"end": 30.0}).places["end"] == pytest.approx(2)


def test_few_checkpoints_are_named_and_of_many_the_powers_of_ten() -> None:
    assert ticks(TrainingAxis(("0", "100", "1000", "end"))) == ["0", "100", "1,000", "end"]
    assert ticks(AXIS) == ["0", "1", "10", "10²", "10³", "10⁴"]
    assert ticks(TrainingAxis([f"{0.05 * 2**index:.4g}" for index in range(13)])) == ["0.1", "1", "10", "10²"]
    assert ticks(TrainingAxis(("0",))) == ["0"]
    # Those that would stand on each other are left out, the last one stays.
    assert ticks(TrainingAxis(("0", "100", "101", "102"))) == ["0", "102"]


def test_dense_curves_are_thinned_evenly_on_the_axis() -> None:
    axis, history = TrainingAxis(("0", "1", "10000")), np.arange(10_001)
    curve = np.where(history == 5, np.nan, history**0.5)
    places, values = thinned(axis, history, curve)
    assert 100 < len(places) <= 160
    assert (places[0], values[0]) == (0, 0)
    assert (places[-1], values[-1]) == (axis.place(10_000), 100)
    assert max(np.diff(places)[5:]) < 0.2
    assert all(value == pytest.approx((10 ** (place - 1)) ** 0.5) for place, value in zip(places[1:], values[1:]))


@pytest.mark.parametrize("unit", ["nats", "bits"])
def test_every_number_stands_at_its_epoch(unit: str) -> None:
    contents = synthetic_noisy.light(synthetic_noisy.contents())
    axes = hero(contents, unit).axes
    assert len(axes) == 2 * 3
    points = {
        (round(float(line.get_xdata()[0]), 6), round(float(line.get_ydata()[0]), 6))  # type: ignore[index]
        for line in axes[0].lines
        if line.get_marker() == "o"
    }
    factor = 1 if unit == "nats" else math.log(2)
    expected = {
        (round(1 + math.log10(epoch) if epoch else 0.0, 6), round(value / factor, 6))
        for epoch in synthetic_noisy.EPOCHS
        for value in (synthetic_noisy.information(depth, epoch, falls=True) for depth in range(1, 6))
    }
    assert points == expected
    # The same scale for both networks, and the ceiling on it.
    assert axes[0].get_ylim() == axes[3].get_ylim()
    assert any(line.get_ydata()[0] == pytest.approx(math.log(4096) / factor) for line in axes[0].lines)  # type: ignore[index]


def test_errors_are_one_standard_error() -> None:
    axes = hero(synthetic_noisy.light(synthetic_noisy.contents())).axes[0]
    ends = lines_of(axes)[0][:, :, 1]
    values = [synthetic_noisy.information(1, epoch, falls=True) for epoch in synthetic_noisy.EPOCHS]
    assert ends[:, 0] == pytest.approx(np.array(values) - 0.04)
    # No layer can hold more than the inputs do.
    assert ends[:, 1] == pytest.approx([min(value + 0.04, math.log(4096)) for value in values])
    assert values[-1] + 0.04 > math.log(4096)


def test_errors_end_at_zero_and_at_the_ceiling() -> None:
    found = {at: Estimate(0.1, 0.5) for at in ("0", "10")} | {"20": Estimate(1.9, 0.5)}
    axis = TrainingAxis(list(found))
    for cut, expected in ((True, [(0, 0.6), (0, 0.6), (1.4, 2)]), (False, [(-0.4, 0.6), (-0.4, 0.6), (1.4, 2.4)])):
        panel = Panel("I(X;T)", [Track("layer 1", "#123456", found)], ceiling=(2.0, "log 7"), cut=cut)
        with style():
            (axes,) = tracks([Column("", [panel])], axis, "bits").axes
        assert lines_of(axes)[0][:, :, 1] * math.log(2) == pytest.approx(np.array(expected))


def test_the_name_of_the_ceiling_stands_clear_of_the_first_epoch() -> None:
    panel = Panel("I(X;T)", TRACKS, ceiling=synthetic_noisy.CEILING, marked=["0"])
    with style():
        figure = tracks([Column("", [panel])], AXIS, "nats")
    axes = figure.axes[0]
    (name,) = [text for text in axes.texts if text.get_text().startswith("ceiling")]
    figure.canvas.draw()
    line = axes.transData.transform((0, 0))[0]
    assert name.get_window_extent().x0 > line + 1


def test_the_exact_line_lies_under_the_points() -> None:
    axes = hero(synthetic_noisy.neuron()).axes[0]
    (line,) = [line for line in axes.lines if len(np.asarray(line.get_xdata())) == 6]
    exact = [math.log(4) * (1 - math.exp(-math.log1p(epoch) / 3)) for epoch in (0, 10, 100, 1000, 10000, 100000)]
    assert list(line.get_ydata()) == pytest.approx(exact)
    assert min(point.get_zorder() for point in axes.lines if point.get_marker() == "o") > line.get_zorder()


def test_networks_stand_below_one_another_on_a_phone() -> None:
    wide, narrow = (hero(synthetic_noisy.light(synthetic_noisy.contents()), narrow=narrow) for narrow in (False, True))
    assert wide.get_size_inches()[0] * 72 == pytest.approx(960)
    assert narrow.get_size_inches()[0] * 72 == pytest.approx(360)
    assert len({round(axes.get_position().x0, 3) for axes in narrow.axes}) == 1
    assert narrow.axes[3].get_position().y1 < narrow.axes[2].get_position().y0


def test_nothing_overlaps_in_the_opening_figure() -> None:
    for narrow in (False, True):
        boxes = [
            axes.get_position() for axes in hero(synthetic_noisy.light(synthetic_noisy.three()), narrow=narrow).axes
        ]
        assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
        for at, one in enumerate(boxes):
            for other in boxes[at + 1 :]:
                apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
                assert apart


def test_marked_epochs_are_named_where_there_is_room() -> None:
    panel = Panel("I(X;T)", TRACKS, marked=["0", "28", "29", "80", "10000"], named=True)
    with style():
        (axes,) = tracks([Column("", [panel])], AXIS, "nats").axes
    named = [text.get_text() for text in axes.texts if text.get_text().replace(",", "").isdecimal()]
    assert named == ["0", "28", "80", "10,000"]
