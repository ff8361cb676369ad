"""What a study's file may hold, as a JSON Schema: editors read it, and help while one is written."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from infoplane.settings import Settings
from infoplane.study.families import FAMILIES

#: "fit.updates": a field of a field, as scales and `--set` name it
DOTTED = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_-]+)+$"


def schema() -> dict[str, Any]:
    """Returns the schema of a study's file (JSON Schema, draft 2020-12), one alternative for each family of studies."""
    definitions: dict[str, Any] = {}
    alternatives = []
    for family in FAMILIES.values():
        own = family.spec.model_json_schema()
        definitions |= own.pop("$defs", {})
        own.pop("required", None)  # `like` brings what a file leaves out
        own["properties"] = {**own["properties"], **_OF_FILES}
        own["patternProperties"] = {DOTTED: {"description": "A field of a field."}}
        _describe(family.spec, own)
        alternatives.append(own)
    waiting: list[type[BaseModel]] = [Settings]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model.__name__ in definitions:
            _describe(model, definitions[model.__name__])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A study of infoplane",
        "anyOf": alternatives,
        "$defs": dict(sorted(definitions.items())),
    }


#: dotted path -> value
_CHANGES = {"type": "object"}
#: what only files have
_OF_FILES: dict[str, Any] = {
    "like": {"type": "string", "description": "The study that this one is like but for what it says itself."},
    "scales": {
        "type": "object",
        "additionalProperties": _CHANGES,
        "description": "Name of a scale -> dotted path -> value; what stands outside is the paper's scale.",
    },
    "datasets": {
        "type": "object",
        "additionalProperties": {"type": "object", "additionalProperties": _CHANGES},
        "description": "Name of a data set -> `every`, or name of a scale -> dotted path -> value.",
    },
}


def _describe(model: type[BaseModel], part: dict[str, Any]) -> None:
    """Puts what the docstrings of a model and of those that it is made from say of its fields into its schema."""
    summary = inspect.cleandoc(model.__doc__ or "").partition("\n\n")[0]
    part["description"] = "" if summary.startswith("Attributes:") else " ".join(summary.split())
    for base in reversed(model.__mro__):
        for name, words in _attributes(base.__doc__ or ""):
            if name in part.get("properties", {}):
                part["properties"][name]["description"] = words


def _attributes(doc: str) -> Iterator[tuple[str, str]]:
    """Yields the names and words of the attributes that a docstring lists."""
    listed = re.search(r"Attributes:\s*\n?(.*?)(?:\n\s*\n|\Z)", inspect.cleandoc(doc), re.DOTALL)
    text = re.sub(r"; (?=[a-z_]+: )", "\n", listed[1]) if listed else ""
    for names, words in re.findall(r"(?ms)^ *([a-z_]+(?:, [a-z_]+)*): (.*?)(?=^ *[a-z_]+(?:, [a-z_]+)*: |\Z)", text):
        for name in names.split(", "):
            yield name, " ".join(words.split())
