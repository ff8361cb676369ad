"""Every error of the package is on the page about errors, in the words in which it is raised."""

import ast
from pathlib import Path

import pytest

import infoplane

PACKAGE = Path(infoplane.__file__).parent
PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text(encoding="utf-8")
RAISED = {"InfoplaneError", "UsageError", "FitError", "CellError", "CallError", "UnitError", "unknown"}


def pattern(node: ast.expr) -> str | None:
    """Returns a message with … for what is filled in, or None where all of it is."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values]
        return "".join(parts)
    return None


def messages(source: str) -> set[str]:
    """Returns the patterns of the messages that a source raises."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        name = node.func if isinstance(node, ast.Call) else None
        name = name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", None)
        if isinstance(node, ast.Call) and name in RAISED and node.args and (text := pattern(node.args[0])) is not None:
            found.add(f"unknown {text}" if name == "unknown" else text)
    # Where all but a few signs are filled in, there is nothing to look for.
    return {text for text in found if sum(sign.isalpha() for sign in text) > 3}


def may_raise(source: str) -> bool:
    """Whether there is any reason to read a source: all of them take seconds, each time that tests are collected."""
    return any(f"{name}(" in source for name in RAISED)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if may_raise(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_message_is_on_the_page(path):
    missing = {text for text in messages(path.read_text(encoding="utf-8")) if f"`{text}`" not in PAGE}
    assert not missing, f"add to docs/errors.md: {sorted(missing)}"


def test_messages_are_found():
    source = (
        'raise UsageError("bad thing")\nraise unknown(f"key {path!r} in {where}", x, y)\nraise errors.FitError(text)'
    )
    assert messages(source) == {"bad thing", "unknown key … in …"}
