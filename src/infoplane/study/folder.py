"""A run's folder: whether a run can be there, what study it is of, and making it."""

import errno
import json
import os
from contextlib import suppress
from pathlib import Path

import torch

from infoplane.engine.lock import LOCK_FILE
from infoplane.engine.plan import PLAN_FILE, Plan, read_plan
from infoplane.engine.store import TEMPORARY, is_full, room_for, write_whole
from infoplane.errors import UsageError, check_text
from infoplane.settings import shown
from infoplane.study.base import Study
from infoplane.study.load import read_study, study_of
from infoplane.study.origin import NOTHING_SAID, Origin

STUDY_FILE = "study.yaml"
#: no file that a run keeps in `cells` has a longer path from there on
_LONGEST = "x" * 200


def check_place(folder: Path) -> None:
    """Raises UsageError where no run can be: before anything is computed, and without making anything.

    The path is no text, it or what will be in it is too long for the system, something on the way is no folder or
    cannot be written, or the folder holds something that is no run.
    """
    check_text("the path of the output folder", str(folder))
    try:
        check_a_run(folder)
        with suppress(FileNotFoundError):
            (folder / "cells" / _LONGEST).lstat()  # raises for what is too long, and where what is above is no folder
        above = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not os.access(above, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unwritable(folder, error) from error


def check_folder(folder: Path, spec: Study, origin: Origin = NOTHING_SAID) -> None:
    """Raises UsageError if the folder holds another study's run, or something that is no run."""
    check_place(folder)
    try:
        if (folder / STUDY_FILE).exists() and (other := another(folder, spec, origin)) is not None:
            raise UsageError(
                "the output folder holds another study's run",
                received=f"{folder}: {other}",
                legal="a new folder, or a run of this study, which may grow by refits, layers or checkpoints",
                mend="choose another --out or delete it",
            )
    except OSError as error:
        raise unwritable(folder, error) from error


def check_a_run(folder: Path) -> None:
    """Raises UsageError if the folder holds something that is no run."""
    if (folder / STUDY_FILE).exists():
        return
    if folder.exists() and not folder.is_dir():
        raise UsageError("the output folder is a file, not a folder", received=folder, legal="a new or empty folder")
    if folder.exists() and not _only_begun(folder):
        raise UsageError(
            "the output folder is not empty and holds no run", received=folder, legal="a new or empty folder"
        )


def begun(folder: Path) -> Study:
    """Returns the study that the run in a folder is of, or raises UsageError where it cannot be read."""
    path = folder / STUDY_FILE
    return study_of(study_in(folder), str(path)) if _planned(folder) else read_study(path)


def origin_in(folder: Path) -> Origin:
    """Returns what the study's settings do not say of the run in a folder."""
    with read_plan(folder) as content:
        return Origin(**content["origin"])


def study_in(folder: Path) -> str:
    """Returns the study that the run in a folder is of, as YAML."""
    with read_plan(folder) as content:
        return content["study"]


def _planned(folder: Path) -> bool:
    return (folder / "cells" / PLAN_FILE).exists()


def on_machine(spec: Study, folder: Path | None, device: torch.device) -> Study:
    """Returns the study with what depends on the machine written out: decided once, as a run begins.

    Whoever goes on with a run, on whatever machine, takes what was decided then.

    Args:
        folder: The run's; None for a study that is not run.
    """
    there = None
    if folder is not None and (folder / STUDY_FILE).exists():
        with suppress(UsageError):  # what is wrong with that run is said by `check_folder`
            there = begun(folder)
    return spec.on(device, there)


def another(folder: Path, spec: Study, origin: Origin) -> str | None:
    """Returns what tells the run in a folder from one of this study, shortly; None where that can go on, or grow."""
    try:
        content = begun(folder)
    except UsageError as error:
        return f"its study cannot be read: {error}"
    if type(content) is not type(spec):
        return f"kind is {content.kind} there"
    # What is left to the machine, that run has decided.
    there, here = content.lasting(), spec.on(torch.device("cpu"), content).lasting()
    for path in {**there, **here}:
        if there.get(path) != here.get(path):
            return f"{path} is {shown(there.get(path))} there, {shown(here.get(path))} here"
    return origin.differs(origin_in(folder)) if _planned(folder) else None


def make_folder(folder: Path) -> None:
    """Makes the run's folder; raises UsageError where that cannot be done."""
    try:
        (folder / "cells").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(folder, error) from error


def prepare(folder: Path, spec: Study, plan: Plan, origin: Origin = NOTHING_SAID) -> None:
    """Makes the run's folder, with the resolved study and its plan; errors as those of `check_folder`."""
    check_folder(folder, spec, origin)
    make_folder(folder)
    write_study(folder, spec, plan, origin)


def write_study(folder: Path, spec: Study, plan: Plan, origin: Origin = NOTHING_SAID) -> None:
    """Writes a study and its plan into its run's folder.

    Raises:
        UsageError: The folder cannot be written.
        CellError: The disk is full.
    """
    with room_for(folder):
        try:
            # The study last: a folder with a study has its plan.
            content = plan.to_json({"study": spec.to_yaml(), "origin": vars(origin)})
            write_whole(folder / "cells" / PLAN_FILE, json.dumps(content, indent=1))
            write_whole(folder / STUDY_FILE, spec.to_yaml())
        except OSError as error:
            if is_full(error):
                raise
            raise unwritable(folder, error) from error


def _only_begun(folder: Path) -> bool:
    """Whether there is nothing but what a run leaves that was killed before its study was written."""
    cells = folder / "cells"
    named = {path.name for path in folder.iterdir() if not path.name.startswith(TEMPORARY)}
    inside = {path.name for path in cells.iterdir() if not path.name.startswith(TEMPORARY)} if cells.is_dir() else set()
    return named <= {"cells"} and inside <= {PLAN_FILE, LOCK_FILE}


def unwritable(folder: Path, error: OSError) -> UsageError:
    """Returns the error for a folder, or something in it, that cannot be written."""
    mend = "choose a folder that can be written"
    return UsageError("cannot write the output folder", received=f"{folder}: {error.strerror or error}", mend=mend)
