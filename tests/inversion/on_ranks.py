"""What the tests of several processes train: run by torchrun with a folder to write to, or called in one process."""

import dataclasses
import json
import sys
from pathlib import Path

import torch

from infoplane.densities import PixelCNN
from infoplane.errors import InfoplaneError
from infoplane.inversion import FitSettings, Pairs, Ranks, fit_density, joined

CASES = {
    "vector": {"context": (4,), "batch": 6},
    "map, batch not divisible": {"context": (2, 2, 2), "batch": 7},
    "unconditional, weight norm, initialised from data": {"context": None, "batch": 4, "weight_norm": True},
    "fewer held out than processes": {"context": (4,), "batch": 2, "held": 1},
}
UPDATES = 12


def data(context, n):
    """Images whose rows are alike, and contexts that say something of them."""
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(0, 4, (n, 1, 1, 4), generator=generator)
    images = rows.expand(n, 1, 3, 4).to(torch.uint8).contiguous()
    if context is None:
        return images, None
    h = torch.randn(n, *context, generator=generator)
    h.flatten(1)[:, :4] += rows.flatten(1)
    return images, h


def train(case: str, ranks: Ranks | None, *, dropout=0.0, seen=None, learning_rate=3e-3):
    """Returns the curve of one case and its density."""
    options = CASES[case]
    context, held = options["context"], options.get("held", 11)
    images, h = data(context, 30 + held)
    torch.manual_seed(0)
    density = PixelCNN(
        (1, 3, 4), 4, context=context, filters=4, residual_layers=1, scales=2, dropout=dropout,
        weight_norm=options.get("weight_norm", False),
    )  # fmt: skip
    parts = [Pairs(images[at], None if h is None else h[at]) for at in (slice(0, 30), slice(30, None))]
    settings = FitSettings(
        updates=UPDATES, batch=options["batch"], evaluations=4, warmup=2, learning_rate=learning_rate
    )
    progress = None if seen is None else lambda *a: seen.append(a)
    return fit_density(density, *parts, settings, seed=1, ranks=ranks, progress=progress), density


def main(folder: Path) -> None:
    with joined() as ranks:
        found = {"rank": ranks.rank, "count": ranks.count, "first": ranks.first, "cases": {}}
        for case in CASES:
            seen = []
            curve, density = train(case, ranks, seen=seen)
            weights = torch.cat([p.detach().flatten().double() for p in density.parameters()])
            found["cases"][case] = {
                "curve": dataclasses.asdict(curve), "weights": weights.tolist(), "progress": len(seen),
            }  # fmt: skip
        found["dropout"] = train("vector", ranks, dropout=0.5)[0].train
        try:
            train("vector", ranks, learning_rate=1e30)
        except InfoplaneError as error:
            found["diverged"] = str(error)
        try:
            CASES["vector"]["batch"] = 1
            train("vector", ranks)
        except InfoplaneError as error:
            found["refused"] = str(error)
        (folder / f"{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))
