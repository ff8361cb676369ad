"""How much there is to compute, whatever the machine, and how long that takes on one.

Passes through networks are counted on tensors without data, so that a study of the papers' size costs nothing to ask
about; drawing pixel by pixel on an image of a few pixels.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cache, cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from infoplane import densities
from infoplane.densities.density import Drawing
from infoplane.engine.kind import Kind

#: (C, H, W) of an image
Shape = tuple[int, int, int]
#: images in a batch without gradients
AT_ONCE = 128


@dataclass(frozen=True)
class Work:
    """How much there is to compute.

    Attributes:
        operations: Calls of a tensor operation in passes through networks.
        flops: Floating-point operations of matrix products and convolutions.
        written: Numbers that operations write; where images are drawn also those of weights that they read.
        calls: Calls of a tensor operation on few numbers: where images are drawn pixel by pixel, and in the descent of
            networks of a few units.
        visits: Blocks of a mixture's centres that are looked at for a query, and what takes as long.
    """

    operations: float = 0.0
    flops: float = 0.0
    written: float = 0.0
    calls: float = 0.0
    visits: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def times(self, passes: float) -> "Work":
        """So many passes."""
        return Work(*(passes * amount for amount in astuple(self)))


@dataclass(frozen=True)
class Machine:
    """How long work takes: seconds for one of each part of a `Work`, by one thread on a CPU. They add up."""

    per_operation: float = 0.0
    per_flop: float = 0.0
    per_written: float = 0.0
    per_call: float = 0.0
    per_visit: float = 0.0

    def seconds(self, work: Work) -> float:
        """Returns the time that this much work takes."""
        return sum(speed * amount for speed, amount in zip(astuple(self), astuple(work), strict=True))


#: a machine as there are many (one core of a server of 2024), for forecasts that are not worth a measurement
TYPICAL = Machine(per_operation=1.3e-5, per_flop=1.4e-11, per_written=7e-10, per_call=2e-6, per_visit=1.5e-6)


def mean(works: Sequence[Work]) -> Work:
    """Returns the mean of some amounts of work."""
    return sum(works, Work()).times(1 / len(works))


class Prices:
    """What each kind of cell costs, for one study's shapes."""

    def ways(self, kind: Kind) -> list[Kind]:
        """Returns the settings that a cell may have once the data have chosen its density, else its own."""
        return [kind]

    def of(self, kind: Kind) -> Work:
        """Returns the work of a cell; where the data choose its density, the mean of those that they may choose."""
        return mean([way.work(self) or Work() for way in self.ways(kind)])

    def size(self, kind: Kind) -> float:
        """Returns about how many bytes a cell stores: its arrays and weights; 0 where they are too few to count."""
        return max(way.size(self) for way in self.ways(kind))


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operations, self.flops, self.written, self.read = 0, 0, 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations += 1
        self.written += sum(leaf.numel() for leaf in tree_leaves(out) if isinstance(leaf, Tensor))
        if (packet := func._overloadpacket) in flop_registry:
            self.flops += flop_registry[packet](*args, **(kwargs or {}), out_val=out)
            # Of one pixel the weights are the larger factor.
            self.read += max(leaf.numel() for leaf in args if isinstance(leaf, Tensor))
        return out


def count_work(run: Callable[[], Any]) -> Work:
    """Returns what `run` computes, as passes through networks."""
    with _Counter() as counter:
        run()
    return Work(counter.operations, counter.flops, counter.written)


class Passes:
    """What passes through a network take, each counted once.

    Args:
        build: Makes the network.
        loss: (network, images, contexts) -> losses.
        shape, context: Of an image, and of a context; None where there is none.

    Attributes:
        model: The network, without data.
    """

    def __init__(
        self, build: Callable[[], nn.Module], loss: Callable[..., Tensor], shape: Shape, context: Sequence[int] | None
    ) -> None:
        with torch.device("meta"):
            self.model = build()
        self._loss, self._shape, self._context = loss, shape, context
        self._steps: dict[int, Work] = {}

    @property
    def weights(self) -> int:
        """How many weights the network has."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    def losses(self, n: int) -> Tensor:
        """Returns the losses of so many examples without data."""
        with torch.device("meta"):
            images = torch.zeros(n, *self._shape, dtype=torch.uint8)
            context = None if self._context is None else torch.zeros(n, *self._context)
        return self._loss(self.model, images, context)

    @cached_property
    def image(self) -> Work:
        """The work of one image without gradients, among many."""
        self.model.eval()
        with torch.no_grad():
            return count_work(lambda: self.losses(AT_ONCE)).times(1 / AT_ONCE)

    def step(self, batch: int) -> Work:
        """Returns the work of one training step on a batch."""

        def step() -> None:
            self.losses(batch).mean().backward()
            for parameter in self.model.parameters():
                if parameter.grad is not None:
                    # A few passes over the weights stand for the optimiser and the running average.
                    parameter.grad.mul(0.9).add(1.0).sqrt()
                    parameter.grad = None

        if batch not in self._steps:
            self.model.train()
            with torch.enable_grad():
                self._steps[batch] = count_work(step)
        return self._steps[batch]


def density_loss(density: densities.Density, images: Tensor, context: Tensor | None) -> Tensor:
    """Returns what a training step differentiates, or scoring computes, whichever the density is about to do: (B,)."""
    if not density.training:
        return -density.log_prob(images, context)
    guide = None if context is None else torch.zeros(images.shape, device=images.device)
    return density.training_loss(images, context, guide)


# Counting takes a second, and many plans of one process ask for the same density: it is known by its JSON.


def passes_of(spec: Mapping[str, Any], shape: Shape, levels: int, context: tuple[int, ...] | None) -> Passes:
    """Returns what passes through a density take, as a study has it."""
    return _passes(json.dumps(dict(spec), sort_keys=True), shape, levels, context)


@cache
def _passes(spec: str, shape: Shape, levels: int, context: tuple[int, ...] | None) -> Passes:
    options = json.loads(spec)
    build = partial(densities.build, options.pop("kind"), shape, levels, context, options, device="meta")
    return Passes(build, density_loss, shape, context)


@cache
def drawing_of(passes: Passes, images: int) -> Work:
    """Returns the work of drawing images of a few pixels at once from an unconditional density."""
    # Tensors without data are slow to count on, and here there is hardly any data.
    density: Any = copy.deepcopy(passes.model).to_empty(device="cpu").eval()
    for tensor in (*density.parameters(), *density.buffers()):
        tensor.data.fill_(1e-3)
    drawn = torch.zeros(images, *density.shape, dtype=torch.uint8)
    # Inside of `sample` no mode from outside sees anything.
    with torch.no_grad(), _Counter() as counter:
        density.draw(drawn, 0, None, Drawing(torch.Generator()))
    return Work(calls=counter.operations, flops=counter.flops, written=counter.written + counter.read)
