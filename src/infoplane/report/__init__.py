"""The page and the figures of a study: `write(contents, folder)` makes `report.html` and `figures/` there."""

from infoplane.calls import public
from infoplane.report.contents import Curve, Layer, LayerPictures, ReportContents
from infoplane.report.page import write

__all__ = ["Curve", "Layer", "LayerPictures", "ReportContents", "write"]

public(globals(), __all__)
