"""infoplane run STUDY"""

from pathlib import Path
from typing import Any

from infoplane.cli.report import show
from infoplane.errors import UsageError
from infoplane.report.build import build
from infoplane.study.execute import execute
from infoplane.study.spec import load_study, parse_value


def run(
    study: str,
    out: Path | None,
    settings: list[str],
    *,
    device: str,
    seed: int | None,
    refits: int | None,
    workers: int | None,
    quiet: bool,
) -> int:
    """Runs a study, writes its page, prints its table; exit code 1 if a part of it failed."""
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
    spec = load_study(study, changes)
    folder = out or Path("runs") / spec.name
    execute(spec, folder, device=device, workers=workers, quiet=quiet)
    return show(folder, build(folder))
