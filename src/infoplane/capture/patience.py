"""A limit on how long networks are looked at: asked before every run of one, wherever that is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_asked: ContextVar[Callable[[], None] | None] = ContextVar("asked before every run of a network", default=None)


class _OutOfPatience(BaseException):
    """What was asked has had enough: no handler of what goes wrong in the caller's own code may take this for that."""

    def __init__(self, reason: Exception) -> None:
        super().__init__()
        self.reason = reason


@contextmanager
def asking(check: Callable[[], None]) -> Iterator[None]:
    """While active, `check` is asked before every run of a network; what it raises ends all that is being done."""
    token = _asked.set(check)
    try:
        yield
    except _OutOfPatience as over:
        raise over.reason from None
    finally:
        _asked.reset(token)


def ask() -> None:
    """Asks whoever wants to be asked before a network runs."""
    check = _asked.get()
    if check is not None:
        try:
            check()
        except Exception as error:
            raise _OutOfPatience(error) from error
