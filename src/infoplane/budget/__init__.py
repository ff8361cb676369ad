"""From a budget of time to the sizes of a measurement, before it begins and while it runs."""

from infoplane.budget.capacity import check_memory, time_updates
from infoplane.budget.pace import Pace
from infoplane.budget.preparing import Preparing, parse_budget
from infoplane.budget.sizes import Forecast, by_updates, check_least, least_seconds, within

__all__ = [
    "Forecast",
    "Pace",
    "Preparing",
    "by_updates",
    "check_least",
    "check_memory",
    "least_seconds",
    "parse_budget",
    "time_updates",
    "within",
]
