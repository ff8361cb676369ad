"""How fast should the weights learn through which a layer enters a density? Held-out nats at several factors.

    python benchmarks/context_rate.py --data digits --layers fc3 --updates 600 [--seeds 0] [--rates 0.5 1.25 2.5 5]
                                      [--device cpu|cuda] [--docs] [--out FILE]

All densities of a seed start from one p(x) of a quarter of the updates, as in a study. Losses are nats per image on the
decoding images held out for early stopping, so that choosing a default by them leaves the evaluation images untouched.
"""

import argparse
import tempfile

import numpy as np
import torch
from rich.progress import track

from amortise import BASE, SETS, TWIN, Family, Job, prepare
from tables import add_options, deliver, where


def main() -> None:
    """Trains the densities and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=list(SETS), default="digits")
    parser.add_argument("--layers", nargs="+", default=["fc3"])
    parser.add_argument("--updates", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rates", type=float, nargs="+", default=[0.5, 1.25, 2.5, 5.0])
    parser.add_argument("--device", default="cpu", help="where densities are trained")
    add_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {(layer, rate): [] for layer in options.layers for rate in options.rates}
    twins: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        problem = prepare(options.data, folder, ("end",))
        sizes = {layer: np.load(f"{folder}/{layer}@end.npy", mmap_mode="r").shape[1] for layer in options.layers}
        for seed in options.seeds:
            job = Job(options.data, options.updates, "", 0, seed, options.device)
            family = Family(problem, job, 1.0)
            _, start = family.fit(TWIN, max(1, options.updates // 4), seed + BASE)
            twins.append(family.fit(TWIN, options.updates, seed, start)[0])
            for layer, rate in track(found, description=f"seed {seed}"):
                family = Family(problem, job, rate)
                found[layer, rate].append(family.fit(f"{layer}@end", options.updates, seed, start)[0])
    lines = [f"| {options.data}, {options.updates} updates | units or channels | seed | p(x) |"]
    lines[0] += "".join(f" ×{rate:g} |" for rate in options.rates)
    lines.append("|" + " --- |" * (4 + len(options.rates)))
    for layer in options.layers:
        for at, seed in enumerate(options.seeds):
            cells = [layer, str(sizes[layer]), str(seed), f"{twins[at]:.2f}"]
            cells += [f"{found[layer, rate][at]:.2f}" for rate in options.rates]
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", where(torch.device(options.device))]
    deliver(f"context rate {options.data}", lines, options)


if __name__ == "__main__":
    main()
