"""What every page is made with: its templates, its style, and the way of its files to the disk."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.files import write_whole
from infoplane.report import amounts
from infoplane.report.theme import save

_HERE = Path(__file__).parent


def publish(folder: Path, tables: Sequence[str], render: Callable[[list[str]], tuple[str, dict[str, Figure]]]) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole.

    Args:
        folder: Where to write `report.html` and `figures/`; made if need be.
        tables: Names of the tables that may lie beside the page.
        render: Names of those that do -> the page and its figures by name.
    """
    folder = Path(folder)
    drawer = folder / "figures"
    drawer.mkdir(parents=True, exist_ok=True)
    html, files = render([name for name in tables if (folder / f"{name}.csv").is_file()])
    for name, figure in files.items():
        for suffix in (".svg", ".png"):
            save(figure, drawer / f"{name}{suffix}")
    page = folder / "report.html"
    write_whole(page, html)
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
    environment.filters |= {"duration": amounts.duration}
    css = Markup((_HERE / "page.css").read_text(encoding="utf-8"))
    return environment.get_template(template).render(css=css, **values)
