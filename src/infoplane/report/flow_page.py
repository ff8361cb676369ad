"""From the contents of a study of noisy networks to its page and figures."""

from collections.abc import Sequence
from pathlib import Path

from infoplane.report import flow_meanings, flow_tables, flow_words, publish, tables
from infoplane.report.drawer import Drawer
from infoplane.report.flow_contents import FlowContents
from infoplane.report.flow_numbers import FlowNumbers, losses, plain
from infoplane.report.flow_plates import FlowPlates

#: files with tables that a run's folder may hold, and what they are called
TABLES = {
    "results": "All numbers, of every epoch",
    "differences": "What each layer lost from its peak to the end",
    "truths": "Estimates beside I(X;T) by quadrature",
    "history": "Losses and accuracies through training",
}


def write(contents: FlowContents, folder: Path) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole. The same contents give the same bytes.

    Args:
        contents: What to show; anything but its title may be missing.
        folder: Where to write `report.html` and `figures/`; made if need be. Tables that lie there are linked.
    """
    return publish.publish(folder, contents, tuple(TABLES), lambda *found: _render(contents, *found))


def _render(contents: FlowContents, files: Sequence[str], drawer: Drawer) -> str:
    """Returns the page, its figures put away, given the names of the tables that lie beside it."""
    numbers, found = FlowNumbers(contents.rows, contents.networks), losses(contents.differences)
    plates = FlowPlates(contents, numbers, drawer)
    shown = [kind for kind in ("flow", "information", "binned-entropy") if numbers.has(kind)]
    shown += ["loss"] * bool(found) + ["accuracy"] * numbers.has("accuracy")
    return publish.render(
        "flow.html.j2",
        contents=contents,
        palette=plates.palette,
        opening=flow_words.opening(contents, numbers, found),
        hero=plates.hero(),
        bins=plates.bins(),
        noisy=any(network.beta is not None for network in contents.networks),
        silent=any(network.beta is None for network in contents.networks),
        clouds=plates.clouds(),
        values=plates.values(),
        distances=plates.distances(),
        densities=plates.densities(),
        weights=plates.weights(),
        sweep=plates.sweep(),
        bias=plain(contents.sweep.bias_per_weight) if contents.sweep else "",
        table=flow_tables.numbers(contents, numbers, found),
        files={name: TABLES[name] for name in files},
        meanings=[flow_meanings.MEANINGS[kind] for kind in shown],
        errors=flow_meanings.ERRORS if numbers.has("flow") else "",
        truths=tables.truths(contents.truth),
    )
