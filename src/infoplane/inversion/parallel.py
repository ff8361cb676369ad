"""Train one density on several GPUs, or in several processes, with torch's own distributed data parallelism.

Every process holds the whole model and takes its share of the same global batch, so the losses are those of one process
with that batch; only dropout draws other masks. A script for `torchrun`, which also runs alone::

    # train.py, started with: torchrun --nproc-per-node 8 train.py
    from infoplane.inversion import FitSettings, Pairs, fit_density, joined

    with joined() as ranks:
        pairs, held_out = (Pairs(images, h, device=ranks.device) for images, h in parts)
        density = PixelCNN((3, 32, 32), 256, context=(64, 8, 8)).to(ranks.device)
        curve = fit_density(density, pairs, held_out, FitSettings(batch=128), seed=0, ranks=ranks)
        if ranks.first:
            torch.save(density.state_dict(), "density.pt")
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from infoplane.errors import UsageError, unknown
from infoplane.inversion.fast import Loss, compiled, compiling, laid_out
from infoplane.inversion.fit import Curve, OneSource, Progress, losses_of, train
from infoplane.inversion.pairs import Pairs
from infoplane.inversion.precision import autocast, is_wide
from infoplane.inversion.settings import FitSettings
from infoplane.torch_state import own_state

#: where a process may compute
DEVICES = ("auto", "cpu", "cuda")
#: between the seeds of two processes, so that their dropout masks differ
STRIDE = 7919


@dataclass(frozen=True)
class Ranks:
    """The processes that train one model together, as one of them sees it.

    Attributes:
        rank: Which one this is, from 0.
        count: How many there are.
        device: Where this one computes.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that reports and writes."""
        return self.rank == 0


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Joins the processes that `torchrun` has started, and leaves them at the end; without it, one process is alone.

    Communication is by NCCL between GPUs, else by Gloo.

    Args:
        device: "auto" is a GPU of its own for every process where there are any, else "cpu".

    Raises:
        UsageError: There are fewer GPUs than processes on this machine.
    """
    if device not in DEVICES:
        raise unknown("device", str(device), DEVICES)
    rank, local = (int(os.environ.get(name, 0)) for name in ("RANK", "LOCAL_RANK"))
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    if on_gpu and local >= torch.cuda.device_count():
        raise UsageError(
            "a process without a GPU",
            received=f"process {local} on a machine with {torch.cuda.device_count()}",
            mend="lower torchrun's --nproc-per-node, or choose the device cpu",
        )
    where = torch.device("cuda", local) if on_gpu else torch.device("cpu")
    if on_gpu:
        torch.cuda.set_device(where)
    # torchrun says in the environment where the others are; alone, there is nobody to be found.
    alone = {"store": dist.HashStore(), "rank": 0, "world_size": 1} if "RANK" not in os.environ else {}  # pyright: ignore
    dist.init_process_group("nccl" if on_gpu else "gloo", **alone)
    try:
        yield Ranks(rank, int(os.environ.get("WORLD_SIZE", 1)), where)
    finally:
        dist.destroy_process_group()


@own_state()
def fit_on_ranks(
    model: nn.Module,
    loss: Loss,
    pairs: Pairs,
    held_out: Pairs,
    settings: FitSettings,
    *,
    seed: int,
    ranks: Ranks,
    progress: Progress | None = None,
) -> Curve:
    """As `fit`, by all processes together: each must call it with the same arguments, but on its own device.

    Returns the same curve, and leaves the model with the same weights, in all of them. Losses and gradients are those
    of the whole batch of `settings.batch` examples, and every process scores its share of the held-out pairs, so that
    none waits for another. Only the first one reports progress.

    Raises:
        FitError: A loss or gradient is not finite; in every process, since they share both.
        UsageError: There is nothing to train on or held out, the batch is smaller than the number of processes, or the
            time is limited: the processes would not agree on a number of updates.
    """
    if settings.minutes is not None:
        raise UsageError(
            "several processes cannot train by time", received=f"minutes {settings.minutes}", legal="updates"
        )
    if settings.batch < ranks.count:
        raise UsageError("a batch smaller than the number of processes", received=f"{settings.batch} for {ranks.count}")
    model = laid_out(model, pairs.device)  # before the gradients' buckets are laid out after it
    source = SharedSource(OneSource(model, loss, pairs, held_out, settings, seed), ranks)
    reported = progress if ranks.first else None
    return train(model, source, settings, seed=seed + STRIDE * ranks.rank, device=pairs.device, progress=reported)


class SharedSource:
    """The losses of one source, the same in all processes, each computing those of its share of every global batch."""

    def __init__(self, source: OneSource, ranks: Ranks) -> None:
        self.source, self.ranks = source, ranks
        self._share = slice(ranks.rank, None, ranks.count)
        self._held_out = source.held_out.subset(torch.arange(len(source.held_out))[self._share])
        # It averages gradients over processes, which thus become those of the whole batch, however that is shared out.
        self._losses = DistributedDataParallel(
            _Loss(source, ranks.count / source.settings.batch),
            device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
            static_graph=True,  # some of a density's last weights may go unused
        )

    def where(self, step: int) -> str:
        return self.source.where(step)

    def step(self) -> Tensor:
        """Differentiates this process's part of the mean loss of the next global batch; returns that mean."""
        examples = self.source.pairs.training_batch(next(self.source.order)[self._share])
        with autocast(self.source.settings, self.ranks.device, wide=is_wide(self.source.model)):
            part = self._losses(*examples)
        part.backward()
        whole = part.detach().clone()
        dist.all_reduce(whole)
        return whole / self.ranks.count

    def held_out_loss(self) -> float:
        """The mean held-out loss over all processes' shares, in evaluation mode."""
        total = torch.zeros((), dtype=torch.float64)
        if len(self._held_out):
            total = losses_of(self.source.model, self.source.loss, self._held_out).sum()
        total = total.to(self.ranks.device)
        dist.all_reduce(total)
        return float(total) / len(self.source.held_out)


class _Loss(nn.Module):
    """A model's losses as a module, which is what can be wrapped: a batch -> their sum times a factor."""

    def __init__(self, source: OneSource, factor: float) -> None:
        super().__init__()
        self.model = source.model  # so that its parameters are found
        compile = compiling(source.settings, source.pairs.device)
        self.loss, self.factor = compiled(source.loss) if compile else source.loss, factor

    def forward(self, *examples: Tensor | None) -> Tensor:
        return self.factor * self.loss(*examples).sum()
