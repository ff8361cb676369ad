"""While a measurement runs: what the parts that are done say of the time left, and what is left out for want of it."""

import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from infoplane.budget.sizes import PAGE, Forecast, longest_of, most_updates, shorter
from infoplane.engine.cell import Cell
from infoplane.engine.plan import Plan
from infoplane.measurements import KINDS
from infoplane.measurements.candidates import AUTO
from infoplane.study.spec import StudySpec

#: how a note begins of what was left out while a measurement ran
LEFT_OUT = "Left out as time ran short: "
#: share of a budget by which the forecast may exceed it before anything is left out
SLACK = 0.1
#: relative change of the number of updates that is worth making
WORTHWHILE = 0.15


class Pace:
    """Keeps a measurement near its time: whenever a part is done, it looks at what is left to do.

    Fits that are compared must have had the same number of updates. So that number is settled by what their common
    starting points took, and stays once one of them has begun. From then on only what nothing is compared with
    becomes less: samples, the MSE inverter, whole refits from the last on. What was decided is kept in the run's
    folder, where the same call finds it again.

    Args:
        spec: The study as it begins.
        forecast: What was expected of this machine.
        seconds: From now until it should be done.
        clock: Seconds, from any moment on.
    """

    def __init__(
        self,
        spec: StudySpec,
        forecast: Forecast,
        seconds: float,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec, self.forecast, self.quiet, self.clock = spec, forecast, quiet, clock
        self.budget, self.end = seconds, clock() + seconds - PAGE * min(1.0, seconds / 60)

    @staticmethod
    def order(cells: Iterable[Cell]) -> list[Cell]:
        """The cells with those first that fits need, their starts among them: these say how fast the machine is."""
        cells = list(cells)
        first = {need for cell in cells if KINDS[cell.kind].compared for need in cell.needs.values()}
        for cell in reversed(cells):  # each comes after those that it needs
            first |= {*cell.needs.values()} if cell.name in first else set()
        return sorted(cells, key=lambda cell: cell.name not in first)

    def revised(
        self, stored: Callable[[str], bool], took: Mapping[str, float], running: Mapping[str, float], plan: Plan
    ) -> tuple[StudySpec, Plan] | None:
        """Returns the study and the plan that go on from here, or None where nothing changes.

        Args:
            stored: Whether a cell is done.
            took: Name -> seconds of the cells that this call has done.
            running: Name -> seconds since it began.
        """
        cells = plan.cells
        timed = [cells[name] for name in took if name in cells and KINDS[cells[name].kind].timed]
        if not timed:
            return None
        found = sum(took[cell.name] for cell in timed) / sum(self.forecast.seconds(cell) for cell in timed)
        now = replace(self.forecast, slowness=self.forecast.slowness * found)
        begun = [cell for cell in cells.values() if cell.name in running or stored(cell.name)]
        starts = {cell.needs["start"] for cell in cells.values() if "start" in cell.needs}

        def rest(spec: StudySpec) -> float:
            left = [cell for cell in now.plan(spec).cells.values() if not stored(cell.name)]
            held = {name: now.seconds(cells[name]) - since for name, since in running.items() if name in cells}
            return now.rest(
                [cell for cell in left if cell.name not in running],
                {name: max(seconds, 0.5) for name, seconds in held.items()},
            )

        spec, left_out, seconds = self.spec, [], self.end - self.clock()
        settled = any(KINDS[cell.kind].compared and cell.name not in starts for cell in begun)
        if spec.needs_densities and not settled:
            spec = self._settled(spec, rest, seconds)
        kinds = frozenset(cell.kind for cell in begun)
        while rest(spec) > seconds + SLACK * self.budget and (step := shorter(spec, kinds)) is not None:
            spec = step[0]
            left_out.append(step[1])
        if spec is self.spec:
            return None
        if left_out:
            spec = spec.model_copy(update={"note": _noted(spec, left_out)})
            if not self.quiet:
                print(f"{LEFT_OUT}{', '.join(left_out)}.", file=sys.stderr)
        self.spec = spec
        return spec, now.plan(spec)

    def _settled(self, spec: StudySpec, rest: Callable[[StudySpec], float], seconds: float) -> StudySpec:
        """The study with the number of updates that its fits have time for, now that their starts are timed."""
        base, old = spec.fit.base, spec.fit.updates
        trial = spec.fit.trial if spec.density.kind == AUTO else spec.fit.trial_updates

        def with_updates(updates: int) -> StudySpec:
            # The candidates and the starting points are there or begun: they stay as they are.
            begun = {"base_updates": base or None, "trial_updates": trial}
            fit = spec.fit.model_copy(update={"updates": updates, **begun})
            reconstruction = spec.reconstruction
            if updates < reconstruction.updates:
                reconstruction = reconstruction.model_copy(update={"updates": updates})
            return spec.model_copy(update={"fit": fit, "reconstruction": reconstruction})

        updates = most_updates(lambda n: rest(with_updates(n)), seconds, longest_of(spec, self.forecast.costs))
        if abs(updates - old) <= WORTHWHILE * old:
            return spec
        said = f"{updates} updates per fit instead of {old}, as the first of them took"
        if not self.quiet:
            print(said, file=sys.stderr)
        note = (spec.note or "").replace(f"bought {old} updates per fit", f"bought {updates} updates per fit")
        return with_updates(updates).model_copy(update={"note": note or None})


def _noted(spec: StudySpec, left_out: list[str]) -> str:
    """The note of a study from which more was left out, as it stands then."""
    bought, _, before = (spec.note or "").partition(LEFT_OUT)
    out = [*filter(None, before.removesuffix(".").split(", ")), *left_out]
    # Fewer samples are named once, and not at all where there are none.
    fewer = [each for each in out if each.startswith("all but ")]
    out = [each for each in out if each not in fewer or (each == fewer[-1] and "samples" not in out)]
    if fewer or "samples" in out:
        bought = re.sub(r", and \d+ samples for each of \d+ images", "", bought)
    return f"{bought.strip()} {LEFT_OUT}{', '.join(out)}.".strip()
