"""From the contents of a report to its files: `report.html`, which needs nothing else, and `figures/`."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup
from matplotlib.figure import Figure

from infoplane.files import write_whole
from infoplane.report import amounts, pictures, tables, words
from infoplane.report.contents import ReportContents
from infoplane.report.plates import Drawn, Plates
from infoplane.report.results import NETWORK, Results, differences
from infoplane.report.theme import save

_HERE = Path(__file__).parent
#: files with tables that a run's folder may hold, and what they are called
TABLES = {
    "results": "All numbers, each fit by itself and all refits together",
    "differences": "Paired differences between layers",
    "truths": "Comparisons with the known truth",
}


def write(contents: ReportContents, folder: Path) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole. The same contents give the same bytes.

    Args:
        contents: What to show; anything but its title may be missing.
        folder: Where to write `report.html` and `figures/`; made if need be. Tables that lie there are linked.
    """
    folder = Path(folder)
    drawer = folder / "figures"
    drawer.mkdir(parents=True, exist_ok=True)
    found = [name for name in TABLES if (folder / f"{name}.csv").is_file()]
    html, files = _render(contents, found)
    for name, figure in files.items():
        for suffix in (".svg", ".png"):
            save(figure, drawer / f"{name}{suffix}")
    page = folder / "report.html"
    write_whole(page, html)
    return page


def _render(contents: ReportContents, files: Sequence[str]) -> tuple[str, dict[str, Figure]]:
    """Returns the page and its figures by name, given the names of the tables that lie beside it."""
    results = Results(contents.rows, contents.checkpoints)
    latent = {layer.name for layer in contents.layers if layer.latent}
    found = differences(contents.differences, results)
    found = [step for step in found if not {step.first, step.second} & latent]
    opening = words.opening(contents, results, found)
    plates = Plates(contents, results, opening)
    table = tables.numbers(contents, results, plates.palette)
    # In the order in which the reader meets them in the table; those of the network last.
    shown = [column.kind for column in table.columns]
    shown += [kind for kind in results.kinds if kind not in (*shown, "cross-entropy")]
    training = plates.training()
    earlier: dict[str, list[Drawn]] = {}
    for curve in training:
        if curve.checkpoint:
            earlier.setdefault(curve.checkpoint, []).append(curve)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": amounts.duration}
    html = environment.get_template("inversion.html.j2").render(
        contents=contents,
        css=Markup((_HERE / "page.css").read_text(encoding="utf-8")),
        palette=plates.palette,
        opening=opening,
        hero=plates.hero(),
        gallery=pictures.gallery(contents),
        sheets=plates.sheets(),
        through=plates.through(),
        panels=plates.panels(),
        training=training,
        earlier=earlier,
        files={name: TABLES[name] for name in files},
        table=table,
        steps=tables.steps(found, contents),
        meanings=[words.MEANINGS[kind] for kind in shown if kind in words.MEANINGS],
        truths=tables.truths(contents.truth),
        errors=words.ERRORS,
        infinite=words.INFINITE,
        ticks=any(result.refit != "all" and result.layer != NETWORK for result in results.all),
        single=any(result.estimate.refits == 1 and result.refit == "all" for result in results.all),
        checkpoint=results.last if len(results.checkpoints) > 1 else "",
    )
    return html, plates.files
