"""The tables of a run as they are written: results.csv, and whatever lies beside it."""

import io
from pathlib import Path
from typing import Any

import polars as pl

from infoplane.estimate import Estimate
from infoplane.files import write_whole
from infoplane.study.base import Study

COLUMNS = {
    "study": pl.String,
    "layer": pl.String,
    "checkpoint": pl.String,
    "refit": pl.String,
    "kind": pl.String,
    "value": pl.Float64,
    "stderr": pl.Float64,
    "unit": pl.String,
    "direction": pl.String,
    "n": pl.Int64,
    "refits": pl.Int64,
    "flags": pl.String,
    "ceiling": pl.Float64,
    "dof": pl.Float64,
}


def tidy(study: Study, layer: str, checkpoint: str, refit: str, estimate: Estimate) -> dict[str, Any]:
    """Returns the row of an estimate; keys as `COLUMNS`."""
    where = {"study": study.name, "layer": layer, "checkpoint": checkpoint, "refit": refit}
    own = {name: getattr(estimate, name) for name in COLUMNS if name not in where}
    return {**where, **own, "flags": "; ".join(estimate.flags)}


def write_table(frame: pl.DataFrame, folder: Path, name: str) -> None:
    """Writes NAME.csv and NAME.parquet, each whole or not at all."""
    write_whole(folder / f"{name}.csv", frame.write_csv())
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    write_whole(folder / f"{name}.parquet", buffer.getvalue())
