"""Drawing images from a density: cached against naive, and the window density against both; one device, one run.

    python benchmarks/sample.py [--device cpu|cuda] [--cases …] [--batches 16 64] [--docs] [--out FILE]
    python benchmarks/sample.py --window [--cases …] [--batches 1 16] [--context 64 7 7] [--docs] [--out FILE]

On a machine with a GPU, from the root of the repository (minutes; for the big colour case add `--cases`, see train.py):

    pip install -c constraints.txt -e . && python benchmarks/sample.py --device cuda --out sample-gpu.md

Cached sampling computes each pixel from what the convolutions keep; naive sampling runs the network anew for every
pixel, over the rows that are known. The naive way is timed on a few pixels spread over the image, and multiplied out:
its cost grows evenly with the rows. First both draw one small image in float64 from one seed, which must be the same.

On a GPU each cell is of a second run. The naive way at its best is one CUDA graph per row, already recorded (with
`--compile`, of what torch.compile makes of the network), or the plain one if that is faster. Cached sampling is timed
without graphs and with them, their recording included. Precision is torch's default: TF32 in convolutions, which only
the naive way has. A dash is what does not fit into memory.

With `--window` cached PixelCNN++ is set against the window density (`Autoregressive` with its defaults) of the same
images, levels and context instead, drawn in turn; on a processor in CPU seconds, the least of three draws (of one where
it takes long). Batches that would take a processor too long are left out.
"""

import argparse
import contextlib
import math
import time
from collections.abc import Callable, Iterator

import torch

from infoplane import densities
from infoplane.densities import Density, PixelCNN, pixelcnn
from infoplane.densities.graphs import Graphs, Recorder
from tables import add_options, deliver, where
from train import CASES, Case

#: rows at which the naive way is timed
ROWS = 5
#: how often there, where it is a graph
REPLAYS = 10
#: seconds that drawing a batch once may take a processor to be drawn again, and to be drawn at all
SHORT, LONG = 4.0, 100.0


def cached(density: Density, batch: int, device: torch.device) -> float:
    """Seconds to draw a batch."""
    begin = time.perf_counter()
    density.sample(n=batch, generator=torch.Generator(device).manual_seed(0))
    wait(device)
    return time.perf_counter() - begin


