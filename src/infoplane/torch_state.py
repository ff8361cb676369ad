"""Torch's settings while this package computes, and the caller's own while the caller's code runs.

Autocast, `no_grad`, a default dtype, hooks, modes, and more of that kind hold for whatever is computed inside them. In
a training script they are meant for the script: a density that is fitted inside them is another density, or none.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch.nn.modules import module as modules
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks
from torch.utils import _python_dispatch as dispatch
from torch.utils._device import DeviceContext

P = ParamSpec("P")
R = TypeVar("R")

#: where torch keeps the hooks on saved tensors; only its own context, which adds a pair, is public
_autograd: Any = torch._C._autograd  # pyright: ignore[reportAttributeAccessIssue]

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
            casts, others = dict(self.autocast), dict(before.autocast)
            for kind in casts.keys() | others.keys():
                if casts.get(kind) != others.get(kind):
                    dtype = casts.get(kind, others.get(kind))
                    stack.enter_context(torch.autocast(kind, dtype=dtype, enabled=kind in casts))
            if self.device != before.device:
                stack.enter_context(torch.device(self.device))
            if self.dtype != before.dtype:
                torch.set_default_dtype(self.dtype)
                stack.callback(torch.set_default_dtype, before.dtype)
            found: list[tuple[Callable[[Any], Any], Any]] = []
            stack.callback(lambda: [write(value) for write, value in found])  # in their order, as they were set
            for (_, write, _), wanted, own in zip(_SWITCHES, self.switches, before.switches, strict=True):
                if wanted != own:
                    found.append((write, own))
                    write(wanted)
            yield


def _matmul_precision() -> str:
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:  # set for single libraries, which torch then does not sum up
        return "highest"


def _set_deterministic(value: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(value[0], warn_only=value[1])


def _read_saving() -> tuple[tuple[Any, Any], ...]:
    """The hooks on tensors that are saved to differentiate by, the outermost first: torch shows the innermost only."""
    found = []
    while (pair := _autograd._top_saved_tensors_default_hooks(True)) is not None:
        found.insert(0, pair)
        _autograd._pop_saved_tensors_default_hooks()
    for pair in found:
        _autograd._push_saved_tensors_default_hooks(*pair)
    return tuple(found)


def _set_saving(pairs: tuple[tuple[Any, Any], ...]) -> None:
    while _autograd._top_saved_tensors_default_hooks(True) is not None:
        _autograd._pop_saved_tensors_default_hooks()
    for pair in pairs:
        _autograd._push_saved_tensors_default_hooks(*pair)


def _functions() -> list[Any]:
    return [torch._C._get_function_stack_at(place) for place in range(torch._C._len_torch_function_stack())]


def _read_functions() -> tuple[Any, ...]:
    """The modes that see torch's functions; without that of the default device, which is told on its own."""
    return tuple(mode for mode in _functions() if not isinstance(mode, DeviceContext))


def _set_functions(modes: tuple[Any, ...]) -> None:
    devices = [mode for mode in _functions() if isinstance(mode, DeviceContext)]
    for _ in range(torch._C._len_torch_function_stack()):
        torch._C._pop_torch_function_stack()
    for mode in (*devices, *modes):  # torch keeps devices at the bottom
        torch._C._push_on_torch_function_stack(mode)


def _set_dispatch(modes: tuple[Any, ...]) -> None:
    for _ in range(torch._C._len_torch_dispatch_stack()):
        dispatch._pop_mode()
    for mode in modes:
        dispatch._push_mode(mode)


#: hooks that see every module, and every optimiser's step
_HOOKS = (
    modules._global_forward_pre_hooks,
    modules._global_forward_hooks,
    modules._global_forward_hooks_with_kwargs,
    modules._global_forward_hooks_always_called,
    modules._global_backward_pre_hooks,
    modules._global_backward_hooks,
    modules._global_module_registration_hooks,
    modules._global_parameter_registration_hooks,
    modules._global_buffer_registration_hooks,
    _global_optimizer_pre_hooks,
    _global_optimizer_post_hooks,
)


def _set_hooks(hooks: tuple[tuple[tuple[Any, Any], ...], ...]) -> None:
    for place, items in zip(_HOOKS, hooks, strict=True):
        place.clear()
        place.update(items)


def _read_cudnn() -> tuple[bool, bool, bool, bool]:
    try:
        tf32 = torch._C._get_cudnn_allow_tf32()
    except RuntimeError:  # convolutions and recurrent layers differ, which `_PRECISIONS` tells
        tf32 = True
    return (
        torch._C._get_cudnn_enabled(),
        torch._C._get_cudnn_benchmark(),
        torch._C._get_cudnn_deterministic(),
        tf32,
    )


def _set_cudnn(value: tuple[bool, bool, bool, bool]) -> None:
    torch._C._set_cudnn_enabled(value[0])
    torch._C._set_cudnn_benchmark(value[1])
    torch._C._set_cudnn_deterministic(value[2])
    if value[3] != _read_cudnn()[3]:
        torch._C._set_cudnn_allow_tf32(value[3])


#: libraries and operations whose single precision can be set, and what it is in a fresh interpreter; those that others
#: follow come first
_PRECISIONS = {
    ("generic", "all"): "none",
    ("mkldnn", "all"): "none",
    ("cuda", "all"): "none",
    ("mkldnn", "conv"): "none",
    ("mkldnn", "rnn"): "none",
    ("mkldnn", "matmul"): "none",
    ("cuda", "conv"): "tf32",
    ("cuda", "rnn"): "tf32",
    ("cuda", "matmul"): "none",
}


def _set_precisions(values: tuple[str, ...]) -> None:
    for key, value in zip(_PRECISIONS, values, strict=True):
        if torch._C._get_fp32_precision_getter(*key) != value:  # else it may follow another one, and goes on doing so
            torch._C._set_fp32_precision_setter(*key, value)


#: zero for a processor that takes numbers so small for zero
_DENORMAL = 5e-324


#: what has one value for the whole process or thread: how it is read, how it is set, and a fresh interpreter's
_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], Any], Any], ...] = (
    (_read_functions, _set_functions, ()),
    (lambda: tuple(dispatch._get_current_dispatch_mode_stack()), _set_dispatch, ()),
    (_read_saving, _set_saving, ()),
    (lambda: tuple(tuple(place.items()) for place in _HOOKS), _set_hooks, ((),) * len(_HOOKS)),
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
    (_read_cudnn, _set_cudnn, (True, False, False, True)),
    # After the two that set some of these too.
    (
        lambda: tuple(torch._C._get_fp32_precision_getter(*key) for key in _PRECISIONS),
        _set_precisions,
        tuple(_PRECISIONS.values()),
    ),
    (torch._C._get_mkldnn_enabled, torch._C._set_mkldnn_enabled, True),
    (torch._C._get_mkldnn_deterministic, torch._C._set_mkldnn_deterministic, False),
    (torch._C._get_nnpack_enabled, torch._C._set_nnpack_enabled, True),
    (lambda: _DENORMAL == 0.0, torch.set_flush_denormal, False),
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


@contextmanager
def evaluating(model: torch.nn.Module) -> Iterator[None]:
    """While active, a model is in evaluation mode and nothing is differentiated; its flags come back after it."""
    flags = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            model.eval()
            yield
    finally:
        for module, flag in flags:
            module.training = flag


def for_caller(function: Callable[P, R]) -> Callable[P, R]:
    """Returns a function of the caller's that always runs in the caller's state."""

    @wraps(function, updated=())
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with callers_state():
            return function(*args, **kwargs)

    return run
