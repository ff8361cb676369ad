"""What is computed again and again with nothing but its data changed, recorded as CUDA graphs.

A small operation takes a GPU less time than it takes Python to ask for it; a graph of many is asked for at once. It
repeats what was recorded, on the same memory. So whatever differs between two runs must lie in tensors that keep their
place, and what Python does besides is not repeated.
"""

import warnings
from collections.abc import Callable, Hashable
from functools import cache, cached_property
from typing import Any

import torch
from torch import Tensor

#: (key, function): runs the function, or replays what was recorded under the same key
Recorder = Callable[[Hashable, Callable[[], None]], None]
#: the number of a row or column or, where a recording reads it anew each time, int64 (1,) that holds it
Position = int | Tensor


class GraphWarning(UserWarning):
    """What should be recorded just runs."""


def recorder(device: torch.device) -> Recorder | None:
    """What records on a device: graphs on every GPU, nothing elsewhere."""
    return Graphs(device) if device.type == "cuda" else None


class Graphs:
    """One CUDA graph per key; once one cannot be recorded everything just runs, which is said once.

    The first function of a key runs on a side stream: libraries set up what they need when first asked. The second is
    recorded, and what was recorded is replayed from then on, so that nothing is computed twice. All graphs share their
    memory, since nothing that they allocate outlives a replay; so no two of them may be replayed at the same time.

    What it costs: per key one run at Python's speed, its recording, which takes Python about as long again, and a wait
    for the device. Drawing images has about ten keys (rows: one per scale; pixels: two per scale but one for the
    coarsest, and as many again if rows are kept) and makes its graphs anew in every call, whose weights they hold: as
    much as some twenty pixels without graphs.

    Args:
        device: A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._replays: dict[Hashable, Callable[[], None] | None] = {}
        self._works = True

    def __call__(self, key: Hashable, function: Callable[[], None]) -> None:
        if not self._works:
            function()
        elif key not in self._replays:
            self._replays[key] = None
            self._warm_up(function)
        else:
            replay = self._replays[key] or self._recorded(key, function)
            replay()

    def _recorded(self, key: Hashable, function: Callable[[], None]) -> Callable[[], None]:
        try:
            replay = self._replays[key] = self._capture(function)
        except Exception as error:  # whatever the driver says; nothing has been computed yet
            cause = error.__context__ or error  # a recording that failed fails again when it ends
            first = str(cause).strip().partition("\n")[0]
            text = f"CUDA graphs cannot be recorded, sampling goes on without: {type(cause).__name__}: {first}"
            warnings.warn(GraphWarning(text), stacklevel=3)
            self._works = False
            return function
        return replay

    def _warm_up(self, function: Callable[[], None]) -> None:
        with torch.cuda.device(self.device):
            here, aside = torch.cuda.current_stream(), _aside(self.device)
            aside.wait_stream(here)
            with torch.cuda.stream(aside):
                function()
            here.wait_stream(aside)

    def _capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Records a function, which computes nothing yet; returns what replays it."""
        graph, aside = torch.cuda.CUDAGraph(), _aside(self.device)
        with (
            torch.cuda.device(self.device),
            torch.cuda.stream(aside),  # when recording fails, only this brings back the stream before
            torch.cuda.graph(graph, pool=self._pool, stream=aside, capture_error_mode="thread_local"),
        ):
            function()
        return graph.replay

    @cached_property
    def _pool(self) -> Any:
        return torch.cuda.graph_pool_handle()


@cache
def _aside(device: torch.device) -> torch.cuda.Stream:
    """One stream for all recordings: libraries keep memory for every stream that they have seen."""
    return torch.cuda.Stream(device)


def value_at(rows: Tensor, position: Position) -> Tensor:
    """(W, …) -> what stands at a position: (…)."""
    return rows[position] if isinstance(position, int) else rows.index_select(0, position)[0]


def put_at(rows: Tensor, position: Position, value: Tensor) -> None:
    """Puts a value (…) at a position of (W, …)."""
    if isinstance(position, int):
        rows[position] = value
    else:
        rows.index_copy_(0, position, value[None])
