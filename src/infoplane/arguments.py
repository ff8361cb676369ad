"""Arguments of public functions, checked by their annotations: one line says which one is of another kind.

Only what an annotation says is checked: numbers and their limits, texts, choices, lists,
tensors, classes of this package. What is in an array is for `infoplane.checks`.
"""

import inspect
import math
import operator
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, wraps
from numbers import Real
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np
from annotated_types import Ge, Le

from infoplane.calls import bound_arguments
from infoplane.errors import UsageError, brief, unknown

P = ParamSpec("P")
R = TypeVar("R")

#: what may decide everything random; torch's generators take no more
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]

#: names of limits, as `annotated_types` has them -> what must hold, and its words
LIMITS: dict[str, tuple[Callable[[Any, Any], bool], str]] = {
    "ge": (operator.ge, "of {} or more"),
    "gt": (operator.gt, "above {}"),
    "le": (operator.le, "of at most {}"),
    "lt": (operator.lt, "below {}"),
}

#: what is annotated -> its words
_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}
_NAMES |= {None: "null", Callable: "a function", Any: "anything"}

#: names of the limits of how many there are
LENGTHS = ("min_length", "max_length")


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Returns the function, which now raises UsageError where an argument is not of the kind that it is annotated with.

    Numbers of numpy's become Python's. Arguments that are annotated as numpy arrays may be anything that
    `infoplane.checks` makes one of; they are left to it, as are those without an annotation. A number is finite.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = bound_arguments(function.__name__, signature, args, kwargs)
        hints = _hints(function)
        for name, value in bound.arguments.items():
            if isinstance(value, np.generic):
                bound.arguments[name] = value = value.item()
            if name in hints:
                check_argument(name, value, hints[name])
        return function(*bound.args, **bound.kwargs)

    return run


def check_argument(name: str, value: Any, hint: Any) -> None:
    """Raises UsageError unless a value is of the kind that an annotation says."""
    if is_of_kind(value, hint):
        return
    if get_origin(hint) is Literal and isinstance(value, str):
        raise unknown(name, value, [str(choice) for choice in get_args(hint)])
    mend = None
    if isinstance(value, np.ndarray) and _wants_tensor(hint):
        mend = "pass torch.from_numpy(array)"
    elif isinstance(value, str) and any(is_of_kind([value], part) for part in members(hint)):
        mend = f"a list of one: {name}=[{value!r:.60}]"
    raise UsageError(f"{name} cannot be used", received=_received(value), legal=described(hint), mend=mend)


@cache
def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of single arguments, read when the function is first called: some name what is defined after it."""
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    kinds = {name: each.kind for name, each in inspect.signature(function).parameters.items()}
    hints = get_type_hints(inspect.unwrap(function), include_extras=True)
    return {name: hint for name, hint in hints.items() if kinds.get(name, several[0]) not in several}


def is_of_kind(value: Any, hint: Any) -> bool:
    """Whether a value is of the kind that an annotation says; what cannot be told is taken to be."""
    if type(hint) is type:  # the usual case, for each of the thousands in a list
        return _fits_class(value, hint)
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return is_of_kind(value, parts[0]) and _within(value, parts[1:])
    if origin in (Union, types.UnionType):
        return any(is_of_kind(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in parts)
    if origin is tuple and not of_any_length(parts):
        return _is_list(value) and len(value) == len(parts) and all(map(is_of_kind, value, parts))
    if origin is Callable:
        return callable(value)
    if isinstance(origin, type):
        return _fits_generic(value, origin, parts)
    return _fits_class(value, hint)


def _fits_class(value: Any, hint: Any) -> bool:
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool | np.bool_)
    if hint is int:
        return hasattr(value, "__index__") and not isinstance(value, bool | np.bool_) and np.ndim(value) == 0
    if hint is float:
        return isinstance(value, Real) and not isinstance(value, bool | np.bool_) and math.isfinite(value)
    if getattr(hint, "_is_protocol", False):
        return callable(value) or "__call__" not in vars(hint)
    if hint is np.ndarray or not isinstance(hint, type):
        return True
    return isinstance(value, hint)


def _fits_generic(value: Any, origin: type, parts: tuple[Any, ...]) -> bool:
    """Of lists and mappings, also what is in them."""
    if issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(
            is_of_kind(k, parts[0]) and is_of_kind(v, parts[1]) for k, v in value.items()
        )
    if issubclass(origin, Sequence):
        return _is_list(value) and all(is_of_kind(each, parts[0]) for each in value)
    return _fits_class(value, origin)


def of_any_length(parts: tuple[Any, ...]) -> bool:
    """Whether these are the parts of a tuple's annotation that is of any length."""
    return len(parts) == 2 and parts[1] is ...


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _limits(metadata: Sequence[Any]) -> list[tuple[str, Any]]:
    """(name, limit) of an annotation's metadata."""
    return [(name, getattr(each, name)) for each in metadata for name in LIMITS if hasattr(each, name)]


