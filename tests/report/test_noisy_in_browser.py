"""The page of a study of noisy networks as a reader meets it: in a browser without a network, wide and narrow."""

from pathlib import Path
from typing import Any

import pytest
import synthetic_noisy
from browser import MARKS

from infoplane.report.noisy.sections import write_noisy

pytestmark = MARKS


@pytest.mark.parametrize("make", [synthetic_noisy.three, synthetic_noisy.neuron, synthetic_noisy.deterministic])
def test_fits_every_width_and_asks_for_nothing(make: Any, browser: Any, tmp_path: Path) -> None:
    page_file = write_noisy(make(), tmp_path)
    for width in (360, 400, 641, 1200):
        page = browser.new_page(viewport={"width": width, "height": 900})
        wrong: list[str] = []
        page.on("console", lambda message, wrong=wrong: wrong.append(message.text))
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.on(
            "request",
            lambda asked, wrong=wrong: asked.url.startswith(("file:", "data:")) or wrong.append(asked.url),
        )
        page.goto(page_file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shown = "figure.hero .wide" if width > 640 else "figure.hero .narrow"
        assert page.locator(f"{shown} .nats svg").is_visible()
        assert not page.locator(f"{shown} .bits svg").is_visible()
        # No name beside a line is cut off at the edge of its drawing.
        cut = page.evaluate(
            """() => [...document.querySelectorAll("svg")].filter(svg => svg.checkVisibility()).flatMap(svg => {
                const edge = svg.getBoundingClientRect();
                return [...svg.querySelectorAll("text")].filter(text => {
                    const box = text.getBoundingClientRect();
                    return box.left < edge.left - 1 || box.right > edge.right + 1 || box.bottom > edge.bottom + 1;
                }).map(text => text.textContent);
            })"""
        )
        assert cut == []
        page.locator("label[for=unit-bits]").click()
        assert page.locator(f"{shown} .bits svg").is_visible()
        assert not page.locator(f"{shown} .nats svg").is_visible()
        assert wrong == []
        page.close()
