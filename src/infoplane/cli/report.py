"""infoplane report DIR"""

import sys
from pathlib import Path

from infoplane.errors import UsageError
from infoplane.report.build import build_page, load_run, table
from infoplane.study.results import RunResults

#: most messages of failed parts that are printed
SHOWN = 3


def report(folder: Path) -> int:
    """Writes the page, prints the table; exit code 1 if a part of the run has failed or is damaged."""
    results = load_run(folder)
    return show(results, build_page(folder, results))


def show(results: RunResults, page: Path) -> int:
    """Prints the table of a run and where its page is; exit code 1 if a part has failed or is damaged.

    It is 2 where all that failed did so over what was asked of it.
    """
    print(table(results))
    failed = results.failures()
    for message in list(dict.fromkeys(message for message, _ in failed.values()))[:SHOWN]:
        print(f"infoplane: {message}", file=sys.stderr)
    if failed:
        print(f"\n{len(failed)} of {len(results.plan.cells)} parts failed; the report shows why")
    damaged = results.damaged()
    if damaged:
        print(f"\n{len(damaged)} of {len(results.plan.cells)} parts are damaged; run the same command again")
    missing = results.waiting()
    if missing:
        print(f"\nunfinished: {len(missing)} of {len(results.plan.cells)} parts are missing; the same command goes on")
    print(f"\nreport: {page}")
    if failed and results.misused():
        return UsageError.exit_code
    return 1 if failed or damaged else 0
