"""The layers of any `nn.Module` that fire, and their activations, by forward hooks.

A *tap* is one tensor that a module returns in one call. Its name is the module's path; then, if the module is
called several times, which call; then, if the output is a tuple, list, dict or dataclass, where in it the tensor
is: `layer1.0.conv1`, `layer1.0.relu#1`, `lstm[1][0]`, `encoder[last_hidden_state]`. The model itself is `output`.
"""

import copy
import dataclasses
import random
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoplane.arguments import Levels, Seed, checked
from infoplane.capture.generators import generators_reseeded
from infoplane.capture.layout import Reading
from infoplane.capture.patience import ask
from infoplane.errors import UsageError, unknown
from infoplane.torch_state import callers_state, for_caller, own_state

#: What a model is called with: `model(tensor)`, `model(*sequence)` or `model(**mapping)`.
Inputs = Tensor | Sequence[Any] | Mapping[str, Any]
Device = torch.device | str | None

#: what p(x) is called among layers; a module of that name is `<input>`
INPUT = "input"

_Key = tuple[str, int, str]  # module path, number of the call, selector


@dataclasses.dataclass(frozen=True)
class LayerInfo:
    """One tap of a model.

    Attributes:
        name: What to ask `capture` for.
        shape: Shape for one example, without the batch dimension. Where there is no batch dimension to leave out
            (see `problem`), the whole shape in a batch of two.
        dtype: The dtype inside the model; whatever is not float64 is captured as float32.
        module: Class name of the module.
        problem: Why this tap cannot be captured as an activation per example, or None if it can.
        batch_dim: Where the batch dimension is inside the model; captured activations have it first.
        reading: How its axes are read, where `list_layers` found that out; None if there is a problem.
        notes: What its activations depend on beside their image, where `list_layers` found that out, in words.
        random: Whether they are drawn anew in every run.
        bits: In how many bits a unit's value is told from all others that it could have inside the model.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    module: str
    problem: str | None = None
    batch_dim: int = 0
    reading: Reading | None = None
    notes: tuple[str, ...] = ()
    random: bool = False
    bits: int = 32


class Tap:
    """Runs a model and returns chosen activations; for use on the fly, say while a density trains.

    The first call makes a dry run (see `list_layers`) to resolve the names. Between calls no hook stays on the
    model. A model that draws noise does so from a stream that starts where the caller's is at the first call and
    goes on from call to call: every batch gets fresh noise, and the caller's own random state does not move.

    Args:
        model: Any module. It computes where its parameters are; inputs are moved there.
        layers: Names as in `list_layers`.
        transform: From what the tap is called with to model inputs; it gets a copy, which it may write to.
        device: Where activations go; None leaves them where they were computed.

    Raises:
        UsageError: If there is nothing to capture, or the model cannot be hooked.
    """

    @checked
    def __init__(
        self,
        model: nn.Module,
        layers: Sequence[str],
        *,
        transform: Callable[[Any], Inputs] | None = None,
        device: Device = None,
    ) -> None:
        if isinstance(layers, str) or not layers:
            raise UsageError("layers must be a list of one or more names", received=repr(layers))
        self.model = _unwrap(model)
        self.layers = tuple(dict.fromkeys(layers))
        self.transform = None if transform is None else for_caller(transform)
        self.device = device
        self._plan: dict[_Key, LayerInfo] | None = None
        self._noise = _RandomStream()

    @own_state()
    def __call__(self, batch: Any) -> dict[str, Tensor]:
        """Returns the activations by layer, `(B, ...)`, detached, float32 (float64 stays).

        Raises:
            UsageError: If a name is unknown or ambiguous, or its tap cannot be captured or did not fire.
        """
        single = next((len(x) for _, x in _leaves(batch) if x.ndim), 0) == 1
        inputs: Inputs = batch
        if self.transform is not None:
            own = own_batch(batch)
            with self._noise:  # a transform may draw noise as well
                inputs = self.transform(torch.cat([own, own]) if single and isinstance(own, Tensor) else own)
        if self._plan is None:
            self._plan = _resolve(self.model, self.layers, _dry_run(self.model, inputs))
        plan, found = self._plan, dict[str, Tensor]()

        def visit(key: _Key, tensor: Tensor) -> None:
            if (info := plan.get(key)) is not None:
                dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
                # A copy, always: the next module may work in place, as ReLUs do, on the very same memory.
                found[info.name] = (
                    dequantised(tensor.detach())
                    .movedim(info.batch_dim, 0)
                    .to(device=self.device, dtype=dtype, copy=True, memory_format=torch.contiguous_format)
                )

        # Never a batch of one, in which `squeeze()` takes the batch dimension for one that is not there.
        with self._noise:
            _forward(self.model, _rows(inputs, 2) if single else inputs, {path for path, _, _ in plan}, visit)
        if missing := [name for name in self.layers if name not in found]:
            raise UsageError("layers fired in the dry run, but not on this batch", received=", ".join(missing))
        return {name: found[name][:1] if single else found[name] for name in self.layers}


@checked
def capture(
    model: nn.Module,
    layers: Sequence[str],
    batches: Iterable[Any],
    *,
    transform: Callable[[Any], Inputs] | None = None,
    device: Device = "cpu",
) -> Iterator[dict[str, Tensor]]:
    """Returns an iterator over the activations of each batch, by layer: `(B, ...)`, float32 (float64 stays).

    Args:
        model: Any module; left as found (flags, buffers, hooks, random state) after every batch.
        layers: Names as in `list_layers`.
        batches: Model inputs, or what `transform` turns into model inputs; batch dimension first.
        transform: Applied to a copy of each batch before the model.
        device: Where activations go; None leaves them where they were computed.

    Raises:
        UsageError: As `Tap`; about names, when the first batch is asked for.

    Examples:
        >>> model = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Linear(2, 1))
        >>> [found["0"] for found in capture(model, ["0"], [torch.tensor([[-1.0, 2.0]])])]
        [tensor([[0., 2.]])]
    """
    tap = Tap(model, layers, transform=transform, device=device)
    return (tap(batch) for batch in batches)


@checked
def default_transform(levels: Levels) -> Callable[[Tensor], Tensor]:
    """Returns the map x / (levels - 1) from uint8 `(B, C, H, W)`, values below `levels`, to float32 in [0, 1]."""
    return lambda x: x.to(torch.float32) / (levels - 1)


# ---- names ----


def _unwrap(model: nn.Module) -> nn.Module:
    """Returns the Python module behind `torch.compile` wrappers."""
    while (inner := getattr(model, "_orig_mod", None)) is not None:
        model = inner
    if not isinstance(model, nn.Module) or isinstance(model, torch.jit.ScriptModule):
        mend = "pass a model that is not scripted"
        raise UsageError("hooks need a Python nn.Module", received=f"a {type(model).__name__}", mend=mend)
    if isinstance(model, torch.fx.GraphModule) and "eval" in vars(model):  # which `torch.export` puts there
        mend = "pass the module that was exported"
        raise UsageError("hooks need modules that are called", received="an exported program", mend=mend)
    if any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers())):
        mend = "model.to_empty(device='cpu'), then load its weights"
        raise UsageError("the model has no weights", received="parameters on the meta device", mend=mend)
    if any(nn.parameter.is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise UsageError("the model has lazy parameters without a shape yet", mend="run it once on a batch first")
    return model


def _modules(model: nn.Module) -> dict[str, nn.Module]:
    """Returns the modules that can be hooked, by path; a module that has several paths has the first one only."""
    root = "<output>" if "output" in model._modules else "output"
    names = {"": root, INPUT: f"<{INPUT}>"}
    return {
        names.get(own := ".".join(part for part in path.split(".") if part != "_orig_mod"), own): module
        for path, module in model.named_modules()
        if "_orig_mod" not in module._modules and not isinstance(module, torch.jit.ScriptModule)
    }


def _leaves(output: Any, selector: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yields every tensor in a module's output with its selector."""
    if isinstance(output, Tensor):
        yield selector, output
        return
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(output, Mapping):
        items = output.items()
    elif isinstance(output, tuple | list):
        items = enumerate(output)
    elif dataclasses.is_dataclass(output):
        items = ((field.name, getattr(output, field.name)) for field in dataclasses.fields(output))
    for key, value in items:
        yield from _leaves(value, f"{selector}[{key}]")


