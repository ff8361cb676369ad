"""From the contents of a report to its files: `report.html`, which needs nothing else, and `figures/`."""

from collections.abc import Sequence
from pathlib import Path

from infoplane.claims import corrected_for
from infoplane.measurements import QUANTITIES
from infoplane.measurements.numbers import NETWORK
from infoplane.report import pictures, publish, tables, words
from infoplane.report.contents import ReportContents
from infoplane.report.drawer import Drawer
from infoplane.report.drawings import Drawn
from infoplane.report.plates import Plates
from infoplane.report.results import Results, differences

#: files with tables that a run's folder may hold, and what they are called
TABLES = {
    "results": "All numbers, each fit by itself and all refits together",
    "differences": "Paired differences between layers",
    "changes": "Changes from checkpoint to checkpoint",
    "compression": "Falls from the peak to the end of training",
    "losses": "Losses of the densities on each part of the split",
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
    return publish.publish(folder, contents, tuple(TABLES), lambda *found: _render(contents, *found))


def _render(contents: ReportContents, files: Sequence[str], drawer: Drawer) -> str:
    """Returns the page, its figures put away, given the names of the tables that lie beside it."""
    results = Results(contents.rows, contents.checkpoints)
    latent = {layer.name for layer in contents.layers if layer.latent}
    found = differences(contents.differences, results)
    found = [step for step in found if not {step.first, step.second} & latent]
    opening = words.opening(contents, results, found)
    plates = Plates(contents, results, opening, drawer)
    table = tables.numbers(contents, results, plates.palette)
    # In the order in which the reader meets them in the table; those of the network last.
    shown = [column.kind for column in table.columns]
    shown += [kind for kind in results.kinds if kind not in (*shown, "cross-entropy")]
    training = plates.training()
    earlier: dict[str, list[Drawn]] = {}
    for curve in training:
        if curve.checkpoint:
            earlier.setdefault(curve.checkpoint, []).append(curve)
    gallery = pictures.gallery(contents)
    return publish.render(
        "inversion.html.j2",
        contents=contents,
        palette=plates.palette,
        opening=opening,
        hero=plates.hero(),
        gallery=gallery,
        unconditional=None if gallery else pictures.unconditional(contents),
        sheets=plates.sheets(),
        through=plates.through(),
        plane=plates.plane(),
        falls=tables.falls(contents),
        changes=tables.changes(contents),
        losses=tables.losses(contents),
        panels=plates.panels(),
        training=training,
        earlier=earlier,
        trained_at=len({curve.checkpoint for curve in contents.curves if curve.checkpoint}),
        files={name: TABLES[name] for name in files},
        table=table,
        steps=tables.steps(found, contents),
        tested=corrected_for(
            max([tables.tests(contents), *(step.claim.tests for step in found)]), contents.tests_before
        ),
        meanings=[(QUANTITIES[kind].name, QUANTITIES[kind].meaning) for kind in shown if kind in QUANTITIES],
        truths=tables.truths(contents.truth),
        errors=words.ERRORS,
        infinite=words.INFINITE,
        left_out=[(words.name_of(kind), reason) for kind, reason in contents.left_out.items()],
        ticks=any(result.refit != "all" and result.layer != NETWORK for result in results.all),
        single=any(result.estimate.refits == 1 and result.refit == "all" for result in results.all),
        checkpoint=results.last if len(results.checkpoints) > 1 else "",
    )
