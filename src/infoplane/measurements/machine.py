"""How fast a machine is: what turns `Work` into time.

Time is modelled as a sum of the parts of the work, each times a speed ≥ 0; that of passes through networks as

    seconds = a · operations + b · floating-point operations + c · numbers written,

and likewise for drawing images pixel by pixel and for mixtures of Gaussians. `bench.py` times what the speeds are
found from.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from scipy.optimize import nnls

from infoplane.measurements.counting import Work

#: parts of a `Work` whose speeds are found together
_TOGETHER = (slice(0, 3), slice(3, 6), slice(6, 7), slice(7, 8), slice(8, 9))


@dataclass(frozen=True)
class Timing:
    """How long a job took.

    Attributes:
        what: What was done, e.g. "training".
        on: On what, e.g. "14×14×1, 16 filters, 2 layers, batch 16".
        unit: What is counted.
        amount: How many of them one job has.
        seconds: What one job takes; on a processor its own time, so that neighbours do not count.
        took: Seconds of the wall clock that it took to find out.
        work: What one job computes.
    """

    what: str
    on: str
    unit: str
    amount: int
    seconds: float
    took: float
    work: Work

    @property
    def rate(self) -> float:
        """Units per second."""
        return self.amount / self.seconds


@dataclass(frozen=True)
class Machine:
    """How long work takes, in seconds per unit of each part of a `Work`; one thread on a CPU."""

    per_operation: float = 0.0
    per_flop: float = 0.0
    per_written: float = 0.0
    per_call: float = 0.0
    per_product: float = 0.0
    per_moved: float = 0.0
    per_light: float = 0.0
    per_centre: float = 0.0
    per_visit: float = 0.0

    def seconds(self, work: Work) -> float:
        """Returns the time that this much work takes."""
        return sum(speed * amount for speed, amount in zip(astuple(self), astuple(work), strict=True))

    @classmethod
    def fitted(cls, timings: Sequence[Timing]) -> "Machine":
        """Returns the speeds that explain some timings best; those of which none of them says anything are 0."""
        speeds = np.zeros(len(fields(cls)))
        amounts = np.reshape([astuple(timing.work) for timing in timings], (len(timings), len(speeds)))
        seconds = np.array([timing.seconds for timing in timings])
        for part in _TOGETHER:
            used = amounts[:, part].any(1)
            if not used.any():
                continue
            # Relative errors count, so that the small jobs are as well fitted as the large ones.
            rows = amounts[used, part] / seconds[used, None]
            scale = rows.max(0)
            scale[scale == 0] = 1.0
            speeds[part] = nnls(rows / scale, np.ones(len(rows)))[0] / scale
        return cls(*speeds.tolist())


#: a machine as there are many (one core of a server of 2024), for forecasts that are not worth a measurement
TYPICAL = Machine(
    per_operation=1.3e-5,
    per_flop=1.4e-11,
    per_written=7e-10,
    per_call=2.7e-6,
    per_product=6e-12,
    per_moved=6e-10,
    per_light=6e-6,
    per_centre=5e-7,
    per_visit=1.7e-6,
)
