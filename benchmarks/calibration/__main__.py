"""Prints how often intervals cover and tests err, section by section; docs/numbers.md holds what it printed.

python -m benchmarks.calibration [intervals] [contrastive] [fits] [tests] [changes] [families]
"""

import importlib
import sys
import time

SECTIONS = ("intervals", "contrastive", "fits", "tests", "changes", "families")


def main() -> None:
    """Runs the sections that are named, or all of them."""
    for name in sys.argv[1:] or SECTIONS:
        if name not in SECTIONS:
            raise SystemExit(f"no such section: {name}; legal: {', '.join(SECTIONS)}")
        begin = time.perf_counter()
        for line in importlib.import_module(f"benchmarks.calibration.{name}").lines():
            print(line, flush=True)
        print(f"\n({name}: {time.perf_counter() - begin:.0f} s)\n", flush=True)


if __name__ == "__main__":
    main()
