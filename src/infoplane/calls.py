"""How public functions are called: with arguments that they take, or one line says which of them is none."""

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from infoplane.errors import CallError, UsageError, unknown

P = ParamSpec("P")
R = TypeVar("R")


def public(names: dict[str, Any], own: Iterable[str], *, methods: bool = False) -> None:
    """Makes what a module or package exports raise CallError where it is called with arguments that it does not take.

    Functions are replaced in `names`, and constructors in their classes; within a package functions are called as they
    are.

    Args:
        names: The module's `globals()`.
        own: Those that are exported.
        methods: Whether public methods are replaced too; what may be compiled should be left alone.
    """
    for name in own:
        value = names[name]
        if inspect.isfunction(value):
            names[name] = _guarded(value)
            names[name].__module__ = names["__name__"]  # where it is found again when it is pickled
        elif inspect.isclass(value) and not issubclass(value, BaseException):
            for method, function in list(vars(value).items()):
                if inspect.isfunction(function) and (method == "__init__" or (methods and not method.startswith("_"))):
                    setattr(value, method, _guarded(function, value.__name__ if method == "__init__" else method))


def _guarded(function: Callable[P, R], name: str | None = None) -> Callable[P, R]:
    """The same function; where a call of it fails, it is first asked whether it could be called like that."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if not isinstance(error, UsageError):
                bound_arguments(name or function.__name__, inspect.signature(function), args, kwargs)
            raise

    return run


def bound_arguments(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments of a call by name, or CallError."""
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        known = [each for each in signature.parameters if each != "self"]
        strange = [each for each in kwargs if each not in signature.parameters]
        if strange:
            raise unknown(f"argument of {name}", strange[0], known, error=CallError) from None
        missing = re.match(r"missing a required (?:.* )?argument: (.*)", str(error))
        if missing:
            wanted = f"{name} needs the argument {missing[1]}"
            raise CallError(wanted, received="a call without it", legal=", ".join(known)) from None
        raise CallError(f"{name} cannot be called like this", received=error, legal=", ".join(known)) from None
