"""The page and the files beside it."""

import base64
import dataclasses
import io
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import synthetic_report
from PIL import Image
from read_report import Seen, see
from synthetic_report import row

from infoplane.measurements.numbers import Numbers
from infoplane.report.charts.gallery import gallery
from infoplane.report.inversion.contents import Layer, LayerPictures, ReportContents, TrainingCurve
from infoplane.report.inversion.sections import write
from table_rows import differences_of, numbers_of

NASTY = '<b>&x"$y$'
TRUTH = {
    "name": "I(x;template)", "truth": 1.3863, "truth_stderr": 0.0011, "measured": 1.30, "stderr": 0.05,
    "direction": "lower", "verdict": "holds",
}  # fmt: skip


def test_every_chart_is_there_in_both_units(seen: Seen, folder: Path) -> None:
    # opening wide and narrow, four panels, five trainings; each in nats and in bits
    assert len(re.findall("<svg", seen.source)) == 2 * (2 + 4 + 5)
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert {"opening", "nce", "usable", "contrastive", "label", "pictures"} < names
    assert {"training-01-conv1", "training-05-input"} < names


def test_each_number_has_its_unit_error_and_direction(seen: Seen) -> None:
    for words in (
        "34.90 ± 0.67", "50.35 ± 0.97 bits", "−43.73 ± 0.70", "3.260 ± 0.057", "2.150 ± 0.040", "0.03290 ± 0.00040",
        "97.3 % [94.8, 98.6]", "−78.63 ± 0.65", "78.63 ± 0.65 nats", "113.44 ± 0.94 bits", "23.12 ± 0.52", "0.73",
        "lower bound, up to H(x)", "not a bound", "squared error", "297 images, 3 refits", "4 batches, 3 refits",
        "single fit",
        "saturated: near the ceiling log 64", "ceiling log 64 = 4.159", "ceiling log 64 = 6.000",
        "Usable information (nats per image)", "Usable information (bits per image)", "updates", "32 × 3 × 3",
    ):  # fmt: skip
        assert words in seen.text, words


def test_says_what_the_numbers_mean_and_how_they_were_made(seen: Seen) -> None:
    for words in (
        "lower bound on I(x;h) up to the constant H(x)", "Not a bound: it is a difference of two upper bounds",
        "never exceed log K", "lower bound on I(y;h)", "retraining moves it by more", "Shuffled contexts",
        "study 0; refits 1, 2, 3", "torch 2.13.0", "densities 2 min 51 s", "3 min 53 s in all", "812 MB",
        "data: {name: digits}", "A laptop run",
    ):  # fmt: skip
        assert words in seen.text, words


def _decoded(url: str | None) -> np.ndarray:
    assert url is not None
    assert url.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))).convert("RGBA"))


def test_pictures_are_exact(seen: Seen) -> None:
    images = {attributes["alt"]: attributes for tag, attributes in seen.elements if tag == "img"}
    # a reconstruction and samples of every image and layer, and samples of p(x) once for all
    assert len(images) == 6 * 2 * 4 + 1
    source = synthetic_report.contents().layers[1].pictures["end"]
    assert source.samples is not None
    assert source.reconstructions is not None
    shown = _decoded(images["Reconstruction of image 3 from conv2 at checkpoint end"]["src"])
    np.testing.assert_array_equal(shown[..., 0], np.rint(source.reconstructions[2, 0].astype(int) * 255 / 16))
    strip = _decoded(images["8 samples for image 3 from conv2 at checkpoint end"]["src"])
    assert strip.shape == (8, 8 * 8 + 7, 4)
    for index, sample in enumerate(source.samples[2, :, 0]):
        tile = strip[:, 9 * index : 9 * index + 8]
        np.testing.assert_array_equal(tile[..., 0], np.rint(sample.astype(int) * 255 / 16))
        assert (tile[..., 3] == 255).all()
    assert not strip[:, 8::9, 3].any()
    inputs = re.findall(r"[.]input-(\d) { background-image: url\(([^)]*)\)", seen.source)
    assert [number for number, _ in inputs] == list("123456")
    shown = _decoded(inputs[2][1])[..., 0]
    np.testing.assert_array_equal(shown, np.rint(synthetic_report.digits()[2, 0].astype(int) * 255 / 16))
    assert "image-rendering: pixelated" in seen.source


