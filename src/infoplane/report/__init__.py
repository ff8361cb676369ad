"""The page and the figures of a study: `write(contents, folder)` makes `report.html` and `figures/` there."""

from infoplane.calls import public
from infoplane.report.inversion.contents import Layer, LayerPictures, ReportContents, TrainingCurve
from infoplane.report.inversion.sections import write

__all__ = ["Layer", "LayerPictures", "ReportContents", "TrainingCurve", "write"]

public(globals(), __all__)
