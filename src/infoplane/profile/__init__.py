"""Measure one's own network: `measure(model, images, labels, layers=[…])` and the profile it returns."""

from infoplane.calls import public
from infoplane.profile.inputs import LEAST_IMAGES, suggest_density
from infoplane.profile.measuring import DEFAULT_REFITS, measure
from infoplane.profile.profile import Profile

__all__ = ["DEFAULT_REFITS", "LEAST_IMAGES", "Profile", "measure", "suggest_density"]

public(globals(), __all__, methods=True)
