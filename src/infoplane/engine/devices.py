"""Where cells compute."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
        raise UsageError("no GPU here", received="cuda", legal="auto, cpu", mend="use cpu")
    if name not in ("cpu", "cuda"):
        raise UsageError("unknown device", received=repr(name), legal="auto, cpu, cuda")
    return torch.device(name)


def device_name(device: torch.device) -> str:
    """Returns "cpu", or the GPU's name as its driver has it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def processor_name() -> str:
    """Returns what the processor calls itself."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def default_workers(device: torch.device) -> int:
    """One single-thread process per core, at most 8; none beside a GPU, which one process keeps busy."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if device.type == "cuda" else min(8, cores)


def free_memory(device: torch.device) -> float:
    """Returns how much memory is free on a device, GiB; infinity where that cannot be known."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2**30
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable"):
                return int(line.split()[1]) / 2**20
    return float("inf")


@contextmanager
def one_thread(wanted: bool) -> Iterator[None]:
    """As in a worker, whose every sum is over one thread: another number of threads gives other last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if wanted else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
