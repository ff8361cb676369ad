"""Training a density: infoplane's step against a plain eager loop, one device, one run.

    python benchmarks/train.py [--device cpu|cuda] [--cases …] [--updates 2000] [--seconds 20] [--docs] [--out FILE]

The plain loop is what one writes first: float32 (on a GPU with TF32 and channels_last), eager, AdamW and a running
average of the weights, the loss read back at every step. Images are random, so that nothing but speed is looked at; a
second table follows the loss of both on digits for `--updates` steps from one seed. FLOP/s are counted, not guessed,
and set against the rate of a large float32 matrix product (on a GPU also in bfloat16) in the same run.
"""

import argparse
import contextlib
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from infoplane import data, densities
from infoplane.densities import Density
from infoplane.inversion import FitSettings, Pairs, fit_density
from infoplane.inversion.fast import CompileWarning, Step
from infoplane.inversion.fit import train
from infoplane.inversion.invert import NegativeLogProb
from tables import add_options, deliver, where

Doing = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A density and the batch that it is trained on."""

    shape: tuple[int, int, int]
    levels: int
    batch: int
    options: dict[str, object]

    def build(self, device: torch.device) -> Density:
        return densities.build("pixelcnn", self.shape, self.levels, None, self.options, seed=0).to(device)


def _options(filters: int, layers: int, scales: int, likelihood: str = "categorical") -> dict[str, object]:
    return {"filters": filters, "residual_layers": layers, "scales": scales, "likelihood": likelihood, "dropout": 0.2}


CASES = {
    "digits 8×8, 32 filters": Case((1, 8, 8), 17, 8, _options(32, 2, 1)),
    "14×14, 24 filters": Case((1, 14, 14), 256, 8, _options(24, 2, 2)),
    "28×28, 64 filters": Case((1, 28, 28), 256, 64, _options(64, 3, 3)),
    "32×32×3, 196 filters": Case((3, 32, 32), 256, 64, _options(196, 3, 3, "logistic_mixture")),
}
#: what is affordable on a processor: smaller batches of the two large ones
LIGHT = {"28×28, 64 filters": 8, "32×32×3, 196 filters": 2}


def plain(case: Case, device: torch.device, images: Tensor) -> Doing:
    """A step of the loop that one writes first."""
    density = case.build(device).train()
    if device.type == "cuda":
        density = density.to(memory_format=torch.channels_last)  # pyright: ignore
    optimiser = torch.optim.AdamW(density.parameters(), lr=1e-3)
    average = [p.detach().clone() for p in density.parameters()]

    def step() -> float:
        loss = -density.log_prob(images).mean()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(density.parameters(), 100.0)
        optimiser.step()
        with torch.no_grad():
            for a, p in zip(average, density.parameters(), strict=True):
                a.lerp_(p, 0.01)
        return float(loss)

    return step


class _Timed:
    """One batch again and again, and when each step began."""

    def __init__(self, differentiate: Step, images: Tensor, warm: int, seconds: float) -> None:
        self.differentiate, self.images, self.warm, self.seconds = differentiate, images, warm, seconds
        self.steps, self.begin, self.end = 0, 0.0, 0.0

    def where(self, step: int) -> str:
        return ""

    def step(self) -> Tensor:
        if self.steps == self.warm:
            _wait(self.images.device)
            self.begin = time.perf_counter()
        if self.steps > self.warm and time.perf_counter() - self.begin > self.seconds:
            _wait(self.images.device)
            self.end = time.perf_counter()
            raise StopIteration
        self.steps += 1
        return self.differentiate(self.images, None)

    def held_out_loss(self) -> float:
        return 0.0


def ours(case: Case, device: torch.device, images: Tensor, settings: FitSettings, seconds: float) -> float:
    """Seconds per step of infoplane's own loop."""
    density = case.build(device)
    settings = settings.model_copy(update={"batch": len(images)})
    source = _Timed(Step(NegativeLogProb(density), density, settings, device), images, 5, seconds)
    with contextlib.suppress(StopIteration):
        train(density, source, settings, seed=0, device=device)
    return (source.end - source.begin) / (source.steps - source.warm)


def rate_of(step: Doing, device: torch.device, seconds: float) -> float:
    """Seconds per step."""
    for _ in range(3):
        step()
    _wait(device)
    begin, steps = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds:
        step()
        steps += 1
    _wait(device)
    return (time.perf_counter() - begin) / steps


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def products(device: torch.device, kind: torch.dtype) -> float:
    """FLOP/s of a large product of matrices."""
    size = 8192 if device.type == "cuda" else 1024
    a = torch.randn(size, size, device=device).to(kind)
    return 2 * size**3 / rate_of(lambda: a @ a, device, 1.0)


