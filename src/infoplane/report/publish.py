"""What every page is made with: its templates, its style, and the way of its files to the disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from infoplane.files import write_whole
from infoplane.report import amounts
from infoplane.report.drawer import Drawer

_HERE = Path(__file__).parent


def publish(folder: Path, contents: Any, tables: Sequence[str], render: Callable[[list[str], Drawer], str]) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole. Where it lies there already, made from the same, nothing is drawn.

    Args:
        folder: Where to write `report.html` and `figures/`; made if need be.
        contents: All that the page is made from.
        tables: Names of the tables that may lie beside the page.
        render: Names of those that do, and where the figures go -> the page.
    """
    folder = Path(folder)
    page = folder / "report.html"
    drawer = Drawer(page)
    found = [name for name in tables if (folder / f"{name}.csv").is_file()]
    if drawer.unchanged((contents, found)):
        return page
    write_whole(page, render(found, drawer))
    drawer.close()
    return page


def render(template: str, **values: Any) -> str:
    """Returns the page that a template makes of `values`; all pages have the same style."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": amounts.duration, "at": lambda index, items: items[index]}
    css = Markup((_HERE / "page.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(css=css, **values)
