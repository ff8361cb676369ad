"""From a budget of time to the sizes of a measurement, before it begins and while it runs."""

from infoplane.budget.pace import Pace
from infoplane.budget.sizes import Forecast, by_updates, check_least, check_memory, parse_budget, time_updates, within

__all__ = ["Forecast", "Pace", "by_updates", "check_least", "check_memory", "parse_budget", "time_updates", "within"]
