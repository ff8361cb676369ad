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

    Examples:
        >>> Registry("tone", "nobody.tones", {"a": 440.0}, fits=lambda found: found > 0, legal="a frequency")["a"]
        440.0
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
    ) -> None:
        self.what, self.group, self.own, self._fits, self._legal, self._taken = what, group, own, fits, legal, taken
        self._loaded: dict[str, T | UsageError] = {}

    def __iter__(self) -> Iterator[str]:
        """Names, the package's own first."""
        yield from self.own
        yield from (name for name in sorted(self._offered) if name not in self.own)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.own or name in self._offered)

    def __getitem__(self, name: str) -> T:
        return self.get(name)

    def get(self, name: Any, *, what: str = "", also: tuple[str, ...] = (), mend: str | None = None) -> T:
        """Returns the thing of that name.

        Args:
            what: What messages call it, where that is not what they call all of them.
            also: Further names that are legal there.
            mend: What to do about an unknown name where none is near.

        Raises:
            UsageError: There is none; or two distributions offer one; or it cannot be imported, or is something else.
        """
        if name not in self:
            raise unknown(what or self.what, name, [*self, *also], mend=mend)
        if name not in self._loaded or name in self.own:
            self._loaded[name] = self._found(name)
        found = self._loaded[name]
        if isinstance(found, UsageError):
            raise found.with_traceback(None)
        return found

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

    def _found(self, name: str) -> T | UsageError:
        """The thing of a name that there is, or why it cannot be had."""
        offered = self._offered.get(name, [])
        owners = [*(["infoplane itself"] if name in self.own or name in self._taken else []), *map(_owner, offered)]
        if len(owners) > 1:
            mend = f"uninstall {_distribution(offered[-1])}"
            return UsageError(f"{self.what} {name!r} is offered twice", received=" and ".join(owners), mend=mend)
        if name in self.own:
            return self.own[name]
        try:
            found = offered[0].load()
            if self._fits(found):
                return found
            received = brief(found)
        except (Exception, SystemExit) as error:  # another's code: whatever it raises is said in one line
            received = f"{type(error).__name__}: {error}"
        what, mend = f"{self.what} {name!r}", f"mend or uninstall {_distribution(offered[0])}"
        return UsageError(f"{what} of {owners[0]} cannot be had", received=received, legal=self._legal, mend=mend)


def _distribution(entry: EntryPoint) -> str:
    return "the distribution of no name" if entry.dist is None else entry.dist.name


def _owner(entry: EntryPoint) -> str:
    """The distribution that offers something, with its version."""
    return _distribution(entry) if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
