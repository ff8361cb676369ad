"""What is measured, a file for each thing: the kinds of cells that make it, and what they cost."""

from infoplane.engine.cell import Cell
from infoplane.engine.kind import Kind
from infoplane.measurements.clustering import Clustering
from infoplane.measurements.fits import Candidate, Choice, Density, Trunk
from infoplane.measurements.flow import Flow, Quadrature, Sweep
from infoplane.measurements.inputs import Capture, Data, Subject
from infoplane.measurements.label import Forward, Own, Probe
from infoplane.measurements.noisy import Descent, ProblemPoints
from infoplane.measurements.pictures import Judge, Mse, Samples
from infoplane.measurements.truth import Truth

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


def settings_of(cell: Cell) -> Kind:
    """Returns the kind of a cell, with its settings."""
    return KINDS[cell.kind](**cell.params)
