"""The speeds of a machine, from timings made by a machine of known speed."""

import numpy as np
import pytest

from infoplane.measurements.counting import Machine, Work
from infoplane.study.bench import Timing, propagation, speeds

TRUE = Machine(1e-5, 2e-11, 3e-10, 4e-6, 9e-7)


def timing(work: Work, seconds: float | None = None) -> Timing:
    return Timing(propagation(1, 1.0), TRUE.seconds(work) if seconds is None else seconds, 0.0, work)


def jobs() -> list[Work]:
    rng = np.random.default_rng(0)
    passes = [Work(*(10 ** rng.uniform((2, 7, 5), (4, 11, 9)))) for _ in range(8)]
    drawing = [Work(0, *(10 ** rng.uniform((6, 4, 2), (9, 8, 5)))) for _ in range(6)]
    return [*passes, *drawing, Work(visits=3e4)]


def test_the_speeds_are_found_again():
    found = speeds([timing(work) for work in jobs()])
    for name, speed in vars(TRUE).items():
        assert getattr(found, name) == pytest.approx(speed, rel=1e-6), name


def test_small_jobs_weigh_as_much_as_large_ones():
    # Two jobs a million times apart that contradict one another: neither is believed more.
    found = speeds([timing(Work(visits=1), 1.0), timing(Work(visits=1e6), 2e6)])
    assert found.per_visit == pytest.approx((1 + 1 / 2) / (1 + 1 / 4))


def test_no_speed_is_negative_whatever_the_clock_says():
    rng = np.random.default_rng(1)
    found = speeds([timing(work, TRUE.seconds(work) * rng.uniform(0.2, 5)) for work in jobs()])
    assert min(vars(found).values()) >= 0


def test_what_was_not_timed_is_not_known():
    found = speeds([timing(work) for work in jobs() if not work.calls])
    assert found.per_call == 0
    assert found.per_visit == pytest.approx(TRUE.per_visit)
    assert speeds([]) == Machine()
