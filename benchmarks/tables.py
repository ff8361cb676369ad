"""Where a benchmark's tables go: to the screen, to a file, and into docs/benchmarks.md."""

import argparse
import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import torch

DOCS = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say where tables go."""
    parser.add_argument("--out", type=Path, help="write the tables there as Markdown too")
    parser.add_argument("--docs", action="store_true", help="put them into docs/benchmarks.md")


def deliver(name: str, lines: Sequence[str], options: argparse.Namespace) -> None:
    """Prints the lines and writes them where the options say; `name` is what their place in the docs is called."""
    text = "\n".join(lines)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n", encoding="utf-8")
    if options.docs:
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        before, _, rest = DOCS.read_text(encoding="utf-8").partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise SystemExit(f"{DOCS} has no place for {name}: put {begin.strip()} and {end} there")
        DOCS.write_text(f"{before}{begin}\n{text}\n\n{end}{after}", encoding="utf-8")


def where(device: torch.device, threads: str = "one thread") -> str:
    """The device and the versions, as a table's last line says them."""
    on = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{machine()}, {threads}"
    return f"{on}; Python {platform.python_version()}, torch {torch.__version__}."


def machine() -> str:
    """The processor's name, where the system tells it, and how many cores there are."""
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    return f"{names[0] if names else platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def _lines(file: str) -> Iterator[str]:
    with suppress(OSError):
        yield from Path(file).read_text(encoding="utf-8").splitlines()