def flops(case: Case, device: torch.device, batch: int) -> float:
    """Floating-point operations of one step's products and convolutions."""
    density = case.build(torch.device("cpu")).to("meta").train()
    images = torch.zeros(batch, *case.shape, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter:
        (-density.log_prob(images).mean()).backward()
    return counter.get_total_flops()


def curves(device: torch.device, updates: int) -> list[str]:
    """The held-out loss on digits, float32 eager against the fast way, from one seed."""
    digits = data.load("digits")
    images = torch.from_numpy(digits.images)
    pairs, held = Pairs(images[:1500], device=device), Pairs(images[1500:], device=device)
    ways = {"float32, eager": ("float32", False), "bfloat16": ("bfloat16", False)}
    if device.type == "cuda":
        ways["bfloat16, compiled"] = ("bfloat16", True)
    lines, first = ["| way | held-out loss, nats | against float32 |", "| --- | --- | --- |"], None
    for name, (precision, compile) in ways.items():
        settings = FitSettings.model_validate({"updates": updates, "precision": precision, "compile": compile})
        density = CASES["digits 8×8, 32 filters"].build(device)
        curve = fit_density(density, pairs, held, settings, seed=0)
        loss = curve.heldout_ema[-1]
        first = loss if first is None else first
        lines.append(f"| {name} | {loss:.3f} | {100 * (loss / first - 1):+.2f} % |")
        print(lines[-1], flush=True)
    return lines


def table(
    name: str,
    device: torch.device,
    ways: dict[str, tuple[torch.dtype, bool]],
    seconds: float,
    rounds: int,
    best: dict[torch.dtype, float],
) -> list[str]:
    """Times a case's ways in turns; its lines of the table, by the median turn."""
    case = CASES[name]
    batch = case.batch if device.type == "cuda" else LIGHT.get(name, case.batch)
    images = torch.randint(case.levels, (batch, *case.shape), dtype=torch.uint8).to(device)
    work = flops(case, device, batch)
    taken: dict[str, list[float]] = {way: [] for way in ways}
    peak: dict[str, float] = {}
    failed: set[str] = set()
    for _ in range(rounds):
        for way, (kind, compile) in ways.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            precision = str(kind).removeprefix("torch.")
            settings = FitSettings.model_validate({"updates": 10**6, "precision": precision, "compile": compile})
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                if way == "plain":
                    taken[way].append(rate_of(plain(case, device, images), device, seconds / rounds))
                else:
                    taken[way].append(ours(case, device, images, settings, seconds / rounds))
            if any(isinstance(each.message, CompileWarning) for each in said):
                failed.add(way)
            if device.type == "cuda":
                peak[way] = torch.cuda.max_memory_allocated(device) / 2**30
    usual = statistics.median(taken["plain"])
    lines = []
    for way, (kind, _) in ways.items():
        step = statistics.median(taken[way])
        lines.append(
            f"| {name} | {batch} | {way}{' (failed: eager)' if way in failed else ''} | {batch / step:,.1f} | "
            f"{usual / step:.2f}× | {work / step / best[kind]:.0%} | {f'{peak[way]:.1f}' if way in peak else '—'} |"
        )
    return lines


def main() -> None:
    """Runs the benchmark and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--updates", type=int, default=2000, help="of the comparison of losses; 0 leaves it out")
    parser.add_argument("--seconds", type=float, help="for which each way is timed; 5 on a GPU, else 20")
    parser.add_argument("--rounds", type=int, help="turns that this time is divided into; 1 on a GPU, else 4")
    parser.add_argument("--compile", action="store_true", help="compile on a processor too")
    add_options(parser)
    options = parser.parse_args()
    device = torch.device(options.device)
    torch.set_num_threads(1)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    ways = {"plain": (torch.float32, False), "float32": (torch.float32, False), "bfloat16": (torch.bfloat16, False)}
    if device.type == "cuda" or options.compile:
        ways |= {"float32, compiled": (torch.float32, True), "bfloat16, compiled": (torch.bfloat16, True)}
    # The ways take turns, or whatever else the machine does would be taken for a difference between them. On a GPU a
    # turn begins with minutes of compiling, and nobody else is there.
    rounds = options.rounds or (1 if device.type == "cuda" else 4)
    seconds = options.seconds or (5.0 if device.type == "cuda" else 20.0)
    lines = [
        "| case | batch | way | images/s | gain | share of a product's FLOP/s | peak GiB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    best: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for name in options.cases:
        for kind, rates in best.items():
            rates.append(products(device, kind))
        found = table(name, device, ways, seconds, rounds, {kind: rates[-1] for kind, rates in best.items()})
        print("\n".join(found), flush=True)
        lines += found
        if options.out is not None:  # whatever happens to the next case
            options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if options.updates:
        lines += ["", *curves(device, options.updates)]
    rates = ", ".join(
        f"{str(kind).removeprefix('torch.')} {min(all_) / 1e9:,.0f} to {max(all_) / 1e9:,.0f} GFLOP/s"
        for kind, all_ in best.items()
    )
    lines += ["", f"Products of matrices: {rates}. {where(device)}"]
    deliver(f"train on {device.type}", lines, options)


if __name__ == "__main__":
    main()
