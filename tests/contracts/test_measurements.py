"""What every registered measurement keeps to: one body each, over runs in which all of them occur."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import tiny_noisy
import tiny_study
from infoplane.claims import ONE_NETWORK, WORDS
from infoplane.estimate import KINDS
from infoplane.measurements import MEASUREMENTS, NOISY_QUANTITIES, QUANTITIES, asked_for
from infoplane.measurements.base import Measurement
from infoplane.measurements.numbers import ALL
from infoplane.report.build import build_page, load_run
from infoplane.study.execute import execute
from plugin_site import SITE

RESNET = {
    "kind": "resnet-classifier",
    "filters": [2, 2, 3],
    "blocks": 1,
    "pool": 1,
    "train": {"epochs": 1, "batch": 8, "checkpoints": [0, "end"], "held_out": 0},
}


def is_own(measurement: Measurement) -> bool:
    return type(measurement).__module__.partition(".")[0] == "infoplane"


#: the columns of a comparison's two sides
SIDES = {"layers": ("first", "second"), "checkpoints": ("first", "last")}
#: those that make tables or figures, and no number
NO_NUMBER = {"losses", "sweep"}
#: what is measured in a process that finds the plug-in: that and no more, see the last test
THEIRS = {kind for known in MEASUREMENTS.values() for kind, each in known.items() if not is_own(each)}
EVERY = [(f, kind) for f, known in MEASUREMENTS.items() for kind in known if kind in THEIRS or not THEIRS]
OF_INVERSION = [kind for family, kind in EVERY if family == "inversion"]
#: all that a verdict may be in the words of tables, for one network or several
VERDICTS = {
    *(words + of for words in WORDS.values() for of in ("", f", {ONE_NETWORK}") if "no claim" not in words or not of),
    *(words.replace("fits", "networks") for words in WORDS.values()),
    "the reader fails: no claim",
}
#: others, which say what layers are barred for
BARS = re.compile(
    "no claim: (.+ are read with one density, that of .+|how the axes of .+ is a guess; say it with read_as"
    "|only .+ was pooled or projected, which costs what the other one keeps)"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, list[Any]]:
    """Family -> finished runs."""
    folder = tmp_path_factory.mktemp("measurements")
    words = [word for word in asked_for() if not THEIRS or word in {QUANTITIES[kind].asked for kind in OF_INVERSION}]
    everything = tiny_study.tiny(folder, subject=RESNET, layers=["h1", "h4"], measure=words, forward__refits=2)
    studies = {
        "inversion": [everything, *([] if THEIRS else [tiny_study.known_truth()])],
        "flow": [tiny_noisy.load(folder, text, name=name) for name, text in vars(tiny_noisy).items() if name.isupper()],
    }
    found: dict[str, list[Any]] = {}
    for family, specs in studies.items():
        for number, spec in enumerate(specs):
            run = folder / f"{family}-{number}"
            assert not execute(spec, run, device="cpu", workers=0, quiet=True).failed
            build_page(run)
            found.setdefault(family, []).append((run, load_run(run)))
    return found


def met(runs, family: str, measurement: Measurement) -> Iterator[tuple[Any, Any, Any]]:
    """(folder, results, number) of every number of a measurement."""
    for folder, results in runs[family]:
        yield from ((folder, results, each) for each in results.numbers if each.estimate.kind == measurement.kind)


@pytest.mark.parametrize(("family", "kind"), EVERY)
def test_it_says_what_it_is(family, kind):
    measurement = MEASUREMENTS[family][kind]
    assert measurement.kind == kind
    assert measurement.name[0].isupper()
    assert measurement.meaning.endswith(".")
    assert len(measurement.meaning) > 30
    assert type(measurement).__doc__
    # A chart of rows or lines of layers, or an axis, is of numbers that stand in the tables.
    assert not measurement.charts or kind not in NO_NUMBER
    assert kind in NO_NUMBER or kind in KINDS or kind in THEIRS


@pytest.mark.parametrize(("family", "kind"), [each for each in EVERY if each[1] not in NO_NUMBER])
def test_its_numbers_are_rows_and_of_the_unit_and_direction_that_it_says(runs, family, kind):
    measurement = MEASUREMENTS[family][kind]
    found = list(met(runs, family, measurement))
    assert found
    for _, _, number in found:
        estimate = number.estimate
        assert estimate.unit == measurement.unit
        assert estimate.n > 0
        if number.refit != ALL:
            assert measurement.fitted
    for folder, results in runs[family]:
        rows = pl.read_parquet(folder / "results.parquet").filter(pl.col("kind") == kind)
        assert rows["value"].to_list() == [n.estimate.value for n in results.numbers if n.estimate.kind == kind]
        assert rows["direction"].to_list() == [n.estimate.direction for n in results.numbers if n.estimate.kind == kind]
        assert len(set(rows["direction"])) <= 1


@pytest.mark.parametrize("kind", [kind for kind in OF_INVERSION if kind not in NO_NUMBER])
def test_a_number_is_the_mean_of_its_terms(runs, kind):
    measurement, seen = QUANTITIES[kind], 0
    for _, results, number in met(runs, "inversion", measurement):
        refits = measurement.refits(results, number.place) if number.refit == ALL else [int(number.refit)]
        terms = measurement.terms(results, number.place, refits)
        if terms is not None:
            seen += 1
            assert number.estimate.value == pytest.approx(np.mean(terms), rel=1e-6, abs=1e-9)
    # The gap has two means of different images; variances among samples are corrected for their number.
    assert seen or kind in ("generalisation-gap",) or type(measurement).scores is Measurement.scores


@pytest.mark.parametrize(("family", "kind"), [each for each in EVERY if MEASUREMENTS[each[0]][each[1]].fitted])
def test_the_number_of_all_fits_lies_among_those_of_single_ones(runs, family, kind):
    numbers = list(met(runs, family, MEASUREMENTS[family][kind]))
    for _, results, pooled in [each for each in numbers if each[2].refit == ALL]:
        place = pooled.place
        single = [n.estimate.value for _, own, n in numbers if own is results and (n.place, n.refit) != (place, ALL)]
        own = [n.estimate.value for _, r, n in numbers if r is results and n.place == place and n.refit != ALL]
        assert own or not single
        assert min(own) - 1e-9 <= pooled.estimate.value <= max(own) + 1e-9


@pytest.mark.parametrize("kind", [kind for kind in OF_INVERSION if QUANTITIES[kind].across])
def test_it_is_compared_across_what_it_says(runs, kind):
    _, results = runs["inversion"][0]
    tables = {"layers": results.differences(), "checkpoints": results.changes()}
    for across, rows in tables.items():
        own = [row for row in rows if row["kind"] == kind]
        assert bool(own) == (across in QUANTITIES[kind].across)
        for row in own:
            assert row["verdict"] in VERDICTS or BARS.fullmatch(row["verdict"])
            assert row["tests"] >= 1
            at_end = row.get("checkpoint")
            ends = [(row["layer"], row[at]) if at_end is None else (row[at], at_end) for at in SIDES[across]]
            first, second = (results.numbers.get(layer, kind, at).value for layer, at in ends)
            value = row["value"] if across == "layers" else -row["value"]
            assert value == pytest.approx(first - second, rel=1e-4, abs=1e-6)


def test_all_that_can_be_asked_for_brings_numbers_or_a_table(runs):
    _, results = runs["inversion"][0]
    for word in results.spec.measure:
        kinds = {kind for kind, each in QUANTITIES.items() if each.asked == word}
        assert kinds & {*results.numbers.kinds, *results.tables()}


def test_kinds_are_told_apart():
    assert len({each.name for each in QUANTITIES.values()}) == len(QUANTITIES)
    assert len({each.name for each in NOISY_QUANTITIES.values()}) == len(NOISY_QUANTITIES)


@pytest.mark.skipif(bool(THEIRS), reason="this is that process")
def test_those_of_other_distributions_pass_through_the_same(tmp_path):
    """They are read once, with the package: so in a process of its own that finds them from its beginning."""
    bodies = [Path(__file__), Path(__file__).with_name("test_charts.py")]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "0", "-rA", *map(str, bodies)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SITE), *sys.path])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout
    for place in ("inversion-norm", "inversion-rank", "flow-reach"):
        for body in ("rows_and_of_the_unit_and_direction_that_it_says", "it_says_each_number_and_no_other"):
            assert re.search(rf"PASSED .*{body}\[(rows-)?{place}\]", done.stdout), (body, place)
