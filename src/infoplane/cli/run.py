"""infoplane run STUDY"""

from pathlib import Path
from typing import Any

from infoplane.cli.report import report
from infoplane.errors import UsageError
from infoplane.study.base import Study
from infoplane.study.execute import execute
from infoplane.study.load import load_study, parse_value
from infoplane.study.tensorboard import TensorBoard


def asked_study(study: str, scale: str | None, settings: list[str], *, seed: int | None, refits: int | None) -> Study:
    """Returns the study that the words of a command ask for."""
    changes: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise UsageError("cannot read --set", received=repr(setting), legal="key=value, e.g. fit.updates=100")
        changes[key] = parse_value(value)
    if seed is not None:
        changes["seed"] = seed
    if refits is not None:
        changes["fit.refits"] = refits
    return load_study(study, changes, scale=scale)


def run(
    spec: Study, out: Path | None, *, device: str, workers: int | None, engine: str, tensorboard: bool, quiet: bool
) -> int:
    """Runs a study, writes its page, prints its table; exit code 1 if a part of it failed."""
    watchers = [TensorBoard()] if tensorboard else []
    folder = out or Path("runs") / (spec.name if spec.scale is None else f"{spec.name}-{spec.scale}")
    execute(spec, folder, device=device, workers=workers, engine=engine, quiet=quiet, watchers=watchers)
    return report(folder)
