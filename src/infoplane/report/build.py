"""From a run's folder to its tables and page."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from infoplane.engine.plan import PLAN_FILE, Plan
from infoplane.engine.store import Store, is_full, room_for
from infoplane.errors import UsageError
from infoplane.files import TEMPORARY, read_text
from infoplane.report.contents import PageContents
from infoplane.report.inversion.gather import contents_of, measured
from infoplane.report.inversion.sections import write
from infoplane.report.inversion.tables import layer_tables
from infoplane.report.noisy.contents import noisy_contents
from infoplane.report.noisy.sections import write_noisy
from infoplane.report.noisy.tables import network_tables
from infoplane.report.page import Footnotes, Text
from infoplane.report.standing import remember, stands, state_of
from infoplane.report.text import printed
from infoplane.report.words import no_numbers
from infoplane.study.families import FAMILIES
from infoplane.study.folder import STUDY_FILE, study_in, unwritable
from infoplane.study.load import read_study
from infoplane.study.results import RunResults
from infoplane.study.tables import write_table


@dataclass(frozen=True)
class Pages:
    """How a family of studies is shown.

    Attributes:
        gather: Results -> what its page shows.
        measured: Results -> that of it which tables need.
        write: (contents, folder) -> its page.
        tables: Contents -> the tables of its numbers.
        errors: What ± is, where there are only tables.
    """

    gather: Callable[..., PageContents]
    measured: Callable[..., PageContents]
    write: Callable[..., Path]
    tables: Callable[..., Sequence[object]]
    errors: str


#: the tables whose verdicts are corrected together
CORRECTED = ("differences", "changes", "compression")
#: a key of `infoplane.study.families.FAMILIES` -> its pages
PAGES = {
    "inversion": Pages(
        contents_of, measured, write, layer_tables,
        "± is one standard error, over what stands over a column: images or batches, refits, and networks where there "
        "are several. "
        "[from, to] is a 95 % interval.",
    ),
    "flow": Pages(
        noisy_contents, noisy_contents, write_noisy, network_tables,
        "± is one standard error for these trained networks: of chance, and for what few samples may hide, but not of "
        "retraining. H(Bin(T)) says how far activations cluster at the scale of the bins, and is not I(X;T). "
        "[from, to] is a 95 % interval.",
    ),
}  # fmt: skip


def load_run(folder: Path) -> RunResults:
    """Returns the results of the run in a folder.

    Raises:
        UsageError: The folder holds no run.
    """
    if folder.is_file():
        raise UsageError("a run's folder is wanted", received=f"{folder}, which is a file", mend="give its folder")
    if not (folder / STUDY_FILE).is_file() or not (folder / "cells" / PLAN_FILE).is_file():
        raise UsageError("no run in this folder", received=folder, legal="the --out folder of a run or measure")
    spec = read_study(folder / STUDY_FILE)
    if study_in(folder) not in (None, read_text(folder / STUDY_FILE)):
        mend = "run the same command again, which writes it anew; --set changes a study"
        raise UsageError("the study was edited since it was run", received=folder / STUDY_FILE, mend=mend)
    results = FAMILIES[spec.kind].results(spec, Plan.load(folder), Store(folder / "cells"))
    results.corrected = _corrected(folder)
    return results


def build_page(folder: Path, results: RunResults | None = None) -> Path:
    """Writes the tables, figures/ and report.html of a run, finished or not; returns the page.

    The tables, as CSV and Parquet: the results, and what else they hold (`RunResults.tables`). Where all of this lies
    there already, and nothing that it is made from has changed, nothing is read.

    Args:
        results: Those of the folder, where they are loaded.

    Raises:
        UsageError: The folder holds no run, or cannot be written.
        CellError: The disk is full.
    """
    results = load_run(folder) if results is None else results
    state = state_of(folder)
    if stands(folder, state):
        return folder / "report.html"
    pages = PAGES[results.spec.kind]
    contents = pages.gather(results)
    with writing(folder):
        _sweep(folder)
        results.write(folder)
        for name, rows in results.files().items():
            write_table(pl.DataFrame(rows, infer_schema_length=None), folder, name)
        page = pages.write(contents, folder)
        remember(folder, state)
    return page


def table(results: RunResults) -> str:
    """Returns what closes a run: the tables of the page's numbers as text, and what must be said with them."""
    pages = PAGES[results.spec.kind]
    return table_of(pages, pages.measured(results))


def table_of(pages: Pages, contents: PageContents) -> str:
    """Returns the same of the contents of a page."""
    parts = pages.tables(contents) or [Text(no_numbers(len(contents.failures)).sentence)]
    notes = [contents.note, contents.description, *(f"Of the data: {note}." for note in contents.data_notes)]
    return printed([*parts, Footnotes([pages.errors, *filter(None, notes)])])


def _corrected(folder: Path) -> tuple[int, int | None]:
    """For how many tests the verdicts of the tables in a run's folder are corrected, and those of the tables before."""
    for name in CORRECTED:
        try:
            frame = pl.read_parquet(folder / f"{name}.parquet")
            counts = [frame[column].max() for column in ("tests", "tests_before") if column in frame.columns]
        except (OSError, pl.exceptions.PolarsError):  # none, or damaged: it is written anew
            continue
        if counts and isinstance(counts[0], int):
            return counts[0], counts[1] if len(counts) > 1 and isinstance(counts[1], int) else None
    return 0, None


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turns whatever keeps tables and pages from being written into one line.

    Raises:
        CellError: The disk is full.
        UsageError: Something is in the way, or may not be written.
    """
    with room_for(folder):
        try:
            yield
        except OSError as error:
            if is_full(error):
                raise
            raise unwritable(Path(error.filename2 or error.filename or folder), error) from error


def _sweep(folder: Path) -> None:
    """Removes the half-written files of a report that was killed; one that is still at it writes its file again."""
    for place in (folder, folder / "figures"):
        for left in place.glob(f"{TEMPORARY}*"):
            if left.is_file():
                left.unlink(missing_ok=True)