def test_pictures_in_colour_are_exact_at_every_checkpoint(tmp_path: Path) -> None:
    full = synthetic_report.through_training()
    seen = see(full, tmp_path)
    images = {attributes["alt"]: attributes["src"] for tag, attributes in seen.elements if tag == "img"}
    assert len(images) == 3 * 2 * 3 * 4 + 1
    for layer in full.layers:
        for checkpoint, drawn in layer.pictures.items():
            assert drawn.samples is not None
            assert drawn.reconstructions is not None
            of = f"image 2 from {layer.label} at checkpoint {checkpoint}"
            again = _decoded(images[f"Reconstruction of {of}"])[..., :3]
            np.testing.assert_array_equal(again, drawn.reconstructions[1].transpose(1, 2, 0))
            # two rows of four
            strip = _decoded(images[f"8 samples for {of}"])
            assert strip.shape == (2 * 6 + 1, 4 * 6 + 3, 4)
            for index, sample in enumerate(drawn.samples[1]):
                y, x = 7 * (index // 4), 7 * (index % 4)
                np.testing.assert_array_equal(strip[y : y + 6, x : x + 6, :3], sample.transpose(1, 2, 0))
                assert (strip[y : y + 6, x : x + 6, 3] == 255).all()
            assert not strip[6, :, 3].any()


def test_each_picture_is_in_the_page_once(seen: Seen) -> None:
    urls = re.findall(r"data:image/png;base64,[A-Za-z0-9+/=]+", seen.source)
    assert len(urls) == 6 + 6 * 2 * 4 + 1
    # Two layers of these made-up pictures can coincide; no picture of an image is there twice for its own sake.
    inputs = re.findall(r"background-image: url\(([^)]*)\)", seen.source)
    assert all(seen.source.count(url) == 1 for url in inputs)


def test_every_grey_level_in_use_leaves_the_gaps_transparent(tmp_path: Path) -> None:
    samples = np.arange(2 * 256, dtype=np.int64).reshape(1, 2, 1, 16, 16).astype(np.uint8)
    pictures = {"end": LayerPictures(samples=samples)}
    contents = ReportContents(title="t", inputs=samples[:, 0], layers=[Layer("a", "a", (), pictures)])
    images = {
        attributes["alt"]: attributes["src"] for tag, attributes in see(contents, tmp_path).elements if tag == "img"
    }
    strip = _decoded(images["2 samples for image 1 from a at checkpoint end"])
    np.testing.assert_array_equal(strip[:, :16, 0], samples[0, 0, 0])
    assert (strip[:, :16, 3] == 255).all()
    assert not strip[:, 16, 3].any()


def test_samples_of_a_density_without_layers_are_all_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(3)
    inputs, samples = (generator.integers(0, 256, (n, 3, 16, 16), dtype=np.uint8) for n in (2, 20))
    contents = ReportContents(title="t", inputs=inputs, null_samples=samples, fit_on="encoding")
    seen = see(contents, tmp_path / "whole")
    images = {attributes["alt"]: attributes["src"] for tag, attributes in seen.elements if tag == "img"}
    assert len(images) == 22
    for name, shown in (("Evaluation image", inputs), ("Sample", samples)):
        for index, image in enumerate(shown, 1):
            np.testing.assert_array_equal(_decoded(images[f"{name} {index}"])[..., :3], image.transpose(1, 2, 0))
    monkeypatch.setattr("infoplane.report.charts.gallery.BUDGET", 5 * samples[0].size * 4 // 3)
    assert "Of 20 samples 5 are shown" in see(contents, tmp_path / "light").text


def test_a_heavy_page_shows_fewer_samples_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = synthetic_report.through_training(numbers=numbers_of(()), differences=(), curves=())
    whole = gallery(full)
    assert whole is not None
    assert whole.samples == whole.drawn == 8
    weight = sum(len(url) for url in re.findall(r"data:image/png[^\")]*", see(full, tmp_path / "whole").source))
    monkeypatch.setattr("infoplane.report.charts.gallery.BUDGET", weight // 2)
    seen = see(full, tmp_path / "light")
    light = sum(len(url) for url in re.findall(r"data:image/png[^\")]*", seen.source))
    assert light < 0.6 * weight
    assert re.search(r"Of 8 samples of each, [1-4] are shown", seen.text)


def test_writing_again_replaces_the_page(tmp_path: Path) -> None:
    write(ReportContents(title="before"), tmp_path)
    path = write(ReportContents(title="after"), tmp_path)
    assert path == tmp_path / "report.html"
    assert "after" in path.read_text()


def test_whatever_comes_from_outside_is_escaped(tmp_path: Path) -> None:
    script = "<script>alert(1)</script>"
    rows = [row(NASTY, "usable", 5.0, 0.5, flags=f"flag {script}"), row("plain", "usable", 2.0, 0.5)]
    steps = [{"first": NASTY, "second": "plain", "kind": "usable", "value": 3, "stderr": 0.3, "dof": 4, "p": 1e-3}]
    pictures = {"end": LayerPictures(samples=np.zeros((1, 2, 1, 4, 4), np.uint8))}
    empty = np.array([])
    contents = ReportContents(
        title=f"title {script}", description=script, note=script, inputs=np.zeros((1, 1, 4, 4), np.uint8),
        layers=[Layer(NASTY, NASTY, (3,), pictures), Layer("plain", "plain")], numbers=numbers_of(rows),
        differences=differences_of(steps),
        curves=[TrainingCurve(NASTY, 0, np.arange(3), np.arange(3.0), empty, empty)],
        truth=[TRUTH | {"name": script, "direction": script, "verdict": script}],
        settings=script, seeds=script, versions={script: script}, times=[(script, 1.0)], machine=script,
        failures=[(script, script, script)], missing=[(script, script)], sanity=[script], checkpoints=[script],
    )  # fmt: skip
    seen = see(contents, tmp_path)
    assert seen.open == []
    assert not set(seen.tags()) & {"script", "b"}
    assert seen.text.count(script) >= 14
    # in the sentence, in four opening figures, in the table, in the training curves
    assert seen.text.count(NASTY) >= 8
    assert (tmp_path / "figures" / "training-01-b-x-y.svg").is_file()
    ElementTree.parse(tmp_path / "figures" / "opening.svg")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "There are no numbers yet."),
        ({"failures": [("density/fc3", "loss is NaN", "Traceback …")]}, "There are no numbers: 1 part of the run"),
        ({"layers": [Layer("fc3", "fc3", (10,))]}, "There are no numbers yet."),
        ({"numbers": numbers_of([row("", "accuracy", 0.9, 0.02, unit="fraction")])}, "There are no numbers yet."),
        ({"curves": [synthetic_report.curve("fc3", 0, 70.0)]}, "There are no numbers yet."),
    ],
)
def test_a_run_still_going_has_a_page(changes: dict, sentence: str, tmp_path: Path) -> None:
    seen = see(ReportContents(title="going", **changes), tmp_path)
    assert seen.open == []
    assert sentence in seen.text
    if "failures" in changes:
        assert "loss is NaN" in seen.text
        assert "Traceback …" in seen.text


