"""Drawing images from a density: cached against naive, one device, one run.

    python benchmarks/sample.py [--device cpu|cuda] [--cases …] [--batches 16 64] [--out FILE]

Cached sampling computes each pixel from what the convolutions keep; naive sampling runs the network anew for every
pixel, over the rows that are known. The naive way is timed on a few pixels spread over the image, and multiplied out:
its cost grows evenly with the rows. First both draw one small image in float64 from one seed, which must be the same.
"""

import argparse
import platform
import time
from pathlib import Path

import torch

from infoplane.densities import Density, PixelCNN
from sp import machine
from train import CASES, Case

#: rows at which the naive way is timed
ROWS = 5


def cached(density: Density, batch: int, device: torch.device) -> float:
    """Seconds to draw a batch."""
    begin = time.perf_counter()
    density.sample(n=batch, generator=torch.Generator(device).manual_seed(0))
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begin


@torch.no_grad()
def naive(density: PixelCNN, batch: int, device: torch.device) -> float:
    """Seconds that drawing a batch anew for every pixel would take, from a few of them."""
    rows, columns = density.shape[1:]
    images = torch.zeros(batch, *density.shape, dtype=torch.uint8, device=device)
    density.eval()
    biases, taken = density._biases(None), []
    for k in range(ROWS):
        row = round((k + 0.5) / ROWS * rows)
        begin = time.perf_counter()
        features = density._features(images[:, :, : row + 1], biases)[:, :, row:, :1]
        density.likelihood.sample(features, None)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - begin)
    return sum(taken) / ROWS * rows * columns


def same(device: torch.device) -> bool:
    """Whether both ways draw the same images in float64."""
    case = CASES["digits 8×8, 32 filters"]
    density = case.build(device).double()
    draws = [density.sample(n=4, generator=torch.Generator(device).manual_seed(0), cached=way) for way in (True, False)]
    return torch.equal(*draws)


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES)[:3])
    parser.add_argument("--batches", type=int, nargs="+", default=[16])
    parser.add_argument("--out", type=Path, help="write the table there as Markdown too")
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(1)
    lines = [f"The same images from one seed in float64: {'yes' if same(device) else 'NO'}.", ""]
    lines += ["| case | batch | naive, s | cached, s | gain | images/s |", "| --- | --- | --- | --- | --- | --- |"]
    for name in options.cases:
        case: Case = CASES[name]
        density = case.build(device)
        assert isinstance(density, PixelCNN)
        density.initialise(torch.randint(case.levels, (16, *case.shape), dtype=torch.uint8, device=device))
        for batch in options.batches:
            cached(density, 1, device)
            fast, slow = cached(density, batch, device), naive(density, batch, device)
            lines.append(f"| {name} | {batch} | {slow:,.3g} | {fast:.3g} | {slow / fast:,.0f}× | {batch / fast:,.2f} |")
            print(lines[-1], flush=True)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{machine()}; one thread"
    lines += ["", f"{where}; Python {platform.python_version()}, torch {torch.__version__}."]
    print("\n".join(lines))
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
