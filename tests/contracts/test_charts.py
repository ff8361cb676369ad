"""What every chart keeps to that a measurement may name: each number that is there is in it, whatever it looks like."""

import html
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from infoplane.estimate import Estimate
from infoplane.measurements import MEASUREMENTS, with_chart
from infoplane.measurements.base import Chart, Measurement
from infoplane.measurements.numbers import ALL, Number, Numbers, Place
from infoplane.report.inversion.contents import Layer, ReportContents
from infoplane.report.inversion.sections import write
from infoplane.report.noisy.contents import NetworkThroughTraining, NoisyContents
from infoplane.report.noisy.sections import write_noisy

pytestmark = pytest.mark.painted

FLAG = "a flag that <must> be said"
#: layer -> (error, flags) of its numbers; the last one has a number at the first checkpoint only
LOOKS = {"layer 1": (0.05, ()), "layer 2": (0.05, (FLAG,)), "layer 3": (None, ()), "layer 4": (0.05, ())}
CHECKPOINTS = ("0", "20")
#: chart -> the file that it is drawn into
FILES = {"rows": "{}", "tracks": "through-{}", "right": "plane", "up": "plane"}
EVERY = [
    (chart, family, kind)
    for chart in get_args(Chart)
    for family, known in MEASUREMENTS.items()
    for kind, each in known.items()
    if chart in each.charts
]


def made_up(measurement: Measurement, first: float) -> dict[tuple[str, str], Estimate]:
    """(layer, checkpoint) -> a number that no other has."""
    found = {}
    for depth, (layer, (stderr, flags)) in enumerate(LOOKS.items(), 1):
        for at in CHECKPOINTS[: 1 if layer == "layer 4" else 2]:
            value = first + 0.011 * depth + 0.101 * (at != "0")
            more = {"bound": measurement.bound, "n": 40, "refits": 3, "flags": flags}
            found[layer, at] = Estimate(value, stderr, measurement.unit, measurement.kind, **more)
    return found


def drawn(folder: Path, family: str, numbers: list[dict[tuple[str, str], Estimate]]) -> str:
    """The page of these numbers; its figures lie beside it."""
    found = [Number(Place(*place), ALL, each) for own in numbers for place, each in own.items()]
    known = {"title": "Made up", "numbers": Numbers(found, CHECKPOINTS)}
    if family == "flow":
        one = NetworkThroughTraining("", 0.1, dict.fromkeys(LOOKS, 2), [0, 20], np.array([0.0, 20.0]), {})
        page = write_noisy(NoisyContents(**known, networks=[one]), folder)
    else:
        layers = [Layer(name, name) for name in LOOKS]
        page = write(ReportContents(**known, layers=layers, checkpoints=CHECKPOINTS), folder)
    return page.read_text(encoding="utf-8")


def said(estimate: Estimate) -> str:
    return f": {estimate.value:.4f}" if estimate.stderr is None else f": {estimate.value:.3f} ± 0.050"


def test_each_chart_has_a_number():
    assert {chart for chart, *_ in EVERY} == {*get_args(Chart)} == {*FILES}


@pytest.mark.parametrize(("chart", "family", "kind"), EVERY)
def test_it_says_each_number_and_no_other(tmp_path, chart, family, kind):
    own = made_up(MEASUREMENTS[family][kind], 0.3)
    numbers = [own]
    if chart in ("right", "up"):
        other = with_chart("up" if chart == "right" else "right")[0]
        numbers.append(made_up(MEASUREMENTS[family][other], 0.6))
    page = drawn(tmp_path, family, numbers)
    svg = (tmp_path / "figures" / f"{FILES[chart].format(kind)}.svg").read_text(encoding="utf-8")
    tips = [html.unescape(each) for each in re.findall(r"<title>(.*?)</title>", svg)]
    shown = {place: each for place, each in own.items() if chart != "rows" or place[1] == CHECKPOINTS[-1]}
    for (layer, at), each in shown.items():
        # Points that stand for one checkpoint alone do not name it.
        (tip,) = [tip for tip in tips if re.match(rf"{layer}\b", tip) and said(each) in tip]
        assert chart == "rows" or re.match(rf"{layer}, (checkpoint|epoch) {at}:", tip)
    assert len(tips) == len(shown)
    assert html.escape(FLAG, quote=False) in page
