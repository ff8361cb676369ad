"""Figures are drawn once, and again only where something changed."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import synthetic_report
from matplotlib.figure import Figure

from infoplane.report.contents import evenly
from infoplane.report.drawer import Drawer, digest
from infoplane.report.inversion.contents import MOST_DRAWN, MOST_TRAINED
from infoplane.report.inversion.sections import write
from infoplane.report.printing import SUFFIXES, Print
from table_rows import numbers_of


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files of figures that were written since it was last emptied."""
    written: list[str] = []

    def put(drawer: Drawer, name: str, _: Print) -> None:
        for suffix in SUFFIXES:
            written.append(f"{name}{suffix}")
            (drawer.folder / written[-1]).write_bytes(b"a figure")

    monkeypatch.setattr(Drawer, "put", put)
    return written


def _figure() -> Figure:
    return Figure()


def test_a_figure_is_drawn_again_only_where_its_sources_or_files_changed(tmp_path: Path, drawing: list[str]) -> None:
    page = tmp_path / "report.html"

    def build(sources: object) -> list[str]:
        drawing.clear()
        drawer = Drawer(page)
        drawer.draw("curve", sources, _figure)
        page.write_text("page")
        drawer.close()
        return list(drawing)

    both = ["curve.svg", "curve.png"]
    assert build([1, 2]) == both
    assert build([1, 2]) == []
    assert build([1, 3]) == both
    (tmp_path / "figures" / "curve.png").unlink()
    assert build([1, 3]) == both
    (tmp_path / "figures.json").write_text("{half a fi")
    assert build([1, 3]) == both


def test_what_differs_has_another_digest() -> None:
    @dataclasses.dataclass
    class Thing:
        value: object

    different = [
        1, 1.0, "1", None, True, [1], [1, 2], [[1], 2], [], {}, {"a": 1}, {"a": [1]}, ["a", 1], Thing(1), Thing([1]),
        np.zeros(4), np.zeros((2, 2)), np.zeros(4, np.float32), np.ones(4), ["ab", "c"], ["a", "bc"], "\ud800",
    ]  # fmt: skip
    assert len({digest(value) for value in different}) == len(different)
    assert digest(np.arange(6).reshape(2, 3).T) == digest(np.ascontiguousarray(np.arange(6).reshape(2, 3).T))


@pytest.mark.parametrize("count", [1, MOST_DRAWN, MOST_DRAWN + 1, 150])
def test_points_are_spread_evenly_with_both_ends(count: int) -> None:
    points = [str(index) for index in range(count)]
    chosen = evenly(points, MOST_DRAWN)
    assert chosen[0] == points[0]
    assert chosen[-1] == points[-1]
    assert len(set(chosen)) == min(count, MOST_DRAWN)
    gaps = np.diff([int(point) for point in chosen])
    assert not len(gaps) or gaps.max() - gaps.min() <= 1


def test_a_page_of_many_checkpoints_shows_some_and_says_so(tmp_path: Path, drawing: list[str]) -> None:
    points = [str(index) for index in range(40)]
    full = synthetic_report.contents()
    pictures = full.layers[0].pictures["end"]
    layers = [dataclasses.replace(layer, pictures=dict.fromkeys(points, pictures)) for layer in full.layers]
    rows = [
        {**row, "checkpoint": at}
        for row in synthetic_report.rows()
        for at in (points if row["layer"] not in ("", "input") else [""])
    ]
    numbers = numbers_of(rows, points)
    curves = [dataclasses.replace(full.curves[-1], checkpoint=at) for at in points]
    page = write(
        dataclasses.replace(full, layers=layers, numbers=numbers, curves=curves, checkpoints=points, differences=[]),
        tmp_path,
    )
    sheets = [name for name in drawing if name.startswith("pictures") and name.endswith(".svg")]
    assert len(sheets) == MOST_DRAWN
    trained = [name for name in drawing if "-at-" in name and name.startswith("training") and name.endswith(".svg")]
    assert len(trained) == MOST_TRAINED
    text = page.read_text(encoding="utf-8")
    assert f"{MOST_DRAWN} of {len(points)} checkpoints" in text
