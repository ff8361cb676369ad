"""The page as a reader meets it: opened from a file in a browser without a network, and clicked."""

import dataclasses
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic_report
from browser import MARKS
from PIL import Image

from infoplane.measurements.numbers import Numbers
from infoplane.report.inversion.contents import ReportContents
from infoplane.report.inversion.sections import write
from table_rows import numbers_of

pytestmark = MARKS

PAGES = {"one checkpoint": synthetic_report.contents, "four checkpoints": synthetic_report.through_training}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages, by what is in them, each with tables beside it."""
    written = {}
    for name, make in PAGES.items():
        folder = tmp_path_factory.mktemp("page")
        for table in ("results", "differences", "truths"):
            (folder / f"{table}.csv").write_text("layer\n")
        written[name] = write(make(), folder)
    return written


@dataclasses.dataclass
class Opened:
    """An open page, what it should show, and all that went wrong so far."""

    page: Any
    contents: ReportContents
    wrong: list[str]


@pytest.fixture(params=PAGES)
def opened(browser: Any, files: dict[str, Path], request: pytest.FixtureRequest) -> Iterator[Opened]:
    """Each page in turn; in the end nothing may have gone wrong, whatever was clicked."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True, color_scheme="light")
    page = context.new_page()
    wrong: list[str] = []
    address = files[request.param].as_uri()

    def dialog(box: Any) -> None:
        wrong.append(f"dialog: {box.message}")
        box.dismiss()

    def asked(asked: Any) -> None:
        if asked.url != address and not asked.url.startswith("data:"):
            wrong.append(f"request: {asked.url}")

    page.on("console", lambda message: wrong.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("dialog", dialog)
    page.on("request", asked)
    page.goto(address)
    yield Opened(page, PAGES[request.param](), wrong)
    context.close()
    assert wrong == []


def _visible(page: Any, selector: str) -> list[Any]:
    return [found for found in page.locator(selector).all() if found.is_visible()]


def _on_screen(picture: Any, height: int, width: int) -> np.ndarray:
    """The colours of a picture as the screen shows it, one per pixel of its own: (height, width, 3)."""
    shown = np.asarray(Image.open(io.BytesIO(picture.screenshot())).convert("RGB"))
    zoom = round(shown.shape[1] / width)
    assert zoom >= 1
    half = zoom // 2
    return shown[half : half + zoom * height : zoom, half : half + zoom * width : zoom]


def _expected(image: np.ndarray, levels: int) -> np.ndarray:
    grey_or_colour = np.rint(image.astype(float) * 255 / (levels - 1)).transpose(1, 2, 0)
    return np.broadcast_to(grey_or_colour, (*grey_or_colour.shape[:2], 3))


def test_every_thumbnail_shows_its_image_in_every_layer_and_checkpoint(opened: Opened) -> None:
    page, contents = opened.page, opened.contents
    inputs = contents.inputs
    assert inputs is not None
    height, width = inputs.shape[-2:]
    before: set[str] = set()
    for index in range(len(inputs)):
        page.locator(f".thumbs label[for=image-{index + 1}]").click()
        assert page.locator(f"#image-{index + 1}").is_checked()
        assert len(_visible(page, ".panel")) == 1
        pictures = _visible(page, ".panel img")
        points = len(contents.pictured)
        assert len(pictures) == 2 * len(contents.layers) * points
        sources = {picture.get_attribute("src") for picture in pictures}
        assert not sources & before
        before |= sources
        of = re.compile(rf"image {index + 1} from")
        assert all(of.search(picture.get_attribute("alt")) for picture in pictures)
        tile = page.locator(f".panel .input-{index + 1}")
        np.testing.assert_array_equal(_on_screen(tile, height, width), _expected(inputs[index], contents.levels))
    # What is on the screen for the last image is what was drawn, at the last layer's first checkpoint.
    layer, checkpoint = contents.layers[-1], contents.pictured[0]
    drawn = layer.pictures[checkpoint]
    assert drawn.reconstructions is not None
    assert drawn.samples is not None
    of = f"for image {len(inputs)} from {layer.label} at checkpoint {checkpoint}"
    again = page.get_by_alt_text(of.replace("for", "Reconstruction of", 1), exact=True)
    expected = _expected(drawn.reconstructions[-1], contents.levels)
    np.testing.assert_array_equal(_on_screen(again, height, width), expected)
    strip = page.get_by_alt_text(f"8 samples {of}", exact=True)
    columns = 8 if points == 1 else 4
    shown = _on_screen(strip, 8 // columns * (height + 1) - 1, columns * (width + 1) - 1)
    for sample in range(8):
        y, x = (height + 1) * (sample // columns), (width + 1) * (sample % columns)
        expected = _expected(drawn.samples[-1, sample], contents.levels)
        np.testing.assert_array_equal(shown[y : y + height, x : x + width], expected)


def test_the_picker_works_by_keyboard_and_shows_all(opened: Opened) -> None:
    page = opened.page
    page.locator("#image-1").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#image-2").is_checked()
    assert [panel.get_attribute("class").split()[-1] for panel in _visible(page, ".panel")] == ["of-2"]
    page.locator(".thumbs label[for=image-all]").click()
    assert opened.contents.inputs is not None
    assert len(_visible(page, ".panel")) == len(opened.contents.inputs)


def test_the_picker_needs_no_script(browser: Any, files: dict[str, Path]) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(files["one checkpoint"].as_uri())
    page.locator(".thumbs label[for=image-3]").click()
    assert len(_visible(page, ".panel")) == 1
    assert page.locator(".of-3").is_visible()
    context.close()


def test_no_table_of_numbers_is_cut_off_on_a_usual_screen(browser: Any, tmp_path: Path) -> None:
    full = synthetic_report.through_training()
    kinds = {
        "label": "nats",
        "forward": "nats",
        "mse": "squared error",
        "sample-variance": "squared error",
        "sample-accuracy": "fraction",
        "generalisation-gap": "nats",
        "excess": "nats",
    }
    more = [
        synthetic_report.row(layer.name, kind, 0.8123, 0.0312, unit=unit, n=12345, checkpoint=at)
        for layer in full.layers
        for at in synthetic_report.CHECKPOINTS
        for kind, unit in kinds.items()
    ]
    path = write(
        dataclasses.replace(full, numbers=Numbers([*full.numbers, *numbers_of(more)], full.checkpoints), each=8),
        tmp_path,
    )
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    page = context.new_page()
    page.goto(path.as_uri())
    tables = page.locator("#numbers .scroll").all()
    assert len(tables) >= 2
    for unit in ("nats", "bits"):
        page.locator(f".switch label[for=unit-{unit}]").click()
        for table in tables:
            wide, seen = table.evaluate("box => [box.scrollWidth, box.clientWidth]")
            assert wide <= seen
    assert page.locator("#numbers").get_by_text("Train/held-out gap").is_visible()
    context.close()


def test_bits_are_nats_over_log_2(opened: Opened) -> None:
    page = opened.page

    def headline() -> float:
        number, unit = re.search(r"([\d.]+) ± [\d.]+\s(nats|bits)", page.locator("h1").inner_text()).groups()
        assert unit == expected
        return float(number)

    expected = "nats"
    nats = headline()
    assert not _visible(page, "figure .bits")
    page.locator(".switch label[for=unit-bits]").click()
    expected = "bits"
    assert headline() == pytest.approx(nats / math.log(2), abs=0.1)
    assert not _visible(page, "figure .nats")
    assert _visible(page, "figure .bits")
    page.locator(".switch label[for=unit-nats]").click()
    expected = "nats"
    assert headline() == nats


def test_a_phone_scrolls_down_only(opened: Opened) -> None:
    page = opened.page
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    # A table that is wider says so, and moves by itself.
    assert _visible(page, ".hint")
    table = page.locator("[aria-label='The numbers of each layer']")
    assert table.evaluate("box => box.scrollWidth > box.clientWidth && box.clientWidth <= 390")
    # The pictures of p(x) stand under those of the layers.
    left = [box.bounding_box()["x"] for box in _visible(page, ".pictures img[alt*=' samples ']")]
    assert len(left) > 2
    assert max(left) - min(left) < 0.5
    # Pixels stay squares of one size.
    for picture in _visible(page, ".pictures img"):
        zoom = picture.bounding_box()["width"] / int(picture.get_attribute("width"))
        assert zoom == pytest.approx(round(zoom), abs=0.01)


def test_layers_line_up_with_the_headings_of_checkpoints(browser: Any, files: dict[str, Path]) -> None:
    context = browser.new_context(viewport={"width": 1200, "height": 900})
    page = context.new_page()
    page.goto(files["four checkpoints"].as_uri())
    heads = [head.bounding_box()["x"] for head in page.locator(".heads .head").all()]
    rows = [cell.bounding_box()["x"] for cell in _visible(page, ".panel .cell:not(.whole)")]
    assert len(heads) == 4
    assert rows == pytest.approx(heads * 3, abs=0.5)
    context.close()


def test_on_paper_all_images_are_there(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(media="print")
    assert opened.contents.inputs is not None
    assert len(_visible(page, ".panel")) == len(opened.contents.inputs)
    assert not _visible(page, ".switch")


def test_what_is_amiss_is_said_in_letters_as_large_as_those_of_other_notes(browser: Any, tmp_path: Path) -> None:
    flag = "the held-out loss still fell at the end: more updates would help"
    flagged = [row | {"flags": flag} for row in synthetic_report.rows()]
    page = browser.new_page()
    page.goto(write(synthetic_report.contents(numbers=numbers_of(flagged), note="A warning."), tmp_path).as_uri())
    sizes = "found => found.map(each => parseFloat(getComputedStyle(each).fontSize))"
    (note,), caveats = (page.eval_on_selector_all(name, sizes) for name in (".note", ".caveat"))
    assert len(caveats) == 2  # of the headline, and of the largest step
    assert caveats == [note, note]
    page.close()


def _lightness(colour: str) -> float:
    return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 3


def test_in_the_dark_ink_is_light(opened: Opened) -> None:
    page = opened.page
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        words = page.evaluate("[...document.querySelectorAll('.hero svg text')].map(t => getComputedStyle(t).fill)")
        assert words
        assert all((_lightness(ink) > _lightness(paper)) is (scheme == "dark") for ink in words)
        assert (_lightness(paper) < 60) is (scheme == "dark")
