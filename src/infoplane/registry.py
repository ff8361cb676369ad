"""What is chosen by its name: the package's own, and what other distributions add through entry points."""

from collections.abc import Callable, Container, Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from infoplane.errors import UsageError, brief, unknown

T = TypeVar("T")


class Registry(Generic[T]):
    """Things by name.

    Entry points are read at the first look-up or listing, and each is imported when it is asked for by its name. So one
    that cannot be had harms nothing else.

    Args:
        what: What messages call a thing, e.g. "kind of density".
        group: The group of entry points under which other distributions offer such things.
        own: Name -> a thing of the package's own.
        fits: Whether what was imported is such a thing.
        legal: What such a thing is, in words.
        taken: Names of the package's own that are found elsewhere.
        amiss: Why what was imported cannot be had under its name, in words, or "".
    """

    def __init__(
        self,
        what: str,
        group: str,
        own: Mapping[str, T],
        *,
        fits: Callable[[Any], bool],
        legal: str,
        taken: Container[str] = (),
        amiss: Callable[[str, T], str] = lambda name, found: "",
    ) -> None:
        self.what, self.group, self.own, self._fits, self._legal, self._taken = what, group, own, fits, legal, taken
        self._amiss = amiss

    def __iter__(self) -> Iterator[str]:
        """Names, the package's own first."""
        yield from self.own
        yield from (name for name in sorted(self._offered) if name not in self.own)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.own or name in self._offered)

    def get(self, name: Any, *, what: str = "", also: tuple[str, ...] = (), mend: str | None = None) -> T:
        """Returns the thing of that name.

        Args:
            what, also, mend: For messages: what it is called there, what other names are legal, what else can be done.

        Raises:
            UsageError: There is none; or two distributions offer one; or it cannot be imported, or is something else.
        """
        if name not in self:
            raise unknown(what or self.what, name, [*self, *also], mend=mend)
        offered = self._offered.get(name, [])
        owners = [*(["infoplane itself"] if name in self.own or name in self._taken else []), *map(_owner, offered)]
        if len(owners) > 1:
            mend = f"uninstall {owners[-1]}"
            raise UsageError(f"{self.what} {name!r} is offered twice", received=" and ".join(owners), mend=mend)
        if name in self.own:
            return self.own[name]
        try:
            found = offered[0].load()
            received = self._amiss(name, found) or None if self._fits(found) else brief(found)
        except (Exception, SystemExit) as error:  # another's code: whatever it raises is said in one line
            found, received = None, f"{type(error).__name__}: {error}"
        if received is not None:
            named, mend = f"{self.what} {name!r} of {owners[0]}", f"mend or uninstall {owners[0]}"
            raise UsageError(f"{named} cannot be had", received=received, legal=self._legal, mend=mend)
        return found  # pyright: ignore[reportReturnType]

    __getitem__ = get

    def items(self) -> Iterator[tuple[str, T]]:
        """Yields the name and the thing of all that can be had."""
        for name in self:
            try:
                yield name, self[name]
            except UsageError:
                continue

    def roots(self, name: str) -> list[str]:
        """Returns where the code of a function or class begins, "module:name", and whose it is where it is not ours."""
        found: Any = self[name]  # which says so where two offer it
        if name in self.own:
            return [f"{found.__module__}:{found.__qualname__}"]
        (entry,) = self._offered[name]
        return [f"{entry.module}:{entry.attr}", _owner(entry)]

    @cached_property
    def _offered(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for entry in sorted(entry_points(group=self.group), key=_owner):  # by name, not as they lie on the disk
            found.setdefault(entry.name, []).append(entry)
        return found


def _owner(entry: EntryPoint) -> str:
    """The distribution that offers something, with its version."""
    assert entry.dist is not None  # it was found in one
    return f"{entry.dist.name} {entry.dist.version}"
