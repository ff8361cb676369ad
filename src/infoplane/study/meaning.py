"""What code means: a hash of the syntax that a function runs through, so that only what has changed is computed anew.

Comments, docstrings, formatting and types mean nothing; imports mean what they name. What is loaded by name at run
time, the members of registries, is not followed: whoever asks adds it. In doubt more is hashed than is
needed, never less.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

#: rooms that carry results or say what went wrong with them, and make none
INDIFFERENT = ("errors", "files", "engine")
#: where one of many is chosen by its name
CHOICES = frozenset({"data:_load", "densities:REGISTRY", "subjects:REGISTRY"})
#: rooms whose modules bring together what belongs to different cells: their definitions are followed one by one.
#: So are those of every `__init__`. Any other module counts as a whole
HUBS = ("measurements", "estimate")
#: methods of cells that foretell what they take, and make nothing
FORECASTS = frozenset({"work", "size"})

#: a module, and one of its definitions, or None for all of it
Unit = tuple[str, str | None]
#: an import: the module, and the name in it, or None for the module itself
Target = tuple[str, str | None]

_LOCAL: Target = ("", None)
_FIELDS_WITHOUT_MEANING = frozenset({"ctx", "type_comment", "kind"})


@cache
def code_of(folder: Path) -> "Code":
    """Returns the code of a package in a folder, which is read once per process."""
    return Code(folder)


class Code:
    """The source of a package.

    Args:
        folder: Where it is; its name is that of the package.
    """

    def __init__(self, folder: Path, package: str = "infoplane") -> None:
        self.folder, self.package = folder, package
        self._modules: dict[str, _Module | None] = {}
        self._units: dict[Unit, tuple[str, frozenset[Unit]]] = {}

    def meaning(self, roots: Iterable[str]) -> str:
        """Returns a hash of all code that these can run through, inside the package.

        Args:
            roots: "module:name" or "module"; a module outside the package counts by the bytes of its file.
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
                found.append((module, f"{module} {_bytes_of(module)}"))
        found += [
            (module, f"{module}:{name} {self._unit((module, name))[0]}") for module, name in self._closure(waiting)
        ]
        found.sort(key=lambda each: each[1])
        by_module: dict[str, list[str]] = {}
        for module, line in found:
            by_module.setdefault(module, []).append(line)
        return _hash([line for _, line in found], 12), {name: _hash(by_module[name], 8) for name in sorted(by_module)}

    def modules(self, roots: Iterable[str]) -> set[str]:
        """Returns the names of the modules that count for a `meaning`."""
        waiting = [unit for root in roots for unit in self._resolve(root.partition(":")[0], root.partition(":")[2])]
        return {module for module, _ in self._closure(waiting)}

    def _closure(self, units: Iterable[Unit]) -> set[Unit]:
        found: set[Unit] = set()
        waiting = list(units)
        while waiting:
            unit = waiting.pop()
            if unit not in found:
                found.add(unit)
                waiting += self._unit(unit)[1]
        return found

    def _inside(self, module: str) -> bool:
        return module.partition(".")[0] == self.package

    def _short(self, module: str) -> str:
        return module.removeprefix(f"{self.package}.")

    def _module(self, module: str) -> "_Module | None":
        if module not in self._modules:
            base = self.folder.joinpath(*module.split(".")[1:])
            places = (base / "__init__.py", base.with_suffix(".py") if base != self.folder else base / "__init__.py")
            path = next((place for place in places if place.is_file()), None)
            self._modules[module] = None if path is None else _Module(module, path)
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
            return [(module, name if self._is_hub(source) else None)]
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

    def _is_hub(self, source: "_Module") -> bool:
        return source.is_package or self._short(source.name).partition(".")[0] in HUBS

    def _unit(self, unit: Unit) -> tuple[str, frozenset[Unit]]:
        """The hash of a unit's own syntax, and the units that it refers to."""
        if unit not in self._units:
            module, name = unit
            source = self._module(module)
            assert source is not None
            statements = source.statements if name is None else source.of(name)
            uses = _Uses(source.imports, self.package, source.parent)
            for statement in statements:
                uses.visit(statement)
            parts: list[str] = []
            _write(statements, parts)
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


