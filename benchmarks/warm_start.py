"""Does it pay to start q(x|h) from p(x)? Held-out nats on digits, from scratch and from an early or fitted p(x).

    python benchmarks/warm_start.py [--seeds 3] [--budgets 200 800] [--layers conv2 fc3] [--ways …] [--out FILE]

Losses are those of the decoding images held out for early stopping, so that choosing a default by this table leaves
the evaluation images untouched. Usable information is against a twin of the same total updates. Nats per image, mean
and standard error over seeds (each with its own held-out part).
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import cast

import numpy as np

from infoplane.report.build import load_run
from infoplane.study.results import Results

#: name of the line -> settings
WAYS = {
    "scratch": {"fit.warm_start": "none", "fit.context_rate": 1},
    "scratch, context ×5": {"fit.warm_start": "none", "fit.context_rate": 5},
    "early base": {"fit.warm_start": "early", "fit.context_rate": 1},
    "early base, context ×5": {"fit.warm_start": "early", "fit.context_rate": 5},
    "fitted base": {"fit.warm_start": "fitted", "fit.context_rate": 1},
    "fitted base, context ×5": {"fit.warm_start": "fitted", "fit.context_rate": 5},
}


def main() -> None:
    """Runs the studies and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="refits per line")
    parser.add_argument("--budgets", type=int, nargs="+", default=[200, 800], help="updates of the conditional model")
    parser.add_argument("--layers", nargs="+", default=["conv2", "fc3"])
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="which lines")
    parser.add_argument("--out", type=Path, help="write the table there as Markdown too")
    options = parser.parse_args()
    lines = [
        "| updates | start | with base | "
        + " | ".join(f"CE {layer} | usable {layer}" for layer in options.layers)
        + " |"
    ]
    lines.append("|" + " --- |" * (3 + 2 * len(options.layers)))
    for budget in options.budgets:
        for way in options.ways:
            lines.append(f"| {budget} | {way} | " + " | ".join(one_line(budget, WAYS[way], options)) + " |")
            print(lines[-1], flush=True)
    table = "\n".join(lines)
    print("\n" + table)
    if options.out is not None:
        options.out.write_text(table + "\n", encoding="utf-8")


def one_line(budget: int, settings: dict[str, object], options: argparse.Namespace) -> list[str]:
    """Runs one study and returns its cells of the table."""
    base = max(1, budget // 4)
    changes = {
        **settings,
        "layers": options.layers,
        "measure": ["nce", "usable"],
        "fit.updates": budget,
        "fit.base_updates": base,
        "fit.refits": options.seeds,
    }
    with tempfile.TemporaryDirectory() as folder:
        words = [word for key, value in changes.items() for word in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "infoplane", "run", "digits", "--out", f"{folder}/run", "--quiet", *words]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        results = cast(Results, load_run(Path(folder) / "run"))
        losses = {
            layer: np.array([stored.values["heldout_nats"] for _, stored in results.fits(layer)])
            for layer in ("input", *options.layers)
        }
    extra = {"none": 0, "early": base, "fitted": budget}[str(settings["fit.warm_start"])]
    cells = [str(budget + extra)]
    for layer in options.layers:
        cells += [_mean(losses[layer]), _mean(losses["input"] - losses[layer])]
    return cells


def _mean(values: np.ndarray) -> str:
    return f"{values.mean():.2f} ± {values.std(ddof=1) / len(values) ** 0.5:.2f}"


if __name__ == "__main__":
    main()
