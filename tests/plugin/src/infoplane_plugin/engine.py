"""An engine that runs each cell at once, in the process that asks for it."""

from collections.abc import Iterator
from pathlib import Path

import torch

from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.engine.worker import Event, run_cell, runner


class Serial:
    """One cell at a time."""

    def __init__(self, folder: Path, device: torch.device, workers: int, lock: int | None, run: str) -> None:
        self._folder, self._device, self._run = folder, device, runner(run)
        self._heard: list[Event] = []
        self.closed = False

    @property
    def free(self) -> int:
        return 0 if self._heard or self.closed else 1

    def start(self, cell: str) -> None:
        cells = Plan.load(self._folder).cells
        run_cell(cells[cell], self._run, Store(self._folder / "cells"), self._device, self._heard.append)

    def events(self, timeout: float) -> Iterator[Event]:
        heard, self._heard = self._heard, []
        yield from ({**event, "process": "serial"} for event in heard)

    def close(self) -> None:
        self.closed = True
