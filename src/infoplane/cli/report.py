"""infoplane report DIR"""

from pathlib import Path

from infoplane.report.build import build, load_run
from infoplane.report.text import table


def report(folder: Path) -> int:
    """Writes the page, prints the table; exit code 1 if a part of the run has failed or is damaged."""
    page = build(folder)
    return show(folder, page)


def show(folder: Path, page: Path) -> int:
    """Prints the table of a run and where its page is; exit code 1 if a part has failed or is damaged."""
    results = load_run(folder)
    print(table(results))
    failed = [name for name in results.plan.cells if results.store.failure(name) is not None]
    if failed:
        print(f"\n{len(failed)} of {len(results.plan.cells)} parts failed; the report shows why")
    damaged = results.damaged()
    if damaged:
        print(f"\n{len(damaged)} of {len(results.plan.cells)} parts are damaged; run the same command again")
    missing = results.waiting()
    if missing:
        again = "`infoplane run …` command" if results.spec.subject is not None else "command"
        print(f"\nunfinished: {len(missing)} of {len(results.plan.cells)} parts are missing; the same {again} goes on")
    print(f"\nreport: {page}")
    return 1 if failed or damaged else 0
