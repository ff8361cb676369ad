"""Which cells may run now: each once all that it needs is there, in the order in which they were given; and when the
last one would be done."""

import heapq
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from graphlib import TopologicalSorter

from infoplane.engine.cell import Cell

#: seconds that a worker process takes to start
START_UP = 4.0


class Schedule:
    """The cells that are still to run.

    Whatever happens to one cell, only those that need it are looked at.

    Attributes:
        skipped: Cells that will never run, since they need one that failed.

    Args:
        cells: In an order in which each comes after those it needs; of those that are ready the first goes first.
        stored: Whether a cell is there already.
        local: Whether a cell must run in the calling process.
        running: Cells that run at the moment.
        lost: Cells that failed, or were skipped.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        stored: Callable[[str], bool],
        local: Callable[[Cell], bool],
        *,
        running: Collection[str] = (),
        lost: Collection[str] = (),
    ) -> None:
        self.skipped: list[str] = []
        self._waiting: dict[str, Cell] = {}
        self._local, gone = local, set(lost)
        there = {*running, *gone}
        for cell in cells:
            if cell.name in there or stored(cell.name):
                continue
            if any(need in gone for need in cell.needs.values()):
                gone.add(cell.name)
                self.skipped.append(cell.name)
            else:
                self._waiting[cell.name] = cell
        self._place = {name: place for place, name in enumerate(self._waiting)}
        self._dependents: dict[str, list[str]] = {}
        self._graph: TopologicalSorter[str] = TopologicalSorter()
        for name, cell in self._waiting.items():
            # What nothing makes keeps a cell waiting for ever.
            needs = [need for need in cell.needs.values() if not stored(need)]
            self._graph.add(name, *needs)
            for need in needs:
                self._dependents.setdefault(need, []).append(name)
        self._graph.prepare()
        #: places of cells that are ready: those of any process, those of this one
        self._ready: tuple[list[int], list[int]] = ([], [])
        self._names = list(self._waiting)
        self._push()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def waiting(self) -> list[Cell]:
        """The cells that have not begun, in their order."""
        return list(self._waiting.values())

    def take(self, *, here: bool) -> Cell | None:
        """Returns the first cell that is ready and takes it out; None where none is.

        Args:
            here: Of those that must run in this process, or of the others.
        """
        ready = self._ready[here]
        while ready:
            cell = self._waiting.pop(self._names[heapq.heappop(ready)], None)
            if cell is not None:  # else it was skipped meanwhile
                return cell
        return None

    def done(self, name: str) -> None:
        """A cell's result is stored."""
        if name in self._dependents or name in self._place:
            self._graph.done(name)
            self._push()

    def lose(self, name: str) -> list[str]:
        """A cell failed: returns those that will never run for it."""
        lost, open_ends = [], [name]
        while open_ends:
            for dependent in self._dependents.get(open_ends.pop(), ()):
                if self._waiting.pop(dependent, None) is not None:
                    lost.append(dependent)
                    open_ends.append(dependent)
        lost.sort(key=self._place.__getitem__)
        self.skipped += lost
        return lost

    def _push(self) -> None:
        for name in self._graph.get_ready():
            cell = self._waiting.get(name)
            if cell is not None:
                heapq.heappush(self._ready[self._local(cell)], self._place[name])


def finished(
    cells: Iterable[Cell],
    seconds: Mapping[str, float],
    workers: int,
    *,
    running: Mapping[str, float] | None = None,
    start_up: float = START_UP,
) -> float:
    """Returns after how many seconds the last cell is done.

    Cells begin in their order, as soon as what they need is there and a worker is free.

    Args:
        cells: What is to be done; other cells that they need are there, or running.
        running: Name -> seconds until it is done, of cells that have begun; each has a worker.
        start_up: Seconds until the workers are ready.
    """
    done: dict[str, float] = dict(running or {})
    cells = list(cells)
    # More workers than parts have nothing to do.
    free = sorted([*done.values(), *[start_up] * max(0, min(workers, len(done) + len(cells)) - len(done))])
    for cell in cells:
        free.sort()
        start = max([free[0], *(done.get(need, 0.0) for need in cell.needs.values())])
        done[cell.name] = free[0] = start + seconds[cell.name]
    return max(done.values(), default=0.0)
