"""infoplane measure MODEL --data … --layers … --out DIR"""

from pathlib import Path
from typing import Any

from infoplane import data
from infoplane.cli.data import loader_options
from infoplane.cli.references import patterns, resolve, resolve_model
from infoplane.cli.report import show
from infoplane.cli.tables import key_values
from infoplane.errors import UsageError
from infoplane.information.label import Prior
from infoplane.profile import DEFAULT_REFITS
from infoplane.profile import measure as measure_model
from infoplane.report.build import load_run
from infoplane.study.tensorboard import TensorBoard


def measure_by_reference(
    model: str,
    source: str,
    options: list[str],
    groups: str | None,
    layers: list[str],
    out: Path,
    *,
    checkpoints: list[str],
    transform: str | None,
    read_as: list[str],
    prior: str | None,
    levels: int | None,
    refits: int | None,
    tensorboard: bool,
    **more: Any,
) -> int:
    """Measures a network by reference, writes the page, prints the table.

    Args:
        more: What `infoplane.measure` takes as it is given.
    """
    dataset = data.load({"name": source, **loader_options(options, groups)}, quiet=True)
    if levels is not None and levels < dataset.levels and dataset.levels != 256:
        raise UsageError("fewer levels than the data have", received=levels, legal=f"{dataset.levels} or more")
    measure_model(
        resolve_model(model),
        dataset,
        layers=layers,
        checkpoints=key_values(checkpoints, "the checkpoints", "NAME=FILE, e.g. 10=epoch10.pt"),
        levels=levels,
        transform=None if transform is None else resolve(transform, "transform"),
        read_as=patterns(read_as),
        prior=_probabilities(prior),
        refits=DEFAULT_REFITS if refits is None else refits,
        out=out,
        name=f"{model} on {dataset.name}",
        watchers=[TensorBoard()] if tensorboard else [],
        **more,
    )
    return show(load_run(out), out / "report.html")


def _probabilities(text: str | None) -> Prior | None:
    """Returns the classes' probabilities from what is written of them."""
    if text is None:
        return None
    if text == "uniform":
        return "uniform"
    try:
        return [float(each) for each in text.split(",")]
    except ValueError as error:
        legal = "uniform, or numbers of sum 1, e.g. 0.2,0.3,0.5"
        raise UsageError("cannot read the classes' probabilities", received=text, legal=legal) from error
