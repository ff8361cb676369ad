"""Log-densities of large Gaussian mixtures: infoplane against torch, KeOps and scikit-learn, one core, one run.

    python benchmarks/sp.py [--centres 100000] [--queries 10000] [--entropy 4000000] [--docs] [--out FILE]

Eight cases: d = 3, 10; β = .005, .1; centres uniform in [-1, 1]^d or tanh(5 N(0, I)) in float64; queries drawn from the
mixture. The number of distinct centres is printed: as long as it is that of all, folding identical ones helps nobody.
Times are the shortest of up to three runs, from centres and queries to log p, whatever is built on the way included.
The error is the largest |Δ log p| on 500 queries against sums over float64 differences; who misses 1e-6 is listed but
does not compete. With `--entropy n` the entropy of n saturated centres (d = 3, β = .005) is taken to a standard error
of .005 nats, on all cores that there are.

Needs `pip install pykeops` and a C++ compiler for KeOps; it is left out where there are none.
"""

import argparse
import math
import os
import resource
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn.neighbors import KernelDensity
from torch import Tensor

from infoplane.information.gaussian_mixture import GaussianMixture
from infoplane.information.sample_propagation import mixture_entropy
from tables import add_options, deliver, where

#: error in log p beyond which a method does not compete
ACCURATE = 1e-6

Method = Callable[[Tensor, Tensor, float], Tensor]


def cases(n: int, m: int) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """The eight cases: name, queries (m, d), centres (n, d), β."""
    for d in (3, 10):
        for beta in (0.005, 0.1):
            for kind in ("uniform", "tanh"):
                generator = torch.Generator().manual_seed(0)
                centres = saturated(n, d, generator) if kind == "tanh" else uniform(n, d, generator)
                chosen = torch.randint(n, (m,), generator=generator)
                noise = torch.randn(m, d, generator=generator, dtype=torch.float64)
                yield f"d = {d}, β = {beta:g}, {kind}", centres[chosen] + beta * noise, centres, beta


def uniform(n: int, d: int, generator: torch.Generator) -> Tensor:
    """Centres uniform in [-1, 1]^d."""
    return 2 * torch.rand(n, d, generator=generator, dtype=torch.float64) - 1


def saturated(n: int, d: int, generator: torch.Generator) -> Tensor:
    """Centres near the corners, edges and faces of the cube, as saturated tanh units leave them."""
    return torch.tanh(5 * torch.randn(n, d, generator=generator, dtype=torch.float64))


def peak(centres: Tensor, beta: float) -> float:
    """log of one Gaussian's density at its centre, over n."""
    n, d = centres.shape
    return -d * (math.log(beta) + 0.5 * math.log(2 * math.pi)) - math.log(n)


def reference(queries: Tensor, centres: Tensor, beta: float) -> Tensor:
    """log p by float64 differences."""
    found = [(-((q - centres) / beta).square().sum(1) / 2).logsumexp(0) for q in queries]
    return torch.stack(found) + peak(centres, beta)


def by_torch(queries: Tensor, centres: Tensor, beta: float) -> Tensor:
    """Chunked logsumexp in float64, squared distances by a matrix product."""
    square = centres.square().sum(1)
    found = []
    for part in queries.split(64):
        distance = part.square().sum(1)[:, None] + square - 2 * part @ centres.T
        found.append(torch.logsumexp(distance.div_(-2 * beta**2), 1))
    return torch.cat(found) + peak(centres, beta)


def by_scikit_learn(queries: Tensor, centres: Tensor, beta: float) -> Tensor:
    """KernelDensity, a k-d tree with a relative tolerance."""
    density = KernelDensity(bandwidth=beta, rtol=1e-6).fit(centres.numpy())
    return torch.from_numpy(density.score_samples(queries.numpy()))


def by_keops(queries: Tensor, centres: Tensor, beta: float) -> Tensor:
    """KeOps: a compiled logsumexp over differences in float64."""
    from pykeops.torch import LazyTensor

    v, c = LazyTensor(queries[:, None] / beta), LazyTensor(centres[None] / beta)
    return (-((v - c) ** 2).sum(2) / 2).logsumexp(1).flatten() + peak(centres, beta)


