"""Torch's settings while this package computes, and the caller's own while the caller's code runs.

Autocast, `no_grad`, a default dtype or device, and more of that kind hold for whatever is computed inside them. In a
training script they are meant for the script: a density that is fitted inside them is another density, or none.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch

P = ParamSpec("P")
R = TypeVar("R")

#: devices for which autocast may be on
KINDS = ("cpu", "cuda", "mps", "xpu")


@dataclass(frozen=True)
class State:
    """What decides how torch computes, beside tensors, random state and the number of threads.

    Attributes:
        gradients: Whether operations are recorded to be differentiated.
        inference: Whether tensors are made that can never be differentiated.
        autocast: (device, dtype) wherever autocast is on.
        dtype, device: Of new tensors.
        switches: Values of `_SWITCHES`.
    """

    gradients: bool
    inference: bool
    autocast: tuple[tuple[str, torch.dtype], ...]
    dtype: torch.dtype
    device: torch.device
    switches: tuple[Any, ...]

    @classmethod
    def now(cls) -> "State":
        """The state that is in force."""
        kinds = [kind for kind in KINDS if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)]
        return cls(
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            tuple((kind, torch.get_autocast_dtype(kind)) for kind in kinds),
            torch.get_default_dtype(),
            torch.get_default_device(),
            tuple(read() for read, _, _ in _SWITCHES),
        )

    @contextmanager
    def entered(self, before: "State | None" = None) -> Iterator[None]:
        """While active, this state is in force; only what differs from that of before is touched, and put back."""
        before = State.now() if before is None else before
        with ExitStack() as stack:
            if self.inference != before.inference:
                stack.enter_context(torch.inference_mode(self.inference))
            # After inference mode, which decides on gradients too.
            stack.enter_context(torch.set_grad_enabled(self.gradients))
            own, others = dict(self.autocast), dict(before.autocast)
            for kind in own.keys() | others.keys():
                if own.get(kind) != others.get(kind):
                    dtype = own.get(kind, others.get(kind))
                    stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=kind in own))
            if self.device != before.device:
                stack.enter_context(torch.device(self.device))
            if self.dtype != before.dtype:
                torch.set_default_dtype(self.dtype)
                stack.callback(torch.set_default_dtype, before.dtype)
            for (_, write, _), wanted, found in zip(_SWITCHES, self.switches, before.switches, strict=True):
                if wanted != found:
                    write(wanted)
                    stack.callback(write, found)
            yield


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set for single libraries, which torch then does not sum up
        return "highest"


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


#: what has one value for the whole process: how it is read, how it is set, and what it is in a fresh interpreter
_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], Any], Any], ...] = (
    (
        lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
        _set_deterministic,
        (False, False),
    ),
    (
        lambda: (torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()),
        lambda value: torch.autograd.set_detect_anomaly(*value),
        (False, True),
    ),
    (_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (
        lambda: tuple(np.geterr().items()),
        lambda value: np.seterr(**dict(value)),
        (("divide", "warn"), ("over", "warn"), ("under", "ignore"), ("invalid", "warn")),
    ),
)

#: that of a fresh interpreter, and so that of worker processes
OWN = State(True, False, (), torch.float32, torch.device("cpu"), tuple(fresh for _, _, fresh in _SWITCHES))

#: the caller's state while the own one is in force, else None
_caller: ContextVar[State | None] = ContextVar("infoplane_caller", default=None)


@contextmanager
def own_state() -> Iterator[None]:
    """While active, torch computes as in a fresh interpreter, whatever the caller has switched on; also a decorator.

    Inside itself it changes nothing, so that what is computed without gradients in it stays so.
    """
    if _caller.get() is not None:
        yield
        return
    before = State.now()
    token = _caller.set(before)
    try:
        with OWN.entered(before):
            yield
    finally:
        _caller.reset(token)


@contextmanager
def callers_state() -> Iterator[None]:
    """While active inside `own_state`, torch computes as the caller had it: for code that is the caller's."""
    state = _caller.get()
    if state is None:
        yield
        return
    token = _caller.set(None)
    try:
        with state.entered():
            yield
    finally:
        _caller.reset(token)


def for_caller(function: Callable[P, R]) -> Callable[P, R]:
    """Returns a function of the caller's that always runs in the caller's state."""

    @wraps(function, updated=())
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with callers_state():
            return function(*args, **kwargs)

    return run
