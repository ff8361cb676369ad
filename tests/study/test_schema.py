"""The schema of studies' files, judged by another library's validator."""

import json
from importlib import resources
from typing import Any

import jsonschema
import pytest

from infoplane.study import yaml12
from infoplane.study.load import named_studies
from infoplane.study.schema import schema

#: where the packaged studies have it beside them
SCHEMA_FILE = "study.schema.json"
FOLDER = resources.files("infoplane") / "studies"
SCHEMA = schema()


def problems(content: dict[str, Any]) -> list[str]:
    return [error.message for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(content)]


def file_of(name: str) -> dict[str, Any]:
    return yaml12.load_yaml((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))


def test_it_is_a_schema_and_the_packaged_file_is_it() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    stored = json.loads((FOLDER / SCHEMA_FILE).read_text(encoding="utf-8"))
    assert stored == SCHEMA, f"write it anew: infoplane schema > src/infoplane/studies/{SCHEMA_FILE}"


@pytest.mark.parametrize("name", named_studies())
def test_the_packaged_studies_follow_it_and_name_it_first(name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.splitlines()[0] == f"# yaml-language-server: $schema={SCHEMA_FILE}"
    assert problems(file_of(name)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"layer": ["conv1"]},
        {"seed": -1},
        {"fit": {"update": 3}},
        {"fit": {"updates": "many"}},
        {"measure": ["nce", "mutual"]},
        {"data": {"name": "digits", "encoding": "all"}},
        {"scales": ["laptop"]},
    ],
)
def test_what_the_program_refuses_it_refuses(change: dict[str, Any]) -> None:
    assert problems(file_of("digits") | change)


def test_every_field_says_what_it_is() -> None:
    parts = [*SCHEMA["anyOf"], *SCHEMA["$defs"].values()]
    silent = [
        f"{part.get('title')}.{name}"
        for part in parts
        for name, field in part.get("properties", {}).items()
        if not field.get("description")
    ]
    assert silent == []
