"""The layers of any `nn.Module` that fire, and their activations, by forward hooks.

A *tap* is one tensor that a module returns in one call. Its name is the module's path; then, if the module is
called several times, which call; then, if the output is a tuple, list, dict or dataclass, where in it the tensor
is: `layer1.0.conv1`, `layer1.0.relu#1`, `lstm[1][0]`, `encoder[last_hidden_state]`. The model itself is `output`.
"""

import dataclasses
import re
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from infoplane.arguments import checked
from infoplane.capture.generators import RandomStream
from infoplane.capture.hooks import INPUT, Key, hookable, run_with_hooks, unwrap
from infoplane.capture.layout import Reading
from infoplane.capture.pytrees import Inputs, leaves, own_batch, rows_of
from infoplane.data.space import Levels
from infoplane.errors import UsageError, unknown
from infoplane.torch_state import for_caller, own_state

Device = torch.device | str | None


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
        self.model = unwrap(model)
        self.layers = tuple(dict.fromkeys(layers))
        self.transform = None if transform is None else for_caller(transform)
        self.device = device
        self._plan: dict[Key, LayerInfo] | None = None
        self._noise = RandomStream()

    @own_state()
    def __call__(self, batch: Any) -> dict[str, Tensor]:
        """Returns the activations by layer, `(B, ...)`, detached, float32 (float64 stays).

        Raises:
            UsageError: If a name is unknown or ambiguous, or its tap cannot be captured or did not fire.
        """
        single = next((len(x) for _, x in leaves(batch) if x.ndim), 0) == 1
        inputs: Inputs = batch
        if self.transform is not None:
            own = own_batch(batch)
            with self._noise:  # a transform may draw noise as well
                inputs = self.transform(torch.cat([own, own]) if single and isinstance(own, Tensor) else own)
        if self._plan is None:
            self._plan = _resolve(self.model, self.layers, dry_run(self.model, inputs))
        plan, found = self._plan, dict[str, Tensor]()

        def visit(key: Key, tensor: Tensor) -> None:
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
            run_with_hooks(self.model, rows_of(inputs, 2) if single else inputs, {path for path, _, _ in plan}, visit)
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

    The model is left as found (flags, buffers, hooks, random state) after every batch.

    Args:
        batches: Model inputs, or what `transform` turns into model inputs; batch dimension first.
        model, layers, transform, device: As those of a `Tap`.

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


def _resolve(model: nn.Module, names: Sequence[str], taps: list[tuple[Key, LayerInfo]]) -> dict[Key, LayerInfo]:
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
        elif name in hookable(model):
            mend = "list_layers(model, example) shows those that do"
            raise UsageError("this layer does not fire in the forward pass", received=repr(name), mend=mend)
        else:
            raise unknown("layer", name, known)
    return dict(known[name] for name in names)


def dry_run(model: nn.Module, example: Inputs) -> list[tuple[Key, LayerInfo]]:
    """Returns every tap that fires, with its key, from a run on two rows of the example and a run on three."""
    modules = hookable(model)
    two, three = (outlines(model, rows_of(example, size)) for size in (2, 3))
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


def outlines(model: nn.Module, inputs: Inputs) -> dict[Key, tuple[tuple[int, ...], torch.dtype]]:
    """Runs the model and returns shape and dtype of every tap; the shape is (-1,) if it is not a dense tensor."""
    seen = {}

    def visit(key: Key, tensor: Tensor) -> None:
        dense = tensor.layout == torch.strided and not tensor.is_nested
        seen[key] = (tuple(tensor.shape) if dense else (-1,), tensor.dtype)

    try:
        with RandomStream():
            run_with_hooks(model, inputs, hookable(model), visit)
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
    own, given = type_of(model), {x.dtype for _, x in leaves(inputs) if x.is_floating_point()}
    if not given and any(x.dtype == torch.uint8 for _, x in leaves(inputs)):
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
