"""From the contents of a study of noisy networks to its page and figures."""

from collections.abc import Sequence
from pathlib import Path

from infoplane.measurements import NOISY_QUANTITIES
from infoplane.report import noisy_tables, noisy_words, publish, tables
from infoplane.report.drawer import Drawer
from infoplane.report.noisy_contents import NoisyContents
from infoplane.report.noisy_numbers import NoisyNumbers, losses, plain
from infoplane.report.noisy_plates import NoisyPlates

ERRORS = (
    "± is one standard error of the estimate for this one trained network: the points at which densities were "
    "evaluated, the inputs that were drawn, the samples that were propagated, and what their finite number may still "
    "hide after its first order is removed, which no repetition averages away: for that the number is enclosed by "
    "bounds that hold whatever the number of samples is (lower and upper in results.csv, with two errors by chance on "
    "either side), and the distance to the farther one is taken over √3. It says nothing about retraining: another "
    "seed gives another network, with other numbers."
)


#: files with tables that a run's folder may hold, and what they are called
TABLES = {
    "results": "All numbers, of every epoch",
    "differences": "What each layer lost from its peak to the end",
    "truths": "Estimates beside I(X;T) by quadrature",
    "history": "Losses and accuracies through training",
}


def write(contents: NoisyContents, folder: Path) -> Path:
    """Returns the path of the page, having written it and its figures.

    Every file is written under a temporary name and renamed, the page last, so that a page that can be opened is
    whole. The same contents give the same bytes.

    Args:
        contents: What to show; anything but its title may be missing.
        folder: Where to write `report.html` and `figures/`; made if need be. Tables that lie there are linked.
    """
    return publish.publish(folder, contents, tuple(TABLES), lambda *found: _render(contents, *found))


def _render(contents: NoisyContents, files: Sequence[str], drawer: Drawer) -> str:
    """Returns the page, its figures put away, given the names of the tables that lie beside it."""
    numbers, found = NoisyNumbers(contents.rows, contents.networks), losses(contents.differences)
    plates = NoisyPlates(contents, numbers, drawer)
    shown = [kind for kind in ("flow", "information", "binned-entropy") if numbers.has(kind)]
    meanings = [(NOISY_QUANTITIES[kind].name, NOISY_QUANTITIES[kind].meaning) for kind in shown]
    meanings += [each.fall for each in NOISY_QUANTITIES.values() if each.fall and found]
    accuracy = NOISY_QUANTITIES["accuracy"]
    meanings += [(accuracy.name, accuracy.meaning)] * numbers.has("accuracy")
    return publish.render(
        "noisy.html.j2",
        contents=contents,
        palette=plates.palette,
        opening=noisy_words.opening(contents, numbers, found),
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
        table=noisy_tables.numbers(contents, numbers, found),
        files={name: TABLES[name] for name in files},
        meanings=meanings,
        errors=ERRORS if numbers.has("flow") else "",
        truths=tables.truths(contents.truth),
    )
