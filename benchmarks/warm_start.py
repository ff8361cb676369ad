"""Does it pay to start q(x|h) from p(x)? Held-out nats on digits, from scratch and from an early or fitted p(x).

    python benchmarks/warm_start.py [--seeds 3] [--budgets 200 800] [--layers conv2 fc3] [--out docs/warm_start.md]

Every conditional model is compared with a null-context twin that received the same total updates, so usable information
has the same meaning in every line. All numbers are nats per evaluation image, standard error over examples and seeds.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl

#: name of the line -> settings
WAYS = {
    "scratch": {"fit.warm_start": "none"},
    "scratch, context ×5": {"fit.warm_start": "none", "fit.context_rate": 5},
    "early base": {"fit.warm_start": "early"},
    "early base, context ×5": {"fit.warm_start": "early", "fit.context_rate": 5},
    "fitted base": {"fit.warm_start": "fitted"},
    "fitted base, context ×5": {"fit.warm_start": "fitted", "fit.context_rate": 5},
}


def main() -> None:
    """Runs the studies and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="refits per line")
    parser.add_argument("--budgets", type=int, nargs="+", default=[200, 800], help="updates of the conditional model")
    parser.add_argument("--layers", nargs="+", default=["conv2", "fc3"])
    parser.add_argument("--out", type=Path, help="write the table there as Markdown too")
    options = parser.parse_args()
    lines = ["| updates | start | " + " | ".join(f"CE {layer} | usable {layer}" for layer in options.layers) + " |"]
    lines.append("|" + " --- |" * (2 + 2 * len(options.layers)))
    for budget in options.budgets:
        for way, settings in WAYS.items():
            lines.append(f"| {budget} | {way} | " + " | ".join(one_line(budget, settings, options)) + " |")
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    print("\n" + table)
    if options.out is not None:
        options.out.write_text(table + "\n", encoding="utf-8")


def one_line(budget: int, settings: dict[str, object], options: argparse.Namespace) -> list[str]:
    """Runs one study and returns its cells of the table."""
    changes = {
        **settings,
        "layers": options.layers,
        "measure": ["nce", "usable"],
        "fit.updates": budget,
        "fit.base_updates": max(1, budget // 4),
        "fit.refits": options.seeds,
    }
    with tempfile.TemporaryDirectory() as folder:
        words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "infoplane", "run", "digits", "--out", f"{folder}/run", "--quiet", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        frame = pl.read_csv(f"{folder}/run/results.csv", schema_overrides={"refit": pl.String})
    cells = []
    for layer in options.layers:
        for kind in ("cross-entropy", "usable"):
            row = frame.filter((pl.col("layer") == layer) & (pl.col("kind") == kind) & (pl.col("refit") == "all"))
            cells.append(f"{row['value'][0]:.2f} ± {row['stderr'][0]:.2f}")
    return cells


if __name__ == "__main__":
    main()
