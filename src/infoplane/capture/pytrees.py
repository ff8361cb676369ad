"""Tensors in nested tuples, lists, dicts and dataclasses, as models take and return them."""

import copy
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from infoplane.errors import UsageError

#: What a model is called with: `model(tensor)`, `model(*sequence)` or `model(**mapping)`.
Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


def leaves(output: Any, selector: str = "") -> Iterator[tuple[str, Tensor]]:
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
        yield from leaves(value, f"{selector}[{key}]")


def map_tensors(function: Callable[[Tensor], Tensor], inputs: Any) -> Any:
    """Returns the inputs with the function applied to every tensor in them."""
    if isinstance(inputs, Tensor):
        return function(inputs)
    if isinstance(inputs, Mapping):
        return {key: map_tensors(function, value) for key, value in inputs.items()}
    if isinstance(inputs, tuple | list):
        return tuple(map_tensors(function, value) for value in inputs)
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


def rows_of(example: Inputs, size: int) -> Inputs:
    """Returns a batch of `size` rows, taken from the example in turn."""
    tensors = [tensor for _, tensor in leaves(example) if tensor.ndim]
    if not tensors or not (batch := len(tensors[0])):
        received = "an empty batch" if tensors else type(example).__name__
        legal = "a tensor, or a dict or tuple with tensors, of one or more examples"
        raise UsageError("cannot run the model on this example", received=received, legal=legal)

    def take(tensor: Tensor) -> Tensor:
        rows = torch.arange(size, device=tensor.device) % batch
        return tensor[rows] if tensor.ndim and len(tensor) == batch else tensor

    return map_tensors(take, example)