def test_missing_pictures_leave_gaps(tmp_path: Path) -> None:
    full = synthetic_report.contents(curves=(), null_samples=None, numbers=numbers_of(()), differences=())
    pictures = [{}, {"end": LayerPictures()}, *[layer.pictures for layer in full.layers[2:]]]
    layers = [dataclasses.replace(layer, pictures=drawn) for layer, drawn in zip(full.layers, pictures)]
    seen = see(dataclasses.replace(full, layers=layers), tmp_path)
    assert len([tag for tag in seen.tags() if tag == "img"]) == 6 * 2 * 2
    none = [dataclasses.replace(layer, pictures={}) for layer in full.layers]
    assert "img" not in see(dataclasses.replace(full, layers=none), tmp_path).tags()


def test_failures_are_announced_where_numbers_are_shown(tmp_path: Path) -> None:
    rows = [row("conv1", "usable", 3.0, 0.5)]
    failures = [("a", "bad", ""), ("b", "worse", "")]
    contents = synthetic_report.contents(
        numbers=numbers_of(rows), failures=failures, curves=(), inputs=None, differences=()
    )
    seen = see(contents, tmp_path)
    assert "2 parts of this run failed" in seen.text
    assert "#failures" in seen.attributes("href")


def test_truth_is_shown_in_both_units(tmp_path: Path) -> None:
    text = see(ReportContents(title="t", truth=[TRUTH]), tmp_path).text
    for words in ("1.3863 ± 0.0011", "2.0000 ± 0.0016", "1.300 ± 0.050", "lower bound", "holds"):
        assert words in text