def wait(device: torch.device) -> None:
    """Until all is computed."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextlib.contextmanager
def unrecorded() -> Iterator[None]:
    """While active, cached sampling uses no graphs."""
    usual = pixelcnn.recorder
    pixelcnn.recorder = lambda device: None
    try:
        yield
    finally:
        pixelcnn.recorder = usual


@torch.no_grad()
def naive(
    density: PixelCNN, batch: int, device: torch.device, record: Recorder | None = None, compile: bool = False
) -> float:
    """Seconds that drawing a batch anew for every pixel would take, from a few of them; with a recorder, replayed."""
    rows, columns = density.shape[1:]
    images = torch.zeros(batch, *density.shape, dtype=torch.uint8, device=device)
    density.eval()
    biases, taken = density._biases(None), []
    network = density._features
    if compile:
        torch.compiler.reset()  # or it has seen too many sizes
        network = torch.compile(network, dynamic=False)
    uniforms = torch.rand(density.likelihood.draws, batch, 1, 1, 1, dtype=torch.float64, device=device).unbind()
    for k in range(ROWS):
        row = round((k + 0.5) / ROWS * rows)

        def draw(row: int = row) -> None:
            features = network(images[:, :, : row + 1], biases)[:, :, row:, :1]
            images[:, :, row : row + 1, :1] = density.likelihood.draw(features, uniforms).to(torch.uint8)

        runs = 1
        if record is not None:
            for _ in range(3):  # runs, is recorded, is replayed
                record(row, draw)
            runs = REPLAYS
            wait(device)
        begin = time.perf_counter()
        for _ in range(runs):
            draw() if record is None else record(row, draw)
        wait(device)
        taken.append((time.perf_counter() - begin) / runs)
    return sum(taken) / ROWS * rows * columns


def same(device: torch.device) -> bool:
    """Whether both ways draw the same images in float64."""
    case = CASES["digits 8×8, 32 filters"]
    density = case.build(device).double()
    draws = [density.sample(n=4, generator=torch.Generator(device).manual_seed(0), cached=way) for way in (True, False)]
    return torch.equal(*draws)


def on_a_processor(density: PixelCNN, batch: int, device: torch.device, compile: bool) -> list[str]:
    """Cells of a line of the table."""
    cached(density, 1, device)
    fast, slow = cached(density, batch, device), naive(density, batch, device)
    return [f"{slow:,.3g}", f"{fast:.3g}", f"{slow / fast:,.0f}×", f"{batch / fast:,.2f}"]


def on_a_gpu(density: PixelCNN, batch: int, device: torch.device, compile: bool) -> list[str]:
    """Cells of a line of the table."""

    def seconds(way: Callable[[], float], runs: int = 2) -> float:
        try:
            return [way() for _ in range(runs)][-1]
        except torch.OutOfMemoryError:
            return math.nan
        finally:
            torch.cuda.empty_cache()

    slow = seconds(lambda: naive(density, batch, device))
    best = min(slow, seconds(lambda: naive(density, batch, device, Graphs(device), compile), runs=1))
    with unrecorded():
        eager = seconds(lambda: cached(density, batch, device))
    fast = seconds(lambda: cached(density, batch, device))
    cells = [f"{slow:,.3g}", f"{best:,.3g}", f"{eager:,.3g}", f"{fast:.3g}"]
    cells += [f"{slow / fast:,.1f}×", f"{best / fast:,.1f}×", f"{batch / fast:,.1f}"]
    return ["—" if "nan" in cell else cell for cell in cells]


def set_against(case: Case, context: tuple[int, ...] | None, batches: list[int], device: torch.device) -> Iterator[str]:
    """Yields cells of lines of the table that sets the window density against PixelCNN++."""
    images = torch.randint(case.levels, (128, *case.shape), dtype=torch.uint8, device=device)
    families = []
    for kind, options in (("pixelcnn", case.options), ("autoregressive", {})):
        density = densities.build(kind, case.shape, case.levels, context, options, seed=0).to(device)
        density.initialise(images)
        families.append(density)
    clock = time.perf_counter if device.type == "cuda" else time.process_time

    def seconds(density: Density, batch: int) -> float:
        h = None if context is None else torch.randn(batch, *context, device=device)
        begin = clock()
        density.sample(h, n=batch, generator=torch.Generator(device).manual_seed(0))
        wait(device)
        return clock() - begin

    for density in families:
        seconds(density, 1)
    each = 0.0
    for batch in batches:
        if device.type == "cpu" and each * batch > LONG:
            continue
        taken = [[seconds(density, batch) for density in families]]
        while len(taken) < 3 and sum(taken[0]) < SHORT:
            taken.append([seconds(density, batch) for density in families])
        usual, window = (min(column) for column in zip(*taken, strict=True))
        each = usual / batch
        yield f"{batch} | {usual:.3g} | {window:.3g} | {window / usual:.2f} | {batch / window:,.1f}"


def compare(options: argparse.Namespace, device: torch.device) -> None:
    """Prints the table that sets the window density against PixelCNN++."""
    context = None if options.context is None else tuple(options.context)
    columns = ["case", "batch", "PixelCNN++, s", "window, s", "window / PixelCNN++", "images/s of the window"]
    lines = [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    print(*lines, sep="\n")
    for name in options.cases or list(CASES):
        for cells in set_against(CASES[name], context, options.batches or [1, 16, 64, 256], device):
            lines.append(f"| {name} | {cells} |")
            print(lines[-1], flush=True)
    lines += ["", where(device)]
    deliver(f"sample window on {device.type}", lines, options)


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), help="default: the first three, with --window all")
    parser.add_argument("--batches", type=int, nargs="+", help="default: 16; on a GPU 16, 64, 256 and 1024")
    parser.add_argument("--compile", action="store_true", help="compile the naive way too (on a GPU; minutes)")
    parser.add_argument("--window", action="store_true", help="set the window density against PixelCNN++")
    parser.add_argument("--context", type=int, nargs="+", help="there: the shape of a context, d or c h w")
    add_options(parser)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(1)
    if options.window:
        compare(options, device)
        return
    lines = [f"The same images from one seed in float64: {'yes' if same(device) else 'NO'}.", ""]
    gpu = device.type == "cuda"
    ways = [
        "naive, s",
        "naive at its best, s",
        "cached, no graphs, s",
        "cached, s",
        "gain",
        "gain over the best",
        "images/s",
    ]
    columns = ["case", "batch", *(ways if gpu else ["naive, s", "cached, s", "gain", "images/s"])]
    lines += [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |"]
    for name in options.cases or list(CASES)[:3]:
        case: Case = CASES[name]
        density = case.build(device)
        assert isinstance(density, PixelCNN)
        density.initialise(torch.randint(case.levels, (16, *case.shape), dtype=torch.uint8, device=device))
        for batch in options.batches or ([16, 64, 256, 1024] if gpu else [16]):
            cells = (on_a_gpu if gpu else on_a_processor)(density, batch, device, options.compile)
            lines.append(f"| {name} | {batch} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    lines += ["", where(device)]
    deliver(f"sample on {device.type}", lines, options)


if __name__ == "__main__":
    main()