def _resolve(model: nn.Module, names: Sequence[str], taps: list[tuple[_Key, LayerInfo]]) -> dict[_Key, LayerInfo]:
    """Returns the taps asked for, or raises what is wrong with a name."""
    known = {info.name: (key, info) for key, info in taps}
    if INPUT in names and (renamed := known.get(f"<{INPUT}>")) is not None:
        known[INPUT] = renamed[0], dataclasses.replace(renamed[1], name=INPUT)
    for name in names:
        if name in known:
            if problem := known[name][1].problem:
                mend = "choose another layer; list_layers(model, example) shows which can be captured"
                raise UsageError(f"layer {name!r} has no activation per example", received=problem, mend=mend)
        elif choices := [other for other in known if other.startswith((f"{name}#", f"{name}["))]:
            why = "called several times, or returns several tensors"
            raise UsageError(f"layer name is ambiguous ({why})", received=repr(name), legal=", ".join(choices))
        elif name in _modules(model):
            mend = "list_layers(model, example) shows those that do"
            raise UsageError("this layer does not fire in the forward pass", received=repr(name), mend=mend)
        else:
            raise unknown("layer", name, known)
    return dict(known[name] for name in names)


# ---- running the model ----


def _dry_run(model: nn.Module, example: Inputs) -> list[tuple[_Key, LayerInfo]]:
    """Returns every tap that fires, with its key, from a run on two rows of the example and a run on three."""
    modules = _modules(model)
    two, three = (_outlines(model, _rows(example, size)) for size in (2, 3))
    calls = Counter(path for path, _ in {(path, call) for path, call, _ in two})
    taps = []
    for key, (shape, dtype) in two.items():
        path, call, selector = key
        name = path + (f"#{call}" if calls[path] > 1 else "") + selector
        dim, problem = _batch_dim(shape, three.get(key, ((), dtype))[0])
        if dim is not None:
            shape = shape[:dim] + shape[dim + 1 :]
        if dtype.is_complex or dtype == torch.int64:  # positions and classes, of which none is more than another
            problem = f"its values are {dtype}, not floating point"
        if problem is None and 0 in shape:
            problem = "it holds no values"
        module, bits = modules[path], _bits(dtype, modules[path])
        taps.append((key, LayerInfo(name, shape, dtype, type(module).__name__, problem, dim or 0, bits=bits)))
    return taps


