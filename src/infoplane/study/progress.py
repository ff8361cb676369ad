"""What a run shows while it works: bars on a terminal, a plain line every few seconds elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

#: seconds between two plain lines
PLAIN_EVERY = 5.0


class Display:
    """Shows which cells run, their current nats and the time left.

    Args:
        total: Number of cells to run.
        quiet: Show nothing.
    """

    def __init__(self, total: int, *, quiet: bool = False) -> None:
        self.total, self.done, self.quiet = total, 0, quiet
        self.started = time.monotonic()
        self.cells: dict[str, tuple[float, str]] = {}  # name -> (start, last state in words)
        self.last_line = self.started
        self.bars: Progress | None = None
        self.tasks: dict[str, TaskID] = {}
        if not quiet and sys.stderr.isatty():
            self.bars = Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                TextColumn("{task.fields[state]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self.overall = self.bars.add_task("all parts", total=total, state="")

    def __enter__(self) -> "Display":
        if self.total and not self.quiet:
            print(f"{self.total} parts to compute", file=sys.stderr)
        if self.bars is not None:
            self.bars.start()
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self.bars is not None:
            self.bars.stop()

    def start(self, cell: str) -> None:
        """A cell began."""
        self.cells[cell] = (time.monotonic(), "")
        if self.bars is not None:
            self.tasks[cell] = self.bars.add_task(_short(cell), total=1, state="")

    def progress(self, cell: str, done: int, total: int, nats: float | None) -> None:
        """A cell got on."""
        start, _ = self.cells.get(cell, (time.monotonic(), ""))
        left = (time.monotonic() - start) * (total - done) / max(done, 1)
        state = ("" if nats is None else f"{nats:.2f} nats, ") + f"{left:.0f} s left"
        self.cells[cell] = (start, f"{done}/{total}, {state}")
        if self.bars is not None:
            self.bars.update(self.tasks[cell], completed=done, total=total, state=state)
        self._line()

    def finish(self, cell: str, *, failed: str | None = None) -> None:
        """A cell ended."""
        self.done += 1
        self.cells.pop(cell, None)
        if self.bars is not None:
            task = self.tasks.pop(cell, None)
            if task is not None:
                self.bars.remove_task(task)
            self.bars.update(self.overall, completed=self.done)
            if failed is not None:
                self.bars.console.print(f"failed: {_short(cell)}: {failed}", markup=False)
        elif failed is not None and not self.quiet:
            print(f"failed: {_short(cell)}: {failed}", file=sys.stderr)

    def _line(self) -> None:
        now = time.monotonic()
        if self.bars is not None or self.quiet or now - self.last_line < PLAIN_EVERY:
            return
        self.last_line = now
        running = "; ".join(f"{_short(cell)} {state}" for cell, (_, state) in self.cells.items() if state)
        print(
            f"[{now - self.started:4.0f} s] {self.done}/{self.total} parts done; {running}", file=sys.stderr, flush=True
        )


def _short(cell: str) -> str:
    """The cell's name without its hash."""
    return cell.rpartition("-")[0].replace("-", " ")