@pytest.mark.parametrize("stderr", [None, 0.0, 1e-10])
def test_an_exact_truth_has_no_error(tmp_path: Path, stderr: float | None) -> None:
    truth = [TRUTH | {"name": "H", "truth_stderr": stderr}]
    text = see(ReportContents(title="t", truth=truth), tmp_path).text
    assert "H 1.386 2.000 1.300 ± 0.050" in text
    assert "no spread)" not in text


def test_every_checkpoint_is_in_the_table_and_the_last_is_pictured(tmp_path: Path) -> None:
    rows = [row("a", "usable", value, 0.5, checkpoint=when) for when, value in ((0, 3.25), (100, 9.25))]
    rows.append(row("", "accuracy", 0.5, 0.1, unit="fraction", checkpoint=100))
    seen = see(ReportContents(title="t", layers=[Layer("a", "a")], numbers=numbers_of(rows)), tmp_path)
    assert "Check\xadpoint" in seen.text
    assert "3.25 ± 0.50" in seen.text
    assert "The density could use 9.25 ± 0.50 nats" in seen.text
    assert "Accuracy of the network, checkpoint 100" in seen.text


def test_imports_neither_pyplot_nor_study() -> None:
    code = "import sys, infoplane.report.inversion.sections; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = done.stdout.split()
    assert "infoplane.report.page" in imported
    assert not {"matplotlib.pyplot", "infoplane.study"} & set(imported)


def test_a_hostile_name_is_text_wherever_it_goes(tmp_path: Path) -> None:
    name = synthetic_report.HOSTILE
    seen = see(synthetic_report.through_training(), tmp_path)
    assert seen.open == []
    assert "script" not in seen.tags()
    # the name beside every image, in the table, in the steps, in figures and their tooltips
    assert seen.text.count(name) >= 20
    assert any(name in alt for alt in seen.attributes("alt"))
    assert not [attribute for _, attributes in seen.elements for attribute in attributes if attribute.startswith("on")]
    files = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert "training-02-script-alert-1-script.svg" in files
    assert all(re.fullmatch(r"[a-z0-9-]+[.](svg|png)", file) for file in files)
    for path in (tmp_path / "figures").glob("*.svg"):
        root = ElementTree.parse(path).getroot()
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    titles = [
        title.text
        for title in ElementTree.parse(tmp_path / "figures" / "through-usable.svg").iter(
            "{http://www.w3.org/2000/svg}title"
        )
    ]
    assert f"{name}, checkpoint 1000: 79.0 ± 1.5 nats, 95 % interval 76.1 to 81.9, 3 refits" in titles


