"""The page of a study of noisy networks, and the files beside it."""

import base64
import dataclasses
import io
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_noisy
from PIL import Image
from read_report import Seen
from synthetic_noisy import HOSTILE, row

from infoplane.report.noisy.contents import NetworkThroughTraining, NoisyContents, Snapshot
from infoplane.report.noisy.sections import write_noisy
from table_rows import falls_of

SECTIONS = {"clouds", "bins", "values", "distances", "units", "numbers", "meanings"}


def see(contents: NoisyContents, folder: Path) -> Seen:
    """Returns the page of `contents`."""
    return Seen(write_noisy(contents, folder).read_text(encoding="utf-8"))


def sections(seen: Seen) -> set[str]:
    """The parts of the page that are this study's own."""
    return {str(attributes.get("id")) for tag, attributes in seen.elements if tag == "section"} & SECTIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow")
    write_noisy(synthetic_noisy.contents(), folder)
    return folder


@pytest.fixture(scope="module")
def seen(folder: Path) -> Seen:
    return Seen((folder / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def page_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leaves the files beside the page out, which take the time, where they are not looked at."""
    monkeypatch.setattr("infoplane.report.drawer.Drawer.put", lambda *_: None)


def test_a_page_of_many_clouds_stays_light(tmp_path: Path, page_only: None) -> None:
    layers = {f"layer {depth}": 3 for depth in range(1, 6)}
    snapshots = [
        Snapshot(epoch, {name: synthetic_noisy.cloud(3, 40, falls=False, seed=at) for at, name in enumerate(layers)})
        for epoch in (0, 1, 10, 100, 1000, 10000)
    ]
    changes: dict[str, Any] = {"layers": layers, "snapshots": snapshots}
    networks = [synthetic_noisy.network(name, falls=False, **changes) for name in ("a", "b", "c")]
    seen = see(NoisyContents(title="t", networks=networks), tmp_path)
    pictures = [link for link in seen.attributes("href") if link.startswith("data:image/png")]
    assert len(pictures) == 3 * 6 * 5
    assert len(seen.source) < 3_000_000


def test_the_numbers_are_those_put_in(seen: Seen) -> None:
    for words in (
        "layer 5 gives up 2.130 ± 0.094 nats", "2.130 ± 0.094 nats 3.07 ± 0.14 bits", "between epoch 28 and the end",
        "In the orthonormal network, not told apart: layer 1,", "falls: layer 4 ( 1.210 ± 0.094 nats",
        # the table: at first, at the peak, at the end, lost, by chance, binned
        "2.418 ± 0.080", "6.481 ± 0.080", "epoch 28", "4.818 ± 0.080", "epoch 10,000", "p < 0.001", "0.11",
        "not told apart", "p = 1.00", "4.163", "bins of 0.05", "10 units",
        # elsewhere
        "99.0 % [97.9, 99.5]", "on 820 inputs", "within error of its ceiling",
        "ceiling log 4,096 = 8.318", "ceiling log 4,096 = 12.00",
        "I(X;T) [nats]", "I(X;T) [bits]", "H(Bin(T)) [nats], bins of 0.05", "plain · noise β = 0.005",
        "Permuting units changes nothing.", "title: szt-tanh", "trained on 3,276 of 4,096",
    ):  # fmt: skip
        assert words in seen.text, words


def test_points_say_what_they_are(seen: Seen) -> None:
    expected = synthetic_noisy.information(5, 80, falls=True)
    assert f"layer 5, epoch 80: {expected:.3f} ± 0.080 nats" in seen.text
    bits = f"layer 5, epoch 80: {expected / np.log(2):.2f} ± 0.12 bits"
    assert bits in seen.text
    # every epoch of every layer and network, in both panels, in nats and bits
    assert len(re.findall(r"layer \d, epoch [\d,]+: ", seen.text)) == 25 * 5 * 2 * 2 * 2


def test_says_what_the_numbers_mean(seen: Seen) -> None:
    for words in (
        "h(T) − h(T|X)", "It is not I(X;T)", "It says nothing about retraining", "is not inflated by the choice",
        "does not mean that there is no fall",
    ):  # fmt: skip
        assert words in seen.text, words
    assert "quadrature" not in seen.text


def test_clouds_hold_the_points(seen: Seen) -> None:
    pictures = [link for link in seen.attributes("href") if link.startswith("data:image/png")]
    assert len(pictures) == 2 * 5
    first = Image.open(io.BytesIO(base64.b64decode(pictures[1].partition(",")[2]))).convert("RGBA")
    pixels = np.asarray(first)
    red, _, blue, opaque = (pixels[..., channel].astype(int) for channel in range(4))
    seen_there = opaque > 128
    # Both classes, blue and orange, in like numbers; and nothing between the points.
    share = (blue > red)[seen_there].mean()
    assert 0.3 < share < 0.7
    assert (opaque == 0).mean() > 0.05


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (synthetic_noisy.contents, {"clouds", "values", "distances", "numbers", "meanings"}),
        (synthetic_noisy.deterministic, {"clouds", "bins", "values", "distances", "numbers", "meanings"}),
        (synthetic_noisy.neuron, {"units", "numbers", "meanings"}),
        (lambda: synthetic_noisy.neuron(sweep=None), {"units", "numbers", "meanings"}),
        (lambda: synthetic_noisy.light(synthetic_noisy.three()), {"numbers", "meanings"}),
        (lambda: NoisyContents(title="t"), set()),
    ],
)
def test_parts_are_there_where_they_have_something_to_show(
    make: Any, expected: set[str], tmp_path: Path, unpainted: None
) -> None:
    seen = see(make(), tmp_path)
    assert seen.open == []
    assert sections(seen) == expected


def test_one_neuron_has_its_densities_weights_and_sweep(tmp_path: Path) -> None:
    seen = see(synthetic_noisy.neuron(), tmp_path)
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert names == {"opening", "densities", "weights", "sweep"}
    for words in (
        "−3, −1, 1", "layer 1 weight", "layer 1 bias", "β = 0.01", "β = 0.5", "bias −2 w", "by quadrature",
        "β = 0.5, w = 0.1: 0.0178 ± 0.0060 nats", "ceiling log 4 = 1.386", "ceiling log 4 = 2.000",
    ):  # fmt: skip
        assert words in seen.text, words
    assert "Accuracy" not in seen.text


def test_a_network_without_noise_has_a_panel_per_bin_size(tmp_path: Path) -> None:
    seen = see(synthetic_noisy.light(synthetic_noisy.deterministic()), tmp_path)
    for size in ("0.0005", "0.005", "0.05", "0.5"):
        assert f"H(Bin(T)) [nats], bins of {size}" in seen.text
        assert f"bins of {size} " in seen.text
    assert "I(X;T) [nats]" not in seen.text
    assert "sample propagation" not in seen.text
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"opening.svg", "opening.png", "bins.svg", "bins.png"}


def test_bins_of_a_noisy_network_have_a_part_of_their_own(tmp_path: Path) -> None:
    study = synthetic_noisy.light(synthetic_noisy.contents())
    finer = synthetic_noisy.rows("plain", beta=None, bins=(0.001,), falls=True)
    seen = see(dataclasses.replace(study, numbers=synthetic_noisy.with_rows(study, finer)), tmp_path)
    assert sections(seen) == {"bins", "numbers", "meanings"}
    assert "H(Bin(T)) [nats], bins of 0.001" in seen.text
    assert (tmp_path / "figures" / "bins-1-plain.svg").is_file()


def test_three_networks_of_which_one_has_no_noise(tmp_path: Path, page_only: None) -> None:
    seen = see(synthetic_noisy.light(synthetic_noisy.three()), tmp_path)
    for words in ("deterministic · no noise", "I(X;T) is constant", "bins of 0.001", "bins of 0.05"):
        assert words in seen.text, words
    assert "Without noise, only clustering can be followed: so it is in the deterministic network." in seen.text


@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_networks(count: int, tmp_path: Path, page_only: None) -> None:
    names = tuple(f"net {at}" for at in range(count))
    seen = see(synthetic_noisy.light(synthetic_noisy.contents(names)), tmp_path)
    assert seen.open == []
    assert all(f"{name} · noise β = 0.005" in seen.text for name in names)


def test_whatever_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    epochs = (0, 1)
    snapshots = [
        dataclasses.replace(
            synthetic_noisy.neuron().networks[0].snapshots[0],
            epoch=epoch,
            densities={
                HOSTILE: dataclasses.replace(
                    synthetic_noisy.neuron().networks[0].snapshots[0].densities["layer 1"], inputs=[HOSTILE] * 4
                )
            },
            clouds={HOSTILE: synthetic_noisy.cloud(2, 5, falls=True)},
        )
        for epoch in epochs
    ]
    network = NetworkThroughTraining(
        HOSTILE, 0.1, {HOSTILE: 2}, epochs, np.array([0, 1]), {"train loss": np.ones(2)},
        {f"{HOSTILE} weight": np.ones(2)}, snapshots,
    )  # fmt: skip
    found = [row(HOSTILE, HOSTILE, epoch, "flow", 1.0, 0.1, flags=f"flag {HOSTILE}") for epoch in epochs]
    found.append(row(HOSTILE, HOSTILE, 1, "binned-entropy", 1.0, None, bin=0.1))
    found.append(row(HOSTILE, "", 1, "accuracy", 0.5, 0.1, unit="fraction"))
    lost = {"network": HOSTILE, "layer": HOSTILE, "kind": "flow", "peak": 0, "end": 1, "value": 3.0, "stderr": 0.1}
    other = dataclasses.replace(network, name=f"{HOSTILE} 2", beta=None)
    contents = NoisyContents(
        title=HOSTILE, description=HOSTILE, note=HOSTILE, networks=[network, other],
        numbers=synthetic_noisy.of(found), falls=falls_of([{**lost, "p": 1e-4, "constant": 0.1}]),
        ceiling=(2.0, HOSTILE), settings=HOSTILE,
        failures=[(HOSTILE, HOSTILE, HOSTILE)], missing=[(HOSTILE, HOSTILE)], sanity=[HOSTILE],
    )  # fmt: skip
    seen = see(contents, tmp_path)
    assert seen.open == []
    assert not set(seen.tags()) & {"script", "b"}
    assert seen.text.count(HOSTILE) > 20
    assert not [name for _, attributes in seen.elements for name in attributes if name.startswith("on")]
    for path in (tmp_path / "figures").iterdir():
        assert re.fullmatch(r"[a-z0-9-]+[.](svg|png)", path.name)
        if path.suffix == ".svg":
            root = ElementTree.parse(path).getroot()
            assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def _going() -> NoisyContents:
    """A run of which only the first epochs of the first three layers of one network were measured."""
    full = synthetic_noisy.light(synthetic_noisy.contents())
    found = synthetic_noisy.rows("plain", beta=0.005, bins=(0.05,), falls=True)
    early = synthetic_noisy.of(
        one for one in found if int(one["checkpoint"]) < 28 and one["layer"] not in ("layer 4", "layer 5")
    )
    return dataclasses.replace(
        full, numbers=early, falls=(), going=True, parts=50, missing=[("flow of layer 5", "not computed yet")],
        failures=[("flow-1", "NaN in layer 4", "Traceback …")],
    )  # fmt: skip


def test_a_run_that_is_not_whole_has_a_page(tmp_path: Path, page_only: None) -> None:
    seen = see(_going(), tmp_path)
    assert seen.open == []
    for words in (
        "had not come to its end", "1 of its 50 parts are missing", "flow of layer 5", "1 part of this run failed",
        "NaN in layer 4", "no numbers yet", "no fall is claimed", "In the plain network, I(X;T) is",
    ):  # fmt: skip
        assert words in seen.text, words
    assert "gives up" not in seen.text
    # Layers without numbers stand in the table with dashes.
    assert "layer 5 3 units –" in seen.text


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "There are no numbers yet."),
        ({"failures": [("flow-1", "loss is NaN", "Traceback …")]}, "There are no numbers: 1 part of the run failed."),
        ({"networks": [synthetic_noisy.network("", falls=True, snapshots=())]}, "There are no numbers yet."),
        (
            {
                "networks": [synthetic_noisy.network("", falls=True, snapshots=(), curves={}, history=np.array([]))],
                "numbers": synthetic_noisy.of([row("", "layer 1", 0, "flow", 1.5, 0.1)]),
            },
            "I(X;T) is 1.50 ± 0.10 nats in layer 1 at epoch 0.",
        ),
        (
            {
                "networks": [synthetic_noisy.network("", falls=True, snapshots=())],
                "numbers": synthetic_noisy.of([row("", "layer 1", 0, "information", 1.5, None)]),
            },
            "I(X;T) is 1.500 nats in layer 1 at epoch 0.",
        ),
    ],
)
def test_a_run_with_next_to_nothing_has_a_page(changes: dict, sentence: str, tmp_path: Path, unpainted: None) -> None:
    seen = see(NoisyContents(title="going", **changes), tmp_path)
    assert seen.open == []
    assert sentence in re.sub(r"(nats) [\d.]+ (± [\d.]+ )?bits", r"\1", seen.text)


def test_quadrature_is_no_generator(tmp_path: Path, unpainted: None) -> None:
    truth = [
        {"name": "I(X;T), layer 1, epoch 10", "truth": 1.2, "truth_stderr": None, "measured": 1.21, "stderr": 0.01,
         "direction": "estimate", "verdict": "holds"}
    ]  # fmt: skip
    text = see(synthetic_noisy.neuron(truth=truth), tmp_path).text
    assert "Against quadrature" in text
    assert "generator" not in text
    assert "known truth" not in text


def test_a_cluster_of_a_noisy_network_is_as_wide_as_its_noise(seen: Seen, tmp_path: Path, unpainted: None) -> None:
    assert "about β√(2d) apart" in seen.text
    assert "A peak at zero is a cluster" not in seen.text
    silent = see(synthetic_noisy.deterministic(), tmp_path).text
    assert "A peak at zero is a cluster" in silent
    assert "β√(2d)" not in silent
    assert "noise included" not in silent


def test_says_of_what_the_bins_are(seen: Seen) -> None:
    assert "one pass of every input, with the noise of that pass" in seen.text
    assert "in one pass of every input with its noise" in seen.text


def test_upright_lines_are_spoken_of_where_there_are_pictures(seen: Seen, tmp_path: Path, unpainted: None) -> None:
    assert "Upright lines are the epochs of which this page has pictures." in seen.text
    bare = synthetic_noisy.network("", beta=None, falls=True, snapshots=[Snapshot(0), Snapshot(28)])
    study = dataclasses.replace(synthetic_noisy.deterministic(), networks=[bare])
    assert "Upright" not in see(study, tmp_path).text


def test_levels_and_losses_of_the_table_add_up(tmp_path: Path, unpainted: None) -> None:
    study = synthetic_noisy.light(synthetic_noisy.contents())
    levels = {"at_first": 3.0, "at_peak": 7.13, "at_end": 5.0}
    levels |= {f"{name}_stderr": 0.07 for name in levels}
    steps = [one | levels for name in ("plain", "orthonormal") for one in synthetic_noisy.differences(name, falls=True)]
    text = see(dataclasses.replace(study, falls=falls_of(steps)), tmp_path).text
    assert all(words in text for words in ("7.130 ± 0.070", "5.000 ± 0.070", "peak minus end is what was lost"))
    assert "peak minus end is what was lost" not in see(study, tmp_path).text
