"""What is measured, a file for each thing: the kinds of cells that make it, how numbers come from them, and words.

A thing that is measured is a line of `_OWN`, or an entry point of another distribution in `infoplane.measurements`.
"""

from typing import Any, get_args

from infoplane.engine.cell import Cell
from infoplane.engine.kind import Kind
from infoplane.measurements.base import Chart, Measurement
from infoplane.measurements.clustering import BINNED
from infoplane.measurements.contrastive import CONTRASTIVE
from infoplane.measurements.dataset import Data
from infoplane.measurements.inputs import ACCURACY, Capture, Subject
from infoplane.measurements.label import FORWARD, LABEL, OWN
from infoplane.measurements.losses import GAP, LOSSES
from infoplane.measurements.nce import CROSS_ENTROPY, NCE, USABLE
from infoplane.measurements.noisy import NETWORK_ACCURACY, DescentCell, ProblemPoints
from infoplane.measurements.pictures import MSE, SAMPLE_ACCURACY, SAMPLE_VARIANCE
from infoplane.measurements.propagated import BY_QUADRATURE, PROPAGATED, SWEPT
from infoplane.measurements.truth import EXCESS
from infoplane.registry import Registry

#: in the order of columns and rows
_OWN: tuple[Measurement, ...] = (
    *(CROSS_ENTROPY, NCE, USABLE, CONTRASTIVE),
    *(LABEL, FORWARD, MSE, SAMPLE_ACCURACY, SAMPLE_VARIANCE),
    *(GAP, EXCESS, LOSSES, ACCURACY, OWN),
    *(PROPAGATED, BY_QUADRATURE, BINNED, SWEPT, NETWORK_ACCURACY),
)
#: what studies consist of, whatever is measured
_SUBJECTS: tuple[type[Kind], ...] = (Data, Subject, Capture, ProblemPoints, DescentCell)
#: how a kind of cell is called -> what it is
KINDS: dict[str, type[Kind]] = {
    each.kind: each for each in (*_SUBJECTS, *(cell for measured in _OWN for cell in measured.cells))
}
#: family of studies -> what its numbers may be compared across, and the charts that they may have
_FAMILIES = {"inversion": {"layers", "checkpoints", *get_args(Chart)}, "flow": {"rows", "tracks"}}


def _amiss(name: str, found: Measurement) -> str:
    """Why another distribution's measurement cannot be had: it would replace something, or no page shows it."""
    if found.kind != name:
        return f"the kind {found.kind!r}"
    taken = next((cell for cell in found.cells if KINDS.get(cell.kind, cell) is not cell), None)
    if taken is not None:
        return f"the kind of cell {taken.kind!r}, which {KINDS[taken.kind].__module__} has"
    unknown = {*found.charts, *found.across} - _FAMILIES.get(found.family, set())
    if unknown or found.family not in _FAMILIES:
        return f"the family {found.family!r}" + "".join(f" with {each!r}" for each in sorted(unknown))
    return ""


#: those of other distributions, by kind
_OFFERED = Registry[Measurement](
    "measurement",
    "infoplane.measurements",
    {},
    fits=lambda found: isinstance(found, Measurement),
    legal="a Measurement whose kind is the entry point's name, with kinds of cells of its own, as its family allows",
    taken={each.kind for each in _OWN},
    amiss=_amiss,
)
_ALL: list[Measurement] = list(_OWN)
for _, _found in _OFFERED.items():
    _ALL.append(_found)
    KINDS |= {cell.kind: cell for cell in _found.cells}

#: family of studies -> kind -> what may be measured there
MEASUREMENTS = {family: {each.kind: each for each in _ALL if each.family == family} for family in _FAMILIES}
QUANTITIES, NOISY_QUANTITIES = MEASUREMENTS["inversion"], MEASUREMENTS["flow"]


def asked_for() -> list[str]:
    """Returns the words that `measure` of a study may hold."""
    return list(dict.fromkeys(each.asked for each in QUANTITIES.values() if each.asked))


def obtainable(word: Any) -> Any:
    """Returns a word under `measure`; raises UsageError where another distribution offers what is called so, and it
    cannot be had."""
    if word in _OFFERED:
        _OFFERED.get(word)
    return word


def with_chart(chart: Chart) -> list[str]:
    """Returns the kinds of numbers that have a chart, in the order of their columns."""
    return [kind for kind, each in QUANTITIES.items() if chart in each.charts]


def as_kind(cell: Cell) -> Kind:
    """Returns the kind of a cell, with its settings."""
    return KINDS[cell.kind](**cell.params)