@dataclass
class _Module:
    """One file, without what has no meaning.

    Attributes:
        name: Its import name.
        path: Its file.
    """

    name: str
    path: Path
    imports: dict[str, Target] = field(default_factory=dict)
    statements: list[ast.stmt] = field(default_factory=list)

    def __post_init__(self) -> None:
        tree = _Meant().visit(ast.parse(self.path.read_bytes(), filename=str(self.path)))
        for statement in _flat(tree.body):
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self.imports.update(_bindings(statement, self.parent))
        self.statements = tree.body
        if ".measurements." in self.name:
            for statement in self.statements:
                if isinstance(statement, ast.ClassDef):
                    statement.body = [each for each in statement.body if getattr(each, "name", "") not in FORECASTS]

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def parent(self) -> str:
        """The package that relative imports start from."""
        return self.name if self.is_package else self.name.rpartition(".")[0]

    @cached_property
    def definitions(self) -> dict[str, list[ast.stmt]]:
        """Name -> the statements that say what it is."""
        found: dict[str, list[ast.stmt]] = {}
        for statement in self.statements:
            for name in _stored([statement]):
                found.setdefault(name, []).append(statement)
        return found

    def of(self, name: str) -> list[ast.stmt]:
        """The statements that make a name what it is: those that define it, and those that change it."""
        own = list(self.definitions[name])
        for statement in self.statements:
            plain = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if not plain and statement not in own and not _stored([statement]) and name in _names(statement):
                own.append(statement)
        return own


class _Meant(ast.NodeTransformer):
    """Takes out what has no meaning when the code runs."""

    def __init__(self) -> None:
        self._in_class = False

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_Pass(self, node: ast.Pass) -> None:
        return None

    def visit_If(self, node: ast.If) -> Any:
        test = node.test
        if (test.id if isinstance(test, ast.Name) else getattr(test, "attr", "")) == "TYPE_CHECKING":
            return [kept for each in node.orelse for kept in _listed(self.visit(each))]
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if self._in_class:  # fields of dataclasses and settings
            return self.generic_visit(node)
        if node.value is None:
            return None
        return ast.Assign([node.target], self.visit(node.value))

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def _function(self, node: Any) -> ast.AST:
        outer, self._in_class = self._in_class, False
        node.returns = None
        self.generic_visit(node)
        self._in_class = outer
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        outer, self._in_class = self._in_class, True
        self.generic_visit(node)
        self._in_class = outer
        return node


class _Uses(ast.NodeVisitor):
    """Collects the names that code takes from outside of itself.

    Attributes:
        imported: (import, attributes that are taken of it) -> name under which it is used.
        free: Names that are neither local nor imported.
        texts: Strings that may be the name of a module of the package, or of something in one.
    """

    def __init__(self, imports: Mapping[str, Target], package: str, parent: str) -> None:
        self.imported: dict[tuple[Target, tuple[str, ...]], str] = {}
        self.free: set[str] = set()
        self.texts: set[str] = set()
        self._imports, self._parent = imports, parent
        self._pattern = re.compile(rf"{package}(\.\w+)+(:\w+)?")
        self._scopes: list[tuple[bool, dict[str, Target]]] = []

    def _find(self, name: str) -> Target | None:
        for depth, (of_class, names) in enumerate(reversed(self._scopes)):
            if name in names and (not of_class or depth == 0):  # methods do not see their class's names
                return names[name]
        return self._imports.get(name)

    def _take(self, name: str, chain: tuple[str, ...]) -> None:
        target = self._find(name)
        if target is None:
            self.free.add(name)
        elif target != _LOCAL:
            self.imported[target, chain] = ".".join((name, *chain))

    def visit_Name(self, node: ast.Name) -> None:
        self._take(node.id, ())

    def visit_Attribute(self, node: ast.Attribute) -> None:
        chain, inner = [node.attr], node.value
        while isinstance(inner, ast.Attribute):
            chain.append(inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):
            self._take(inner.id, tuple(reversed(chain)))
        else:
            self.visit(inner)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and self._pattern.fullmatch(node.value):
            self.texts.add(node.value)

    def visit_Import(self, node: ast.Import) -> None:
        """Counts where it is used."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Counts where it is used."""

    def _within(self, names: Mapping[str, Target], nodes: Iterable[ast.AST], *, of_class: bool = False) -> None:
        self._scopes.append((of_class, dict(names)))
        for node in nodes:
            self.visit(node)
        self._scopes.pop()

    def _function(self, node: Any) -> None:
        for each in (*getattr(node, "decorator_list", ()), *node.args.defaults, *filter(None, node.args.kw_defaults)):
            self.visit(each)
        body = node.body if isinstance(node.body, list) else [node.body]
        arguments = [each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)]
        self._within(dict.fromkeys(arguments, _LOCAL) | _locals(body, self._parent), body)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for each in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(each)
        self._within(_locals(node.body, self._parent), node.body, of_class=True)

    def _comprehension(self, node: Any) -> None:
        names = {each.id for part in node.generators for each in ast.walk(part.target) if isinstance(each, ast.Name)}
        self.visit(node.generators[0].iter)
        parts = [part for each in ast.iter_child_nodes(node) for part in _parts(each, node.generators[0])]
        self._within(dict.fromkeys(names, _LOCAL), parts)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


