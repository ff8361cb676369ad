"""The examples in docstrings run: whatever docstring of the package has a `>>>`, public or not."""

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import infoplane

PACKAGE = Path(infoplane.__file__).parent
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def name_of(path: Path) -> str:
    return ".".join(("infoplane", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def with_examples(node: ast.AST, name: str) -> Iterator[tuple[str, int, str]]:
    """Yields name, line and text of every docstring with an example. They are read from the source: doctest's own
    search takes no function that is wrapped by another module's decorator, as most public ones are."""
    if isinstance(node, DOCUMENTED) and ">>>" in (text := ast.get_docstring(node, clean=False) or ""):
        yield name, node.body[0].lineno - 1, text
    for child in ast.iter_child_nodes(node):
        own = f"{name}.{child.name}" if isinstance(child, DOCUMENTED[1:]) else name
        yield from with_examples(child, own)


SOURCES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
EXAMPLES = {
    name: found
    for name, path in SOURCES.items()
    if (found := list(with_examples(ast.parse(path.read_text(encoding="utf-8")), name)))
}


def known_to_readers(name: str) -> dict[str, object]:
    """What an example may take for granted, as docs/api.md says: the names of its section, and three imports."""
    module = importlib.import_module(name)
    own = {key for key, value in vars(module).items() if getattr(value, "__module__", None) == name}
    room = importlib.import_module(".".join(name.split(".")[:2]))
    names = {key: getattr(module, key) for key in own if not key.startswith("_")}
    names |= {key: getattr(room, key) for key in getattr(room, "__all__", ())}
    return {**names, "infoplane": infoplane, "np": np, "torch": torch}


def run(name: str, line: int, text: str, known: dict[str, object]) -> tuple[doctest.TestResults, str]:
    """Returns how many examples of a docstring failed, and what is said of them."""
    said: list[str] = []
    example = doctest.DocTestParser().get_doctest(text, dict(known), name, None, line)
    found = doctest.DocTestRunner(verbose=False, optionflags=FLAGS).run(example, out=said.append)
    return found, "".join(said)


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_say_what_they_print(module):
    known = known_to_readers(module)
    for name, line, text in EXAMPLES[module]:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            found, said = run(name, line, text, known)
        assert found.attempted, f"{name}: no example was found behind its >>>"
        assert not found.failed, f"{SOURCES[module]}\n{said}"


def test_examples_are_found():
    assert len([each for found in EXAMPLES.values() for each in found]) >= 15


@pytest.mark.parametrize("text", [">>> 1 + 1\n3", ">>> undefined\n1", ">>> 1"])
def test_a_wrong_example_would_be_found(text):
    assert run("wrong", 0, text, {})[0].failed == 1
