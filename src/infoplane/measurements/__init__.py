"""What is measured, a file for each thing: the kinds of cells that make it, and what they cost."""

from infoplane.engine.cell import Cell
from infoplane.engine.kind import Kind
from infoplane.measurements.clustering import BINNED, Clustering
from infoplane.measurements.dataset import Data
from infoplane.measurements.fits import (
    CONTRASTIVE,
    CROSS_ENTROPY,
    GAP,
    NCE,
    USABLE,
    Candidate,
    Choice,
    Density,
    Trunk,
)
from infoplane.measurements.flow import BY_QUADRATURE, FLOW, Flow, Quadrature, Sweep
from infoplane.measurements.inputs import ACCURACY, Capture, Subject
from infoplane.measurements.label import FORWARD, LABEL, OWN, Forward, Own, Probe
from infoplane.measurements.noisy import FALL, NETWORK_ACCURACY, Descent, ProblemPoints
from infoplane.measurements.pictures import MSE, SAMPLE_ACCURACY, SAMPLE_VARIANCE, Judge, Mse, Samples
from infoplane.measurements.quantity import Chart, Quantity
from infoplane.measurements.truth import EXCESS, Truth

_ALL: tuple[type[Kind], ...] = (
    *(Data, Subject, Capture),
    *(Candidate, Choice, Trunk, Density),
    *(Mse, Samples, Judge),
    *(Probe, Forward, Own),
    Truth,
    *(ProblemPoints, Descent),
    *(Flow, Quadrature, Sweep),
    Clustering,
)
#: how a kind of cell is called -> what it is
KINDS: dict[str, type[Kind]] = {each.kind: each for each in _ALL}


def with_chart(chart: Chart) -> list[str]:
    """Returns the kinds of numbers that have a chart, in the order of their columns."""
    return [kind for kind, each in QUANTITIES.items() if chart in each.charts]


def settings_of(cell: Cell) -> Kind:
    """Returns the kind of a cell, with its settings."""
    return KINDS[cell.kind](**cell.params)


#: kind -> the numbers of a study of inversion, in the order of their columns
QUANTITIES: dict[str, Quantity] = {
    each.kind: each
    for each in (
        *(NCE, USABLE, CONTRASTIVE, LABEL, FORWARD, MSE, SAMPLE_VARIANCE, SAMPLE_ACCURACY, GAP, EXCESS),
        *(CROSS_ENTROPY, OWN, ACCURACY),
    )
}
#: kind -> those of a study of noisy networks
NOISY_QUANTITIES: dict[str, Quantity] = {
    each.kind: each for each in (FLOW, BY_QUADRATURE, BINNED, FALL, NETWORK_ACCURACY)
}
