"""infoplane studies"""

from collections import defaultdict
from importlib import resources

from infoplane.cli.plan import known_speeds
from infoplane.cli.tables import print_rows
from infoplane.data import catalogue
from infoplane.engine.devices import default_workers, pick_device
from infoplane.engine.schedule import finished
from infoplane.errors import UsageError, words
from infoplane.measurements.counting import Machine
from infoplane.study.base import Study
from infoplane.study.families import FAMILIES
from infoplane.study.forecast import seconds_of, work_of
from infoplane.study.load import load_study, named_studies, scales_of


def studies(device: str, *, time: bool) -> int:
    """Prints the named studies, at every scale, and which of their data are not here.

    Args:
        time: Also about how long each takes here, which takes a while to find out.
    """
    where = pick_device(device)
    machine = known_speeds(where).machine if time else None
    rows = [("study", "scale", "figure", *(["time here"] if time else []), "what it shows")]
    lacking: dict[str, list[str]] = defaultdict(list)
    for name in named_studies():
        for scale in scales_of(name) or [None]:
            spec = load_study(name, scale=scale)
            gone = spec.data_name in catalogue.BY_NAME and catalogue.locate(spec.data_name) is None
            if gone and name not in lacking[spec.data_name]:
                lacking[spec.data_name].append(name)
            taken = [] if machine is None else [_time(name, scale, spec, machine, max(1, default_workers(where)))]
            rows.append((name, scale or "-", spec.figure or "-", *taken, spec.title))
    print_rows(rows)
    print("\ninfoplane run STUDY --scale SCALE runs one; infoplane plan STUDY --scale SCALE says what it would do")
    print(f"a study is a file, to be copied and changed: {resources.files('infoplane') / 'studies'}")
    for name, needed in lacking.items():
        entry = catalogue.BY_NAME[name]
        ways = [f"infoplane data --download {name}" if entry.remotes else f"infoplane data says where {name} may lie"]
        if others := catalogue.stand_ins(entry):
            ways.insert(0, f"--set data.name={others[0]} takes {others[0]}, which is here in the same layout")
        print(f"data missing: {name}, of {', '.join(needed)}: {', or '.join(ways)}")
    return 0


def _time(name: str, scale: str | None, spec: Study, machine: Machine, workers: int) -> str:
    """The time of a study here; of one whose data are missing that with what is here in their place."""
    try:
        return _expected(spec, machine, workers)
    except UsageError:
        entry = catalogue.BY_NAME.get(spec.data_name)
        for other in [] if entry is None else catalogue.stand_ins(entry):
            try:
                instead = load_study(name, {"data.name": other}, scale=scale)
                return f"{_expected(instead, machine, workers)} ({other})"
            except UsageError:
                continue  # too few images, or another shape
        return "data missing"  # which the lines below the table speak of


def _expected(spec: Study, machine: Machine, workers: int) -> str:
    family = FAMILIES[spec.kind]
    plan = family.plan(spec)
    seconds = seconds_of(work_of(plan, family.costs(spec)), machine)
    return words(finished(plan.cells.values(), seconds, workers))