def _parts(node: ast.AST, first: ast.comprehension) -> list[ast.AST]:
    """A part of a comprehension without what is looked up outside of it."""
    return [node.target, *node.ifs] if node is first and isinstance(node, ast.comprehension) else [node]


def _bindings(node: ast.Import | ast.ImportFrom, parent: str) -> dict[str, Target]:
    """Name -> what an import binds it to."""
    if isinstance(node, ast.Import):
        names = [(each.asname, each.name if each.asname else each.name.partition(".")[0]) for each in node.names]
        return {asname or name: (name, None) for asname, name in names}
    above = parent.split(".")[: len(parent.split(".")) - node.level + 1] if node.level else []
    module = ".".join([*above, *filter(None, [node.module])])
    return {each.asname or each.name: (module, None if each.name == "*" else each.name) for each in node.names}


def _locals(body: Iterable[ast.stmt], parent: str) -> dict[str, Target]:
    """What a function's or class's own statements bind."""
    body = list(body)
    found = dict.fromkeys(_stored(body), _LOCAL)
    outer: set[str] = set()
    for node in _flat(body):
        if isinstance(node, ast.Import | ast.ImportFrom):
            found |= _bindings(node, parent)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            outer.update(node.names)
    return {name: target for name, target in found.items() if name not in outer}


def _flat(body: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """All nodes, but for what is inside of functions and classes."""
    waiting = list(body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _stored(body: Iterable[ast.stmt]) -> set[str]:
    """Names that statements bind themselves, but for imports."""
    found: set[str] = set()
    for node in _flat(body):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or (
            isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name
        ):
            found.add(str(node.name))
    return found


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _listed(found: Any) -> list[ast.AST]:
    return [] if found is None else found if isinstance(found, list) else [found]


def _write(node: Any, parts: list[str]) -> None:
    """Writes syntax in a form of its own: that of `ast.dump` differs between versions of Python."""
    if isinstance(node, ast.Constant):
        parts.append(f"{type(node.value).__name__} {node.value!r};")
    elif isinstance(node, ast.Import | ast.ImportFrom):
        return
    elif isinstance(node, ast.AST):
        parts.append(f"{type(node).__name__}(")
        for name in node._fields:
            value = getattr(node, name, None)
            if name not in _FIELDS_WITHOUT_MEANING and value is not None and value != []:
                parts.append(f"{name}=")
                _write(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for each in node:
            _write(each, parts)
        parts.append("]")
    else:
        parts.append(f"{node!r};")


def _hash(lines: Iterable[str], digits: int) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:digits]


def _bytes_of(module: str) -> str:
    """A hash of the file of a module outside the package, as far as it has one."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file and Path(file).is_file() else ""
