"""How much memory a measurement takes beside its images, and how much the activations that it keeps.

    python benchmarks/memory.py [--megabytes 74] [--layers 6]

Each line is a process of its own: the most that it has held (ru_maxrss, which counts pages of mapped files too) less
what it held before, so with the images themselves. The network is tiny, and so are the fits.
"""

import argparse
import resource
import subprocess
import sys

import numpy as np
import torch
from torch import nn

from infoplane.profile import measure

#: of an image
SHAPE = (3, 32, 32)


def held() -> float:
    """The most that this process has held so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def network(layers: int) -> nn.Module:
    """A chain of so many maps, each of which takes 32 bytes for each byte of an image, and then a small vector."""
    maps = [nn.Conv2d(3 if index == 0 else 24, 24, 3, padding=1) for index in range(layers)]
    return nn.Sequential(*maps, nn.AdaptiveAvgPool2d(2), nn.Flatten())


def once(megabytes: float, layers: int, kind: str) -> None:
    """Measures so many bytes of images at so many wide layers, or at the vector; prints what that took."""
    torch.manual_seed(0)
    model = network(layers)
    wanted = [str(index) for index in range(layers)] or [str(len(model) - 1)]
    options = {"layers": wanted, "budget": 2, "refits": 1, "kinds": [kind], "workers": 0, "quiet": True}
    rng = np.random.default_rng(0)

    def images(count: int) -> np.ndarray:
        return rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8)

    # What is loaded when it is first used, and what a batch of a fit takes, is no part of what many images take.
    measure(model, images(1600), **options)
    before = held()
    many = images(round(megabytes * 1e6 / np.prod(SHAPE)))
    measure(model, many, **options)
    more, size = held() - before, many.nbytes / 1e6
    activations = f"{layers} layers of {32 * size:,.0f} MB" if layers else "a vector"
    print(
        f"{kind} at {activations} from {size:.0f} MB of images: {more:.0f} MB more, {more / size:.1f} times the images"
    )


def main() -> None:
    """Measures a vector, then wide layers, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--megabytes", type=float, default=74.0)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--once", nargs=3, metavar=("MEGABYTES", "LAYERS", "KIND"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.once is not None:
        megabytes, layers, kind = asked.once
        once(float(megabytes), int(layers), kind)
        return
    few = asked.megabytes / 10
    for megabytes, layers, kind in ((asked.megabytes, 0, "mse"), (few, 0, "nce"), (few, asked.layers, "mse")):
        subprocess.run([sys.executable, __file__, "--once", str(megabytes), str(layers), kind], check=True)


if __name__ == "__main__":
    main()
