"""infoplane clean DIR"""

import sys
from pathlib import Path

from infoplane.cli.tables import print_rows
from infoplane.errors import spoken_size
from infoplane.study.leftovers import leftovers, take_out


def clean(folder: Path, *, yes: bool) -> int:
    """Says what nothing in a run names any more, and takes it out where that is wanted.

    Args:
        yes: Take it out without asking; else it is asked for where there is somebody to ask.
    """
    found, foreign = leftovers(folder)
    for name, why in foreign:
        print(f"left alone: cells/{name}: {why}", file=sys.stderr)
    if not found:
        print("nothing to free: the run needs all that is stored")
        return 0
    rows = [(each.name, f"{each.size:,}", each.why) for each in found]
    print_rows([("stored", "bytes", "why the run does not need it"), *rows], right=[1])
    total = sum(each.size for each in found)
    print(f"\n{len(found)} in all: {total:,} bytes ({spoken_size(total)}) would be freed")
    if not yes and not _confirmed():
        print("nothing was deleted; --yes deletes them")
        return 0
    taken = take_out(folder, [each.name for each in found])
    print(f"deleted {len(taken)}: {sum(each.size for each in taken):,} bytes are free")
    return 0


def _confirmed() -> bool:
    """Whether somebody at a terminal says that they may be deleted."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return input("delete them? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