#: bits of the numbers of quantised tensors; of others they are those of their memory
QUANTISED = {torch.quint8: 8, torch.qint8: 8, torch.qint32: 32, torch.quint4x2: 4, torch.quint2x4: 2}


def _bits(dtype: torch.dtype, module: nn.Module) -> int:
    """Returns in how many bits a value that a module returns is told from all others that it could be."""
    enabled = getattr(module, "fake_quant_enabled", None)
    if isinstance(enabled, Tensor) and enabled.numel() == 1 and bool(enabled):
        # Quantised in training: floating point numbers on a grid of so many.
        least, most = getattr(module, "quant_min", None), getattr(module, "quant_max", None)
        if isinstance(least, int) and isinstance(most, int) and most > least:
            return (most - least).bit_length()
    return 1 if dtype == torch.bool else QUANTISED.get(dtype, 8 * dtype.itemsize)


def dequantised(tensor: Tensor) -> Tensor:
    """Returns a quantised tensor's values as floating point numbers, and any other tensor as it is."""
    return tensor.dequantize() if tensor.is_quantized else tensor


def _outlines(model: nn.Module, inputs: Inputs) -> dict[_Key, tuple[tuple[int, ...], torch.dtype]]:
    """Runs the model and returns shape and dtype of every tap; the shape is (-1,) if it is not a dense tensor."""
    seen = {}

    def visit(key: _Key, tensor: Tensor) -> None:
        dense = tensor.layout == torch.strided and not tensor.is_nested
        seen[key] = (tuple(tensor.shape) if dense else (-1,), tensor.dtype)

    try:
        with _RandomStream():
            _forward(model, inputs, _modules(model), visit)
    except Exception as error:
        message = textwrap.shorten(f"{type(error).__name__}: {error}", 400, placeholder=" …")
        mend = _cast(model, inputs) or "check that the inputs have the shape and dtype the model expects"
        if re.search(r"shape '\[.*\]' is invalid for input of size", message):
            mend += "; it is run on batches of other sizes: if it fixes theirs, as x.view(16, 64) does, let it take "
            mend += "x.shape[0] or -1"
        raise UsageError("the model does not run on these inputs", received=message, mend=mend) from error
    return seen


