"""What is measured, a file for each thing: the kinds of cells that make it, how numbers come from them, and words.

A thing that is measured is a line of `QUANTITIES` or `NOISY_QUANTITIES`, a kind of cell one of `KINDS`.
"""

from infoplane.engine.cell import Cell
from infoplane.engine.kind import Kind
from infoplane.measurements.base import Chart, Measurement
from infoplane.measurements.clustering import BINNED, Clustering
from infoplane.measurements.contrastive import CONTRASTIVE
from infoplane.measurements.dataset import Data
from infoplane.measurements.fits import Candidate, Choice, Density, Trunk
from infoplane.measurements.flow import Flow, Quadrature, Sweep
from infoplane.measurements.inputs import ACCURACY, Capture, Subject
from infoplane.measurements.label import FORWARD, LABEL, OWN, Forward, Own, Probe
from infoplane.measurements.losses import GAP, LOSSES
from infoplane.measurements.nce import CROSS_ENTROPY, NCE, USABLE
from infoplane.measurements.noisy import NETWORK_ACCURACY, Descent, ProblemPoints
from infoplane.measurements.pictures import MSE, SAMPLE_ACCURACY, SAMPLE_VARIANCE, Judge, Mse, Samples
from infoplane.measurements.propagated import BY_QUADRATURE, FLOW, SWEPT
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

#: kind -> what may be measured of a study of inversion, in the order of columns and rows
QUANTITIES: dict[str, Measurement] = {
    each.kind: each
    for each in (
        *(CROSS_ENTROPY, NCE, USABLE, CONTRASTIVE),
        *(LABEL, FORWARD, MSE, SAMPLE_ACCURACY, SAMPLE_VARIANCE),
        *(GAP, EXCESS, LOSSES, ACCURACY, OWN),
    )
}
#: the same of a study of noisy networks
NOISY_QUANTITIES: dict[str, Measurement] = {
    each.kind: each for each in (FLOW, BY_QUADRATURE, BINNED, SWEPT, NETWORK_ACCURACY)
}
#: family of studies -> these
MEASUREMENTS = {"inversion": QUANTITIES, "flow": NOISY_QUANTITIES}


def asked_for() -> list[str]:
    """Returns the words that `measure` of a study may hold."""
    return list(dict.fromkeys(each.asked for each in QUANTITIES.values() if each.asked))


def with_chart(chart: Chart) -> list[str]:
    """Returns the kinds of numbers that have a chart, in the order of their columns."""
    return [kind for kind, each in QUANTITIES.items() if chart in each.charts]


def settings_of(cell: Cell) -> Kind:
    """Returns the kind of a cell, with its settings."""
    return KINDS[cell.kind](**cell.params)
