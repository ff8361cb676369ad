"""A watcher that shows a run in TensorBoard."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from infoplane.engine.cell import Cell
from infoplane.engine.plan import Plan
from infoplane.engine.store import Store
from infoplane.engine.watch import Watcher
from infoplane.errors import UsageError
from infoplane.measurements import KINDS


class TensorBoard(Watcher):
    """Writes scalars and sample grids for TensorBoard into the run's folder, under `tensorboard/`.

    While a density trains, its held-out loss; once it is fitted, its whole curve (training, held-out, averaged
    weights, gradient norm) against updates; once samples are drawn, a grid with one row per pictured image: the
    image, then its samples.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError(
                "TensorBoard is not installed", received="--tensorboard", mend="pip install 'infoplane[tensorboard]'"
            ) from error
        self._make = SummaryWriter

    def begin(self, folder: Path) -> None:
        self._writer = self._make(str(folder / "tensorboard"))
        self._store, self._plan = Store(folder / "cells"), Plan.load(folder)
        self._last: dict[str, float] = {}

    def event(self, event: Mapping[str, Any]) -> None:
        cell = self._plan.cells.get(event.get("cell", ""))
        if cell is None:
            return
        if event["event"] == "progress" and event["nats"] is not None and self._last.get(cell.name) != event["nats"]:
            self._last[cell.name] = event["nats"]  # it changes only where it is evaluated
            self._writer.add_scalar(f"{cell.label}/held-out nats, live", event["nats"], event["done"])
        elif event["event"] == "done":
            self._result(cell)
        self._writer.flush()

    def end(self) -> None:
        self._writer.close()

    def _result(self, cell: Cell) -> None:
        stored = self._store.load(cell.name)
        curve = stored.values.get("curve")
        names = {
            "train": "training",
            "heldout": "held-out",
            "heldout_ema": "held-out, averaged",
            "gradient": "gradient",
        }
        for key, name in names.items():
            for update, value in zip(curve["updates"], curve[key], strict=True) if curve else ():
                self._writer.add_scalar(f"{cell.label}/{name}", value, update)
        if shown := KINDS[cell.kind].shown:
            data = self._store.load(cell.needs["data"])
            samples = stored.array(shown)
            chosen = data.array("evaluation")[: len(samples)]
            images = None if cell.params["layer"] is None else data.array("images")[chosen]
            self._writer.add_image(f"{cell.label}/grid", sample_grid(samples, images, data.values["levels"]))


def sample_grid(samples: np.ndarray, images: np.ndarray | None, levels: int) -> np.ndarray:
    """Returns one picture, uint8 (C, rows, columns): per image a row, the image first, then its samples.

    Args:
        samples: uint8 (P, S, C, H, W).
        images: uint8 (P, C, H, W), or None where the samples belong to no image.
        levels: Number of values a pixel takes; stretched to 0 … 255.
    """
    tiles = samples if images is None else np.concatenate((images[:, None], samples), axis=1)
    framed = np.pad(tiles, ((0, 0), (0, 0), (0, 0), (0, 1), (0, 1)))
    count, each, channels, rows, columns = framed.shape
    grid = framed.transpose(2, 0, 3, 1, 4).reshape(channels, count * rows, each * columns)
    return (grid.astype(np.float32) * (255 / (levels - 1))).round().astype(np.uint8)