def ours(tolerance: float) -> Method:
    """infoplane, to a tolerance."""
    return lambda queries, centres, beta: GaussianMixture(centres, beta, tolerance=tolerance).log_density(queries)


def competitors() -> tuple[dict[str, Method], list[str]]:
    """Who competes here, and lines on who does not."""
    found: dict[str, Method] = {"torch": by_torch, "scikit-learn": by_scikit_learn}
    try:
        by_keops(torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64), 1.0)
        by_keops(torch.zeros(2, 10, dtype=torch.float64), torch.ones(2, 10, dtype=torch.float64), 1.0)
        found["KeOps"] = by_keops
    except Exception as error:  # whatever its compiler says
        return found, [f"KeOps left out: {type(error).__name__}: {error}", ""]
    return found, []


def timed(method: Method, queries: Tensor, centres: Tensor, beta: float) -> tuple[float, Tensor]:
    """The shortest of up to three runs, seconds, and what it found."""
    best, spent, found = math.inf, 0.0, torch.empty(0)
    for _ in range(3):
        begin = time.perf_counter()
        found = method(queries, centres, beta)
        seconds = time.perf_counter() - begin
        best, spent = min(best, seconds), spent + seconds
        if spent > 5:
            break
    return best, found


def densities(n: int, m: int) -> list[str]:
    """Times all cases; returns the table's lines."""
    torch.set_num_threads(1)
    others, left_out = competitors()
    methods = {**others, "infoplane 1e-9": ours(1e-9), "infoplane 1e-6": ours(1e-6)}
    heads = ["case", "distinct centres", *methods, "gain at 1e-6", "at 1e-9"]
    lines = [*left_out, f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    gains: dict[str, list[float]] = {"1e-6": [], "1e-9": []}
    for name, queries, centres, beta in cases(n, m):
        expected, seconds, cells = reference(queries[:500], centres, beta), {}, []
        for method, function in methods.items():
            taken, found = timed(function, queries, centres, beta)
            error = float((found[:500] - expected).abs().max())
            accurate = error <= ACCURATE
            if accurate:
                seconds[method] = taken
            cells.append(f"{taken:.3g} s{'' if accurate else f' (misses: {error:.0e})'}")
        best = min(taken for method, taken in seconds.items() if method in others)
        for tolerance, found in gains.items():
            found.append(best / seconds.get(f"infoplane {tolerance}", math.inf))  # what misses gains nothing
        distinct = len(np.unique(centres.numpy(), axis=0))
        shown = " | ".join(f"{found[-1]:.1f}×" for found in gains.values())
        lines.append(f"| {name} | {distinct:,} | {' | '.join(cells)} | {shown} |")
        print(lines[-1], flush=True)
    for tolerance, found in gains.items():
        mean = math.exp(np.mean(np.log(np.maximum(found, 1e-9))))
        lines += ["", f"Against the best accurate competitor, tolerance {tolerance}: geometric mean {mean:.1f}×, "
                  f"smallest {min(found):.1f}×."]  # fmt: skip
    return lines


def entropy(n: int) -> str:
    """Takes the entropy of many saturated centres to a standard error; returns a sentence."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    centres = saturated(n, 3, torch.Generator().manual_seed(0))
    begin = time.perf_counter()
    found = mixture_entropy(centres, 0.005, stderr=0.005, generator=torch.Generator().manual_seed(1))
    seconds = time.perf_counter() - begin
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return (
        f"Entropy of n = {n:,} saturated centres, d = 3, β = .005: {found.value:.4f} ± {found.stderr:.4f} nats "
        f"({found.n:,} draws) in {seconds:.1f} s on {torch.get_num_threads()} threads, {memory:.2f} GB at most."
    )


def main() -> None:
    """Runs the benchmark and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--centres", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--entropy", type=int, default=4_000_000, help="centres of the entropy; 0 leaves it out")
    add_options(parser)
    options = parser.parse_args()
    lines = [entropy(options.entropy), ""] if options.entropy else []
    lines += densities(options.centres, options.queries)
    lines += ["", where(torch.device("cpu"), "densities on one of them")]
    deliver("sp on cpu", lines, options)


if __name__ == "__main__":
    main()
