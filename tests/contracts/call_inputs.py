"""What nobody should give a function, by the kind of its argument, and how a call with it is judged."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from infoplane.errors import InfoplaneError

#: a value that must be refused, or that may also be taken, if the result is then what it is for the good value
REFUSED, SAME = "refused", "same"


@dataclass(frozen=True)
class Call:
    """A call of a public function with good values.

    Attributes:
        function: Called with the arguments by name.
        good: Argument -> function that makes a good value anew, since some functions change what they are given.
        kinds: Argument -> key of `BAD`; what is left out is not tried.
        spared: (argument, name of a bad input) that is no bad one here.
    """

    function: Callable[..., Any]
    good: dict[str, Callable[[], Any]]
    kinds: dict[str, str]
    spared: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def __call__(self, **other: Any) -> Any:
        made = {name: make() for name, make in self.good.items()} | other
        result = self.function(**made)
        return list(result) if isinstance(result, Iterator) else result

    def trials(self) -> Iterator[tuple[str, str, Callable[[Any], Any], str]]:
        """Yields (argument, name of the bad input, maker from the good value, verdict)."""
        for argument, kind in self.kinds.items():
            for name, (make, verdict) in BAD[kind].items():
                if (argument, name) not in self.spared:
                    yield argument, name, make, verdict


def with_one(value: float) -> Callable[[Any], Any]:
    """From numbers to the same with one of them replaced."""

    def make(good: Any) -> Any:
        changed = good.clone() if isinstance(good, Tensor) else np.array(good, dtype=np.float64)
        if isinstance(changed, Tensor) and not changed.is_floating_point():
            changed = changed.float()
        changed.reshape(-1)[-1] = value
        return changed

    return make


def array(good: Any) -> np.ndarray:
    """The same as a numpy array."""
    return np.asarray(good.detach() if isinstance(good, Tensor) else good)


def swapped(good: Any) -> Any:
    """An array for a tensor, a tensor for an array."""
    return array(good) if isinstance(good, Tensor) else torch.from_numpy(np.ascontiguousarray(good))


def cast(dtype: torch.dtype) -> Callable[[Any], Tensor]:
    """The same as a tensor of that type."""
    return lambda good: torch.as_tensor(array(good)).to(dtype)


#: any argument that holds numbers
ANYTHING: dict[str, tuple[Callable[[Any], Any], str]] = {
    "none": (lambda good: None, REFUSED),
    "text": (lambda good: "many", REFUSED),
    "objects": (lambda good: np.array([None, "x"], dtype=object), REFUSED),
    "complex": (lambda good: swapped_back(good, array(good).astype(np.complex64) + 1j), REFUSED),
    "mapping": (lambda good: {}, REFUSED),
    "function": (lambda good: len, REFUSED),
}


def swapped_back(good: Any, values: np.ndarray) -> Any:
    """Values as what the good ones are."""
    return torch.from_numpy(np.ascontiguousarray(values)) if isinstance(good, Tensor) else values


FINITE = {
    "nan": (with_one(np.nan), REFUSED),
    "inf": (with_one(np.inf), REFUSED),
    "minus inf": (with_one(-np.inf), REFUSED),
}

#: activations of several units, of which there must be as many as before
CONTEXT: dict[str, tuple[Callable[[Any], Any], str]] = {
    **ANYTHING,
    **FINITE,
    "one unit": (lambda good: good[:, :1], REFUSED),
    "flat": (lambda good: good.reshape(-1), REFUSED),
    "one row less": (lambda good: good[:-1], REFUSED),
    "nothing": (lambda good: good[:0], REFUSED),
    "half": (cast(torch.float16), SAME),
    "bfloat16": (cast(torch.bfloat16), SAME),
    "double": (cast(torch.float64), SAME),
    "swapped": (swapped, SAME),
}

BAD: dict[str, dict[str, tuple[Callable[[Any], Any], str]]] = {
    "log-probabilities": {
        **ANYTHING,
        **FINITE,
        "column": (lambda good: good[:, :1], REFUSED),
        "turned": (lambda good: good.T, REFUSED),
        "deep": (lambda good: good[..., None], REFUSED),
        "scalar": (lambda good: good[0, 0], REFUSED),
        "nothing": (lambda good: good[:, :0], REFUSED),
        "bool": (lambda good: good > -1, REFUSED),
        "half": (cast(torch.float16), REFUSED),
        "bfloat16": (cast(torch.bfloat16), REFUSED),
        "swapped": (swapped, SAME),
        "list": (lambda good: array(good).tolist(), SAME),
    },
    "activations": {
        **ANYTHING,
        **FINITE,
        "nothing": (lambda good: good[:0], REFUSED),
        "half": (cast(torch.float16), SAME),
        "bfloat16": (cast(torch.bfloat16), SAME),
        "double": (cast(torch.float64), SAME),
        "swapped": (swapped, SAME),
    },
    "context": CONTEXT,
    "rows": {
        **CONTEXT,
        "another unit": (lambda good: good[:, [*range(good.shape[1]), 0]], REFUSED),
        "list": (lambda good: array(good).tolist(), SAME),
    },
    "labels": {
        **ANYTHING,
        "column": (lambda good: good[:, None], REFUSED),
        "one-hot": (lambda good: swapped_back(good, np.eye(9, dtype=np.int64)[array(good)]), REFUSED),
        "soft": (lambda good: swapped_back(good, np.eye(9, dtype=np.float32)[array(good)]), REFUSED),
        "floats": (lambda good: swapped_back(good, array(good).astype(np.float32)), REFUSED),
        "nan": (lambda good: swapped_back(good, array(good) * np.nan), REFUSED),
        "bool": (lambda good: good > 0, REFUSED),
        "negative": (lambda good: good - 1, REFUSED),
        "beyond": (lambda good: good + 1000, REFUSED),
        "one less": (lambda good: good[:-1], REFUSED),
        "nothing": (lambda good: good[:0], REFUSED),
        "swapped": (swapped, SAME),
    },
    "images": {
        **ANYTHING,
        "floats": (lambda good: swapped_back(good, array(good).astype(np.float32)), REFUSED),
        "nan": (with_one(np.nan), REFUSED),
        "bool": (lambda good: good > 0, REFUSED),
        "beyond": (lambda good: swapped_back(good, array(good).astype(np.int64) + 300), REFUSED),
        "negative": (lambda good: swapped_back(good, array(good).astype(np.int64) - 300), REFUSED),
        "channels": (lambda good: swapped_back(good, np.concatenate([array(good)] * 2, 1)), REFUSED),
        "no channels": (lambda good: good[:, 0], REFUSED),
        "one image": (lambda good: good[0], REFUSED),
        "nothing": (lambda good: good[:0], REFUSED),
        "swapped": (swapped, SAME),
    },
    "whole": {
        "none": (lambda good: None, REFUSED),
        "half": (lambda good: 1.5, REFUSED),
        "nan": (lambda good: float("nan"), REFUSED),
        "inf": (lambda good: float("inf"), REFUSED),
        "text": (lambda good: "3", REFUSED),
        "bool": (lambda good: True, REFUSED),
        "negative": (lambda good: -1, REFUSED),
        "huge": (lambda good: 10**30, REFUSED),
        "list": (lambda good: [good], REFUSED),
        "numpy's": (lambda good: np.int64(good), SAME),
    },
    "positive": {
        "none": (lambda good: None, REFUSED),
        "nan": (lambda good: float("nan"), REFUSED),
        "inf": (lambda good: float("inf"), REFUSED),
        "text": (lambda good: "3", REFUSED),
        "bool": (lambda good: True, REFUSED),
        "negative": (lambda good: -1.0, REFUSED),
        "zero": (lambda good: 0.0, REFUSED),
        "complex": (lambda good: 1j, REFUSED),
        "list": (lambda good: [good], REFUSED),
        "numpy's": (lambda good: np.float64(good), SAME),
    },
    "name": {
        "none": (lambda good: None, REFUSED),
        "number": (lambda good: 3, REFUSED),
        "unknown": (lambda good: "nothing of that name", REFUSED),
        "list": (lambda good: [good], REFUSED),
    },
    "names": {
        "none": (lambda good: None, REFUSED),
        "number": (lambda good: 3, REFUSED),
        "numbers": (lambda good: [3], REFUSED),
        "text": (lambda good: good[0], REFUSED),
        "unknown": (lambda good: ["nothing of that name"], REFUSED),
    },
    "thing": {
        "none": (lambda good: None, REFUSED),
        "number": (lambda good: 3, REFUSED),
        "text": (lambda good: "x", REFUSED),
        "array": (lambda good: np.zeros(3), REFUSED),
        "tensor": (lambda good: torch.zeros(3), REFUSED),
    },
    "sizes": {
        "none": (lambda good: None, REFUSED),
        "number": (lambda good: 3, REFUSED),
        "text": (lambda good: "1x4x4", REFUSED),
        "short": (lambda good: good[:-1], REFUSED),
        "long": (lambda good: (*good, 2), REFUSED),
        "negative": (lambda good: (-1, *good[1:]), REFUSED),
        "zero": (lambda good: (0, *good[1:]), REFUSED),
        "halves": (lambda good: tuple(size + 0.5 for size in good), REFUSED),
        "list": (lambda good: list(good), SAME),
    },
}


def numbers(result: Any) -> list[np.ndarray]:
    """All numbers in a result, in their order."""
    if isinstance(result, Tensor):
        return [result.detach().double().numpy()]
    if isinstance(result, nn.Module):
        return [value for each in result.state_dict().values() for value in numbers(each)]
    if isinstance(result, np.ndarray | float | int | np.generic) and not isinstance(result, bool):
        return [np.asarray(result, dtype=np.float64)] if np.asarray(result).dtype.kind in "biuf" else []
    if is_dataclass(result) and not isinstance(result, type):
        return [value for each in fields(result) for value in numbers(getattr(result, each.name))]
    if isinstance(result, dict):
        return [value for each in result.values() for value in numbers(each)]
    if isinstance(result, list | tuple):
        return [value for each in result for value in numbers(each)]
    return []


def faults(call: Call) -> list[str]:
    """What is wrong with how a call takes each of the bad inputs."""
    found = ((each, bad, fault(call, each, make, verdict)) for each, bad, make, verdict in call.trials())
    return [f"{argument} ({bad}): {wrong}" for argument, bad, wrong in found if wrong is not None]


def fault(call: Call, argument: str, make: Callable[[Any], Any], verdict: str) -> str | None:
    """What is wrong with how a call takes a bad input, or None."""
    try:
        result = call(**{argument: make(call.good[argument]())})
    except InfoplaneError as error:
        return None if "\n" not in str(error) else f"an error of several lines: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}".split("\n")[0][:160]
    if verdict == REFUSED:
        return f"taken: {result!r:.80}"
    good, found = numbers(call()), numbers(result)
    same = len(good) == len(found) and all(
        a.shape == b.shape and np.allclose(a, b, rtol=1e-4, atol=1e-5, equal_nan=True) for a, b in zip(good, found)
    )
    return None if same else f"another number: {found!r:.80} for {good!r:.80}"
