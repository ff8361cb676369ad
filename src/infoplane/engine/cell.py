"""The unit of work, and what it is called: by all that its result depends on, and by nothing else."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: digits of a hash that stand in a name
DIGITS = 12


@dataclass(frozen=True)
class Cell:
    """The unit of work.

    Attributes:
        kind: Which function runs it.
        params: All settings that what it makes and keeps depends on; JSON.
        needs: Role -> name of a cell.
        name: `kind-label-identity`, and `.` with a hash of what it keeps where that is a matter of choice. The identity
            is a hash over kind, params, the identities of what it needs, the code and the library that computes it.
        keeps: Dotted paths in params that only say how much of what it makes is kept, such as which layers. What others
            take of it does not depend on them: they have the same name whatever else is kept.
        code: A hash of what its code means, see `infoplane.study.meaning`; "" where nobody asked.
        arithmetic: The library that computes it, its version and, where that is torch, the device.
        modules: Module -> a hash of what of it the code runs through: what can be said of where code has changed.
    """

    kind: str
    params: Mapping[str, Any]
    needs: Mapping[str, str]
    name: str
    keeps: Sequence[str] = ()
    code: str = ""
    arithmetic: str = ""
    modules: Mapping[str, str] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keeps", tuple(self.keeps))  # which JSON has as a list

    @classmethod
    def named(
        cls,
        kind: str,
        params: Mapping[str, Any],
        needs: Mapping[str, str],
        *,
        label: str = "",
        keeps: Sequence[str] = (),
        code: str,
        arithmetic: str,
        modules: Mapping[str, str] | None = None,
    ) -> "Cell":
        """Returns a cell with its name.

        Args:
            label: What its name says of it beside its kind.
        """
        ending = _ending(kind, params, needs, keeps, code, arithmetic)
        name = "-".join(part for part in (kind, re.sub(r"[^A-Za-z0-9._-]+", "_", label), ending) if part)
        return cls(kind, params, needs, name, keeps, code, arithmetic, modules or {})

    @property
    def label(self) -> str:
        """The name without its hashes."""
        return self.name.rpartition("-")[0]

    @property
    def sound(self) -> bool:
        """Whether the name is that of these settings, needs and code."""
        if not self.code:
            return True
        ending = _ending(self.kind, self.params, self.needs, self.keeps, self.code, self.arithmetic)
        return self.name.rpartition("-")[2] == ending

    def to_json(self) -> dict[str, Any]:
        """The cell as JSON, from which `Cell(**content)` makes it again."""
        return {**vars(self), "keeps": list(self.keeps)}


def identity(name: str) -> str:
    """Returns what a cell's name says of what it makes, whatever it keeps of that."""
    return name.rpartition("-")[2].partition(".")[0]


def _ending(
    kind: str, params: Mapping[str, Any], needs: Mapping[str, str], keeps: Sequence[str], code: str, arithmetic: str
) -> str:
    made_of = {role: identity(name) for role, name in needs.items()}
    made = params
    for path in keeps:
        made = _without(made, path.split("."))
    own = _hash([kind, made, made_of, code, arithmetic])
    return f"{own}.{_hash([own, params])[:6]}" if keeps else own


def _without(params: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    first, *rest = path
    inner = {first: _without(params[first], rest)} if rest else {}
    return {key: inner.get(key, value) for key, value in params.items() if rest or key != first}


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:DIGITS]
