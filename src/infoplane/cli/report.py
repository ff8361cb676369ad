"""infoplane report DIR"""

from pathlib import Path
from typing import Any

from infoplane.report.build import PAGES, build, load_run
from infoplane.study.run_results import RunResults


def report(folder: Path) -> int:
    """Writes the page, prints the table; exit code 1 if a part of the run has failed or is damaged."""
    results = load_run(folder)
    return show(results, build(folder, results))


def show(results: RunResults[Any], page: Path) -> int:
    """Prints the table of a run and where its page is; exit code 1 if a part has failed or is damaged."""
    print(PAGES[results.spec.kind].table(results))
    failed = results.failures()
    if failed:
        print(f"\n{len(failed)} of {len(results.plan.cells)} parts failed; the report shows why")
    damaged = results.damaged()
    if damaged:
        print(f"\n{len(damaged)} of {len(results.plan.cells)} parts are damaged; run the same command again")
    missing = results.waiting()
    if missing:
        print(f"\nunfinished: {len(missing)} of {len(results.plan.cells)} parts are missing; the same command goes on")
    print(f"\nreport: {page}")
    return 1 if failed or damaged else 0
