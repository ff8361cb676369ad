"""What code means: a hash of the syntax that a function runs through, so that only what has changed is computed anew.

Comments, docstrings, formatting and types mean nothing; imports mean what they name. What is loaded by name at run
time, the members of registries, is not followed: whoever asks adds it. In doubt more is hashed than is
needed, never less.
"""

import hashlib
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from infoplane.study.syntax import Module, Target, Uses, written_out

#: rooms that carry results or say what went wrong with them, and make none
INDIFFERENT = ("errors", "files", "engine", "registry")
#: where one of many is chosen by its name
CHOICES = frozenset({"data:_load", "densities:REGISTRY", "subjects:REGISTRY"})
#: rooms whose modules bring together what belongs to different cells: their definitions are followed one by one.
#: So are those of every `__init__`. Any other module counts as a whole
HUBS = ("measurements", "estimate")

#: a module, and one of its definitions, or None for all of it
Unit = tuple[str, str | None]


class Code:
    """The source of a package.

    Args:
        folder: Where it is; its name is that of the package.
    """

    def __init__(self, folder: Path, package: str = "infoplane") -> None:
        self.folder, self.package = folder, package
        self._modules: dict[str, Module | None] = {}
        self._units: dict[Unit, tuple[str, frozenset[Unit]]] = {}

    def meaning(self, roots: Iterable[str]) -> str:
        """Returns a hash of all code that these can run through, inside the package.

        Args:
            roots: "module:name" or "module"; a module outside the package counts by the source of its own package and
                by what that imports from this one; what is no module, by its name.
        """
        return self.read(roots)[0]

    def read(self, roots: Iterable[str]) -> tuple[str, dict[str, str]]:
        """Returns the same hash, and module -> a hash of what counts of it."""
        found: list[tuple[str, str]] = []
        waiting: list[Unit] = []
        for root in roots:
            module, _, name = root.partition(":")
            if self._inside(module):
                waiting += self._resolve(module, name.partition(".")[0] or None)
            else:
                files = _files_of(module)
                found.append((module, f"{module} {_hash([file.read_bytes().hex() for file in files], 64)}"))
                for target in (target for file in files for target in Module(module, file).imports.values()):
                    waiting += self._resolve(*target) if self._inside(target[0]) else []
        reached: set[Unit] = set()
        while waiting:
            if (unit := waiting.pop()) not in reached:
                reached.add(unit)
                waiting += self._unit(unit)[1]
        found += [(unit[0], f"{unit[0]}:{unit[1]} {self._unit(unit)[0]}") for unit in reached]
        found.sort(key=lambda each: each[1])
        by_module: dict[str, list[str]] = {}
        for module, line in found:
            by_module.setdefault(module, []).append(line)
        return _hash([line for _, line in found], 12), {name: _hash(by_module[name], 8) for name in sorted(by_module)}

    def _inside(self, module: str) -> bool:
        return module.partition(".")[0] == self.package

    def _short(self, module: str) -> str:
        return module.removeprefix(f"{self.package}.")

    def _module(self, module: str) -> Module | None:
        if module not in self._modules:
            base = self.folder.joinpath(*module.split(".")[1:])
            places = (base / "__init__.py", base.with_suffix(".py") if base != self.folder else base / "__init__.py")
            path = next((place for place in places if place.is_file()), None)
            self._modules[module] = None if path is None else Module(module, path)
        return self._modules[module]

    def _resolve(self, module: str, name: str | None, seen: frozenset[Target] = frozenset()) -> list[Unit]:
        """The units that a name in a module stands for."""
        source = self._module(module)
        short = self._short(module)
        indifferent = short.partition(".")[0] in INDIFFERENT or f"{short}:{name}" in CHOICES
        if source is None or indifferent or (module, name) in seen:
            return []
        if name is None:
            return list(self._whole(module))
        if name in source.imports:
            target = source.imports[name]
            return self._resolve(*target, seen | {(module, name)}) if self._inside(target[0]) else []
        if name in source.definitions:
            hub = source.is_package or short.partition(".")[0] in HUBS
            return [(module, name if hub else None)]
        if self._module(f"{module}.{name}") is not None:
            return list(self._whole(f"{module}.{name}"))
        return [(module, None)]

    def _whole(self, module: str) -> Iterator[Unit]:
        """All of a module, and of those in it where it is a package."""
        source = self._module(module)
        assert source is not None
        yield module, None
        if source.is_package:
            for path in sorted(source.path.parent.iterdir()):
                inner = f"{module}.{path.stem}"
                if path.suffix == ".py" and path.stem != "__init__":
                    yield inner, None
                elif (path / "__init__.py").is_file():
                    yield from self._whole(inner)

    def _unit(self, unit: Unit) -> tuple[str, frozenset[Unit]]:
        """The hash of a unit's own syntax, and the units that it refers to."""
        if unit not in self._units:
            module, name = unit
            source = self._module(module)
            assert source is not None
            statements = source.statements if name is None else source.of(name)
            uses = Uses(source.imports, self.package, source.parent)
            for statement in statements:
                uses.visit(statement)
            parts: list[str] = []
            written_out(statements, parts)
            meanings, others = [], set[Unit]()
            for (target, chain), alias in uses.imported.items():
                meanings.append(f"{alias}={target[0]}:{target[1]}")
                if self._inside(target[0]):
                    others.update(self._along(target, chain))
            if name is not None:
                others.update((module, each) for each in uses.free & source.definitions.keys())
            if "*" in source.imports:  # any name may come from there
                others.update(self._resolve(*source.imports["*"]))
            for text in uses.texts:
                inner, _, inner_name = text.partition(":")
                if self._module(inner) is not None:
                    others.update(self._resolve(inner, inner_name or None))
            content = "".join(parts) + "\n".join(sorted(set(meanings)))
            others = {each for each in others if f"{self._short(each[0])}:{each[1]}" not in CHOICES}
            self._units[unit] = (hashlib.sha256(content.encode()).hexdigest(), frozenset(others - {unit}))
        return self._units[unit]

    def _along(self, target: Target, chain: tuple[str, ...]) -> list[Unit]:
        """The units that attributes of an imported name stand for, as far as they lead through modules."""
        module, name = target
        if name is not None:
            source = self._module(module)
            if source is None or name in source.imports or name in source.definitions:
                if source is not None and name in source.imports and source.imports[name][1] is None:
                    return self._along(source.imports[name], chain)
                return self._resolve(module, name)
            if self._module(f"{module}.{name}") is None:
                return self._resolve(module, name)
            module = f"{module}.{name}"
        return self._along((module, chain[0]), chain[1:]) if chain else self._resolve(module, None)


#: folder -> the code of the package there, which is read once per process
code_of = cache(Code)


def _hash(lines: Iterable[str], digits: int) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:digits]


def _files_of(module: str) -> list[Path]:
    """The source of a module outside the package, with that of the whole package that it is in, if it is in one."""
    file = getattr(sys.modules.get(module), "__file__", None) or ""
    above = getattr(sys.modules.get(module.partition(".")[0]), "__path__", ())
    found = [path for folder in above for path in sorted(Path(folder).rglob("*.py"))] if file else []
    return found or [path for path in (Path(file),) if path.suffix == ".py" and path.is_file()]
