"""Counting what is computed, whatever the machine (`machine.py` knows how long it takes).

Passes through networks are counted on tensors without data, so that a study of the papers' size costs nothing to ask
about; drawing pixel by pixel, which is small steps without number, on images of a few pixels, and extended from there.
"""

from collections.abc import Callable
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from infoplane import densities

#: what a query of a mixture takes beside visits to blocks, in such visits
QUERY = 11
#: operation -> which of its arguments is a weight
_WEIGHT = {
    torch.ops.aten.mm: 1,
    torch.ops.aten.bmm: 1,
    torch.ops.aten.addmm: 2,
    torch.ops.aten.convolution: 1,
}


@dataclass(frozen=True)
class Work:
    """How much there is to compute.

    Attributes:
        operations: Calls of a tensor operation in passes through networks.
        flops: Floating-point operations of matrix products and convolutions there.
        written: Numbers written there by all operations.
        calls: Calls of a tensor operation where images are drawn pixel by pixel, without gradients.
        products: Floating-point operations of the matrix products there, which are small.
        moved: Numbers written there, and numbers of weights read.
        light: Calls of a tensor operation in the descent of networks of a few units.
        centres: Centres of Gaussian mixtures that are made.
        visits: Blocks of such centres that are looked at for a query; a query by itself counts for some (`QUERY`).
    """

    operations: float = 0.0
    flops: float = 0.0
    written: float = 0.0
    calls: float = 0.0
    products: float = 0.0
    moved: float = 0.0
    light: float = 0.0
    centres: float = 0.0
    visits: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: "Work") -> "Work":
        return self + other.times(-1)

    def times(self, passes: float, size: float = 1.0) -> "Work":
        """So many passes, each over `size` times as many examples as were counted."""
        once = ("operations", "calls", "light")
        return Work(**{name: passes * n * (1 if name in once else size) for name, n in vars(self).items()})

    @property
    def arithmetic(self) -> float:
        """Floating-point operations of all matrix products and convolutions."""
        return self.flops + self.products


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations, self.flops, self.written, self.weights = 0, 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        self.operations += 1
        self.written += sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        packet = func._overloadpacket
        if packet in flop_registry:
            self.flops += flop_registry[packet](*args, **kwargs, out_val=out)
        if packet in _WEIGHT:
            self.weights += args[_WEIGHT[packet]].numel()
        return out


def count(run: Callable[[], Any]) -> Work:
    """Returns what `run` computes, as passes through networks."""
    with _Counter() as counter:
        run()
    return Work(counter.operations, counter.flops, counter.written)


def count_scoring(model: nn.Module, loss: Callable[[int], Tensor], size: int) -> Work:
    """Returns the work of scoring one image, in batches of a size; `loss` takes a batch size, `model` computes it."""
    model.eval()
    with torch.no_grad():
        return count(lambda: loss(size)).times(1 / size)


def count_memory(model: nn.Module, loss: Callable[[int], Tensor], batch: int) -> float:
    """Returns about how many bytes one training step on a batch holds.

    What is saved for the backward pass, and the weights six times: as they are, their gradients, two moments, their
    average and the best so far.
    """
    model.train()
    saved: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        saved[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        held = loss(batch).mean()
    weights = sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
    own = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    passes = sum(storage.nbytes() for key, storage in saved.items() if key not in own)
    del held
    return float(passes + 6 * weights)


def count_step(model: nn.Module, loss: Callable[[int], Tensor], batch: int) -> Work:
    """Returns the work of one training step on a batch."""
    model.train()
    return count(lambda: _step(model.parameters, lambda: loss(batch).mean()))


def _step(parameters: Callable[[], Any], loss: Callable[[], Tensor]) -> None:
    """One training step; a few passes over the weights stand for the optimiser and the running average."""
    loss().backward()
    with torch.no_grad():
        for parameter in parameters():
            if parameter.grad is not None:
                parameter.grad.mul(0.9).add(1.0).sqrt()
                parameter.grad = None


@dataclass(frozen=True)
class Drawing:
    """What drawing images takes, as (calls, products, numbers written, weights read) for one image at a time.

    Attributes:
        once: At the beginning.
        row, column: Per row, and per column; less than nothing per column, since the first row has none above it.
        pixel: Per pixel.
    """

    once: np.ndarray
    row: np.ndarray
    column: np.ndarray
    pixel: np.ndarray

    @classmethod
    def of(cls, build: Callable[[int, int], densities.Density]) -> "Drawing":
        """Counts the drawing of four images of a few pixels: how much is to be done grows evenly with their sizes.

        Args:
            build: (rows, columns) -> the unconditional density of such images, without data.
        """
        # What runs at the coarsest scale comes round again after so many rows and columns.
        period = max(2, 2 ** (getattr(build(1, 1), "scales", 1) - 1))
        small, broad, tall, large = (_drawn(build(i * period, j * period)) for i in (1, 2) for j in (1, 2))
        pixel = (large - tall - broad + small) / period**2
        row, column = ((longer - small) / period - period * pixel for longer in (tall, broad))
        return cls(small - period * (row + column) - period**2 * pixel, row, column, pixel)

    def work(self, rows: int, columns: int, images: int) -> Work:
        """The work of drawing so many images at once."""
        more = rows * self.row + columns * self.column + rows * columns * self.pixel
        calls, products, written, weights = (float(amount) for amount in self.once + more)
        # What is written at the beginning is the weights', whatever the number of images.
        moved = written + (images - 1) * float(more[2]) + weights
        return Work(calls=calls, products=images * products, moved=moved)


def _drawn(density: densities.Density) -> np.ndarray:
    # Tensors without data are slow to count on, and here there is hardly any data.
    density = density.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in (*density.parameters(), *density.buffers()):
            tensor.fill_(1e-3)
    image = torch.zeros(1, *density.shape, dtype=torch.uint8)
    density.eval()
    # Inside of `sample` no mode from outside sees anything.
    with torch.no_grad(), _Counter() as counter:
        density.draw(image, 0, None, generator=torch.Generator(), progress=None, cached=True, temperature=1.0)
    return np.array([counter.operations, counter.flops, counter.written, counter.weights], dtype=float)