def test_points_say_what_they_are(folder: Path, seen: Seen) -> None:
    titles = [
        title.text
        for title in ElementTree.parse(folder / "figures" / "label.svg").iter("{http://www.w3.org/2000/svg}title")
    ]
    assert titles == [
        f"{name}: {value} ± 0.040 nats, 95 % interval {ends}, single fit"
        for name, value, ends in zip(
            synthetic_report.NAMES,
            ("1.910", "2.080", "2.170", "2.150"),
            ("1.83 to 1.99", "2.00 to 2.16", "2.09 to 2.25", "2.07 to 2.23"),
        )
    ]
    assert "conv1: 34.90 ± 0.67 nats, 95 % interval 33.6 to 36.2, 3 refits" in seen.text
    assert "conv1: 50.35 ± 0.97 bits, 95 % interval 48.5 to 52.2, 3 refits" in seen.text


def test_what_is_no_information_keeps_its_own_unit_through_training(tmp_path: Path) -> None:
    full = synthetic_report.through_training()
    squared = {"unit": "squared error", "refits": 1, "n": 6}
    rows = [row("conv1", "sample-variance", 0.02, 0.001, checkpoint=at, **squared) for at in full.checkpoints]
    seen = see(
        dataclasses.replace(full, numbers=Numbers([*full.numbers, *numbers_of(rows)], full.checkpoints)), tmp_path
    )
    (name,) = {text for text in seen.attributes("aria-label") if text.startswith("Variance among samples of each")}
    assert not re.search("nats|bits", name)
    drawn = (tmp_path / "figures" / "through-sample-variance.svg").read_text(encoding="utf-8")
    assert "squared error" in drawn
    assert "nats" not in drawn
    assert "nats per image" in (tmp_path / "figures" / "through-usable.svg").read_text(encoding="utf-8")


def test_layers_are_drawn_through_training(tmp_path: Path) -> None:
    seen = see(synthetic_report.through_training(), tmp_path)
    for words in ("Through training", "updates of the network", "1,000", "Checkpoint", "checkpoint 100"):
        assert words in seen.text, words
    for kind in ("nce", "usable"):
        assert (tmp_path / "figures" / f"through-{kind}.png").is_file()
        assert f"figures/through-{kind}.svg" in seen.attributes("href")
    assert not (tmp_path / "figures" / "through-label.png").exists()
    # Training at an earlier checkpoint is a file, at the last one a figure of the page.
    names = {path.name for path in (tmp_path / "figures").glob("training-*.svg")}
    assert {"training-01-conv1.svg", "training-04-conv1-at-100.svg"} < names
    assert {f"figures/{name}" for name in names} <= set(seen.attributes("href"))
    # Each step between layers at every checkpoint, and the headline at the last.
    assert "Degrees of freedom" in seen.text
    assert [seen.text.count(f" {at} conv1 {synthetic_report.HOSTILE} ") for at in synthetic_report.CHECKPOINTS] == [
        1
    ] * 4
    assert "at checkpoint end on 297 evaluation images" in seen.text


def test_one_checkpoint_needs_no_curve_and_no_column(seen: Seen) -> None:
    assert "Through training" not in seen.text
    assert "Check\xadpoint" not in seen.text


def test_a_run_that_is_not_whole_says_what_is_missing(tmp_path: Path) -> None:
    missing = [("density of fc3, refit 2", "not computed yet"), ("samples of <fc3>", "needs a part that failed")]
    full = synthetic_report.contents(
        missing=missing, parts=36, going=True, failures=[("density-fc3", "NaN <x>", "Trace <y>")]
    )
    seen = see(full, tmp_path)
    for words in (
        "had not come to its end", "2 of its 36 parts are missing", "density of fc3, refit 2", "samples of <fc3>",
        "needs a part that failed: 1 part", "1 part of this run failed", "NaN <x>", "Trace <y>",
    ):  # fmt: skip
        assert words in seen.text, words
    assert {"#missing", "#failures"} <= set(seen.attributes("href"))
    folded = [attributes for tag, attributes in seen.elements if tag == "details"]
    assert folded
    assert not any("open" in attributes for attributes in folded)
    assert "not whole" in see(dataclasses.replace(full, going=False), tmp_path).text
