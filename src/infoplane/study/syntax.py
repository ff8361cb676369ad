"""The syntax of a module: what of it has a meaning when it runs, and the names that it takes from elsewhere."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

#: an import: the module, and the name in it, or None for the module itself
Target = tuple[str, str | None]

#: what a function's or class's own names stand for
LOCAL: Target = ("", None)
_FIELDS_WITHOUT_MEANING = frozenset({"ctx", "type_comment", "kind"})


#: methods of cells that foretell what they take, and make nothing
FORECASTS = frozenset({"work", "size"})


@dataclass
class Module:
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
        for statement in self.statements if ".measurements." in self.name else ():
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
            mentioned = any(isinstance(each, ast.Name) and each.id == name for each in ast.walk(statement))
            if not plain and statement not in own and not _stored([statement]) and mentioned:
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
        if getattr(node.test, "id", getattr(node.test, "attr", "")) == "TYPE_CHECKING":
            rest = ast.Module(node.orelse, [])
            self.generic_visit(rest)
            return rest.body
        return self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets):
            return None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if self._in_class:  # fields of dataclasses and settings
            return self.generic_visit(node)
        return None if node.value is None else ast.Assign([node.target], self.visit(node.value))

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


class Uses(ast.NodeVisitor):
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
        elif target != LOCAL:
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

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        """Counts where it is used."""

    visit_Import = visit_ImportFrom = _import

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
        self._within(dict.fromkeys(arguments, LOCAL) | _locals(body, self._parent), body)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for each in (*node.decorator_list, *node.bases, *node.keywords):
            self.visit(each)
        self._within(_locals(node.body, self._parent), node.body, of_class=True)

    def _comprehension(self, node: Any) -> None:
        names = {each.id for part in node.generators for each in ast.walk(part.target) if isinstance(each, ast.Name)}
        first = node.generators[0]
        self.visit(first.iter)  # which is looked up outside of it
        inner = [each for each in ast.iter_child_nodes(node) if each is not first]
        self._within(dict.fromkeys(names, LOCAL), [*inner, first.target, *first.ifs])

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension


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
    found = dict.fromkeys(_stored(body), LOCAL)
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


def written_out(node: Any, parts: list[str]) -> None:
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
                written_out(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for each in node:
            written_out(each, parts)
        parts.append("]")
    else:
        parts.append(f"{node!r};")
