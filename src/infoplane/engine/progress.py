"""What a run shows while it works: bars on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: seconds between two plain lines
PLAIN_EVERY = 5.0


@dataclass
class _Running:
    """A cell that runs: its progress, and when and where it was first heard of, so that start-up counts for nothing."""

    first: tuple[float, int] | None = None
    done: int = 0
    total: int = 1
    nats: float | None = None
    started: float = field(default_factory=time.monotonic)

    def words(self) -> str:
        now = time.monotonic()
        if self.first is None:
            return f"{now - self.started:.0f} s"
        nats = "" if self.nats is None else f", {self.nats:.2f} nats"
        if self.done >= self.total:
            return f"{self.done}/{self.total}{nats}, scoring"
        since, already = self.first
        if self.done == already:
            return f"{self.done}/{self.total}{nats}"
        left = (now - since) * (self.total - self.done) / (self.done - already)
        return f"{self.done}/{self.total}{nats}, {left:.0f} s left"


class Display:
    """Shows which cells run, their current nats, and the time left for each and for all.

    Args:
        weights: Cell to run -> about how long it takes, in any unit.
        stored: How many parts there are beside these, which are not computed again.
        quiet: Show nothing.
    """

    def __init__(self, weights: Mapping[str, float], *, stored: int = 0, quiet: bool = False) -> None:
        self.weights, self.stored, self.quiet = dict(weights), stored, quiet
        self.done, self.finished, self.parts = 0, 0.0, len(self.weights)
        self.started = self.last_line = time.monotonic()
        self.cells: dict[str, _Running] = {}
        self.bars: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        if not quiet and sys.stderr.isatty():
            said = TextColumn("{task.description:<28}"), BarColumn(), TextColumn("{task.fields[state]}")
            self.bars = Progress(*said, TimeElapsedColumn(), console=Console(stderr=True), transient=True)
            self.overall = self.bars.add_task("all parts", total=sum(self.weights.values()), state="")

    def __enter__(self) -> "Display":
        if len(self.weights) > 1 and not self.quiet:
            of = f" of {len(self.weights) + self.stored}" if self.stored else ""
            print(f"{len(self.weights)}{of} parts to compute", file=sys.stderr)
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.bars is not None:
            self.bars.stop()

    def start(self, cell: str) -> None:
        """A cell began."""
        self.cells[cell] = _Running()
        if self.bars is not None:
            self.tasks[cell] = self.bars.add_task(_short(cell), total=1, state="")

    def progress(self, cell: str, done: int, total: int, nats: float | None) -> None:
        """A cell got on; `nats` is its current held-out loss, where it has one."""
        running = self.cells.setdefault(cell, _Running())
        if running.first is None:
            running.first = (time.monotonic(), done)
        running.done, running.total, running.nats = done, total, nats
        self.tick()

    def finish(self, cell: str, *, failed: str | None = None) -> None:
        """A cell ended, or will never begin."""
        self.done += 1
        self.finished += self.weights.get(cell, 0.0)
        self.cells.pop(cell, None)
        task = self.tasks.pop(cell, None)
        if self.bars is not None and task is not None:
            self.bars.remove_task(task)
        if failed is not None and not self.quiet:
            line = f"failed: {_short(cell)}: {failed}"
            if self.bars is not None:
                self.bars.console.print(line, markup=False)
            else:
                print(line, file=sys.stderr)
        self.tick()

    def replan(self, weights: Mapping[str, float]) -> None:
        """Other cells than before are still to run: name -> about how long each takes."""
        begun = {cell: self.weights.get(cell, 0.0) for cell in self.cells}
        # What is done counts as it did, in one piece.
        self.weights = {"": self.finished, **begun, **weights}
        self.parts = self.done + len(begun) + len(weights)
        if self.bars is not None:
            self.bars.update(self.overall, total=sum(self.weights.values()))
        self.tick()

    def tick(self) -> None:
        """Brings what is shown up to date."""
        if self.bars is not None:
            for cell, task in self.tasks.items():
                running = self.cells[cell]
                self.bars.update(task, completed=running.done, total=running.total, state=running.words())
            state = f"{self.done}/{self.parts}{self._left()}"
            self.bars.update(self.overall, completed=self._work(), state=state)
            return
        now = time.monotonic()
        if self.quiet or now - self.last_line < PLAIN_EVERY:
            return
        self.last_line = now
        running = "; ".join(f"{_short(cell)} {state.words()}" for cell, state in self.cells.items())
        head = f"[{now - self.started:4.0f} s] {self.done}/{self.parts} parts done{self._left()}"
        print(f"{head}; {running}", file=sys.stderr, flush=True)

    def _work(self) -> float:
        """How much has been done, in the weights' unit."""
        part = sum(self.weights.get(cell, 0.0) * r.done / max(r.total, 1) for cell, r in self.cells.items())
        return self.finished + part

    def _left(self) -> str:
        """The time left for everything, in words; nothing before a tenth is done."""
        total, work = sum(self.weights.values()), self._work()
        if work < 0.1 * total:
            return ""
        seconds = max(0.0, (time.monotonic() - self.started) * (total - work) / work)
        return f", about {seconds:.0f} s left" if seconds < 120 else f", about {seconds / 60:.0f} min left"


def _short(cell: str) -> str:
    """The cell's name without its hash."""
    return cell.rpartition("-")[0].replace("-", " ")
