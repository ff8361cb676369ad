"""Clouds, histograms and densities of noisy networks, read back from what was drawn."""

import math

import numpy as np
import pytest
import synthetic_noisy
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from infoplane.report.charts import distributions
from infoplane.report.noisy.contents import Cloud, Histogram, Snapshot, UnitDensity
from infoplane.report.theme import HUES, Palette


def words(figure: Figure) -> list[str]:
    """All that is written in a figure, and above it."""
    found = [text.get_text() for text in figure.texts]
    for axes in figure.axes:
        found += [text.get_text() for text in axes.texts]
        found += [label.get_text() for label in axes.get_xticklabels()]
    return found


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
    figure = distributions.clouds(network, 1000)
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
    places, nearness = distributions._projected(points)
    # Two directions on the paper and one towards the reader: lengths are kept.
    assert np.hypot(np.hypot(*places.T), nearness) == pytest.approx(np.linalg.norm(points, axis=1))
    # The third unit points up.
    assert distributions._projected(np.array([[0, 0, 1.0]]))[0][0] == pytest.approx([0, math.cos(math.radians(20))])


def test_layers_too_wide_for_a_picture_have_none() -> None:
    cloud = Cloud(np.zeros((4, 5)), np.zeros(4))
    network = synthetic_noisy.network("", falls=True, layers={"a": 5}, snapshots=_snapshots(clouds={"a": cloud}))
    assert distributions.clouds(network, 100) is None


def test_a_collapsed_cloud_is_drawn() -> None:
    cloud = Cloud(np.ones((4, 2)), np.zeros(4))
    network = synthetic_noisy.network("", falls=True, layers={"a": 2}, snapshots=_snapshots(clouds={"a": cloud}))
    figure = distributions.clouds(network, 100)
    assert figure is not None
    assert "each unit from 0.5 to 1.5" in words(figure)


def _clouds(*sizes: float, units: int = 2) -> Figure:
    """One row of clouds of these sizes, one per epoch."""
    points = np.random.default_rng(0).uniform(-1, 1, (400, units))
    labels = np.arange(400) % 2
    snapshots = [Snapshot(at, {"a": Cloud(points * size, labels)}) for at, size in enumerate(sizes)]
    figure = distributions.clouds(
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
    figure = distributions.clouds(network, 100)
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
    assert distributions.drawn_of([few]) == 3000
    assert distributions.drawn_of([few, many]) == 800


def test_histograms_hold_the_counts() -> None:
    edges, counts = np.linspace(-1, 1, 5), np.array([1000, 0, 10, 1])
    network = synthetic_noisy.network(
        "", falls=True, layers={"a": 2}, snapshots=_snapshots(values={"a": Histogram(edges, {"all": counts})})
    )
    assert distributions.most(network) == 1000
    figure = distributions.values(network, Palette(["a"]), 1000)
    assert figure is not None
    (steps,) = [patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch)]
    assert 10 ** np.asarray(steps.get_data().values) == pytest.approx([1000, 0.5, 10, 1])
    assert figure.axes[0].get_ylim()[0] == pytest.approx(math.log10(0.5))


def test_distances_are_told_apart_by_class() -> None:
    edges = np.linspace(0, 4, 5)
    parts = {"within": np.array([5, 1, 0, 0]), "between": np.array([0, 1, 2, 9])}
    shown = {"input": Histogram(edges, parts), "a": Histogram(edges, parts)}
    network = synthetic_noisy.network("", falls=True, layers={"a": 2}, snapshots=_snapshots(distances=shown))
    figure = distributions.distances(network, Palette(["a"]))
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
    figure = distributions.densities(synthetic_noisy.neuron().networks[0])
    assert figure is not None
    assert [text.get_text() for text in figure.axes[0].texts] == ["−3, −1, 1, 3"]
    assert [text.get_text() for text in figure.axes[3].texts] == ["−3, −1, 1", "3"]


@pytest.mark.parametrize(("apart", "names"), [(1.2, ["−1, 1"]), (1.5, ["−1", "1"])])
def test_inputs_share_a_name_only_where_their_densities_overlap_by_half(apart: float, names: list[str]) -> None:
    # The overlap of two normal densities of one width, d of it apart, is 2Φ(−d/2): one half at 1.349.
    values = np.linspace(-1, 1, 2001)
    parts = np.exp(-0.5 * ((values - 0.02 * apart * np.array([[-0.5], [0.5]])) / 0.02) ** 2)
    each = UnitDensity(values, parts.sum(axis=0), parts, ["−1", "1"], np.array([0, 1]))
    assert len(distributions.overlapping(each)) == len(names)
    network = synthetic_noisy.network("", falls=True, layers={"a": 1}, snapshots=_snapshots(densities={"a": each}))
    figure = distributions.densities(network)
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
    figure = distributions.densities(network)
    assert figure is not None
    assert len(figure.axes[0].collections) == 2
    assert not figure.axes[0].texts