#: how a tensor is cast
CASTS = {torch.float16: "half", torch.bfloat16: "bfloat16", torch.float32: "float", torch.float64: "double"}


def type_of(model: nn.Module) -> torch.dtype:
    """Returns the type of a model's weights: that of the first; float32 where there are none."""
    return next((tensor.dtype for tensor in model.parameters() if tensor.is_floating_point()), torch.float32)


def _cast(model: nn.Module, inputs: Inputs) -> str | None:
    """What to do where inputs are not of the model's own type."""
    own, given = type_of(model), {x.dtype for _, x in _leaves(inputs) if x.is_floating_point()}
    if not given and any(x.dtype == torch.uint8 for _, x in _leaves(inputs)):
        return "give the model floating point numbers: transform=lambda x: x.float() / 255"
    if own in CASTS and given and own not in given:
        return f"give the model the type of its weights: transform=lambda x: x.{CASTS[own]}() / 255"
    return None


def _batch_dim(two: tuple[int, ...], three: tuple[int, ...]) -> tuple[int | None, str | None]:
    """Returns the dimension that is the batch, or what is wrong, from the shapes in batches of two and of three."""
    if -1 in two:
        return None, "it is sparse or nested"
    dims = [dim for dim, sizes in enumerate(zip(two, three)) if sizes == (2, 3)]
    if not dims and two and three and 3 * two[0] == 2 * three[0] > 0:
        return None, f"its rows are parts of examples, such as windows: {two[0] // 2} per example"
    if not dims:
        return None, "it has no batch dimension"
    dim = dims[0]
    if two[:dim] + two[dim + 1 :] != three[:dim] + three[dim + 1 :]:
        return None, "its shape for one example depends on the batch size"
    return dim, None


