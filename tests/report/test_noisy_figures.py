"""The figures of noisy networks, read back from what was drawn."""

import math

import numpy as np
import pytest
import synthetic_noisy
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from infoplane.report import noisy_figures, noisy_pictures
from infoplane.report.noisy_axes import HUES, EpochAxis, thinned
from infoplane.report.noisy_contents import Cloud, Histogram, NoisyContents, Snapshot, UnitDensity
from infoplane.report.noisy_numbers import NoisyNumbers, layers_of
from infoplane.report.theme import Palette, canvas, style


def words(figure: Figure) -> list[str]:
    """All that is written in a figure, and above it."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        found += [label.get_text() for label in axes.get_xticklabels()]
    return found


def hero(contents: NoisyContents, unit: str = "nats", *, narrow: bool = False) -> Figure:
    """The opening figure."""
    numbers, palette = NoisyNumbers(contents.rows, contents.networks), Palette(layers_of(contents))
    with style():
        return noisy_figures.hero(contents, numbers, palette, unit, narrow=narrow)  # type: ignore[arg-type]


def test_the_axis_is_logarithmic_and_holds_zero() -> None:
    axis = EpochAxis.of(synthetic_noisy.light(synthetic_noisy.contents()))
    assert (axis.smallest, axis.last) == (1, 10_000)
    assert axis.place(0) == 0
    assert [axis.place(10**power) for power in range(5)] == pytest.approx([1, 2, 3, 4, 5])
    axes = canvas(100, 100).add_axes((0, 0, 1, 1))
    axis.lay(axes, named=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "10", "10²", "10³", "10⁴"]
    assert list(axes.get_xticks()) == pytest.approx([0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize(("epochs", "names"), [((0, 20, 80), ["0", "20", "80"]), ((0,), ["0", "1"]), ((), ["0", "1"])])
def test_an_axis_without_powers_of_ten_names_its_ends(epochs: tuple[int, ...], names: list[str]) -> None:
    network = synthetic_noisy.network("", falls=True, epochs=epochs, history=np.array([]), curves={}, snapshots=())
    axes = canvas(100, 100).add_axes((0, 0, 1, 1))
    EpochAxis.of(NoisyContents(title="t", networks=[network])).lay(axes, named=True)
    assert [label.get_text() for label in axes.get_xticklabels()] == names


def test_dense_curves_are_thinned_evenly_on_the_axis() -> None:
    axis, history = EpochAxis(1, 10_000), np.arange(10_001)
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
    # One line for all bars of a layer, with a gap after each; the first layer's comes first.
    bars = next(line for line in axes.lines if len(np.asarray(line.get_xdata())) == 3 * 25)
    ends = np.asarray(bars.get_ydata(), dtype=float).reshape(25, 3)
    assert np.isnan(ends[:, 2]).all()
    values = [synthetic_noisy.information(1, epoch, falls=True) for epoch in synthetic_noisy.EPOCHS]
    assert ends[:, 0] == pytest.approx(np.array(values) - 0.04)
    # No layer can hold more than the inputs do.
    assert ends[:, 1] == pytest.approx([min(value + 0.04, math.log(4096)) for value in values])
    assert values[-1] + 0.04 > math.log(4096)


def test_errors_end_at_zero() -> None:
    contents = NoisyContents(
        title="t", networks=[synthetic_noisy.network("", falls=True, snapshots=())], ceiling=(2.0, "ln 7"),
        rows=[synthetic_noisy.row("", "layer 1", epoch, "flow", 0.1, 0.5) for epoch in (0, 10)],
    )  # fmt: skip
    axes = hero(contents, "bits").axes[0]
    bars = next(line for line in axes.lines if len(np.asarray(line.get_xdata())) == 3 * 2)
    assert np.nanmin(np.asarray(bars.get_ydata(), dtype=float)) == 0
    assert np.nanmax(np.asarray(bars.get_ydata(), dtype=float)) == pytest.approx(0.6 / math.log(2))
    found = synthetic_noisy.neuron().sweep
    assert found is not None
    drawn = noisy_figures.sweep(found, "nats", math.log(4)).axes[0].lines
    bars = [np.asarray(line.get_ydata()) for line in drawn if len({*np.asarray(line.get_xdata())}) == 1]
    tops = [bar[1] for bar in bars if len(bar) == 2]
    assert len(tops) == 3 * 40
    assert max(tops) == pytest.approx(math.log(4))
    assert np.max(found.value + found.stderr) > math.log(4) + 0.005


def test_the_name_of_the_ceiling_stands_clear_of_the_first_epoch() -> None:
    contents = NoisyContents(
        title="t", networks=[synthetic_noisy.network("", falls=True, snapshots=[Snapshot(0)])],
        rows=synthetic_noisy.rows("", beta=0.005, bins=(), falls=True), ceiling=synthetic_noisy.CEILING,
    )  # fmt: skip
    figure = hero(contents)
    axes = figure.axes[0]
    (name,) = [text for text in axes.texts if text.get_text().startswith("ln 4096")]
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


def _snapshots(**shown: object) -> list[Snapshot]:
    return [Snapshot(epoch, **shown) for epoch in (0, 10)]  # type: ignore[arg-type]


@pytest.mark.parametrize("units", [2, 3])
def test_points_of_a_cloud_keep_their_class(units: int) -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (50, units))
    labels = (points[:, 0] > 0).astype(int)
    network = synthetic_noisy.network(
        "", falls=True, layers={"a": units, "b": 5}, snapshots=_snapshots(clouds={"a": Cloud(points, labels)})
    )
    figure = noisy_pictures.clouds(network, 1000)
    assert figure is not None
    assert len(figure.axes) == 2
    (drawn,) = [child for child in figure.axes[0].collections if isinstance(child, PathCollection)]
    assert drawn.get_rasterized()
    places, colours = np.asarray(drawn.get_offsets()), drawn.get_facecolor()
    assert len(places) == 50
    blue, orange = (np.array([int(hue[at : at + 2], 16) / 255 for at in (1, 3, 5)]) for hue in HUES[:2])
    first = np.abs(np.asarray(colours)[:, :3] - blue).sum(axis=1) < 0.02
    second = np.abs(np.asarray(colours)[:, :3] - orange).sum(axis=1) < 0.02
    assert first.sum() == (labels == 0).sum()
    assert second.sum() == (labels == 1).sum()
    if units == 2:
        # Drawn where they are: the class is the sign of the first unit.
        assert (places[second, 0] > places[first, 0].max()).all()
    # Within the frame.
    low, high = figure.axes[0].get_xlim()
    assert ((places > low) & (places < high)).all()


def test_the_cube_is_seen_from_afar_without_distortion() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(20, 3))
    places, nearness = noisy_pictures._projected(points)
    # Two directions on the paper and one towards the reader: lengths are kept.
    assert np.hypot(np.hypot(*places.T), nearness) == pytest.approx(np.linalg.norm(points, axis=1))
    # The third unit points up.
    assert noisy_pictures._projected(np.array([[0, 0, 1.0]]))[0][0] == pytest.approx([0, math.cos(math.radians(20))])


def test_layers_too_wide_for_a_picture_have_none() -> None:
    cloud = Cloud(np.zeros((4, 5)), np.zeros(4))
    network = synthetic_noisy.network("", falls=True, layers={"a": 5}, snapshots=_snapshots(clouds={"a": cloud}))
    assert noisy_pictures.clouds(network, 100) is None


def test_a_collapsed_cloud_is_drawn() -> None:
    cloud = Cloud(np.ones((4, 2)), np.zeros(4))
    network = synthetic_noisy.network("", falls=True, layers={"a": 2}, snapshots=_snapshots(clouds={"a": cloud}))
    figure = noisy_pictures.clouds(network, 100)
    assert figure is not None
    assert "each unit from 0.5 to 1.5" in words(figure)


def _clouds(*sizes: float, units: int = 2) -> Figure:
    """One row of clouds of these sizes, one per epoch."""
    points = np.random.default_rng(0).uniform(-1, 1, (400, units))
    labels = np.arange(400) % 2
    snapshots = [Snapshot(at, {"a": Cloud(points * size, labels)}) for at, size in enumerate(sizes)]
    figure = noisy_pictures.clouds(
        synthetic_noisy.network("", falls=True, layers={"a": units}, snapshots=snapshots), 100
    )
    assert figure is not None
    return figure


def test_both_ends_of_a_box_are_written_alike() -> None:
    said = [word for word in words(_clouds(1.0)) if word.startswith("each unit")]
    assert said == ["each unit from −1.1 to 1.1"]
    said = [word for word in words(_clouds(30.0, 0.1)) if word.startswith("each unit")]
    assert said == ["each unit from −33 to 33", "each unit from −0.11 to 0.11"]


def test_clouds_of_a_network_share_a_box_where_each_can_be_seen() -> None:
    snapshots = [
        Snapshot(0, {name: Cloud(size * np.array([[-1.0, -1], [1, 1]]), np.array([0, 1])) for name, size in both})
        for both in [(("a", 1.0), ("b", 0.5))]
    ]
    network = synthetic_noisy.network("", falls=True, layers={"a": 2, "b": 2}, snapshots=snapshots)
    figure = noisy_pictures.clouds(network, 100)
    assert figure is not None
    said = [[text.get_text() for text in axes.texts if "from" in text.get_text()] for axes in figure.axes]
    assert said[0] == said[1] != []


@pytest.mark.parametrize("units", [2, 3])
def test_units_and_classes_of_a_cloud_are_named(units: int) -> None:
    figure = _clouds(1.0, 0.9, units=units)
    assert [word for word in words(figure) if word.startswith("unit ")] == [f"unit {at}" for at in range(1, units + 1)]
    assert {"class 0", "class 1"} <= set(words(figure))
    assert [text.get_color() for text in figure.texts if text.get_text() == "●"] == list(HUES[:2])


def test_many_clouds_have_fewer_points() -> None:
    few = synthetic_noisy.network("", falls=True, snapshots=_snapshots(clouds={"layer 5": object()}))
    many = synthetic_noisy.network("", falls=True, snapshots=_snapshots(clouds=dict.fromkeys(map(str, range(200)))))
    assert noisy_pictures.drawn_of([few]) == 3000
    assert noisy_pictures.drawn_of([few, many]) == 800


def test_histograms_hold_the_counts() -> None:
    edges, counts = np.linspace(-1, 1, 5), np.array([1000, 0, 10, 1])
    network = synthetic_noisy.network(
        "", falls=True, layers={"a": 2}, snapshots=_snapshots(values={"a": Histogram(edges, {"all": counts})})
    )
    assert noisy_pictures.most(network) == 1000
    figure = noisy_pictures.values(network, Palette(["a"]), 1000)
    assert figure is not None
    (steps,) = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    assert 10 ** np.asarray(steps.get_data().values) == pytest.approx([1000, 0.5, 10, 1])
    assert figure.axes[0].get_ylim()[0] == pytest.approx(math.log10(0.5))


def test_distances_are_told_apart_by_class() -> None:
    edges = np.linspace(0, 4, 5)
    parts = {"within": np.array([5, 1, 0, 0]), "between": np.array([0, 1, 2, 9])}
    shown = {"input": Histogram(edges, parts), "a": Histogram(edges, parts)}
    network = synthetic_noisy.network("", falls=True, layers={"a": 2}, snapshots=_snapshots(distances=shown))
    figure = noisy_pictures.distances(network, Palette(["a"]))
    assert figure is not None
    # Those between inputs once, those of the layer at both epochs.
    assert len(figure.axes) == 1 + 2
    within, between = (patch for patch in figure.axes[1].patches if isinstance(patch, StepPatch))
    assert within.get_fill()
    assert not between.get_fill()
    assert list(within.get_data().values) == [5, 1, 0, 0]
    assert list(between.get_data().values) == [0, 1, 2, 9]
    assert figure.axes[1].get_ylim()[1] == pytest.approx(1.06 * 9)
    assert "input" in words(figure)


def test_inputs_of_a_density_are_named_where_they_peak() -> None:
    figure = noisy_pictures.densities(synthetic_noisy.neuron().networks[0])
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["−3, −1, 1, 3"]
    assert [text.get_text() for text in figure.axes[3].texts] == ["−3, −1, 1", "3"]


@pytest.mark.parametrize(("apart", "names"), [(1.2, ["−1, 1"]), (1.5, ["−1", "1"])])
def test_inputs_share_a_name_only_where_their_densities_overlap_by_half(apart: float, names: list[str]) -> None:
    # The overlap of two normal densities of one width, d of it apart, is 2Φ(−d/2): one half at 1.349.
    values = np.linspace(-1, 1, 2001)
    parts = np.exp(-0.5 * ((values - 0.02 * apart * np.array([[-0.5], [0.5]])) / 0.02) ** 2)
    each = UnitDensity(values, parts.sum(axis=0), parts, ["−1", "1"], np.array([0, 1]))
    assert len(noisy_pictures.together(each)) == len(names)
    network = synthetic_noisy.network("", falls=True, layers={"a": 1}, snapshots=_snapshots(densities={"a": each}))
    figure = noisy_pictures.densities(network)
    assert figure is not None
    written = figure.axes[0].texts
    assert [text.get_text() for text in written] == names
    # Names of inputs that are close do not stand on each other.
    figure.canvas.draw()
    if len(written) == 2:
        assert not written[0].get_window_extent().overlaps(written[1].get_window_extent())


def test_many_inputs_are_drawn_class_by_class() -> None:
    values, labels = np.linspace(-1, 1, 101), np.arange(60) % 2
    parts = np.exp(-((values - np.linspace(-1, 1, 60)[:, None]) ** 2) * 100)
    density = UnitDensity(values, parts.sum(axis=0), parts, [str(at) for at in range(60)], labels)
    network = synthetic_noisy.network("", falls=True, layers={"a": 1}, snapshots=_snapshots(densities={"a": density}))
    figure = noisy_pictures.densities(network)
    assert figure is not None
    assert len(figure.axes[0].collections) == 2
    assert not figure.axes[0].texts


def test_marked_epochs_are_named_where_there_is_room() -> None:
    snapshots = [Snapshot(epoch) for epoch in (0, 28, 29, 80, 10000)]
    contents = NoisyContents(
        title="t",
        networks=[synthetic_noisy.network("", falls=True, snapshots=snapshots)],
        rows=synthetic_noisy.rows("", beta=0.005, bins=(), falls=True),
    )
    named = [text.get_text() for text in hero(contents).axes[0].texts if text.get_text().replace(",", "").isdecimal()]
    assert named == ["0", "28", "80", "10,000"]


def test_the_sweep_holds_lines_and_points() -> None:
    found = synthetic_noisy.neuron().sweep
    assert found is not None
    axes = noisy_figures.sweep(found, "bits").axes[0]
    lines = [line for line in axes.lines if len(np.asarray(line.get_xdata())) == 40]
    assert len(lines) == 3
    for line, exact in zip(lines, found.exact):
        assert list(line.get_ydata()) == pytest.approx(list(exact / math.log(2)))
        assert list(line.get_xdata()) == pytest.approx(list(np.log10(found.weights)))
    assert len([line for line in axes.lines if line.get_marker() == "o"]) == 3 * 40
