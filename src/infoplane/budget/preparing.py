"""A budget, and how much of it goes by before the first part of a measurement: no more than a share."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from infoplane.capture.patience import asking
from infoplane.errors import UsageError, brief, words

#: share of a time budget that may be gone before the first part begins: what is left then buys nothing worth having
SHARE = 0.5

#: fewest updates of a fit, whatever the budget
LEAST_UPDATES = 50
#: most updates of a fit that may be asked for, as in a study
MOST_UPDATES = 10**8
#: longest time that may be given
MOST_HOURS = 10_000


def parse_budget(budget: str | int) -> tuple[float | None, int | None]:
    """Returns (seconds, None) for a time like "10m", (None, updates) for a number of updates."""
    legal = "a time such as 90s, 10m or 2h, or a whole number of updates per fit"
    if isinstance(budget, str) and re.fullmatch(r"\s*[0-9]{1,12}\s*", budget):
        budget = int(budget)
    if isinstance(budget, int) and not isinstance(budget, bool) and 1 <= budget <= MOST_UPDATES:
        return None, budget
    match = re.fullmatch(r"\s*([0-9]{1,12}(?:\.[0-9]+)?)\s*(s|m|min|h)\s*", budget) if isinstance(budget, str) else None
    if match is None or float(match[1]) <= 0:
        raise UsageError("cannot read the budget", received=brief(budget), legal=legal)
    seconds = float(match[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[match[2]]
    if seconds > 3600 * MOST_HOURS:
        raise UsageError("the budget is too long", received=brief(budget), legal=f"at most {MOST_HOURS:,} h")
    return seconds, None


class Preparing:
    """The time since a measurement was called for, of which its budget lets no more than a share go by unused.

    Looking at the network, counting and timing take longer the larger the network and the images are and the more the
    machine has to do. None of it can be told beforehand, so the clock is looked at in between: before every run of the
    network, and whenever something was counted or timed.

    Args:
        budget: As the user gave it; a number of updates sets no limit.
        ways_out: What makes a measurement shorter, as advice.
        begun: When it was called for; default: now.
        clock: Seconds, from any moment on.
    """

    def __init__(
        self,
        budget: str | int,
        ways_out: str = "",
        *,
        begun: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.budget, self.ways_out, self.clock = budget, ways_out, clock
        self.seconds, self.updates = parse_budget(budget)
        self.begun = clock() if begun is None else begun

    @property
    def spent(self) -> float:
        """Seconds since the call."""
        return self.clock() - self.begun

    def check(self) -> None:
        """Raises UsageError where too much of the budget is gone."""
        if self.seconds is not None and (spent := self.spent) > SHARE * self.seconds:
            raise UsageError(
                "the budget is too short for this",
                received=f"{self.budget}, of which {words(spent)} went by with looking at the network and counting",
                legal=f"more than {words(spent / SHARE)}, or less to do",
                mend=self.ways_out,
            )

    def too_short(self, seconds: float) -> UsageError:
        """Returns the error for a budget of which the least that could be measured takes so many seconds."""
        least = f"even one refit of {LEAST_UPDATES} updates"
        return UsageError(
            "the budget is too short for this",
            received=self.budget,
            legal=f"at least about {words(seconds)}, which {least} takes, or less to do",
            mend=self.ways_out,
        )

    @contextmanager
    def limited(self) -> Iterator[None]:
        """While active, the network runs only while there is time, which is also looked at in the end."""
        with asking(self.check):
            yield
        self.check()
