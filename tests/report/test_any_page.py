"""What holds of the page of any study, and of the files beside it."""

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import synthetic_noisy
import synthetic_report
from PIL import Image
from read_report import Seen

from infoplane.report.contents import PageContents
from infoplane.report.inversion import sections
from infoplane.report.noisy.contents import NoisyContents
from infoplane.report.noisy.sections import write_noisy

MADE = {"inversion": synthetic_report.contents, "noisy networks": synthetic_noisy.contents}


def write(contents: PageContents, folder: Path) -> Path:
    """Writes the page of any contents."""
    return write_noisy(contents, folder) if isinstance(contents, NoisyContents) else sections.write(contents, folder)


@pytest.fixture(scope="module", params=MADE)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seen, Any]:
    """Where a page was written, the page, and what makes its contents."""
    folder = tmp_path_factory.mktemp("page")
    page = write(MADE[request.param](), folder)
    return folder, Seen(page.read_text(encoding="utf-8")), MADE[request.param]


def test_needs_nothing_from_elsewhere(made: tuple[Path, Seen, Any]) -> None:
    _, seen, _ = made
    links = seen.attributes("src") + seen.attributes("href")
    loaded = [link for link in links if not link.startswith(("#", "data:image/png;base64,"))]
    assert loaded
    # Only links to the figures' files, which nothing is loaded from.
    assert all(re.fullmatch(r"figures/[a-z0-9-]+\.(svg|png)", link) for link in loaded)
    assert all(not link.startswith("figures") for link in seen.attributes("src"))
    assert not set(seen.tags()) & {"script", "link", "iframe", "object", "base"}
    assert not re.search("https?:|@import", seen.source)
    outside = [target for target in re.findall(r"url\(([^)]*)\)", seen.source) if not target.startswith("#")]
    assert all(target.startswith("data:image/png;base64,") for target in outside)
    assert any("default-src 'none'" in value for value in seen.attributes("content"))


def test_is_whole_and_light_and_its_links_lead_somewhere(made: tuple[Path, Seen, Any]) -> None:
    _, seen, _ = made
    assert seen.open == []
    assert len(seen.source) < 1_500_000
    ids = seen.attributes("id")
    assert len(ids) == len(set(ids))
    targets = {link[1:] for link in seen.attributes("href") if link.startswith("#")}
    targets |= set(re.findall(r"url\(#([^)]*)\)", seen.source)) | set(seen.attributes("for"))
    assert targets <= set(ids)


def test_drawings_take_the_colours_of_the_page(made: tuple[Path, Seen, Any]) -> None:
    _, seen, _ = made
    svgs = re.findall(r"<svg.*?</svg>", seen.source, flags=re.DOTALL)
    assert svgs
    assert not any(re.search(r"(fill|stroke): #(1c2128|646c76|dcdfe4|ffffff)", svg) for svg in svgs)
    assert all('role="img"' in svg and "aria-label=" in svg for svg in svgs)
    used = set(re.findall(r"var\((--layer-\d+)\)", seen.source))
    assert used
    assert all(f"{name}: #" in seen.source for name in used)


def test_the_switch_rules_every_amount_and_needs_no_script(made: tuple[Path, Seen, Any]) -> None:
    _, seen, _ = made
    radios = [attributes for tag, attributes in seen.elements if tag == "input" and attributes["name"] == "unit"]
    assert [radio["id"] for radio in radios] == ["unit-nats", "unit-bits"]
    assert ["checked" in radio for radio in radios] == [True, False]
    assert seen.source.count('class="nats"') == seen.source.count('class="bits"') > 20
    assert {"unit-nats", "unit-bits"} <= set(seen.attributes("for"))


def test_same_contents_give_same_bytes(made: tuple[Path, Seen, Any], tmp_path: Path) -> None:
    folder, _, make = made
    write(make(), tmp_path)
    paths = sorted(folder.rglob("*.*"))
    assert len(paths) > 10
    assert [path.relative_to(folder) for path in paths] == sorted(
        p.relative_to(tmp_path) for p in tmp_path.rglob("*.*")
    )
    for path in paths:
        assert path.read_bytes() == (tmp_path / path.relative_to(folder)).read_bytes(), path.name


def test_every_figure_of_the_page_has_its_files(made: tuple[Path, Seen, Any]) -> None:
    folder, seen, _ = made
    links = {link for link in seen.attributes("href") if link.startswith("figures/")}
    assert links == {f"figures/{path.name}" for path in (folder / "figures").iterdir()}
    for path in (folder / "figures").glob("*.svg"):
        ElementTree.parse(path)
        with Image.open(path.with_suffix(".png")) as image:
            assert min(image.size) > 100
    assert not [path for path in folder.rglob("*") if path.name.startswith(".") or path.suffix == ".tmp"]


@pytest.mark.parametrize("make", [synthetic_report.contents, synthetic_noisy.neuron])
def test_tables_beside_the_page_are_linked(make: Any, tmp_path: Path, unpainted: None) -> None:
    page = write(make(), tmp_path)
    assert not re.findall(r'href="[^"]*\.csv"', page.read_text(encoding="utf-8"))
    for name in ("results", "differences"):
        (tmp_path / f"{name}.csv").write_text("layer\n")
    links = Seen(write(make(), tmp_path).read_text(encoding="utf-8")).attributes("href")
    assert {"results.csv", "results.parquet", "differences.csv", "differences.parquet"} <= set(links)
    assert "truths.csv" not in links