def _forward(
    model: nn.Module,
    inputs: Inputs,
    paths: Iterable[str],
    visit: Callable[[_Key, Tensor], None],
    replace: Callable[[str, int, Any], Any] | None = None,
) -> None:
    """Runs the model once, shows `visit` every tensor that the modules at `paths` return, and cleans up.

    What `replace` returns of (path, call, output), unless that is None, takes the output's place.
    """
    ask()
    calls: Counter[str] = Counter()

    def hook_at(path: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
            call = calls[path]
            calls[path] += 1
            with own_state():  # what is copied in the caller's inference mode could never be trained on
                if replace is not None and (other := replace(path, call, output)) is not None:
                    output = other
                for selector, tensor in _leaves(output):
                    visit((path, call, selector), tensor)
            return output if replace is not None else None

        return hook

    modules = _modules(model)
    with ExitStack() as stack:  # undoes all that follows, in reverse order, also when the model raises
        if any("_orig_mod" in module._modules or module._compiled_call_impl for module in model.modules()):
            stack.enter_context(torch.compiler.set_stance("force_eager"))  # hooks do not fire in compiled code
        stack.enter_context(_as_found(model))
        stack.enter_context(generators_reseeded(model))
        for path in paths:
            stack.callback(modules[path].register_forward_hook(hook_at(path)).remove)
        home = next((tensor.device for tensor in chain(model.parameters(), model.buffers())), None)
        # Copied: a first layer that works in place would write into the caller's batch.
        inputs = _map(lambda x: x.to(device=home, copy=True), inputs)
        stack.enter_context(callers_state())
        stack.enter_context(torch.no_grad())
        if isinstance(inputs, Mapping):
            model(**inputs)
        elif isinstance(inputs, Tensor):
            model(inputs)
        else:
            model(*inputs)


@contextmanager
def _as_found(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module's flag and buffers are what they were."""
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer._version, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()  # those cannot be written to, and have no version
    ]
    # Tensors that a model keeps for itself: a last activation, a weight made of its parts.
    kept = [(vars(m), name, x) for m in model.modules() for name, x in vars(m).items() if isinstance(x, Tensor)]
    with torch.no_grad():
        try:
            model.eval()
            yield
        finally:
            for attributes, name, tensor in kept:
                attributes[name] = tensor
            for module, name, buffer, version, saved in buffers:
                if buffer._version != version or _differ(buffer, saved):  # inference mode counts no versions
                    buffer.copy_(saved)
                module._buffers[name] = buffer
            for module, flag in flags:
                module.training = flag


def _differ(buffer: Tensor, saved: Tensor) -> bool:
    """Whether values that can be compared are other ones."""
    return buffer.layout == torch.strided and not (buffer.is_meta or torch.equal(buffer, saved))


class _RandomStream:
    """A context with a random stream of its own, torch's, numpy's and Python's.

    It starts where the caller's is and goes on from use to use.
    """

    state: tuple[list[Tensor], Any, Any] | None = None

    def __enter__(self) -> None:
        self.callers = self.read()
        self._write(self.state or self.callers)

    def __exit__(self, *_: object) -> None:
        self.state = self.read()
        self._write(self.callers)

    @staticmethod
    def moved(start: tuple[list[Tensor], Any, Any]) -> bool:
        """Whether random numbers were drawn since the states were read."""
        now = _RandomStream.read()
        torchs, numpys = zip(start[0], now[0], strict=False), zip(start[1], now[1], strict=True)
        same = all(torch.equal(*pair) for pair in torchs) and all(np.array_equal(*pair) for pair in numpys)
        return not same or start[2] != now[2]

    @staticmethod
    def read() -> tuple[list[Tensor], Any, Any]:
        on_gpu = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ()
        return [torch.get_rng_state(), *on_gpu], np.random.get_state(), random.getstate()

    def _write(self, state: tuple[list[Tensor], Any, Any]) -> None:
        torch.set_rng_state(state[0][0])
        for index, cuda_state in enumerate(state[0][1:]):
            torch.cuda.set_rng_state(cuda_state, index)
        np.random.set_state(state[1])
        random.setstate(state[2])


@checked
@contextmanager
def seeded(seed: Seed) -> Iterator[None]:
    """While active, randomness is that of a seed, torch's, numpy's and Python's; the caller's does not move."""
    with _RandomStream():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        yield


def _map(function: Callable[[Tensor], Tensor], inputs: Any) -> Any:
    """Returns the inputs with the function applied to every tensor in them."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {key: _map(function, value) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(_map(function, value) for value in inputs)
    return inputs


def own_batch(batch: Any) -> Any:
    """Returns a batch with tensors of its own, which the caller's code may write to, whatever memory they came from.

    Arrays of numpy's become tensors.
    """
    if isinstance(batch, Tensor):
        return batch.clone()
    if isinstance(batch, np.ndarray):
        # np.array copies: torch takes neither read-only (memory-mapped) arrays nor negative strides.
        return torch.from_numpy(np.array(batch))
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*map(own_batch, batch))
    if isinstance(batch, tuple | list):
        return type(batch)(map(own_batch, batch))
    if isinstance(batch, MutableMapping):
        found = copy.copy(batch)
        for key, value in batch.items():
            found[key] = own_batch(value)
        return found
    return batch


def _rows(example: Inputs, size: int) -> Inputs:
    """Returns a batch of `size` rows, taken from the example in turn."""
    tensors = [tensor for _, tensor in _leaves(example) if tensor.ndim]
    if not tensors or not (batch := len(tensors[0])):
        received = "an empty batch" if tensors else type(example).__name__
        legal = "a tensor, or a dict or tuple with tensors, of one or more examples"
        raise UsageError("cannot run the model on this example", received=received, legal=legal)

    def take(tensor: Tensor) -> Tensor:
        rows = torch.arange(size, device=tensor.device) % batch
        return tensor[rows] if tensor.ndim and len(tensor) == batch else tensor

    return _map(take, example)
