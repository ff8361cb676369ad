"""infoplane studies"""

from infoplane.cli.plan import known_speeds, print_rows
from infoplane.errors import UsageError
from infoplane.study.base import Study
from infoplane.study.cost import words
from infoplane.study.families import FAMILIES
from infoplane.study.forecast import expected
from infoplane.study.load import load_study, named_studies, scales_of
from infoplane.study.machine import Machine
from infoplane.study.run import default_workers, pick_device


def studies(device: str, *, time: bool) -> int:
    """Prints the named studies, at every scale.

    Args:
        time: Also about how long each takes here, which takes a while to find out.
    """
    where = pick_device(device)
    machine = known_speeds(where).machine if time else None
    rows = [("study", "scale", "figure", *(["time here"] if time else []), "what it shows")]
    for name in named_studies():
        for scale in scales_of(name) or [None]:
            spec = load_study(name, scale=scale)
            taken = [] if machine is None else [_time(spec, machine, max(1, default_workers(where)))]
            rows.append((name, scale or "-", spec.figure or "-", *taken, spec.title))
    print_rows(rows)
    print("\ninfoplane run STUDY --scale SCALE runs one; infoplane plan STUDY --scale SCALE says what it would do")
    return 0


def _time(spec: Study, machine: Machine, workers: int) -> str:
    try:
        family = FAMILIES[spec.kind]
        return words(expected(family.plan(spec), family.cost(spec), machine, workers))
    except UsageError:
        return "data missing"  # `infoplane data` says what to do about that
