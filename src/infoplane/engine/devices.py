"""Where cells compute."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from infoplane.errors import UsageError


def pick_device(name: str) -> torch.device:
    """Returns the device for "auto", "cpu" or "cuda".

    Raises:
        UsageError: A GPU is asked for where there is none, or the name is another.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("no GPU here", received="--device cuda", legal="auto, cpu", mend="use --device cpu")
    if name not in ("cpu", "cuda"):
        raise UsageError("unknown device", received=repr(name), legal="auto, cpu, cuda")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Returns "cpu", or the GPU's name as its driver has it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def default_workers(device: torch.device) -> int:
    """One single-thread process per core, at most 8; none beside a GPU, which one process keeps busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if device.type == "cuda" else min(8, cores)


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """As in a worker, whose every sum is over one thread: another number of threads gives other last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
