"""A public name means one thing wherever it is read."""

import ast
from collections import defaultdict
from pathlib import Path

import infoplane

ROOT = Path(infoplane.__file__).parent
#: functions here are the verbs of the command line, each of which hands its words on to what is called like it
VERBS = ROOT / "cli" / "app.py"


def test_no_public_function_or_class_has_the_name_of_another():
    places: dict[str, list[str]] = defaultdict(list)
    for path in sorted({*ROOT.rglob("*.py")} - {VERBS}):
        for each in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(each, ast.FunctionDef | ast.ClassDef) and not each.name.startswith("_"):
                places[each.name].append(str(path.relative_to(ROOT)))
    assert len(places) > 800  # it has looked
    assert {name: found for name, found in places.items() if len(set(found)) > 1} == {}