def _within(value: Any, metadata: Sequence[Any]) -> bool:
    if _is_list(value):
        least, most = (next((getattr(m, name) for m in metadata if getattr(m, name, None)), None) for name in LENGTHS)
        return len(value) >= (least or 0) and (most is None or len(value) <= most)
    return not isinstance(value, Real) or all(LIMITS[name][0](value, limit) for name, limit in _limits(metadata))


def _wants_tensor(hint: Any) -> bool:
    return getattr(hint, "__name__", "") == "Tensor" or any(_wants_tensor(part) for part in get_args(hint))


def described(hint: Any) -> str:
    """Returns in words what an annotation takes: "a whole number from 1 to 64", "a list of 2 or more, each a text"."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _described_within(parts[0], parts[1:])
    if origin in (Union, types.UnionType):
        return ", or ".join(dict.fromkeys(described(part) for part in parts))
    if origin is Literal:
        return " or ".join(choice_shown(choice) for choice in parts)
    if origin is tuple and not of_any_length(parts):
        kinds = list(dict.fromkeys(described(part) for part in parts))
        return f"a list of {len(parts)}, {f'each {kinds[0]}' if len(kinds) == 1 else ' and '.join(kinds)}"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"a mapping, each value {described(parts[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence):
        return f"a list, each {described(parts[0])}"
    if hasattr(hint, "model_fields"):
        return f"a section with the keys {', '.join(hint.model_fields)}"
    kind = hint if origin is None else origin
    return _NAMES.get(kind) or f"a {getattr(kind, '__name__', str(kind))}"


def _described_within(hint: Any, metadata: Sequence[Any]) -> str:
    """The same with limits, of a number or of how many there are in a list."""
    limits = dict(_limits(metadata))
    least, most = (next((getattr(m, name) for m in metadata if getattr(m, name, None)), 0) for name in LENGTHS)
    if least or most:
        count = f"{least} to {most:,}" if most else f"{least} or more"
        return described(hint).replace("a list", f"a list of {count}", 1)
    pattern = next((m.pattern for m in metadata if getattr(m, "pattern", None)), None)
    if pattern is not None:
        return f"{described(hint)} that matches {pattern}"
    if "ge" in limits and "le" in limits:
        return f"{described(hint)} from {limits['ge']:,} to {limits['le']:,}"
    words = [LIMITS[name][1].format(f"{limit:,}") for name, limit in limits.items()]
    return f"{described(hint)} {' and '.join(words)}".rstrip()


def choice_shown(choice: Any) -> str:
    """Returns a choice as a file has it."""
    return str(choice).lower() if isinstance(choice, bool) else str(choice)


def members(hint: Any) -> Iterator[Any]:
    """Yields what an annotation may be, one by one, without limits."""
    if get_origin(hint) is Annotated:
        yield from members(get_args(hint)[0])
    elif get_origin(hint) in (Union, types.UnionType):
        for part in get_args(hint):
            yield from members(part)
    else:
        yield hint


def _received(value: Any) -> str:
    """A value as a message shows it: plain ones as they are, of others their kind."""
    if isinstance(value, bool | int | float | str | bytes | type(None) | list | tuple | dict):
        return brief(value)
    shape = getattr(value, "shape", None)
    kind = type(value).__name__
    return kind if shape is None else f"{kind} of {getattr(value, 'dtype', '?')}, shape {tuple(shape)}"
